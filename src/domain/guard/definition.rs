//! What a guard or a gate asks, as it was read and checked.
//!
//! Who evaluates it is [`figures`](super::figures). Invariant: a figure's limit is in the unit in which people are told
//! the metric, and its statistic is one that the metric has.

use std::time::Duration;

use super::{Action, Comparator, Limit, Statistic};
use crate::domain::metric::{BuiltIn, MetricRef};

/// What conditions may call the gateway's own metrics, beside their names: health goes by attempts.
pub const CALLED: [(&str, BuiltIn, Option<Statistic>); 3] = [
    ("error_rate", BuiltIn::AttemptErrors, Some(Statistic::Rate)),
    ("fallback_rate", BuiltIn::Fallbacks, Some(Statistic::Rate)),
    ("latency", BuiltIn::AttemptLatency, None),
];

/// A guard, `[routes.NAME.guards.NAME]` in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// The name.
    pub name: Box<str>,
    /// When it acts.
    pub condition: Condition,
    /// What it looks at; a sequential test looks at the whole run.
    pub window: Duration,
    /// For how long the condition has to hold.
    pub hold_for: Duration,
    /// Fewer values of either arm are too little.
    pub min_samples: u32,
    /// What it does.
    pub action: Action,
    /// How figures are compared.
    pub test: Test,
    /// For how long there may be too little data before somebody is told.
    pub on_no_data: Duration,
    /// Which figures of control it compares with.
    pub baseline: Baseline,
}

/// How figures are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Test {
    /// As they are.
    Threshold,
    /// By a test that may be looked at at any time, of users as clusters.
    Sequential {
        /// The difference that would be of no concern: how far the test tells apart.
        margin: f64,
    },
}

/// Which figures of control a guard compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// Those of the same window.
    Live,
    /// Those of the last phase in which control had users.
    Frozen,
}

/// A condition, as it is written and as it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As it is written.
    pub text: Box<str>,
    /// What it asks.
    pub asks: Asks,
}

/// What a condition asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Asks {
    /// Whether the candidate's breaker is open.
    BreakerOpen,
    /// Whether the route's quality gate is shut.
    QualityGateShut,
    /// How a figure of the candidate stands to a limit.
    Figure(Figure),
}

/// A figure and its limit, in the unit in which the metric is added up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The metric.
    pub metric: MetricRef,
    /// The statistic.
    pub statistic: Statistic,
    /// How it stands.
    pub comparator: Comparator,
    /// To what.
    pub limit: Limit,
    /// The confidence that is asked for, between 0 and 1; `None` compares figures as they are.
    pub confidence: Option<f64>,
}

impl Condition {
    /// Its figure, if it asks for one.
    #[must_use]
    pub const fn figure(&self) -> Option<&Figure> {
        match &self.asks {
            Asks::Figure(figure) => Some(figure),
            Asks::BreakerOpen | Asks::QualityGateShut => None,
        }
    }

    /// Whether it needs users of control.
    #[must_use]
    pub const fn compares(&self) -> bool {
        matches!(&self.asks, Asks::Figure(Figure { limit: Limit::OfControl { .. }, .. }))
    }
}
