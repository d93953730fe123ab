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
use crate::live::{Live, Snapshot};
use crate::measure::Record;
pub use aggregate::{Evidence, SharedEvidence};
pub use keeper::Keeper;
pub use rollout::Rollouts;
pub use windows::{ArmSummary, RouteSummary, Windows};

/// How often gates are judged.
pub const TICK: Duration = Duration::from_millis(100);

/// How often records are taken from the workers' rings while there are few. A ring holds more than a worker can settle
/// meanwhile, so that a sudden burst is counted whole.
const MAX_PAUSE: Duration = TICK;

/// How soon after one another records are taken at most, however many come.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// How many records are taken at once, about. Where this loop shares a core with a worker, requests wait for as long
/// as it takes them; and between two turns they have to fit into a ring.
const USUAL_RECORDS: usize = 384;

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
    let mut pause = MAX_PAUSE;
    let mut judged = clock::now();
    loop {
        tokio::time::sleep(pause).await;
        let taken = take(&live, &mut rings, &windows, &evidence);
        pause = next_pause(pause, taken);
        if clock::now().saturating_duration_since(judged) >= TICK - MIN_PAUSE {
            judged = clock::now();
            judge(&live, &windows, &evidence);
        }
    }
}

/// Shorter the more records there were.
fn next_pause(pause: Duration, taken: usize) -> Duration {
    if taken > USUAL_RECORDS {
        (pause / 2).max(MIN_PAUSE)
    } else if taken < USUAL_RECORDS / 4 {
        (pause * 2).min(MAX_PAUSE)
    } else {
        pause
    }
}

/// Everything in the rings. Gives how much it was.
fn take(
    live: &Live,
    rings: &mut [rtrb::Consumer<Record>],
    windows: &SharedWindows,
    evidence: &SharedEvidence,
) -> usize {
    if rings.iter().all(rtrb::Consumer::is_empty) {
        return 0;
    }
    let snapshot = live.snapshot();
    let time = clock::timestamp().as_second();
    let (mut windows, mut evidence) = (windows.lock(), evidence.lock());
    configure(&snapshot, &mut windows);
    let mut taken = 0;
    for ring in rings {
        while let Ok(record) = ring.pop() {
            windows.record(&record);
            evidence.record(&record, time);
            taken += 1;
        }
    }
    taken
}

fn configure(snapshot: &Snapshot, windows: &mut Windows) {
    for (definition, state) in snapshot.config().routes.iter().zip(&snapshot.routes) {
        windows.configure(state.id, definition.quality_gate.as_ref().map(|gate| (gate.metric, &gate.settings)));
    }
}

/// Every gate.
fn judge(live: &Live, windows: &SharedWindows, evidence: &SharedEvidence) {
    let snapshot = live.snapshot();
    let now = clock::now_millis();
    let (mut windows, evidence) = (windows.lock(), evidence.lock());
    configure(&snapshot, &mut windows);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_records_the_shorter_the_pause() {
        let taken = |pause: Duration, per_second: usize| pause.as_millis() as usize * per_second / 1_000;
        let settle = |per_second| (0..64).fold(MAX_PAUSE, |pause, _| next_pause(pause, taken(pause, per_second)));
        let rows = [
            (0, MAX_PAUSE),
            (1_000, MAX_PAUSE),
            (10_000, MAX_PAUSE / 4),
            (50_000, MAX_PAUSE / 16),
            (1_000_000, MIN_PAUSE),
        ];
        for (per_second, expected) in rows {
            assert_eq!(settle(per_second), expected, "{per_second} requests a second");
        }
    }
}
