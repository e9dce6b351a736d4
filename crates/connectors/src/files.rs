//! Files: which ones a pattern means, how one is read, how one is published.
//!
//! * [`find`]: a glob to a list of files in name order;
//! * [`open`]: decompression and character encodings, streaming;
//! * [`window`]: a sliding view of a stream, of which whole rows are taken;
//! * [`publish`]: a new file that readers see whole or not at all;
//! * [`compress`]: what is written into it.

pub(crate) mod compress;
pub(crate) mod find;
pub(crate) mod open;
pub(crate) mod publish;
pub(crate) mod window;
