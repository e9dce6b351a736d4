//! `tidemill lineage`: where columns come from.

use crate::cli::{Lineage, LineageFormat};
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::planning::desk::Desk;
use crate::planning::lineage::{to_json, to_text};
use crate::planning::open_lineage::{Names, events};

pub(crate) fn run(globals: &Globals, command: &Lineage) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let desk = Desk::open(globals).await?;
        let read = desk.read(globals, &command.file).await;
        let now = desk.now;
        desk.close().await;
        let read = read?;
        match command.format {
            LineageFormat::Text => {
                let only = command.table.as_deref();
                let text =
                    to_text(&read.planned, only).ok_or_else(|| nothing(&read.planned, only))?;
                print!("{text}");
            }
            LineageFormat::Json => println!("{:#}", to_json(&read.dag, &read.planned)),
            LineageFormat::Openlineage => {
                let names = Names { dag: &read.dag, namespace: &command.namespace };
                for event in events(&names, &read.planned, now) {
                    println!("{event}");
                }
            }
        }
        Ok(())
    })
}

fn nothing(planned: &crate::planning::Planned, only: Option<&str>) -> Failure {
    let tables: Vec<&str> = planned.tables.keys().map(String::as_str).collect();
    let known = match tables.as_slice() {
        [] => "no table is known before a run".to_owned(),
        names => format!("known are the tables: {}", names.join(", ")),
    };
    match only {
        Some(only) => Failure::Said(format!("there is no table or column `{only}`; {known}")),
        None => Failure::Said(known),
    }
}
