//! `/metrics`: the counts of the backend and of the server itself, in the text format of
//! Prometheus.

use std::fmt;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::backend::{Labels, Metric, Samples};

/// Upper bounds of the answer times, in seconds.
const SECONDS: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    route: String,
}

/// What the server counts itself.
pub(crate) struct HttpMetrics {
    answers: Family<Answered, Counter>,
    seconds: Family<Timed, Histogram, fn() -> Histogram>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self { answers: Family::default(), seconds: Family::new_with_constructor(histogram) }
    }
}

/// Counts and times an answer, under its route and never under its path.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        _ => "other",
    };
    let since = Instant::now();
    let answer = next.run(request).await;
    let seconds = since.elapsed().as_secs_f64();
    app.http.seconds.get_or_create(&Timed { route: route.clone() }).observe(seconds);
    let status = answer.status().as_u16();
    app.http.answers.get_or_create(&Answered { method, route, status }).inc();
    answer
}

/// The text of `/metrics`.
pub(crate) fn text(app: &App) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Backends(app.backend.metrics())));
    let answers = app.http.answers.clone();
    registry.register("tidemill_http_requests", "Requests answered", answers);
    let seconds = app.http.seconds.clone();
    registry.register("tidemill_http_request_seconds", "Time to an answer", seconds);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Backends(Vec<Metric>);

impl Collector for Backends {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for metric in &self.0 {
            let kind = match &metric.samples {
                Samples::Counter(_) => MetricType::Counter,
                Samples::Gauge(_) => MetricType::Gauge,
                Samples::Histogram { .. } => MetricType::Histogram,
            };
            let encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            encode_samples(&metric.samples, encoder)?;
        }
        Ok(())
    }
}

fn encode_samples(samples: &Samples, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
    match samples {
        Samples::Counter(samples) => match samples.as_slice() {
            [(labels, value)] if labels.is_empty() => ConstCounter::new(*value).encode(encoder),
            samples => samples.iter().try_for_each(|(labels, value)| {
                let labels = borrowed(labels);
                ConstCounter::new(*value).encode(encoder.encode_family(&labels)?)
            }),
        },
        Samples::Gauge(samples) => match samples.as_slice() {
            [(labels, value)] if labels.is_empty() => ConstGauge::new(*value).encode(encoder),
            samples => samples.iter().try_for_each(|(labels, value)| {
                let labels = borrowed(labels);
                ConstGauge::new(*value).encode(encoder.encode_family(&labels)?)
            }),
        },
        Samples::Histogram { sum, count, buckets } => {
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
    }
}

fn borrowed(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
