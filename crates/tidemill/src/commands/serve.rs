//! `tidemill serve`: a folder of DAGs, scheduled, run and shown.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_model::words::counted;
use tidemill_server::ServerOptions;
use tidemill_spec::codes;
use tidemill_store::ServerInfo;
use tokio::net::TcpListener;

use crate::backend::NodeBackend;
use crate::cli::Serve;
use crate::commands::{Globals, runtime};
use crate::failure::{Failure, print_diagnostics};
use crate::folder::DagFolder;
use crate::janitor::Janitor;
use crate::node::{Mode, Node, VERSION};
use crate::signals::Signals;
use crate::watch::Watch;

/// How often the folder of DAGs is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The rest after a look at the whole folder, in times that it took: many files take long, and what
/// changes is told by the watch, where there is one.
const WATCHED_REST: u32 = 50;
const UNWATCHED_REST: u32 = 10;

pub(crate) fn run(globals: &Globals, command: &Serve) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let signals = Signals::watch()?;
        let address = loopback(&command.bind)?;
        let mut settings = globals.node(Some(command.dags.clone()));
        settings.keep = command.keep.settings();
        let dags = command.dags.clone();
        let node = tokio::task::spawn_blocking(move || -> Result<Arc<Node>, Failure> {
            let node = Node::open(&settings, Mode::Serve)?;
            node.load_folder(&dags)?;
            Ok(node)
        })
        .await
        .map_err(Failure::internal)??;
        say_what_is_wrong(&node);
        let hosts = command.allow_hosts.clone();
        let served = match listen(address).await {
            Ok(listener) => serve(&node, listener, hosts, Some(&command.dags), signals).await,
            Err(error) => Err(error),
        };
        if command.end_commands {
            node.stop().await;
        } else {
            say_what_goes_on(node.hand_over().await);
        }
        served
    })
}

fn say_what_goes_on(commands: usize) {
    if commands > 0 {
        let (go, them) = if commands == 1 { ("goes", "it") } else { ("go", "them") };
        println!("{} {go} on; the next start takes {them} up again", counted(commands, "command"));
    }
}

fn say_what_is_wrong(node: &Node) {
    print_diagnostics(&node.beside.diagnostics);
    for trouble in &node.beside.trouble {
        eprintln!("error[{}]: {trouble}", codes::FILES.id);
    }
    let folder = node.lock_folder();
    for (path, file) in folder.iter().flat_map(DagFolder::files) {
        print_diagnostics(&file.diagnostics);
        if let Some(trouble) = &file.trouble {
            eprintln!("error[{}]: {}: {trouble}", codes::CONFLICT.id, path.display());
        }
    }
}

/// The address to serve at. There are no users yet, so nobody but this machine may reach it.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: &str| Failure::argument(format!("cannot serve at `{text}`: {why}"));
    let address = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| wrong("write an address and a port, for example `127.0.0.1:7420`"))?;
    if !address.ip().is_loopback() {
        return Err(wrong(
            "it can be reached from other machines, and this version knows no users; use \
             `127.0.0.1` and a tunnel",
        ));
    }
    Ok(address)
}

/// Takes an address to serve at.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::argument(format!("cannot serve at `{address}`: {error}")))
}

/// Serves until it is told to stop, or until the scheduler cannot go on. Changed files of `folder`
/// are taken in.
pub(crate) async fn serve(
    node: &Arc<Node>,
    listener: TcpListener,
    allowed_hosts: Vec<String>,
    folder: Option<&Path>,
    signals: Signals,
) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(Failure::internal)?;
    let token = new_token()?;
    let info =
        ServerInfo { address: address.to_string(), pid: std::process::id(), token: token.clone() };
    node.home.write_server(&info).map_err(Failure::home)?;
    println!("serving http://{address}");
    let backend = Arc::new(NodeBackend::new(Arc::clone(node)));
    let options = ServerOptions { token: Some(token), allowed_hosts, version: VERSION.to_owned() };
    let server = tidemill_server::serve(listener, backend, options, told_to_stop(signals));
    let looking = async {
        let Some(root) = folder else { return std::future::pending().await };
        let mut watch = Watch::of(root);
        let mut rest = LOOK_EVERY;
        loop {
            let whole = async {
                match &mut watch {
                    Some(watch) => watch.next().await,
                    None => std::future::pending().await,
                }
            };
            let whole = tokio::time::timeout(rest, whole).await.unwrap_or_default();
            let is_regular = whole.is_empty();
            let node = Arc::clone(node);
            let begun = Instant::now();
            let _ = tokio::task::spawn_blocking(move || node.look_at_folder(&whole)).await;
            if is_regular {
                let share = if watch.is_some() { WATCHED_REST } else { UNWATCHED_REST };
                rest = LOOK_EVERY.max(begun.elapsed() * share);
            }
        }
    };
    let janitor = Janitor::start(node);
    // What would be acknowledged in a folder that nobody finds again would be lost.
    let gone = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(gone) = node.home.check_place() {
                return gone;
            }
        }
    };
    let ended = tokio::select! {
        gone = gone => Err(Failure::home(gone)),
        result = server => result.map_err(|error| Failure::server(format!("the server ended: {error}"))),
        () = looking => Ok(()),
        halted = node.scheduler.halted() => Err(Failure::home(halted.to_string())),
    };
    node.home.remove_server();
    if let Some(janitor) = janitor {
        janitor.stop().await;
    }
    ended
}

/// Resolves at the first signal that asks the process to end. A second one ends it at once.
async fn told_to_stop(mut signals: Signals) {
    signals.next().await;
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
}

/// 128 random bits, which the commands of this user read from the home.
fn new_token() -> Result<String, Failure> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(
        |error| Failure::internal(format!("the system gives no random numbers: {error}")),
    )?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
