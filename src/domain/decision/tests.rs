use std::collections::HashSet;

use super::*;
use crate::domain::condition::{Clause, Fact, Operand, Operator, Predicate, Type};
use crate::domain::context::Keys;

fn percent(value: f64) -> Percent {
    Percent::new(value).expect("a share")
}

fn policy() -> Policy {
    Policy {
        enabled: true,
        forced: None,
        targets: Targets {
            control: HashSet::from(["cautious".into()]),
            candidate: HashSet::from(["demo@example.com".into()]),
        },
        holdout: None,
        targeting: Targeting::default(),
        rollout: Share::new(percent(50.0)),
        split_by: 0,
        salt: "answers".into(),
        needs: Needs::default(),
    }
}

fn user(key: &str) -> Contexts<'_> {
    Contexts::of_key(0, key)
}

/// A key that the hash puts in this arm at 50 %.
fn key_in(arm: Arm) -> String {
    (0..100)
        .map(|n| format!("user_{n}"))
        .find(|key| decide(&policy(), &user(key), &Health::WELL).assigned == arm)
        .expect("one in a hundred")
}

#[test]
fn the_first_that_applies_decides() {
    let everything = Policy { enabled: false, forced: Some(Arm::Candidate), ..policy() };
    let insisting = Contexts { override_arm: Some(Arm::Candidate), ..user("cautious") };
    let rows = [
        (&everything, insisting, Arm::Control, Reason::Disabled),
        (&Policy { enabled: true, ..everything.clone() }, insisting, Arm::Candidate, Reason::Override),
        (&Policy { enabled: true, ..everything.clone() }, user("cautious"), Arm::Candidate, Reason::Forced),
        (&policy(), user("cautious"), Arm::Control, Reason::Target),
        (&policy(), user("demo@example.com"), Arm::Candidate, Reason::Target),
        (&policy(), Contexts::default(), Arm::Control, Reason::NoKey),
    ];
    for (policy, contexts, arm, reason) in rows {
        let decision = decide(policy, &contexts, &Health::WELL);
        assert_eq!((decision.assigned, decision.assigned_by), (arm, reason));
        assert_eq!((decision.serve, decision.reason), (arm, reason));
        assert_eq!(decision.randomised, None, "{reason:?} is not drawn");
    }
}

#[test]
fn the_hash_draws_and_says_by_which_percentage() {
    for arm in Arm::ALL {
        let key = key_in(arm);
        let decision = decide(&policy(), &user(&key), &Health::WELL);
        assert_eq!((decision.serve, decision.reason), (arm, Reason::Rollout));
        assert_eq!(decision.randomised, Some(percent(50.0)));
    }
}

#[test]
fn the_holdout_comes_before_the_hash_and_is_drawn_with_its_own_salt() {
    let holdout = Holdout { share: Share::new(percent(20.0)), salt: "answers:holdout".into() };
    let policy = Policy { holdout: Some(holdout), rollout: Share::new(Percent::HUNDRED), ..policy() };
    let held = (0..10_000)
        .filter(|n| decide(&policy, &user(&format!("user_{n}")), &Health::WELL).assigned_by == Reason::Holdout)
        .count();
    assert!((1_868..=2_132).contains(&held), "{held} is outside the 99.9 % interval of 20 % of 10,000");
}

#[test]
fn ill_health_gives_an_assigned_candidate_to_control_in_order() {
    let key = key_in(Arm::Candidate);
    let shut = Some((quality::Position::Shut, Share::new(percent(10.0))));
    let ill = Health { breaker: View::Refuse, rate_limited: true, gate: shut, busy: true };
    let rows = [
        (ill, Reason::BreakerOpen),
        (Health { breaker: View::ProbeDue, ..ill }, Reason::BreakerOpen),
        (Health { breaker: View::Pass, ..ill }, Reason::RateLimited),
        (Health { breaker: View::Pass, rate_limited: false, ..ill }, Reason::QualityGate),
        (Health { busy: true, ..Health::WELL }, Reason::Busy),
    ];
    for (health, reason) in rows {
        let decision = decide(&policy(), &user(&key), &health);
        assert_eq!((decision.assigned, decision.assigned_by), (Arm::Candidate, Reason::Rollout));
        assert_eq!((decision.serve, decision.reason), (Arm::Control, reason));
        assert_eq!(decision.randomised, Some(percent(50.0)), "the draw stays a draw");
    }
}

#[test]
fn forced_and_override_go_past_breaker_and_gate_but_not_past_the_bulkhead() {
    let shut = Some((quality::Position::Shut, Share::new(percent(10.0))));
    let ill = Health { breaker: View::Refuse, rate_limited: true, gate: shut, busy: false };
    let forced = Policy { forced: Some(Arm::Candidate), ..policy() };
    let overriding = Contexts { keys: Keys::default(), override_arm: Some(Arm::Candidate), ..Contexts::default() };
    for (policy, contexts) in [(&forced, user("u")), (&policy(), overriding)] {
        assert_eq!(decide(policy, &contexts, &ill).serve, Arm::Candidate);
        assert_eq!(decide(policy, &contexts, &Health { busy: true, ..ill }).reason, Reason::Busy);
    }
}

#[test]
fn control_is_never_asked_for_its_health() {
    let key = key_in(Arm::Control);
    let ill = Health { breaker: View::Refuse, rate_limited: true, gate: None, busy: true };
    assert_eq!(decide(&policy(), &user(&key), &ill).reason, Reason::Rollout);
}

#[test]
fn a_probing_gate_lets_a_part_of_the_cohort_through_and_a_recovering_breaker_too() {
    let all = Policy { rollout: Share::new(Percent::HUNDRED), ..policy() };
    let share = Share::new(percent(20.0));
    let probing = Health { gate: Some((quality::Position::Probing, share)), ..Health::WELL };
    let recovering = Health { breaker: View::Recovering(share), ..Health::WELL };
    for (health, reason) in [(probing, Reason::QualityProbe), (recovering, Reason::Rollout)] {
        let served = (0..10_000)
            .map(|n| decide(&all, &user(&format!("user_{n}")), &health))
            .filter(|decision| decision.serve == Arm::Candidate && decision.reason == reason)
            .count();
        assert!((1_868..=2_132).contains(&served), "{served}");
    }
}

/// `user.tier` in slot 0 is this word.
fn tier_is(tier: &str) -> Clause {
    let predicate = Predicate::new(Operator::Eq, Type::String, Operand::Text(tier.to_owned()));
    Clause::Attribute { slot: 0, name: "user.tier".into(), predicate: predicate.expect("a comparison") }
}

fn rule(name: &str, tier: &str, serve: Serve) -> Rule {
    Rule { name: name.into(), condition: tier_is(tier), serve }
}

fn targeted() -> Policy {
    let rules = vec![
        rule("paying", "premium", Serve::Arm(Arm::Candidate)),
        rule("premium again", "premium", Serve::Arm(Arm::Control)),
        rule("some", "starter", Serve::Percent(Share::new(percent(20.0)))),
    ];
    let eligible = Some(Clause::Not(Box::new(tier_is("trial"))));
    let targeting = Targeting { eligible, rules };
    Policy { targeting, rollout: Share::new(Percent::ZERO), ..policy() }
}

#[test]
fn eligibility_comes_before_rules_and_the_first_rule_that_matches_decides() {
    let policy = targeted();
    let rows = [
        (Some("trial"), Arm::Control, Reason::Condition, None),
        (None, Arm::Control, Reason::Condition, None),
        (Some("premium"), Arm::Candidate, Reason::Rule, Some(0)),
        (Some("enterprise"), Arm::Control, Reason::Rollout, None),
    ];
    for (tier, arm, reason, rule) in rows {
        let facts = [tier.map(|tier| Fact::Text(tier.into()))];
        let contexts = Contexts { facts: &facts, ..user("u") };
        let decision = decide(&policy, &contexts, &Health::WELL);
        assert_eq!((decision.assigned, decision.assigned_by, decision.rule), (arm, reason, rule), "{tier:?}");
        assert_eq!(decision.randomised.is_some(), reason == Reason::Rollout);
        let steps = trace(&policy, &contexts, &Health::WELL, &decision);
        let decided: Vec<Reason> = steps.iter().filter(|step| step.decided).map(|step| step.step).collect();
        assert_eq!(decided, [reason], "{tier:?}");
    }
}

#[test]
fn a_rule_with_a_percentage_draws_by_its_own() {
    let policy = targeted();
    let facts = [Some(Fact::Text("starter".into()))];
    let mut served = 0;
    for n in 0..10_000 {
        let key = format!("user_{n}");
        let decision = decide(&policy, &Contexts { facts: &facts, ..user(&key) }, &Health::WELL);
        assert_eq!((decision.assigned_by, decision.rule), (Reason::Rule, Some(2)));
        assert_eq!(decision.randomised, Some(percent(20.0)));
        let bucket = Digest::of(key.as_bytes(), policy.salt.as_bytes()).bucket();
        assert_eq!(decision.assigned == Arm::Candidate, bucket.percentage() <= 20.0, "the rollout's bucket");
        served += usize::from(decision.assigned == Arm::Candidate);
    }
    assert!((1_868..=2_132).contains(&served), "{served}");
    let without_key = Contexts { facts: &facts, ..Contexts::default() };
    assert_eq!(decide(&policy, &without_key, &Health::WELL).reason, Reason::NoKey);
}

#[test]
fn a_rule_does_not_go_past_the_breaker() {
    let facts = [Some(Fact::Text("premium".into()))];
    let health = Health { breaker: View::Refuse, ..Health::WELL };
    let decision = decide(&targeted(), &Contexts { facts: &facts, ..user("u") }, &health);
    assert_eq!((decision.assigned, decision.reason), (Arm::Candidate, Reason::BreakerOpen));
}

#[test]
fn the_trace_ends_where_it_was_decided() {
    let key = key_in(Arm::Candidate);
    let health = Health { gate: Some((quality::Position::Shut, Share::new(percent(10.0)))), ..Health::WELL };
    let decision = decide(&policy(), &user(&key), &health);
    let steps = trace(&policy(), &user(&key), &health, &decision);
    let asked: Vec<&str> = steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(
        asked,
        [
            "disabled",
            "override",
            "forced",
            "target",
            "holdout",
            "condition",
            "rule",
            "no_key",
            "rollout",
            "breaker_open",
            "rate_limited",
            "quality_gate"
        ]
    );
    let decided: Vec<Reason> = steps.iter().filter(|step| step.decided).map(|step| step.step).collect();
    assert_eq!(decided, [Reason::Rollout, Reason::QualityGate]);
    assert!(steps.iter().all(|step| !step.found.is_empty()));
}

#[test]
fn indices_follow_the_list() {
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
    }
}
