//! One route under supervision: where its guards and gates look at a moment, and what people see of it.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::model::{Condition, MetricRef, kind, parts};
use crate::domain::Arm;
use crate::domain::breaker::{Millis, View as Breaker};
use crate::domain::evidence::RouteEvidence;
use crate::domain::guard::{Action, Finding, Metrics, Parts};
use crate::domain::metric::Kind;
use crate::domain::quality;
use crate::domain::rollout::{Memory, Observed, Place, Rollout, Watched};
use crate::live::Snapshot;

/// A guard as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Guard")]
pub struct GuardView {
    /// Its name.
    pub name: String,
    /// As the file says it.
    pub when: String,
    /// What it does.
    pub then: Action,
    /// What it sees.
    pub finding: Finding,
    /// For how many seconds its condition has held.
    pub breached_seconds: f64,
    /// For how many seconds it has to.
    pub for_seconds: f64,
}

/// Where the metrics of a running configuration are.
struct Running<'a>(&'a Snapshot);

impl Metrics for Running<'_> {
    fn parts(&self, metric: MetricRef, arm: Arm) -> Parts {
        parts(&self.0.config().metrics, metric, arm, |index| self.0.meters.id(index))
    }

    fn kind(&self, metric: MetricRef) -> Kind {
        kind(&self.0.config().metrics, metric)
    }
}

/// Shows a route as it is now to whoever looks at it.
pub(super) fn with_place<T>(
    snapshot: &Snapshot,
    index: usize,
    evidence: &RouteEvidence,
    now: Millis,
    look: impl FnOnce(&Place<'_>) -> T,
) -> T {
    let route = &snapshot.config().routes[index];
    let health = snapshot.health(index, now);
    look(&Place {
        evidence,
        metrics: &Running(snapshot),
        phase: snapshot.phases[index],
        settling: route.policy.mark.ends_with("settling"),
        now,
        guards: &route.guards,
        gates: &route.rollout.gates,
        error_budget: route.rollout.error_budget,
        breaker_open: matches!(health.breaker, Breaker::Refuse | Breaker::ProbeDue),
        gate_shut: snapshot.routes[index].gate() != quality::Position::Open,
    })
}

/// What is found of a condition for shipping: with a confidence over these phases, otherwise in the present one.
#[must_use]
pub fn found(
    snapshot: &Snapshot,
    index: usize,
    evidence: &RouteEvidence,
    phases: &[u32],
    asked: &Condition,
) -> Finding {
    with_place(snapshot, index, evidence, clock::now_millis(), |place| {
        Memory::default().condition(place, asked, phases)
    })
}

/// Guards as people see them.
pub(super) fn views(observed: &Observed, rollout: &Rollout) -> Vec<GuardView> {
    let view = |guard: &Watched| GuardView {
        name: guard.name.clone(),
        when: guard.condition.clone(),
        then: guard.action,
        finding: guard.finding,
        breached_seconds: rollout.clocks.get(&guard.name).map_or(0.0, |clock| clock.breached_ms as f64 / 1_000.0),
        for_seconds: guard.hold_for.as_secs_f64(),
    };
    observed.guards.iter().map(view).collect()
}
