//! What the demo shows: read from the running gateway and from what its users saw, never from the tour.

use std::time::Duration;

use super::rollouts::RouteRollout;
use super::traffic::SeenTotals;
use crate::app::Gateway;
use crate::clock;
use crate::domain::Arm;
use crate::domain::breaker::{self, View};
use crate::domain::decision::Reason;
use crate::domain::quality;
use crate::live::{RouteIndex, Snapshot};

/// The route that is toured first.
const ROUTE: &str = "demo";

/// A reload that was taken over, among the counts; see `ReloadOutcome::name`.
const TAKEN_OVER: &str = "applied";

/// A refused one.
const REFUSED: &str = "failed";

/// Everything at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// Since the demo began.
    pub(super) uptime: Duration,
    /// Control and candidate.
    pub(super) arms: [ArmState; 2],
    /// What the users saw.
    pub(super) seen: SeenTotals,
    /// The percentage that the running configuration says.
    pub(super) percent: f64,
    /// Requests that control answered after the candidate had failed.
    pub(super) fallbacks: u64,
    /// Requests that an open breaker gave to control at once.
    pub(super) kept_by_breaker: u64,
    /// What runs: it counts configurations, and moves of rollouts.
    pub(super) generation: u64,
    /// How many configurations were taken over while it ran.
    pub(super) taken_over: u64,
    /// How many configurations were refused.
    pub(super) refusals: u64,
    /// Why the last configuration was refused, if it was.
    pub(super) refused: Option<String>,
    /// The rollouts of the other routes, of those that are still in the file.
    pub(super) rollouts: Vec<RouteRollout>,
}

/// One arm. Counts are since the demo began, times and quality of the last five minutes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ArmState {
    /// The name of its backend.
    pub(super) backend: String,
    /// Requests that it served.
    pub(super) requests: u64,
    /// Attempts at it.
    pub(super) attempts: u64,
    /// Attempts that failed.
    pub(super) failures: u64,
    /// Half of the attempts took at most this long, in milliseconds.
    pub(super) p50_ms: Option<f64>,
    /// 95 % of the attempts took at most this long, in milliseconds.
    pub(super) p95_ms: Option<f64>,
    /// The mean score.
    pub(super) quality: Option<f64>,
    /// Its breaker, if it has one.
    pub(super) breaker: Option<Breaker>,
    /// Its quality gate, if it has one.
    pub(super) gate: Option<quality::Position>,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Breaker {
    /// Requests pass.
    Closed,
    /// It closed a short while ago, and this percentage of the users passes.
    Recovering(f64),
    /// Probes pass.
    HalfOpen,
    /// Nothing passes.
    Open,
}

impl State {
    /// Reads everything; `None` where somebody edited the demo's route away.
    pub(super) fn read(gateway: &Gateway, seen: SeenTotals, uptime: Duration) -> Option<Self> {
        // Before the snapshot: what these say is taken over runs in it.
        let reloads = gateway.live.reloads().clone();
        let snapshot = gateway.live.snapshot();
        let route = snapshot.route_named(ROUTE)?;
        let totals = snapshot.routes[route].totals();
        let kept = totals.requests.iter().filter(|total| total.reason == Reason::BreakerOpen);
        let count = |wanted: &str| {
            reloads.counts.iter().filter(|((result, _), _)| *result == wanted).map(|(_, count)| count).sum()
        };
        Some(Self {
            uptime,
            arms: Arm::ALL.map(|arm| ArmState::read(gateway, &snapshot, route, arm)),
            seen,
            percent: snapshot.config().routes[route].policy.rollout.percent().get(),
            fallbacks: totals.fallbacks.iter().sum(),
            kept_by_breaker: kept.map(|total| total.count).sum(),
            generation: snapshot.generation,
            taken_over: count(TAKEN_OVER),
            refusals: count(REFUSED),
            refused: reloads.error,
            rollouts: RouteRollout::read_all(gateway, &snapshot),
        })
    }

    /// The rollout of a route, if the file still has it.
    pub(super) fn rollout(&self, route: &str) -> Option<&RouteRollout> {
        self.rollouts.iter().find(|rollout| rollout.view.route == route)
    }

    /// One arm.
    pub(super) const fn arm(&self, arm: Arm) -> &ArmState {
        &self.arms[arm.index()]
    }

    /// The candidate's breaker; a candidate always has one.
    pub(super) fn breaker(&self) -> Breaker {
        self.arm(Arm::Candidate).breaker.unwrap_or(Breaker::Closed)
    }

    /// What moved since `before`, one sentence each.
    pub(super) fn moves_since(&self, before: &Self) -> Vec<String> {
        let mut moves = Vec::new();
        let name = &self.arm(Arm::Candidate).backend;
        if self.breaker().word() != before.breaker().word() {
            moves.push(format!("The breaker of {name} is {}.", self.breaker().word()));
        }
        if let (Some(gate), Some(was)) = (self.arm(Arm::Candidate).gate, before.arm(Arm::Candidate).gate)
            && gate != was
        {
            moves.push(format!("The quality gate is {}.", gate_word(gate)));
        }
        if let Some(report) = self.refused.as_ref().filter(|_| self.refused != before.refused) {
            let report = report.trim_end();
            moves.push(format!("gateway.toml is refused, generation {} keeps running:\n\n{report}\n", self.generation));
        }
        if self.taken_over != before.taken_over {
            moves.push(format!(
                "gateway.toml is taken over: generation {}, percentage {}.",
                self.generation, self.percent
            ));
        }
        let pairs = self.rollouts.iter().filter_map(|now| Some((now, before.rollout(&now.view.route)?)));
        moves.extend(pairs.filter_map(|(now, before)| now.move_since(before)));
        moves
    }
}

impl ArmState {
    fn read(gateway: &Gateway, snapshot: &Snapshot, route: RouteIndex, arm: Arm) -> Self {
        let (definition, running) = (&snapshot.config().routes[route], &snapshot.routes[route]);
        let index = definition.backend(arm);
        let backend = index.map(|index| (&snapshot.config().backends[index], &snapshot.backends[index].state));
        let totals = running.totals();
        let (attempts, failures) = totals.attempts_and_failures(arm);
        let recent = gateway.windows.summary(running.id);
        let recent = recent.arm(arm);
        let now = clock::now_millis();
        let guarded = backend.filter(|(backend, _)| arm == Arm::Candidate || backend.breaker_for_control);
        let gated = arm == Arm::Candidate && definition.quality_gate.is_some();
        Self {
            backend: backend.map_or_else(String::new, |(backend, _)| backend.name.to_string()),
            requests: totals.served(arm),
            attempts,
            failures,
            p50_ms: recent.p50_ms,
            p95_ms: recent.p95_ms,
            quality: recent.quality,
            breaker: guarded
                .map(|(backend, state)| Breaker::of(state.position(now), state.view(now, &backend.breaker))),
            gate: gated.then(|| running.gate()),
        }
    }
}

impl Breaker {
    fn of(position: breaker::Position, view: View) -> Self {
        match (position, view) {
            (breaker::Position::Open, _) => Self::Open,
            (breaker::Position::HalfOpen, _) => Self::HalfOpen,
            (breaker::Position::Closed, View::Recovering(share)) => Self::Recovering(share.percent().get()),
            (breaker::Position::Closed, View::Pass | View::ProbeDue | View::Refuse) => Self::Closed,
        }
    }

    /// In words, without numbers.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Recovering(_) => "closed, recovering",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// A gate's position in words.
pub(super) const fn gate_word(position: quality::Position) -> &'static str {
    match position {
        quality::Position::Open => "open",
        quality::Position::Shut => "shut",
        quality::Position::Probing => "probing",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::demo::rollouts::tests::examples;

    /// A state with something of everything.
    pub(in crate::cli::demo) fn example() -> State {
        let control = ArmState {
            backend: "legacy".to_owned(),
            requests: 5_212,
            attempts: 5_212,
            failures: 0,
            p50_ms: Some(10.12),
            p95_ms: Some(14.81),
            quality: Some(0.7512),
            breaker: None,
            gate: None,
        };
        let candidate = ArmState {
            backend: "llm".to_owned(),
            requests: 788,
            attempts: 825,
            failures: 37,
            p50_ms: Some(131.4),
            p95_ms: None,
            quality: Some(0.8999),
            breaker: Some(Breaker::Recovering(42.4)),
            gate: Some(quality::Position::Open),
        };
        State {
            uptime: Duration::from_secs(30),
            arms: [control, candidate],
            seen: SeenTotals { answers: 6_000, users: [301, 99], ..SeenTotals::default() },
            percent: 25.0,
            fallbacks: 37,
            kept_by_breaker: 612,
            generation: 1,
            taken_over: 0,
            refusals: 0,
            refused: None,
            rollouts: examples(),
        }
    }

    #[test]
    fn what_moved_is_told_once() {
        let before = example();
        assert_eq!(before.moves_since(&before), Vec::<String>::new());
        let mut after = before.clone();
        after.arms[1].breaker = Some(Breaker::Recovering(50.0));
        assert_eq!(after.moves_since(&before), Vec::<String>::new(), "a ramp is one state");
        after.arms[1].breaker = Some(Breaker::Open);
        after.arms[1].gate = Some(quality::Position::Shut);
        after.refused = Some("error: unknown key\n".to_owned());
        let moves = after.moves_since(&before);
        assert_eq!(
            moves,
            [
                "The breaker of llm is open.",
                "The quality gate is shut.",
                "gateway.toml is refused, generation 1 keeps running:\n\nerror: unknown key\n",
            ]
        );
        let applied = State { refused: None, generation: 2, taken_over: 1, percent: 50.0, ..after.clone() };
        assert_eq!(applied.moves_since(&after), ["gateway.toml is taken over: generation 2, percentage 50."]);
        let mut moved = State { generation: 3, ..applied.clone() };
        moved.rollouts[0].view.state = "watching".to_owned();
        let told = moved.moves_since(&applied);
        assert!(told.len() == 1 && told[0].starts_with("Rollout of better: watching, stage half"), "{told:?}");
    }
}
