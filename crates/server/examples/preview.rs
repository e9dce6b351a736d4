//! Serves the pages over fixed data, to look at them while working on `web/`:
//! `cargo run -p tidemill-server --example preview -- 127.0.0.1:7199`.
#![allow(dead_code, reason = "shares the data of the tests and uses a part of them")]
#![allow(clippy::unwrap_used, reason = "a tool for the people who work on the pages")]

use std::sync::Arc;

use tidemill_server::{ServerOptions, serve};

#[path = "../tests/it/fake.rs"]
mod fake;
#[path = "../tests/it/regions.rs"]
mod regions;
#[path = "../tests/it/world.rs"]
mod world;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7199".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}", listener.local_addr()?);
    let options = ServerOptions { version: "preview".to_owned(), ..ServerOptions::default() };
    serve(listener, Arc::new(world::world(None)), options, std::future::pending()).await
}
