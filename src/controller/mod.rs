//! The slow loop: records from the workers become windows, windows become judgements, and judgements
//! are published.
//!
//! It runs a few times a second beside the traffic and never in its way.

pub mod aggregate;
mod by_route;
pub mod keeper;
pub mod rollout;
pub mod windows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::config::model::MetricIndex;
use crate::live::Live;
use crate::measure::Record;
pub use aggregate::{Evidence, SharedEvidence};
pub use keeper::Keeper;
pub use rollout::Rollouts;
pub use windows::{ArmSummary, RouteSummary, Windows};

/// How often records are taken from the workers' rings and gates are judged.
pub const TICK: Duration = Duration::from_millis(100);

/// The windows, shared by the loop that fills them and the pages that read them.
#[derive(Debug, Clone, Default)]
pub struct SharedWindows(Arc<Mutex<Windows>>);

impl SharedWindows {
    /// What the last minutes of a route looked like. Routes are named by `RouteState::id`.
    #[must_use]
    pub fn summary(&self, route: u32) -> RouteSummary {
        self.lock().summary(route, clock::now_millis())
    }

    /// Scores of the candidate's answers that came as events, for the gate that judges such a metric. What is
    /// older than the gate's window says nothing of now.
    fn score(&self, route: u32, scores: &[(MetricIndex, f64)], age: Duration) {
        if !scores.is_empty() {
            self.lock().score(route, scores, age, clock::now_millis());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the task is dropped.
pub async fn run(
    live: Arc<Live>,
    mut rings: Vec<rtrb::Consumer<Record>>,
    windows: SharedWindows,
    evidence: SharedEvidence,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        turn(&live, &mut rings, &windows, &evidence);
    }
}

/// One turn: everything in the rings, then every gate.
fn turn(live: &Live, rings: &mut [rtrb::Consumer<Record>], windows: &SharedWindows, evidence: &SharedEvidence) {
    let snapshot = live.snapshot();
    let (now, time) = (clock::now_millis(), clock::timestamp().as_second());
    let (mut windows, mut evidence) = (windows.lock(), evidence.lock());
    for (definition, state) in snapshot.config().routes.iter().zip(&snapshot.routes) {
        windows.configure(state.id, definition.quality_gate.as_ref().map(|gate| (gate.metric, &gate.settings)));
    }
    for ring in rings {
        while let Ok(record) = ring.pop() {
            windows.record(&record);
            evidence.record(&record, time);
        }
    }
    for state in &snapshot.routes {
        if let Some(evidence) = evidence.route(state.id) {
            state.note_evidence(evidence.bytes() as u64, evidence.dropped);
        }
        let position = windows.judge(state.id, now);
        if position != state.gate() {
            let (route, from, to) = (&*state.name, format!("{:?}", state.gate()), format!("{position:?}"));
            tracing::warn!(route, from, to, "quality gate moved");
            state.set_gate(position);
        }
    }
}
