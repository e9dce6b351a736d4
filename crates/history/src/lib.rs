//! Finished runs for good: immutable Parquet segments behind the records.
//!
//! A run is in the store's records while it lives and while it is recent. Then it is *folded*: it
//! goes into a segment, a folder of Parquet files that never change, and leaves the records. The
//! manifest lists the segments; what it does not list is not there.
//!
//! Read in this order:
//!
//! * [`history`]: [`History`], the segments of a home, and how they are read; `list`: pages;
//! * [`fold`]: from records to segments; [`retain`]: what is dropped, and when; `rewrite`: several
//!   segments into one;
//! * [`manifest`](SegmentInfo), `keys`, `segment`: what lies on disk, and how it is opened;
//!   `columns`, `write`, `read`: rows and files; [`files`]: the disk;
//! * [`check`]: what is wrong; [`table`]: runs and tasks for SQL.
//!
//! **Invariants.** A finished run is at every moment in the records or in a listed segment; where
//! it is in both, the records are right. A segment is synced before it is listed, and listed before
//! anything leaves the records. A page reads the rows that it shows, and what it takes to find them,
//! never a whole segment's records. A segment that cannot be read is named, and stops nothing else.

pub mod check;
mod columns;
pub mod files;
pub mod fold;
pub mod history;
mod keys;
mod list;
mod manifest;
mod read;
pub mod retain;
mod rewrite;
mod segment;
pub mod table;
mod write;

pub use fold::Folded;
pub use history::{Figures, History, Settings};
pub use manifest::{FileInfo, SegmentInfo};
pub use retain::{Retained, Retention};
