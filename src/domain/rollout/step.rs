//! `step`: what becomes of a rollout, given its plan, what was seen, and who wants what.
//!
//! In this order: the file's changes, the command, the guards, the stage. A transition consumes the old
//! state. Nothing is done here: effects are data, and what follows for requests is
//! [`Rollout::exposure`](super::Rollout::exposure).

use std::time::Duration;

use super::command::{self, Command, Reply};
use super::gates::{self, Report};
use super::guards::{self, Watched};
use super::plan::Plan;
use super::reconcile;
use super::state::{Ground, MAX_PHASES, Note, Rollout, State};
use crate::domain::guard::Finding;
use crate::domain::phase::Phase;
use crate::domain::series::Seconds;

/// The longest stretch of active time that one look can add: who slept did not watch.
pub const MAX_ELAPSED: Duration = Duration::from_secs(5);

/// What was seen since the last look.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Time in which this process was awake and watching.
    pub elapsed: Duration,
    /// Requests that were drawn to the candidate since the stage settled.
    pub requests: f64,
    /// Users that were drawn to the candidate since the stage settled.
    pub users: f64,
    /// The phase in which requests are now, unless it is one that is left out.
    pub phase: Option<Phase>,
    /// The stage's conditions, in the order of the plan.
    pub gates: Vec<(String, Finding)>,
    /// The route's guards.
    pub guards: Vec<Watched>,
    /// Many failed attempts in few, while control is fine; with its figures.
    pub catastrophe: Option<String>,
    /// Why a stage cannot end now although it has passed: what comes next cannot be kept.
    pub stuck: Option<String>,
}

/// What may move a rollout.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Time went by.
    Tick(&'a Observed),
    /// Somebody wants something.
    Command(&'a Command),
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// It moved.
    Moved(Transition),
    /// Somebody should know.
    Alert {
        /// The same for the same trouble.
        key: String,
        /// Whether it changed what users get.
        critical: bool,
        /// In words and figures.
        text: String,
    },
    /// The trouble is over.
    Resolve {
        /// As in the alert.
        key: String,
    },
}

/// One move, for the history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Transition {
    /// `started`, `promoted`, `held`, ...
    pub kind: &'static str,
    /// Who and why.
    pub note: Note,
    /// Where it was.
    pub from: Described,
    /// Where it is.
    pub to: Described,
    /// The figures that it rests on, by the name of the guard or gate.
    pub figures: Vec<(String, Finding)>,
}

/// A state in an answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Described {
    /// The word of the state.
    pub state: String,
    /// The stage's name.
    pub stage: Option<String>,
    /// The share that gets the candidate.
    pub percent: f64,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Where it stands now.
    pub rollout: Rollout,
    /// What is to be told.
    pub effects: Vec<Effect>,
    /// What is waited for.
    pub report: Report,
    /// What the command is told; [`Reply::Done`] without one.
    pub reply: Reply,
}

/// A rollout on its way through one step.
pub(super) struct Walk<'a> {
    pub(super) rollout: Rollout,
    pub(super) plan: &'a Plan,
    pub(super) now: Seconds,
    pub(super) effects: Vec<Effect>,
}

/// One step. `ground` is what the split rests on now.
#[must_use]
pub fn step(rollout: Rollout, plan: &Plan, ground: &Ground, event: Event<'_>, now: Seconds) -> Outcome {
    let mut walk = Walk { rollout, plan, now, effects: Vec::new() };
    reconcile::with_file(&mut walk, ground);
    let nothing = Observed::default();
    let (reply, observed) = match event {
        Event::Command(command) => (command::obey(&mut walk, command), &nothing),
        Event::Tick(observed) => {
            walk.pass_time(observed);
            guards::act(&mut walk, observed);
            (Reply::Done, observed)
        }
    };
    let report = match event {
        Event::Tick(_) => gates::advance(&mut walk, observed),
        Event::Command(_) => Report::default(),
    };
    walk.rollout.share = walk.rollout.exposure(plan).percent.get();
    Outcome { rollout: walk.rollout, effects: walk.effects, report, reply }
}

impl Walk<'_> {
    fn pass_time(&mut self, observed: &Observed) {
        let elapsed = observed.elapsed.min(MAX_ELAPSED).as_millis() as u64;
        match &mut self.rollout.state {
            State::Running(at) | State::Watching(at) => at.active_ms = at.active_ms.saturating_add(elapsed),
            // What waits for people, or is over, does not age.
            State::Draft
            | State::Held { .. }
            | State::AwaitingApproval(_)
            | State::RolledBack { .. }
            | State::Completed(_) => {}
        }
        if let Some(Phase(phase)) = observed.phase.filter(|_| self.rollout.state.standing().is_some())
            && !self.rollout.phases.contains(&phase)
        {
            self.rollout.phases.push(phase);
            let surplus = self.rollout.phases.len().saturating_sub(MAX_PHASES);
            self.rollout.phases.drain(..surplus);
        }
    }

    /// Where it stands, in words.
    pub(super) fn described(&self) -> Described {
        describe(&self.rollout, self.plan)
    }

    /// Moves to another state, and notes it.
    pub(super) fn go(
        &mut self,
        kind: &'static str,
        state: State,
        actor: &str,
        reason: &str,
        figures: Vec<(String, Finding)>,
    ) {
        let from = self.described();
        let share = self.rollout.exposure(self.plan);
        let stage_before = self.rollout.state.standing().map(|at| at.stage);
        self.rollout.state = state;
        let stage = self.rollout.state.standing().map(|at| at.stage);
        if let (Some(stage), Some(_)) = (stage, self.plan.stages()) {
            let fingerprints = (0..=stage).filter_map(|index| self.plan.stage(index)).map(super::Stage::fingerprint);
            self.rollout.passed = fingerprints.collect();
        }
        let after = self.rollout.exposure(self.plan);
        let is_same = (after.percent, after.stop, after.started) == (share.percent, share.stop, share.started);
        if !is_same || stage_before != stage {
            // Another share or stage begins a phase, and what guards have seen of the old one is past.
            self.rollout.entry = self.rollout.entry.saturating_add(1);
            self.rollout.clocks.clear();
        }
        if matches!(self.rollout.state, State::Completed(_)) {
            // Nobody looks any more.
            guards::resolve(self, |_| true);
        }
        let note = Note { actor: actor.to_owned(), reason: reason.to_owned(), at: self.now };
        self.rollout.note = note.clone();
        let to = self.described();
        self.effects.push(Effect::Moved(Transition { kind, note, from, to, figures }));
    }
}

/// Where a rollout stands, in words.
#[must_use]
pub fn describe(rollout: &Rollout, plan: &Plan) -> Described {
    let stage = rollout.state.stage().and_then(|stage| plan.stage(stage));
    Described {
        state: rollout.state.as_str().to_owned(),
        stage: stage.map(|stage| stage.name.to_string()),
        percent: rollout.exposure(plan).percent.get(),
    }
}
