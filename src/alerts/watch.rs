//! What the gateway itself has to report: breakers, budgets, reloads and the store, looked at from time to time.
//!
//! Nothing on the way of a request is asked to tell. A condition is true, over, or in between, and the key of
//! each is looked at every time, so that what fired before a restart is resolved after it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Alert, Severity};
use crate::clock;
use crate::domain::Arm;
use crate::domain::breaker::{Millis, Position};
use crate::live::{Live, RouteIndex, Snapshot};
use crate::store::Attached;

/// How long a store may fail before it is told: opening takes a moment.
const STORE_GRACE: SignedDuration = SignedDuration::from_secs(5);
/// The key of the alert of a reload that failed.
const RELOAD: &str = "gateway/reload";
/// The key of the alert of a store that fails.
const STORE: &str = "gateway/store";

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// It is so.
    Fires(Alert),
    /// It is not, or no longer.
    Over(Arc<str>),
}

/// Remembers since when something has been so.
#[derive(Debug, Default)]
pub(super) struct Watch {
    store_fails_since: Option<Timestamp>,
}

impl Watch {
    /// Looks at everything.
    pub(super) fn look(&mut self, live: &Live, store: &Attached, now: Timestamp) -> Vec<Found> {
        let (snapshot, millis) = (live.snapshot(), clock::now_millis());
        let mut found = Vec::new();
        for route in 0..snapshot.routes.len() {
            for arm in [Arm::Control, Arm::Candidate] {
                found.extend(breaker(&snapshot, route, arm, (millis, now)));
            }
            found.extend(budget(&snapshot, route, now));
        }
        found.push(reload(live, now));
        found.push(self.store(store, now));
        found
    }

    fn store(&mut self, store: &Attached, now: Timestamp) -> Found {
        if store.is_up() {
            self.store_fails_since = None;
            return Found::Over(STORE.into());
        }
        let since = *self.store_fails_since.get_or_insert(now);
        if now.duration_since(since) < STORE_GRACE {
            return Found::Over(STORE.into());
        }
        let why = store.what_is_wrong().unwrap_or_default();
        let detail = format!("Traffic goes on; events are refused, evidence and history wait. {why}");
        fires(STORE, None, Severity::Critical, "The store fails", detail, json!({}), now)
    }
}

fn fires(
    key: impl Into<Arc<str>>,
    route: Option<Arc<str>>,
    severity: Severity,
    title: impl Into<String>,
    detail: String,
    data: Value,
    at: Timestamp,
) -> Found {
    Found::Fires(Alert { key: key.into(), route, severity, title: title.into(), detail, data, at })
}

/// `None` while the breaker probes: what was told holds.
fn breaker(snapshot: &Snapshot, route: RouteIndex, arm: Arm, at: (Millis, Timestamp)) -> Option<Found> {
    let definition = &snapshot.config().routes[route];
    let state = &snapshot.backends[definition.backend(arm)?].state;
    let (name, key) = (&definition.name, format!("{}/breaker/{arm}", definition.name));
    let (severity, meaning) = match arm {
        Arm::Control => (Severity::Critical, "It is control, so nobody stands in for it: its users see its errors."),
        Arm::Candidate => (Severity::Warning, "Control serves its users until it is well."),
    };
    match state.position(at.0) {
        Position::Closed => Some(Found::Over(key.into())),
        Position::HalfOpen => None,
        Position::Open => {
            let title = format!("{name}: the breaker of {} ({arm}) is open", state.name);
            let data = json!({ "backend": state.name, "arm": arm, "in_flight": state.in_flight() });
            Some(fires(key, Some(Arc::clone(name)), severity, title, meaning.to_owned(), data, at.1))
        }
    }
}

fn budget(snapshot: &Snapshot, route: RouteIndex, now: Timestamp) -> Option<Found> {
    let definition = &snapshot.config().routes[route];
    let index = definition.backend(Arm::Candidate)?;
    let (backend, state) = (&snapshot.config().backends[index], &snapshot.backends[index].state);
    let key = format!("{}/budget", definition.name);
    let Some(budget) = backend.cost_per_day else { return Some(Found::Over(key.into())) };
    let spent = state.spent(clock::utc_day());
    if spent < budget {
        return Some(Found::Over(key.into()));
    }
    let name = &definition.name;
    let title = format!("{name}: the daily budget of {} is spent", backend.name);
    let detail = format!("{spent:.2} of {budget:.2} today (UTC); control serves until midnight.");
    let data = json!({ "backend": backend.name, "spent": spent, "cost_per_day": budget });
    Some(fires(key, Some(Arc::clone(name)), Severity::Warning, title, detail, data, now))
}

/// The page `/api/v1/config` tells all; lines of a file do not leave the gateway.
fn reload(live: &Live, now: Timestamp) -> Found {
    let status = live.reloads().clone();
    if !status.failed {
        return Found::Over(RELOAD.into());
    }
    let error = status.error.unwrap_or_default();
    let first = error.lines().next().unwrap_or_default();
    let detail = format!("What ran before goes on. {first}");
    let data = json!({ "generation": live.generation() });
    fires(RELOAD, None, Severity::Warning, "The configuration cannot be taken over", detail, data, now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load_text;
    use crate::domain::breaker::Outcome;
    use crate::store::memory::Memory;

    const FILE: &str = "[backends.old]\nurl = \"http://old\"\nbreaker = { consecutive_failures = 1 }\n\
        [backends.new]\nurl = \"http://new\"\nbreaker = { consecutive_failures = 1, successes = 1, open_for = \"1ms\" }\n\
        prices = { input = 1, output = 1 }\nbudget = { cost_per_day = 5 }\n\
        [routes.r]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\n[routes.flag]\n";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    /// Keys and severities of what fires, and keys of what is over.
    fn keys(found: Vec<Found>) -> (Vec<(String, Severity)>, Vec<String>) {
        let (mut fires, mut over) = (Vec::new(), Vec::new());
        for found in found {
            match found {
                Found::Fires(alert) => fires.push((alert.key.to_string(), alert.severity)),
                Found::Over(key) => over.push(key.to_string()),
            }
        }
        (fires, over)
    }

    fn fires(found: Vec<Found>) -> Vec<(String, Severity)> {
        keys(found).0
    }

    fn gateway() -> (std::sync::Arc<Live>, Attached, Watch) {
        let loaded = load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap();
        let live = Live::new(loaded, 1, tokio::runtime::Handle::current()).unwrap();
        let store = Attached::default();
        store.attach(Arc::new(Memory::default()), 0);
        (live, store, Watch::default())
    }

    #[tokio::test]
    async fn breakers_budgets_and_reloads_are_looked_at_every_time() {
        let (live, store, mut watch) = gateway();
        let all = ["r/breaker/control", "r/breaker/candidate", "r/budget", RELOAD, STORE];
        assert_eq!(keys(watch.look(&live, &store, at(0))), (Vec::new(), all.map(str::to_owned).to_vec()));
        let snapshot = live.snapshot();
        let (new, old) = (&snapshot.backends[0].state, &snapshot.backends[1].state);
        old.record(None, Outcome::Failure, clock::now_millis(), &snapshot.config().backends[1].breaker);
        new.spend(clock::utc_day(), 5.0);
        live.reloads().failed = true;
        live.reloads().error = Some("error: routes.r.x: unknown key\n --> gateway.toml:1:1".to_owned());
        let found = watch.look(&live, &store, at(1));
        let reload = found.iter().find_map(|found| match found {
            Found::Fires(alert) if &*alert.key == RELOAD => Some(alert.detail.clone()),
            Found::Fires(_) | Found::Over(_) => None,
        });
        assert_eq!(reload.unwrap(), "What ran before goes on. error: routes.r.x: unknown key");
        let expected =
            [("r/breaker/control", Severity::Critical), ("r/budget", Severity::Warning), (RELOAD, Severity::Warning)];
        assert_eq!(fires(found), expected.map(|(key, severity)| (key.to_owned(), severity)));
    }

    #[tokio::test]
    async fn a_breaker_that_probes_is_neither() {
        let (live, store, mut watch) = gateway();
        let snapshot = live.snapshot();
        let (state, settings) = (&snapshot.backends[0].state, &snapshot.config().backends[0].breaker);
        let opened = clock::now_millis();
        state.record(None, Outcome::Failure, opened, settings);
        while state.position(clock::now_millis()) != Position::HalfOpen {
            tokio::task::yield_now().await;
        }
        let (fires, over) = keys(watch.look(&live, &store, at(0)));
        assert!(fires.is_empty() && !over.contains(&"r/breaker/candidate".to_owned()), "{over:?}");
        let now = clock::now_millis();
        let lease = state.lease(now, settings);
        state.record(lease, Outcome::Success, now, settings);
        assert!(keys(watch.look(&live, &store, at(1))).1.contains(&"r/breaker/candidate".to_owned()));
    }

    #[tokio::test]
    async fn a_store_is_given_a_moment() {
        let (live, _, mut watch) = gateway();
        let store = Attached::default();
        for seconds in [0, 4] {
            assert_eq!(fires(watch.look(&live, &store, at(seconds))), []);
        }
        assert_eq!(fires(watch.look(&live, &store, at(5))), [(STORE.to_owned(), Severity::Critical)]);
        store.attach(Arc::new(Memory::default()), 0);
        assert_eq!(fires(watch.look(&live, &store, at(6))), []);
        assert_eq!(fires(watch.look(&live, &Attached::default(), at(7))), [], "it begins anew");
    }
}
