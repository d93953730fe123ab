//! `decide`: which arm serves this request, and why.
//!
//! Two steps. *Assignment* says which arm this user belongs to; the first of [`ASSIGNMENT_ORDER`] that
//! applies decides. Then, only where the candidate was assigned, *health* may give the request to
//! control. The function is pure: the proxy, `explain`, the API and the tests ask this one.
//! The right to a probe is not taken here but by the exchange, since taking it is an act.

mod trace;

use std::collections::HashSet;

pub use trace::{Step, trace};

use super::Arm;
use super::assignment::{Digest, Share};
use super::breaker::View;
use super::condition::{Clause, Slot};
use super::context::Contexts;
use super::percent::Percent;
use super::quality;

/// Why an arm was assigned, or why another one serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The kill switch is thrown: control.
    Disabled,
    /// A tester's header with its key.
    Override,
    /// `forced` in the file.
    Forced,
    /// The key is listed in `targets`.
    Target,
    /// The key is in the holdout: control.
    Holdout,
    /// The user is not eligible: control.
    Condition,
    /// A rule of the route matches: its arm, or its own percentage.
    Rule,
    /// There is no key to split by: control.
    NoKey,
    /// The hash against the current percentage.
    Rollout,
    /// Candidate was assigned, and its breaker does not let the request pass.
    BreakerOpen,
    /// Candidate was assigned, and it asked to be left alone (429 with `retry-after`).
    RateLimited,
    /// Candidate was assigned, and its quality gate is shut.
    QualityGate,
    /// Candidate was assigned, and it has `max_in_flight` requests already.
    Busy,
    /// Candidate serves as a probe of a half-open breaker.
    BreakerProbe,
    /// Candidate serves as a probe of a shut quality gate.
    QualityProbe,
    /// Candidate was tried and failed; control answered.
    Fallback,
    /// The request ended before all that the decision needs of it had come.
    Undecided,
}

/// The order in which assignment is decided; the first that applies wins.
pub const ASSIGNMENT_ORDER: [Reason; 9] = [
    Reason::Disabled,
    Reason::Override,
    Reason::Forced,
    Reason::Target,
    Reason::Holdout,
    Reason::Condition,
    Reason::Rule,
    Reason::NoKey,
    Reason::Rollout,
];

/// The order in which health may give an assigned candidate's request to control.
pub const HEALTH_ORDER: [Reason; 4] = [Reason::BreakerOpen, Reason::RateLimited, Reason::QualityGate, Reason::Busy];

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::Disabled,
        Self::Override,
        Self::Forced,
        Self::Target,
        Self::Holdout,
        Self::Condition,
        Self::Rule,
        Self::NoKey,
        Self::Rollout,
        Self::BreakerOpen,
        Self::RateLimited,
        Self::QualityGate,
        Self::Busy,
        Self::BreakerProbe,
        Self::QualityProbe,
        Self::Fallback,
        Self::Undecided,
    ];

    /// The word in headers, labels, logs and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Override => "override",
            Self::Forced => "forced",
            Self::Target => "target",
            Self::Holdout => "holdout",
            Self::Condition => "condition",
            Self::Rule => "rule",
            Self::NoKey => "no_key",
            Self::Rollout => "rollout",
            Self::BreakerOpen => "breaker_open",
            Self::RateLimited => "rate_limited",
            Self::QualityGate => "quality_gate",
            Self::Busy => "busy",
            Self::BreakerProbe => "breaker_probe",
            Self::QualityProbe => "quality_probe",
            Self::Fallback => "fallback",
            Self::Undecided => "undecided",
        }
    }

    /// Position in [`Reason::ALL`], for tables with one cell a reason.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What the file says about splitting one route.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The kill switch: `false` sends everybody to control.
    pub enabled: bool,
    /// Everybody to this arm.
    pub forced: Option<Arm>,
    /// Keys that always get one arm.
    pub targets: Targets,
    /// A share that always gets control, drawn with its own salt.
    pub holdout: Option<Holdout>,
    /// Who may get the candidate, and which users get an arm or a percentage of their own.
    pub targeting: Targeting,
    /// The share that the candidate serves.
    pub rollout: Share,
    /// Hashed behind the key.
    pub salt: Box<str>,
}

/// Listed keys; a key in both lists is a configuration error.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Keys that get control.
    pub control: HashSet<Box<str>>,
    /// Keys that get the candidate.
    pub candidate: HashSet<Box<str>>,
}

/// Users who stay with control whatever the percentage.
#[derive(Debug, Clone)]
pub struct Holdout {
    /// How many.
    pub share: Share,
    /// The holdout's own salt: `"{route salt}:holdout"`.
    pub salt: Box<str>,
}

/// Conditions of one route.
#[derive(Debug, Clone, Default)]
pub struct Targeting {
    /// Control serves where this does not hold.
    pub eligible: Option<Clause>,
    /// The first whose condition holds decides.
    pub rules: Vec<Rule>,
    /// The slots that the conditions look at, ascending; the others need not be filled.
    pub slots: Box<[Slot]>,
}

/// `[[routes.NAME.rules]]`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The name.
    pub name: Box<str>,
    /// Whom it is for.
    pub condition: Clause,
    /// What they get.
    pub serve: Serve,
}

/// What a rule gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Serve {
    /// An arm.
    Arm(Arm),
    /// The candidate for this share, drawn with the same bucket as the rollout.
    Percent(Share),
}

/// What the decision needs to know of the candidate's health, read once a request.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// What the breaker says.
    pub breaker: View,
    /// The backend asked to be left alone, and the time is not up.
    pub rate_limited: bool,
    /// The quality gate and the share that probes it; `None` without a gate.
    pub gate: Option<(quality::Position, Share)>,
    /// The backend is at its `max_in_flight`.
    pub busy: bool,
}

impl Health {
    /// Nothing is wrong.
    pub const WELL: Self = Self { breaker: View::Pass, rate_limited: false, gate: None, busy: false };
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
    let digest = contexts.digest(&policy.salt);
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
    if let Some(arm) = policy.forced {
        return Assignment::fixed(arm, Reason::Forced);
    }
    if let Some(arm) = contexts.key.and_then(|key| policy.targets.arm_of(key)) {
        return Assignment::fixed(arm, Reason::Target);
    }
    if held_out(policy, contexts) {
        return Assignment::fixed(Arm::Control, Reason::Holdout);
    }
    if let Some(targeted) = policy.targeting.assign(contexts, digest) {
        return targeted;
    }
    match digest {
        None => Assignment::fixed(Arm::Control, Reason::NoKey),
        Some(digest) => Assignment::drawn(policy.rollout, digest, Reason::Rollout),
    }
}

impl Targeting {
    /// What the conditions say; `None` leaves it to the rollout.
    fn assign(&self, contexts: &Contexts<'_>, digest: Option<&Digest>) -> Option<Assignment> {
        if self.eligible.as_ref().is_some_and(|condition| !condition.evaluate(contexts.facts).holds()) {
            return Some(Assignment::fixed(Arm::Control, Reason::Condition));
        }
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
        contexts.digest(&holdout.salt).is_some_and(|digest| holdout.share.contains(digest.bucket()))
    })
}

impl Targets {
    /// The arm that this key is listed for.
    #[must_use]
    pub fn arm_of(&self, key: &str) -> Option<Arm> {
        if self.candidate.contains(key) {
            Some(Arm::Candidate)
        } else if self.control.contains(key) {
            Some(Arm::Control)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
