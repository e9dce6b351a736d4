//! What must hold between two steps: the kernel is what is durable, and nothing is stuck.

use tidemill_model::admission::PoolState;
use tidemill_model::{
    Action, Admission, AttemptId, DagRun, Instance, RunState, TaskState, Timestamp, Trigger,
};
use tidemill_scheduler::Kernel;

use crate::truth::{Truth, same};
use crate::{Rule, hold};

/// The kernel's runs and DAGs are those of the journal.
pub(crate) fn kernel_is_true(kernel: &Kernel, truth: &Truth) -> Rule {
    let (live, expected) = (kernel.runs().count(), truth.unfinished().count());
    hold!(live == expected, "{live} runs are live, {expected} are not finished");
    for run in truth.unfinished() {
        let live = kernel.run(&run.head.id);
        same(live.ok_or_else(|| format!("run {} is not live", run.head.id))?, run)?;
    }
    for (id, record) in &truth.dags {
        let live = kernel.dags().get(id).map(|entry| &entry.record);
        hold!(live == Some(record), "DAG {id}: {live:?} is not {record:?}");
    }
    admission_is_true(kernel.admission(), truth)
}

/// Admission counts what the runs say.
fn admission_is_true(admission: &Admission, truth: &Truth) -> Rule {
    // Runs that tasks called for begin at once, and no limit counts them.
    let own = |run: &&DagRun| !matches!(run.head.trigger, Trigger::Call { .. });
    let goes_on = |run: &&DagRun| run.head.held_by.is_none();
    let count =
        |state| truth.runs.values().filter(own).filter(|run| run.head.state == state).count();
    let held = truth.runs.values().filter(own).filter(|run| !goes_on(run));
    let held = held.filter(|run| run.head.state == RunState::Queued).count();
    let (queued, running) = (admission.queued_runs(), admission.running_runs() as usize);
    hold!(queued == count(RunState::Queued) - held, "{queued} runs queue");
    hold!(running == count(RunState::Running), "{running} runs run");
    hold!(admission.running_attempts() as usize == truth.slots_taken(), "slots leak");
    for PoolState { name, used, queued, .. } in admission.waits(Timestamp::MIN).pools() {
        let slots_of = |run: &DagRun, at: Instance, state| {
            let task = run.dag().task(at.task);
            let in_pool = task.pool == *name && !run.is_container(at);
            let is_there = in_pool && run.instance(at).is_some_and(|task| task.state == state);
            is_there.then_some(task.slots)
        };
        let tasks = |state| {
            let counts = move |run: &&DagRun| goes_on(run) || state == TaskState::Running;
            let of_run = move |run| {
                DagRun::open_instances(run).filter_map(move |at| slots_of(run, at, state))
            };
            truth.unfinished().filter(counts).flat_map(of_run).collect::<Vec<u32>>()
        };
        let running: u32 = tasks(TaskState::Running).into_iter().sum();
        hold!(*used == running, "pool {name}: {used} slots in use");
        hold!(*queued == tasks(TaskState::Queued).len(), "pool {name}: {queued} tasks queue");
    }
    Ok(())
}

/// Every run waits for something that is there: an attempt under way, an instant to come, a slot
/// that another has, an operator who put a limit.
pub(crate) fn nothing_is_stuck(
    kernel: &Kernel,
    now: Timestamp,
    under_way: impl Fn(&AttemptId) -> bool,
) -> Rule {
    for run in kernel.runs() {
        waits_for_something(kernel, run, now, &under_way)
            .map_err(|what| format!("run {} is stuck: {what}", run.head.id))?;
    }
    let wake = kernel.next_wake(now);
    hold!(
        wake.is_none_or(|wake| wake > now),
        "what was due at {wake:?} is not dealt with at {now}"
    );
    for (id, entry) in kernel.dags() {
        for (key, pending) in &entry.record.pending {
            let listen = entry.record.listens.get(key).ok_or("signals that nobody waits for")?;
            let goes = entry.dag.is_some() && entry.record.served && !entry.record.paused;
            let by_it = |run: &DagRun| {
                let head = &run.head;
                head.id.dag == *id && !head.state.is_final() && head.trigger.key() == Some(key)
            };
            let waits = listen.gathers() && kernel.runs().any(by_it);
            hold!(
                !goes || waits || listen.next(pending).is_none(),
                "DAG {id} takes nothing: {pending:?}"
            );
        }
        let scheduled = entry.dag.as_ref().is_some_and(|dag| dag.timers().next().is_some());
        let wanted = scheduled && !entry.record.paused && !entry.record.retired;
        hold!(entry.next.is_some() == wanted, "DAG {id}: its next tick is {:?}", entry.next);
    }
    Ok(())
}

fn waits_for_something(
    kernel: &Kernel,
    run: &DagRun,
    now: Timestamp,
    under_way: &impl Fn(&AttemptId) -> bool,
) -> Rule {
    let waits = kernel.admission().waits(now);
    if run.head.held_by.is_some() && !run.head.cancel_requested {
        return Ok(());
    }
    if run.head.state == RunState::Queued {
        hold!(waits.why_run(&run.head).is_some(), "it queues, and may run");
        return Ok(());
    }
    hold!(run.ready().next().is_none(), "a ready task is not settled");
    hold!(run.next_timer().is_none_or(|at| at > now), "a retry is overdue");
    let mut reasons = usize::from(run.next_timer().is_some());
    for (at, called) in run.calls() {
        let is_live = kernel.run(called).is_some_and(|run| !run.head.state.is_final());
        hold!(is_live, "{} waits for run {called}, which has ended", run.dag().name_of(at));
        reasons += 1;
    }
    for at in run.open_instances() {
        let Some(task) = run.instance(at) else { continue };
        let name = run.dag().name_of(at);
        match task.state {
            TaskState::Queued => {
                let why = waits.why_task(&run.head.id.dag, run.dag().task(at.task));
                hold!(why.is_some(), "task {name} queues, and may run");
                reasons += 1;
            }
            TaskState::Waiting => match run.dag().task(at.task).action {
                Action::Wait(_) => hold!(task.until.is_some(), "task {name} waits for no instant"),
                Action::Call(_) => hold!(task.called.is_some(), "task {name} waits for no run"),
                _ => reasons += 1,
            },
            // What a group waits for is inside.
            TaskState::Running if run.is_container(at) && !task.gathering => {}
            TaskState::Running => {
                let id = AttemptId { run: run.head.id.clone(), task: at, attempt: task.attempts };
                hold!(under_way(&id), "nobody works on attempt {} of task {name}", id.attempt);
                reasons += 1;
            }
            _ => {}
        }
    }
    hold!(reasons > 0, "it waits for nothing");
    Ok(())
}
