//! A decision step by step, for people. What decides is [`super::decide`]; this only tells.

use super::{ASSIGNMENT_ORDER, Decision, Exclusive, HEALTH_ORDER, Health, Policy, Prerequisite, Reason, Rule, Serve};
use crate::domain::Arm;
use crate::domain::assignment::Share;
use crate::domain::breaker::View;
use crate::domain::condition::{Examined, Truth};
use crate::domain::context::Contexts;
use crate::domain::percent::Percent;
use crate::domain::quality;
use crate::domain::rollout::Stop;

/// One step of a decision, for people: what was asked, and whether it decided.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Step {
    /// The reason that this step would have given.
    pub step: Reason,
    /// Whether it decided.
    pub decided: bool,
    /// What was found.
    pub found: String,
    /// Every clause of the condition that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Examined>,
}

impl Step {
    const fn plain(step: Reason, decided: bool, found: String) -> Self {
        Self { step, decided, found, clauses: Vec::new() }
    }
}

/// The trace of a decision: every step up to the one that decided, first assignment, then health.
#[must_use]
pub fn trace(policy: &Policy, contexts: &Contexts<'_>, health: &Health, decision: &Decision) -> Vec<Step> {
    let mut steps = Vec::new();
    for step in ASSIGNMENT_ORDER {
        let decided = step == decision.assigned_by;
        if step == Reason::Condition {
            steps.push(condition_step(policy, contexts, decided));
        } else if step == Reason::Rule {
            steps.extend(rule_steps(policy, contexts, decision));
        } else {
            steps.push(Step::plain(step, decided, assignment_found(step, policy, contexts, decision)));
        }
        if decided {
            break;
        }
    }
    if decision.assigned == Arm::Candidate {
        for step in HEALTH_ORDER {
            let decided = step == decision.reason;
            steps.push(Step::plain(step, decided, health_found(step, health, decision)));
            if decided {
                break;
            }
        }
    }
    steps
}

fn condition_step(policy: &Policy, contexts: &Contexts<'_>, decided: bool) -> Step {
    let step = Reason::Condition;
    let Some(condition) = &policy.targeting.eligible else {
        return Step::plain(step, decided, "everybody is eligible".into());
    };
    let clauses = condition.explain(contexts.facts);
    let found = match condition.evaluate(contexts.facts) {
        Truth::True => "the user is eligible",
        Truth::Unknown => "eligible is unknown, which counts as false",
        Truth::False => "the user is not eligible",
    };
    Step { step, decided, found: found.into(), clauses }
}

/// One step for each rule up to the one that matched.
fn rule_steps(policy: &Policy, contexts: &Contexts<'_>, decision: &Decision) -> Vec<Step> {
    let rules = &policy.targeting.rules;
    if rules.is_empty() {
        return vec![Step::plain(Reason::Rule, false, "no rules".into())];
    }
    let asked = decision.rule.map_or(rules.len(), |index| index + 1);
    let step = |(index, rule): (usize, &Rule)| {
        let decided = decision.rule == Some(index) && decision.assigned_by == Reason::Rule;
        let truth = rule.condition.evaluate(contexts.facts);
        let found = match (truth, decision.digest, rule.serve) {
            (Truth::False, ..) => "no match".to_owned(),
            (Truth::Unknown, ..) => "unknown, which counts as no match".to_owned(),
            (Truth::True, _, Serve::Arm(arm)) => format!("gives {arm}"),
            (Truth::True, Some(digest), Serve::Percent(share)) => compare(digest.bucket().percentage(), share),
            (Truth::True, None, Serve::Percent(share)) => {
                format!("gives {}, and there is no key to draw with", share.percent())
            }
        };
        let found = format!("{:?}: {found}", rule.name);
        Step { step: Reason::Rule, decided, found, clauses: rule.condition.explain(contexts.facts) }
    };
    rules.iter().enumerate().take(asked).map(step).collect()
}

fn assignment_found(step: Reason, policy: &Policy, contexts: &Contexts<'_>, decision: &Decision) -> String {
    match step {
        Reason::Disabled => format!("enabled is {}", policy.enabled),
        Reason::RolledBack | Reason::StateUnknown => match policy.stop {
            None => "nothing stops it".into(),
            Some(Stop::RolledBack) => "it was rolled back".into(),
            Some(Stop::StateUnknown) => "the store has not told yet where the rollout stands".into(),
        },
        Reason::NotStarted => if policy.started { "it has started" } else { "no stage with a share has begun" }.into(),
        Reason::Override => contexts.override_arm.map_or("no override".into(), |arm| format!("override to {arm}")),
        Reason::Forced => policy.forced.map_or("forced is not set".into(), |arm| format!("forced to {arm}")),
        Reason::Target => match contexts.keys.of(policy.split_by).and_then(|key| policy.targets.arm_of(key)) {
            Some(arm) => format!("the key is listed for {arm}"),
            None => "the key is not listed".into(),
        },
        Reason::Holdout => match &policy.holdout {
            None => "no holdout".into(),
            Some(holdout) => match contexts.digest(policy.split_by, &holdout.salt) {
                None => "no key to draw with".into(),
                Some(digest) => compare(digest.bucket().percentage(), holdout.share),
            },
        },
        Reason::Excluded => exclusive_found(policy, contexts),
        Reason::Prerequisite => prerequisites_found(policy, contexts),
        Reason::Pinned => contexts.pinned.map_or("no pin".into(), |arm| format!("pinned to {arm}")),
        Reason::NoKey => {
            if contexts.keys.of(policy.split_by).is_some() { "there is a key" } else { "there is no key" }.into()
        }
        Reason::Rollout => match decision.digest {
            None => "no key to draw with".into(),
            Some(digest) => compare(digest.bucket().percentage(), policy.rollout),
        },
        Reason::Condition
        | Reason::Rule
        | Reason::BreakerOpen
        | Reason::RateLimited
        | Reason::Budget
        | Reason::QualityGate
        | Reason::Busy
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback
        | Reason::Undecided => String::new(),
    }
}

fn exclusive_found(policy: &Policy, contexts: &Contexts<'_>) -> String {
    let Some(exclusive) = &policy.exclusive else { return "in no exclusive group".into() };
    let Exclusive { group, low, high, .. } = exclusive;
    let slots = format!("the slots {} to {} of {group:?}", low.get(), high.get());
    match exclusive.bucket(policy.split_by, contexts) {
        None => format!("there is no key to find a slot with; {slots} are this route's"),
        Some(bucket) => {
            let lies = if exclusive.contains(bucket) { "is within" } else { "is outside of" };
            format!("bucket {}, that is {:.6}, {lies} {slots}", bucket.0, bucket.percentage())
        }
    }
}

/// What each other route assigns, and why.
fn prerequisites_found(policy: &Policy, contexts: &Contexts<'_>) -> String {
    let told = |prerequisite: &Prerequisite| {
        let Prerequisite { route, arm, .. } = prerequisite;
        let found = prerequisite.assigned(contexts);
        let relation = if found.arm == *arm { "as asked for" } else { "and the other arm is asked for" };
        format!("{route} assigns {} by {}, {relation}", found.arm, found.by.as_str())
    };
    let told: Vec<String> = policy.prerequisites.iter().map(told).collect();
    if told.is_empty() { "no prerequisite".into() } else { told.join("; ") }
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
        Reason::Budget => if health.spent { "today's budget is spent" } else { "no budget is spent" }.into(),
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
        | Reason::RolledBack
        | Reason::StateUnknown
        | Reason::Forced
        | Reason::Target
        | Reason::NotStarted
        | Reason::Holdout
        | Reason::Excluded
        | Reason::Prerequisite
        | Reason::Condition
        | Reason::Pinned
        | Reason::Rule
        | Reason::NoKey
        | Reason::Rollout
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback
        | Reason::Undecided => String::new(),
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
