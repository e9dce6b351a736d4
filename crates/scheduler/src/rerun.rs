//! Runs that have ended, and go again: a new generation of the same run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_model::dag::Action;
use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::selection::{Again, again};
use tidemill_model::words::listed;
use tidemill_model::{Dag, DagRun, RunId, TaskIx, Version};

use tidemill_store::StoreError;

use crate::kernel::CommandError;
use crate::service::{Refused, Scheduler};

/// What goes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// What failed, could not run or was cancelled, and all that comes after it.
    Failed,
    /// A task, and all that comes after it.
    From(String),
    /// Everything.
    All,
}

/// Somebody wants a run to go again.
#[derive(Debug, Clone)]
pub struct RerunRequest {
    /// The run.
    pub run: RunId,
    /// What of it.
    pub what: What,
    /// With the version that the DAG has now, in place of its own.
    pub latest: bool,
    /// Nothing is done: the answer says what would be.
    pub preview: bool,
    /// Who asks, as far as is known.
    pub who: String,
}

/// What goes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    /// The run.
    pub run: RunId,
    /// Its generation from now on.
    pub generation: u32,
    /// The version that it goes on with.
    pub version: Version,
    /// The tasks that go again, in the order of the DAG.
    pub again: Vec<String>,
    /// Those whose results stay.
    pub kept: Vec<String>,
    /// Those among the tasks that go again which write to another system.
    pub loads: Vec<String>,
}

impl Scheduler {
    /// Runs tasks of a run that has ended again; on return that is durable. Blocks on disk.
    pub fn rerun_blocking(&self, request: &RerunRequest) -> Result<Option<Rerun>, Refused> {
        // One after the other: each begins with what is stored of the run's end.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
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
        let plan = plan(&run, &dag, &tasks);
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
}

impl Scheduler {
    /// Items of mapped tasks whose results stay: others may ask for the values that they left.
    fn items_that_stay(
        &self,
        id: &RunId,
        dag: &Dag,
        again: &BTreeSet<TaskIx>,
    ) -> Result<Vec<StoredItem>, StoreError> {
        const PAGE: usize = 4_096;
        let all = (0..).map(TaskIx).take(dag.tasks().len());
        let stay = all.filter(|ix| dag.root(*ix) == Some(*ix) && !again.contains(ix));
        let mut items = Vec::new();
        for task in stay {
            let mut first = 0;
            loop {
                let page = self.items(id, task, first, PAGE)?;
                let Some(last) = page.last() else { break };
                first = last.item + 1;
                items.extend(page);
            }
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

fn plan(run: &DagRun, dag: &Dag, tasks: &BTreeSet<TaskIx>) -> Rerun {
    let named = |of: &dyn Fn(TaskIx) -> bool| -> Vec<String> {
        let wanted = dag.order().iter().filter(|ix| of(**ix));
        wanted.map(|ix| dag.task(*ix).name.to_string()).collect()
    };
    Rerun {
        run: run.head.id.clone(),
        generation: run.head.generation + 1,
        version: dag.version.clone(),
        again: named(&|ix| tasks.contains(&ix)),
        kept: named(&|ix| !tasks.contains(&ix)),
        loads: named(&|ix| {
            tasks.contains(&ix) && matches!(dag.task(ix).action, Action::Load { .. })
        }),
    }
}
