//! `tasks.NAME.…`: what expressions read of other tasks.

use tidemill_model::decide::{MAP_FIELDS, TASK_FIELDS};
use tidemill_model::expr::Path;
use tidemill_model::outputs::Output;

use super::Spot;
use crate::codes;
use crate::report::{Place, listed, quoted};
use crate::resolve::Resolver;
use crate::resolve::groups::is_group;
use crate::resolve::uses::Uses;
use crate::spec::{ActionSpec, TaskSpec};

/// The names below `tasks.NAME.` of a task.
fn own_fields(task: &TaskSpec<'_>) -> impl Iterator<Item = &'static str> {
    let is_mapped = task.mapping.for_each.is_some();
    TASK_FIELDS.iter().chain(MAP_FIELDS.iter().filter(move |_| is_mapped)).copied()
}

impl Resolver<'_, '_, '_, '_> {
    pub(super) fn task_name(
        &mut self,
        path: &Path,
        place: Place,
        spot: Spot,
        uses: &mut Uses,
    ) -> bool {
        let name = path.get(1).map_or("", String::as_str);
        let Some(upstream) = self.names.task(name) else {
            let near = self.report.did_you_mean(name, self.names.tasks());
            let message = format!("there is no task {}", quoted(name));
            self.report
                .error(&codes::UNKNOWN_TASK, place, message)
                .label("no task has this name")
                .maybe_help(near)
                .or_help(|| self.names.tasks_help());
            return false;
        };
        if upstream == uses.at {
            let message = format!("task `{name}` reads its own result in {}", spot.place());
            self.report
                .error(&codes::READS_ITSELF, place, message)
                .help("what a task gives is known when it has ended");
            return false;
        }
        let spec = self.spec;
        let member = path.get(2).filter(|member| self.is_member(name, member));
        let (upstream, name, fields) = match member {
            Some(member) => {
                let whole = format!("{name}.{member}");
                (self.names.task(&whole).unwrap_or(upstream), whole, &path[3..])
            }
            None => (upstream, name.to_owned(), path.get(2..).unwrap_or_default()),
        };
        let reader = uses.at;
        if spec.tasks.get(reader).is_some_and(|task| task.group == Some(upstream)) {
            let message =
                format!("a member of `{name}` reads the group itself in {}", spot.place());
            self.report
                .error(&codes::READS_ITSELF, place, message)
                .help("what a group gives is known when its members have ended");
            return false;
        }
        let inside = reader == usize::MAX;
        if !inside && !self.is_seen_outside(upstream, reader) {
            let group = spec.tasks[upstream].group.map_or("", |group| &spec.tasks[group].name);
            let message = format!("`{name}` is there for each item of `{group}`");
            self.report
                .error(&codes::NOT_OUTSIDE, place, message)
                .help(format!("name a value in the `outputs` of `{group}`, and read that"));
            return false;
        }
        uses.edge(upstream, &name, spot.why.to_owned(), place);
        let own: Vec<&str> = own_fields(&spec.tasks[upstream]).collect();
        match fields.first().map(String::as_str) {
            Some(field) if !own.contains(&field) => {
                self.unknown_field(&format!("tasks.{name}"), field, &own, place)
            }
            Some("outputs") => match fields.get(1) {
                Some(output) => self.output_name(&name, upstream, output, &fields[2..], place),
                None => true,
            },
            _ => true,
        }
    }

    /// Looks up a value that a task leaves, and what is `below` it.
    fn output_name(
        &mut self,
        task: &str,
        at: usize,
        name: &str,
        below: &[String],
        place: Place,
    ) -> bool {
        let spec = &self.spec.tasks[at];
        match spec.action {
            // Nothing is known of what cannot be read or run.
            None | Some(ActionSpec::Later | ActionSpec::Broken(_)) => return true,
            Some(ActionSpec::Call(entry)) => {
                let value = below.first().map(String::as_str);
                return self.called_output(task, entry, (name, value), place);
            }
            Some(ActionSpec::Approve(_)) if name == "by" || name == "note" => return true,
            _ => {}
        }
        // Most names are right, and a list of all is made for each wrong one only.
        if spec.outputs.get(name).is_some_and(Output::is_value) || spec.asked.contains_key(name) {
            return true;
        }
        let values = spec.outputs.iter().filter(|(_, output)| output.is_value());
        let of_group = spec.group_outputs.values.iter().map(|entry| entry.key.clone());
        let asked = spec.asked.keys().map(ToString::to_string);
        let known: Vec<String> =
            values.map(|(name, _)| name.to_string()).chain(of_group).chain(asked).collect();
        if known.iter().any(|known| known == name) {
            return true;
        }
        let names = || known.iter().map(String::as_str);
        let near = self.report.did_you_mean(name, names());
        let is_field = own_fields(spec).any(|field| field == name);
        let field = is_field.then(|| format!("did you mean `tasks.{task}.{name}`?"));
        let help = near.or(field).unwrap_or_else(|| match (spec.action, known.as_slice()) {
            (Some(ActionSpec::Approve(_)), known) => {
                let has = listed(known.iter().map(String::as_str).chain(["by", "note"]));
                format!(
                    "it has {has}; to ask for {}, add it to the `params` of `approve`",
                    quoted(name)
                )
            }
            (_, [_, ..]) => format!("it has {}", listed(names())),
            (Some(ActionSpec::Group), []) => {
                format!("say what `{task}` gives: `outputs: {{{name}: tasks.MEMBER.rows}}`")
            }
            (Some(ActionSpec::Run(_)), []) => {
                format!("say what `{task}` leaves: `outputs: {{{name}: string}}`")
            }
            _ => {
                let fields = own_fields(spec).filter(|field| *field != "outputs");
                format!(
                    "only commands, groups, questions and calls have outputs; it has {}",
                    listed(fields)
                )
            }
        });
        let message = format!("task `{task}` has no output {}", quoted(name));
        self.report.error(&codes::EXPR_NAME, place, message).help(help);
        false
    }

    /// Whether `tasks.GROUP.MEMBER` names a member of a group, rather than a field of a task.
    pub(in crate::resolve) fn is_member(&self, group: &str, member: &str) -> bool {
        let Some(at) = self.names.task(group) else { return false };
        is_group(&self.spec.tasks[at])
            && self
                .names
                .task(&format!("{group}.{member}"))
                .is_some_and(|found| self.spec.tasks[found].group == Some(at))
    }
}
