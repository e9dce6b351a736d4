//! The face of Tidemill: REST API, metrics, health and server-rendered pages.
//!
//! The server looks and asks, and decides nothing: everything it shows or starts goes through one
//! trait, [`Backend`], which the binary implements. Read in this order:
//!
//! * [`backend`]: what is looked at and asked for; [`error`]: how a refusal reads;
//! * [`routes`]: routes, each with a permission in its type, and the gate that is asked for it;
//! * `guard`: what every request passes; `extract`, `cursor`: what handlers take;
//! * `api`: version 1 of the REST API; [`reference`](mod@reference): what it takes and gives, in words; `metrics`;
//! * `pages`: the pages, over the templates and files of `web/`; [`layout`]: how a graph is laid
//!   out; `ansi`, `say`: how logs and numbers read;
//! * [`app`] joins it, [`serve()`] listens; [`InProcess`] answers without a socket.
//!
//! **Invariants.** No route without a permission. No id reaches a handler unparsed. No GET changes
//! anything. Texts reach a page only through a template that escapes them; no page holds an inline
//! script or style. Every list has a limit and a cursor.

pub mod backend;
pub mod error;
pub mod reference;

mod cursor;
mod extract;
mod guard;
pub mod routes;

mod api;
mod gzip;
mod metrics;

mod ansi;
pub mod layout;
mod pages;
mod say;

pub mod app;
mod in_process;
mod serve;

pub use app::{ServerOptions, Site, api_table, site, site_behind};
pub use backend::Backend;
pub use error::{ApiError, ErrorCode};
pub use in_process::InProcess;
pub use routes::{Caller, Gate, Loopback, Permission, Route, Routes};
pub use serve::{CONNECTIONS_MAX, serve};
