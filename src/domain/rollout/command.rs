//! What operators want, and whether they get it.
//!
//! Every verb can be said twice: the second time it finds done what it wants. A rollback is never refused.

use super::guards;
use super::plan::{Plan, StageIndex};
use super::state::{MAX_REASON, Rollout, Standing, State};
use super::step::Walk;

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Begins the plan.
    Start,
    /// Goes no further.
    Pause,
    /// Goes on, with the stage's own percentage.
    Resume,
    /// Lets a stage end that waits for it.
    Approve,
    /// To the next stage, without its gates.
    Promote,
    /// To this stage.
    Jump(StageIndex),
    /// To the stage before, and holds there.
    StepBack,
    /// Control for everybody, until somebody restarts.
    Rollback,
    /// Begins anew, whatever was.
    Restart,
    /// The kill switch: control for everybody.
    Disable,
    /// Takes the kill switch back.
    Enable,
}

/// The words of all verbs.
pub const VERBS: [&str; 11] =
    ["start", "pause", "resume", "approve", "promote", "jump", "step_back", "rollback", "restart", "disable", "enable"];

impl Verb {
    /// Reads a verb; `jump` needs the name of a stage.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(word: &str, stage: Option<&str>, plan: &Plan) -> Result<Self, String> {
        if stage.is_some() && word != "jump" {
            return Err(format!("`{word}` takes no stage"));
        }
        Ok(match word {
            "start" => Self::Start,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "approve" => Self::Approve,
            "promote" => Self::Promote,
            "jump" => Self::Jump(stage_named(stage, plan)?),
            "step_back" => Self::StepBack,
            "rollback" => Self::Rollback,
            "restart" => Self::Restart,
            "disable" => Self::Disable,
            "enable" => Self::Enable,
            _ => return Err(format!("there is no verb {word:?}; there are {}", VERBS.join(", "))),
        })
    }
}

fn stage_named(name: Option<&str>, plan: &Plan) -> Result<StageIndex, String> {
    let names: Vec<&str> = plan.stages().into_iter().flat_map(|plan| &plan.stages).map(|stage| &*stage.name).collect();
    let known = || format!("there are {}", names.join(", "));
    match name {
        _ if names.is_empty() => Err("this route has no stages: the file owns its percentage".to_owned()),
        None => Err(format!("`jump` needs a stage; {}", known())),
        Some(name) => names
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| format!("there is no stage {name:?}; {}", known())),
    }
}

/// A verb with who says it and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The verb.
    pub verb: Verb,
    /// A token's name.
    pub actor: String,
    /// In words.
    pub reason: String,
}

/// What a command is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done,
    /// It was so already.
    Already,
    /// It cannot be done, and why.
    Refused(String),
}

/// Whether a reason can stand in the history.
///
/// # Errors
/// What would be right.
pub fn check_reason(reason: &str) -> Result<(), String> {
    match reason.trim().chars().count() {
        0 => Err("a reason is needed: it stands in the history".to_owned()),
        1..=MAX_REASON if !reason.chars().any(char::is_control) => Ok(()),
        1..=MAX_REASON => Err("a reason is one line of text".to_owned()),
        long => Err(format!("a reason has at most {MAX_REASON} characters (this has {long})")),
    }
}

pub(super) fn obey(walk: &mut Walk<'_>, command: &Command) -> Reply {
    let Command { verb, actor, reason } = command;
    let verdict = match verb {
        Verb::Rollback => return roll_back(walk, actor, reason),
        Verb::Restart => return restart(walk, actor, reason),
        Verb::Disable => return switch(walk, true, actor, reason),
        Verb::Enable => return switch(walk, false, actor, reason),
        Verb::Start => start(walk),
        Verb::Pause => pause(walk, reason),
        Verb::Resume => resume(&walk.rollout.state),
        Verb::Approve => approve(walk),
        Verb::Promote => promote(walk),
        Verb::Jump(stage) => jump(walk, *stage),
        Verb::StepBack => step_back(walk, reason),
    };
    match verdict {
        Ok(Some((kind, state))) => {
            walk.go(kind, state, actor, reason, Vec::new());
            Reply::Done
        }
        Ok(None) => Reply::Already,
        Err(why) => Reply::Refused(why),
    }
}

/// The move and the new state; `None` where it is so already.
type Wanted = Result<Option<(&'static str, State)>, String>;

const LATCHED: &str = "it is rolled back; `restart` begins anew";
const FIXED: &str = "the file owns the percentage of this route; change `percent` there";

fn roll_back(walk: &mut Walk<'_>, actor: &str, reason: &str) -> Reply {
    if walk.rollout.is_rolled_back() {
        return Reply::Already;
    }
    let stage = walk.rollout.state.stage().unwrap_or(0);
    walk.go("rolled_back", State::RolledBack { stage, why: reason.to_owned() }, actor, reason, Vec::new());
    Reply::Done
}

/// Begins a new run.
pub(super) fn restart(walk: &mut Walk<'_>, actor: &str, reason: &str) -> Reply {
    guards::resolve(walk, |_| true);
    let Rollout { run, entry, clocks, phases, baselines, .. } = &mut walk.rollout;
    baselines.clear();
    *run = run.saturating_add(1);
    *entry = entry.saturating_add(1);
    clocks.clear();
    phases.clear();
    walk.rollout.run_word = walk.plan.stages().and_then(|plan| plan.run.as_deref()).map(str::to_owned);
    walk.go("restarted", State::Running(Standing::at(0)), actor, reason, Vec::new());
    Reply::Done
}

fn switch(walk: &mut Walk<'_>, disabled: bool, actor: &str, reason: &str) -> Reply {
    if walk.rollout.disabled == disabled {
        return Reply::Already;
    }
    walk.rollout.disabled = disabled;
    let state = walk.rollout.state.clone();
    walk.go(if disabled { "disabled" } else { "enabled" }, state, actor, reason, Vec::new());
    Reply::Done
}

fn start(walk: &Walk<'_>) -> Wanted {
    match &walk.rollout.state {
        State::Draft => Ok(Some(("started", State::Running(Standing::at(0))))),
        State::RolledBack { .. } => Err(LATCHED.to_owned()),
        State::Running(_)
        | State::Held { .. }
        | State::AwaitingApproval(_)
        | State::Watching(_)
        | State::Completed(_) => Ok(None),
    }
}

fn pause(walk: &Walk<'_>, reason: &str) -> Wanted {
    match walk.rollout.state.clone() {
        State::Draft => Err("it has not started".to_owned()),
        State::RolledBack { .. } => Err(LATCHED.to_owned()),
        State::Held { .. } => Ok(None),
        State::Running(at) | State::AwaitingApproval(at) | State::Watching(at) | State::Completed(at) => {
            Ok(Some(("held", hold(walk, at, reason))))
        }
    }
}

/// Holds where it stands; where the file owns the percentage, the present one becomes the most.
pub(super) fn hold(walk: &Walk<'_>, at: Standing, why: &str) -> State {
    let cap = match walk.plan {
        Plan::Fixed(_) => Some(walk.rollout.exposure(walk.plan).percent.get()),
        Plan::Staged(_) => at.cap,
    };
    State::Held { at: Standing { cap, ..at }, why: why.to_owned() }
}

fn resume(state: &State) -> Wanted {
    match state {
        State::Held { at, .. } => Ok(Some(("resumed", State::Running(Standing { cap: None, ..*at })))),
        State::Running(_) | State::Watching(_) => Ok(None),
        State::Draft => Err("it has not started; `start` begins it".to_owned()),
        State::AwaitingApproval(_) => Err("it waits for `approve`".to_owned()),
        State::RolledBack { .. } => Err(LATCHED.to_owned()),
        State::Completed(_) => Err("it is completed; there is nothing to go on with".to_owned()),
    }
}

fn approve(walk: &Walk<'_>) -> Wanted {
    match &walk.rollout.state {
        State::AwaitingApproval(at) => Ok(Some(after(walk.plan, *at))),
        State::Running(at) if walk.plan.stage(at.stage).is_some_and(|stage| stage.approve) => {
            Err("this stage is not at its end yet; `promote` goes on at once".to_owned())
        }
        State::RolledBack { .. } => Err(LATCHED.to_owned()),
        State::Draft | State::Running(_) | State::Held { .. } | State::Watching(_) | State::Completed(_) => {
            Err("nothing waits for approval".to_owned())
        }
    }
}

fn promote(walk: &Walk<'_>) -> Wanted {
    staged(walk.plan)?;
    match &walk.rollout.state {
        State::Draft => Ok(Some(("started", State::Running(Standing::at(0))))),
        State::Running(at) | State::Held { at, .. } | State::AwaitingApproval(at) => Ok(Some(after(walk.plan, *at))),
        State::Watching(at) => Ok(Some(("completed", State::Completed(*at)))),
        State::Completed(_) => Ok(None),
        State::RolledBack { .. } => Err(LATCHED.to_owned()),
    }
}

fn jump(walk: &Walk<'_>, stage: StageIndex) -> Wanted {
    staged(walk.plan)?;
    let is_there = matches!(&walk.rollout.state, State::Running(at) if at.stage == stage && at.cap.is_none());
    match &walk.rollout.state {
        State::RolledBack { .. } => Err(LATCHED.to_owned()),
        _ if is_there => Ok(None),
        State::Draft
        | State::Running(_)
        | State::Held { .. }
        | State::AwaitingApproval(_)
        | State::Watching(_)
        | State::Completed(_) => Ok(Some(("jumped", State::Running(Standing::at(stage))))),
    }
}

fn step_back(walk: &Walk<'_>, reason: &str) -> Wanted {
    if walk.rollout.is_rolled_back() {
        return Err(LATCHED.to_owned());
    }
    let Some(at) = walk.rollout.state.standing() else { return Err("it has not started".to_owned()) };
    Ok(Some(("stepped_back", stage_before(walk, *at, reason))))
}

/// Held in the stage before, with no larger a share than now; before the first there is nobody.
pub(super) fn stage_before(walk: &Walk<'_>, at: Standing, why: &str) -> State {
    let why = why.to_owned();
    let share = walk.rollout.exposure(walk.plan).percent;
    match at.stage.checked_sub(1).and_then(|index| Some((index, walk.plan.stage(index)?))) {
        Some((index, stage)) => {
            let cap = (stage.percent > share).then(|| share.get());
            State::Held { at: Standing { cap, ..Standing::at(index) }, why }
        }
        None => State::Held { at: Standing { cap: Some(0.0), ..Standing::at(at.stage) }, why },
    }
}

/// What comes after a stage.
pub(super) fn after(plan: &Plan, at: Standing) -> (&'static str, State) {
    let next = at.stage + 1;
    if next < plan.len() {
        return ("promoted", State::Running(Standing::at(next)));
    }
    let is_watched = plan.stages().is_some_and(|plan| !plan.watch.is_zero());
    let last = Standing::at(at.stage);
    if is_watched { ("watching", State::Watching(last)) } else { ("completed", State::Completed(last)) }
}

fn staged(plan: &Plan) -> Result<(), String> {
    if plan.stages().is_some() { Ok(()) } else { Err(FIXED.to_owned()) }
}
