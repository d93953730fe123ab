//! What routes ask of each other: prerequisites, and slots of exclusive groups.
//!
//! A route's policy gets the policies of its prerequisites; those are finished first, so there is no way
//! back. What a decision on one route looks at includes what the others look at.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::model::{ContextIndex, MissingKey, Route};
use crate::config::view::View;
use crate::domain::Arm;
use crate::domain::decision::{KeyNeed, Needs, Prerequisite};

use super::{Names, reference};

/// Most routes that a decision looks at, each counted as often as it is asked.
const MAX_PREREQUISITES: usize = 64;

/// Routes in the order of their names, and what was built of them.
struct Prerequisites<'r, 'a> {
    views: &'r [(&'a str, View<'a>)],
    built: &'r mut [Option<Route>],
    asks: Vec<Vec<(usize, Arm)>>,
    /// How many policies each route's decision asks; `None` before it is finished.
    sizes: Vec<Option<usize>>,
    /// All routes that each asks, also by way of others.
    reach: Vec<BTreeSet<usize>>,
    /// Routes that are being finished, each asked by the one before.
    open: Vec<usize>,
}

/// Puts the policies of other routes in place.
pub(super) fn prerequisites(names: &Names<'_>, views: &[(&str, View<'_>)], built: &mut [Option<Route>]) {
    let asks = views.iter().map(|(_, view)| asked(view, names)).collect();
    let (sizes, reach) = (vec![None; views.len()], vec![BTreeSet::new(); views.len()]);
    let mut all = Prerequisites { views, built, asks, sizes, reach, open: Vec::new() };
    for route in 0..views.len() {
        all.finish(route);
    }
}

fn asked(view: &View<'_>, names: &Names<'_>) -> Vec<(usize, Arm)> {
    let tables = view.one_or_more("prerequisite");
    let one = |table: &View<'_>| {
        let route = reference(table, "route", "route", &names.routes);
        Some((route?, table.word("arm").and_then(Arm::parse)?))
    };
    tables.iter().filter_map(one).collect()
}

impl Prerequisites<'_, '_> {
    /// Finishes a route after those that it asks; the number of policies that its decision asks.
    fn finish(&mut self, route: usize) -> usize {
        if let Some(size) = self.sizes[route] {
            return size;
        }
        self.open.push(route);
        let mut size = 0_usize;
        for (other, _) in self.asks[route].clone() {
            if let Some(at) = self.open.iter().position(|open| *open == other) {
                let circle: Vec<&str> = self.open[at..].iter().chain([&other]).map(|n| self.views[*n].0).collect();
                self.error(
                    route,
                    format!("a circle: {}", circle.join(" -> ")),
                    "one of these must not ask for another",
                );
                continue;
            }
            size = size.saturating_add(1).saturating_add(self.finish(other));
            let reached = self.reach[other].clone();
            self.reach[route].extend(reached);
            self.reach[route].insert(other);
        }
        self.open.pop();
        self.sizes[route] = Some(size);
        if size > MAX_PREREQUISITES {
            let found = format!("{size} prerequisites, those of other routes counted");
            self.error(route, found, format!("at most {MAX_PREREQUISITES} are asked for a decision"));
            return size;
        }
        self.same_keys(route);
        self.put(route);
        size
    }

    fn error(&self, route: usize, found: String, help: impl Into<String>) {
        self.views[route].1.error("prerequisite", found, help);
    }

    /// What splits a route, and what it does without its key.
    fn splits(&self, route: usize) -> Option<(ContextIndex, MissingKey)> {
        self.built[route].as_ref().map(|built| (built.policy.split_by, built.missing_key))
    }

    /// A user has one key of a kind. Were an anonymous id a key for one route and none for another, this
    /// route could not see what the other one sees.
    fn same_keys(&self, route: usize) {
        let mut seen: Vec<(usize, ContextIndex, MissingKey)> = Vec::new();
        for other in [route].into_iter().chain(self.reach[route].iter().copied()) {
            let Some((kind, missing)) = self.splits(other) else { continue };
            if let Some((first, ..)) = seen.iter().find(|(_, known, kept)| *known == kind && *kept != missing) {
                let (one, two) = (self.views[*first].0, self.views[other].0);
                let found = format!("`missing_key` of {one:?} and {two:?} differ");
                self.error(route, found, "both split by the same kind, and must see the same key");
            }
            seen.push((other, kind, missing));
        }
    }

    /// Gives a route the policies that it asks, and what they look at.
    fn put(&mut self, route: usize) {
        let prerequisites: Vec<Prerequisite> = self.asks[route]
            .iter()
            .filter_map(|(other, arm)| {
                let other = self.built[*other].as_ref()?;
                Some(Prerequisite { route: Arc::clone(&other.name), arm: *arm, policy: Arc::clone(&other.policy) })
            })
            .collect();
        let anonymous: BTreeSet<ContextIndex> = self.reach[route]
            .iter()
            .filter_map(|other| self.splits(*other))
            .filter_map(|(kind, missing)| (missing == MissingKey::Cookie).then_some(kind))
            .collect();
        let others: BTreeSet<ContextIndex> =
            self.reach[route].iter().filter_map(|other| self.splits(*other)).map(|(kind, _)| kind).collect();
        // Nobody but this list holds the policy yet: who asks for it is finished later.
        let Some(built) = &mut self.built[route] else { return };
        let pinned_by = built.pin.as_ref().map(|pin| pin.by);
        let Some(policy) = Arc::get_mut(&mut built.policy) else { return };
        let mut kinds: BTreeSet<ContextIndex> = others.into_iter().chain(pinned_by).collect();
        kinds.remove(&policy.split_by);
        let slots = prerequisites.iter().flat_map(|other| other.policy.needs.slots.iter().copied());
        let slots: BTreeSet<usize> = policy.needs.slots.iter().copied().chain(slots).collect();
        policy.needs = Needs {
            slots: slots.into_iter().collect(),
            keys: kinds.into_iter().map(|kind| KeyNeed { kind, anonymous: anonymous.contains(&kind) }).collect(),
        };
        policy.prerequisites = prerequisites.into();
    }
}

/// No slot of a group may belong to two routes, and its routes must hash the same key.
pub(super) fn exclusive(names: &Names<'_>, views: &[(&str, View<'_>)], built: &[Option<Route>]) {
    let routes: Vec<(&View<'_>, &Route)> =
        views.iter().zip(built).filter_map(|((_, view), route)| Some((view, route.as_ref()?))).collect();
    for (index, (view, route)) in routes.iter().enumerate() {
        let Some(ours) = &route.policy.exclusive else { continue };
        for (_, other) in &routes[..index] {
            let Some(theirs) = other.policy.exclusive.as_ref().filter(|theirs| theirs.group == ours.group) else {
                continue;
            };
            let (group, name) = (&ours.group, &other.name);
            if ours.low < theirs.high && theirs.low < ours.high {
                let (low, high) = (theirs.low.get(), theirs.high.get());
                let help = format!("slots of a group belong to one route each; {low} to {high} are those of {name:?}");
                view.table("exclusive").error("slots", format!("slots of {group:?} that overlap"), help);
            }
            if other.policy.split_by != route.policy.split_by {
                let kind = names.contexts[other.policy.split_by];
                let found = format!("{group:?} has routes that split by different kinds");
                let help = format!("{name:?} splits by {kind:?}: the slots of a group are found with one key");
                view.table("exclusive").error("group", found, help);
            }
        }
    }
}
