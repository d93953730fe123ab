//! `decide`: which arm serves this request, and why.
//!
//! Two steps. *Assignment* says which arm this user belongs to; the first of [`ASSIGNMENT_ORDER`] that
//! applies decides. Then, only where the candidate was assigned, *health* may give the request to
//! control. The function is pure: the proxy, `explain`, the API and the tests ask this one.
//! The right to a probe is not taken here but by the exchange, since taking it is an act.

mod policy;
mod reason;
mod trace;

pub use policy::{Exclusive, Holdout, KeyNeed, Needs, Policy, Prerequisite, Rule, Serve, Targeting};
pub use reason::{ASSIGNMENT_ORDER, HEALTH_ORDER, Reason};
pub use trace::{Step, trace};

use super::Arm;
use super::assignment::{Digest, Share};
use super::breaker::View;
use super::context::Contexts;
use super::percent::Percent;
use super::quality;

/// What the decision needs to know of the candidate's health, read once a request.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// What the breaker says.
    pub breaker: View,
    /// The backend asked to be left alone, and the time is not up.
    pub rate_limited: bool,
    /// What it may cost today is spent.
    pub spent: bool,
    /// The quality gate and the share that probes it; `None` without a gate.
    pub gate: Option<(quality::Position, Share)>,
    /// The backend is at its `max_in_flight`.
    pub busy: bool,
}

impl Health {
    /// Nothing is wrong.
    pub const WELL: Self = Self { breaker: View::Pass, rate_limited: false, spent: false, gate: None, busy: false };
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// The arm that rules and hash say for this user.
    pub assigned: Arm,
    /// Why it was assigned: one of [`ASSIGNMENT_ORDER`], or [`Reason::Undecided`].
    pub assigned_by: Reason,
    /// The arm that is to serve, before any probe or fallback.
    pub serve: Arm,
    /// Why it serves: `assigned_by`, or what stands in the way or opens it.
    pub reason: Reason,
    /// The percentage by which this was drawn, if a hash drew it.
    pub randomised: Option<Percent>,
    /// The index of the rule that decided, if one did: what it draws is a stratum of its own.
    pub rule: Option<usize>,
    /// The digest of the key under the route's salt; `None` without a key.
    pub digest: Option<Digest>,
}

impl Decision {
    /// What holds until there is a decision.
    pub const NONE: Self = Self {
        assigned: Arm::Control,
        assigned_by: Reason::Undecided,
        serve: Arm::Control,
        reason: Reason::Undecided,
        randomised: None,
        rule: None,
        digest: None,
    };
}

/// Decides one request.
#[must_use]
pub fn decide(policy: &Policy, contexts: &Contexts<'_>, health: &Health) -> Decision {
    let digest = contexts.digest(policy.split_by, &policy.salt);
    let Assignment { arm: assigned, by: assigned_by, randomised, rule } = assign(policy, contexts, digest.as_ref());
    let (serve, reason) =
        if assigned == Arm::Candidate { admit(assigned_by, health, digest.as_ref()) } else { (assigned, assigned_by) };
    Decision { assigned, assigned_by, serve, reason, randomised, rule, digest }
}

struct Assignment {
    arm: Arm,
    by: Reason,
    randomised: Option<Percent>,
    rule: Option<usize>,
}

impl Assignment {
    const fn fixed(arm: Arm, by: Reason) -> Self {
        Self { arm, by, randomised: None, rule: None }
    }

    fn drawn(share: Share, digest: &Digest, by: Reason) -> Self {
        let arm = if share.contains(digest.bucket()) { Arm::Candidate } else { Arm::Control };
        Self { arm, by, randomised: Some(share.percent()), rule: None }
    }
}

fn assign(policy: &Policy, contexts: &Contexts<'_>, digest: Option<&Digest>) -> Assignment {
    if !policy.enabled {
        return Assignment::fixed(Arm::Control, Reason::Disabled);
    }
    if let Some(arm) = contexts.override_arm {
        return Assignment::fixed(arm, Reason::Override);
    }
    if let Some(stop) = policy.stop {
        return Assignment::fixed(Arm::Control, Reason::of_stop(stop));
    }
    if let Some(arm) = policy.forced {
        return Assignment::fixed(arm, Reason::Forced);
    }
    if let Some(arm) = contexts.keys.of(policy.split_by).and_then(|key| policy.targets.arm_of(key)) {
        return Assignment::fixed(arm, Reason::Target);
    }
    if !policy.started {
        return Assignment::fixed(Arm::Control, Reason::NotStarted);
    }
    if let Some(reason) = barred(policy, contexts) {
        return Assignment::fixed(Arm::Control, reason);
    }
    // A pin stands for a draw of some time ago, and for nothing that bars a user from the candidate.
    if let Some(arm) = contexts.pinned {
        return Assignment::fixed(arm, Reason::Pinned);
    }
    if let Some(ruled) = policy.targeting.assign(contexts, digest) {
        return ruled;
    }
    match digest {
        None => Assignment::fixed(Arm::Control, Reason::NoKey),
        Some(digest) => Assignment::drawn(policy.rollout, digest, Reason::Rollout),
    }
}

/// What keeps a user from the candidate whatever the percentage.
fn barred(policy: &Policy, contexts: &Contexts<'_>) -> Option<Reason> {
    if held_out(policy, contexts) {
        return Some(Reason::Holdout);
    }
    if policy.exclusive.as_ref().is_some_and(|slots| !slots.admits(policy, contexts)) {
        return Some(Reason::Excluded);
    }
    if !policy.prerequisites.iter().all(|prerequisite| prerequisite.is_met(contexts)) {
        return Some(Reason::Prerequisite);
    }
    let eligible = policy.targeting.eligible.as_ref();
    eligible.is_some_and(|condition| !condition.evaluate(contexts.facts).holds()).then_some(Reason::Condition)
}

impl Exclusive {
    /// Without a key nobody knows in which slot a user is, so that no slot is his.
    fn admits(&self, policy: &Policy, contexts: &Contexts<'_>) -> bool {
        self.bucket(policy.split_by, contexts).is_some_and(|bucket| self.contains(bucket))
    }
}

impl Prerequisite {
    fn is_met(&self, contexts: &Contexts<'_>) -> bool {
        self.assigned(contexts).arm == self.arm
    }

    /// What the other route assigns, by its own key and rules. Health is not asked: assigned is not served.
    fn assigned(&self, contexts: &Contexts<'_>) -> Assignment {
        let digest = contexts.digest(self.policy.split_by, &self.policy.salt);
        assign(&self.policy, &contexts.elsewhere(), digest.as_ref())
    }
}

impl Targeting {
    /// What the rules say; `None` leaves it to the rollout.
    fn assign(&self, contexts: &Contexts<'_>, digest: Option<&Digest>) -> Option<Assignment> {
        let (index, rule) = self.matching(contexts)?;
        let assignment = match (rule.serve, digest) {
            (Serve::Arm(arm), _) => Assignment::fixed(arm, Reason::Rule),
            (Serve::Percent(share), Some(digest)) => Assignment::drawn(share, digest, Reason::Rule),
            // The rule is for this user, but there is nothing to draw with.
            (Serve::Percent(_), None) => Assignment::fixed(Arm::Control, Reason::NoKey),
        };
        Some(Assignment { rule: Some(index), ..assignment })
    }

    fn matching(&self, contexts: &Contexts<'_>) -> Option<(usize, &Rule)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.condition.evaluate(contexts.facts).holds())
    }
}

fn admit(assigned_by: Reason, health: &Health, digest: Option<&Digest>) -> (Arm, Reason) {
    // Who forces an arm wants to see just that arm, ill or not; only the bulkhead holds for all.
    let insists = matches!(assigned_by, Reason::Override | Reason::Forced);
    if !insists {
        if !passes(health.breaker, digest) {
            return (Arm::Control, Reason::BreakerOpen);
        }
        if health.rate_limited {
            return (Arm::Control, Reason::RateLimited);
        }
        if health.spent {
            return (Arm::Control, Reason::Budget);
        }
    }
    let gate = health.gate.filter(|_| !insists);
    let through_gate = match gate {
        None | Some((quality::Position::Open, _)) => Some(assigned_by),
        Some((quality::Position::Probing, share)) if drawn(share, digest) => Some(Reason::QualityProbe),
        Some((quality::Position::Probing | quality::Position::Shut, _)) => None,
    };
    match through_gate {
        None => (Arm::Control, Reason::QualityGate),
        Some(_) if health.busy => (Arm::Control, Reason::Busy),
        Some(reason) => (Arm::Candidate, reason),
    }
}

fn passes(breaker: View, digest: Option<&Digest>) -> bool {
    match breaker {
        View::Pass => true,
        View::Recovering(share) => drawn(share, digest),
        View::ProbeDue | View::Refuse => false,
    }
}

/// Without a key there is nothing to draw with, so nobody is drawn.
fn drawn(share: Share, digest: Option<&Digest>) -> bool {
    digest.is_some_and(|digest| share.contains(digest.admission_bucket()))
}

fn held_out(policy: &Policy, contexts: &Contexts<'_>) -> bool {
    policy.holdout.as_ref().is_some_and(|holdout| {
        contexts.digest(policy.split_by, &holdout.salt).is_some_and(|digest| holdout.share.contains(digest.bucket()))
    })
}

#[cfg(test)]
mod tests;
