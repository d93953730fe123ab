//! The tour as data: when, what is said, what is done, and how its effect is read off the gateway.
//!
//! A sentence says only what the demo itself does. What came of it is computed from two states, so
//! that the tour cannot claim what did not happen.

use std::time::Duration;

use super::backends::{Backends, FADED};
use super::files::{Edited, Files};
use super::screen::{grouped, part};
use super::state::State;
use crate::domain::Arm;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing: look.
    Watch,
    /// The candidate's listener and connections go.
    Kill,
    /// The candidate's listener comes back.
    Revive,
    /// This line takes the place of a table's first one in the file.
    Write(Edited, &'static str),
    /// The quality of the candidate of `worse` falls.
    Fade,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// When, in seconds of the tour.
    pub(super) at: u64,
    /// What is said.
    pub(super) sentence: &'static str,
    /// What is done.
    pub(super) action: Action,
    /// What came of it, from the states at its begin and its end.
    pub(super) measure: fn(&State, &State) -> String,
}

impl Step {
    /// Whether the gateway has looked at the file, if this step wrote it.
    pub(super) fn is_noticed(&self, before: &State, after: &State) -> bool {
        let looks = |state: &State| (state.generation, state.refusals);
        !matches!(self.action, Action::Write(..)) || looks(before) != looks(after)
    }
}

/// The steps, in the order of their times.
pub(super) const STEPS: &[Step] = &[
    Step {
        at: 0,
        sentence: "25 % of the users get the candidate `llm`, the others `legacy`.",
        action: Action::Watch,
        measure: split,
    },
    Step {
        at: 12,
        sentence: "The candidate is killed: port closed, connections dropped.",
        action: Action::Kill,
        measure: covered,
    },
    Step {
        at: 24,
        sentence: "The candidate is back; single probes try it before it is trusted.",
        action: Action::Revive,
        measure: recovered,
    },
    Step {
        at: 40,
        sentence: "A mistake is written to gateway.toml: `percnet = 50.0`.",
        action: Action::Write(Edited::Demo, "percnet = 50.0"),
        measure: refused,
    },
    Step {
        at: 50,
        sentence: "The mistake is corrected and the share raised: `percent = 50.0`.",
        action: Action::Write(Edited::Demo, "percent = 50.0"),
        measure: raised,
    },
    Step {
        at: 60,
        sentence: "The plan of route `better` begins: `run = \"1\"` is written. At first its candidate gets copies \
                   only,\n      and a judge compares both answers.",
        action: Action::Write(Edited::Better, "run = \"1\""),
        measure: compared,
    },
    Step {
        at: 70,
        sentence: "Nothing more is done: the next stages of the plan are 10, 50 and 100 % of the users.",
        action: Action::Watch,
        measure: advanced,
    },
    Step {
        at: 98,
        sentence: "The candidate of route `worse`, quality 0.8 to 0.9 till now, answers with 0.3 to 0.4.",
        action: Action::Fade,
        measure: taken_back,
    },
];

/// When the last step is measured, in seconds of the tour.
pub(super) const END: u64 = 110;

/// A time of the tour at a speed; 1 is as written.
pub(super) fn time(seconds: u64, speed: f64) -> Duration {
    Duration::from_secs_f64(seconds as f64 / speed)
}

impl Action {
    /// Does it.
    ///
    /// # Errors
    /// When the backend cannot listen again or the file cannot be written.
    pub(super) fn run(self, backends: &mut Backends, files: &Files) -> anyhow::Result<()> {
        match self {
            Self::Watch => {}
            Self::Kill => backends.llm.kill(),
            Self::Revive => backends.llm.revive()?,
            Self::Write(table, line) => files.set_first_line(table, line)?,
            Self::Fade => backends.distilled.become_another(FADED),
        }
        Ok(())
    }
}

/// What came of a step: its own measure, and what clients got meanwhile.
pub(super) fn outcome(step: &Step, before: &State, after: &State) -> [String; 2] {
    let answers = grouped(after.seen.answers - before.seen.answers);
    let errors = grouped(after.seen.errors - before.seen.errors);
    [(step.measure)(before, after), format!("Clients got {answers} answers and saw {errors} errors.")]
}

fn split(before: &State, after: &State) -> String {
    let [control, candidate] = after.seen.users;
    let moves = after.seen.to_candidate + after.seen.to_control - before.seen.to_candidate - before.seen.to_control;
    format!("{} of the users have the candidate, {moves} changed their arm.", part(candidate, control + candidate))
}

fn covered(before: &State, after: &State) -> String {
    let fallbacks = grouped(after.fallbacks - before.fallbacks);
    let kept = grouped(after.kept_by_breaker - before.kept_by_breaker);
    format!("Control answered {fallbacks} in the candidate's place, and {kept} that the breaker kept away.")
}

fn recovered(before: &State, after: &State) -> String {
    let served = grouped(after.arm(Arm::Candidate).requests - before.arm(Arm::Candidate).requests);
    format!("The candidate served {served} requests, its breaker is {}.", after.breaker().word())
}

fn refused(_: &State, after: &State) -> String {
    let verdict = if after.refused.is_some() { "refused" } else { "not refused" };
    format!("The file was {verdict}, generation {} runs with {} %.", after.generation, after.percent)
}

fn raised(before: &State, after: &State) -> String {
    let there = after.seen.to_candidate - before.seen.to_candidate;
    let back = after.seen.to_control - before.seen.to_control;
    format!("{} % now: {there} users moved to the candidate, {back} away from it.", after.percent)
}

fn compared(before: &State, after: &State) -> String {
    let [served, all] = served(before, after, "better");
    let rollout = after.rollout("better");
    let rate = rollout.and_then(|rollout| Some((rollout.win_rate()?, rollout.pairs.ties)));
    let rate = rate.map_or_else(
        || "no pair was judged in which one was better".to_owned(),
        |(rate, ties)| format!("its win rate is {rate} pairs, with {} ties beside", grouped(ties)),
    );
    format!("The candidate served {served} of {all} requests; {rate}.")
}

fn advanced(before: &State, after: &State) -> String {
    stood(before, after, "better")
}

fn taken_back(before: &State, after: &State) -> String {
    stood(before, after, "worse")
}

fn stood(before: &State, after: &State, route: &str) -> String {
    let [served, all] = served(before, after, route);
    let Some(rollout) = after.rollout(route) else { return format!("Route {route} is not in the file any more.") };
    let why = rollout.view.why.as_ref().map_or_else(String::new, |why| format!("\n         Why: {why}."));
    format!(
        "Rollout of {route}: {}.{why}\n         The candidate served {served} of {all} requests.",
        rollout.standing()
    )
}

/// What the candidate of a route served meanwhile, and both arms together.
fn served(before: &State, after: &State, route: &str) -> [String; 2] {
    let of = |state: &State| state.rollout(route).map_or([0; 2], |rollout| rollout.served);
    let ([control, candidate], now) = (of(before), of(after));
    let [control, candidate] = [now[0].saturating_sub(control), now[1].saturating_sub(candidate)];
    [grouped(candidate), grouped(control + candidate)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::backends::DISTILLED;
    use crate::cli::demo::state::tests::example;

    #[test]
    fn steps_are_in_order_and_within_two_minutes() {
        assert!(STEPS.is_sorted_by_key(|step| step.at));
        assert!(STEPS.last().unwrap().at < END && END <= 120);
        assert_eq!(time(60, 4.0), Duration::from_secs(15));
    }

    #[test]
    fn the_fall_is_as_it_is_said() {
        let [before, after] = [DISTILLED, FADED].map(|character| character.quality);
        let said = format!(
            "quality {} to {} till now, answers with {} to {}.",
            before.start, before.end, after.start, after.end
        );
        assert!(STEPS.iter().any(|step| step.action == Action::Fade && step.sentence.ends_with(&said)), "{said}");
    }

    #[test]
    fn what_is_told_is_what_was_measured() {
        let before = example();
        let mut after = before.clone();
        after.seen.answers += 2_400;
        after.seen.errors += 3;
        after.seen.to_candidate += 98;
        after.seen.to_control += 1;
        after.fallbacks += 8;
        after.kept_by_breaker += 590;
        after.arms[1].requests += 12;
        after.rollouts[0].served = [1_300, 320];
        after.rollouts[1].served = [1_900, 1_790];
        let told: Vec<String> = STEPS.iter().flat_map(|step| outcome(step, &before, &after)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
