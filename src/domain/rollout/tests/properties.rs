//! What holds whatever happens, in whatever order.

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Debug, Clone)]
enum Happening {
    Say(&'static str),
    Tick(u64, Vec<(usize, Verdict)>, Verdict, f64),
    Jump(i64),
    Edit(usize, f64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let words = [
        "start",
        "pause",
        "resume",
        "approve",
        "promote",
        "jump half",
        "step_back",
        "rollback",
        "restart",
        "disable",
        "enable",
    ];
    let verdict = || prop_oneof![Just(Verdict::Holds), Just(Verdict::Fails), Just(Verdict::NotEnoughData)];
    prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(Happening::Say),
        12 => (0..20_u64, proptest::collection::vec((0..5_usize, verdict()), 0..3), verdict(), 0.0..200.0)
            .prop_map(|(seconds, guards, gate, requests)| Happening::Tick(seconds, guards, gate, requests)),
        1 => (-1_000_000_i64..1_000_000).prop_map(Happening::Jump),
        1 => (0..4_usize, 0.0..100.0).prop_map(|(stage, share)| Happening::Edit(stage, share)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Against what a rollout may never do, whatever happens in whatever order.
    /// Commands also against a model that is nothing but a table; every step passes through the store's text, as a
    /// crash and a restart would.
    #[test]
    fn whatever_happens_the_promises_hold(happenings in proptest::collection::vec(happening(), 1..60)) {
        let Plan::Staged(mut stages) = usual() else { unreachable!() };
        stages.stages[1].min_requests = 100;
        let mut drive = Drive::new(Plan::Staged(stages));
        for happening in happenings {
            let before = drive.rollout.exposure(&drive.plan);
            let (was_latched, was) = (drive.rollout.is_rolled_back(), drive.rollout.clone());
            match &happening {
                Happening::Say(word) => {
                    let expected = reference::after(was.state.as_str(), was.state.stage(), was.disabled, word);
                    let reply = drive.say(word);
                    let told = match &reply {
                        Reply::Refused(_) => "refused",
                        Reply::Already => "already",
                        Reply::Done => drive.rollout.state.as_str(),
                    };
                    let stage = drive.rollout.state.stage();
                    prop_assert_eq!((told, stage, drive.rollout.disabled), expected, "{} in {:?}", word, was.state);
                    let again = drive.say(word);
                    prop_assert!(reply != Reply::Done || *word == "restart" || again != Reply::Done
                        || matches!(*word, "promote" | "step_back" | "approve"), "{word} twice");
                    if *word == "rollback" {
                        prop_assert!(drive.rollout.is_rolled_back());
                    }
                    if was_latched {
                        prop_assert_eq!(drive.rollout.is_rolled_back(), *word != "restart");
                    }
                    if matches!(*word, "pause" | "step_back" | "rollback" | "disable") {
                        prop_assert!(!drive.rollout.exposure(&drive.plan).raises(&before), "{word} raised");
                    }
                }
                Happening::Tick(seconds, guards, gate, requests) => {
                    drive.guards = guards.iter()
                        .map(|(action, verdict)| guard(&format!("g{action}"), Action::ALL[*action], 3, *verdict)).collect();
                    let gates = vec![("error_rate < 1%".to_owned(), finding(*gate))];
                    let observed = Observed { elapsed: Duration::from_secs(*seconds), requests: *requests,
                        guards: drive.guards.clone(), gates, ..Observed::default() };
                    drive.event(Event::Tick(&observed));
                    if was_latched {
                        prop_assert!(drive.rollout.is_rolled_back(), "time undid a rollback");
                    }
                    let after = drive.rollout.exposure(&drive.plan);
                    if after.raises(&before) {
                        prop_assert_eq!(*gate, Verdict::Holds, "promoted without its gate");
                        let stood = was.state.standing().unwrap();
                        prop_assert!(stood.stage != 1 || *requests >= 100.0);
                        let guarded = |action: Action, verdict: Verdict| action > Action::Alert && verdict == Verdict::Holds;
                        prop_assert!(!drive.guards.iter().any(|seen| guarded(seen.action, seen.finding.verdict)
                            && was.clocks.get(&seen.name).is_some_and(|clock| clock.breached_ms > 3_000)));
                    }
                }
                Happening::Jump(seconds) => {
                    drive.now += seconds;
                    drive.event(Event::Tick(&Observed::default()));
                    prop_assert!(was.state.stage() == drive.rollout.state.stage() || was.state.standing().is_some());
                }
                Happening::Edit(stage, share) => {
                    let Plan::Staged(mut stages) = drive.plan.clone() else { unreachable!() };
                    stages.stages[*stage].percent = percent(*share);
                    drive.plan = Plan::Staged(stages);
                    let gates = vec![("error_rate < 1%".to_owned(), finding(Verdict::Fails))];
                    drive.event(Event::Tick(&Observed { gates, ..Observed::default() }));
                    prop_assert!(!drive.rollout.exposure(&drive.plan).raises(&before), "an edit raised by itself");
                }
            }
            let exposure = drive.rollout.exposure(&drive.plan);
            prop_assert_eq!(exposure.stop.is_some(), drive.rollout.is_rolled_back());
            if let (Some(stage), None) = (drive.rollout.state.stage().and_then(|at| drive.plan.stage(at)), exposure.stop) {
                prop_assert!(exposure.percent <= stage.percent, "more than the plan says");
            }
        }
    }
}
