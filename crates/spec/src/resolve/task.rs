//! A whole task: its action and what its modifiers mean.

use indexmap::IndexMap;
use serde_json::Map;
use tidemill_model::admission::DEFAULT_POOL;
use tidemill_model::dag::{Cache, CheckRule, Mapping, Resources, Task};
use tidemill_model::expr::Expr;
use tidemill_model::template::Template;
use tidemill_model::{TaskIx, TaskName, VarName};

use super::exprs::Spot;
use super::tables::Own;
use super::uses::Uses;
use super::{LATER_VALUES, RUN_VALUES, Resolver};
use crate::codes;
use crate::read::value;
use crate::report::{listed, quoted};
use crate::spec::{ActionSpec, TaskSpec};

impl<'c, 'n> Resolver<'c, 'n, '_, '_> {
    /// Resolves the task at `at`. Where something is wrong, the report says so and the rest of
    /// the task is resolved all the same.
    pub(crate) fn task(&mut self, at: usize) -> (Task, Uses) {
        let spec = self.spec;
        let task = &spec.tasks[at];
        let mut uses = Uses::new(at, &task.name);
        let group = task.group.map(|group| spec.tasks[group].name.as_str());
        self.names.enter(group);
        let mapping = self.mapping(task, &mut uses);
        self.item = self.item_of(at);
        let mut resolved = self.resolved(task, group, mapping, &mut uses);
        resolved.forms = self.forms_of_task(task, group, &mut uses);
        super::forms::read_task(&mut resolved);
        self.item = None;
        self.names.enter(None);
        (resolved, uses)
    }

    /// The task as it is meant, seen from inside of a group or from outside of all; its mapping is
    /// known already.
    pub(crate) fn resolved(
        &mut self,
        task: &'c TaskSpec<'n>,
        group: Option<&str>,
        mapping: Option<Mapping>,
        uses: &mut Uses,
    ) -> Task {
        self.inputs(task, uses);
        let action = self.action(task, uses);
        self.names.enter(group);
        self.checks(task, uses);
        self.depends_on(task, uses);
        let when = task.when.and_then(|node| self.bare(node, Spot::truth("when"), uses));
        let bind = self.bind(task, uses);
        let env = self.env(task, uses);
        let workdir = self.workdir(task, uses);
        let cache = task.cache.as_ref().map(|cache| Cache {
            max_age: cache.max_age,
            key: cache.key.and_then(|node| self.bare(node, Spot::of("cache key"), uses)),
        });
        self.pool(task);
        Task {
            name: task.name.parse().unwrap_or_else(|_| stand_in(uses.at)),
            action,
            upstream: Vec::new(),
            reads: uses.take_reads(),
            reads_run_tasks: uses.run_tasks,
            bind,
            when,
            trigger_rule: task.trigger_rule,
            retry: task.retry,
            timeout: task.timeout,
            queue_timeout: None,
            checks: task.checks.iter().map(|check| check.check.clone()).collect(),
            pool: task.pool.clone(),
            env,
            workdir,
            // Those of `defaults` are for commands.
            resources: if matches!(task.action, Some(ActionSpec::Run(_))) {
                task.resources
            } else {
                Resources::default()
            },
            cache,
            outputs: task.outputs.clone(),
            group: task.group.map(|group| TaskIx(group as u32)),
            mapping,
            is_finally: task.is_finally,
            slots: 1,
            priority: 0,
            rate: None,
            forms: Map::new(),
        }
    }

    fn inputs(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) {
        for input in &task.from {
            self.table_as(input.alias, input.table, input.place, Own::Refused, uses);
            let Some((format, place)) = input.format else { continue };
            if matches!(task.action, Some(ActionSpec::Run(_))) {
                uses.as_file(input.alias, format);
            } else {
                let message = "only a command is handed its tables as files";
                self.report
                    .error(&codes::NOT_HERE, place, message)
                    .help(format!("write `{}: {}`", input.alias, input.table));
            }
        }
    }

    fn checks(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) {
        for check in &task.checks {
            match (&check.check.rule, check.sql) {
                (CheckRule::Sql(_), Some(node)) => self.query(node, Own::Allowed, uses),
                (CheckRule::Where(_), Some(node)) => self.row_expr(node, uses),
                _ => {}
            }
        }
    }

    fn depends_on(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) {
        for (name, place) in &task.depends_on {
            match self.names.task(name) {
                Some(at) if at == uses.at => {
                    let message = format!("task `{name}` depends on itself");
                    self.report.error(&codes::READS_ITSELF, *place, message).help("remove it");
                }
                Some(at) => {
                    let upstream = &self.spec.tasks[at];
                    let group = upstream.group.filter(|group| task.group != Some(*group));
                    if let Some(group) = group {
                        let (group, member) = (&self.spec.tasks[group].name, &upstream.name);
                        let message =
                            format!("`{member}` cannot be waited for outside of its group");
                        self.report
                            .error(&codes::NOT_OUTSIDE, *place, message)
                            .help(format!("write `{group}`: the group is waited for as a whole"));
                    }
                    uses.edge(at, &upstream.name, "depends_on".to_owned(), *place);
                }
                None => {
                    let near = if name.contains("${{") {
                        Some(value::NO_EXPR.to_owned())
                    } else {
                        self.report.did_you_mean(name, self.names.tasks())
                    };
                    let message = format!(
                        "task {} depends on {}, which does not exist",
                        quoted(&task.name),
                        quoted(name)
                    );
                    self.report
                        .error(&codes::UNKNOWN_TASK, *place, message)
                        .label("no task has this name")
                        .maybe_help(near)
                        .or_help(|| self.names.tasks_help());
                }
            }
        }
    }

    fn bind(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) -> IndexMap<VarName, Expr> {
        let mut bind = IndexMap::new();
        for entry in &task.bind {
            let name: Option<VarName> = value::name(&entry.key, entry.place, self.report);
            let taken = if self.spec.param_names.contains(entry.key.as_str()) {
                Some("a param")
            } else if RUN_VALUES.contains(&entry.key.as_str())
                || LATER_VALUES.contains(&entry.key.as_str())
            {
                Some("a value of the run")
            } else {
                None
            };
            if let Some(taken) = taken {
                let message = format!("`bind` cannot redefine `{}`, which is {taken}", entry.key);
                self.report
                    .error(&codes::NAME_TAKEN, entry.place, message)
                    .help("use another name");
            }
            let why = format!("bind {}", entry.key);
            let expr = self.bare(&entry.node, Spot::with_secrets(&why), uses);
            if let (Some(name), Some(expr)) = (name, expr) {
                bind.insert(name, expr);
            }
        }
        bind
    }

    fn env(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) -> IndexMap<String, Template> {
        let is_command = matches!(task.action, Some(ActionSpec::Run(_)));
        let mut env = IndexMap::new();
        if is_command {
            let literal = |text: &String| Template::Literal(text.clone().into());
            env.extend(task.folder_env.iter().map(|(name, text)| (name.clone(), literal(text))));
        }
        for entry in task.env.iter().filter(|_| is_command) {
            let what = format!("variable {}", quoted(&entry.key));
            let why = format!("env {}", entry.key);
            let Some(text) = value::scalar(&what, &entry.node, entry.place, self.report) else {
                continue;
            };
            if self.text(&entry.node, Spot::with_secrets(&why), uses)
                && let Ok(template) = Template::parse_text(&text)
            {
                env.insert(entry.key.clone(), template);
            }
        }
        env
    }

    fn pool(&mut self, task: &TaskSpec<'n>) {
        let Some(known) = &self.catalog.pools else { return };
        let name = task.pool.as_str();
        if name == DEFAULT_POOL || known.iter().any(|pool| pool == name) {
            return;
        }
        let names = || known.iter().map(String::as_str);
        let near = self.report.did_you_mean(name, names());
        let help = near.unwrap_or_else(|| match known.as_slice() {
            [] => "there are none: add it to `pools.yaml`".to_owned(),
            _ => format!("there are {}", listed(names())),
        });
        let message =
            format!("task `{}` uses the pool {}, which does not exist", task.name, quoted(name));
        let place = task.pool_place.unwrap_or(task.place);
        self.report.error(&codes::UNKNOWN_POOL, place, message).help(help);
    }
}

/// A name for a task whose own is none, so that the graph can be looked at all the same.
fn stand_in(at: usize) -> TaskName {
    #[expect(clippy::expect_used, reason = "letters and digits are a name")]
    format!("task_{at}").parse().expect("a task name")
}
