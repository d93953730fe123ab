//! What the controller says about shares, laid over what the file says.
//!
//! The file's configuration stays as it was read; from it and these a running one is made, as a whole.
//! Invariant: a route whose rollout may have been rolled back serves control until the store has told.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::config::model::Route;
use crate::domain::assignment::Share;
use crate::domain::decision::{Policy, Prerequisite};
use crate::domain::rollout::{Exposure, Plan};

/// By the route's name.
pub type Exposures = HashMap<Arc<str>, Exposure>;

/// Whether the controller walks it, or may stop it: what becomes of it is kept in the store.
#[must_use]
pub fn is_supervised(route: &Route) -> bool {
    route.rollout.plan.stages().is_some() || !route.guards.is_empty()
}

/// The exposure of a route; `None` leaves the route as the file has it.
fn exposure_of(route: &Route, exposures: &Exposures) -> Option<Exposure> {
    exposures.get(&route.name).cloned().or_else(|| is_supervised(route).then(Exposure::unknown))
}

/// A route that takes the place of one that was rolled back may be that one under another name: until the
/// controller has looked, it serves control.
pub(super) fn doubt(exposures: &mut Exposures, before: Option<&Config>, now: &Config) {
    let named = |config: &Config, name: &str| config.routes.iter().any(|route| *route.name == *name);
    let Some(before) = before else { return };
    let latch_is_gone = exposures.iter().any(|(name, exposure)| exposure.stop.is_some() && !named(now, name));
    if latch_is_gone {
        let fresh = now.routes.iter().filter(|route| !named(before, &route.name));
        let fresh: Vec<Arc<str>> = fresh.map(|route| Arc::clone(&route.name)).collect();
        for name in fresh {
            exposures.entry(name).or_insert_with(Exposure::unknown);
        }
    }
}

/// Lays exposures over the routes of a configuration.
pub(super) fn lay_over(config: &mut Config, exposures: &Exposures) {
    let mut policies: Vec<Policy> = Vec::with_capacity(config.routes.len());
    let mut changed = false;
    for route in &mut config.routes {
        let mut policy = Policy::clone(&route.policy);
        if let Some(exposure) = exposure_of(route, exposures) {
            changed = true;
            shadow(route, &exposure);
            apply(&mut policy, &route.rollout.plan, exposure);
        }
        policies.push(policy);
    }
    if !changed {
        return;
    }
    let names: HashMap<Arc<str>, usize> =
        config.routes.iter().enumerate().map(|(index, route)| (Arc::clone(&route.name), index)).collect();
    let mut built: Vec<Option<Arc<Policy>>> = vec![None; policies.len()];
    for index in 0..policies.len() {
        config.routes[index].policy = build(index, &policies, &names, &mut built);
    }
}

/// A policy that refers to what the others have become. The file has been checked for circles.
fn build(
    index: usize,
    policies: &[Policy],
    names: &HashMap<Arc<str>, usize>,
    built: &mut [Option<Arc<Policy>>],
) -> Arc<Policy> {
    if let Some(done) = &built[index] {
        return Arc::clone(done);
    }
    let mut policy = policies[index].clone();
    let refreshed = policy.prerequisites.iter().map(|prerequisite| {
        let policy = match names.get(&prerequisite.route) {
            Some(other) => build(*other, policies, names, built),
            None => Arc::clone(&prerequisite.policy),
        };
        Prerequisite { policy, ..prerequisite.clone() }
    });
    policy.prerequisites = refreshed.collect();
    let policy = Arc::new(policy);
    built[index] = Some(Arc::clone(&policy));
    policy
}

/// A stage says how much is copied; without stages the file does.
fn shadow(route: &mut Route, exposure: &Exposure) {
    if let Some(percent) = exposure.shadow {
        route.shadow.percent = percent;
    }
}

fn apply(policy: &mut Policy, plan: &Plan, exposure: Exposure) {
    let percent = match (plan, exposure.cap) {
        // The file's own percentage may be newer than the controller's last look.
        (Plan::Fixed(percent), Some(cap)) => percent.min(cap),
        (Plan::Fixed(percent), None) => *percent,
        (Plan::Staged(_), _) => exposure.percent,
    };
    policy.rollout = Share::new(percent);
    policy.enabled &= !exposure.disabled;
    policy.stop = exposure.stop;
    policy.started = exposure.started;
    policy.mark = exposure.mark.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;
    use crate::domain::Arm;
    use crate::domain::percent::Percent;
    use crate::domain::rollout::Stop;

    const FILE: &str = "[routes.a]\n[[routes.a.rollout.stages]]\npercent = 5\n[routes.b]\nrollout = { percent = 30 }\n\
                        prerequisite = { route = \"a\", arm = \"candidate\" }\n[routes.c]\nrollout = { percent = 40 }\n\
                        guards.x = { when = \"error_rate > 5%\", then = \"rollback\" }\n";

    fn config() -> Config {
        load_text(FILE, "gateway.toml", &Default::default()).unwrap().config
    }

    #[test]
    fn what_may_have_been_rolled_back_waits_for_the_store_and_the_rest_does_not() {
        let mut config = config();
        lay_over(&mut config, &Exposures::new());
        let stops: Vec<_> = config.routes.iter().map(|route| route.policy.stop).collect();
        assert_eq!(stops, [Some(Stop::StateUnknown), None, Some(Stop::StateUnknown)]);
        assert_eq!(config.routes[1].policy.prerequisites[0].policy.stop, Some(Stop::StateUnknown));
    }

    #[test]
    fn who_takes_the_place_of_a_latched_route_is_doubted() {
        let config = config();
        let mut renamed = config.clone();
        renamed.routes[2].name = Arc::from("new");
        let stopped = Exposure { stop: Some(Stop::RolledBack), ..Exposure::of_file(Percent::ZERO) };
        let rows = [("c", true), ("b", false)];
        for (latched, doubted) in rows {
            let mut exposures = Exposures::from([(Arc::from(latched), stopped.clone())]);
            doubt(&mut exposures, None, &renamed);
            assert_eq!(exposures.len(), 1);
            doubt(&mut exposures, Some(&config), &renamed);
            assert_eq!(exposures.get("new").is_some_and(|exposure| exposure.stop.is_some()), doubted, "{latched}");
        }
    }

    #[test]
    fn an_exposure_reaches_the_routes_that_ask_for_it() {
        let mut config = config();
        let five = Percent::new(5.0).unwrap();
        let exposure = Exposure { mark: "run 1".to_owned(), ..Exposure::of_file(five) };
        let capped = Exposure { cap: Some(five), ..Exposure::of_file(Percent::HUNDRED) };
        lay_over(&mut config, &[(Arc::from("a"), exposure), (Arc::from("c"), capped)].into());
        let [a, b, c] = [0, 1, 2].map(|index| Arc::clone(&config.routes[index].policy));
        assert_eq!((a.rollout.percent(), a.started, &*a.mark), (five, true, "run 1"));
        assert_eq!(c.rollout.percent(), five, "a cap is the most");
        assert!(Arc::ptr_eq(&b.prerequisites[0].policy, &a));
        assert_eq!(b.prerequisites[0].arm, Arm::Candidate);
    }
}
