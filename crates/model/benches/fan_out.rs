//! What a run costs the model: 1 → n → 1, each attempt reported by itself, everything decided and
//! admitted after each report. Linear when the time of a step does not grow with n.
//!
//! `cargo bench -p tidemill-model`; the last column is the figure to watch.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at a surprise")]

use std::sync::Arc;
use std::time::Instant;

use serde_json::Map;
use tidemill_model::dag::{DagHead, Edge, Task};
use tidemill_model::{
    Action, Admission, Dag, DagRun, Event, Instance, Limits, RunEvent, RunId, TaskIx, TaskResult,
    Timestamp, Trigger, Version, decide,
};

fn task(name: &str, upstream: impl Iterator<Item = u32>) -> Task {
    let edge = |up| Edge { task: TaskIx(up), why: vec!["depends_on".to_owned()] };
    let pool = "default".parse().unwrap();
    Task {
        upstream: upstream.map(edge).collect(),
        ..Task::new(name.parse().unwrap(), pool, Action::Noop)
    }
}

fn fan(n: u32) -> Arc<Dag> {
    let mut tasks = vec![task("first", std::iter::empty())];
    tasks.extend((1..=n).map(|i| task(&format!("t{i}"), std::iter::once(0))));
    tasks.push(task("last", 1..=n));
    let head = DagHead::new("fan".parse().unwrap(), Version::of(&n.to_be_bytes()));
    Arc::new(Dag::new(head, tasks).unwrap())
}

struct World {
    run: DagRun,
    admission: Admission,
    open: Vec<(Instance, u32)>,
    events: u64,
}

impl World {
    fn new(dag: Arc<Dag>) -> Self {
        let created = RunEvent::Created {
            version: dag.version.clone(),
            trigger: Trigger::Manual { who: "bench".to_owned() },
            params: Map::new(),
            interval: None,
            lane: None,
            at: Timestamp::default(),
        };
        let id = RunId { dag: dag.id.clone(), number: 1 };
        let run = DagRun::create(dag, id, &created).unwrap();
        let pools = [("default".parse().unwrap(), 32)];
        let mut admission = Admission::new(Limits::default(), pools);
        admission.apply(&run, &created);
        Self { run, admission, open: Vec::new(), events: 1 }
    }

    fn record(&mut self, event: &RunEvent) {
        self.run.apply(event).unwrap();
        self.admission.apply(&self.run, event);
        self.events += 1;
        if let RunEvent::AttemptStarted { task, attempt, .. } = event {
            self.open.push((*task, *attempt));
        }
    }

    fn settle(&mut self) {
        loop {
            loop {
                let events = decide(&self.run, Timestamp::default());
                if events.is_empty() {
                    break;
                }
                for event in &events {
                    self.record(event);
                }
            }
            let started = self.admission.admit(Timestamp::default());
            if started.is_empty() {
                return;
            }
            for event in started {
                if let Event::Run(_, event) = event {
                    self.record(&event);
                }
            }
        }
    }

    fn run(&mut self) {
        self.settle();
        while let Some((task, attempt)) = self.open.pop() {
            let (result, at) = (TaskResult::default(), Timestamp::default());
            self.record(&RunEvent::AttemptSucceeded { task, attempt, result, at });
            self.settle();
        }
        assert!(self.run.head.state.is_final());
    }
}

fn main() {
    println!("{:>8} {:>10} {:>12} {:>12}", "n", "events", "ms", "us per task");
    for n in [200, 1_000, 5_000, 20_000, 80_000] {
        let dag = fan(n);
        let mut samples: Vec<(f64, u64)> = (0..5)
            .map(|_| {
                let mut world = World::new(Arc::clone(&dag));
                let begin = Instant::now();
                world.run();
                (begin.elapsed().as_secs_f64() * 1e6, world.events)
            })
            .collect();
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (us, events) = samples[samples.len() / 2];
        println!("{n:>8} {events:>10} {:>12.2} {:>12.2}", us / 1e3, us / f64::from(n));
    }
}
