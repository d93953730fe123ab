//! Records and events become evidence: what each request and each event counts for.
//!
//! Comparisons of users' experience go by the arm that was *assigned*; health goes by the arm that was
//! *tried*; load goes by the arm that *served*. One process has one of these. It knows no store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::by_route::ByRoute;
use crate::config::model::{EventSource, Metric, MetricSource};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::decision::Reason;
use crate::domain::evidence::{CellKey, Day, Drawn, Measured, Observation, RouteEvidence, Stratum};
use crate::domain::metric::{BuiltIn, Kind, MetricId};
use crate::domain::phase::Phase;
use crate::domain::series::{Seconds, Series};
use crate::measure::Record;
use crate::store::{Attribution, Event};

/// The evidence of all routes, by `RouteState::id`.
#[derive(Debug, Default)]
pub struct Evidence {
    routes: ByRoute<RouteEvidence>,
    series: ByRoute<Series>,
}

/// The evidence, shared by the loops that fill it and the pages that read it.
#[derive(Debug, Clone, Default)]
pub struct SharedEvidence(Arc<Mutex<Evidence>>);

impl SharedEvidence {
    /// For reading, briefly: the loops wait meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Evidence> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A metric of the file that events count for.
#[derive(Debug, Clone)]
pub(super) struct EventMetric {
    id: MetricId,
    kind: Kind,
    arm: Arm,
    source: EventSource,
}

/// The metrics of a file that events count for.
pub(super) fn event_metrics(metrics: &[Metric], id: impl Fn(usize) -> MetricId) -> Vec<EventMetric> {
    let mut found = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        for (arm, source) in Arm::ALL.into_iter().zip(&metric.sources) {
            if let MetricSource::Event(source) = source {
                found.push(EventMetric { id: id(index), kind: metric.kind, arm, source: source.clone() });
            }
        }
    }
    found
}

impl EventMetric {
    /// The value of an event for this metric; `None` if it does not count for it.
    fn value(&self, event: &Event, to: &Attribution, data: &Value) -> Option<f64> {
        (self.arm == to.arm).then(|| self.source.read(self.kind, &event.name, event.value, data)).flatten()
    }
}

impl Evidence {
    /// The evidence of a route; none before its first request.
    #[must_use]
    pub fn route(&self, route: u32) -> Option<&RouteEvidence> {
        self.routes.get(route)
    }

    /// The evidence of a route, to add to it.
    pub(super) fn route_mut(&mut self, route: u32) -> &mut RouteEvidence {
        self.routes.or_default(route)
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = (u32, &RouteEvidence)> {
        self.routes.iter()
    }

    /// All routes, to take what has changed.
    pub(super) fn routes_mut(&mut self) -> impl Iterator<Item = (u32, &mut RouteEvidence)> {
        self.routes.iter_mut()
    }

    /// What a route did over time; nothing before its first request.
    #[must_use]
    pub fn series(&self, route: u32) -> Option<&Series> {
        self.series.get(route)
    }

    /// What a route did over time, to add to it.
    pub(super) fn series_mut(&mut self, route: u32) -> &mut Series {
        self.series.or_default(route)
    }

    /// What all routes did, to take what has changed.
    pub(super) fn all_series_mut(&mut self) -> impl Iterator<Item = (u32, &mut Series)> {
        self.series.iter_mut()
    }

    /// Counts one event for every metric that is made of such events.
    pub(super) fn event(&mut self, route: u32, event: &Event, to: &Attribution, metrics: &[EventMetric]) {
        if !metrics.iter().any(|metric| *metric.source.name == *event.name) {
            return;
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let (phase, stratum) = (Phase(to.phase), stratum(to.randomised, to.rule));
        let at = event.at.as_second();
        for metric in metrics {
            if let Some(value) = metric.value(event, to, &data) {
                let key = CellKey { phase, stratum, arm: to.arm, metric: Measured::Own(metric.id) };
                self.route_mut(route).observe(key, Observation { bucket: Some(to.bucket), value, day: day(at) }, false);
                self.series_mut(route).observe(at, to.arm, key.metric, value, false);
            }
        }
        if let Some(percent) = to.randomised {
            // Of a flag that nothing is proxied for, events are all that tells of its users.
            let drawn = Drawn { percent, at, user: Some(to.sample), arm: to.arm, measured: false };
            self.route_mut(route).draw(phase, stratum, drawn);
        }
    }

    /// Counts one request that was settled at about this time.
    pub(super) fn record(&mut self, record: &Record, now: Seconds) {
        if record.reason == Reason::Undecided {
            return;
        }
        self.note(record, now);
        let evidence = self.routes.or_default(record.route);
        let stratum = stratum(record.randomised.map(|percent| percent.get()), record.rule);
        let mut observe = |arm: Arm, metric: Measured, value: f64, timed: bool| {
            let key = CellKey { phase: record.phase, stratum, arm, metric };
            evidence.observe(key, Observation { bucket: record.statistical_bucket, value, day: day(now) }, timed);
        };
        let built_in = Measured::BuiltIn;
        observe(record.assigned, built_in(BuiltIn::Requests), 1.0, false);
        observe(record.assigned, built_in(BuiltIn::Errors), yes(is_error(record)), false);
        observe(record.assigned, built_in(BuiltIn::Fallbacks), yes(record.fell_back), false);
        observe(record.assigned, built_in(BuiltIn::Latency), record.duration_micros as f64, true);
        if let Some(first_byte) = record.first_byte_micros {
            observe(record.assigned, built_in(BuiltIn::FirstByte), first_byte as f64, true);
        }
        observe(record.served, built_in(BuiltIn::Served), 1.0, false);
        for attempt in record.attempts.iter().flatten() {
            // A client that went away says nothing about the arm.
            if attempt.outcome != Outcome::ClientGone {
                observe(attempt.arm, built_in(BuiltIn::AttemptErrors), yes(attempt.outcome.is_failure()), false);
                observe(attempt.arm, built_in(BuiltIn::AttemptLatency), attempt.duration_micros as f64, true);
            }
        }
        for (metric, value) in record.values.iter() {
            observe(record.assigned, Measured::Own(metric), value, false);
        }
        if let Some(percent) = record.randomised {
            let (user, measured) = (record.user_sample, is_whole(record));
            let drawn = Drawn { percent: percent.get(), at: now, user, arm: record.assigned, measured };
            evidence.draw(record.phase, stratum, drawn);
        }
    }
}

impl Evidence {
    /// Counts a request in the series, by the arm that served.
    fn note(&mut self, record: &Record, now: Seconds) {
        let series = self.series_mut(record.route);
        let built_in = Measured::BuiltIn;
        let mut observe = |arm, metric, value, timed| series.observe(now, arm, metric, value, timed);
        let served = record.served;
        observe(served, built_in(BuiltIn::Requests), 1.0, false);
        observe(served, built_in(BuiltIn::Errors), yes(is_error(record)), false);
        observe(served, built_in(BuiltIn::Fallbacks), yes(record.fell_back), false);
        observe(served, built_in(BuiltIn::Latency), record.duration_micros as f64, true);
        if let Some(first_byte) = record.first_byte_micros {
            observe(served, built_in(BuiltIn::FirstByte), first_byte as f64, true);
        }
        for attempt in record.attempts.iter().flatten() {
            if attempt.outcome != Outcome::ClientGone {
                observe(attempt.arm, built_in(BuiltIn::AttemptErrors), yes(attempt.outcome.is_failure()), false);
                observe(attempt.arm, built_in(BuiltIn::AttemptLatency), attempt.duration_micros as f64, true);
            }
        }
        for (metric, value) in record.values.iter() {
            observe(served, Measured::Own(metric), value, false);
        }
    }
}

fn stratum(randomised: Option<f64>, rule: Option<u16>) -> Stratum {
    match (randomised, rule) {
        (None, _) => Stratum::Fixed,
        (Some(_), None) => Stratum::Rollout,
        (Some(_), Some(rule)) => Stratum::Rule(rule),
    }
}

/// Whether the user saw an error: a status of 500 and above, or an answer that broke off. Who went away
/// before there was an answer saw none.
fn is_error(record: &Record) -> bool {
    let truncated = record.attempts.iter().flatten().any(|attempt| attempt.outcome == Outcome::Truncated);
    record.status >= 500 || truncated
}

/// Whether the user got a whole answer, good or bad: who did not was assigned, but not measured.
fn is_whole(record: &Record) -> bool {
    let broken = |outcome| matches!(outcome, Outcome::Truncated | Outcome::ClientGone);
    record.status > 0 && !record.attempts.iter().flatten().any(|attempt| broken(attempt.outcome))
}

fn day(at: Seconds) -> Day {
    Day::try_from(at.div_euclid(86_400)).unwrap_or(Day::MAX)
}

fn yes(truth: bool) -> f64 {
    if truth { 1.0 } else { 0.0 }
}
