//! What somebody should know of a rollout although no guard says it: by default, of every plan.

use std::time::Duration;

use super::state::{Rollout, State};
use crate::domain::percent::Percent;
use crate::domain::series::Seconds;

/// Requests under which a share of them says nothing.
const MIN_REQUESTS: f64 = 100.0;
/// Users under which a share of them says nothing.
const MIN_USERS: f64 = 200.0;
/// More than this share of requests without a key cannot be split.
const MAX_KEYLESS: f64 = 0.5;
/// How many standard errors the users' share may be off the plan: 3 in ten million looks by chance, and users of a
/// stage are looked at many times.
const MAX_ERRORS: f64 = 5.0;
/// A share that is off by less than this is nothing to act upon, in percent.
const LEAST_DIFFERENCE: f64 = 0.5;
/// A stage whose candidate gets nothing for so long has nothing to judge.
const MAX_SILENCE: Duration = Duration::from_secs(15 * 60);
/// Who holds for so long has perhaps forgotten it.
const MAX_HOLD: Seconds = 24 * 3_600;

/// What is known of the traffic of a route.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Requests of the last minutes.
    pub requests: f64,
    /// Those of them without a key to split by.
    pub keyless: f64,
    /// Users who were drawn to each arm by the rollout's percentage in this phase, by `Arm::index`.
    pub users: [f64; 2],
    /// For how long no request was drawn to the candidate.
    pub silent: Duration,
}

/// One concern: the key of its alert, and the words.
pub type Concern = (&'static str, String);

/// Everything of concern now.
#[must_use]
pub fn concerns(rollout: &Rollout, percent: Percent, traffic: &Traffic, now: Seconds) -> Vec<Concern> {
    let mut found = Vec::new();
    let share = percent.get();
    let is_active = matches!(rollout.state, State::Running(_) | State::Held { .. } | State::AwaitingApproval(_));
    if is_active && share > 0.0 {
        found.extend(keyless(traffic));
        found.extend(off_the_plan(share, traffic));
    }
    if matches!(rollout.state, State::Running(_)) && rollout.staged && share > 0.0 && traffic.silent >= MAX_SILENCE {
        let minutes = traffic.silent.as_secs() / 60;
        found.push((
            "stale",
            format!("no request was drawn to the candidate for {minutes} min: there is nothing to judge"),
        ));
    }
    let waits = matches!(rollout.state, State::Held { .. } | State::AwaitingApproval(_));
    let held = now.saturating_sub(rollout.note.at);
    if waits && rollout.staged && held >= MAX_HOLD {
        let state = rollout.state.as_str();
        found.push(("long_hold", format!("it has been {state} for {} h: {}", held / 3_600, rollout.note.reason)));
    }
    found
}

fn keyless(traffic: &Traffic) -> Option<Concern> {
    let share = traffic.keyless / traffic.requests;
    (traffic.requests >= MIN_REQUESTS && share > MAX_KEYLESS).then(|| {
        let text = format!(
            "{:.0} % of the last {:.0} requests have no key to split by, so that control serves them",
            share * 100.0,
            traffic.requests
        );
        ("keyless", text)
    })
}

fn off_the_plan(percent: f64, traffic: &Traffic) -> Option<Concern> {
    let [control, candidate] = traffic.users;
    let users = control + candidate;
    let found = candidate / users * 100.0;
    let error = (percent * (100.0 - percent) / users).sqrt();
    let is_off = (found - percent).abs() > (MAX_ERRORS * error).max(LEAST_DIFFERENCE);
    (users >= MIN_USERS && is_off)
        .then(|| ("share_off", format!("{found:.2} % of {users:.0} users got the candidate, and {percent} % should")))
}

#[cfg(test)]
mod tests {
    use super::super::{Ground, Plan, Stage, Stages, Standing};
    use super::*;

    fn rollout(state: State) -> Rollout {
        let stages = vec![Stage::new("ten", Percent::new(10.0).unwrap())];
        let plan = Plan::Staged(Stages { stages, watch: Duration::ZERO, run: None });
        let mut rollout = Rollout::new(&plan, Ground::new(), 0);
        rollout.state = state;
        rollout
    }

    #[test]
    fn each_concern_is_told_and_nothing_else() {
        let running = || rollout(State::Running(Standing::at(0)));
        let held = || rollout(State::Held { at: Standing::at(0), why: "x".to_owned() });
        let well = Traffic { requests: 1_000.0, keyless: 10.0, users: [900.0, 100.0], silent: Duration::ZERO };
        let rows: [(Rollout, f64, Traffic, Seconds, &[&str]); 11] = [
            (running(), 10.0, well, 10, &[]),
            (running(), 10.0, Traffic { keyless: 501.0, ..well }, 10, &["keyless"]),
            (running(), 10.0, Traffic { requests: 99.0, keyless: 99.0, ..well }, 10, &[]),
            (running(), 10.0, Traffic { users: [950.0, 50.0], ..well }, 10, &["share_off"]),
            (running(), 10.0, Traffic { users: [180.0, 10.0], ..well }, 10, &[]),
            (running(), 10.0, Traffic { silent: Duration::from_secs(900), ..well }, 10, &["stale"]),
            (running(), 0.0, Traffic { silent: Duration::from_secs(900), keyless: 990.0, ..well }, 10, &[]),
            (held(), 10.0, well, 24 * 3_600 - 1, &[]),
            (held(), 10.0, well, 24 * 3_600, &["long_hold"]),
            (rollout(State::AwaitingApproval(Standing::at(0))), 10.0, well, 90_000, &["long_hold"]),
            (rollout(State::RolledBack { stage: 0, why: "x".to_owned() }), 0.0, well, 90_000, &[]),
        ];
        for (row, (rollout, percent, traffic, now, keys)) in rows.into_iter().enumerate() {
            let found = concerns(&rollout, Percent::new(percent).unwrap(), &traffic, now);
            assert_eq!(found.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys, "row {row}");
        }
    }
}
