//! `tidemill new connector`: the frame of a connector, one file; the line in the list is left to its
//! author.

use std::path::Path;

use crate::failure::Failure;

const FRAME: &str = include_str!("../../templates/connector.rs.txt");

/// Writes `NAME.rs` into the folder of connectors and says what is left to do.
pub(crate) fn run(name: &str, folder: &Path) -> Result<(), Failure> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(letters) {
        return Err(Failure::argument(format!(
            "`{name}` is no name of a connector: it begins with a small letter and holds small \
             letters, digits and `_`"
        )));
    }
    if !folder.join("lib.rs").is_file() {
        return Err(Failure::argument(format!(
            "`{}` is no folder of connectors: it has no `lib.rs`; a connector is a part of \
             Tidemill's source, so name its folder with `--src`",
            folder.display()
        )));
    }
    let path = folder.join(format!("{name}.rs"));
    let shown = path.display();
    if path.exists() {
        return Err(Failure::conflict(format!("`{shown}` is there already; choose another name")));
    }
    std::fs::write(&path, frame(name))
        .map_err(|error| Failure::files(format!("cannot write `{shown}`: {error}")))?;
    println!("made  {shown}\n\nnext:");
    println!(
        "  add `mod {name};` and `Arc::new({name}::{})` to {}",
        camel(name),
        folder.join("lib.rs").display()
    );
    println!("  read docs/writing-a-connector.md");
    Ok(())
}

fn frame(name: &str) -> String {
    FRAME.replace("CAMEL", &camel(name)).replace("NAME_", name)
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types() {
        assert_eq!(camel("my_system"), "MySystem");
        let frame = frame("my_system");
        assert!(frame.contains("impl Connector for MySystem"));
        assert!(frame.contains("const NAME: &'static str = \"my_system\";"));
        assert!(run("My-System", Path::new("/nowhere")).is_err());
    }
}
