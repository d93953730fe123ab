//! The message of the day: what each route did since the last one, or since the start.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Notice, Severity};
use crate::clock;
use crate::config::model::Route;
use crate::domain::Arm;
use crate::domain::alert::Board;
use crate::live::Snapshot;
use crate::measure::RouteTotals;

/// Routes of which the text tells; the figures tell of some more.
const MAX_ROUTES: usize = 30;

/// What was counted when the last one was made.
#[derive(Debug)]
pub(super) struct Baseline {
    since: Timestamp,
    counted: HashMap<Arc<str>, Counted>,
}

/// What a route has counted, by arm.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    served: [u64; 2],
    attempts: [u64; 2],
    failures: [u64; 2],
    fallbacks: u64,
}

impl Counted {
    fn of(totals: &RouteTotals) -> Self {
        let mut counted = Self { fallbacks: totals.fallbacks.iter().sum(), ..Self::default() };
        for arm in [Arm::Control, Arm::Candidate] {
            counted.served[arm.index()] = totals.served(arm);
            (counted.attempts[arm.index()], counted.failures[arm.index()]) = totals.attempts_and_failures(arm);
        }
        counted
    }

    fn since(self, before: Self) -> Self {
        let less = |now: [u64; 2], before: [u64; 2]| [0, 1].map(|arm| now[arm].saturating_sub(before[arm]));
        Self {
            served: less(self.served, before.served),
            attempts: less(self.attempts, before.attempts),
            failures: less(self.failures, before.failures),
            fallbacks: self.fallbacks.saturating_sub(before.fallbacks),
        }
    }

    /// Percent of the attempts at an arm.
    fn failed(&self, arm: Arm) -> Option<f64> {
        let (attempts, failures) = (self.attempts[arm.index()], self.failures[arm.index()]);
        (attempts > 0).then(|| failures as f64 * 100.0 / attempts as f64)
    }
}

impl Baseline {
    pub(super) fn of(snapshot: &Snapshot, since: Timestamp) -> Self {
        let counted = |state: &Arc<crate::live::RouteState>| (Arc::clone(&state.name), Counted::of(&state.totals()));
        Self { since, counted: snapshot.routes.iter().map(counted).collect() }
    }

    /// What happened since, in words and figures.
    pub(super) fn digest(&self, snapshot: &Snapshot, board: &Board, now: Timestamp) -> Notice {
        let firing = board.firing().count();
        let (mut text, mut figures) = (format!("Since {}. Alerts that fire: {firing}.", self.since), Vec::new());
        for (route, state) in snapshot.config().routes.iter().zip(&snapshot.routes) {
            let before = self.counted.get(&route.name).copied().unwrap_or_default();
            let counted = Counted::of(&state.totals()).since(before);
            if figures.len() < MAX_ROUTES {
                // Writing to a string cannot fail.
                let _always = write!(text, "\n{}", line(route, &counted));
                figures.push(of_route(snapshot, route, &counted));
            }
        }
        let routes = snapshot.routes.len();
        if routes > MAX_ROUTES {
            let _always = write!(text, "\nand {} more", routes - MAX_ROUTES);
        }
        let data = json!({ "since": self.since, "firing": firing, "routes": figures });
        let title = format!("The day: {routes} routes; alerts that fire: {firing}");
        Notice { route: None, severity: Severity::Info, title, detail: text, data, at: now }
    }
}

fn line(route: &Route, counted: &Counted) -> String {
    let share = |arm| counted.failed(arm).map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2} %"));
    format!(
        "{}: {} to the candidate; served {} by control, {} by candidate; attempts failed {} / {}; {} fallbacks",
        route.name,
        route.policy.rollout.percent(),
        counted.served[Arm::Control.index()],
        counted.served[Arm::Candidate.index()],
        share(Arm::Control),
        share(Arm::Candidate),
        counted.fallbacks,
    )
}

fn of_route(snapshot: &Snapshot, route: &Route, counted: &Counted) -> Value {
    let spent = route.backend(Arm::Candidate).map(|index| snapshot.backends[index].state.spent(clock::utc_day()));
    json!({
        "route": route.name,
        "percent": route.policy.rollout.percent(),
        "served": { "control": counted.served[0], "candidate": counted.served[1] },
        "failed_percent": { "control": counted.failed(Arm::Control), "candidate": counted.failed(Arm::Candidate) },
        "fallbacks": counted.fallbacks,
        "spent_today": spent,
    })
}
