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
