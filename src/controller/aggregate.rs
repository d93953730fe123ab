//! Records and events become evidence: what each request and each event counts for.
//!
//! Comparisons of users' experience go by the arm that was *assigned*; health goes by the arm that was
//! *tried*; load goes by the arm that *served*. One process has one of these.

use std::collections::HashMap;

use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::evidence::{CellKey, Measured, Observation, RouteEvidence, Stratum};
use crate::domain::metric::BuiltIn;
use crate::measure::Record;

/// The evidence of all routes, by `RouteState::id`.
#[derive(Debug, Default)]
pub struct Evidence {
    routes: HashMap<u32, RouteEvidence>,
}

impl Evidence {
    /// The evidence of a route; none before its first request.
    #[must_use]
    pub fn route(&self, route: u32) -> Option<&RouteEvidence> {
        self.routes.get(&route)
    }

    /// The evidence of a route, to add to it.
    pub(super) fn route_mut(&mut self, route: u32) -> &mut RouteEvidence {
        self.routes.entry(route).or_default()
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = (u32, &RouteEvidence)> {
        self.routes.iter().map(|(route, evidence)| (*route, evidence))
    }

    /// All routes, to take what has changed.
    pub(super) fn routes_mut(&mut self) -> impl Iterator<Item = (u32, &mut RouteEvidence)> {
        self.routes.iter_mut().map(|(route, evidence)| (*route, evidence))
    }

    /// Counts one settled request.
    pub(super) fn record(&mut self, record: &Record) {
        let evidence = self.routes.entry(record.route).or_default();
        let stratum = stratum(record);
        let mut observe = |arm: Arm, metric: Measured, value: f64, timed: bool| {
            let key = CellKey { phase: record.phase, stratum, arm, metric };
            evidence.observe(key, Observation { bucket: record.statistical_bucket, value }, timed);
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
            if attempt.outcome == Outcome::ClientGone {
                continue;
            }
            observe(attempt.arm, built_in(BuiltIn::AttemptErrors), yes(attempt.outcome.is_failure()), false);
            observe(attempt.arm, built_in(BuiltIn::AttemptLatency), attempt.duration_micros as f64, true);
        }
        for (metric, value) in record.values.iter() {
            observe(record.assigned, Measured::Own(metric), value, false);
        }
        if let (Some(sample), true) = (record.user_sample, stratum != Stratum::Fixed) {
            evidence.assign(record.phase, sample, record.assigned);
        }
    }
}

const fn stratum(record: &Record) -> Stratum {
    match (record.randomised, record.rule) {
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

fn yes(truth: bool) -> f64 {
    if truth { 1.0 } else { 0.0 }
}
