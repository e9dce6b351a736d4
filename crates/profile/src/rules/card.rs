//! The scorecard: from measured terms to scores, bands and explanations.

use arrow::array::{Array, BooleanArray, Float64Array, StringArray, StringBuilder};
use serde_json::json;

use super::config::RulesConfig;

/// What a term measured, row by row.
#[derive(Debug)]
pub(super) enum Measured {
    /// A number, which its points are multiplied with.
    Value(Float64Array),
    /// Whether it holds; never null.
    Holds(BooleanArray),
}

/// A row that has no score: its place in the batch, and the term that is to blame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoScore {
    pub(super) row: usize,
    pub(super) term: String,
}

/// The columns that a card adds.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) score: Float64Array,
    pub(super) band: StringArray,
    pub(super) explained: StringArray,
}

/// Scores the rows of a batch, given what each term measured.
pub(super) fn score(
    rules: &RulesConfig,
    measured: &[Measured],
    rows: usize,
) -> Result<Scored, NoScore> {
    let mut scores = Vec::with_capacity(rows);
    let mut explained = StringBuilder::new();
    let mut text = String::new();
    for row in 0..rows {
        let mut sum = 0.0;
        text.clear();
        for (at, (term, measured)) in rules.score.iter().zip(measured).enumerate() {
            let (part, value) = match measured {
                Measured::Value(values) if values.is_null(row) => (0.0, json!(null)),
                Measured::Value(values) => {
                    let value = values.value(row);
                    (term.points * value, json!(value))
                }
                Measured::Holds(holds) if holds.value(row) => (term.points, json!(true)),
                Measured::Holds(_) => (0.0, json!(false)),
            };
            // The first term starts the sum, so that nothing is added to it in vain.
            sum = if at == 0 { part } else { sum + part };
            if !(rules.scale * sum).is_finite() {
                return Err(NoScore { row, term: term.name.clone() });
            }
            text.push(if at == 0 { '[' } else { ',' });
            let mut entry = json!({
                "term": term.name, "points": rules.scale * part, "value": value,
            });
            if let Some(explain) = &term.explain {
                entry["text"] = json!(explain);
            }
            text.push_str(&entry.to_string());
        }
        text.push(']');
        explained.append_value(&text);
        scores.push(finish(rules, rules.scale * sum));
    }
    let band = scores.iter().map(|score| band(rules, *score)).collect();
    Ok(Scored { score: scores.into(), band, explained: explained.finish() })
}

fn finish(rules: &RulesConfig, score: f64) -> f64 {
    let score = rules.min.map_or(score, |min| score.max(min));
    let score = rules.max.map_or(score, |max| score.min(max));
    let Some(digits) = rules.round else { return score };
    let factor = 10f64.powi(i32::from(digits));
    let rounded = (score * factor).round() / factor;
    // A number too large to be multiplied has no digits after the point.
    if rounded.is_finite() { rounded } else { score }
}

fn band(rules: &RulesConfig, score: f64) -> Option<&str> {
    let reached = |min: Option<f64>| min.is_none_or(|min| score >= min);
    rules.bands.iter().find(|band| reached(band.min)).map(|band| band.name.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, from_str};
    use tidemill_connector::config::parse;

    use super::*;

    fn rules(settings: &Value) -> RulesConfig {
        let mut all = json!({"from": "t", "version": "1"});
        for (key, value) in settings.as_object().expect("an object") {
            all[key] = value.clone();
        }
        parse("transform", "rules", all).expect("settings")
    }

    fn intent() -> RulesConfig {
        rules(&json!({
            "scale": 100,
            "score": [
                {"name": "rfm", "value": "rfm_norm", "points": 0.5, "explain": "What was bought"},
                {"name": "behaviour", "value": "behaviour_norm", "points": 0.5},
            ],
            "bands": [{"name": "hot", "min": 70}, {"name": "warm", "min": 40}, {"name": "cold"}],
        }))
    }

    fn number(value: f64) -> Measured {
        Measured::Value(vec![value].into())
    }

    #[test]
    fn bands_and_explanations() {
        let scored = score(&intent(), &[number(0.5), number(0.25)], 1).expect("a score");
        assert_eq!(scored.score.value(0).to_bits(), 37.5f64.to_bits());
        assert_eq!(scored.band.value(0), "cold");
        let explained: Value = from_str(scored.explained.value(0)).expect("JSON");
        assert_eq!(
            explained,
            json!([
                {"term": "rfm", "points": 25.0, "value": 0.5, "text": "What was bought"},
                {"term": "behaviour", "points": 12.5, "value": 0.25},
            ])
        );
    }

    #[test]
    fn a_band_begins_at_its_minimum() {
        let check = |a: f64, b: f64, expected: &str| {
            let scored = score(&intent(), &[number(a), number(b)], 1).expect("a score");
            assert_eq!(scored.band.value(0), expected, "{a}, {b}");
        };
        check(0.9, 0.5, "hot");
        check(0.9, 0.5 - 1e-15, "warm");
        check(0.5, 0.3, "warm");
        check(0.0, 0.0, "cold");
    }

    #[test]
    fn conditions_limits_and_rounding() {
        let check = |settings: &Value, measured: Measured, expected: f64| {
            let scored = score(&rules(settings), &[measured], 1).expect("a score");
            assert_eq!(scored.score.value(0).to_bits(), expected.to_bits(), "{expected}");
            assert!(scored.band.is_null(0));
        };
        let holds = |holds: bool| Measured::Holds(vec![holds].into());
        let condition = json!([{"name": "a", "where": "x", "points": 7.25}]);
        check(&json!({"score": condition}), holds(true), 7.25);
        check(&json!({"score": condition}), holds(false), 0.0);
        check(&json!({"score": condition, "round": 1}), holds(true), 7.3);
        check(&json!({"score": condition, "round": 0}), holds(true), 7.0);
        check(&json!({"score": condition, "max": 5}), holds(true), 5.0);
        check(&json!({"score": condition, "min": 1}), holds(false), 1.0);
        let value = json!([{"name": "a", "value": "x", "points": 2}]);
        check(&json!({"score": value}), Measured::Value(vec![None].into()), 0.0);
        check(&json!({"score": value, "round": 12}), number(8e307), 1.6e308);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let check = |value: f64| {
            let error = score(&intent(), &[number(1.0), number(value)], 1).expect_err("no score");
            assert_eq!(error, NoScore { row: 0, term: "behaviour".to_owned() });
        };
        check(f64::NAN);
        check(f64::INFINITY);
        check(1.7e308);
    }

    proptest! {
        #[test]
        fn the_score_is_the_formula(a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let scored = score(&intent(), &[number(a), number(b)], 1).expect("a score");
            let expected = 100.0 * (0.5 * a + 0.5 * b);
            prop_assert_eq!(scored.score.value(0).to_bits(), expected.to_bits());
            let band = if expected >= 70.0 { "hot" } else if expected >= 40.0 { "warm" } else { "cold" };
            prop_assert_eq!(scored.band.value(0), band);
        }

        #[test]
        fn explained_points_add_up(parts in proptest::collection::vec((-50..50i32, -2..2i32), 1..20)) {
            let terms: Vec<Value> = parts.iter().enumerate()
                .map(|(i, (points, _))| json!({"name": format!("t{i}"), "value": "x", "points": points}))
                .collect();
            let measured: Vec<Measured> = parts.iter().map(|(_, v)| number(f64::from(*v))).collect();
            let scored = score(&rules(&json!({"score": terms})), &measured, 1).expect("a score");
            let explained: Vec<Value> = from_str(scored.explained.value(0)).expect("JSON");
            let sum: f64 = explained.iter().filter_map(|e| e["points"].as_f64()).sum();
            let expected: i32 = parts.iter().map(|(points, value)| points * value).sum();
            prop_assert_eq!((sum, scored.score.value(0)), (f64::from(expected), f64::from(expected)));
        }
    }
}
