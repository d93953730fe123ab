//! Records and events become evidence: what each request and each event counts for.
//!
//! Comparisons of users' experience go by the arm that was *assigned*; health goes by the arm that was
//! *tried*; load goes by the arm that *served*. One process has one of these. It knows no store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::by_route::ByRoute;
use crate::config::model::{EventSource, JUDGE_EVENTS, Metric, MetricIndex, MetricSource};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::decision::Reason;
use crate::domain::evidence::{CellKey, Day, Drawn, Measured, Observation, RouteEvidence, Stratum};
use crate::domain::metric::{BuiltIn, Kind, MetricId};
use crate::domain::pairs::{Pairs, Preference};
use crate::domain::phase::Phase;
use crate::domain::series::{Seconds, Series};
use crate::domain::sketch::Place;
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
    pub(super) index: MetricIndex,
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
                found.push(EventMetric { index, id: id(index), kind: metric.kind, arm, source: source.clone() });
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

    /// Counts one event for every metric that is made of such events. Returns what it counted for the quality
    /// gate: values of answers that the candidate gave.
    pub(super) fn event(
        &mut self,
        route: u32,
        event: &Event,
        to: &Attribution,
        metrics: &[EventMetric],
    ) -> Vec<(MetricIndex, f64)> {
        let mut of_candidate = Vec::new();
        if !metrics.iter().any(|metric| *metric.source.name == *event.name) {
            return of_candidate;
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let (phase, stratum) = (Phase(to.phase), stratum(to.randomised, to.rule));
        let at = event.at.as_second();
        for metric in metrics {
            if let Some(value) = metric.value(event, to, &data) {
                let key = CellKey { phase, stratum, arm: to.arm, metric: Measured::Own(metric.id) };
                self.route_mut(route).observe(key, Observation { bucket: Some(to.bucket), value, day: day(at) }, false);
                self.series_mut(route).observe(at, to.arm, key.metric, value, false);
                // A verdict says who answered; control may have covered the candidate up.
                let served = data.get("served").and_then(Value::as_str).unwrap_or(to.arm.as_str());
                if to.arm == Arm::Candidate && served == Arm::Candidate.as_str() {
                    of_candidate.push((metric.index, value));
                }
            }
        }
        if let Some(percent) = to.randomised {
            // Of a flag that nothing is proxied for, events are all that tells of its users.
            let drawn = Drawn { percent, at, user: Some(to.sample), arm: to.arm, measured: false };
            self.route_mut(route).draw(phase, stratum, drawn);
        }
        of_candidate
    }

    /// Counts a verdict on a pair of answers, if the event is one; `id` numbers the metrics of preferences. It
    /// belongs to no arm: it is kept with the assigned one's.
    pub(super) fn pair(&mut self, route: u32, event: &Event, to: &Attribution, id: impl Fn(&str) -> MetricId) {
        if !event.name.starts_with(JUDGE_EVENTS) {
            return;
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let Some(preference) = data.get("preference").and_then(Value::as_str).and_then(Preference::parse) else {
            return;
        };
        let (phase, stratum) = (Phase(to.phase), stratum(to.randomised, to.rule));
        let key = CellKey { phase, stratum, arm: to.arm, metric: Measured::Own(id(preference.metric())) };
        self.route_mut(route).observe(
            key,
            Observation { bucket: Some(to.bucket), value: 1.0, day: day(event.at.as_second()) },
            false,
        );
    }

    /// The verdicts on pairs of a route in the phases that are wanted.
    pub fn pairs(&self, route: u32, is_wanted: impl Fn(Phase) -> bool, id: impl Fn(&str) -> MetricId) -> Pairs {
        let mut pairs = Pairs::default();
        let ids = Preference::ALL.map(|preference| (Measured::Own(id(preference.metric())), preference));
        let cells = self.route(route).into_iter().flat_map(RouteEvidence::cells);
        for (key, cell) in cells.filter(|(key, _)| is_wanted(key.phase)) {
            if let Some((_, preference)) = ids.iter().find(|(metric, _)| *metric == key.metric) {
                pairs.add(*preference, cell.total().count as u64);
            }
        }
        pairs
    }

    /// Counts one request that was settled at about this time.
    pub(super) fn record(&mut self, record: &Record, now: Seconds) {
        if record.reason == Reason::Undecided {
            return;
        }
        let timed = Timed::of(record);
        self.note(record, &timed, now);
        let evidence = self.routes.or_default(record.route);
        let stratum = stratum(record.randomised.map(|percent| percent.get()), record.rule);
        let mut recorder = evidence.recorder(record.phase, stratum, record.statistical_bucket, day(now));
        timed.tell(record, record.assigned, |arm, metric, value, time| recorder.observe(arm, metric, value, time));
        recorder.observe(record.served, Measured::BuiltIn(BuiltIn::Served), 1.0, None);
        if let Some(percent) = record.randomised {
            let (user, measured) = (record.user_sample, is_whole(record));
            let drawn = Drawn { percent: percent.get(), at: now, user, arm: record.assigned, measured };
            evidence.draw(record.phase, stratum, drawn);
        }
    }

    /// Counts a request in the series, by the arm that served.
    fn note(&mut self, record: &Record, timed: &Timed, now: Seconds) {
        let series = self.series_mut(record.route);
        if let Some(arms) = series.newest(now) {
            timed.tell(record, record.served, |arm, metric, value, time| {
                arms[arm.index()].or_default(metric).count(value, time);
            });
        } else {
            // The clock was set back.
            timed.tell(record, record.served, |arm, metric, value, time| {
                series.observe(now, arm, metric, value, time.is_some());
            });
        }
    }
}

/// The times of a request, with their places in distributions: found once, counted in several.
struct Timed {
    duration: Place,
    first_byte: Option<Place>,
    attempts: [Option<Place>; 2],
}

impl Timed {
    fn of(record: &Record) -> Self {
        Self {
            duration: Place::of(record.duration_micros),
            first_byte: record.first_byte_micros.map(Place::of),
            attempts: record.attempts.map(|attempt| attempt.map(|attempt| Place::of(attempt.duration_micros))),
        }
    }

    /// Tells every value of a request: by the arm that it is of, and attempts by the one that was tried.
    fn tell(&self, record: &Record, arm: Arm, mut observe: impl FnMut(Arm, Measured, f64, Option<Place>)) {
        let built_in = Measured::BuiltIn;
        observe(arm, built_in(BuiltIn::Requests), 1.0, None);
        observe(arm, built_in(BuiltIn::Errors), yes(is_error(record)), None);
        observe(arm, built_in(BuiltIn::Fallbacks), yes(record.fell_back), None);
        observe(arm, built_in(BuiltIn::Latency), record.duration_micros as f64, Some(self.duration));
        if let Some(first_byte) = record.first_byte_micros {
            observe(arm, built_in(BuiltIn::FirstByte), first_byte as f64, self.first_byte);
        }
        for (attempt, place) in record.attempts.iter().zip(self.attempts) {
            // A client that went away says nothing about the arm.
            if let Some(attempt) = attempt.as_ref().filter(|attempt| attempt.outcome != Outcome::ClientGone) {
                observe(attempt.arm, built_in(BuiltIn::AttemptErrors), yes(attempt.outcome.is_failure()), None);
                observe(attempt.arm, built_in(BuiltIn::AttemptLatency), attempt.duration_micros as f64, place);
            }
        }
        for (metric, value) in record.values.iter() {
            observe(arm, Measured::Own(metric), value, None);
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
