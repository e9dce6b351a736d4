//! `tidemill schema`: the JSON Schema of DAG files.

use crate::catalog::catalog;
use crate::commands::Globals;
use crate::failure::Failure;
use crate::node::Toolbox;

pub(crate) fn run(globals: &Globals) -> Result<(), Failure> {
    let toolbox = Toolbox::open(globals)?;
    println!("{:#}", tidemill_spec::json_schema(&catalog(&toolbox.registry, None)));
    Ok(())
}
