use std::time::Duration;

use super::*;
use crate::domain::guard::{Action, Finding, Verdict};
use crate::domain::percent::Percent;
use crate::domain::phase::Phase;

mod properties;

const SECOND: Duration = Duration::from_secs(1);

fn percent(number: f64) -> Percent {
    Percent::new(number).unwrap()
}

fn stage(name: &str, share: f64, hold: u64) -> Stage {
    Stage { hold: Duration::from_secs(hold), ..Stage::new(name, percent(share)) }
}

fn plan(stages: Vec<Stage>) -> Plan {
    Plan::Staged(Stages { stages, watch: Duration::from_secs(60), run: None })
}

fn usual() -> Plan {
    plan(vec![stage("internal", 0.0, 10), stage("ten", 10.0, 20), stage("half", 50.0, 30), stage("all", 100.0, 5)])
}

fn ground() -> Ground {
    [("salt", "a"), ("candidate", "b")].map(|(name, hash)| (name.to_owned(), hash.to_owned())).into()
}

fn finding(verdict: Verdict) -> Finding {
    Finding { verdict, found: Some(0.07), limit: Some(0.05), samples: 120.0 }
}

fn guard(name: &str, action: Action, hold_for: u64, verdict: Verdict) -> Watched {
    Watched {
        name: name.to_owned(),
        action,
        hold_for: Duration::from_secs(hold_for),
        alert_after: None,
        min_samples: 1_000.0,
        condition: "error_rate > 5%".to_owned(),
        finding: finding(verdict),
    }
}

/// A rollout with its plan, driven second by second.
struct Drive {
    rollout: Rollout,
    plan: Plan,
    ground: Ground,
    now: i64,
    guards: Vec<Watched>,
    effects: Vec<Effect>,
    report: Report,
}

impl Drive {
    fn new(plan: Plan) -> Self {
        let rollout = Rollout::new(&plan, ground(), 0);
        let (guards, effects, report) = (Vec::new(), Vec::new(), Report::default());
        Self { rollout, plan, ground: ground(), now: 0, guards, effects, report }
    }

    fn event(&mut self, event: Event<'_>) -> Reply {
        let outcome = step(self.rollout.clone(), &self.plan, &self.ground, event, self.now);
        // What is kept is what goes on: every step passes through the store.
        self.rollout = Rollout::of_text(&outcome.rollout.to_text()).unwrap();
        assert_eq!(self.rollout, outcome.rollout);
        self.effects.extend(outcome.effects);
        self.report = outcome.report;
        outcome.reply
    }

    fn say(&mut self, word: &str) -> Reply {
        let (word, stage) = word.split_once(' ').map_or((word, None), |(word, stage)| (word, Some(stage)));
        let verb = Verb::parse(word, stage, &self.plan).unwrap();
        self.event(Event::Command(&Command { verb, actor: "anna".to_owned(), reason: "because".to_owned() }))
    }

    fn tick(&mut self, observed: Observed) {
        self.now += 1;
        let observed = Observed { elapsed: SECOND, guards: self.guards.clone(), ..observed };
        self.event(Event::Tick(&observed));
    }

    fn pass(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.tick(Observed::default()));
    }

    fn at(&self) -> String {
        let Described { state, stage, percent } = describe(&self.rollout, &self.plan);
        format!("{state} {} {percent}", stage.unwrap_or_default())
    }

    fn moves(&mut self) -> Vec<&'static str> {
        let kind = |effect: Effect| match effect {
            Effect::Moved(moved) => Some(moved.kind),
            Effect::Alert { .. } | Effect::Resolve { .. } => None,
        };
        std::mem::take(&mut self.effects).into_iter().filter_map(kind).collect()
    }
}

#[test]
fn a_plan_runs_to_its_end_by_itself() {
    let mut drive = Drive::new(usual());
    assert_eq!(drive.at(), "draft  0");
    drive.pass(100);
    assert_eq!(drive.at(), "draft  0", "nobody has started it");
    assert_eq!(drive.say("start"), Reply::Done);
    assert_eq!((drive.say("start"), drive.at()), (Reply::Already, "running internal 0".to_owned()));
    assert!(!drive.rollout.exposure(&drive.plan).started, "an internal stage is for testers and targets");
    for (seconds, at) in [
        (10, "running ten 10"),
        (19, "running ten 10"),
        (1, "running half 50"),
        (30, "running all 100"),
        (5, "watching all 100"),
        (59, "watching all 100"),
        (1, "completed all 100"),
        (1_000, "completed all 100"),
    ] {
        drive.pass(seconds);
        assert_eq!(drive.at(), at);
    }
    assert_eq!(drive.moves(), ["started", "promoted", "promoted", "promoted", "watching", "completed"]);
}

#[test]
fn gates_and_demands_are_waited_for_and_too_little_data_is_neither() {
    let mut ten = stage("ten", 10.0, 5);
    (ten.min_requests, ten.min_users) = (100, 10);
    let mut drive = Drive::new(plan(vec![ten, stage("all", 100.0, 5)]));
    drive.say("start");
    let seen = |requests, users, verdict| Observed {
        requests,
        users,
        gates: vec![("error_rate < 1%".to_owned(), finding(verdict))],
        ..Observed::default()
    };
    drive.pass(5);
    let rows = [
        (99.0, 10.0, Verdict::Holds, "99 of 100 requests"),
        (100.0, 9.0, Verdict::Holds, "9 of 10 users"),
        (100.0, 10.0, Verdict::Fails, "error_rate < 1%: not so (0.0700 against 0.0500)"),
        (100.0, 10.0, Verdict::NotEnoughData, "too little data"),
    ];
    for (requests, users, verdict, what) in rows {
        drive.tick(seen(requests, users, verdict));
        assert_eq!(drive.at(), "running ten 10");
        assert_eq!(drive.report.waits.len(), 1, "{:?}", drive.report);
        assert!(drive.report.waits[0].what.contains(what), "{:?}", drive.report);
    }
    drive.tick(seen(100.0, 10.0, Verdict::Holds));
    assert_eq!(drive.at(), "running all 100");
}

#[test]
fn guards_act_by_their_strength_and_after_their_time() {
    let rows: [(&[Watched], u64, &str); 8] = [
        (&[guard("a", Action::Rollback, 5, Verdict::Holds)], 5, "running half 50"),
        (&[guard("a", Action::Rollback, 5, Verdict::Holds)], 6, "rolled_back half 0"),
        (&[guard("a", Action::Rollback, 0, Verdict::Holds)], 1, "rolled_back half 0"),
        (&[guard("a", Action::Hold, 0, Verdict::Holds)], 1, "held half 50"),
        (&[guard("a", Action::Halve, 0, Verdict::Holds)], 1, "held half 25"),
        (
            &[guard("a", Action::StepBack, 0, Verdict::Holds), guard("b", Action::Halve, 0, Verdict::Holds)],
            1,
            "held ten 10",
        ),
        (&[guard("a", Action::Alert, 0, Verdict::Holds)], 3, "running half 50"),
        (&[guard("a", Action::Rollback, 0, Verdict::NotEnoughData)], 9, "running half 50"),
    ];
    for (guards, seconds, at) in rows {
        let mut drive = Drive::new(usual());
        drive.say("start");
        drive.say("jump half");
        drive.guards = guards.to_vec();
        drive.pass(seconds);
        assert_eq!(drive.at(), at, "{guards:?}");
    }
}

#[test]
fn a_guard_that_halves_goes_on_halving_only_after_its_time_again() {
    let mut drive = Drive::new(usual());
    drive.say("start");
    drive.say("jump half");
    drive.guards = vec![guard("slow", Action::Halve, 10, Verdict::Holds)];
    drive.pass(11);
    assert_eq!(drive.at(), "held half 25");
    drive.pass(10);
    assert_eq!(drive.at(), "held half 25");
    drive.pass(1);
    assert_eq!(drive.at(), "held half 12.5");
    assert_eq!(drive.rollout.entry, 4, "each share has a phase of its own");
    drive.guards.clear();
    assert_eq!(drive.say("resume"), Reply::Done);
    assert_eq!(drive.at(), "running half 50");
}

#[test]
fn a_rollback_is_latched_against_everything_but_a_restart() {
    let mut drive = Drive::new(usual());
    drive.say("start");
    drive.say("jump half");
    assert_eq!(drive.say("rollback"), Reply::Done);
    assert_eq!(drive.say("rollback"), Reply::Already);
    for verb in ["start", "pause", "resume", "approve", "promote", "jump ten", "step_back"] {
        assert!(matches!(drive.say(verb), Reply::Refused(_)), "{verb}");
        assert_eq!(drive.rollout.exposure(&drive.plan).stop, Some(Stop::RolledBack), "{verb}");
    }
    drive.plan = Plan::Fixed(percent(30.0));
    drive.pass(5);
    assert_eq!(drive.rollout.exposure(&drive.plan).stop, Some(Stop::RolledBack), "whoever owns the percentage");
    drive.plan = plan(vec![stage("other", 20.0, 5)]);
    drive.ground.insert("salt".to_owned(), "c".to_owned());
    drive.pass(5);
    assert_eq!(drive.rollout.exposure(&drive.plan).stop, Some(Stop::RolledBack), "whatever the plan");
    assert_eq!(drive.say("restart"), Reply::Done);
    assert_eq!((drive.at(), drive.rollout.run), ("running other 20".to_owned(), 2));
}

#[test]
fn another_run_in_the_file_begins_anew_and_the_same_one_does_not() {
    let with_run = |run: &str| {
        let Plan::Staged(plan) = usual() else { unreachable!() };
        Plan::Staged(Stages { run: Some(run.into()), ..plan })
    };
    let mut drive = Drive::new(with_run("1"));
    drive.pass(1);
    assert_eq!(drive.at(), "running internal 0", "a plan with a run needs nobody to start it");
    drive.say("rollback");
    drive.pass(20);
    assert_eq!(drive.at(), "rolled_back internal 0");
    drive.plan = with_run("2");
    drive.pass(1);
    assert_eq!(drive.at(), "running internal 0");
    assert_eq!(drive.moves(), ["restarted", "rolled_back", "restarted"]);
}

#[test]
fn an_edit_goes_on_where_the_past_is_unchanged_and_holds_where_it_is_not() {
    let edited = |at: usize, change: fn(&mut Stage)| {
        let Plan::Staged(mut plan) = usual() else { unreachable!() };
        change(&mut plan.stages[at]);
        Plan::Staged(plan)
    };
    let rows: [(Plan, &str); 6] = [
        (edited(3, |all| all.percent = Percent::new(80.0).unwrap()), "running half 50"),
        (edited(2, |half| half.hold = Duration::from_secs(9_000)), "running half 50"),
        (edited(2, |half| half.percent = Percent::new(70.0).unwrap()), "held half 50"),
        (edited(2, |half| half.percent = Percent::new(30.0).unwrap()), "held half 30"),
        (edited(1, |ten| ten.name = "eleven".into()), "held half 50"),
        (plan(vec![stage("ten", 10.0, 20)]), "held ten 10"),
    ];
    for (after, at) in rows {
        let mut drive = Drive::new(usual());
        drive.say("start");
        drive.say("jump half");
        drive.plan = after;
        drive.pass(1);
        assert_eq!(drive.at(), at);
        let held = drive.rollout.clone();
        drive.pass(3);
        assert_eq!(drive.rollout.note, held.note, "an edit is noticed once");
    }
    let mut drive = Drive::new(usual());
    drive.say("start");
    drive.say("jump half");
    drive.ground.insert("candidate".to_owned(), "another image".to_owned());
    drive.pass(1);
    assert_eq!(drive.at(), "held half 50");
    assert_eq!(drive.rollout.state.why(), Some("the file changed candidate"));
}

#[test]
fn only_active_time_counts_and_no_jump_of_a_clock_does() {
    let mut drive = Drive::new(usual());
    drive.say("start");
    drive.now += 1_000_000_000;
    drive.event(Event::Tick(&Observed { elapsed: Duration::from_secs(1_000_000), ..Observed::default() }));
    assert_eq!(drive.at(), "running internal 0");
    assert_eq!(drive.rollout.state.standing().unwrap().active(), MAX_ELAPSED);
    drive.say("pause");
    drive.pass(1_000);
    assert_eq!(drive.say("resume"), Reply::Done);
    drive.pass(4);
    assert_eq!(drive.at(), "running internal 0");
    drive.pass(1);
    assert_eq!(drive.at(), "running ten 10");
    drive.now = -5;
    drive.pass(20);
    assert_eq!(drive.at(), "running half 50", "a clock that goes back changes nothing");
}

#[test]
fn the_file_owns_its_percentage_and_guards_only_cap_it() {
    let mut drive = Drive::new(Plan::Fixed(percent(40.0)));
    assert_eq!(drive.rollout.exposure(&drive.plan), Exposure::of_file(percent(40.0)));
    drive.guards = vec![guard("slow", Action::Hold, 0, Verdict::Holds)];
    drive.pass(1);
    drive.plan = Plan::Fixed(percent(60.0));
    drive.guards.clear();
    drive.pass(1);
    assert_eq!(drive.at(), "held  40");
    drive.plan = Plan::Fixed(percent(20.0));
    drive.pass(1);
    assert_eq!(drive.at(), "held  20", "a cap never raises");
    drive.say("resume");
    drive.plan = Plan::Fixed(percent(60.0));
    drive.pass(1);
    assert_eq!(drive.at(), "running  60");
    assert!(matches!(drive.say("promote"), Reply::Refused(_)));
    drive.say("rollback");
    assert_eq!(drive.rollout.exposure(&drive.plan).stop, Some(Stop::RolledBack));
    drive.say("restart");
    assert_eq!(drive.at(), "running  60");
}

#[test]
fn a_stage_may_ask_for_approval_and_its_deadline_decides() {
    let mut approved = stage("ten", 10.0, 5);
    approved.approve = true;
    let mut drive = Drive::new(plan(vec![approved, stage("all", 100.0, 5)]));
    drive.say("start");
    assert!(matches!(drive.say("approve"), Reply::Refused(_)), "not at its end");
    drive.pass(50);
    assert_eq!(drive.at(), "awaiting_approval ten 10");
    assert_eq!(drive.say("approve"), Reply::Done);
    assert_eq!(drive.at(), "running all 100");
    for (then, at) in [
        (OnDeadline::Hold, "held ten 10"),
        (OnDeadline::Rollback, "rolled_back ten 0"),
        (OnDeadline::Promote, "running all 100"),
    ] {
        let mut late = stage("ten", 10.0, 1);
        (late.min_requests, late.deadline, late.on_deadline) = (10, Some(Duration::from_secs(8)), then);
        let mut drive = Drive::new(plan(vec![late, stage("all", 100.0, 50)]));
        drive.say("start");
        drive.pass(7);
        assert_eq!(drive.at(), "running ten 10");
        drive.pass(1);
        assert_eq!(drive.at(), at);
    }
}

#[test]
fn the_time_to_settle_is_a_phase_of_its_own_and_is_not_counted() {
    let mut ten = stage("ten", 10.0, 10);
    ten.settle = Duration::from_secs(5);
    let mut drive = Drive::new(plan(vec![ten, stage("all", 100.0, 50)]));
    drive.say("start");
    let mark = |drive: &Drive| drive.rollout.exposure(&drive.plan).mark;
    assert_eq!(mark(&drive), "run 1 entry 1 settling");
    drive.pass(5);
    assert_eq!(mark(&drive), "run 1 entry 1");
    drive.tick(Observed { phase: Some(Phase(7)), ..Observed::default() });
    drive.tick(Observed { phase: Some(Phase(7)), ..Observed::default() });
    assert_eq!(drive.rollout.phases, [7]);
}

#[test]
fn many_failures_in_few_attempts_roll_back_at_once_and_silence_is_told() {
    let mut drive = Drive::new(usual());
    drive.say("start");
    drive.say("jump ten");
    let quiet = Watched {
        alert_after: Some(Duration::from_secs(3)),
        ..guard("q", Action::Rollback, 0, Verdict::NotEnoughData)
    };
    drive.guards = vec![quiet];
    drive.pass(10);
    let told = drive.effects.iter().filter(|effect| matches!(effect, Effect::Alert { key, .. } if key == "q/no_data"));
    assert_eq!(told.count(), 1);
    drive.tick(Observed { catastrophe: Some("8 of the last 10 attempts failed".to_owned()), ..Observed::default() });
    assert_eq!(drive.at(), "rolled_back ten 0");
    assert!(drive.rollout.state.why().unwrap().contains("8 of the last 10"));
}

#[test]
fn what_is_stored_is_checked() {
    let text = Rollout::new(&usual(), ground(), 0).to_text();
    assert!(Rollout::of_text(&text).is_ok());
    for bad in ["", "{}", &text.replace("\"scheme\":1", "\"scheme\":2"), &text.replace("draft", "asleep")] {
        assert!(Rollout::of_text(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_alert_ends_once_by_what_is_seen_or_by_a_new_beginning() {
    let mut drive = Drive::new(usual());
    let told = |drive: &mut Drive| {
        let word = |effect| match effect {
            Effect::Alert { key, .. } => Some(format!("+{key}")),
            Effect::Resolve { key } => Some(format!("-{key}")),
            Effect::Moved(_) => None,
        };
        std::mem::take(&mut drive.effects).into_iter().filter_map(word).collect::<Vec<_>>().join(" ")
    };
    let silent = |drive: &mut Drive| {
        let mut watched = guard("q", Action::Alert, 0, Verdict::NotEnoughData);
        (watched.alert_after, watched.finding) = (Some(Duration::from_secs(5)), Finding::UNKNOWN);
        drive.guards = vec![watched];
    };
    drive.say("start");
    silent(&mut drive);
    drive.pass(9);
    assert_eq!(told(&mut drive), "", "where nobody gets the candidate, nothing is expected");
    drive.say("jump half");
    drive.pass(20);
    assert_eq!(told(&mut drive), "+q/no_data");
    drive.guards.push(guard("errors", Action::StepBack, 2, Verdict::Holds));
    drive.pass(5);
    assert_eq!((told(&mut drive).as_str(), drive.at().as_str()), ("+errors", "held ten 10"));
    drive.guards[0].finding = finding(Verdict::Fails);
    drive.guards[1].finding = finding(Verdict::NotEnoughData);
    drive.pass(2);
    assert_eq!(told(&mut drive), "-q/no_data", "another share, and still the same trouble");
    drive.guards[1].finding = finding(Verdict::Fails);
    drive.pass(2);
    assert_eq!(told(&mut drive), "-errors");
    drive.guards[1] = guard("errors", Action::Rollback, 0, Verdict::Holds);
    drive.pass(2);
    drive.guards[1].finding = finding(Verdict::Fails);
    drive.pass(2);
    assert_eq!(told(&mut drive), "+errors", "a latch is a trouble until somebody begins anew");
    drive.say("restart");
    assert_eq!(told(&mut drive), "-errors");
    drive.say("jump all");
    drive.guards[1] = guard("errors", Action::Alert, 0, Verdict::Holds);
    drive.guards[0].finding = finding(Verdict::Holds);
    drive.pass(2);
    assert_eq!(told(&mut drive), "+q +errors");
    drive.guards.remove(0);
    drive.pass(1);
    assert_eq!(told(&mut drive), "-q", "the file has it no more");
    drive.pass(100);
    assert!(told(&mut drive).ends_with("-errors"), "completed");
    assert!(drive.rollout.raised.is_empty());
}

#[test]
fn after_a_resume_nothing_is_promoted_before_the_guard_sees_that_it_is_over() {
    for (unknown, over) in [(Verdict::Holds, Verdict::Fails), (Verdict::NotEnoughData, Verdict::Fails)] {
        let mut drive = Drive::new(usual());
        drive.say("start");
        drive.guards = vec![guard("errors", Action::Hold, 3, Verdict::Holds)];
        drive.pass(6);
        assert!(drive.at().starts_with("held "), "{}", drive.at());
        drive.say("resume");
        drive.guards[0].finding = finding(unknown);
        drive.pass(60);
        assert_eq!(drive.rollout.state.stage(), Some(0), "{unknown:?}");
        assert!(drive.report.waits.last().unwrap().what.contains("not over; `promote` goes on"), "{:?}", drive.report);
        drive.guards[0].finding = finding(over);
        drive.pass(1);
        assert_eq!(drive.rollout.state.stage(), Some(1), "{unknown:?}");
    }
}

#[test]
fn what_cannot_be_kept_waits_and_guards_go_on() {
    let mut drive = Drive::new(usual());
    drive.say("start");
    drive.pass(10);
    assert_eq!(drive.rollout.state.stage(), Some(1));
    drive.pass(19);
    let stuck = || Observed { stuck: Some("the disk is full".to_owned()), ..Observed::default() };
    drive.guards = vec![guard("errors", Action::Rollback, 3, Verdict::Holds)];
    for second in 0..4 {
        assert_eq!(drive.rollout.state.stage(), Some(1), "{second}");
        assert!(!drive.rollout.is_rolled_back(), "{second}");
        drive.tick(stuck());
        if second < 3 {
            assert_eq!(drive.report.waits.last().unwrap().what, "the disk is full");
        }
    }
    assert!(drive.rollout.is_rolled_back(), "its time has passed");
    drive.guards.clear();
    drive.say("restart");
    drive.pass(9);
    drive.tick(stuck());
    drive.tick(stuck());
    assert_eq!(drive.rollout.state.stage(), Some(0));
    drive.pass(1);
    assert_eq!(drive.rollout.state.stage(), Some(1), "it is kept again");
}
