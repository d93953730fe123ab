//! The last minutes of every route, by arm, and the quality gates that judge them.

use std::time::Duration;

use super::by_route::ByRoute;
use crate::config::model::MetricIndex;
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::breaker::Millis;
use crate::domain::quality::{self, Gate, Position};
use crate::domain::rollout::Recent;
use crate::domain::sketch::Sketch;
use crate::domain::window::{Mean, Mergeable, Window};
use crate::measure::{Attempt, Record};

/// What pages and tables show.
pub const SHOWN: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug, Default)]
pub struct Windows {
    routes: ByRoute<RouteWindows>,
}

#[derive(Debug)]
struct RouteWindows {
    gate: Option<(MetricIndex, quality::Settings, Gate)>,
    arms: [Window<Slice>; 2],
    recent: [Recent; 2],
}

impl Default for RouteWindows {
    fn default() -> Self {
        Self { gate: None, arms: [Window::new(SHOWN), Window::new(SHOWN)], recent: Default::default() }
    }
}

#[derive(Debug, Default)]
struct Slice {
    requests: u64,
    attempts: u64,
    failures: u64,
    duration: Sketch,
    first_byte: Sketch,
    score: Mean,
}

impl Mergeable for Slice {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.attempts += other.attempts;
        self.failures += other.failures;
        self.duration.merge(&other.duration);
        self.first_byte.merge(&other.first_byte);
        self.score.merge(&other.score);
    }
}

/// The last minutes of one route.
#[derive(Debug, Clone, Default, serde::Serialize, schemars::JsonSchema)]
pub struct RouteSummary {
    /// The control arm.
    pub control: ArmSummary,
    /// The candidate arm.
    pub candidate: ArmSummary,
}

/// The last minutes of one arm. Times are of attempts, in milliseconds.
#[derive(Debug, Clone, Default, serde::Serialize, schemars::JsonSchema)]
pub struct ArmSummary {
    /// Requests that this arm served.
    pub requests: u64,
    /// Attempts at this arm.
    pub attempts: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Half of the attempts took at most this long.
    pub p50_ms: Option<f64>,
    /// 95 % of the attempts took at most this long.
    pub p95_ms: Option<f64>,
    /// 99 % of the attempts took at most this long.
    pub p99_ms: Option<f64>,
    /// Half of the answers began within this time.
    pub first_byte_p50_ms: Option<f64>,
    /// Mean of the gate's metric.
    pub quality: Option<f64>,
    /// How many scores it is the mean of.
    pub scores: u64,
}

impl RouteSummary {
    /// The summary of one arm.
    #[must_use]
    pub const fn arm(&self, arm: Arm) -> &ArmSummary {
        match arm {
            Arm::Control => &self.control,
            Arm::Candidate => &self.candidate,
        }
    }
}

impl Windows {
    /// Fits a route's gate to its settings: unchanged settings change nothing, another metric begins anew.
    pub(super) fn configure(&mut self, route: u32, wanted: Option<(MetricIndex, &quality::Settings)>) {
        let windows = self.routes.or_default(route);
        windows.gate = match (windows.gate.take(), wanted) {
            (_, None) => None,
            (Some((metric, settings, gate)), Some(wanted)) if (metric, &settings) == wanted => {
                Some((metric, settings, gate))
            }
            (Some((metric, _, gate)), Some((same, settings))) if metric == same => {
                Some((same, settings.clone(), gate.with_settings(settings.clone())))
            }
            (Some(_) | None, Some((metric, settings))) => Some((metric, settings.clone(), Gate::new(settings.clone()))),
        };
    }

    pub(super) fn record(&mut self, record: &Record) {
        let windows = self.routes.or_default(record.route);
        windows.arms[record.served.index()].at(record.at).requests += 1;
        for attempt in record.attempts.iter().flatten() {
            windows.attempt(attempt, record.at);
        }
    }

    pub(super) fn score(&mut self, route: u32, scores: &[(MetricIndex, f64)], age: Duration, now: Millis) {
        let Some(windows) = self.routes.get_mut(route) else { return };
        let Some((metric, settings, gate)) = &mut windows.gate else { return };
        if age > settings.window {
            return;
        }
        for (_, score) in scores.iter().filter(|(of, _)| of == metric) {
            gate.record(*score, now);
            windows.arms[Arm::Candidate.index()].at(now).score.add(*score);
        }
    }

    /// Judges a route's gate; a route without one is open.
    pub(super) fn judge(&mut self, route: u32, now: Millis) -> Position {
        let gate = self.routes.get_mut(route).and_then(|windows| windows.gate.as_mut());
        gate.map_or(Position::Open, |(_, _, gate)| {
            gate.evaluate(now);
            gate.position()
        })
    }

    /// The outcomes of the last attempts, by `Arm::index`.
    pub(super) fn recent(&self, route: u32) -> [Recent; 2] {
        self.routes.get(route).map(|windows| windows.recent).unwrap_or_default()
    }

    /// Forgets the outcomes of the last attempts: another run begins.
    pub(super) fn forget_recent(&mut self, route: u32) {
        if let Some(windows) = self.routes.get_mut(route) {
            windows.recent = Default::default();
        }
    }

    pub(super) fn summary(&mut self, route: u32, now: Millis) -> RouteSummary {
        let Some(windows) = self.routes.get_mut(route) else { return RouteSummary::default() };
        let [control, candidate] = &mut windows.arms;
        RouteSummary { control: summary(&control.total(now)), candidate: summary(&candidate.total(now)) }
    }
}

impl RouteWindows {
    fn attempt(&mut self, attempt: &Attempt, at: Millis) {
        // A client that went away says nothing about the arm.
        if attempt.outcome != Outcome::ClientGone {
            self.recent[attempt.arm.index()].note(attempt.outcome.is_failure());
        }
        let slice = self.arms[attempt.arm.index()].at(at);
        slice.attempts += 1;
        slice.failures += u64::from(attempt.outcome.is_failure());
        slice.duration.add(attempt.duration_micros);
        if let Some(first_byte) = attempt.first_byte_micros {
            slice.first_byte.add(first_byte);
        }
        let Some(score) = attempt.score else { return };
        slice.score.add(score);
        if let (Arm::Candidate, Some((_, _, gate))) = (attempt.arm, &mut self.gate) {
            gate.record(score, at);
        }
    }
}

fn summary(total: &Slice) -> ArmSummary {
    let quantile = |sketch: &Sketch, q: f64| sketch.quantile(q).map(|micros| micros / 1_000.0);
    ArmSummary {
        requests: total.requests,
        attempts: total.attempts,
        failures: total.failures,
        p50_ms: quantile(&total.duration, 0.5),
        p95_ms: quantile(&total.duration, 0.95),
        p99_ms: quantile(&total.duration, 0.99),
        first_byte_p50_ms: quantile(&total.first_byte, 0.5),
        quality: total.score.value(),
        scores: total.score.count,
    }
}
