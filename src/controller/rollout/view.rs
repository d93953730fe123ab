//! A rollout as people and programs see it.

use serde::{Deserialize, Serialize};

use super::kept::Known;
use super::route::GuardView;
use crate::domain::rollout::{Described, Exposure, Note, Plan, Report, Rollout, State, describe};

/// The word of a state that the store has not told, in views, metrics and alerts.
pub const STATE_UNKNOWN: &str = "state_unknown";

/// Where a rollout stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Rollout")]
pub struct View {
    /// The route's name.
    pub route: String,
    /// Changes with everything that is stored; an answer to a command of an older one is a conflict.
    pub version: u64,
    /// `draft`, `running`, `held`, `awaiting_approval`, `rolled_back`, `watching`, `completed`, or
    /// `state_unknown` until the store has told.
    pub state: String,
    /// Why, where there is a reason.
    pub why: Option<String>,
    /// Whether the gateway walks through stages; otherwise the file owns the percentage.
    pub staged: bool,
    /// The stage's name.
    pub stage: Option<String>,
    /// Which stage, from 1.
    pub stage_number: Option<usize>,
    /// How many stages there are.
    pub stages: usize,
    /// The share that gets the candidate, in percent.
    pub percent: f64,
    /// The share of requests that the candidate served in this process, in percent; `null` before the first.
    pub percent_seen: Option<f64>,
    /// The share of control's requests of which the candidate gets a copy, in percent.
    pub shadow: Option<f64>,
    /// Whether an operator has thrown the kill switch.
    pub disabled: bool,
    /// Counts beginnings, from 1.
    pub run: u32,
    /// Seconds of active time in this stage.
    pub active_seconds: Option<f64>,
    /// Who brought it into this state.
    pub by: Option<Note>,
    /// What is waited for.
    pub report: Report,
    /// The guards.
    pub guards: Vec<GuardView>,
    /// Whether all of this is stored.
    pub stored: bool,
    /// Whether the file names the route no more.
    pub vanished: bool,
}

impl View {
    pub(super) fn of(
        route: &str,
        rollout: &Rollout,
        plan: &Plan,
        version: u64,
        guards: Vec<GuardView>,
        report: Report,
        stored: bool,
    ) -> Self {
        let Described { state, stage, percent } = describe(rollout, plan);
        let exposure = rollout.exposure(plan);
        Self {
            route: route.to_owned(),
            version,
            state,
            why: rollout.state.why().map(str::to_owned),
            staged: plan.stages().is_some(),
            stage_number: stage.is_some().then(|| rollout.state.stage().map(|stage| stage + 1)).flatten(),
            stage,
            stages: plan.len(),
            percent,
            percent_seen: None,
            shadow: exposure.shadow.map(|shadow| shadow.get()),
            disabled: rollout.disabled,
            run: rollout.run,
            active_seconds: active(&rollout.state),
            by: Some(rollout.note.clone()),
            report,
            guards,
            stored,
            vanished: false,
        }
    }

    /// With the share that was really seen.
    pub(super) fn seen(self, percent_seen: Option<f64>) -> Self {
        Self { percent_seen, ..self }
    }

    /// Before anybody has looked. A route that is not supervised goes by its file until it is known to be stopped.
    pub(super) fn unread(route: &str, known: &Known, plan: &Plan, is_supervised: bool) -> Self {
        let stored = known.trouble.is_none() && !known.has_news();
        let percent = match plan {
            Plan::Fixed(percent) if !is_supervised => *percent,
            Plan::Fixed(_) | Plan::Staged(_) => Exposure::unknown().percent,
        };
        match known.rollout() {
            Some(rollout) => Self::of(route, rollout, plan, known.version(), Vec::new(), Report::default(), stored),
            None => Self {
                route: route.to_owned(),
                version: known.version(),
                state: STATE_UNKNOWN.to_owned(),
                why: known.trouble.clone(),
                staged: plan.stages().is_some(),
                stages: plan.len(),
                percent: percent.get(),
                stored,
                ..Self::default()
            },
        }
    }
}

fn active(state: &State) -> Option<f64> {
    state.standing().map(|at| at.active().as_secs_f64())
}
