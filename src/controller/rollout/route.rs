//! One route under supervision: what its guards and gates see at a moment.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::{Look, Ring, judged};
use crate::config::model::{Baseline, Condition, Guard, Route, Test};
use crate::domain::Arm;
use crate::domain::breaker::{Millis, View as Breaker};
use crate::domain::evidence::RouteEvidence;
use crate::domain::guard::{Action, Figures, Finding, Reading};
use crate::domain::quality;
use crate::domain::rollout::{Observed, Rollout, Watched};
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

/// What is remembered of a route between looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    rings: HashMap<Box<str>, Ring>,
}

/// What is seen of a route now.
pub(super) struct Seen {
    pub(super) observed: Observed,
    /// Control's figures for guards that go on without control.
    pub(super) baselines: Vec<(String, Reading)>,
}

/// Where a look stands.
pub(super) struct Place<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) index: usize,
    pub(super) evidence: &'a RouteEvidence,
    pub(super) now: Millis,
}

impl Place<'_> {
    fn route(&self) -> &Route {
        &self.snapshot.config().routes[self.index]
    }

    fn look(&self) -> Look<'_> {
        Look { evidence: self.evidence, snapshot: self.snapshot, phase: self.snapshot.phases[self.index] }
    }

    fn is_breaker_open(&self) -> bool {
        let health = self.snapshot.health(self.index, self.now);
        matches!(health.breaker, Breaker::Refuse | Breaker::ProbeDue)
    }

    fn is_gate_shut(&self) -> bool {
        self.snapshot.routes[self.index].gate() != quality::Position::Open
    }
}

impl Memory {
    /// Looks at everything.
    pub(super) fn see(&mut self, place: &Place<'_>, rollout: &Rollout, elapsed: Duration) -> Seen {
        let look = place.look();
        let route = place.route();
        let settling = place.snapshot.config().routes[place.index].policy.mark.ends_with("settling");
        let phase = (!settling).then_some(look.phase);
        let (requests, users) = if settling { (0.0, 0.0) } else { look.drawn() };
        let mut baselines = Vec::new();
        let tested = route.guards.iter().filter(|guard| is_tested(guard)).count().max(1);
        let alpha = route.rollout.error_budget / tested as f64;
        let guards = route.guards.iter().map(|guard| {
            let finding = self.guard(place, guard, rollout, alpha, &mut baselines);
            watched(guard, finding)
        });
        let guards = guards.collect();
        let stage = rollout.state.standing().map_or(0, |at| at.stage);
        let active = rollout.state.standing().map_or(0.0, |at| at.active().as_secs_f64() / 3_600.0);
        let gates = route.rollout.gates.get(stage).into_iter().flatten();
        let gates = gates.map(|gate| (gate.text.to_string(), gate_finding(place, gate, rollout, active, settling)));
        let gates = gates.collect();
        self.rings.retain(|name, _| route.guards.iter().any(|guard| guard.name == *name));
        let observed = Observed { elapsed, requests, users, phase, gates, guards, catastrophe: None, stuck: None };
        Seen { observed, baselines }
    }

    fn guard(
        &mut self,
        place: &Place<'_>,
        guard: &Guard,
        rollout: &Rollout,
        alpha: f64,
        baselines: &mut Vec<(String, Reading)>,
    ) -> Finding {
        let look = place.look();
        let is_new = !rollout.phases.contains(&look.phase.0);
        let figures = |figure: &_| -> Figures {
            let ring = self.rings.entry(guard.name.clone()).or_default();
            let (tally, hours, is_partial) =
                ring.slide((look.phase, is_new), look.tally(figure), guard.window, place.now);
            let frozen = match guard.baseline {
                Baseline::Live => None,
                Baseline::Frozen => rollout.baselines.get(&*guard.name).copied(),
            };
            let own = tally.baseline(figure.statistic, hours).filter(|own| own.samples >= f64::from(guard.min_samples));
            if let (Baseline::Frozen, Some(own)) = (guard.baseline, own) {
                baselines.push((guard.name.to_string(), own));
            }
            tally.figures(figure, hours, is_partial, own.is_none().then_some(frozen).flatten())
        };
        match (guard.test, guard.condition.figure()) {
            (Test::Sequential { margin }, Some(figure)) => look.test(figure, &rollout.phases, alpha, Some(margin)),
            (Test::Sequential { .. } | Test::Threshold, _) => judged(
                &guard.condition.asks,
                figures,
                f64::from(guard.min_samples),
                place.is_breaker_open(),
                place.is_gate_shut(),
            ),
        }
    }
}

/// Gates look at the whole stage, once it has settled.
fn gate_finding(place: &Place<'_>, gate: &Condition, rollout: &Rollout, hours: f64, settling: bool) -> Finding {
    if settling {
        return Finding::UNKNOWN;
    }
    let look = place.look();
    if let Some((figure, confidence)) = gate.figure().and_then(|figure| Some((figure, figure.confidence?))) {
        return look.test(figure, &rollout.phases, 1.0 - confidence, None);
    }
    let figures = |figure: &_| look.tally(figure).figures(figure, hours, hours < 1.0, None);
    judged(&gate.asks, figures, GATE_SAMPLES, place.is_breaker_open(), place.is_gate_shut())
}

/// Fewer values than these are too little for a gate.
const GATE_SAMPLES: f64 = 20.0;

/// Whether a guard spends of the error budget.
fn is_tested(guard: &Guard) -> bool {
    matches!(guard.test, Test::Sequential { .. }) && guard.action > Action::Alert
}

fn watched(guard: &Guard, finding: Finding) -> Watched {
    Watched {
        name: guard.name.to_string(),
        action: guard.action,
        hold_for: guard.hold_for,
        min_samples: f64::from(guard.min_samples),
        alert_after: Some(guard.on_no_data),
        condition: guard.condition.text.to_string(),
        finding,
    }
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

/// Attempts that are looked back on.
const RECENT: u32 = 10;
/// So many failures in a row, from the first on, are a catastrophe.
const IN_A_ROW: u32 = 5;
/// So many failures of the recent ones are one.
const OF_RECENT: u32 = 8;
/// Control is fine with no more failures than these of its recent ones.
const CONTROL_FINE: u32 = 2;

/// The outcomes of an arm's last attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// The newest in the lowest bit; 1 is a failure.
    bits: u16,
    count: u32,
}

impl Recent {
    /// Notes an attempt.
    pub(in crate::controller) const fn note(&mut self, failed: bool) {
        self.bits = (self.bits << 1 | failed as u16) & ((1 << RECENT) - 1);
        self.count = if self.count < RECENT { self.count + 1 } else { RECENT };
    }

    const fn failures(self) -> u32 {
        self.bits.count_ones()
    }

    const fn failed_in_a_row(self) -> u32 {
        self.bits.trailing_ones()
    }
}

/// Whether the candidate fails so often, and control so seldom, that nobody need wait; with the figures.
pub(super) fn catastrophe(recent: &[Recent; 2]) -> Option<String> {
    let [control, candidate] = [recent[Arm::Control.index()], recent[Arm::Candidate.index()]];
    let many = candidate.failures() >= OF_RECENT || candidate.failed_in_a_row() >= IN_A_ROW;
    (many && control.failures() <= CONTROL_FINE).then(|| {
        format!(
            "{} of the last {} attempts at the candidate failed, and {} of control's last {}",
            candidate.failures(),
            candidate.count,
            control.failures(),
            control.count
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(outcomes: &str) -> Recent {
        let mut recent = Recent::default();
        outcomes.bytes().for_each(|outcome| recent.note(outcome == b'x'));
        recent
    }

    #[test]
    fn a_catastrophe_is_many_failures_in_few_while_control_is_fine() {
        let rows = [
            ("", "xxxxx", true),
            ("", "xxxx", false),
            ("..........", "x.xxxx.xxx", true),
            ("..........", "x.xxxx..xx", false),
            ("xx........", "xxxxx", true),
            ("xxx.......", "xxxxx", false),
            ("..........", "xxxxx.....", false),
            ("", "....................xxxxx", true),
        ];
        for (control, candidate, expected) in rows {
            let found = catastrophe(&[recent(control), recent(candidate)]);
            assert_eq!(found.is_some(), expected, "{control} {candidate}");
        }
        let text = catastrophe(&[recent("...x"), recent("xxxxx")]).unwrap();
        assert_eq!(text, "5 of the last 5 attempts at the candidate failed, and 1 of control's last 4");
    }
}
