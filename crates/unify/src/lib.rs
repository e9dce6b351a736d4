//! Nothing: this crate's dependencies are those of all others together.
//!
//! Cargo builds a dependency once for each set of features that the chosen packages ask for.
//! Choosing this package too (`cargo test -p tidemill-unify -p tidemill-model`) gives every crate
//! the features that the whole workspace has, so that nothing is built twice.
