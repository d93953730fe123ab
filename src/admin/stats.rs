//! How the arms fared over a stretch of time: `GET /api/v1/stats?window=1h`, or `?start=&end=`.
//!
//! By the arm that served, and attempts by the arm that was tried: what happened, for people. Whether the
//! candidate is *better* is a question for experiments, which go by the arm that was assigned. Stretches
//! of up to two hours are exact to a minute, longer ones to an hour; what is told is what was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Console;
use super::parameters::{self, Given, Parameter};
use super::problem::Problem;
use crate::clock;
use crate::config::model::{Metric, MetricRef, MetricSource};
use crate::domain::Arm;
use crate::domain::evidence::{Cell, Cells, Measured};
use crate::domain::metric::{BuiltIn, Kind};
use crate::domain::series::{HOURS, Seconds, Step};
use crate::live::Snapshot;

/// Without `window` and `start`.
const DEFAULT_WINDOW: Seconds = 3_600;
/// The longest stretch: what is kept.
const MAX_WINDOW: Seconds = HOURS as Seconds * 3_600;

/// What may be asked.
pub(super) const OF_STATS: [Parameter; 4] = [
    Parameter::new("route", parameters::Kind::Text, "This route alone."),
    Parameter::new(
        "window",
        parameters::Kind::Length { most_seconds: MAX_WINDOW },
        "How long a stretch, ending at `end`: an hour without it. Not together with `start`.",
    ),
    Parameter::new("start", parameters::Kind::Time, "Where the stretch begins."),
    Parameter::new("end", parameters::Kind::Time, "Where it ends; now without it."),
];

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stats {
    /// Where the stretch begins, on a whole minute or hour.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
    /// How fine it is: 60 or 3,600.
    pub step_seconds: Seconds,
    /// By name.
    pub routes: BTreeMap<String, RouteStats>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RouteStats {
    /// The control arm.
    pub control: ArmStats,
    /// The candidate arm.
    pub candidate: ArmStats,
}

/// One arm. Times are in milliseconds; `null` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ArmStats {
    /// Requests that it served.
    pub requests: u64,
    /// Share of them without an error.
    pub success_rate: Option<f64>,
    /// Requests that it served because the other arm failed.
    pub fallbacks: u64,
    /// From arrival to the last byte.
    pub latency: Times,
    /// From arrival to the first byte.
    pub first_byte: Times,
    /// Attempts at it.
    pub attempts: u64,
    /// Share of the attempts that failed.
    pub attempt_error_rate: Option<f64>,
    /// The file's metrics, by name.
    pub metrics: BTreeMap<String, MetricStats>,
}

/// A distribution of times in milliseconds; quantiles are within 1 %.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Times {
    /// The mean.
    pub mean: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// 95 % are at most this.
    pub p95: Option<f64>,
    /// 99 % are at most this.
    pub p99: Option<f64>,
}

/// A metric of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MetricStats {
    /// `occurrence`, `count`, `value` or `ratio`.
    pub kind: String,
    /// As the file says.
    pub unit: String,
    /// How many values; of a ratio, the sum below the line.
    pub count: f64,
    /// Their sum; of a ratio, the sum above the line.
    pub sum: f64,
    /// The sum over the count: a share, a mean, or the ratio.
    pub mean: Option<f64>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    start: Seconds,
    end: Seconds,
}

/// `GET /api/v1/stats`.
pub(super) async fn page(State(console): State<Arc<Console>>, query: RawQuery) -> Result<Json<Stats>, Problem> {
    let now = clock::timestamp();
    let given = parameters::read(&query, &OF_STATS)?;
    let (route, stretch) = (given.text("route"), asked(&given, now).map_err(Problem::Invalid)?);
    let snapshot = console.live.snapshot();
    if let Some(name) = route.filter(|name| snapshot.route_named(name).is_none()) {
        return Err(Problem::UnknownRoute(name.to_owned()));
    }
    let step = Step::reaching(stretch.start, now.as_second());
    let floor = |at: Seconds| at.div_euclid(step.seconds()) * step.seconds();
    let (start, end) = (floor(stretch.start), stretch.end);
    let mut routes = BTreeMap::new();
    for (definition, state) in snapshot.config().routes.iter().zip(&snapshot.routes) {
        if route.is_some_and(|wanted| wanted != &*definition.name) {
            continue;
        }
        let sum = console.evidence.lock().series(state.id).map(|series| series.sum(step, start, end));
        let [control, candidate] = sum.unwrap_or_default();
        let stats = |arm, measured: &Cells| arm_stats(&snapshot, arm, measured);
        let stats = RouteStats { control: stats(Arm::Control, &control), candidate: stats(Arm::Candidate, &candidate) };
        routes.insert(definition.name.to_string(), stats);
    }
    let time = |at: Seconds| Timestamp::from_second(at).map_err(|_| Problem::Internal);
    Ok(Json(Stats { start: time(start)?, end: time(end)?, step_seconds: step.seconds(), routes }))
}

fn asked(given: &Given, now: Timestamp) -> Result<Stretch, String> {
    // What happens in this second is told, too.
    let now = now.as_second() + 1;
    let time = |name| given.time(name).map(Timestamp::as_second);
    let end = time("end").unwrap_or(now).min(now);
    let start = match (time("start"), given.seconds("window")) {
        (Some(_), Some(_)) => return Err("`window` and `start` at once: one of them says where it begins".to_owned()),
        (Some(start), None) => start,
        (None, window) => end - window.unwrap_or(DEFAULT_WINDOW),
    };
    if start >= end {
        return Err("the end is not after the start".to_owned());
    }
    Ok(Stretch { start: start.max(now - MAX_WINDOW), end })
}

fn arm_stats(snapshot: &Snapshot, arm: Arm, measured: &Cells) -> ArmStats {
    let cell = |metric: BuiltIn| measured.get(Measured::BuiltIn(metric));
    let count = |metric: BuiltIn| cell(metric).map_or(0, |cell| cell.total().count as u64);
    let mean = |metric: BuiltIn| cell(metric).and_then(|cell| cell.total().mean());
    ArmStats {
        requests: count(BuiltIn::Requests),
        success_rate: mean(BuiltIn::Errors).map(|errors| 1.0 - errors),
        fallbacks: cell(BuiltIn::Fallbacks).map_or(0, |cell| cell.total().sum as u64),
        latency: times(cell(BuiltIn::Latency)),
        first_byte: times(cell(BuiltIn::FirstByte)),
        attempts: count(BuiltIn::AttemptErrors),
        attempt_error_rate: mean(BuiltIn::AttemptErrors),
        metrics: metrics(snapshot, arm, measured),
    }
}

fn times(cell: Option<&Cell>) -> Times {
    let Some(cell) = cell else { return Times::default() };
    let millis = |micros: f64| micros * BuiltIn::Latency.scale();
    let sketch = cell.times();
    let quantile = |q| sketch.as_ref().and_then(|sketch| sketch.quantile(q)).map(millis);
    Times { mean: cell.total().mean().map(millis), p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) }
}

fn metrics(snapshot: &Snapshot, arm: Arm, measured: &Cells) -> BTreeMap<String, MetricStats> {
    let mut found = BTreeMap::new();
    for (index, metric) in snapshot.config().metrics.iter().enumerate() {
        let sums = match &metric.sources[arm.index()] {
            MetricSource::Ratio([over, under]) => {
                sum_of(snapshot, over, measured).zip(sum_of(snapshot, under, measured))
            }
            MetricSource::Header(_) | MetricSource::Json(_) | MetricSource::Usage(_) | MetricSource::Event(_) => {
                let cell = measured.get(Measured::Own(snapshot.meters.id(index)));
                cell.map(|cell| (cell.total().sum, cell.total().count))
            }
        };
        if let Some((sum, count)) = sums {
            found.insert(metric.name.to_string(), stats_of(metric, sum, count));
        }
    }
    found
}

/// The sum of a part of a ratio, in its unit.
fn sum_of(snapshot: &Snapshot, part: &MetricRef, measured: &Cells) -> Option<f64> {
    let (metric, scale) = match part {
        MetricRef::Own(index) => (Measured::Own(snapshot.meters.id(*index)), 1.0),
        // Requests stand by the arm that served here.
        MetricRef::BuiltIn(BuiltIn::Served) => (Measured::BuiltIn(BuiltIn::Requests), 1.0),
        MetricRef::BuiltIn(metric) => (Measured::BuiltIn(*metric), metric.scale()),
    };
    measured.get(metric).map(|cell| cell.total().sum * scale)
}

fn stats_of(metric: &Metric, sum: f64, count: f64) -> MetricStats {
    // A count has no mean of its own: each value is one event or one answer.
    let mean = (count > 0.0 && metric.kind != Kind::Count).then(|| sum / count);
    MetricStats { kind: metric.kind.as_str().to_owned(), unit: metric.unit.clone(), count, sum, mean }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, now: Timestamp) -> Result<Stretch, String> {
        let given = parameters::read(&RawQuery(Some(query.to_owned())), &OF_STATS);
        asked(&given.map_err(|problem| problem.code().to_owned())?, now)
    }

    #[test]
    fn stretches_are_read_and_bounded() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let second = now.as_second() + 1;
        let rows = [
            ("", 3_600),
            ("window=15m", 900),
            ("window=7d", 7 * 86_400),
            ("start=2026-11-21T11:00:00Z", 3_601),
            ("start=2020-01-01T00:00:00Z", MAX_WINDOW),
            ("end=2030-01-01T00:00:00Z&window=1m", 60),
        ];
        for (query, length) in rows {
            let stretch = read(query, now).unwrap();
            assert_eq!((stretch.end, stretch.end - stretch.start), (second, length), "{query}");
        }
        for query in [
            "window=1y",
            "window=0s",
            "window=-1h",
            "window=x",
            "window=1e99h",
            "start=yesterday",
            "end=NaN",
            "start=2026-11-21T11:00:00Z&window=1h",
            "start=2026-11-21T13:00:00Z",
            "limit=1",
            "window=999999999999999d",
        ] {
            assert!(read(query, now).is_err(), "{query}");
        }
    }
}
