//! Where the columns of scored rows come from.

use tidemill_connector::{Binds, ConnectorError, SchemaRef};
use tidemill_model::lineage::{ColumnName, Origins, TableLineage, Way};
use tidemill_sql::Engine;

use super::config::RulesConfig;
use super::pass::{compile_segments, compile_terms, scored_schema};

/// The lineage of the result over `input`, the columns of `from`.
pub(super) fn of(
    engine: &Engine,
    rules: &RulesConfig,
    input: &SchemaRef,
    binds: &Binds,
) -> Result<TableLineage, ConnectorError> {
    let terms = compile_terms(engine, rules, input, binds)?;
    let score: Origins = (rules.score.iter().zip(&terms))
        .map(|(term, expr)| {
            let way = if term.condition.is_some() { Way::Conditional } else { Way::Transformation };
            expr.origins(&rules.from, input).then(way)
        })
        .collect();
    let scored = scored_schema(rules, input);
    let segments = compile_segments(engine, rules, &scored, binds)?;
    let segment: Origins = (segments.iter().flatten())
        .map(|condition| condition.origins(&rules.from, &scored).then(Way::Conditional))
        .collect();
    // Conditions of segments see the score and the band in the place of such columns.
    let names = &rules.names;
    let is_made = |name: &ColumnName| {
        (name.column == names.score && !rules.score.is_empty())
            || (name.column == names.band && !rules.bands.is_empty())
    };
    let segment = segment.through(|name| is_made(name).then(|| score.clone()));
    let all = || input.fields().iter().map(|field| field.name().as_str());
    let mut lineage = match &rules.keep {
        None => TableLineage::same(&rules.from, all()),
        Some(keep) => TableLineage::same(&rules.from, keep.iter().map(String::as_str)),
    };
    let mut add = |name: &str, origins: &Origins| {
        lineage.columns.insert(name.to_owned(), origins.clone());
    };
    if !rules.score.is_empty() {
        add(&names.score, &score);
    }
    if !rules.bands.is_empty() {
        add(&names.band, &score.then(Way::Conditional));
    }
    if !rules.segments.is_empty() {
        add(&names.segment, &segment);
    }
    add(&names.rule_version, &Origins::default());
    if !rules.score.is_empty() {
        add(&names.explained, &score);
    }
    Ok(lineage)
}
