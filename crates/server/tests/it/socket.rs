//! Through a real socket: limits of the connection, and the end of the server.

use std::net::SocketAddr;
use std::sync::Arc;

use tidemill_server::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::options;
use crate::world::world;

async fn start() -> (SocketAddr, oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (end, ended) = oneshot::channel();
    let server = serve(listener, Arc::new(world(None)), options(), async {
        let _ = ended.await;
    });
    (address, end, tokio::spawn(server))
}

/// Sends bytes and reads until the server closes.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // A server that refuses early may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(line: &str, address: SocketAddr, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{more}\r\n")
}

#[tokio::test]
async fn requests_are_answered_and_kept_in_their_limits() {
    let (address, end, server) = start().await;
    let good = talk(address, head("GET /health", address, "").as_bytes()).await;
    assert!(good.starts_with("HTTP/1.1 200 OK\r\n"), "{good}");
    assert!(good.contains("\"status\":\"ok\""), "{good}");

    let many = "x: 1\r\n".repeat(100);
    let answer = talk(address, head("GET /health", address, &many).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("x: {}\r\n", "a".repeat(40_000));
    let answer = talk(address, head("GET /health", address, &long).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let body = format!("{{\"params\": {{\"region\": \"{}\"}}}}", "a".repeat(1_100_000));
    let more = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let request = head("POST /api/v1/dags/personalize/runs", address, &more) + &body;
    let answer = talk(address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let old = format!("GET /health HTTP/1.0\r\nhost: {address}\r\n\r\n");
    assert!(talk(address, old.as_bytes()).await.starts_with("HTTP/1.0 200 OK"));
    assert!(talk(address, b"GET /health HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 400"));
    let other = head("GET /health", "127.0.0.2:80".parse().expect("an address"), "");
    assert!(talk(address, other.as_bytes()).await.starts_with("HTTP/1.1 403"));
    end.send(()).expect("the server runs");
    server.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_server_that_ends_lets_idle_clients_go() {
    let (address, end, server) = start().await;
    let mut idle = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    idle.write_all(request.as_bytes()).await.expect("sent");
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    end.send(()).expect("the server runs");
    server.await.expect("no panic").expect("no error");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("the end");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let served = serve(listener, Arc::new(world(None)), options(), std::future::pending()).await;
    let error = served.expect_err("refused").to_string();
    assert!(
        error.contains(&format!("use a loopback address such as `127.0.0.1:{port}`")),
        "{error}"
    );
}
