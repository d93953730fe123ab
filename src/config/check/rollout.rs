//! `[routes.NAME.rollout]`: who owns the percentage, and the plan.

use std::collections::BTreeSet;

use crate::config::model::{Condition, Guard, Metric, Rollout};
use crate::config::view::View;
use crate::domain::percent::Percent;
use crate::domain::rollout::{OnDeadline, Plan, Stage, Stages};

use super::guard;

/// Stages of a plan.
const MAX_STAGES: usize = 50;
/// Longest name of a stage, in characters.
const MAX_STAGE_NAME: usize = 64;

pub(super) fn of(view: &View<'_>, metrics: &[Metric]) -> Option<Rollout> {
    let percent = view.float("percent").and_then(Percent::new);
    let stages = view.tables("stages");
    let (plan, gates) = if stages.is_empty() {
        for key in ["run", "watch"].into_iter().filter(|key| view.is_typed(key)) {
            view.error(
                key,
                format!("`{key}` without `stages`"),
                "it belongs to a plan: [[routes.NAME.rollout.stages]]",
            );
        }
        if view.is_empty_list("stages") {
            view.error("stages", "no stage", "a plan has at least one");
        }
        (Plan::Fixed(percent?), Vec::new())
    } else {
        if view.is_typed("percent") {
            let help = "`percent` belongs to the file, `stages` to the controller: remove one of them";
            view.error("percent", "`percent` and `stages` at once", help);
        }
        staged(view, &stages, metrics)?
    };
    Some(Rollout {
        plan,
        gates,
        abort_on_failures: view.boolean("abort_on_failures")?,
        error_budget: view.float("error_budget")? / 100.0,
    })
}

fn staged(view: &View<'_>, stages: &[View<'_>], metrics: &[Metric]) -> Option<(Plan, Vec<Vec<Condition>>)> {
    if stages.len() > MAX_STAGES {
        view.error("stages", format!("{} stages", stages.len()), format!("a plan has at most {MAX_STAGES}"));
    }
    let built = super::all((1..).zip(stages).map(|(number, view)| stage(number, view, metrics)))?;
    let (mut names, mut before) = (BTreeSet::new(), Percent::ZERO);
    for ((stage, _), view) in built.iter().zip(stages) {
        if !names.insert(stage.name.clone()) {
            view.error("name", format!("{:?} twice", stage.name), "each stage has a name of its own");
        }
        if stage.percent < before {
            let help = "users only move from control to the candidate: no stage has a smaller share than one before";
            view.error("percent", format!("{} after {before}", stage.percent), help);
        }
        before = stage.percent;
    }
    let (stages, gates) = built.into_iter().unzip();
    let watch = view.duration("watch")?;
    let run = view.text("run").map(Into::into);
    Some((Plan::Staged(Stages { stages, watch, run }), gates))
}

fn stage(number: usize, view: &View<'_>, metrics: &[Metric]) -> Option<(Stage, Vec<Condition>)> {
    let name = view.text("name").map_or_else(|| format!("stage {number}"), str::to_owned);
    let fits = (1..=MAX_STAGE_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !fits {
        view.error("name", format!("found {name:?}"), format!("a name has 1 to {MAX_STAGE_NAME} visible characters"));
    }
    let gates = guard::gates(view, "pass", metrics);
    let deadline = view.duration("deadline");
    let (hold, settle) = (view.duration("hold")?, view.duration("settle")?);
    if deadline.is_some_and(|deadline| deadline < hold.max(settle)) {
        let help = "what waits for `hold` and `settle` would never pass";
        view.error("deadline", "a deadline before `hold` and `settle` are over", help);
    }
    if view.is_typed("on_deadline") && deadline.is_none() {
        view.error("on_deadline", "`on_deadline` without `deadline`", "it says what becomes of a stage that is late");
    }
    let gates = gates?;
    let stage = Stage {
        percent: view.float("percent").and_then(Percent::new)?,
        shadow: view.float("shadow").and_then(Percent::new)?,
        hold,
        min_requests: view.integer("min_requests")?,
        min_users: view.integer("min_users")?,
        settle,
        pass: gates.iter().map(|gate| gate.text.clone()).collect(),
        approve: view.boolean("approve")?,
        deadline,
        on_deadline: view.word("on_deadline").and_then(OnDeadline::parse)?,
        ..Stage::new(&name, Percent::ZERO)
    };
    fits.then_some((stage, gates))
}

/// Where everybody gets the candidate, nobody is left to compare with.
pub(super) fn nobody_to_compare(view: &View<'_>, rollout: &Rollout, guards: &[Guard]) {
    let most = match &rollout.plan {
        Plan::Fixed(percent) => *percent,
        Plan::Staged(plan) => plan.stages.last().map_or(Percent::ZERO, |stage| stage.percent),
    };
    if most < Percent::HUNDRED {
        return;
    }
    let live = |guard: &&Guard| guard.condition.compares() && guard.baseline == crate::config::model::Baseline::Live;
    for guard in guards.iter().filter(live) {
        let help = "end below 100 %, or add `baseline = \"frozen\"`; who is held out was not drawn by the same hash";
        view.warning(
            &format!("guards.{}", guard.name),
            "it compares with control, and at 100 % nobody is drawn to control",
            help,
        );
    }
}
