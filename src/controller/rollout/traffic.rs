//! What is known of a route's traffic, for what somebody should know by default.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::Arm;
use crate::domain::breaker::Millis;
use crate::domain::evidence::{CellKey, Measured, RouteEvidence, Stratum};
use crate::domain::metric::BuiltIn;
use crate::domain::phase::Phase;
use crate::domain::rollout::{Concern, Effect, Traffic};
use crate::measure::RouteTotals;

/// How far back requests without a key are counted.
const STRETCH: Millis = 300_000;

/// What was seen of one route's traffic at earlier looks.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Requests and those without a key, at the beginning of this stretch and of the one before.
    marks: [(Millis, f64, f64); 2],
    /// Requests that were drawn to the candidate, and when that last changed.
    drawn: (f64, Millis),
    /// The keys of what was told and is not over.
    told: BTreeSet<&'static str>,
}

impl Tracked {
    /// What is known now.
    pub(super) fn traffic(
        &mut self,
        totals: &RouteTotals,
        evidence: &RouteEvidence,
        phase: Phase,
        now: Millis,
    ) -> Traffic {
        let requests: f64 = totals.requests.iter().map(|total| total.count as f64).sum();
        let keyless = totals.keyless as f64;
        if now.saturating_sub(self.marks[1].0) >= STRETCH {
            self.marks = [self.marks[1], (now, requests, keyless)];
        }
        let (_, requests_before, keyless_before) = self.marks[0];
        let drawn = drawn(evidence, phase);
        if drawn != self.drawn.0 || self.drawn.1 == 0 {
            self.drawn = (drawn, now);
        }
        Traffic {
            requests: requests - requests_before,
            keyless: keyless - keyless_before,
            users: users(evidence, phase),
            silent: Duration::from_millis(now.saturating_sub(self.drawn.1)),
        }
    }

    /// What is news among the concerns: what begins, and what is over.
    pub(super) fn news(&mut self, concerns: Vec<Concern>) -> Vec<Effect> {
        let keys: BTreeSet<&'static str> = concerns.iter().map(|(key, _)| *key).collect();
        let begun = concerns.into_iter().filter(|(key, _)| !self.told.contains(key));
        let begun = begun.map(|(key, text)| Effect::Alert { key: key.to_owned(), critical: false, text });
        let over = self.told.difference(&keys).map(|key| Effect::Resolve { key: (*key).to_owned() });
        let effects = begun.chain(over).collect();
        self.told = keys;
        effects
    }
}

/// Requests that a hash drew to the candidate.
fn drawn(evidence: &RouteEvidence, phase: Phase) -> f64 {
    let metric = Measured::BuiltIn(BuiltIn::Requests);
    let of = |stratum| {
        evidence.cell(CellKey { phase, stratum, arm: Arm::Candidate, metric }).map_or(0.0, |cell| cell.total().count)
    };
    evidence.draws().filter(|(key, _)| key.0 == phase).map(|(key, _)| of(key.1)).sum()
}

/// Users by the arm that the rollout's percentage drew them to.
fn users(evidence: &RouteEvidence, phase: Phase) -> [f64; 2] {
    let draw = evidence.draws().find(|(key, _)| *key == (phase, Stratum::Rollout));
    draw.map_or([0.0; 2], |(_, draw)| {
        let users = draw.users.users();
        [users.only[0] + users.both, users.only[1] + users.both]
    })
}
