//! What is told of rollouts: shares, states, and what guards see. Routes that the file names no more are left out.

use super::{Observation, Samples};
use crate::controller::rollout::{STATE_UNKNOWN, View};
use crate::domain::guard::Verdict;
use crate::domain::rollout::State;

/// What requests go by, as it is published. A latch leaves the share, and nobody gets it.
pub(super) fn percent(seen: &Observation<'_>, out: &mut Samples) {
    for route in &seen.snapshot.config().routes {
        let share = route.policy.rollout.percent().get();
        out.value(&[&route.name], if route.policy.stop.is_some() { 0.0 } else { share });
    }
}

fn shown<'a>(seen: &'a Observation<'_>) -> impl Iterator<Item = &'a View> {
    seen.rollouts.values().filter(|view| !view.vanished)
}

pub(super) fn states(seen: &Observation<'_>, out: &mut Samples) {
    for view in shown(seen) {
        for state in State::WORDS.into_iter().chain([STATE_UNKNOWN]) {
            out.count(&[&view.route, state], u64::from(view.state == state));
        }
    }
}

pub(super) fn guards(seen: &Observation<'_>, out: &mut Samples) {
    for (view, guard) in shown(seen).flat_map(|view| view.guards.iter().map(move |guard| (view, guard))) {
        for verdict in [Verdict::Holds, Verdict::Fails, Verdict::NotEnoughData] {
            let is_so = guard.finding.verdict == verdict;
            out.count(&[&view.route, &guard.name, verdict.as_str()], u64::from(is_so));
        }
    }
}
