//! Prometheus metrics, declared once as data.
//!
//! [`families`] is the one table: name, help, type, labels and where the values come from. A scrape
//! reads what the workers counted anyway, so metrics cost the request path nothing more. Invariant:
//! labels hold configured names and our own words only, never anything from a request.

mod beside;
mod families;
mod observation;
mod read;
mod rollout;
mod sampled;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use crate::alerts::Alerts;
use crate::controller::rollout::Rollouts;
use crate::events::Intake;
use crate::live::Live;
use crate::measure::counters::HistogramTotals;
pub use observation::Observation;

/// Every metric, in the order in which they are told.
pub fn families() -> impl Iterator<Item = &'static Family> {
    families::FAMILIES.iter().chain(sampled::FAMILIES)
}

/// The content type of [`render`]'s answer.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// One family of metrics.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The name, with its unit.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// Names of the labels, in the order in which `collect` gives their values.
    pub labels: &'static [&'static str],
    collect: fn(&Observation, &mut Samples),
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative counts under upper bounds, in seconds.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    const fn proto(self) -> MetricType {
        match self {
            Self::Counter => MetricType::COUNTER,
            Self::Gauge => MetricType::GAUGE,
            Self::Histogram => MetricType::HISTOGRAM,
        }
    }
}

/// The values of one family, as they are collected.
#[derive(Debug)]
struct Samples {
    kind: Kind,
    labels: &'static [&'static str],
    metrics: Vec<Metric>,
}

impl Samples {
    /// Adds a counter's or a gauge's value.
    fn value(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.labelled(labels);
        if self.kind == Kind::Counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds a count.
    fn count(&mut self, labels: &[&str], count: u64) {
        self.value(labels, count as f64);
    }

    /// Adds a histogram, in seconds.
    fn histogram(&mut self, labels: &[&str], totals: &HistogramTotals) {
        let mut cumulative = 0;
        let buckets = totals.bounds.iter().zip(&totals.buckets).map(|(&bound, &count)| {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound as f64 / MICROS);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(totals.count());
        histogram.set_sample_sum(totals.sum_micros as f64 / MICROS);
        let mut metric = self.labelled(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    fn labelled(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "a value for each label");
        let pairs = self.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    }
}

impl Family {
    /// What there is to tell of this family now; `None` when there is nothing, for example no route.
    fn observe(&self, observation: &Observation) -> Option<MetricFamily> {
        let mut samples = Samples { kind: self.kind, labels: self.labels, metrics: Vec::new() };
        (self.collect)(observation, &mut samples);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind.proto());
        family.set_metric(samples.metrics);
        (!family.get_metric().is_empty()).then_some(family)
    }
}

/// All metrics in Prometheus' text format 0.0.4. `access_dropped` are the lines that the access log lost.
///
/// # Errors
/// When the encoder refuses a family, which a test of all families rules out.
pub fn render(
    live: &Live,
    intake: &Intake,
    alerts: &Alerts,
    rollouts: &Rollouts,
    access_dropped: u64,
) -> prometheus::Result<String> {
    let observation = Observation::of(live, intake, alerts, rollouts, access_dropped);
    let families: Vec<_> = families().filter_map(|family| family.observe(&observation)).collect();
    TextEncoder::new().encode_to_string(&families)
}

/// The page `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(PAGE_HEAD);
    for Family { name, help, kind, labels, .. } in families() {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        let _always = writeln!(page, "| `{name}` | {} | {} | {help} |", kind.as_str(), labels.join(", "));
    }
    page
}

const PAGE_HEAD: &str = "\
# Metrics

`GET /metrics` on the observe and on the admin address answers in Prometheus' text format. This page is made from
the same table that the answer is made from.

Labels hold names from the configuration and words of the gateway's own; nothing from a request becomes a label.
*Assigned* is the arm that rules and hash say for a user, *served* the one that answered: compare the arms by what was
assigned, and look for faults of a backend in its attempts, where a failure that control covered up still counts.

The share of the traffic that the candidate got in the last hour, for example:

```promql
sum by (route) (rate(pointsman_requests_total{served=\"candidate\"}[1h]))
  / sum by (route) (rate(pointsman_requests_total[1h]))
```

| name | type | labels | what |
|---|---|---|---|
";
