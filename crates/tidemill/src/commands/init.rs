//! `tidemill init` and `tidemill new`: files to begin with.

use std::path::Path;

use tidemill_model::DagId;

use crate::cli::Init;
use crate::commands::Globals;
use crate::failure::Failure;
use crate::node::Toolbox;

/// The files of a project, and what is in them.
const PROJECT: &[(&str, &str)] = &[
    ("dags/orders.yaml", include_str!("../../templates/dags/orders.yaml")),
    ("dags/orders.test.yaml", include_str!("../../templates/dags/orders.test.yaml")),
    ("dags/data/orders.csv", include_str!("../../templates/dags/data/orders.csv")),
    ("dags/connections.yaml", include_str!("../../templates/dags/connections.yaml")),
    (".gitignore", include_str!("../../templates/gitignore")),
    (".github/workflows/dags.yaml", include_str!("../../templates/ci.yaml")),
];

const DAG: &str = include_str!("../../templates/new.yaml");
const TESTS: &str = include_str!("../../templates/new.test.yaml");

/// Makes a project. A file that is there already stays as it is.
pub(crate) fn init(globals: &Globals, command: &Init) -> Result<(), Failure> {
    let root = &command.folder;
    for (name, text) in PROJECT {
        put(&root.join(name), text)?;
    }
    let toolbox = Toolbox::open(globals)?;
    let schemas = [
        ("dag.schema.json", tidemill_spec::json_schema(&toolbox.catalog)),
        ("tests.schema.json", tidemill_spec::tests_schema()),
    ];
    for (name, schema) in schemas {
        put(&root.join(name), &format!("{schema:#}\n"))?;
    }
    let dags = root.join("dags");
    let dags = dags.display();
    println!("\nnext:");
    println!("  tidemill test {dags}");
    println!("  tidemill run {dags}/orders.yaml");
    println!("  tidemill serve --dags {dags}");
    Ok(())
}

/// Makes a DAG with its tests.
pub(crate) fn new_dag(name: &str, dags: &Path) -> Result<(), Failure> {
    let name: DagId = name.parse().map_err(Failure::argument)?;
    for (ending, text) in [("yaml", DAG), ("test.yaml", TESTS)] {
        let path = dags.join(format!("{name}.{ending}"));
        if path.exists() {
            let path = path.display();
            return Err(Failure::conflict(format!(
                "`{path}` is there already; choose another name"
            )));
        }
        put(&path, text)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    if path.exists() {
        println!("kept  {shown}");
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| Failure::files(format!("cannot write `{shown}`: {error}")))?;
    println!("made  {shown}");
    Ok(())
}
