//! A run on a clock of its own: the kernel decides, transforms are computed, and what would reach
//! out of the process is what the test says.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidemill_connector::ConnectorError;
use tidemill_executor::rendered;
use tidemill_model::dag::{Command, DagHead, Task};
use tidemill_model::decide::waiting::{params_of_call, question_of};
use tidemill_model::outputs::{Output, read_values};
use tidemill_model::run::MapRun;
use tidemill_model::template::{Template, as_text};
use tidemill_model::time::human_duration;
use tidemill_model::{
    Action, AttemptId, AttemptOrder, AttemptReport, Counts, Dag, DagRun, Effect, FailureKind,
    Instance, Limits, PoolName, ReportOutcome, RunId, TaskError, TaskIx, TaskResult, TaskState,
    Timestamp,
};
use tidemill_scheduler::{Answer, Kernel, TriggerRequest};
use tidemill_spec::test_file::{DagTest, RowSource, Rows, Stub};

use super::ground::Ground;

/// Connectors that read files, which a test may do.
const OF_FILES: &[&str] = &["csv", "jsonl", "json", "parquet"];

/// Who triggers and answers.
const WHO: &str = "test";

/// A run that is further in the future than this waits for something that does not come.
const HORIZON: Duration = Duration::from_hours(24 * 366 * 10);

/// What a test ran.
pub(crate) struct Drive<'g> {
    ground: &'g mut Ground,
    test: &'g DagTest,
    folder: PathBuf,
    dag: Arc<Dag>,
    /// The DAG as it is written, its calls among it.
    written: Dag,
    kernel: Kernel,
    now: Timestamp,
    /// What stubs do, by when it is due.
    due: BTreeMap<(Timestamp, u64), Due>,
    asked: u64,
    /// Attempts that the executor works on.
    under_way: usize,
    /// Settings of the attempts of the run, by task or item.
    rendered: HashMap<String, Value>,
    finished: HashMap<RunId, DagRun>,
}

/// What a stub does when its time has come.
enum Due {
    /// The attempt ends.
    Report(Box<AttemptReport>),
    /// The attempt begins: it reads rows of the test.
    Start(Arc<AttemptOrder>),
}

impl Due {
    fn id(&self) -> &AttemptId {
        match self {
            Self::Report(report) => &report.id,
            Self::Start(order) => &order.id,
        }
    }
}

/// How a run ended.
pub(crate) struct Ended {
    /// The run.
    pub(crate) run: DagRun,
    /// Settings of its attempts, with their expressions evaluated, by task or item.
    pub(crate) rendered: HashMap<String, Value>,
}

impl<'g> Drive<'g> {
    /// A run of `dag` under the circumstances of a test.
    pub(crate) fn new(
        ground: &'g mut Ground,
        test: &'g DagTest,
        (dag, pools): (&Dag, Vec<(PoolName, u32)>),
        now: Timestamp,
    ) -> Self {
        Self {
            ground,
            test,
            folder: dag.folder.clone(),
            dag: Arc::new(stand_in(dag, test)),
            written: dag.clone(),
            kernel: Kernel::new(Limits::default(), pools),
            now,
            due: BTreeMap::new(),
            asked: 0,
            under_way: 0,
            rendered: HashMap::new(),
            finished: HashMap::new(),
        }
    }

    /// Runs it to its end. `called` are the DAGs that it may call.
    pub(crate) async fn run(mut self, called: Vec<Arc<Dag>>) -> Result<Ended, String> {
        for dag in called {
            self.kernel.bring(dag, self.now);
        }
        let request = TriggerRequest {
            dag: self.dag.id.clone(),
            params: self.test.params.clone(),
            interval: self.test.interval,
            who: WHO.to_owned(),
            part: tidemill_scheduler::Part::default(),
        };
        let run = self.kernel.run_version(&self.dag, &request, self.now);
        let run = run.map_err(|error| error.to_string())?;
        let end = self.now.plus(HORIZON);
        loop {
            self.kernel.settle(self.now);
            let batch = self.kernel.take_batch();
            self.ground.small.keep(batch.small_tables);
            for effect in batch.effects {
                self.carry_out(effect).await;
            }
            self.kernel.forget_finished();
            if let Some(run) = self.finished.remove(&run) {
                self.render_waits(&run);
                return Ok(Ended { run, rendered: self.rendered });
            }
            if self.answer()? {
                continue;
            }
            self.step(&run, end).await?;
        }
    }

    /// Takes in what comes next: a report of real work, or else whatever is due first.
    async fn step(&mut self, run: &RunId, end: Timestamp) -> Result<(), String> {
        if self.under_way > 0 {
            let mut report = self.ground.reports.recv().await.ok_or("the executor is gone")?;
            self.about_rows(&mut report);
            self.under_way -= 1;
            let id = report.id.clone();
            self.kernel.report(report, self.now);
            self.ground.executor.committed(&id);
            return Ok(());
        }
        let of_stub = self.due.first_key_value().map(|((at, _), _)| *at);
        let next = [of_stub, self.kernel.next_wake(self.now)].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else {
            return Err(self.stuck(run));
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Due::Report(report) => {
                    self.kernel.report(*report, self.now);
                }
                Due::Start(order) => self.really(order),
            }
        }
        self.kernel.wake(self.now);
        Ok(())
    }

    /// Lets an error that is about rows of the test speak of them.
    fn about_rows(&self, report: &mut AttemptReport) {
        let ReportOutcome::Failed(error) = &mut report.outcome else { return };
        let whole = [Some(error.message.as_str()), error.place.as_deref()];
        let said: Vec<String> =
            whole.iter().flatten().map(|text| self.ground.in_rows(text)).collect();
        if whole.iter().flatten().zip(&said).all(|(text, said)| text == said) {
            return;
        }
        // What a source would have one set is nothing that a test has.
        error.help =
            Some("these are rows of the test: write values that fit the columns".to_owned());
        let mut said = said.into_iter();
        error.message = said.next().unwrap_or_default();
        error.place = said.next();
    }

    /// What a run waits for that does not come.
    fn stuck(&self, run: &RunId) -> String {
        let waiting = self.kernel.run(run).into_iter().flat_map(|run| {
            let waiting = instances(run).filter(|at| is(run, *at, TaskState::Waiting));
            waiting.map(|at| run.dag().name_of(at)).collect::<Vec<_>>()
        });
        let waiting: Vec<String> = waiting.map(|name| format!("`{name}`")).collect();
        format!(
            "the run does not end within ten years: what waits is {}; a question is answered with \
             `answers`",
            if waiting.is_empty() { "a stub".to_owned() } else { waiting.join(", ") }
        )
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::StartAttempt(order) => self.start(order).await,
            // A test begins with nothing.
            Effect::AdoptAttempt(_) => {}
            Effect::CancelAttempt(id) => {
                let due = self.due.iter().find(|(_, due)| *due.id() == id);
                if let Some(key) = due.map(|(key, _)| *key) {
                    self.due.remove(&key);
                    self.later(Duration::ZERO, report(id, ReportOutcome::Cancelled));
                } else {
                    self.ground.executor.cancel(&id);
                }
            }
            Effect::RunFinished(id) => {
                if let Some(run) = self.kernel.run(&id) {
                    self.finished.insert(id, run.clone());
                }
            }
        }
    }

    fn later(&mut self, after: Duration, report: AttemptReport) {
        self.due_after(after, Due::Report(Box::new(report)));
    }

    fn due_after(&mut self, after: Duration, due: Due) {
        self.asked += 1;
        self.due.insert((self.now.plus(after), self.asked), due);
    }

    /// Answers the questions that the test has answers to; false when there was none. An answer that
    /// does not fit its question is an error.
    fn answer(&mut self) -> Result<bool, String> {
        let mut answers = Vec::new();
        for run in self.kernel.runs() {
            for at in instances(run).filter(|at| is(run, *at, TaskState::Waiting)) {
                let asks = matches!(run.dag().task(at.task).action, Action::Approve(_));
                let name = run.dag().name_of(at.task.into());
                if asks && let Some(answer) = self.test.answers.get(&name) {
                    answers.push((run.head.id.clone(), at, answer));
                }
            }
        }
        let mut some = false;
        for (run, at, answer) in answers {
            let answer = Answer {
                approved: answer.approved,
                values: answer.values.clone(),
                who: WHO.to_owned(),
                note: None,
            };
            let answered = self.kernel.answer(&run, at, answer, self.now);
            answered.map_err(|error| format!("`answers`: {error}"))?;
            some = true;
        }
        Ok(some)
    }

    async fn start(&mut self, order: Arc<AttemptOrder>) {
        let dag = Arc::clone(&order.dag);
        let at = order.id.task;
        let task = dag.task(at.task);
        let of_run = order.id.run.dag == self.dag.id;
        if of_run && order.gather.is_none() {
            self.render(&dag, at, &order);
        }
        let name = dag.name_of(at.task.into());
        let test = self.test;
        let stub = test.stubs.get(&name).filter(|_| of_run && order.gather.is_none());
        if let Some(stub) = stub {
            return self.stub(stub, task, &order).await;
        }
        match &task.action {
            _ if order.gather.is_some() => self.really(order),
            Action::Ingest { connector, .. } => match test.connectors.get(connector) {
                Some(stub) => self.stub(stub, task, &order).await,
                None if OF_FILES.contains(&connector.as_str()) => self.really(order),
                None => self.refuse(&name, connector, &order),
            },
            Action::Run(_) if test.real.contains(&name) => self.really(order),
            Action::Run(_) if !task.outputs.is_empty() => self.refuse(&name, "a command", &order),
            Action::Run(_) => self.done(TaskResult::default(), &order.id),
            Action::Load { .. } => {
                let rows = order.inputs.iter().map(|(_, table)| table.rows).sum();
                let counts = Counts { rows_in: rows, rows_out: rows, ..Counts::default() };
                self.done(TaskResult { counts, ..TaskResult::default() }, &order.id);
            }
            _ => self.really(order),
        }
    }

    fn render(&mut self, dag: &Dag, at: Instance, order: &AttemptOrder) {
        if let Ok(form) = rendered(order) {
            self.rendered.insert(dag.name_of(at), form);
        }
    }

    /// What those have asked and called for that nobody works on.
    fn render_waits(&mut self, run: &DagRun) {
        for at in instances(run) {
            let Some(task) = run.instance(at).filter(|task| task.attempts > 0) else { continue };
            if self.written.is_repeated(at.task) && at.item.is_none() {
                continue;
            }
            let form = match &self.written.task(at.task).action {
                Action::Call(call) => match params_of_call(run, at, call) {
                    Ok(params) => json!({"call": {"dag": call.dag, "params": params}}),
                    Err(_) => continue,
                },
                Action::Approve(_) => json!({"approve": {"message": question_of(run, at)}}),
                Action::Wait(_) => {
                    json!({"wait": {"until": task.until.map(|until| until.to_string())}})
                }
                _ => continue,
            };
            self.rendered.insert(run.dag().name_of(at), form);
        }
    }

    fn really(&mut self, order: Arc<AttemptOrder>) {
        self.under_way += 1;
        self.ground.executor.start(order);
    }

    fn done(&mut self, result: TaskResult, id: &AttemptId) {
        self.later(Duration::ZERO, report(id.clone(), ReportOutcome::Succeeded(result)));
    }

    /// What reaches out of the process, and has no stub.
    fn refuse(&mut self, task: &str, what: &str, order: &AttemptOrder) {
        let message = format!("the test does not say what `{task}` gives, which is {what}");
        let message = message.replace("which is a command", "a command that others read from");
        let error = TaskError::new(FailureKind::Misconfigured, message)
            .help(Some(format!("write `stubs: {{{task}: {}}}`", stub_for(order))));
        self.later(Duration::ZERO, report(order.id.clone(), ReportOutcome::Failed(error)));
    }

    /// Does what a stub says, once it has taken as long as it says, or its time is over.
    async fn stub(&mut self, stub: &Stub, task: &Task, order: &AttemptOrder) {
        let id = order.id.clone();
        if let Some(limit) = task.timeout.filter(|limit| *limit < stub.takes) {
            let message = format!("took longer than its timeout of {}", human_duration(limit));
            let error = TaskError::new(FailureKind::Timeout, message);
            return self.later(limit, report(id, ReportOutcome::Failed(error)));
        }
        let fails = stub.times.is_none_or(|times| order.id.attempt <= times);
        let outcome = match &stub.fails {
            _ if stub.skips => ReportOutcome::Skipped("the test says so".to_owned()),
            Some(message) if fails => {
                let kind = match task.action {
                    Action::Run(_) => FailureKind::Exit,
                    _ => FailureKind::Transient,
                };
                ReportOutcome::Failed(TaskError::new(kind, message))
            }
            _ => match self.read_instead(stub, task, order) {
                Some(Ok(order)) => return self.due_after(stub.takes, Due::Start(Arc::new(order))),
                Some(Err(error)) => ReportOutcome::Failed(self.of_stub(task, error)),
                None => self.given(stub, task).await,
            },
        };
        self.later(stub.takes, report(id, outcome));
    }

    /// For an ingest: the same task, which reads the rows of the stub, so that they are held to its
    /// checks as the real ones are. Types that the stub does not give are those of the task.
    fn read_instead(
        &self,
        stub: &Stub,
        task: &Task,
        order: &AttemptOrder,
    ) -> Option<Result<AttemptOrder, ConnectorError>> {
        let Action::Ingest { connector, config } = &task.action else { return None };
        let rows = stub.tables.get("").filter(|_| stub.tables.len() == 1)?;
        let config = config.render(&order.scope).ok();
        let own = config.as_ref().and_then(|config| config.get("columns")?.as_object());
        let rows = typed(rows.clone(), own, connector == "csv");
        let (connector, settings) = match self.ground.source(&rows, &self.folder) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let mut tasks = order.dag.tasks().to_vec();
        tasks[order.id.task.task.at()].action =
            Action::Ingest { connector: connector.to_owned(), config: Template::Literal(settings) };
        let dag = Dag::new(DagHead::clone(&order.dag), tasks).ok()?;
        Some(Ok(AttemptOrder { dag: Arc::new(dag), ..order.clone() }))
    }

    /// What a stub gives.
    async fn given(&self, stub: &Stub, task: &Task) -> ReportOutcome {
        let outputs = match &task.action {
            // As if the command had written them. A call that is stood in for gives what it likes.
            Action::Run(Command::Argv(words)) if words.is_empty() => Ok(stub.outputs.clone()),
            Action::Run(_) => {
                read_values(&task.outputs, &Value::Object(stub.outputs.clone()).to_string())
            }
            _ => Ok(stub.outputs.clone()),
        };
        let mut result = match outputs {
            Ok(outputs) => TaskResult { outputs, ..TaskResult::default() },
            Err(error) => {
                let message = error.to_string().replace("the command left", "the stub gives");
                let error = TaskError::new(FailureKind::Misconfigured, message)
                    .at(Some(format!("the stub of `{}`", task.name)));
                return ReportOutcome::Failed(error);
            }
        };
        for (table, rows) in &stub.tables {
            let names = (task.name.as_str(), table.as_str());
            match self.ground.table(names, rows, &self.folder).await {
                Ok(made) => {
                    if table.is_empty() {
                        result.counts.rows_in = made.rows;
                        result.counts.rows_out = made.rows;
                    }
                    result.tables.push(made);
                }
                Err(error) => return ReportOutcome::Failed(self.of_stub(task, error)),
            }
        }
        ReportOutcome::Succeeded(result)
    }

    fn of_stub(&self, task: &Task, error: ConnectorError) -> TaskError {
        let place = error.place.map(|place| format!("{}, ", self.ground.in_rows(&place)));
        let place = format!("{}the stub of `{}`", place.unwrap_or_default(), task.name);
        TaskError::new(FailureKind::Misconfigured, self.ground.in_rows(&error.message))
            .at(Some(place))
            .help(Some("write values that fit the columns".to_owned()))
    }
}

/// What a stub of a task would hold, as it is written.
fn stub_for(order: &AttemptOrder) -> String {
    let task = order.dag.task(order.id.task.task);
    let of = |wanted: fn(&Output) -> bool| {
        let found = task.outputs.iter().filter(move |(_, output)| wanted(output));
        found.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    let values = of(Output::is_value);
    let tables = of(|output| matches!(output, Output::Table { .. }));
    let mut parts = Vec::new();
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(|name| format!("{name}: …")).collect();
        parts.push(format!("outputs: {{{}}}", values.join(", ")));
    }
    match tables.as_slice() {
        [] if parts.is_empty() => parts.push("rows: […]".to_owned()),
        [] => {}
        [own] if *own == task.name.short() => parts.push("rows: […]".to_owned()),
        tables => {
            let tables: Vec<String> = tables.iter().map(|name| format!("{name}: […]")).collect();
            parts.push(format!("tables: {{{}}}", tables.join(", ")));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

/// Tasks, and items and their members that have begun.
fn instances(run: &DagRun) -> impl Iterator<Item = Instance> {
    let dag = run.dag();
    (0..dag.tasks().len() as u32).map(TaskIx).flat_map(move |ix| {
        let items = run.map(ix).into_iter().flat_map(MapRun::items).map(|(item, _)| item);
        let inside = items.flat_map(move |item| {
            let members = dag.members(ix).iter().copied();
            std::iter::once(ix).chain(members).map(move |task| Instance::of_item(task, item))
        });
        std::iter::once(Instance::from(ix)).chain(inside)
    })
}

fn is(run: &DagRun, at: Instance, state: TaskState) -> bool {
    run.instance(at).is_some_and(|task| task.state == state)
}

/// Rows with the types that the task would give them: of its own `columns`, and the others as
/// texts when it reads them from `csv`.
fn typed(mut rows: Rows, own: Option<&Map<String, Value>>, is_csv: bool) -> Rows {
    let RowSource::Inline(inline) = &mut rows.from else {
        rows.columns = rows.columns.or_else(|| own.cloned().map(Value::Object));
        return rows;
    };
    if rows.columns.is_some() || (own.is_none() && !is_csv) {
        return rows;
    }
    let mut columns = own.cloned().unwrap_or_default();
    for row in inline.iter_mut().filter_map(Value::as_object_mut) {
        for (name, value) in row {
            if columns.get(name).is_some_and(|kind| kind != UNTYPED) || value.is_null() {
                columns.entry(name.clone()).or_insert_with(|| UNTYPED.into());
                continue;
            }
            let kind = if is_csv { UNTYPED } else { kind_of(value) };
            columns.entry(name.clone()).or_insert_with(|| kind.into());
            if is_csv {
                *value = Value::from(as_text(value));
            }
        }
    }
    rows.columns = Some(Value::Object(columns));
    rows
}

/// The type of a column of which nothing is said.
const UNTYPED: &str = "string";

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        _ => UNTYPED,
    }
}

fn report(id: AttemptId, outcome: ReportOutcome) -> AttemptReport {
    AttemptReport { id, outcome, small_tables: Vec::new() }
}

/// The DAG with commands in the place of calls that have stubs: a call is the kernel's own work,
/// and would not ask.
fn stand_in(dag: &Dag, test: &DagTest) -> Dag {
    let mut tasks = dag.tasks().to_vec();
    for (at, task) in tasks.iter_mut().enumerate() {
        let name = dag.name_of(TaskIx(at as u32).into());
        if matches!(task.action, Action::Call(_)) && test.stubs.contains_key(&name) {
            task.action = Action::Run(Command::Argv(Vec::new()));
        }
    }
    // The edges are as they were, so there is no cycle.
    Dag::new(DagHead::clone(dag), tasks).unwrap_or_else(|_| dag.clone())
}
