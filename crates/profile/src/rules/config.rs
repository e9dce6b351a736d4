//! The settings of `rules`.

use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::ConnectorError;
use tidemill_connector::config::Findings;

/// Settings of a `rules` transform.
///
/// The score of a row is `scale × (points₁ × value₁ + points₂ × value₂ + …)`, added from left to
/// right in 64-bit floats; then `min` and `max` hold, then `round`. The result is exactly what the
/// same formula gives in any language with such floats.
///
/// The result has the columns of `from`, or those that `keep` names, and then `score`, `band`
/// (with `bands`), `segment` (with `segments`), `rule_version` and `explained`: a JSON list with
/// an object `{term, points, value, text}` for each term as written, whose `points` are what the
/// term added to the score.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesConfig {
    /// The table to score. Rows keep their order.
    #[schemars(extend("format" = "table"))]
    pub from: String,
    /// The version of the rules, which every row carries.
    #[schemars(length(min = 1, max = 100))]
    pub version: String,
    /// The column that names a row in error messages.
    #[serde(default)]
    pub id: Option<String>,
    /// The terms of the score, in the order in which they are added and explained.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub score: Vec<Term>,
    /// The sum of the terms is multiplied by this.
    #[serde(default = "one")]
    pub scale: f64,
    /// A lower score becomes this one.
    #[serde(default)]
    pub min: Option<f64>,
    /// A higher score becomes this one.
    #[serde(default)]
    pub max: Option<f64>,
    /// Digits after the point to which the score is rounded, halves away from zero. Without it
    /// nothing is rounded.
    #[serde(default)]
    #[schemars(range(max = 12))]
    pub round: Option<u8>,
    /// Bands, highest first: a row is in the first whose `min` its score reaches. The last may go
    /// without `min` and takes the rest; without such a one the rest is in no band.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub bands: Vec<Band>,
    /// Segments: a row is in the first whose condition holds. The last may go without a condition
    /// and takes the rest; without such a one the rest is in no segment.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub segments: Vec<Segment>,
    /// The columns of `from` that the result keeps. Without it, all.
    #[serde(default)]
    pub keep: Option<Vec<String>>,
    /// Other names for the columns of the result: `{score: intent}`.
    #[serde(default, rename = "as")]
    pub names: ResultNames,
}

fn one() -> f64 {
    1.0
}

/// A term of a score: `value` or `where`, and its points.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Its name in the explanation.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub name: String,
    /// The points: added once where `where` holds, or multiplied with `value`.
    pub points: f64,
    /// A SQL expression whose number is multiplied with the points. Null adds nothing.
    #[serde(default)]
    #[schemars(extend("format" = "sql-expr"))]
    pub value: Option<String>,
    /// A SQL condition: where it holds, the points are added. Null does not hold.
    #[serde(default, rename = "where")]
    #[schemars(extend("format" = "sql-expr"))]
    pub condition: Option<String>,
    /// What the term stands for, in words, for people who read the explanation.
    #[serde(default)]
    pub explain: Option<String>,
}

/// A band of scores.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The lowest score in it. Without it, the band takes the rest.
    #[serde(default)]
    pub min: Option<f64>,
}

/// A segment of rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// A SQL condition over the columns of `from` and the columns `score` and `band` of the
    /// result. Without it, the segment takes the rest.
    #[serde(default, rename = "where")]
    #[schemars(extend("format" = "sql-expr"))]
    pub condition: Option<String>,
}

/// Names of the columns of the result.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResultNames {
    /// The column of the score.
    pub score: String,
    /// The column of the band.
    pub band: String,
    /// The column of the segment.
    pub segment: String,
    /// The column of the version.
    pub rule_version: String,
    /// The column of the explanation.
    pub explained: String,
}

impl Default for ResultNames {
    fn default() -> Self {
        Self {
            score: "score".to_owned(),
            band: "band".to_owned(),
            segment: "segment".to_owned(),
            rule_version: "rule_version".to_owned(),
            explained: "explained".to_owned(),
        }
    }
}

fn wrong(message: impl Into<String>, help: &str) -> Result<(), ConnectorError> {
    Err(ConnectorError::misconfigured(message).help(help))
}

impl RulesConfig {
    /// Notes settings that contradict themselves.
    pub(super) fn check(&self, found: &mut Findings) {
        found.note(&[&["score"], &["segments"], &["bands"]], self.check_parts());
        found.note(&[&["score"]], self.check_terms());
        let crossed = matches!((self.min, self.max), (Some(min), Some(max)) if min > max);
        let order = if crossed { wrong("`min` is above `max`", "swap them") } else { Ok(()) };
        found.note(&[&["min"], &["max"]], order);
        let digits = match self.round {
            Some(13..) => wrong("`round` is above 12 digits", "leave it out"),
            _ => Ok(()),
        };
        found.note(&[&["round"]], digits);
        found.note(&[&["bands"]], self.check_bands());
        found.note(&[&["segments"]], self.check_segments());
    }

    fn check_parts(&self) -> Result<(), ConnectorError> {
        if self.score.is_empty() && self.segments.is_empty() {
            return wrong("the rules have no terms and no segments", "add `score`");
        }
        if self.score.is_empty() && !self.bands.is_empty() {
            return wrong("`bands` without `score`", "add the terms of the score");
        }
        Ok(())
    }

    fn check_terms(&self) -> Result<(), ConnectorError> {
        for (at, term) in self.score.iter().enumerate() {
            if term.value.is_some() == term.condition.is_some() {
                let message =
                    format!("the term `{}` must have either `value` or `where`", term.name);
                return wrong(message, "`value` is a number, `where` a condition");
            }
            if self.score[..at].iter().any(|other| other.name == term.name) {
                return wrong(format!("two terms are named `{}`", term.name), "rename one");
            }
        }
        Ok(())
    }

    fn check_bands(&self) -> Result<(), ConnectorError> {
        for pair in self.bands.windows(2) {
            let name = &pair[1].name;
            match (pair[0].min, pair[1].min) {
                (None, _) => {
                    let message = format!("the band `{name}` comes after one that takes the rest");
                    return wrong(message, "give the band before it a `min`");
                }
                (Some(above), Some(min)) if min >= above => {
                    let message = format!("the band `{name}` can never be reached");
                    return wrong(message, "order the bands from the highest `min` to the lowest");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_segments(&self) -> Result<(), ConnectorError> {
        let before_last = &self.segments[..self.segments.len().saturating_sub(1)];
        match before_last.iter().find(|segment| segment.condition.is_none()) {
            None => Ok(()),
            Some(rest) => wrong(
                format!("the segment `{}` takes the rest, but is not the last", rest.name),
                "give it a `where`, or move it to the end",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidemill_connector::config::findings;

    use super::*;

    fn check(settings: &Value, expected: Result<(), &str>) {
        let mut all = json!({"from": "t", "version": "1"});
        for (key, value) in settings.as_object().expect("an object") {
            all[key] = value.clone();
        }
        let found = findings(&all, RulesConfig::check);
        let said = found.into_iter().map(|it| [it.message, it.help.unwrap_or_default()].join("; "));
        let got: Vec<String> = said.collect();
        assert_eq!(got, expected.err().into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn settings_that_contradict_themselves() {
        let term = json!([{"name": "a", "value": "x", "points": 1}]);
        check(&json!({}), Err("the rules have no terms and no segments; add `score`"));
        check(
            &json!({"segments": [{"name": "all"}], "bands": [{"name": "b"}]}),
            Err("`bands` without `score`; add the terms of the score"),
        );
        check(&json!({"score": term}), Ok(()));
        check(
            &json!({"score": [{"name": "a", "points": 1}]}),
            Err("the term `a` must have either `value` or `where`; \
                 `value` is a number, `where` a condition"),
        );
        check(
            &json!({"score": [{"name": "a", "value": "1", "points": 1},
                {"name": "a", "value": "2", "points": 1}]}),
            Err("two terms are named `a`; rename one"),
        );
        check(&json!({"score": term, "min": 1, "max": 0}), Err("`min` is above `max`; swap them"));
        check(
            &json!({"score": term, "bands": [{"name": "a", "min": 1}, {"name": "b", "min": 1}]}),
            Err("the band `b` can never be reached; \
                 order the bands from the highest `min` to the lowest"),
        );
        check(
            &json!({"score": term, "bands": [{"name": "a"}, {"name": "b", "min": 1}]}),
            Err("the band `b` comes after one that takes the rest; \
                 give the band before it a `min`"),
        );
        check(
            &json!({"segments": [{"name": "a"}, {"name": "b", "where": "true"}]}),
            Err("the segment `a` takes the rest, but is not the last; \
                 give it a `where`, or move it to the end"),
        );
    }
}
