use super::*;
use crate::domain::condition::{Clause, Fact, Operand, Operator, Predicate, Type};
use crate::domain::targets::{TargetKey, Targets};

fn percent(value: f64) -> Percent {
    Percent::new(value).expect("a share")
}

fn policy() -> Policy {
    Policy {
        enabled: true,
        forced: None,
        targets: Targets::list([
            (Arm::Control, TargetKey::Plain("cautious".into())),
            (Arm::Candidate, TargetKey::Plain("demo@example.com".into())),
        ])
        .0
        .into(),
        holdout: None,
        exclusive: None,
        prerequisites: Box::default(),
        targeting: Targeting::default(),
        rollout: Share::new(percent(50.0)),
        split_by: 0,
        salt: "answers".into(),
        needs: Needs::default(),
        stop: None,
        started: true,
        mark: Box::default(),
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
    let ill = Health { breaker: View::Refuse, rate_limited: true, spent: true, gate: shut, busy: true };
    let rows = [
        (ill, Reason::BreakerOpen),
        (Health { breaker: View::ProbeDue, ..ill }, Reason::BreakerOpen),
        (Health { breaker: View::Pass, ..ill }, Reason::RateLimited),
        (Health { breaker: View::Pass, rate_limited: false, ..ill }, Reason::Budget),
        (Health { breaker: View::Pass, rate_limited: false, spent: false, ..ill }, Reason::QualityGate),
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
    let ill = Health { breaker: View::Refuse, rate_limited: true, spent: true, gate: shut, busy: false };
    let forced = Policy { forced: Some(Arm::Candidate), ..policy() };
    let overriding = Contexts { override_arm: Some(Arm::Candidate), ..Contexts::default() };
    for (policy, contexts) in [(&forced, user("u")), (&policy(), overriding)] {
        assert_eq!(decide(policy, &contexts, &ill).serve, Arm::Candidate);
        assert_eq!(decide(policy, &contexts, &Health { busy: true, ..ill }).reason, Reason::Busy);
    }
}

#[test]
fn control_is_never_asked_for_its_health() {
    let key = key_in(Arm::Control);
    let ill = Health { breaker: View::Refuse, rate_limited: true, spent: true, gate: None, busy: true };
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
fn a_stopped_rollout_is_for_testers_alone_and_one_that_has_not_started_for_who_is_named() {
    use crate::domain::rollout::Stop;

    let insisting = Contexts { override_arm: Some(Arm::Candidate), ..user("cautious") };
    let all = Policy { rollout: Share::new(Percent::HUNDRED), ..policy() };
    let forced = Policy { forced: Some(Arm::Candidate), ..all.clone() };
    let ruled = targeted();
    let premium = [Some(Fact::Text("premium".into()))];
    let paying = Contexts { facts: &premium, ..user("u") };
    let pinned = Contexts { pinned: Some(Arm::Candidate), ..user("u") };
    for (stop, reason) in [(Stop::RolledBack, Reason::RolledBack), (Stop::StateUnknown, Reason::StateUnknown)] {
        let stopped = |policy: &Policy| Policy { stop: Some(stop), ..policy.clone() };
        let rows = [
            (stopped(&all), insisting, Arm::Candidate, Reason::Override),
            (stopped(&forced), user("u"), Arm::Control, reason),
            (stopped(&all), user("demo@example.com"), Arm::Control, reason),
            (stopped(&all), pinned, Arm::Control, reason),
            (stopped(&ruled), paying, Arm::Control, reason),
            (stopped(&all), Contexts::default(), Arm::Control, reason),
            (Policy { enabled: false, ..stopped(&all) }, insisting, Arm::Control, Reason::Disabled),
        ];
        check(&rows);
    }
    let waiting = |policy: &Policy| Policy { started: false, ..policy.clone() };
    check(&[
        (waiting(&forced), user("u"), Arm::Candidate, Reason::Forced),
        (waiting(&all), user("demo@example.com"), Arm::Candidate, Reason::Target),
        (waiting(&all), user("u"), Arm::Control, Reason::NotStarted),
        (waiting(&all), pinned, Arm::Control, Reason::NotStarted),
        (waiting(&ruled), paying, Arm::Control, Reason::NotStarted),
        (waiting(&all), Contexts::default(), Arm::Control, Reason::NotStarted),
    ]);
}

#[track_caller]
fn check(rows: &[(Policy, Contexts<'_>, Arm, Reason)]) {
    for (policy, contexts, arm, reason) in rows {
        let decision = decide(policy, contexts, &Health::WELL);
        assert_eq!((decision.serve, decision.assigned_by), (*arm, *reason));
        let steps = trace(policy, contexts, &Health::WELL, &decision);
        let decided: Vec<Reason> = steps.iter().filter(|step| step.decided).map(|step| step.step).collect();
        assert_eq!(decided, [*reason]);
        assert!(steps.iter().all(|step| !step.found.is_empty()), "{steps:?}");
    }
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
            "rolled_back",
            "state_unknown",
            "forced",
            "target",
            "not_started",
            "holdout",
            "excluded",
            "prerequisite",
            "condition",
            "pinned",
            "rule",
            "no_key",
            "rollout",
            "breaker_open",
            "rate_limited",
            "budget",
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

/// Two-sided 99.9 % quantile of the standard normal distribution.
const Z: f64 = 3.290_526_731;
const USERS: u32 = 100_000;

/// Whether a count out of as many users lies in the 99.9 % binomial interval of a percentage.
fn is_share(count: u32, of: u32, percent: f64) -> bool {
    let p = percent / 100.0;
    (f64::from(count) - p * f64::from(of)).abs() <= Z * (p * (1.0 - p) * f64::from(of)).sqrt()
}

fn in_slots(salt: &str, low: f64, high: f64, rollout: f64) -> Policy {
    let exclusive = Some(Exclusive::new("search", percent(low), percent(high)));
    Policy {
        exclusive,
        salt: salt.into(),
        rollout: Share::new(percent(rollout)),
        targets: Targets::default().into(),
        ..policy()
    }
}

#[test]
fn nobody_gets_the_candidates_of_two_routes_of_a_group() {
    // One share each inside its slots: 60 % of 50 %, all of 20 % and half of the last 30 %.
    let routes =
        [in_slots("one", 0.0, 50.0, 60.0), in_slots("two", 50.0, 70.0, 100.0), in_slots("three", 70.0, 100.0, 50.0)];
    let alone = routes.clone().map(|policy| Policy { exclusive: None, ..policy });
    let mut candidates = [0; 3];
    let mut within = [0; 3];
    // By slot (first route's) and by the route's own draw, for the phi coefficient.
    let mut both = [[0_u32; 2]; 2];
    for user in 0..USERS {
        let key = format!("user_{user}");
        let decisions = routes.each_ref().map(|policy| decide(policy, &self::user(&key), &Health::WELL));
        let serving = decisions.iter().filter(|decision| decision.assigned == Arm::Candidate).count();
        assert!(serving <= 1, "{key} is in {serving} candidates");
        let slots = decisions.iter().filter(|decision| decision.assigned_by != Reason::Excluded).count();
        assert_eq!(slots, 1, "{key}: the slots are whole and without a gap");
        for (n, decision) in decisions.iter().enumerate() {
            candidates[n] += u32::from(decision.assigned == Arm::Candidate);
            within[n] += u32::from(decision.assigned_by != Reason::Excluded);
        }
        let own = decide(&alone[0], &self::user(&key), &Health::WELL).assigned == Arm::Candidate;
        both[usize::from(decisions[0].assigned_by != Reason::Excluded)][usize::from(own)] += 1;
    }
    for (n, (slots, share)) in [(50.0, 60.0), (20.0, 100.0), (30.0, 50.0)].into_iter().enumerate() {
        assert!(is_share(within[n], USERS, slots), "{n}: {}", within[n]);
        assert!(share == 100.0 || is_share(candidates[n], within[n], share), "{n}: {} of {}", candidates[n], within[n]);
    }
    let [[n00, n01], [n10, n11]] = both.map(|row| row.map(f64::from));
    let phi = (n11 * n00 - n10 * n01) / ((n00 + n01) * (n10 + n11) * (n00 + n10) * (n01 + n11)).sqrt();
    assert!(phi.abs() < Z / f64::from(USERS).sqrt(), "slots and the route's own split: {phi}");
}

#[test]
fn slots_begin_where_they_say_and_the_last_one_ends_them() {
    use crate::domain::assignment::Bucket;

    let half = Bucket(u32::MAX / 2);
    let next = Bucket(u32::MAX / 2 + 1);
    assert!(half.percentage() < 50.0 && next.percentage() > 50.0);
    let first = Exclusive::new("g", Percent::ZERO, percent(50.0));
    let second = Exclusive::new("g", percent(50.0), Percent::HUNDRED);
    let rows = [(Bucket(0), true), (half, true), (next, false), (Bucket(u32::MAX), false)];
    for (bucket, is_first) in rows {
        assert_eq!((first.contains(bucket), second.contains(bucket)), (is_first, !is_first), "{bucket:?}");
    }
    let exactly = Bucket(0).percentage();
    assert!(!Exclusive::new("g", percent(f64::MIN_POSITIVE), percent(1.0)).contains(Bucket(0)), "{exactly}");
}

/// Published: the hash of an exclusive group is that of the assignment, with this salt.
#[test]
fn the_salt_of_a_group_is_published() {
    let exclusive = Exclusive::new("search", Percent::ZERO, percent(50.0));
    let bucket = exclusive.bucket(0, &user("user123")).expect("a key");
    assert_eq!(bucket, Digest::of(b"user123", b"exclusive:search").bucket());
    assert_eq!(bucket.0, 3122511456);
}

#[test]
fn without_a_key_there_is_no_slot_and_targets_come_before() {
    let policy = Policy { targets: super::tests::policy().targets, ..in_slots("one", 0.0, 0.000_001, 100.0) };
    let decision = decide(&policy, &Contexts::default(), &Health::WELL);
    assert_eq!((decision.assigned, decision.assigned_by), (Arm::Control, Reason::Excluded));
    assert_eq!(decide(&policy, &user("demo@example.com"), &Health::WELL).assigned_by, Reason::Target);
}

fn asks(arm: Arm, other: Policy) -> Prerequisite {
    Prerequisite { route: "other".into(), arm, policy: std::sync::Arc::new(other) }
}

#[test]
fn a_prerequisite_is_what_the_other_route_assigns() {
    use std::borrow::Cow;

    // The other route splits by sessions, with its own salt and rule.
    let other = Policy { split_by: 1, salt: "other".into(), rollout: Share::new(percent(30.0)), ..targeted() };
    let here = |arm| Policy {
        prerequisites: [asks(arm, other.clone())].into(),
        rollout: Share::new(Percent::HUNDRED),
        ..policy()
    };
    let facts = [Some(Fact::Text("enterprise".into()))];
    let mut met = 0;
    for n in 0..10_000 {
        let sessions = [(1, Cow::Owned(format!("session_{n}")))];
        let keys = crate::domain::context::Keys::one(0, Some("u")).with(&sessions);
        let there = Contexts { facts: &facts, ..Contexts::of_key(1, &sessions[0].1) };
        let assigned = decide(&other, &there, &Health::WELL).assigned;
        // Neither an override nor a pin of this route counts on the other one.
        let contexts = Contexts { keys, facts: &facts, pinned: Some(Arm::Candidate), ..Contexts::default() };
        for arm in Arm::ALL {
            let decision = decide(&here(arm), &contexts, &Health { breaker: View::Pass, ..Health::WELL });
            assert_eq!(decision.assigned_by == Reason::Prerequisite, assigned != arm, "{n}");
            assert_eq!(decision.assigned == Arm::Candidate, assigned == arm);
        }
        met += u32::from(assigned == Arm::Candidate);
    }
    assert!(is_share(met, 10_000, 30.0), "{met}");
    let disabled = asks(Arm::Candidate, Policy { enabled: false, ..other });
    let policy = Policy { prerequisites: [disabled].into(), ..policy() };
    assert_eq!(decide(&policy, &user("u"), &Health::WELL).assigned_by, Reason::Prerequisite);
}

#[test]
fn a_pin_stands_for_a_draw_and_for_nothing_that_comes_before() {
    let pinned = |arm| Contexts { pinned: Some(arm), ..user("u") };
    let none = Policy { rollout: Share::new(Percent::ZERO), ..policy() };
    let all = Policy { rollout: Share::new(Percent::HUNDRED), ..policy() };
    let facts = [Some(Fact::Text("premium".into()))];
    let ruled = Contexts { facts: &facts, ..pinned(Arm::Control) };
    let nobody = Holdout { share: Share::new(Percent::HUNDRED), salt: "answers:holdout".into() };
    let trial = [Some(Fact::Text("trial".into()))];
    let rows = [
        (none.clone(), pinned(Arm::Candidate), Arm::Candidate, Reason::Pinned),
        (all.clone(), pinned(Arm::Control), Arm::Control, Reason::Pinned),
        (targeted(), ruled, Arm::Control, Reason::Pinned),
        (none.clone(), Contexts { keys: Default::default(), ..pinned(Arm::Candidate) }, Arm::Candidate, Reason::Pinned),
        (Policy { enabled: false, ..all.clone() }, pinned(Arm::Candidate), Arm::Control, Reason::Disabled),
        (Policy { forced: Some(Arm::Control), ..all.clone() }, pinned(Arm::Candidate), Arm::Control, Reason::Forced),
        (
            all.clone(),
            Contexts { override_arm: Some(Arm::Control), ..pinned(Arm::Candidate) },
            Arm::Control,
            Reason::Override,
        ),
        (all.clone(), Contexts { pinned: Some(Arm::Candidate), ..user("cautious") }, Arm::Control, Reason::Target),
        (Policy { holdout: Some(nobody), ..all }, pinned(Arm::Candidate), Arm::Control, Reason::Holdout),
        (targeted(), Contexts { facts: &trial, ..pinned(Arm::Candidate) }, Arm::Control, Reason::Condition),
    ];
    for (policy, contexts, arm, reason) in rows {
        let decision = decide(&policy, &contexts, &Health::WELL);
        assert_eq!((decision.assigned, decision.assigned_by), (arm, reason));
        assert_eq!(decision.randomised, None, "a pin was drawn by another percentage: {reason:?}");
    }
    let ill = Health { breaker: View::Refuse, ..Health::WELL };
    assert_eq!(decide(&none, &pinned(Arm::Candidate), &ill).reason, Reason::BreakerOpen, "health is asked");
}

mod agreement {
    use proptest::prelude::*;

    use super::*;

    fn arm() -> impl Strategy<Value = Arm> {
        prop_oneof![Just(Arm::Control), Just(Arm::Candidate)]
    }

    fn share() -> impl Strategy<Value = Share> {
        prop_oneof![Just(0.0), Just(100.0), 0.0..100.0_f64].prop_map(|value| Share::new(percent(value)))
    }

    fn tier() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("trial"), Just("starter"), Just("premium")]
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let serve = prop_oneof![arm().prop_map(Serve::Arm), share().prop_map(Serve::Percent)];
        proptest::collection::vec((tier(), serve).prop_map(|(tier, serve)| rule("a rule", tier, serve)), 0..4)
    }

    prop_compose! {
        fn any_policy()(
            enabled in prop::bool::weighted(0.9),
            forced in proptest::option::weighted(0.1, arm()),
            holdout in proptest::option::of(share()),
            exclusive in proptest::option::of((0.0..50.0_f64, 50.0..=100.0_f64)),
            eligible in proptest::option::of(tier()),
            rules in rules(),
            rollout in share(),
            split_by in 0_usize..2,
        ) -> Policy {
            Policy {
                enabled,
                forced,
                holdout: holdout.map(|share| Holdout { share, salt: "answers:holdout".into() }),
                exclusive: exclusive.map(|(low, high)| Exclusive::new("g", percent(low), percent(high))),
                targeting: Targeting { eligible: eligible.map(tier_is), rules },
                rollout,
                split_by,
                ..policy()
            }
        }
    }

    fn health() -> impl Strategy<Value = Health> {
        let breaker =
            prop_oneof![Just(View::Pass), Just(View::ProbeDue), Just(View::Refuse), share().prop_map(View::Recovering)];
        let position =
            prop_oneof![Just(quality::Position::Open), Just(quality::Position::Probing), Just(quality::Position::Shut)];
        let gate = proptest::option::of((position, share()));
        let flags = any::<(bool, bool, bool)>();
        (breaker, gate, flags).prop_map(|(breaker, gate, (rate_limited, spent, busy))| Health {
            breaker,
            rate_limited,
            spent,
            gate,
            busy,
        })
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_was_decided(
            here in any_policy(),
            others in proptest::collection::vec((any_policy(), arm()), 0..3),
            key in proptest::option::of("[a-c]|cautious|demo@example.com"),
            session in proptest::option::of("[a-c]"),
            (override_arm, pinned) in (proptest::option::weighted(0.1, arm()), proptest::option::weighted(0.3, arm())),
            tier in proptest::option::of(tier()),
            health in health(),
        ) {
            let prerequisites = others.into_iter().map(|(other, arm)| asks(arm, other)).collect();
            let policy = Policy { prerequisites, ..here };
            let facts = [tier.map(|tier| Fact::Text(tier.into()))];
            let others: Vec<_> = session.map(|key| (1, key.into())).into_iter().collect();
            let keys = crate::domain::context::Keys::one(0, key.as_deref()).with(&others);
            let contexts = Contexts { keys, override_arm, pinned, facts: &facts };
            let decision = decide(&policy, &contexts, &health);
            let steps = trace(&policy, &contexts, &health, &decision);
            let mut expected = vec![decision.assigned_by];
            // A probe is no step of its own: the gate let it pass.
            if decision.reason != decision.assigned_by && decision.reason != Reason::QualityProbe {
                expected.push(decision.reason);
            }
            let decided: Vec<Reason> = steps.iter().filter(|step| step.decided).map(|step| step.step).collect();
            prop_assert_eq!(decided, expected);
            prop_assert!(steps.iter().all(|step| !step.found.is_empty()));
            prop_assert!(decision.assigned == Arm::Candidate || decision.serve == Arm::Control);
            prop_assert_eq!(
                decision.randomised.is_some(),
                decision.assigned_by == Reason::Rollout
                    || (decision.assigned_by == Reason::Rule
                        && decision.rule.is_some_and(|rule| matches!(policy.targeting.rules[rule].serve, Serve::Percent(_))))
            );
        }
    }
}
