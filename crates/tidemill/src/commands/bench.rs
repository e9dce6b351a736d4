//! `tidemill bench`: this machine, measured with this binary, end to end and durable.
//!
//! Each benchmark prints its median and its ratio to a baseline that is measured in the same
//! minute on the same disk, so that figures of two machines can be compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Map;
use tidemill_model::{RunId, RunState};
use tidemill_scheduler::TriggerRequest;
use tidemill_spec::{SourceText, load_dag};
use tidemill_store::DagSource;

use crate::cli::Bench;
use crate::commands::{Globals, bench_history, runtime};
use crate::failure::Failure;
use crate::node::{Mode, Node, NodeSettings};
use crate::print::{Align, table};

/// A benchmark: name, what is measured, and the goal.
struct Benchmark {
    name: &'static str,
    what: &'static str,
    goal: &'static str,
    measure: fn(&Stand) -> Result<Measure, Failure>,
}

/// What one measurement gave.
struct Measure {
    took: Duration,
    baseline: Duration,
    baseline_name: &'static str,
    figure: String,
}

const BENCHMARKS: [Benchmark; 6] = [
    Benchmark {
        name: "chain",
        what: "40 sequential no-op tasks, trigger to success",
        goal: "≤ 40 ms",
        measure: |stand| stand.chain(40, "noop: {}"),
    },
    Benchmark {
        name: "processes",
        what: "40 sequential processes (`true`), trigger to success",
        goal: "≤ 150 ms",
        measure: |stand| stand.processes(40),
    },
    Benchmark {
        name: "fan-out",
        what: "1 → 1,000 → 1 no-op tasks, trigger to success",
        goal: "≤ 100 ms",
        measure: |stand| stand.fan_out(1_000),
    },
    Benchmark {
        name: "throughput",
        what: "task completions, 64 runs of 1,000 no-op tasks",
        goal: "≥ 20,000/s",
        measure: |stand| stand.throughput(64, 1_000),
    },
    Benchmark {
        name: "beside-map",
        what: "40 sequential no-op tasks, while another DAG maps over 100,000 items",
        goal: "≤ 2 × unloaded",
        measure: |stand| stand.beside_map(100_000),
    },
    Benchmark {
        name: "start",
        what: "start with 1,000 DAG files, home opened to last DAG deployed",
        goal: "≤ 1 s",
        measure: |stand| stand.start(1_000),
    },
];

pub(crate) fn run(globals: &Globals, command: &Bench) -> Result<(), Failure> {
    if command.names == ["history"] {
        return bench_history::run(globals, command);
    }
    let unknown = command.names.iter().find(|n| !BENCHMARKS.iter().any(|b| b.name == **n));
    if let Some(name) = unknown {
        let known = BENCHMARKS.iter().map(|b| b.name).chain(["history"]);
        let known: Vec<&str> = known.collect();
        return Err(Failure::missing(format!(
            "there is no benchmark `{name}`; there are: {}",
            known.join(", ")
        )));
    }
    let runtime = runtime()?;
    let folder = globals.home.join("bench");
    let mut rows = Vec::new();
    for benchmark in &BENCHMARKS {
        if !command.names.is_empty() && !command.names.iter().any(|name| name == benchmark.name) {
            continue;
        }
        let mut measures = Vec::new();
        for _ in 0..command.times.max(1) {
            // Each time in a new home: a run must not profit from the one before.
            let _ = std::fs::remove_dir_all(&folder);
            let stand = Stand { folder: folder.clone(), runtime: &runtime, globals };
            measures.push((benchmark.measure)(&stand)?);
        }
        measures.sort_by_key(|measure| measure.took);
        let range =
            format!("{}–{}", millis(measures[0].took), millis(measures[measures.len() - 1].took));
        let median = &measures[measures.len() / 2];
        rows.push(vec![
            benchmark.name.to_owned(),
            millis(median.took),
            range,
            median.figure.clone(),
            benchmark.goal.to_owned(),
            format!(
                "{:.1} × {}",
                median.took.as_secs_f64() / median.baseline.as_secs_f64().max(1e-9),
                median.baseline_name
            ),
            benchmark.what.to_owned(),
        ]);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let head = [
        ("benchmark", Align::Left),
        ("median", Align::Right),
        ("range", Align::Right),
        ("figure", Align::Right),
        ("goal", Align::Right),
        ("against", Align::Left),
        ("what", Align::Left),
    ];
    print!("{}", table(&head, &rows));
    if cfg!(debug_assertions) {
        println!("\nThis is a development build; figures are taken from a release build.");
    }
    Ok(())
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}

/// A new home to measure in.
struct Stand<'a> {
    folder: PathBuf,
    runtime: &'a tokio::runtime::Runtime,
    globals: &'a Globals,
}

impl Stand<'_> {
    fn settings(&self) -> NodeSettings {
        NodeSettings {
            home: self.folder.join("home"),
            folder: Some(self.folder.clone()),
            ..self.globals.node(None)
        }
    }

    fn open(&self, yaml: &str) -> Result<Arc<Node>, Failure> {
        let _inside = self.runtime.enter();
        std::fs::create_dir_all(&self.folder).map_err(Failure::internal)?;
        let node = Node::open(&self.settings(), Mode::Serve)?;
        self.deploy(&node, yaml)?;
        Ok(node)
    }

    fn deploy(&self, node: &Node, yaml: &str) -> Result<(), Failure> {
        let path = self.folder.join("bench.yaml");
        let loaded = load_dag(SourceText { path: &path, text: yaml }, &node.catalog);
        let dag =
            loaded.dag.ok_or_else(|| Failure::internal("the benchmark's own DAG does not load"))?;
        let source = DagSource { path, text: yaml.to_owned(), defaults: None };
        node.scheduler.deploy(vec![(dag, source)]).map_err(Failure::home)
    }

    /// Triggers so many runs at once and waits for all of them.
    fn time(&self, node: &Arc<Node>, runs: usize) -> Result<Duration, Failure> {
        let started = Instant::now();
        self.runtime.block_on(async {
            let mut ids = Vec::new();
            for _ in 0..runs {
                ids.push(trigger(node, "bench").await?);
            }
            for id in ids {
                succeeded(node, &id).await?;
            }
            Ok::<_, Failure>(())
        })?;
        let took = started.elapsed();
        self.runtime.block_on(node.stop());
        Ok(took)
    }

    fn chain(&self, tasks: usize, action: &str) -> Result<Measure, Failure> {
        let node = self.open(&chain("bench", tasks, action))?;
        let took = self.time(&node, 1)?;
        let baseline = syncs(&self.folder, tasks)?;
        let figure = format!("{:.2} ms/task", took.as_secs_f64() * 1_000.0 / tasks as f64);
        Ok(Measure { took, baseline, baseline_name: "as many bare fdatasyncs", figure })
    }

    fn processes(&self, tasks: usize) -> Result<Measure, Failure> {
        let mut measure = self.chain(tasks, "run: [\"true\"]")?;
        let started = Instant::now();
        for _ in 0..tasks {
            std::process::Command::new("true")
                .status()
                .map_err(|error| Failure::internal(format!("cannot start `true`: {error}")))?;
        }
        measure.baseline = started.elapsed();
        measure.baseline_name = "as many bare processes";
        Ok(measure)
    }

    fn fan_out(&self, width: usize) -> Result<Measure, Failure> {
        let node = self.open(&fan(width))?;
        let took = self.time(&node, 1)?;
        let baseline = syncs(&self.folder, 3)?;
        let figure = format!("{:.0} µs/task", took.as_secs_f64() * 1e6 / (width + 2) as f64);
        Ok(Measure { took, baseline, baseline_name: "three bare fdatasyncs", figure })
    }

    fn throughput(&self, runs: usize, width: usize) -> Result<Measure, Failure> {
        let node = self.open(&fan(width))?;
        let took = self.time(&node, runs)?;
        let tasks = runs * (width + 2);
        let baseline = syncs(&self.folder, 1_000)?;
        let figure = format!("{:.0}/s", tasks as f64 / took.as_secs_f64());
        Ok(Measure { took, baseline, baseline_name: "1,000 bare fdatasyncs", figure })
    }

    fn beside_map(&self, items: usize) -> Result<Measure, Failure> {
        const TASKS: usize = 40;
        const TIMES: usize = 21;
        let node = self.open(&format!(
            "dag: bench\ntasks:\n  each:\n    for_each: range({items})\n    noop: {{}}\n"
        ))?;
        self.deploy(&node, &chain("beside", TASKS, "noop: {}"))?;
        let once = async || {
            let started = Instant::now();
            let id = trigger(&node, "beside").await?;
            succeeded(&node, &id).await?;
            Ok::<_, Failure>(started.elapsed())
        };
        let median = async || {
            let mut took = Vec::new();
            for _ in 0..TIMES {
                took.push(once().await?);
            }
            took.sort_unstable();
            Ok::<_, Failure>(took[TIMES / 2])
        };
        self.runtime.block_on(async {
            let baseline = median().await?;
            let map = trigger(&node, "bench").await?;
            let took = median().await?;
            if node.scheduler.live().run_state(&map) != Some(RunState::Running) {
                return Err(Failure::internal("the map ended before the tasks beside it"));
            }
            node.stop().await;
            let millis = |span: Duration| span.as_secs_f64() * 1_000.0 / TASKS as f64;
            let figure = format!("{:.2} ms/task, was {:.2}", millis(took), millis(baseline));
            Ok(Measure { took, baseline, baseline_name: "the same alone", figure })
        })
    }

    fn start(&self, files: usize) -> Result<Measure, Failure> {
        let dags = self.folder.join("dags");
        let write = |error: std::io::Error| {
            Failure::files(format!("cannot write `{}`: {error}", dags.display()))
        };
        std::fs::create_dir_all(&dags).map_err(write)?;
        for i in 0..files {
            let yaml = format!(
                "dag: dag_{i}\nschedule: \"{} 3 * * *\"\ntasks:\n  a:\n    run: [\"true\"]\n  \
                 b:\n    run: [\"true\"]\n    depends_on: [a]\n",
                i % 60
            );
            std::fs::write(dags.join(format!("dag_{i}.yaml")), yaml).map_err(write)?;
        }
        let _inside = self.runtime.enter();
        // The first start stores the versions; the second is what an operator waits for.
        let node = Node::open(&self.settings(), Mode::Serve)?;
        node.load_folder(&dags)?;
        self.runtime.block_on(node.stop());
        drop(node);
        let started = Instant::now();
        let node = Node::open(&self.settings(), Mode::Serve)?;
        node.load_folder(&dags)?;
        let took = started.elapsed();
        self.runtime.block_on(node.stop());
        let started = Instant::now();
        for i in 0..files {
            std::fs::read(dags.join(format!("dag_{i}.yaml"))).map_err(write)?;
        }
        let figure = format!("{:.0} µs/file", took.as_secs_f64() * 1e6 / files as f64);
        let baseline = started.elapsed();
        Ok(Measure { took, baseline, baseline_name: "reading the files", figure })
    }
}

/// Triggers a run of a DAG.
async fn trigger(node: &Node, dag: &str) -> Result<RunId, Failure> {
    let request = TriggerRequest {
        dag: dag.parse().map_err(Failure::home)?,
        params: Map::new(),
        interval: None,
        part: tidemill_scheduler::Part::default(),
        who: "bench".to_owned(),
    };
    node.scheduler.trigger(request).await.map_err(Failure::home)
}

/// Waits until a run has succeeded.
async fn succeeded(node: &Node, id: &RunId) -> Result<(), Failure> {
    match node.scheduler.wait(id).await.map_err(Failure::home)? {
        Some(RunState::Succeeded) => Ok(()),
        state => Err(Failure::home(format!("run {id} ended as {state:?}"))),
    }
}

/// A DAG whose tasks wait for each other.
fn chain(dag: &str, tasks: usize, action: &str) -> String {
    let mut yaml = format!("dag: {dag}\ntasks:\n");
    for i in 0..tasks {
        yaml.push_str(&format!("  t{i}:\n    {action}\n"));
        if i > 0 {
            yaml.push_str(&format!("    depends_on: [t{}]\n", i - 1));
        }
    }
    yaml
}

fn fan(width: usize) -> String {
    let mut yaml = String::from("dag: bench\ntasks:\n  first:\n    noop: {}\n");
    for i in 0..width {
        yaml.push_str(&format!("  t{i}:\n    noop: {{}}\n    depends_on: [first]\n"));
    }
    let all: Vec<String> = (0..width).map(|i| format!("t{i}")).collect();
    yaml.push_str(&format!("  last:\n    noop: {{}}\n    depends_on: [{}]\n", all.join(", ")));
    yaml
}

/// So many writes of 200 bytes, each synced, to a file in the folder.
fn syncs(folder: &Path, n: usize) -> Result<Duration, Failure> {
    use std::io::Write;
    let path = folder.join("baseline");
    let write = |error: std::io::Error| {
        Failure::files(format!("cannot write `{}`: {error}", path.display()))
    };
    let mut file = std::fs::File::create(&path).map_err(write)?;
    let started = Instant::now();
    for _ in 0..n {
        file.write_all(&[b'x'; 200]).and_then(|()| file.sync_data()).map_err(write)?;
    }
    Ok(started.elapsed())
}
