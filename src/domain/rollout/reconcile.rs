//! What becomes of a rollout whose file was edited.
//!
//! It goes on where its past is unchanged, and is held where it is not. A latch outlives every edit but
//! another `run`.

use super::command;
use super::plan::Plan;
use super::state::{Ground, Rollout, Standing, State};
use super::step::Walk;

/// Who acts in the history.
const FILE: &str = "file";

pub(super) fn with_file(walk: &mut Walk<'_>, ground: &Ground) {
    if another_run(walk) {
        walk.rollout.ground.clone_from(ground);
        walk.rollout.staged = true;
        let word = walk.plan.stages().and_then(|plan| plan.run.as_deref()).unwrap_or_default();
        let _always_done = command::restart(walk, FILE, &format!("run = {word:?}"));
        return;
    }
    another_owner(walk);
    another_plan(walk);
    another_ground(walk, ground);
}

/// Whether the file names a run that has not begun.
fn another_run(walk: &Walk<'_>) -> bool {
    let wanted = walk.plan.stages().and_then(|plan| plan.run.as_deref());
    wanted.is_some_and(|run| walk.rollout.run_word.as_deref() != Some(run))
}

/// The file took the percentage over, or gave it away.
fn another_owner(walk: &mut Walk<'_>) {
    let staged = walk.plan.stages().is_some();
    if walk.rollout.staged == staged {
        return;
    }
    walk.rollout.staged = staged;
    walk.rollout.passed.clear();
    if walk.rollout.is_rolled_back() {
        return;
    }
    let (state, reason) = if staged {
        (State::Draft, "the file has stages now")
    } else {
        (State::Running(Standing::at(0)), "the file has a percentage now")
    };
    walk.go("replanned", state, FILE, reason, Vec::new());
}

/// Stages that were passed have another share now, or are gone.
fn another_plan(walk: &mut Walk<'_>) {
    let Rollout { passed, state, share, .. } = &walk.rollout;
    let Some(at) = state.standing().copied() else { return };
    let Plan::Staged(plan) = walk.plan else { return };
    let now: Vec<String> = plan.stages.iter().map(super::Stage::fingerprint).collect();
    if now.starts_with(passed) {
        return;
    }
    let changed = passed.iter().zip(&now).take_while(|(was, is)| was == is).count();
    let name = plan.stages.get(changed).map_or("a stage is gone", |stage| &*stage.name);
    let why = format!("the plan was edited where it had been already: {name}");
    // Where the stage went, if it is still there.
    let moved = passed.last().and_then(|stood| now.iter().position(|stage| stage == stood));
    let stage = moved.unwrap_or_else(|| at.stage.min(plan.stages.len().saturating_sub(1)));
    // Nobody gets the candidate by an edit of the past.
    let at = Standing { stage, cap: Some(*share), ..at };
    walk.go("held", State::Held { at, why: why.clone() }, FILE, &why, Vec::new());
}

/// Salt, split key or an arm changed: other users, or another candidate.
fn another_ground(walk: &mut Walk<'_>, ground: &Ground) {
    if walk.rollout.ground == *ground {
        return;
    }
    let was = std::mem::replace(&mut walk.rollout.ground, ground.clone());
    let differs = |(name, hash): &(&String, &String)| was.get(*name).is_some_and(|other| other != *hash);
    let changed: Vec<&str> = ground.iter().filter(differs).map(|(name, _)| name.as_str()).collect();
    if changed.is_empty() {
        return;
    }
    walk.rollout.clocks.clear();
    let at = match (&walk.rollout.state, walk.plan.stages().is_none()) {
        // The file owns the percentage, and says what it says.
        (_, true) => return,
        (State::Running(at) | State::AwaitingApproval(at) | State::Watching(at), false) => *at,
        (State::Draft | State::Held { .. } | State::RolledBack { .. } | State::Completed(_), false) => return,
    };
    let why = format!("the file changed {}", changed.join(", "));
    walk.go("held", State::Held { at, why: why.clone() }, FILE, &why, Vec::new());
}
