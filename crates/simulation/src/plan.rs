//! DAGs to run: small ones, with every trigger rule, retries, two pools, and schedules in zones
//! whose clocks are about to change.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use indexmap::IndexMap;
use tidemill_model::dag::{
    Approve, Call, Concurrency, Consume, DagHead, Edge, Group, Listen, Mapping, Overlap, Rate,
    Task, Tolerance, TriggerDef, Wait,
};
use tidemill_model::expr::Expr;
use tidemill_model::retry::RetryPolicy;
use tidemill_model::schedule::{Catchup, Clock, Schedule, Timer};
use tidemill_model::template::Template;
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{Action, Dag, PoolName, RunState, TaskIx, Timestamp, Version};

use crate::draw::Draw;

/// What may be drawn of a DAG.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    /// Whether it may have a schedule.
    pub(crate) scheduled: bool,
    /// Whether time may change how it ends: groups with a timeout, and mapped tasks that do not
    /// begin every item.
    pub(crate) timed: bool,
    /// About when it lives.
    pub(crate) around: Timestamp,
}

/// A story begins a little before a clock change, or on a plain day.
pub(crate) fn begin(draw: &mut Draw) -> Timestamp {
    let instants = [
        "2026-03-28T22:00:00Z",
        "2026-10-24T22:00:00Z",
        "2026-11-01T03:00:00Z",
        "2027-03-14T05:00:00Z",
        "2026-06-10T08:59:30Z",
    ];
    draw.pick(&instants).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The slots of the two pools; some tasks name a third, which does not exist.
pub(crate) fn pools(slots: [u32; 2]) -> Vec<(PoolName, u32)> {
    ["default", "narrow"]
        .iter()
        .zip(slots)
        .filter_map(|(p, n)| Some((p.parse().ok()?, n)))
        .collect()
}

/// A DAG with this name; `salt` tells its versions apart.
pub(crate) fn any_dag(draw: &mut Draw, name: &str, salt: u64, traits: Traits) -> Option<Arc<Dag>> {
    let n = 1 + draw.below(7);
    let mut tasks = Vec::new();
    for place in 0..n {
        tasks.push(any_task(draw, &format!("t{place}"), 0, place)?);
    }
    for task in &mut tasks {
        if draw.permille(120) {
            task.action = any_wait(draw, name, traits)?;
            task.timeout = traits.timed.then(|| Duration::from_secs(60 * (1 + draw.below(90))));
        }
    }
    for place in 0..n {
        if draw.permille(150) {
            make_group(draw, &mut tasks, place as usize, traits)?;
        }
        if draw.permille(150) {
            tasks[place as usize].mapping = Some(any_mapping(draw, traits)?);
        }
    }
    if !traits.timed {
        // What waits for a pace comes in another order when a crash takes time.
        for task in &mut tasks {
            task.rate = None;
        }
    }
    for task in &mut tasks {
        if traits.timed && draw.permille(100) {
            task.queue_timeout = Some(Duration::from_secs(30 * (1 + draw.below(60))));
        }
    }
    let zone = draw.pick(&[Tz::UTC, Tz::Europe__Zurich, Tz::America__New_York])?;
    let schedule = if traits.scheduled { any_schedule(draw, zone) } else { None };
    let later = Duration::from_mins(draw.below(240));
    let start = draw.permille(300).then(|| traits.around.plus(later));
    let schedule = schedule.map(|timer| TriggerDef::by_clock(Timer { start, ..timer }));
    let head = DagHead {
        timezone: zone,
        start,
        triggers: schedule.into_iter().chain(any_listen(draw, name, traits)).collect(),
        concurrency: any_concurrency(draw, traits),
        timeout: (traits.timed && draw.permille(200))
            .then(|| Duration::from_mins(1 + draw.below(300))),
        auto_pause: (traits.scheduled && draw.permille(200)).then(|| 1 + draw.below(3) as u32),
        ..DagHead::new(name.parse().ok()?, Version::of(format!("{name} {salt}").as_bytes()))
    };
    Dag::new(head, tasks).ok().map(Arc::new)
}

/// What the DAGs before this one do: so none starts itself in the end.
fn any_listen(draw: &mut Draw, name: &str, traits: Traits) -> Option<TriggerDef> {
    let number: u64 = name.strip_prefix('d')?.parse().ok()?;
    if number == 0 || !traits.scheduled || !draw.permille(400) {
        return None;
    }
    let producer = |draw: &mut Draw| format!("d{}", draw.below(number));
    let listen = if draw.permille(300) {
        let ends = [RunState::Succeeded, RunState::Failed, RunState::Cancelled];
        let states = ends.into_iter().filter(|_| draw.permille(600)).collect();
        Listen::Dag { name: producer(draw).parse().ok()?, states }
    } else {
        let mut names: Vec<String> =
            (0..=draw.below(2)).map(|_| format!("{}.t{}", producer(draw), draw.below(3))).collect();
        names.dedup();
        let consume = draw.pick(&[Consume::Each, Consume::Batch, Consume::Latest])?;
        Listen::Datasets { names, all: draw.permille(400), consume }
    };
    Some(TriggerDef::by_others(listen))
}

fn any_schedule(draw: &mut Draw, zone: Tz) -> Option<Timer> {
    let texts =
        ["*/5 * * * *", "0 * * * *", "*/30 1-3 * * *", "30 2 * * *", "30 1 * * *", "@daily"];
    let text = draw.permille(700).then(|| draw.pick(&texts)).flatten()?;
    let timer = Timer::new(Clock::Cron(Schedule::parse(text, zone).ok()?), zone);
    let jitter = Duration::from_secs(if draw.permille(300) { draw.below(900) } else { 0 });
    let catchup = draw.pick(&[Catchup::None, Catchup::None, Catchup::Latest, Catchup::All])?;
    let window = draw.permille(300).then(|| Duration::from_mins(10 + draw.below(300)));
    Some(Timer { offset: jitter, catchup, window, ..timer })
}

/// Makes a group of a task, and adds its members.
fn make_group(draw: &mut Draw, tasks: &mut Vec<Task>, place: usize, traits: Traits) -> Option<()> {
    let first = tasks.len() as u64;
    let name = tasks[place].name.to_string();
    for member in 0..=draw.below(2) {
        let mut task = any_task(draw, &format!("{name}.m{member}"), first, first + member)?;
        task.group = Some(TaskIx(place as u32));
        tasks.push(task);
    }
    tasks[place].action = Action::Group(Group::default());
    if traits.timed && draw.permille(300) {
        tasks[place].timeout = Some(Duration::from_secs(5 + draw.below(60)));
    }
    Some(())
}

/// Something that waits. Calls make runs, and answers come when they like: in a story that must end
/// the same there are neither.
fn any_wait(draw: &mut Draw, name: &str, traits: Traits) -> Option<Action> {
    let wait = || Template::Literal("20s".into());
    Some(match draw.below(if traits.timed { 3 } else { 1 }) {
        0 => Action::Wait(Wait::For(wait())),
        1 => Action::Approve(Approve { message: None, params: IndexMap::new() }),
        _ => {
            // The next one, so that no DAG leads to itself; the last one calls what is not there.
            let number: u64 = name.trim_start_matches('d').parse().ok()?;
            let params = Template::Literal(serde_json::json!({}));
            Action::Call(Call {
                dag: format!("d{}", number + 1).parse().ok()?,
                params,
                table: None,
            })
        }
    })
}

fn any_mapping(draw: &mut Draw, traits: Traits) -> Option<Mapping> {
    let items = draw.below(6);
    let list: Vec<u64> = (0..items).collect();
    let tolerate = if traits.timed { draw.below(3) } else { items };
    Some(Mapping {
        list: Expr::parse(&format!("{list:?}")).ok()?,
        max_parallel: Some(1 + draw.below(3) as u32),
        tolerate: Tolerance::Items(Expr::parse(&tolerate.to_string()).ok()?),
    })
}

/// A task at `place`, after some of those from `first` on.
fn any_task(draw: &mut Draw, name: &str, first: u64, place: u64) -> Option<Task> {
    let mut upstream: Vec<u64> = Vec::new();
    if place > first {
        upstream.extend((0..draw.below(4)).map(|_| first + draw.below(place - first)));
        upstream.sort_unstable();
        upstream.dedup();
    }
    let rule =
        if draw.permille(650) { TriggerRule::AllSuccess } else { draw.pick(&TriggerRule::ALL)? };
    let pool = match draw.below(100) {
        0..70 => "default",
        70..98 => "narrow",
        _ => "gone",
    };
    Some(Task {
        upstream: (upstream.into_iter())
            .map(|up| Edge { task: TaskIx(up as u32), why: vec!["depends_on".to_owned()] })
            .collect(),
        trigger_rule: rule,
        retry: RetryPolicy {
            limit: draw.below(3) as u32,
            delay: Duration::from_secs(10),
            ..RetryPolicy::default()
        },
        // Never more than the pool has, or it waits for ever.
        slots: if pool == "default" && draw.permille(150) { 2 } else { 1 },
        priority: if draw.permille(200) { draw.below(5) as i32 - 2 } else { 0 },
        // By its name, so that all versions have the same.
        rate: name.ends_with('3').then_some(Rate { limit: 2, per: Duration::from_secs(45) }),
        ..Task::new(name.parse().ok()?, pool.parse().ok()?, Action::Noop)
    })
}

/// How many runs at once, of how many kinds. One that is left out, or gives way, ends otherwise when
/// others take longer.
fn any_concurrency(draw: &mut Draw, traits: Traits) -> Option<Concurrency> {
    if !draw.permille(350) {
        return None;
    }
    let overlaps = [Overlap::Queue, Overlap::Queue, Overlap::Skip, Overlap::Replace];
    Some(Concurrency {
        limit: 1 + draw.below(2) as u32,
        overlap: if traits.timed { draw.pick(&overlaps)? } else { Overlap::Queue },
        key: draw.permille(400).then(|| Expr::parse("run.number % 2").ok()).flatten(),
    })
}
