//! A number that tells whether a decision may have changed, for those who were told an earlier one.
//!
//! It is computed when it is asked for and costs the request path nothing. Invariant: as long as it stays
//! the same, [`Snapshot::decide`] gives everybody the same answer, but for a backend that has no room for
//! a moment.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{BackendState, RouteIndex, Snapshot, is_spent};
use crate::config::model::Backend;
use crate::domain::Arm;
use crate::domain::breaker::{Millis, View};

/// While a breaker's ramp admits ever more users, the pulse changes with every so many percent of them.
const RAMP_STEP: f64 = 10.0;

impl Snapshot {
    /// The pulse: another configuration, a gate or breaker that moved, or a throttle that ended, gives another
    /// number.
    #[must_use]
    pub fn pulse(&self, now: Millis) -> u64 {
        let mut hasher = DefaultHasher::new();
        // The generation counts from 1 in every process; the hash tells two processes apart.
        (self.generation, &self.config().hash).hash(&mut hasher);
        for route in 0..self.routes.len() {
            self.route_pulse(route, now).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn route_pulse(&self, route: RouteIndex, now: Millis) -> (u32, Option<BackendPulse>) {
        let candidate = self.config().routes[route].backend(Arm::Candidate);
        let pulse =
            candidate.map(|index| backend_pulse(&self.backends[index].state, &self.config().backends[index], now));
        (self.routes[route].gate_moves(), pulse)
    }
}

type BackendPulse = (u32, u8, bool, bool);

/// Moves, what the breaker says, whether it is left alone, and whether its budget is spent. Moves are counted so that one that was undone
/// shows, too.
fn backend_pulse(state: &BackendState, backend: &Backend, now: Millis) -> BackendPulse {
    let view = match state.view(now, &backend.breaker) {
        View::Pass => u8::MAX,
        View::Recovering(share) => (share.percent().get() / RAMP_STEP) as u8,
        // Nobody is told the candidate in either case.
        View::ProbeDue | View::Refuse => u8::MAX - 1,
    };
    (state.moves(), view, state.is_throttled(now), is_spent(state, backend))
}

#[cfg(test)]
mod tests {
    use crate::config::load_text;
    use crate::domain::breaker::Outcome;
    use crate::domain::quality::Position;
    use crate::live::Live;

    const FILE: &str = "[backends.a]\nurl = \"http://a\"\n[backends.b]\nurl = \"http://b\"\n\
        breaker = { consecutive_failures = 1, open_for = \"10s\", recover_over = \"10s\", successes = 1 }\n\
        prices = { input = 1, output = 1 }\nbudget = { cost_per_day = 5 }\n\
        [routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"b\"\n[routes.flag]\n";

    #[tokio::test]
    async fn everything_that_changes_an_answer_changes_the_pulse() {
        let load = |text: &str| load_text(text, "gateway.toml", &std::collections::BTreeMap::new()).unwrap();
        let live = Live::new(load(FILE), 1, tokio::runtime::Handle::current()).unwrap();
        let snapshot = live.snapshot();
        let (state, settings) = (&snapshot.backends[1].state, &snapshot.config().backends[1].breaker);
        let mut seen = vec![snapshot.pulse(1_000)];
        let mut moved = |pulse: u64, what: &str| {
            assert!(!seen.contains(&pulse), "{what}");
            seen.push(pulse);
        };
        snapshot.routes[1].set_gate(Position::Shut);
        moved(snapshot.pulse(1_000), "the gate shuts");
        snapshot.routes[1].set_gate(Position::Open);
        moved(snapshot.pulse(1_000), "the gate opens");
        state.throttle(2_000);
        moved(snapshot.pulse(1_000), "throttled");
        assert_eq!(snapshot.pulse(1_999), snapshot.pulse(1_000), "still throttled");
        // As before it was throttled, so the pulse is that of then.
        assert!(seen.contains(&snapshot.pulse(2_000)));
        let mut moved = |pulse: u64, what: &str| {
            assert!(!seen.contains(&pulse), "{what}");
            seen.push(pulse);
        };
        state.record(None, Outcome::Failure, 3_000, settings);
        moved(snapshot.pulse(3_000), "the breaker opens");
        let lease = state.lease(30_000, settings);
        assert_eq!(snapshot.pulse(30_000), snapshot.pulse(3_000), "half open: nobody is told the candidate yet");
        state.record(lease, Outcome::Success, 30_000, settings);
        moved(snapshot.pulse(30_100), "recovering");
        moved(snapshot.pulse(35_000), "recovering more");
        moved(snapshot.pulse(50_000), "closed");
        assert_eq!(snapshot.pulse(60_000), snapshot.pulse(50_000), "nothing more");
        state.spend(crate::clock::utc_day(), 5.0);
        moved(snapshot.pulse(60_000), "the budget is spent");
        live.publish(load(FILE)).unwrap();
        moved(live.snapshot().pulse(60_000), "another generation");
    }
}
