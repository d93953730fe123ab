//! `decide`: which arm serves this request, and why.
//!
//! Two steps. *Assignment* says which arm this user belongs to; the first of [`ASSIGNMENT_ORDER`] that
//! applies decides. Then, only where the candidate was assigned, *health* may give the request to
//! control. The function is pure: the proxy, `explain`, the API and the tests ask this one.
//! The right to a probe is not taken here but by the exchange, since taking it is an act.

use std::collections::HashSet;

use super::Arm;
use super::assignment::{Digest, Share};
use super::breaker::View;
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
}

/// The order in which assignment is decided; the first that applies wins.
pub const ASSIGNMENT_ORDER: [Reason; 7] = [
    Reason::Disabled,
    Reason::Override,
    Reason::Forced,
    Reason::Target,
    Reason::Holdout,
    Reason::NoKey,
    Reason::Rollout,
];

/// The order in which health may give an assigned candidate's request to control.
pub const HEALTH_ORDER: [Reason; 4] = [Reason::BreakerOpen, Reason::RateLimited, Reason::QualityGate, Reason::Busy];

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::Disabled,
        Self::Override,
        Self::Forced,
        Self::Target,
        Self::Holdout,
        Self::NoKey,
        Self::Rollout,
        Self::BreakerOpen,
        Self::RateLimited,
        Self::QualityGate,
        Self::Busy,
        Self::BreakerProbe,
        Self::QualityProbe,
        Self::Fallback,
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
            Self::NoKey => "no_key",
            Self::Rollout => "rollout",
            Self::BreakerOpen => "breaker_open",
            Self::RateLimited => "rate_limited",
            Self::QualityGate => "quality_gate",
            Self::Busy => "busy",
            Self::BreakerProbe => "breaker_probe",
            Self::QualityProbe => "quality_probe",
            Self::Fallback => "fallback",
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
    /// Why it was assigned: one of [`ASSIGNMENT_ORDER`].
    pub assigned_by: Reason,
    /// The arm that is to serve, before any probe or fallback.
    pub serve: Arm,
    /// Why it serves: `assigned_by`, or what stands in the way or opens it.
    pub reason: Reason,
    /// The percentage by which this was drawn, if a hash drew it.
    pub randomised: Option<Percent>,
    /// The digest of the key under the route's salt; `None` without a key.
    pub digest: Option<Digest>,
}

/// Decides one request.
#[must_use]
pub fn decide(policy: &Policy, contexts: &Contexts<'_>, health: &Health) -> Decision {
    let digest = contexts.digest(&policy.salt);
    let (assigned, assigned_by) = assign(policy, contexts, digest.as_ref());
    let randomised = (assigned_by == Reason::Rollout).then(|| policy.rollout.percent());
    let (serve, reason) =
        if assigned == Arm::Candidate { admit(assigned_by, health, digest.as_ref()) } else { (assigned, assigned_by) };
    Decision { assigned, assigned_by, serve, reason, randomised, digest }
}

fn assign(policy: &Policy, contexts: &Contexts<'_>, digest: Option<&Digest>) -> (Arm, Reason) {
    if !policy.enabled {
        return (Arm::Control, Reason::Disabled);
    }
    if let Some(arm) = contexts.override_arm {
        return (arm, Reason::Override);
    }
    if let Some(arm) = policy.forced {
        return (arm, Reason::Forced);
    }
    if let Some(arm) = contexts.key.and_then(|key| policy.targets.arm_of(key)) {
        return (arm, Reason::Target);
    }
    if held_out(policy, contexts) {
        return (Arm::Control, Reason::Holdout);
    }
    match digest {
        None => (Arm::Control, Reason::NoKey),
        Some(digest) if policy.rollout.contains(digest.bucket()) => (Arm::Candidate, Reason::Rollout),
        Some(_) => (Arm::Control, Reason::Rollout),
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

/// One step of a decision, for people: what was asked, and whether it decided.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// The reason that this step would have given.
    pub step: Reason,
    /// Whether it decided.
    pub decided: bool,
    /// What was found.
    pub found: String,
}

/// The trace of a decision: every step up to the one that decided, first assignment, then health.
#[must_use]
pub fn trace(policy: &Policy, contexts: &Contexts<'_>, health: &Health, decision: &Decision) -> Vec<Step> {
    let mut steps = Vec::new();
    for step in ASSIGNMENT_ORDER {
        let decided = step == decision.assigned_by;
        steps.push(Step { step, decided, found: assignment_found(step, policy, contexts, decision) });
        if decided {
            break;
        }
    }
    if decision.assigned == Arm::Candidate {
        for step in HEALTH_ORDER {
            let decided = step == decision.reason;
            steps.push(Step { step, decided, found: health_found(step, health, decision) });
            if decided {
                break;
            }
        }
    }
    steps
}

fn assignment_found(step: Reason, policy: &Policy, contexts: &Contexts<'_>, decision: &Decision) -> String {
    match step {
        Reason::Disabled => format!("enabled is {}", policy.enabled),
        Reason::Override => contexts.override_arm.map_or("no override".into(), |arm| format!("override to {arm}")),
        Reason::Forced => policy.forced.map_or("forced is not set".into(), |arm| format!("forced to {arm}")),
        Reason::Target => match contexts.key.and_then(|key| policy.targets.arm_of(key)) {
            Some(arm) => format!("the key is listed for {arm}"),
            None => "the key is not listed".into(),
        },
        Reason::Holdout => match &policy.holdout {
            None => "no holdout".into(),
            Some(holdout) => match contexts.digest(&holdout.salt) {
                None => "no key to draw with".into(),
                Some(digest) => compare(digest.bucket().percentage(), holdout.share),
            },
        },
        Reason::NoKey => if contexts.key.is_some() { "there is a key" } else { "there is no key" }.into(),
        Reason::Rollout => match decision.digest {
            None => "no key to draw with".into(),
            Some(digest) => compare(digest.bucket().percentage(), policy.rollout),
        },
        Reason::BreakerOpen
        | Reason::RateLimited
        | Reason::QualityGate
        | Reason::Busy
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback => String::new(),
    }
}

fn health_found(step: Reason, health: &Health, decision: &Decision) -> String {
    if matches!(decision.assigned_by, Reason::Override | Reason::Forced) && step != Reason::Busy {
        return format!("not asked: {} goes past it", decision.assigned_by.as_str());
    }
    match step {
        Reason::BreakerOpen => match health.breaker {
            View::Pass => "the breaker is closed".into(),
            View::Recovering(share) => format!("the breaker closed a short while ago and admits {}", share.percent()),
            View::ProbeDue => "the breaker is half open; the next request may be its probe".into(),
            View::Refuse => "the breaker is open".into(),
        },
        Reason::RateLimited => if health.rate_limited {
            "the backend asked to be left alone"
        } else {
            "the backend did not ask to be left alone"
        }
        .into(),
        Reason::QualityGate => match health.gate {
            None => "no quality gate".into(),
            Some((quality::Position::Open, _)) => "the quality gate is open".into(),
            Some((quality::Position::Shut, _)) => "the quality gate is shut".into(),
            Some((quality::Position::Probing, share)) => {
                format!("the quality gate is shut and {} of the cohort probe", share.percent())
            }
        },
        Reason::Busy => if health.busy { "the backend is at its max_in_flight" } else { "the backend has room" }.into(),
        Reason::Disabled
        | Reason::Override
        | Reason::Forced
        | Reason::Target
        | Reason::Holdout
        | Reason::NoKey
        | Reason::Rollout
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback => String::new(),
    }
}

fn compare(percentage: f64, share: Share) -> String {
    let percent = share.percent();
    if percent == Percent::ZERO {
        return format!("{percentage:.6} with 0 %, which serves nobody");
    }
    let relation = if percentage <= percent.get() { "<=" } else { ">" };
    format!("{percentage:.6} {relation} {percent}")
}

#[cfg(test)]
mod tests;
