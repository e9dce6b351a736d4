//! `tidemill schedule simulate`: when a DAG's runs would be due.

use chrono::TimeZone;
use serde_json::{Value, json};
use tidemill_model::schedule::{Tick, ticks, zone_data_version};
use tidemill_model::time::{human_duration, parse_local};
use tidemill_model::words::counted;
use tidemill_model::{Dag, Timestamp};

use crate::beside::{Surrounding, Surroundings};
use crate::cli::Simulate;
use crate::commands::Globals;
use crate::failure::{Failure, invalid, print_diagnostics};
use crate::folder::read_dag;
use crate::node::{SystemClock, Toolbox};
use crate::print::{Align, table};

pub(crate) fn run(globals: &Globals, command: &Simulate) -> Result<(), Failure> {
    let toolbox = Toolbox::open(globals)?;
    let mut around = Surroundings::new(&toolbox, globals.secrets.as_deref())?;
    let Surrounding { beside, catalog } = around.of(&command.file);
    let (_, loaded) = read_dag(&command.file, catalog).map_err(invalid)?;
    print_diagnostics(&beside.diagnostics);
    print_diagnostics(&loaded.diagnostics);
    let dag = loaded.dag.ok_or(Failure::Invalid)?;
    let from = match command.from.as_deref() {
        Some(text) => instant(&dag, "--from", text)?,
        None => tidemill_scheduler::Clock::now(&SystemClock),
    };
    let to = command.to.as_deref().map(|text| instant(&dag, "--to", text)).transpose()?;
    // The first instant counts.
    let after = from.minus(std::time::Duration::from_micros(1));
    let due = ticks(dag.timers(), after).take_while(|(tick, _)| to.is_none_or(|to| *tick <= to));
    let due: Vec<Tick<'_>> = due.take(command.limit).collect();
    if command.json {
        let ticks: Vec<Value> = due.iter().map(as_json).collect();
        let answer = json!({"dag": dag.id, "zone_data": zone_data_version(), "ticks": ticks});
        println!("{answer:#}");
    } else {
        print!("{}", as_text(&dag, &due, command.limit));
    }
    Ok(())
}

/// An instant, or a day or local time in the DAG's zone.
fn instant(dag: &Dag, option: &str, text: &str) -> Result<Timestamp, Failure> {
    let local = || {
        let at = dag.timezone.from_local_datetime(&parse_local(text)?).earliest()?;
        Some(Timestamp::from(at.to_utc()))
    };
    text.parse().ok().or_else(local).ok_or_else(|| {
        Failure::argument(format!(
            "`{option} {text}` is no instant; write for example `2026-03-29` or \
             `2026-03-29T01:00:00Z`"
        ))
    })
}

fn as_json((at, timer): &Tick<'_>) -> Value {
    let interval = timer.interval_of(*at);
    json!({"tick": at.to_string(), "begins_at": timer.begins_at(*at).to_string(),
        "trigger": timer.clock.to_string(),
        "interval": {"start": interval.start.to_string(), "end": interval.end.to_string()}})
}

fn as_text(dag: &Dag, ticks: &[Tick<'_>], limit: usize) -> String {
    if ticks.is_empty() {
        let why = if dag.timers().next().is_none() {
            "nothing is due by the clock: it has neither a `schedule` nor a timed trigger"
        } else {
            "nothing is due in this time"
        };
        return format!("{}: {why}\n", dag.id);
    }
    let row = |(at, timer): &Tick<'_>| {
        let local = |at: Timestamp, form: &str| {
            at.to_utc().with_timezone(&timer.zone).format(form).to_string()
        };
        let interval = timer.interval_of(*at);
        let later = Some(timer.offset).filter(|offset| !offset.is_zero());
        let later = later.map(|offset| format!("+{}", human_duration(offset)));
        vec![
            local(*at, "%a %Y-%m-%d %H:%M:%S %Z"),
            at.to_string(),
            later.unwrap_or_default(),
            local(interval.start, "%Y-%m-%d %H:%M"),
            timer.clock.to_string(),
        ]
    };
    let head = [
        ("due", Align::Left),
        ("in UTC", Align::Left),
        ("begins", Align::Left),
        ("data since", Align::Left),
        ("by", Align::Left),
    ];
    let rows: Vec<Vec<String>> = ticks.iter().map(row).collect();
    let mut text = table(&head, &rows);
    let shown = if ticks.len() == limit { "the first " } else { "" };
    text.push_str(&format!(
        "\n{shown}{}; zones as of {}\n",
        counted(ticks.len(), "run"),
        zone_data_version()
    ));
    text
}
