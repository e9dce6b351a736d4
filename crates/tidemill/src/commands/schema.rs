//! `tidemill schema`: the JSON Schema of DAG files, and of their tests.

use crate::cli::Schema;
use crate::commands::Globals;
use crate::failure::Failure;
use crate::node::Toolbox;

pub(crate) fn run(globals: &Globals, command: &Schema) -> Result<(), Failure> {
    if command.tests {
        println!("{:#}", tidemill_spec::tests_schema());
        return Ok(());
    }
    let toolbox = Toolbox::open(globals)?;
    println!("{:#}", tidemill_spec::json_schema(&toolbox.catalog));
    Ok(())
}
