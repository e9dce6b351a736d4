//! Cursors of pages: opaque to clients, so that what they hold can change.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidemill_model::{RunId, Timestamp};

use crate::backend::DagView;
use crate::error::ApiError;

/// Longer cursors are nobody's. The longest holds the path of a file.
const CURSOR_BYTES_MAX: usize = 8 * 1024;

fn bad() -> ApiError {
    ApiError::bad_request("the cursor `after` is not one that this server gave")
        .help("ask for the first page without it")
}

/// Writes a place in a list.
pub(crate) fn write(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Reads a place in a list.
pub(crate) fn read(cursor: &str) -> Result<String, ApiError> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err(bad());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

/// Writes a place in the list of runs.
pub(crate) fn write_run((at, id): &(Timestamp, RunId)) -> String {
    write(&format!("{}/{id}", at.as_micros()))
}

/// Reads a place in the list of runs.
pub(crate) fn read_run(cursor: &str) -> Result<(Timestamp, RunId), ApiError> {
    let text = read(cursor)?;
    let (micros, id) = text.split_once('/').ok_or_else(bad)?;
    let micros = micros.parse().map_err(|_| bad())?;
    Ok((Timestamp::from_micros(micros), id.parse().map_err(|_| bad())?))
}

/// The place of a DAG in the list of all: by name, those without one last, then by file.
pub(crate) type DagPlace = (bool, String, String);

/// The place of a DAG.
pub(crate) fn place_of(dag: &DagView) -> DagPlace {
    let id = dag.id.as_ref().map(ToString::to_string);
    (id.is_none(), id.unwrap_or_default(), dag.file.display().to_string())
}

/// A page of the DAGs that `wanted` lets through: at most `limit` behind the place `after`, and
/// where the next page begins.
pub(crate) fn page_of_dags(
    dags: Vec<DagView>,
    after: Option<&DagPlace>,
    limit: usize,
) -> (Vec<DagView>, Option<String>) {
    let mut rest: Vec<(DagPlace, DagView)> = (dags.into_iter())
        .map(|dag| (place_of(&dag), dag))
        .filter(|(place, _)| after.is_none_or(|after| place > after))
        .collect();
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(|(place, _)| write_dag(place));
    (rest.into_iter().map(|(_, dag)| dag).collect(), next)
}

fn write_dag((nameless, id, file): &DagPlace) -> String {
    let id = if *nameless { serde_json::Value::Null } else { id.as_str().into() };
    write(&serde_json::json!([id, file]).to_string())
}

/// Reads a place in the list of DAGs.
pub(crate) fn read_dag(cursor: &str) -> Result<DagPlace, ApiError> {
    let (id, file): (Option<String>, String) =
        serde_json::from_str(&read(cursor)?).map_err(|_| bad())?;
    Ok((id.is_none(), id.unwrap_or_default(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back() {
        let place = (Timestamp::from_micros(-5), "orders-daily.17".parse().expect("an id"));
        assert_eq!(read_run(&write_run(&place)), Ok(place));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "A".repeat(300);
        for text in ["", "!", "AAAA", "MS9h", "Li4vLi4", &long] {
            assert_eq!(read_run(text), Err(bad()), "{text}");
        }
    }
}
