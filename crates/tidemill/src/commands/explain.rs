//! `tidemill explain`: what the code of a diagnostic means.

use serde_json::{Value, json};
use tidemill_model::near::did_you_mean;
use tidemill_spec::codes::{CODES, Code, find};

use crate::cli::Explain;
use crate::failure::Failure;

pub(crate) fn run(command: &Explain) -> Result<(), Failure> {
    let Some(written) = &command.code else {
        list(command.json);
        return Ok(());
    };
    let code = find(written).ok_or_else(|| unknown(written))?;
    if command.json {
        println!("{:#}", as_json(code));
    } else {
        let Code { id, title, cause, remedy } = code;
        println!("{id}: {title}\n\n{cause}\n\nWhat to do: {remedy}");
    }
    Ok(())
}

fn list(as_array: bool) {
    if as_array {
        let codes: Value = CODES.iter().map(|code| as_json(code)).collect();
        println!("{codes:#}");
    } else {
        for code in CODES {
            println!("{}  {}", code.id, code.title);
        }
    }
}

fn as_json(code: &Code) -> Value {
    let Code { id, title, cause, remedy } = code;
    json!({"code": id, "title": title, "cause": cause, "remedy": remedy})
}

fn unknown(written: &str) -> Failure {
    let near = did_you_mean(&written.to_uppercase(), CODES.iter().map(|code| code.id));
    let help = near.unwrap_or_else(|| "`tidemill explain` lists all of them".to_owned());
    Failure::missing(format!("there is no code `{written}`; {help}"))
}
