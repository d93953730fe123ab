//! `[metrics.NAME]`, as the gateway runs with them.

use std::sync::Arc;

use http::HeaderName;

pub use crate::domain::metric::MetricRef;
use crate::domain::metric::{Better, Kind, Usage};
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
