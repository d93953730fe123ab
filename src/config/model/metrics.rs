//! `[metrics.NAME]`, as the gateway runs with them.

use std::sync::Arc;

use http::HeaderName;
use serde_json::{Value, json};

use super::MetricIndex;
use crate::domain::Arm;
use crate::domain::evidence::Measured;
use crate::domain::guard::{Parts, built_in};
pub use crate::domain::metric::MetricRef;
use crate::domain::metric::{Better, Kind, MetricId, Usage};
use crate::domain::pointer::Pointer;

/// `[metrics.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The name.
    pub name: Arc<str>,
    /// What it counts.
    pub kind: Kind,
    /// In words.
    pub description: String,
    /// For people: `ms`, `USD`, ...
    pub unit: String,
    /// For people, to find it by.
    pub tags: Vec<String>,
    /// Which direction is good.
    pub better: Better,
    /// Where it is read, by `Arm::index`.
    pub sources: [MetricSource; 2],
}

/// Where a metric is read.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricSource {
    /// A response header.
    Header(HeaderName),
    /// A place in an answer that is JSON; of a stream of events, in the last one that has it.
    Json(Pointer),
    /// What a language model's answer tells of its own use.
    Usage(Usage),
    /// Events of a name.
    Event(EventSource),
    /// The sum of one metric over the sum of another.
    Ratio([MetricRef; 2]),
}

/// Which events a metric is read from.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSource {
    /// Their name.
    pub name: Box<str>,
    /// The place of the number in `{"value": ..., "data": ...}`; 1 for each event without it.
    pub value: Option<Pointer>,
    /// Fields of the data, and what they must be.
    pub filter: Vec<(Box<str>, serde_json::Value)>,
}

impl EventSource {
    /// The value of an event; `None` if it does not count for the metric.
    #[must_use]
    pub fn read(&self, kind: Kind, name: &str, value: Option<f64>, data: &Value) -> Option<f64> {
        if *self.name != *name || self.filter.iter().any(|(field, wanted)| data.get(&**field) != Some(wanted)) {
            return None;
        }
        match &self.value {
            None => kind.accept(1.0),
            Some(pointer) => kind.read_json(pointer.find(&json!({ "value": value, "data": data }))?),
        }
    }
}

/// What a metric is made of in an arm, in terms of what is added up; `id` tells the number of one of the file.
#[must_use]
pub fn parts(metrics: &[Metric], metric: MetricRef, arm: Arm, id: impl Fn(MetricIndex) -> MetricId) -> Parts {
    let one = |metric: MetricRef| match metric {
        MetricRef::BuiltIn(metric) => built_in(metric),
        MetricRef::Own(index) => Parts { over: Measured::Own(id(index)), under: None, scale: 1.0 },
    };
    if let MetricRef::Own(index) = metric
        && let MetricSource::Ratio([over, under]) = &metrics[index].sources[arm.index()]
    {
        let (over, under) = (one(*over), one(*under));
        return Parts { over: over.over, under: Some(under.over), scale: over.scale / under.scale };
    }
    one(metric)
}

/// What a metric counts.
#[must_use]
pub fn kind(metrics: &[Metric], metric: MetricRef) -> Kind {
    match metric {
        MetricRef::BuiltIn(metric) => metric.kind(),
        MetricRef::Own(index) => metrics[index].kind,
    }
}
