//! When a stage may end, and what is waited for until then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::after;
use super::guards::{Watched, roll_back};
use super::plan::{OnDeadline, Stage};
use super::state::{Standing, State};
use super::step::{Observed, Walk};
use crate::domain::guard::{Action, Finding, Verdict};

/// What a stage waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "RolloutReport")]
pub struct Report {
    /// Everything that is not so yet; empty where nothing is waited for.
    pub waits: Vec<Wait>,
    /// The conditions of the stage, with what they see.
    pub gates: Vec<(String, Finding)>,
}

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "RolloutWait")]
pub struct Wait {
    /// In words and figures.
    pub what: String,
    /// About how long still, in seconds; `None` where nobody knows.
    pub about: Option<u64>,
}

/// Who acts in the history.
const PLAN: &str = "plan";

pub(super) fn advance(walk: &mut Walk<'_>, observed: &Observed) -> Report {
    match walk.rollout.state.clone() {
        State::Running(at) => running(walk, at, observed),
        State::Watching(at) => watching(walk, at),
        State::Held { why, .. } => wait(format!("held: {why}; `resume` goes on"), None),
        State::AwaitingApproval(_) => wait("somebody has to `approve`".to_owned(), None),
        State::Draft => wait("not started: `start` begins it".to_owned(), None),
        State::RolledBack { why, .. } => wait(format!("rolled back: {why}; `restart` begins anew"), None),
        State::Completed(_) => Report::default(),
    }
}

fn wait(what: String, about: Option<Duration>) -> Report {
    Report { waits: vec![Wait { what, about: about.map(|about| about.as_secs()) }], gates: Vec::new() }
}

fn watching(walk: &mut Walk<'_>, at: Standing) -> Report {
    let whole = walk.plan.stages().map_or(Duration::ZERO, |plan| plan.watch);
    let left = whole.saturating_sub(at.active());
    if left.is_zero() {
        walk.go("completed", State::Completed(at), PLAN, "watched for its time", Vec::new());
        return Report::default();
    }
    wait(format!("watched for {} of {}", spelled(at.active()), spelled(whole)), Some(left))
}

fn running(walk: &mut Walk<'_>, at: Standing, observed: &Observed) -> Report {
    let Some(stage) = walk.plan.stage(at.stage).cloned() else { return Report::default() };
    let mut waits = waits(&stage, at, observed);
    let breached = breached(walk, observed);
    waits.extend(breached.clone());
    let gates = observed.gates.clone();
    if let Some(why) = &observed.stuck {
        // Its deadline does not count either: nothing but the store is late.
        waits.push(Wait { what: why.clone(), about: None });
    } else if waits.is_empty() {
        let figures = gates.clone();
        if stage.approve {
            let reason = format!("stage {} has passed", stage.name);
            walk.go("awaiting_approval", State::AwaitingApproval(at), PLAN, &reason, figures);
        } else {
            let (kind, state) = after(walk.plan, at);
            walk.go(kind, state, PLAN, &format!("stage {} has passed", stage.name), figures);
        }
    } else if stage.deadline.is_some_and(|deadline| at.active() >= deadline)
        // Time does not promote past a guard either.
        && !(breached.is_some() && matches!(stage.on_deadline, OnDeadline::Promote))
    {
        overdue(walk, at, &stage, &waits);
    }
    Report { waits, gates }
}

/// A guard that has acted and whose condition was not seen to be over: `resume` goes on with the stage in spite of it,
/// but nothing raises the share by itself.
fn breached(walk: &Walk<'_>, observed: &Observed) -> Option<Wait> {
    let acted = |name: &str| walk.rollout.clocks.get(name).is_some_and(|clock| clock.acted);
    let holds_back = |guard: &&Watched| {
        guard.action > Action::Alert && guard.finding.verdict != Verdict::Fails && acted(&guard.name)
    };
    let guard = observed.guards.iter().find(holds_back)?;
    Some(Wait { what: format!("{}: not over; `promote` goes on all the same", guard.words()), about: None })
}

fn overdue(walk: &mut Walk<'_>, at: Standing, stage: &Stage, waits: &[Wait]) {
    let missing = waits.iter().map(|wait| wait.what.as_str()).collect::<Vec<_>>().join("; ");
    let why = format!("the deadline of stage {} has passed: {missing}", stage.name);
    match stage.on_deadline {
        OnDeadline::Hold => walk.go("held", State::Held { at, why: why.clone() }, PLAN, &why, Vec::new()),
        OnDeadline::Rollback => roll_back(walk, PLAN, &why),
        OnDeadline::Promote => {
            let (kind, state) = after(walk.plan, at);
            walk.go(kind, state, PLAN, &why, Vec::new());
        }
    }
}

fn waits(stage: &Stage, at: Standing, observed: &Observed) -> Vec<Wait> {
    let mut waits = Vec::new();
    // What happens in the settling time does not count, so that gates wait for its end at least.
    let hold = stage.hold.max(stage.settle);
    let left = hold.saturating_sub(at.active());
    if !left.is_zero() {
        let what = format!("active for {} of {}", spelled(at.active()), spelled(hold));
        waits.push(Wait { what, about: Some(left.as_secs()) });
    }
    let counting = at.active().saturating_sub(stage.settle);
    for (name, found, wanted) in
        [("requests", observed.requests, stage.min_requests), ("users", observed.users, stage.min_users)]
    {
        if found < wanted as f64 {
            let per_second = found / counting.as_secs_f64().max(1.0);
            let about = (per_second > 0.0).then(|| ((wanted as f64 - found) / per_second).min(1e9) as u64);
            waits.push(Wait { what: format!("{found:.0} of {wanted} {name} of the candidate"), about });
        }
    }
    for (condition, finding) in &observed.gates {
        let figures = match (finding.found, finding.limit) {
            (Some(found), Some(limit)) => format!(" ({found:.4} against {limit:.4})"),
            _ => String::new(),
        };
        match finding.verdict {
            Verdict::Holds => {}
            Verdict::Fails => waits.push(Wait { what: format!("{condition}: not so{figures}"), about: None }),
            Verdict::NotEnoughData => {
                waits.push(Wait { what: format!("{condition}: too little data{figures}"), about: None });
            }
        }
    }
    waits
}

/// A length of time for people: `1 h 5 min`, `42 s`.
#[must_use]
pub fn spelled(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
