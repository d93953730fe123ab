//! What differs between two configurations: users that change arms, evidence that starts anew, keys.
//!
//! A pure function of two [`Side`]s, whether they come from files or from a running gateway.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::admin::assignments::Assigned;
use crate::config::phase::Parts;
use crate::domain::Arm;

/// Two-sided 95 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_985;

/// What is known of one configuration.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) routes: BTreeMap<String, RouteSide>,
    /// Everything as it was typed, without secrets.
    pub(super) typed: Value,
    /// Values of the keys that need a restart.
    pub(super) restart_keys: BTreeMap<String, String>,
}

/// What is known of one of its routes.
#[derive(Debug)]
pub(super) struct RouteSide {
    pub(super) phase: Parts,
    /// In the order of the subjects; empty where nobody was asked about.
    pub(super) assignments: Vec<Assigned>,
    /// Attributes that were asked about and are not there.
    pub(super) unknown_attributes: BTreeSet<String>,
}

/// Everything that differs.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Difference {
    /// Whether there is any.
    pub(super) changes: bool,
    /// Routes that both sides have.
    pub(super) routes: Vec<RouteDifference>,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    /// Keys of both sides' routes and of everything else, as they were typed.
    pub(super) keys: Vec<KeyDifference>,
    pub(super) restart_required: Vec<String>,
}

/// What differs in a route.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct RouteDifference {
    pub(super) route: String,
    /// How many users were asked about.
    pub(super) users: usize,
    pub(super) control_to_candidate: Moved,
    pub(super) candidate_to_control: Moved,
    /// How many keep their arm for another reason.
    pub(super) other_reason: usize,
    /// Why evidence starts anew; empty if it goes on.
    pub(super) phase: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Users who change arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Moved {
    pub(super) count: usize,
    /// Percent of those who were asked about; `None` of nobody.
    pub(super) percent: Option<f64>,
    /// 95 % interval in percent, where they stand for others.
    pub(super) interval: Option<[f64; 2]>,
}

/// A key that differs; `null` where it is not typed.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct KeyDifference {
    pub(super) key: String,
    pub(super) old: Value,
    pub(super) new: Value,
}

/// Compares. `sampled`: whether the users stand for all others.
pub(super) fn compare(old: &Side, new: &Side, sampled: bool) -> Difference {
    let both = old.routes.keys().filter(|name| new.routes.contains_key(*name));
    let routes: Vec<_> = both.map(|name| route(name, old, new, sampled)).collect();
    let only = |one: &Side, other: &Side| -> Vec<String> {
        one.routes.keys().filter(|name| !other.routes.contains_key(*name)).cloned().collect()
    };
    let (added, removed) = (only(new, old), only(old, new));
    let keys = keys(old, new, &[added.as_slice(), &removed].concat());
    let differs = |(key, value): &(&String, &String)| old.restart_keys.get(*key).is_some_and(|other| other != *value);
    let restart_required: Vec<_> = new.restart_keys.iter().filter(differs).map(|(key, _)| key.clone()).collect();
    let moves = routes.iter().any(RouteDifference::any);
    let lists = [added.is_empty(), removed.is_empty(), keys.is_empty(), restart_required.is_empty()];
    let changes = moves || lists.contains(&false);
    Difference { changes, routes, added, removed, keys, restart_required }
}

impl RouteDifference {
    /// Whether anything differs for users or evidence.
    pub(super) fn any(&self) -> bool {
        let moved = self.control_to_candidate.count + self.candidate_to_control.count + self.other_reason;
        moved > 0 || !self.phase.is_empty()
    }
}

fn route(name: &str, old: &Side, new: &Side, sampled: bool) -> RouteDifference {
    let (before, after) = (&old.routes[name], &new.routes[name]);
    let pairs = || before.assignments.iter().zip(&after.assignments);
    let users = pairs().count();
    let moved = |from: Arm, to: Arm| {
        let count = pairs().filter(|(one, other)| one.assigned == from && other.assigned == to).count();
        let percent = (users > 0).then(|| count as f64 / users as f64 * 100.0);
        Moved { count, percent, interval: (sampled && users > 0).then(|| wilson(count, users)) }
    };
    let phase = after.phase.changed(&before.phase);
    RouteDifference {
        route: name.to_owned(),
        users,
        control_to_candidate: moved(Arm::Control, Arm::Candidate),
        candidate_to_control: moved(Arm::Candidate, Arm::Control),
        other_reason: pairs().filter(|(one, other)| one.assigned == other.assigned && one.by != other.by).count(),
        notes: notes(name, [old, new], &phase, sampled),
        phase,
    }
}

/// What should be known about the shares.
fn notes(name: &str, sides: [&Side; 2], phase: &[String], sampled: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let conditional =
        |side: &&Side| ["eligible", "rules"].iter().any(|key| !side.typed["routes"][name][*key].is_null());
    if sampled && sides.iter().any(conditional) {
        notes.push(
            "the route has conditions, and sampled users have no attributes: every condition saw them as missing; \
             --users FILE with attributes gives true shares"
                .to_owned(),
        );
    }
    if phase.iter().any(|part| part == "split_key") {
        notes.push(
            "another key splits, or it comes from elsewhere: whoever has another key than before is drawn anew, and the \
             shares hold only for those who keep theirs"
                .to_owned(),
        );
    }
    for (side, told) in sides.iter().zip(["the old side", "the new side"]) {
        let unknown: Vec<_> = side.routes[name].unknown_attributes.iter().map(String::as_str).collect();
        if !unknown.is_empty() {
            notes.push(format!("{told} has no attribute {}: it counted as missing there", unknown.join(", ")));
        }
    }
    notes
}

/// Wilson's interval for a share, in percent (E. B. Wilson, JASA 22, 1927, 209-212).
fn wilson(count: usize, of: usize) -> [f64; 2] {
    let (n, p) = (of as f64, count as f64 / of as f64);
    let centre = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let bound = |value: f64| (value / (1.0 + Z * Z / n) * 100.0).clamp(0.0, 100.0);
    // At the ends the formula gives 0 and 100, but for rounding.
    let low = if count == 0 { 0.0 } else { bound(centre - reach) };
    let high = if count == of { 100.0 } else { bound(centre + reach) };
    [low, high]
}

fn keys(old: &Side, new: &Side, left_out: &[String]) -> Vec<KeyDifference> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &old.typed, &mut before);
    flatten("", &new.typed, &mut after);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let whole = |name: &String| left_out.iter().any(|route| name.starts_with(&format!("routes.{route}.")));
    let value = |side: &BTreeMap<String, Value>, name: &String| side.get(name).cloned().unwrap_or(Value::Null);
    names
        .into_iter()
        .filter(|name| !whole(name))
        .map(|name| KeyDifference { key: name.clone(), old: value(&before, name), new: value(&after, name) })
        .filter(|key| !same(&key.old, &key.new))
        .collect()
}

/// Leaves by key path; lists are leaves.
fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, leaves);
            }
        }
        Value::Null => {}
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            leaves.insert(path.to_owned(), value.clone());
        }
    }
}

/// 25 and 25.0 are the same number.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values by bisection of the score equation `|p - x| = z sqrt(x (1 - x) / n)`, which the formula solves.
    #[test]
    fn intervals() {
        let rows = [
            (102, 10_000, [0.8410, 1.2366]),
            (0, 10_000, [0.0, 0.0384]),
            (10_000, 10_000, [99.9616, 100.0]),
            (1, 2, [9.4531, 90.5469]),
        ];
        for (count, of, expected) in rows {
            let found = wilson(count, of);
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{count} of {of}: {found} {expected}");
            }
        }
    }

    #[test]
    fn numbers_are_compared_by_value_and_lists_as_a_whole() {
        let side = |typed: Value| Side { routes: BTreeMap::new(), typed, restart_keys: BTreeMap::new() };
        let old = side(serde_json::json!({ "a": { "x": 25, "y": [1, 2] }, "b": null }));
        let new = side(serde_json::json!({ "a": { "x": 25.0, "y": [1, 3] }, "c": "new" }));
        let found = compare(&old, &new, true);
        let keys: Vec<_> = found.keys.iter().map(|key| (key.key.as_str(), key.old.clone(), key.new.clone())).collect();
        let expected = [
            ("a.y", serde_json::json!([1, 2]), serde_json::json!([1, 3])),
            ("c", Value::Null, serde_json::json!("new")),
        ];
        assert_eq!(keys, expected);
        assert!(found.changes && !compare(&old, &old, true).changes);
    }
}
