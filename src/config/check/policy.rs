//! How a route splits.

use std::sync::Arc;

use crate::config::parse;
use crate::config::view::View;
use crate::domain::Arm;
use crate::domain::assignment::Share;
use crate::domain::context::ContextIndex;
use crate::domain::decision::{Exclusive, Holdout, Needs, Policy, Targeting};
use crate::domain::percent::Percent;
use crate::domain::rollout::Plan;

use super::targets;

/// What follows a route's salt in its holdout's.
const HOLDOUT_SUFFIX: &str = ":holdout";
/// Longest name of an exclusive group, in characters.
const MAX_GROUP_NAME: usize = 64;

pub(super) fn of(
    name: &str,
    view: &View<'_>,
    candidate_off: bool,
    split_by: Option<ContextIndex>,
    targeting: Option<Targeting>,
    plan: Option<&Plan>,
) -> Option<Policy> {
    let enabled = view.boolean("enabled");
    let forced = view.word("forced").and_then(Arm::parse);
    let targets = Arc::new(targets::of(&view.table("targets")));
    let salt = view.text("salt").unwrap_or(name);
    if salt.is_empty() {
        view.error("salt", "an empty salt", "without the key, the salt is the route's name");
    }
    let holdout = view.float("holdout").and_then(Percent::new);
    // What a plan gives to whom is the controller's word, and before it nobody gets the candidate.
    let (rollout, started) = match plan? {
        Plan::Fixed(percent) => (*percent, true),
        Plan::Staged(_) => (Percent::ZERO, false),
    };
    let exclusive = exclusive(view);
    let holdout = holdout?;
    let targeting = targeting?;
    let needs = Needs { slots: targeting.slots().into(), keys: Box::default() };
    Some(Policy {
        enabled: enabled? && !candidate_off,
        forced,
        targets,
        holdout: (holdout != Percent::ZERO)
            .then(|| Holdout { share: Share::new(holdout), salt: format!("{salt}{HOLDOUT_SUFFIX}").into() }),
        exclusive: exclusive?,
        // These come when all routes are known.
        prerequisites: Box::default(),
        targeting,
        rollout: Share::new(rollout),
        stop: None,
        started,
        mark: Box::default(),
        split_by: split_by?,
        salt: salt.into(),
        needs,
    })
}

/// The slots of a group (inner), if the route has any (outer); `None` for a mistake.
fn exclusive(view: &View<'_>) -> Option<Option<Exclusive>> {
    let Some(table) = view.optional_table("exclusive") else { return Some(None) };
    let group = table.text("group");
    if group.is_some_and(|group| !(1..=MAX_GROUP_NAME).contains(&group.chars().count())) {
        table.error("group", "no name of a group", format!("names of groups have 1 to {MAX_GROUP_NAME} characters"));
    }
    let ends = table.items("slots").into_iter().map(|node| parse::float(node, 0.0, 100.0).ok().and_then(Percent::new));
    let ends: Option<Vec<Percent>> = ends.collect();
    match ends?.as_slice() {
        [low, high] if low < high => Some(Some(Exclusive::new(group?, *low, *high))),
        _ => {
            let help = "expected where the slots begin and end: [0, 50] is the first half, [50, 100] the second";
            table.error("slots", "no range of slots", help);
            None
        }
    }
}
