use super::*;
use crate::domain::assignment::Bucket;
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        consecutive_failures: 3,
        open_for: Duration::from_millis(100),
        open_for_max: Duration::from_millis(400),
        probes: 2,
        successes: 2,
        probe_timeout: Duration::from_millis(50),
        recover_over: Duration::from_millis(1_000),
        ratio: None,
    }
}

fn fail(state: State, times: usize, now: Millis) -> State {
    (0..times).fold(state, |state, _| state.record(Outcome::Failure, now, 0.0, &settings()))
}

fn opened() -> State {
    fail(State::default(), 3, 1_000)
}

fn probe(state: State, now: Millis) -> (Lease, State) {
    assert_eq!(state.view(now, &settings()), View::ProbeDue);
    state.lease(now, &settings()).expect("a probe is due")
}

fn passes(state: State, now: Millis, draw: Bucket) -> bool {
    match state.view(now, &settings()) {
        View::Pass => true,
        View::Recovering(share) => share.contains(draw),
        View::ProbeDue | View::Refuse => false,
    }
}

#[test]
fn failures_in_a_row_open_and_a_success_between_them_does_not() {
    assert_eq!(fail(State::default(), 2, 1_000).position(1_000), Position::Closed);
    let interrupted = fail(State::default(), 2, 1_000).record(Outcome::Success, 1_000, 0.0, &settings());
    assert_eq!(fail(interrupted, 2, 1_000).position(1_000), Position::Closed);
    assert_eq!(opened(), State::Open { until: 1_100, reopenings: 0, epoch: 1 });
}

#[test]
fn what_the_client_did_never_counts() {
    let state = fail(State::default(), 2, 1_000);
    assert_eq!(state.record(Outcome::Neutral, 1_000, 0.0, &settings()), state);
}

#[test]
fn an_open_breaker_refuses_until_its_time_is_up_and_then_leases_a_limited_number_of_probes() {
    assert_eq!(opened().view(1_099, &settings()), View::Refuse);
    assert_eq!(opened().lease(1_099, &settings()), None);
    let (_, state) = probe(opened(), 1_100);
    let (_, state) = probe(state, 1_100);
    assert_eq!(state.view(1_100, &settings()), View::Refuse);
}

#[test]
fn enough_successes_close_it_and_admission_then_grows() {
    let (first, state) = probe(opened(), 1_100);
    let state = state.settle(first, Outcome::Success, 1_110, 0.0, &settings());
    assert_eq!(state.position(1_110), Position::HalfOpen);
    let (second, state) = probe(state, 1_120);
    let state = state.settle(second, Outcome::Success, 1_200, 0.0, &settings());
    assert_eq!(state.position(1_200), Position::Closed);
    assert!(passes(state, 1_200, Bucket(0)));
    assert!(!passes(state, 1_200, Bucket(u32::MAX)));
    let half = Bucket(u32::MAX / 2);
    assert!(!passes(state, 1_500, half));
    assert!(passes(state, 1_700, half));
    assert_eq!(state.view(2_200, &settings()), View::Pass);
}

#[test]
fn a_failed_probe_reopens_for_twice_as_long_up_to_the_limit() {
    let mut state = opened();
    let mut now = 1_100;
    for expected in [200, 400, 400, 400] {
        let (lease, half_open) = probe(state, now);
        state = half_open.settle(lease, Outcome::Failure, now, 0.0, &settings());
        let State::Open { until, .. } = state else { panic!("{state:?}") };
        assert_eq!(until - now, expected);
        now = until;
    }
}

#[test]
fn failing_again_while_recovering_counts_as_reopening_and_later_does_not() {
    let closed = State::Closed { failures: 0, recovering_since: Some(1_000), reopenings: 0, epoch: 3 };
    let State::Open { until, .. } = fail(closed, 3, 1_500) else { panic!() };
    assert_eq!(until, 1_700);
    let State::Open { until, .. } = fail(closed, 3, 2_500) else { panic!() };
    assert_eq!(until, 2_600);
}

#[test]
fn a_probe_that_never_settles_is_given_up_and_its_late_answer_is_ignored() {
    let (lost, state) = probe(opened(), 1_100);
    let (_, state) = probe(state, 1_100);
    assert_eq!(state.view(1_149, &settings()), View::Refuse);
    let (fresh, state) = probe(state, 1_150);
    assert_eq!(state.settle(lost, Outcome::Failure, 1_160, 0.0, &settings()), state);
    assert_eq!(state.settle(fresh, Outcome::Failure, 1_160, 0.0, &settings()).position(1_160), Position::Open);
}

#[test]
fn an_abandoned_probe_frees_its_place() {
    let (first, state) = probe(opened(), 1_100);
    let (_, state) = probe(state, 1_100);
    let state = state.settle(first, Outcome::Neutral, 1_110, 0.0, &settings());
    assert_eq!(state.view(1_110, &settings()), View::ProbeDue);
}

#[test]
fn answers_from_before_it_opened_change_nothing() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Neutral] {
        assert_eq!(opened().record(outcome, 1_050, 0.0, &settings()), opened());
    }
}

#[test]
fn jitter_lengthens_by_at_most_a_tenth() {
    let State::Open { until, .. } = fail(State::default(), 2, 0).record(Outcome::Failure, 0, 1.0, &settings()) else {
        panic!()
    };
    assert_eq!(until, 110);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Lease,
    Record(bool),
    Settle(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..300).prop_map(Step::Wait),
        Just(Step::Lease),
        any::<bool>().prop_map(Step::Record),
        (0_usize..8, 0_u8..3).prop_map(|(which, how)| Step::Settle(which, how)),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn every_reachable_state_survives_packing_and_keeps_its_limits(steps in steps()) {
        let settings = settings();
        let mut state = State::default();
        let mut now = 1;
        let mut leases = Vec::new();
        for step in steps {
            match step {
                Step::Wait(by) => now += by,
                Step::Lease => {
                    let leased = state.lease(now, &settings);
                    prop_assert_eq!(leased.is_some(), state.view(now, &settings) == View::ProbeDue);
                    if let Some((lease, next)) = leased {
                        leases.push(lease);
                        state = next;
                    }
                }
                Step::Record(ok) => {
                    let outcome = if ok { Outcome::Success } else { Outcome::Failure };
                    state = state.record(outcome, now, 0.5, &settings);
                }
                Step::Settle(which, how) => if !leases.is_empty() {
                    let lease = leases.swap_remove(which % leases.len());
                    let outcome = [Outcome::Success, Outcome::Failure, Outcome::Neutral][usize::from(how)];
                    state = state.settle(lease, outcome, now, 0.5, &settings);
                },
            }
            prop_assert_eq!(State::unpack(state.pack()), state);
            if let State::HalfOpen { leases, successes, .. } = state {
                prop_assert!(leases <= settings.probes && successes < settings.successes);
            }
        }
    }

    #[test]
    fn it_always_finds_back_to_closed_when_the_backend_is_well(steps in steps()) {
        let settings = settings();
        let mut state = State::default();
        let mut now = 1;
        for step in steps {
            now += 7;
            state = match step {
                Step::Lease => state.lease(now, &settings).map_or(state, |(_, next)| next),
                Step::Wait(_) | Step::Record(_) | Step::Settle(..) => state.record(Outcome::Failure, now, 0.5, &settings),
            };
        }
        for _ in 0..50 {
            now += 500;
            state = match state.lease(now, &settings) {
                Some((lease, next)) => next.settle(lease, Outcome::Success, now, 0.0, &settings),
                None => state.record(Outcome::Success, now, 0.0, &settings),
            };
        }
        prop_assert_eq!(state.position(now), Position::Closed);
    }
}
