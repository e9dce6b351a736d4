//! Runs that have ended, as they are brought back to go again.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use tidemill_model::rerun::{Again, Rerun, RerunRequest, What, again};
use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::words::listed;
use tidemill_model::{Dag, DagRun, RunId, TaskIx};
use tidemill_store::StoreError;

use crate::kernel::CommandError;
use crate::restore::every_item;
use crate::service::{Refused, Scheduler};

impl Scheduler {
    /// Runs tasks of a run that has ended again; on return that is durable. Blocks on disk.
    pub fn rerun_blocking(&self, request: &RerunRequest) -> Result<Option<Rerun>, Refused> {
        let _one = self.shared.reruns.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &request.run;
        let Some(view) = self.run(id)? else { return Ok(None) };
        if !view.head.state.is_final() {
            return Err(CommandError::NotEnded(id.clone()).into());
        }
        let gone = |why: &str| CommandError::NoVersion { run: id.clone(), why: why.to_owned() };
        let own = view.dag.clone();
        let own = own.ok_or_else(|| gone("its version does not load in this release"))?;
        let dag = if request.latest {
            let now = self.live().dag(&id.dag).and_then(|dag| dag.dag);
            now.ok_or_else(|| gone("its DAG has no version that can run"))?
        } else {
            Arc::clone(&own)
        };
        let mut stored = StoredRun { head: view.head, tasks: view.tasks, items: Vec::new() };
        let run = DagRun::restore(Arc::clone(&own), stored.clone());
        let tasks = again(&run, &dag, choice(&dag, &request.what)?);
        if tasks.is_empty() {
            return Err(CommandError::NothingFailed(id.clone()).into());
        }
        let plan = Rerun::of(&run, &dag, &tasks, !request.preview);
        if !request.preview {
            if run.head.version == dag.version {
                stored.items = self.items_that_stay(id, &dag, &tasks)?;
            }
            let run = DagRun::restore(own, stored);
            let who = request.who.clone();
            self.call_blocking(move |kernel, now| kernel.rerun(run, &dag, &tasks, &who, now))??;
        }
        Ok(Some(plan))
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
        What::From(name) => dag.find(name).map(Again::From).ok_or_else(|| CommandError::NoTask {
            dag: dag.id.clone(),
            task: name.clone(),
            known: listed(dag.tasks().iter().map(|task| task.name.as_str())),
        }),
    }
}
