//! `tidemill lineage`: where columns come from.

use crate::cli::{Lineage, LineageFormat};
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::planning::desk::Desk;
use crate::planning::lineage::{Shown, to_json, to_text};
use crate::planning::open_lineage::{Names, events};

pub(crate) fn run(globals: &Globals, command: &Lineage) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let desk = Desk::open(globals).await?;
        let read = desk.read(globals, &command.file).await;
        let now = desk.now;
        desk.close().await;
        let read = read?;
        let shown = Shown::of(&read.planned, command.table.as_deref())?;
        match command.format {
            LineageFormat::Text if read.planned.tables.is_empty() => {
                println!("no table is known before a run");
            }
            LineageFormat::Text => print!("{}", to_text(&read.planned, shown)),
            LineageFormat::Json => println!("{:#}", to_json(&read.dag, &read.planned, shown)),
            LineageFormat::Openlineage => {
                if !matches!(shown, Shown::All) {
                    let text =
                        "`--format openlineage` gives the events of all tasks; leave out the table";
                    return Err(Failure::argument(text));
                }
                let names = Names { dag: &read.dag, namespace: &command.namespace };
                for event in events(&names, &read.planned, now) {
                    println!("{event}");
                }
            }
        }
        Ok(())
    })
}
