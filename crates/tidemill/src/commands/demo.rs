//! `tidemill demo`: the personalization DAG on real data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anstyle::{AnsiColor, Effects, Style};
use serde_json::Value;
use tidemill_model::RunState;
use tidemill_model::words::{counted, noun};

use crate::access::Access;
use crate::answers::Answers;
use crate::catalog::folder_of;
use crate::cli::{Demo, RunInput, RunPart};
use crate::commands::run::submit;
use crate::commands::serve::{listen, loopback, serve};
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;
use crate::print::{number, seconds};
use crate::progress::{Interrupt, Show, follow, verdict};
use crate::signals::Signals;

/// Where the flagship is, below the repository.
const DAG: &str = "dags/personalize/personalize.yaml";

/// Profiles that are shown, one for each band where there is one.
const BANDS: [&str; 3] = ["hot", "warm", "cold"];

/// Profiles that are looked through for examples.
const PROFILES_PAGE: usize = 200;

pub(crate) fn run(globals: &Globals, command: &Demo) -> Result<(), Failure> {
    let file = match &command.dag {
        Some(file) => file.clone(),
        None => find()?,
    };
    let globals = Globals { home: globals.home.join("demo"), ..globals.clone() };
    let runtime = runtime()?;
    runtime.block_on(async {
        println!("running {}\n", file.display());
        let access = Access::open(&globals, Some(folder_of(&file)), Mode::Own).await?;
        let shown = show(&access, &file).await;
        let Access::Local(node, _) = &access else {
            println!(
                "\na server is at work on this home: {}",
                access.address().unwrap_or_default()
            );
            return shown.map(|_| ());
        };
        let node = Arc::clone(node);
        let done = match shown {
            Ok(run) if !command.no_serve => serve_demo(command, &node, &run).await,
            other => other.map(|_| ()),
        };
        node.stop().await;
        done
    })
}

/// The DAG here or in a folder above.
fn find() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(Failure::internal)?;
    let found = here.ancestors().map(|folder| folder.join(DAG)).find(|path| path.exists());
    let path = found.ok_or_else(|| {
        Failure::missing(format!(
            "`{DAG}` is neither here nor above; go to the repository, or name the file with `--dag`"
        ))
    })?;
    Ok(path.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(path))
}

/// Runs the DAG and shows what came of it; gives the run.
async fn show(access: &Access, file: &Path) -> Result<String, Failure> {
    let input = RunInput { params: Vec::new(), interval: None };
    let id = submit(access, file, &input, &RunPart::default()).await?;
    let run = follow(access, &id, Show::Tasks, &mut Answers::of(&id), Interrupt::Cancels).await?;
    println!("\n{}", verdict(&run));
    if run.state != RunState::Succeeded {
        return Err(Failure::RunFailed);
    }
    let rows: u64 = (run.tasks.iter())
        .filter(|task| task.name.starts_with("ingest"))
        .filter_map(|task| task.rows_in)
        .sum();
    let took = run.seconds(run.finished_at.map_or(run.created_at.0, |at| at.0)).unwrap_or_default();
    println!(
        "  {} {} read, {}, {}",
        number(rows),
        noun(rows, "row"),
        counted(run.tasks.len(), "task"),
        seconds(took)
    );
    let messages = Messages::read(&folder_of(file));
    println!(
        "  {} {} written to {}",
        number(messages.count),
        noun(messages.count, "message"),
        messages.folder.display()
    );
    for profile in examples(access).await? {
        println!();
        print_profile(&profile, &messages);
    }
    Ok(id)
}

async fn serve_demo(
    command: &Demo,
    node: &Arc<crate::node::Node>,
    run: &str,
) -> Result<(), Failure> {
    let address = loopback(&command.bind)?;
    // Another program may have the usual port: any free one will do for a demo.
    let listener = match listen(address).await {
        Ok(listener) => listener,
        Err(_) => listen((address.ip(), 0).into()).await?,
    };
    let address = listener.local_addr().map_err(Failure::internal)?;
    println!("\nlook at the run: http://{address}/runs/{run}\nCtrl-C ends the demo");
    serve(node, listener, Vec::new(), None, Signals::watch()?).await
}

/// A profile for each band, the first that has all there is to show.
async fn examples(access: &Access) -> Result<Vec<Value>, Failure> {
    let mut found: Vec<Option<Value>> = vec![None; BANDS.len()];
    let mut path = format!("/api/v1/profiles?limit={PROFILES_PAGE}");
    loop {
        let page = access.get(&path).await?;
        for profile in page["items"].as_array().into_iter().flatten() {
            let band = profile["score"]["band"].as_str().unwrap_or_default();
            let granted = profile["consent"]["email_marketing"] == "granted";
            if let Some(place) = BANDS.iter().position(|known| *known == band)
                && (found[place].is_none() && granted)
            {
                found[place] = Some(profile.clone());
            }
        }
        match page["next"].as_str() {
            Some(next) if found.iter().any(Option::is_none) => {
                let next = super::profile::encode(next);
                path = format!("/api/v1/profiles?limit={PROFILES_PAGE}&after={next}");
            }
            _ => return Ok(found.into_iter().flatten().collect()),
        }
    }
}

fn print_profile(profile: &Value, messages: &Messages) {
    let bold = Style::new().effects(Effects::BOLD);
    let dim = AnsiColor::BrightBlack.on_default();
    let id = text(&profile["customer_id"]);
    let score = &profile["score"];
    println!(
        "{bold}customer {id}{bold:#}  {} ({:.1}), {}",
        text(&score["band"]),
        score["intent"].as_f64().unwrap_or_default(),
        text(&profile["segment"])
    );
    for term in score["explained"].as_array().into_iter().flatten() {
        println!(
            "  {:>6.2}  {}{dim} {}{dim:#}",
            term["points"].as_f64().unwrap_or_default(),
            text(&term["term"]),
            text(&term["text"]),
        );
    }
    let items: Vec<String> = (profile["recs"].as_array().into_iter().flatten())
        .take(3)
        .map(|rec| {
            let title = rec["title"].as_str().map_or_else(|| text(&rec["item"]), ToOwned::to_owned);
            format!("{title} ({})", text(&rec["source"]))
        })
        .collect();
    println!("  recommended: {}", items.join(", "));
    match messages.subject_of(&id) {
        Some(subject) => println!("  e-mail: {subject}"),
        None => println!("  e-mail: none"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// What stands in the outbox of the flagship.
struct Messages {
    folder: PathBuf,
    count: u64,
    lines: Vec<Value>,
}

impl Messages {
    fn read(dag_folder: &Path) -> Self {
        let folder = dag_folder.join("out/outbox");
        let text = std::fs::read_to_string(folder.join("messages.jsonl")).unwrap_or_default();
        let lines: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { folder, count: lines.len() as u64, lines }
    }

    /// The subject of the message whose key holds the customer's id.
    fn subject_of(&self, customer: &str) -> Option<&str> {
        let is_theirs = |line: &&Value| {
            let key = line["key"].as_object();
            key.is_some_and(|key| key.values().any(|part| text(part) == customer))
        };
        self.lines.iter().find(is_theirs).and_then(|line| line["subject"].as_str())
    }
}
