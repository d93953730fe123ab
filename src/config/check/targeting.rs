//! `eligible` and `rules` of a route.

use crate::config::view::View;
use crate::domain::Arm;
use crate::domain::assignment::Share;
use crate::domain::condition::MAX_RULES;
use crate::domain::decision::{Rule, Serve, Targeting};
use crate::domain::percent::Percent;

use super::condition::Conditions;

/// Longest name of a rule, in characters.
const MAX_RULE_NAME: usize = 64;

pub(super) fn of(view: &View<'_>, conditions: &mut Conditions<'_>) -> Option<Targeting> {
    let eligible = match view.node("eligible") {
        Some(_) => conditions.compile(view, "eligible").map(Some),
        None => Some(None),
    };
    let views = view.tables("rules");
    if views.len() > MAX_RULES {
        view.error("rules", format!("{} rules", views.len()), format!("a route has at most {MAX_RULES}"));
    }
    let mut names: Vec<&str> = Vec::new();
    let mut rules = Vec::new();
    for view in &views {
        rules.push(rule(view, conditions, &names));
        names.extend(view.text("name"));
    }
    let (eligible, rules) = (eligible?, super::all(rules)?);
    Some(Targeting { eligible, rules })
}

fn rule(view: &View<'_>, conditions: &mut Conditions<'_>, others: &[&str]) -> Option<Rule> {
    let name = view.text("name");
    if let Some(name) = name {
        if !(1..=MAX_RULE_NAME).contains(&name.chars().count()) {
            view.error(
                "name",
                format!("found {name:?}"),
                format!("names of rules have 1 to {MAX_RULE_NAME} characters"),
            );
        }
        if others.contains(&name) {
            view.error("name", format!("a second rule {name:?}"), "explanations could not tell the two apart");
        }
    }
    let condition = conditions.compile(view, "if");
    let arm = view.word("serve").and_then(Arm::parse).map(Serve::Arm);
    let percent = view.float("percent").and_then(Percent::new).map(|percent| Serve::Percent(Share::new(percent)));
    match (view.is_typed("serve"), view.is_typed("percent")) {
        (true, true) => view.error("percent", "`serve` and `percent` at once", "a rule gives an arm or a percentage"),
        (false, false) => view.error("", "neither `serve` nor `percent`", "a rule gives an arm or a percentage"),
        (true, false) | (false, true) => {}
    }
    Some(Rule { name: name?.into(), condition: condition?, serve: arm.or(percent)? })
}
