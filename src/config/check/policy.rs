//! How a route splits.

use std::collections::HashSet;

use crate::config::node::Node;
use crate::config::view::View;
use crate::domain::Arm;
use crate::domain::assignment::{MAX_KEY_BYTES, Share};
use crate::domain::context::{ContextIndex, usable_key};
use crate::domain::decision::{Holdout, Needs, Policy, Targeting, Targets};
use crate::domain::percent::Percent;

/// What follows a route's salt in its holdout's.
const HOLDOUT_SUFFIX: &str = ":holdout";

pub(super) fn of(
    name: &str,
    view: &View<'_>,
    candidate_off: bool,
    split_by: Option<ContextIndex>,
    targeting: Option<Targeting>,
) -> Option<Policy> {
    let enabled = view.boolean("enabled");
    let forced = view.word("forced").and_then(Arm::parse);
    let targets = targets(&view.table("targets"));
    let salt = view.text("salt").unwrap_or(name);
    if salt.is_empty() {
        view.error("salt", "an empty salt", "without the key, the salt is the route's name");
    }
    let holdout = view.float("holdout").and_then(Percent::new);
    let rollout = view.table("rollout").float("percent").and_then(Percent::new);
    let holdout = holdout?;
    let targeting = targeting?;
    let needs = Needs { slots: targeting.slots().into(), keys: Box::default() };
    Some(Policy {
        enabled: enabled? && !candidate_off,
        forced,
        targets,
        holdout: (holdout != Percent::ZERO)
            .then(|| Holdout { share: Share::new(holdout), salt: format!("{salt}{HOLDOUT_SUFFIX}").into() }),
        targeting,
        rollout: Share::new(rollout?),
        split_by: split_by?,
        salt: salt.into(),
        needs,
    })
}

fn targets(view: &View<'_>) -> Targets {
    let control = keys(view, "control", &HashSet::new());
    let candidate = keys(view, "candidate", &control);
    Targets { control, candidate }
}

fn keys(view: &View<'_>, arm: &str, others: &HashSet<Box<str>>) -> HashSet<Box<str>> {
    let mut keys = HashSet::new();
    let items: Vec<&Node> = view.items(arm);
    for (key, node) in items.into_iter().filter_map(|node| node.as_text().map(|text| (text, node))) {
        if usable_key(key).is_none() {
            let help = format!("keys have 1 to {MAX_KEY_BYTES} bytes");
            view.error_at(&node.origin, arm, format!("a key of {} bytes", key.len()), help);
        }
        if others.contains(key) {
            view.error_at(&node.origin, arm, format!("{} is listed for both arms", node.describe()), "choose one");
        }
        keys.insert(Box::from(key));
    }
    keys
}
