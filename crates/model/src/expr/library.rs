//! What the functions of expressions compute. The checker lets only calls through whose known types
//! fit; a value whose type was not known is looked at here.

#![expect(clippy::unnecessary_wraps, reason = "the functions of a table have one type")]

use std::cmp::Ordering;
use std::sync::Arc;

use cel::Value;
use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use crate::time::{Timestamp, parse_duration};

type Given = Result<Value, String>;

/// The longest list that a function makes.
const ITEMS_MAX: usize = 1_000_000;

fn text(given: &[Value], at: usize) -> Result<&str, String> {
    match given.get(at) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("takes a string here, not {}", word(other))),
        None => Err("lacks an argument".to_owned()),
    }
}

fn int(given: &[Value], at: usize) -> Result<i64, String> {
    match given.get(at) {
        Some(Value::Int(number)) => Ok(*number),
        Some(other) => Err(format!("takes a whole number here, not {}", word(other))),
        None => Err("lacks an argument".to_owned()),
    }
}

fn list(given: &[Value], at: usize) -> Result<&[Value], String> {
    match given.get(at) {
        Some(Value::List(items)) => Ok(items),
        Some(other) => Err(format!("takes a list here, not {}", word(other))),
        None => Err("lacks an argument".to_owned()),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Timestamp(_) => "an instant".to_owned(),
        Value::Duration(_) => "a span of time".to_owned(),
        _ => "a value of another type".to_owned(),
    }
}

fn string(text: impl Into<String>) -> Given {
    Ok(Value::String(Arc::new(text.into())))
}

fn items(items: Vec<Value>) -> Given {
    Ok(Value::List(Arc::new(items)))
}

/// An instant, or a text that is one; a day stands for its first instant in UTC.
fn instant(given: &[Value], at: usize) -> Result<DateTime<Utc>, String> {
    match given.get(at) {
        Some(Value::Timestamp(instant)) => Ok(instant.with_timezone(&Utc)),
        Some(Value::String(text)) => {
            text.parse::<Timestamp>().map(Timestamp::to_utc).map_err(|error| error.to_string())
        }
        Some(other) => Err(format!("takes an instant or a day here, not {}", word(other))),
        None => Err("lacks an argument".to_owned()),
    }
}

/// A zone by its name; UTC when it is not given.
fn zone(given: &[Value], at: usize) -> Result<Tz, String> {
    if given.len() <= at {
        return Ok(Tz::UTC);
    }
    let name = text(given, at)?;
    name.parse().map_err(|_| format!("knows no zone `{name}`; one is `Europe/Zurich`"))
}

pub(super) fn lower(given: &[Value]) -> Given {
    string(text(given, 0)?.to_lowercase())
}

pub(super) fn upper(given: &[Value]) -> Given {
    string(text(given, 0)?.to_uppercase())
}

pub(super) fn abs(given: &[Value]) -> Given {
    match given {
        [Value::Int(number)] => number
            .checked_abs()
            .map(Value::Int)
            .ok_or_else(|| format!("has no whole number for {number} without its sign")),
        _ => Ok(Value::Float(number(given)?.abs())),
    }
}

pub(super) fn round(given: &[Value]) -> Given {
    whole(given, f64::round)
}

pub(super) fn floor(given: &[Value]) -> Given {
    whole(given, f64::floor)
}

pub(super) fn ceil(given: &[Value]) -> Given {
    whole(given, f64::ceil)
}

fn number(given: &[Value]) -> Result<f64, String> {
    match given {
        [Value::Int(number)] => Ok(*number as f64),
        [Value::Float(number)] => Ok(*number),
        [other, ..] => Err(format!("takes a number, not {}", word(other))),
        [] => Err("lacks an argument".to_owned()),
    }
}

/// Beyond this a floating-point number is no exact count any more.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn whole(given: &[Value], rounded: fn(f64) -> f64) -> Given {
    if let [Value::Int(number)] = given {
        return Ok(Value::Int(*number));
    }
    let number = rounded(number(given)?);
    if number.abs() > EXACT || number.is_nan() {
        return Err(format!("has no whole number for {number}"));
    }
    Ok(Value::Int(number as i64))
}

pub(super) fn min(given: &[Value]) -> Given {
    extreme(given, Ordering::Less)
}

pub(super) fn max(given: &[Value]) -> Given {
    extreme(given, Ordering::Greater)
}

fn extreme(given: &[Value], wanted: Ordering) -> Given {
    let values = match given {
        [Value::List(items)] => items,
        [other] => return Err(format!("of one argument takes a list, not {}", word(other))),
        values => values,
    };
    let mut values = values.iter();
    let mut best = values.next().ok_or("of an empty list is nothing")?;
    for value in values {
        let order = value.partial_cmp(best);
        let order =
            order.ok_or_else(|| format!("cannot compare {} with {}", word(value), word(best)))?;
        if order == wanted {
            best = value;
        }
    }
    Ok(best.clone())
}

pub(super) fn sum(given: &[Value]) -> Given {
    let mut whole: i64 = 0;
    let mut broken: f64 = 0.0;
    let mut is_whole = true;
    for item in list(given, 0)? {
        match item {
            Value::Int(number) => {
                broken += *number as f64;
                if is_whole {
                    whole = whole.checked_add(*number).ok_or("is beyond 64 bits")?;
                }
            }
            Value::Float(number) => {
                is_whole = false;
                broken += number;
            }
            other => return Err(format!("takes a list of numbers, one item is {}", word(other))),
        }
    }
    Ok(if is_whole { Value::Int(whole) } else { Value::Float(broken) })
}

pub(super) fn timestamp(given: &[Value]) -> Given {
    let instant = match given {
        [Value::Int(seconds)] => DateTime::from_timestamp_secs(*seconds)
            .ok_or_else(|| format!("has no instant for {seconds} seconds"))?,
        _ => instant(given, 0)?,
    };
    Ok(Value::Timestamp(instant.fixed_offset()))
}

pub(super) fn duration(given: &[Value]) -> Given {
    if let [span @ Value::Duration(_)] = given {
        return Ok(span.clone());
    }
    let text = text(given, 0)?;
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let span = parse_duration(rest).map_err(|error| error.to_string())?;
    let span = Duration::from_std(span).map_err(|_| format!("cannot hold `{text}`"))?;
    Ok(Value::Duration(span * sign))
}

pub(super) fn date(given: &[Value]) -> Given {
    let zone = zone(given, 1)?;
    string(instant(given, 0)?.with_timezone(&zone).format("%Y-%m-%d").to_string())
}

pub(super) fn add_days(given: &[Value]) -> Given {
    let day = instant(given, 0)?.date_naive();
    let days = int(given, 1)?;
    let moved = Duration::try_days(days).and_then(|span| day.checked_add_signed(span));
    let kept = moved.filter(|day| (1..=9_999).contains(&day.year()));
    let day = kept.ok_or_else(|| format!("leaves the years 1 to 9999 with {days} days"))?;
    string(day.format("%Y-%m-%d").to_string())
}

pub(super) fn days_between(given: &[Value]) -> Given {
    let (from, to) = (instant(given, 0)?.date_naive(), instant(given, 1)?.date_naive());
    Ok(Value::Int((to - from).num_days()))
}

pub(super) fn start_of(given: &[Value]) -> Given {
    let unit = text(given, 0)?;
    let at = instant(given, 1)?;
    let zone = zone(given, 2)?;
    let local = at.with_timezone(&zone);
    if unit == "hour" {
        // Within an hour no clock is put back or forward by less than what is taken off here.
        let past = Duration::minutes(local.minute().into())
            + Duration::seconds(local.second().into())
            + Duration::nanoseconds(local.nanosecond().into());
        return string(Timestamp::from(at - past).to_string());
    }
    let day = local.date_naive();
    let first = match unit {
        "day" => Some(day),
        "week" => {
            day.checked_sub_signed(Duration::days(day.weekday().num_days_from_monday().into()))
        }
        "month" => day.with_day(1),
        "year" => NaiveDate::from_ymd_opt(day.year(), 1, 1),
        other => {
            return Err(format!(
                "knows no `{other}`; there are `hour`, `day`, `week`, `month` and `year`"
            ));
        }
    };
    let first = first.ok_or("leaves the calendar")?;
    string(Timestamp::from(first_instant(first, zone)).to_string())
}

/// The first instant of a day; where clocks skip midnight, the first one after it.
fn first_instant(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    // Clocks are put forward by at most a day, and on whole minutes.
    let local = (0..=24 * 60).find_map(|minutes| {
        zone.from_local_datetime(&(midnight + Duration::minutes(minutes))).earliest()
    });
    local.map_or_else(|| midnight.and_utc(), |local| local.with_timezone(&Utc))
}

pub(super) fn format_time(given: &[Value]) -> Given {
    let at = instant(given, 0)?;
    let form = text(given, 1)?;
    let zone = zone(given, 2)?;
    let form: Vec<chrono::format::Item<'_>> = chrono::format::StrftimeItems::new(form).collect();
    if form.contains(&chrono::format::Item::Error) {
        return Err(format!("knows no form `{}`", text(given, 1)?));
    }
    string(at.with_timezone(&zone).format_with_items(form.iter()).to_string())
}

pub(super) fn range(given: &[Value]) -> Given {
    let (from, to) = match given.len() {
        1 => (0, int(given, 0)?),
        _ => (int(given, 0)?, int(given, 1)?),
    };
    let count = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
    if count > ITEMS_MAX {
        return Err(format!("makes at most {ITEMS_MAX} numbers, not {count}"));
    }
    items((from..to).map(Value::Int).collect())
}

pub(super) fn zip(given: &[Value]) -> Given {
    let (one, other) = (list(given, 0)?, list(given, 1)?);
    if one.len() != other.len() {
        let (one, other) = (one.len(), other.len());
        return Err(format!("takes lists of one length, not of {one} and {other} items"));
    }
    items(one.iter().zip(other).map(pair).collect())
}

pub(super) fn cross(given: &[Value]) -> Given {
    let (one, other) = (list(given, 0)?, list(given, 1)?);
    let count = one.len().saturating_mul(other.len());
    if count > ITEMS_MAX {
        return Err(format!("makes at most {ITEMS_MAX} pairs, not {count}"));
    }
    items(one.iter().flat_map(|a| other.iter().map(move |b| pair((a, b)))).collect())
}

fn pair((one, other): (&Value, &Value)) -> Value {
    Value::List(Arc::new(vec![one.clone(), other.clone()]))
}

pub(super) fn sha256(given: &[Value]) -> Given {
    string(hex::encode(Sha256::digest(text(given, 0)?)))
}

pub(super) fn bucket(given: &[Value]) -> Given {
    let (text, buckets) = (text(given, 0)?, int(given, 1)?);
    let buckets = u64::try_from(buckets).ok().filter(|buckets| *buckets > 0);
    let buckets = buckets.ok_or("takes at least one bucket")?;
    let hash = Sha256::digest(text);
    let first = hash.first_chunk().copied().unwrap_or_default();
    Ok(Value::Int((u64::from_be_bytes(first) % buckets) as i64))
}

pub(super) fn json(given: &[Value]) -> Given {
    let text = text(given, 0)?;
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("is given no JSON: {error}"))?;
    Ok(super::to_cel(&value))
}

pub(super) fn to_json(given: &[Value]) -> Given {
    let [value] = given else { return Err("lacks an argument".to_owned()) };
    let json = super::from_cel(value).ok_or_else(|| format!("has no JSON for {}", word(value)))?;
    string(json.to_string())
}

pub(super) fn coalesce(given: &[Value]) -> Given {
    let found = given.iter().find(|value| !matches!(value, Value::Null));
    Ok(found.cloned().unwrap_or(Value::Null))
}
