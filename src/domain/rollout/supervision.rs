//! What the guards and gates of a route see at a moment: the figures that [`step`](super::step) moves a rollout by.
//!
//! The controller and a rehearsal look through this, so that what was rehearsed is what runs. It remembers only what
//! makes the next look cheap, and what windows need.

use std::collections::HashMap;
use std::time::Duration;

use super::{Observed, Rollout, Watched};
use crate::domain::breaker::Millis;
use crate::domain::evidence::RouteEvidence;
use crate::domain::guard::sequential::Tracker;
use crate::domain::guard::{
    Action, Baseline, Condition, Figures, Finding, Guard, Level, Look, Metrics, Reading, Ring, Test, judged,
};
use crate::domain::phase::Phase;

/// What is remembered of a route between looks.
#[derive(Debug, Default)]
pub struct Memory {
    rings: HashMap<Box<str>, Ring>,
    /// By the guard's name or the gate's text.
    tests: HashMap<Box<str>, Tracker>,
}

/// What is seen of a route now.
#[derive(Debug)]
pub struct Seen {
    /// What a rollout is moved by.
    pub observed: Observed,
    /// Control's figures for guards that go on without control.
    pub baselines: Vec<(String, Reading)>,
}

/// Where a look stands.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// What the arms did.
    pub evidence: &'a RouteEvidence,
    /// Where metrics are in it.
    pub metrics: &'a dyn Metrics,
    /// The phase in which requests are.
    pub phase: Phase,
    /// Whether it is one that does not count.
    pub settling: bool,
    /// When.
    pub now: Millis,
    /// The route's guards.
    pub guards: &'a [Guard],
    /// What must hold before a stage ends, by stage.
    pub gates: &'a [Vec<Condition>],
    /// What sequential guards may spend, all together.
    pub error_budget: f64,
    /// Whether the candidate's breaker refuses.
    pub breaker_open: bool,
    /// Whether the route's quality gate is shut.
    pub gate_shut: bool,
}

impl<'a> Place<'a> {
    const fn look(&self) -> Look<'a> {
        Look { evidence: self.evidence, metrics: self.metrics, phase: self.phase }
    }
}

impl Memory {
    /// Looks at everything.
    pub fn see(&mut self, place: &Place<'_>, rollout: &Rollout, elapsed: Duration) -> Seen {
        let phase = (!place.settling).then_some(place.phase);
        let (requests, users) = if place.settling { (0.0, 0.0) } else { place.look().drawn() };
        let mut baselines = Vec::new();
        let tested = place.guards.iter().filter(|guard| is_tested(guard)).count().max(1);
        let alpha = place.error_budget / tested as f64;
        let guards = place.guards.iter().map(|guard| {
            let finding = self.guard(place, guard, rollout, alpha, &mut baselines);
            watched(guard, finding)
        });
        let guards = guards.collect();
        let stage = rollout.state.standing().map_or(0, |at| at.stage);
        let active = rollout.state.standing().map_or(0.0, |at| at.active().as_secs_f64() / 3_600.0);
        let gates = place.gates.get(stage).map_or(&[][..], Vec::as_slice);
        let found = gates.iter().map(|gate| (gate.text.to_string(), self.gate(place, gate, rollout, active)));
        let found = found.collect();
        let is_guard = |name: &str| place.guards.iter().any(|guard| *guard.name == *name);
        self.rings.retain(|name, _| is_guard(name));
        self.tests.retain(|name, _| is_guard(name) || gates.iter().any(|gate| gate.text == *name));
        let observed =
            Observed { elapsed, requests, users, phase, gates: found, guards, catastrophe: None, stuck: None };
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
        if let (Test::Sequential { margin }, Some(figure)) = (guard.test, guard.condition.figure()) {
            let level = Level { alpha, margin: Some(margin) };
            return look.test(figure, &rollout.phases, level, known(&mut self.tests, &guard.name));
        }
        let figures = |figure: &_| -> Figures {
            let ring = known(&mut self.rings, &guard.name);
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
        let min_samples = f64::from(guard.min_samples);
        judged(&guard.condition.asks, figures, min_samples, place.breaker_open, place.gate_shut)
    }

    /// A condition by itself: with a confidence over these phases, otherwise in the present one.
    pub fn condition(&mut self, place: &Place<'_>, asked: &Condition, phases: &[u32]) -> Finding {
        self.judge(place, asked, phases, 1.0)
    }

    /// Gates look at the whole stage, once it has settled.
    fn gate(&mut self, place: &Place<'_>, gate: &Condition, rollout: &Rollout, hours: f64) -> Finding {
        if place.settling { Finding::UNKNOWN } else { self.judge(place, gate, &rollout.phases, hours) }
    }

    fn judge(&mut self, place: &Place<'_>, gate: &Condition, phases: &[u32], hours: f64) -> Finding {
        let look = place.look();
        if let Some((figure, confidence)) = gate.figure().and_then(|figure| Some((figure, figure.confidence?))) {
            let level = Level { alpha: 1.0 - confidence, margin: None };
            return look.test(figure, phases, level, known(&mut self.tests, &gate.text));
        }
        let figures = |figure: &_| look.tally(figure).figures(figure, hours, hours < 1.0, None);
        judged(&gate.asks, figures, GATE_SAMPLES, place.breaker_open, place.gate_shut)
    }
}

/// What is remembered under a name.
fn known<'a, T: Default>(all: &'a mut HashMap<Box<str>, T>, name: &str) -> &'a mut T {
    all.entry(name.into()).or_default()
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
