//! [`serve`]: takes connections and holds slow clients to their limits.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::{ServerOptions, site};
use crate::backend::Backend;

/// Connections at a time; further ones wait in the backlog of the system.
pub const CONNECTIONS_MAX: usize = 1_000;
/// A client has this long to send the head of a request, and may keep a connection idle as long.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// How long answers under way may take when the server ends.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);
/// How long to wait after the system could not give a connection, for example for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready; answers under way are finished then, for at most three
/// seconds. Only loopback listeners are taken, as there are no users yet.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let message = format!(
            "`{address}` can be reached from other machines, and there are no users yet; \
             use a loopback address such as `127.0.0.1:{}`",
            address.port()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let router = site(backend, &options, address.port()).router;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (end, ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                let ending = ending.clone();
                connections.spawn(async move {
                    let _slot = slot;
                    converse(stream, service, ending, HEAD_TIME_MAX).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = end.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, drained).await;
    Ok(())
}

/// One connection, until it ends or the server does.
async fn converse(
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    mut ending: watch::Receiver<bool>,
    head_time: Duration,
) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = ending.wait_for(|end| *end) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A client that sends these bytes and then nothing is let go.
    async fn check(sent: &[u8], answer: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a client");
        let (_end, ending) = watch::channel(false);
        let router = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
        let service = TowerToHyperService::new(router);
        let server = tokio::spawn(converse(stream, service, ending, Duration::from_millis(20)));
        client.write_all(sent).await.expect("sent");
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.expect("the end");
        assert!(heard.ends_with(answer), "{heard}");
        server.await.expect("no panic");
    }

    #[tokio::test]
    async fn slow_and_idle_clients_are_let_go() {
        check(b"", "").await;
        check(b"GET / HT", "").await;
        check(b"GET / HTTP/1.1\r\nhost: x\r\nslow: ", "").await;
        check(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "hello").await;
    }
}
