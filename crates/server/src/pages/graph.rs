//! The graph of a DAG or a run, ready to draw.

use std::collections::{BTreeMap, HashMap};
use tidemill_model::words::noun;

use tidemill_model::run::MapCounts;
use tidemill_model::{Dag, TaskIx, TaskState, Timestamp};

use crate::backend::RunDetail;
use crate::layout::{NODE_HEIGHT, layout};
use crate::say;

use super::parts::State;

/// Graphs with more nodes, after folding, are not drawn.
const NODES_MAX: usize = 400;
/// From so many tasks on, equal siblings are folded.
const FOLD_FROM: usize = 40;
/// So many siblings make a fold.
const FOLD_SIBLINGS: usize = 6;
/// Characters of a name in a box.
const NAME_CHARS: usize = 26;

/// A graph to draw.
pub(super) struct Graph {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Pixels on the page.
    pub(super) shown_width: u32,
    pub(super) shown_height: u32,
    /// Of each box.
    pub(super) node_height: u32,
    pub(super) nodes: Vec<Node>,
    pub(super) lines: Vec<Line>,
    /// States that occur, with how many tasks are in each.
    pub(super) legend: Vec<(State, u32)>,
    pub(super) folded: bool,
}

/// A task, or siblings folded into one.
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) action: &'static str,
    /// The state in a run.
    pub(super) state: Option<State>,
    pub(super) url: String,
    /// Everything, for a tooltip and for readers of screens.
    pub(super) title: String,
    /// More than one task.
    pub(super) stack: bool,
}

/// An edge.
pub(super) struct Line {
    pub(super) path: String,
    pub(super) class: &'static str,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Tasks that are drawn as one.
struct Group {
    members: Vec<TaskIx>,
}

/// The graph of a DAG, or of a run of it. `None` when it is too large to be read.
pub(super) fn graph(dag: &Dag, run: Option<&RunDetail>, now: Timestamp) -> Option<Graph> {
    let groups = fold(dag);
    if groups.is_empty() || groups.len() > NODES_MAX {
        return None;
    }
    let mut group_of = vec![0; dag.tasks().len()];
    for (at, group) in groups.iter().enumerate() {
        for member in &group.members {
            group_of[member.at()] = at;
        }
    }
    let ends = edges_of(dag).into_iter();
    let mut edges: Vec<(usize, usize)> = ends
        .map(|(from, to)| (group_of[from.at()], group_of[to.at()]))
        .filter(|(from, to)| from != to)
        .collect();
    edges.dedup();
    let mut nodes: Vec<Node> =
        groups.iter().enumerate().map(|(at, group)| node(at, dag, run, group, now)).collect();
    let widths: Vec<f64> = nodes.iter().map(|node| f64::from(node.width)).collect();
    let laid = layout(&widths, &edges);
    for (node, place) in nodes.iter_mut().zip(&laid.boxes) {
        (node.x, node.y) = (place.x as u32, place.y as u32);
        node.width = place.width as u32;
    }
    let lines = laid
        .lines
        .into_iter()
        .map(|line| {
            let class = class_of(nodes[line.from].state, nodes[line.to].state);
            Line { path: line.path, class, from: line.from, to: line.to }
        })
        .collect();
    let scale = scale(laid.width);
    Some(Graph {
        width: laid.width as u32,
        height: laid.height as u32,
        shown_width: (laid.width * scale) as u32,
        shown_height: (laid.height * scale) as u32,
        node_height: NODE_HEIGHT as u32,
        folded: groups.len() < dag.tasks().len(),
        nodes,
        lines,
        legend: run.map(legend).unwrap_or_default(),
    })
}

/// What comes before what, as it is drawn: a group, then its members, then what waits for the group.
fn edges_of(dag: &Dag) -> Vec<(TaskIx, TaskIx)> {
    let mut edges = Vec::new();
    for (i, task) in dag.tasks().iter().enumerate() {
        let ix = TaskIx(i as u32);
        if let Some(group) = task.group.filter(|_| task.upstream.is_empty()) {
            edges.push((group, ix));
        }
        for edge in &task.upstream {
            let members = dag.members(edge.task).iter();
            let lasts: Vec<TaskIx> =
                members.copied().filter(|member| dag.downstream(*member).is_empty()).collect();
            match lasts.as_slice() {
                [] => edges.push((edge.task, ix)),
                lasts => edges.extend(lasts.iter().map(|last| (*last, ix))),
            }
        }
    }
    edges
}

/// Wide graphs shrink to the page, as long as they can be read; the rest scrolls.
fn scale(width: f64) -> f64 {
    const PAGE: f64 = 1_200.0;
    (PAGE / width).clamp(0.78, 1.0)
}

/// Siblings that differ in nothing but their name are one node, in graphs that need it.
fn fold(dag: &Dag) -> Vec<Group> {
    let single = |ix: usize| Group { members: vec![TaskIx(ix as u32)] };
    let tasks = dag.tasks();
    if tasks.len() < FOLD_FROM {
        return (0..tasks.len()).map(single).collect();
    }
    let mut alike: BTreeMap<(String, Vec<u32>, Vec<u32>), Vec<usize>> = BTreeMap::new();
    for (ix, task) in tasks.iter().enumerate() {
        let stem = task.name.as_str().trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        let mut above: Vec<u32> = task.upstream.iter().map(|edge| edge.task.0).collect();
        let mut below: Vec<u32> =
            dag.downstream(TaskIx(ix as u32)).iter().map(|task| task.0).collect();
        above.sort_unstable();
        below.sort_unstable();
        let stem = format!("{stem}/{}/{}", task.action.key(), task.action.kind());
        alike.entry((stem, above, below)).or_default().push(ix);
    }
    let mut groups: Vec<Group> = Vec::new();
    for members in alike.into_values() {
        if members.len() >= FOLD_SIBLINGS {
            groups.push(Group { members: members.iter().map(|ix| TaskIx(*ix as u32)).collect() });
        } else {
            groups.extend(members.into_iter().map(single));
        }
    }
    groups.sort_by_key(|group| group.members.first().copied());
    groups
}

fn node(at: usize, dag: &Dag, run: Option<&RunDetail>, group: &Group, now: Timestamp) -> Node {
    let first = group.members[0];
    let task = dag.task(first);
    let stack = group.members.len() > 1;
    let full = if stack {
        let stem = task.name.as_str().trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        format!("{stem}_* × {}", group.members.len())
    } else {
        task.name.to_string()
    };
    let name = say::line(&full, NAME_CHARS);
    let states: Vec<TaskState> = run.map_or_else(Vec::new, |run| {
        group.members.iter().filter_map(|ix| run.tasks.get(ix.at())).map(|t| t.state).collect()
    });
    let state = states.iter().copied().max_by_key(|state| urgency(*state));
    let kind = kind_of(dag, first);
    let detail = match (run, state) {
        (Some(_), Some(_)) if stack => summary(&states),
        (Some(run), Some(state)) => detail(run, first, state, now).unwrap_or_else(|| kind.clone()),
        _ => kind.clone(),
    };
    let word = state.map(|state| format!(", {}", State::from(state).word())).unwrap_or_default();
    let url = match run {
        Some(run) if stack => format!("/runs/{}#tasks", run.head.id),
        Some(run) => format!("/runs/{}/tasks/{}", run.head.id, task.name),
        None => format!("#task-{}", task.name),
    };
    Node {
        at,
        x: 0,
        y: 0,
        width: width(&name, &detail),
        name,
        title: format!("{full}, {kind}{word}, {detail}"),
        detail,
        action: task.action.key(),
        state: state.map(State::from),
        url,
        stack,
    }
}

/// Pixels for a name and what stands below it, in whatever font a browser has.
fn width(name: &str, detail: &str) -> u32 {
    let (name, detail) = (name.chars().count() as u32, detail.chars().count() as u32);
    (name * 8 + 62).max(detail * 13 / 2 + 46).max(150)
}

/// `csv`, `sql`, `command`, in the words of the file.
pub(super) fn kind_of(dag: &Dag, ix: TaskIx) -> String {
    let task = dag.task(ix);
    let kind = match task.action.key() {
        "noop" => "noop".to_owned(),
        "tasks" => "group".to_owned(),
        key => format!("{key} {}", task.action.kind()),
    };
    if task.mapping.is_some() { format!("{kind}, mapped") } else { kind }
}

/// `4 items: 3 succeeded, 1 failed`.
pub(super) fn items_of(map: &MapCounts) -> String {
    let states = TaskState::ALL.into_iter().filter(|state| map.of(*state) > 0);
    let states =
        states.map(|s| format!("{} {}", say::count(map.of(s).into()), State::from(s).word()));
    let left = map.items - map.begun;
    let left = (left > 0).then(|| format!("{} not begun", say::count(left.into())));
    let parts: Vec<String> = states.chain(left).collect();
    format!("{}: {}", say::plural(map.items.into(), "item"), parts.join(", "))
}

/// `12,345 rows · 1.2 s`.
fn detail(run: &RunDetail, ix: TaskIx, state: TaskState, now: Timestamp) -> Option<String> {
    let task = run.tasks.get(ix.at())?;
    let took = task.started_at.map(|start| task.finished_at.unwrap_or(now).since(start));
    if let Some(map) = task.map.as_deref() {
        let ended = map.begun - map.open();
        let failed =
            (map.failed() > 0).then(|| format!(", {} failed", say::count(map.failed().into())));
        let (ended, items) = (say::count(ended.into()), say::plural(map.items.into(), "item"));
        return Some(format!("{ended} of {items}{}", failed.unwrap_or_default()));
    }
    match state {
        TaskState::Succeeded => {
            let rows = task.result.as_ref().map(|result| result.counts.rows_out);
            let rows = rows
                .filter(|rows| *rows > 0)
                .map(|rows| format!("{} {}", say::compact(rows), noun(rows, "row")));
            let parts: Vec<String> = rows.into_iter().chain(took.map(say::duration)).collect();
            Some(parts.join(" · "))
        }
        TaskState::Running => Some(format!("running {}", say::duration(took?))),
        TaskState::Failed => Some(format!("failed after {}", say::duration(took?))),
        TaskState::Pending => None,
        state => Some(State::from(state).word()),
    }
}

/// `198 succeeded, 2 failed`.
fn summary(states: &[TaskState]) -> String {
    let mut counts: HashMap<TaskState, u32> = HashMap::new();
    for state in states {
        *counts.entry(*state).or_default() += 1;
    }
    let mut counts: Vec<(TaskState, u32)> = counts.into_iter().collect();
    counts.sort_by_key(|(state, _)| std::cmp::Reverse(urgency(*state)));
    let words = counts.iter().take(2).map(|(s, n)| format!("{n} {}", State::from(*s).word()));
    words.collect::<Vec<_>>().join(", ")
}

/// Which of several states a fold shows.
fn urgency(state: TaskState) -> u8 {
    match state {
        TaskState::Failed => 10,
        TaskState::Running => 9,
        TaskState::UpForRetry => 8,
        TaskState::UpstreamFailed => 7,
        TaskState::Waiting => 6,
        TaskState::Cancelled => 5,
        TaskState::Queued => 4,
        TaskState::Pending => 3,
        TaskState::Succeeded => 2,
        TaskState::Skipped => 1,
        TaskState::Removed => 0,
    }
}

fn class_of(from: Option<State>, to: Option<State>) -> &'static str {
    match (from.map(|state| state.class), to.map(|state| state.class)) {
        (_, Some("upstream_failed")) => "bad",
        (Some("succeeded" | "skipped"), Some("running" | "up_for_retry")) => "live",
        (Some("succeeded" | "skipped"), _) => "done",
        _ => "open",
    }
}

fn legend(run: &RunDetail) -> Vec<(State, u32)> {
    let of = |state: TaskState| run.tasks.iter().filter(|task| task.state == state).count() as u32;
    TaskState::ALL
        .into_iter()
        .map(|state| (State::from(state), of(state)))
        .filter(|(_, n)| *n > 0)
        .collect()
}
