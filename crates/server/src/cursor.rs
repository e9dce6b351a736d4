//! Cursors of pages: opaque to clients, so that what they hold can change.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidemill_model::{RunId, Timestamp};

use crate::error::ApiError;

/// Longer cursors are nobody's.
const CURSOR_BYTES_MAX: usize = 256;

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
