//! Operations on runs that may have ended: those are brought back as they are stored.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use tidemill_model::rerun::{
    Again, MarkRequest, Marked, Marking, Rerun, RerunRequest, What, again,
};
use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::words::listed;
use tidemill_model::{Dag, DagRun, RunId, TaskIx};
use tidemill_store::StoreError;

use crate::kernel::operations::Mark;
use crate::kernel::{CommandError, Kernel};
use crate::restore::every_item;
use crate::service::{Refused, Scheduler};

impl Scheduler {
    /// Runs tasks of a run again; on return that is durable. Of one that has not ended, those tasks
    /// begin anew while the others go on. Blocks on disk.
    pub fn rerun_blocking(&self, request: &RerunRequest) -> Result<Option<Rerun>, Refused> {
        let _one = self.lock_reruns();
        let id = &request.run;
        let Some((own, mut stored)) = self.as_it_is(id)? else { return Ok(None) };
        let dag = if request.latest {
            let now = self.live().dag(&id.dag).and_then(|dag| dag.dag);
            now.ok_or_else(|| gone(id, "its DAG has no version that can run"))?
        } else {
            Arc::clone(&own)
        };
        let has_ended = stored.head.state.is_final();
        if !has_ended && dag.version != own.version {
            return Err(CommandError::NotEnded(id.clone()).into());
        }
        let run = DagRun::restore(Arc::clone(&own), stored.clone());
        let tasks = again(&run, &dag, choice(&dag, &request.what)?);
        if tasks.is_empty() {
            return Err(CommandError::NothingFailed(id.clone()).into());
        }
        if !has_ended {
            let tasks: Vec<TaskIx> = tasks.iter().copied().collect();
            if let Some(ix) = run.first_under_way(&tasks) {
                let task = dag.task(ix).name.to_string();
                return Err(CommandError::UnderWay { run: id.clone(), task }.into());
            }
        }
        let plan = Rerun::of(&run, &dag, &tasks, !request.preview);
        if request.preview {
            return Ok(Some(plan));
        }
        let (id, who) = (id.clone(), request.who.clone());
        if has_ended {
            if run.head.version == dag.version {
                stored.items = self.items_that_stay(&id, &dag, &tasks)?;
            }
            let run = DagRun::restore(own, stored);
            self.call_blocking(move |kernel, now| kernel.rerun(run, &dag, &tasks, &who, now))??;
        } else {
            self.call_blocking(move |kernel, now| kernel.reopen(&id, &tasks, &who, now))??;
        }
        Ok(Some(plan))
    }

    /// Says of tasks of a run how they ended; on return that is durable. Blocks on disk.
    pub fn mark_blocking(&self, request: &MarkRequest) -> Result<Option<Marked>, Refused> {
        let _one = self.lock_reruns();
        let id = request.run.clone();
        let Some((dag, mut stored)) = self.as_it_is(&id)? else { return Ok(None) };
        let run = DagRun::restore(Arc::clone(&dag), stored.clone());
        let tasks = request.tasks.iter().map(|name| find(&dag, name));
        let tasks: Vec<TaskIx> = tasks.collect::<Result<_, _>>()?;
        let state = request.state;
        let marking = Marking::of(&run, &tasks, state);
        if marking.marked.is_empty() {
            return Err(CommandError::NothingToMark { run: id, state }.into());
        }
        let answer = marking.answer(&run, state, !request.preview);
        if request.preview {
            return Ok(Some(answer));
        }
        let ended = if stored.head.state.is_final() {
            stored.items = self.items_that_stay(&id, &dag, &marking.again)?;
            Some(DagRun::restore(dag, stored))
        } else {
            None
        };
        let mark = Mark { state, who: request.who.clone(), note: request.note.clone() };
        let call = move |kernel: &mut Kernel, now| kernel.mark(ended, &id, &marking, &mark, now);
        self.call_blocking(call)??;
        Ok(Some(answer))
    }

    /// Leaves a note on a run, or on a task of it; on return it is durable. `false` when there is no
    /// such run. Blocks on disk.
    pub fn note_blocking(
        &self,
        id: &RunId,
        task: Option<&str>,
        note: (String, String),
    ) -> Result<bool, Refused> {
        let _one = self.lock_reruns();
        let Some((dag, mut stored)) = self.as_it_is(id)? else { return Ok(false) };
        let about = task.map(|name| find(&dag, name)).transpose()?;
        let ended = if stored.head.state.is_final() {
            stored.items = self.items_that_stay(id, &dag, &BTreeSet::new())?;
            Some(DagRun::restore(dag, stored))
        } else {
            None
        };
        let id = id.clone();
        self.call_blocking(move |kernel, now| kernel.note(ended, &id, about, note, now))??;
        Ok(true)
    }

    /// One at a time: each begins with what is stored of its run's end.
    fn lock_reruns(&self) -> MutexGuard<'_, ()> {
        self.shared.reruns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run as it is, without the items of its mapped tasks, and the version that it runs.
    fn as_it_is(&self, id: &RunId) -> Result<Option<(Arc<Dag>, StoredRun)>, Refused> {
        let Some(view) = self.run(id)? else { return Ok(None) };
        let dag = view.dag.ok_or_else(|| gone(id, "its version does not load in this release"))?;
        let stored = StoredRun { head: view.head, tasks: view.tasks, items: Vec::new() };
        Ok(Some((dag, stored)))
    }

    /// Items of mapped tasks whose results stay: others may ask for the values that they left.
    fn items_that_stay(
        &self,
        id: &RunId,
        dag: &Dag,
        again: &BTreeSet<TaskIx>,
    ) -> Result<Vec<StoredItem>, StoreError> {
        let all = (0..).map(TaskIx).take(dag.tasks().len());
        let stay = all.filter(|ix| dag.root(*ix) == Some(*ix) && !again.contains(ix));
        let mut items = Vec::new();
        for task in stay {
            items.extend(every_item(|first, limit| self.items(id, task, first, limit))?);
        }
        Ok(items)
    }
}

fn choice(dag: &Dag, what: &What) -> Result<Again, CommandError> {
    match what {
        What::Failed => Ok(Again::Failed),
        What::All => Ok(Again::All),
        What::From(name) => find(dag, name).map(Again::From),
    }
}

fn find(dag: &Dag, name: &str) -> Result<TaskIx, CommandError> {
    dag.find(name).ok_or_else(|| CommandError::NoTask {
        dag: dag.id.clone(),
        task: name.to_owned(),
        known: listed(dag.tasks().iter().map(|task| task.name.as_str())),
    })
}

fn gone(id: &RunId, why: &str) -> CommandError {
    CommandError::NoVersion { run: id.clone(), why: why.to_owned() }
}
