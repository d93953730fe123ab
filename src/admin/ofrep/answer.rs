//! From a decision to what a client is told: value, variant, reason, metadata.
//!
//! Nothing here decides. Invariant: metadata holds booleans, strings and numbers alone, and no secret.

use serde::Serialize;
use serde_json::Value;

use super::asked::Asked;
use crate::domain::Arm;
use crate::domain::breaker::Millis;
use crate::domain::context::{Contexts, Keys};
use crate::domain::decision::{Decision, Reason};
use crate::domain::percent::Percent;
use crate::live::{RouteIndex, Snapshot};

/// A flag that was evaluated.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Evaluation")]
pub(in crate::admin) struct Success<'a> {
    key: &'a str,
    value: &'a Value,
    reason: &'static str,
    variant: Arm,
    metadata: Metadata<'a>,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "EvaluationMetadata")]
struct Metadata<'a> {
    /// By which it was drawn; the route's percentage where nothing was drawn.
    percent: f64,
    /// The arm that rules and hash say, whatever health says.
    assigned: Arm,
    /// Why this variant, in Pointsman's word.
    reason: &'static str,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// The assignment bucket, 0 to 2^32 - 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<u32>,
    /// Whether this user belongs to the holdout.
    holdout: bool,
    /// The configuration that decided.
    generation: u64,
}

/// Evaluates one flag as a request at `now` would be decided.
pub(super) fn evaluate<'a>(
    snapshot: &'a Snapshot,
    index: RouteIndex,
    asked: &Asked,
    targeting_key: &str,
    now: Millis,
) -> Success<'a> {
    let config = snapshot.config();
    let route = &config.routes[index];
    let splits = route.policy.split_by;
    let key = asked.key(config, splits, targeting_key);
    let (facts, others) = (asked.facts(config, route, key), asked.other_keys(config, route, targeting_key));
    let keys = Keys::one(splits, Some(key)).with(&others);
    let contexts = Contexts { keys, facts: &facts, ..Contexts::default() };
    let (decision, _) = snapshot.decide(index, &contexts, now);
    let variant = variant(&decision);
    let percent = decision.randomised.unwrap_or_else(|| route.policy.rollout.percent());
    Success {
        key: &route.name,
        value: route.values.of(variant),
        reason: reason(&decision),
        variant,
        metadata: Metadata {
            percent: percent.get(),
            assigned: decision.assigned,
            reason: decision.reason.as_str(),
            rule: decision.rule.map(|rule| &*route.policy.targeting.rules[rule].name),
            bucket: decision.digest.map(|digest| digest.bucket().0),
            holdout: decision.reason == Reason::Holdout,
            generation: snapshot.generation,
        },
    }
}

/// A probe is one request; who keeps an answer for longer is told control.
const fn variant(decision: &Decision) -> Arm {
    if decision.reason.is_probe() { Arm::Control } else { decision.serve }
}

/// The protocol's word for a reason.
fn reason(decision: &Decision) -> &'static str {
    let fixed = |percent: Percent| percent == Percent::ZERO || percent == Percent::HUNDRED;
    let drawn = decision.randomised.is_some_and(|percent| !fixed(percent));
    match decision.reason {
        Reason::Disabled => "DISABLED",
        Reason::Forced | Reason::Pinned | Reason::RolledBack | Reason::NotStarted => "STATIC",
        Reason::Rollout if !drawn => "STATIC",
        Reason::Rollout | Reason::Holdout | Reason::Excluded => "SPLIT",
        Reason::Rule if drawn => "SPLIT",
        Reason::Rule | Reason::Override | Reason::Target | Reason::Condition | Reason::Prerequisite => {
            "TARGETING_MATCH"
        }
        // Health, not the flag's rules, says control; and without a key nothing could be drawn.
        Reason::NoKey
        | Reason::StateUnknown
        | Reason::BreakerOpen
        | Reason::RateLimited
        | Reason::Budget
        | Reason::QualityGate
        | Reason::Busy
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback
        | Reason::Undecided => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_the_protocol() {
        let decision = |reason, randomised: Option<f64>| Decision {
            assigned: Arm::Candidate,
            assigned_by: reason,
            serve: Arm::Candidate,
            reason,
            randomised: randomised.map(|percent| Percent::new(percent).unwrap()),
            rule: None,
            digest: None,
        };
        for of in Reason::ALL {
            // What is said when nothing was drawn, and when it was.
            let (plain, split) = match of {
                Reason::Disabled => ("DISABLED", "DISABLED"),
                Reason::Forced | Reason::Pinned | Reason::RolledBack | Reason::NotStarted => ("STATIC", "STATIC"),
                Reason::Rollout => ("STATIC", "SPLIT"),
                Reason::Holdout | Reason::Excluded => ("SPLIT", "SPLIT"),
                Reason::Rule => ("TARGETING_MATCH", "SPLIT"),
                Reason::Override | Reason::Target | Reason::Condition | Reason::Prerequisite => {
                    ("TARGETING_MATCH", "TARGETING_MATCH")
                }
                Reason::NoKey
                | Reason::StateUnknown
                | Reason::BreakerOpen
                | Reason::RateLimited
                | Reason::Budget
                | Reason::QualityGate
                | Reason::Busy
                | Reason::BreakerProbe
                | Reason::QualityProbe
                | Reason::Fallback
                | Reason::Undecided => ("UNKNOWN", "UNKNOWN"),
            };
            for (percent, expected) in [(None, plain), (Some(0.0), plain), (Some(100.0), plain), (Some(25.0), split)] {
                assert_eq!(reason(&decision(of, percent)), expected, "{of:?} {percent:?}");
            }
            let probing = matches!(of.as_str(), "breaker_probe" | "quality_probe");
            assert_eq!(variant(&decision(of, None)) == Arm::Control, probing, "{of:?}");
        }
    }
}
