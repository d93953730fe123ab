//! Evidence on its way to the store and back: read once at the start, then written every few seconds,
//! while events are read from the store as they come in.
//!
//! Events count by their number: what is kept says up to which event it counts, so that after a crash
//! each counts once, no more and no less. Requests since the last writing are lost in a crash; events
//! never. Nothing waits for this.

use std::sync::Arc;
use std::time::Duration;

use super::aggregate::{self, SharedEvidence};
use crate::domain::evidence::{CellKey, Kept, USERS, decode, encode};
use crate::domain::phase::Phase;
use crate::live::Live;
use crate::store::{Attached, Cell, CellKey as StoredKey, Checkpoint, Cursor, EventQuery, Failure, Store as _};

/// How often evidence is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// How often new events are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// Events that are read at once.
const PAGE: usize = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    live: Arc<Live>,
    store: Arc<Attached>,
    evidence: SharedEvidence,
    /// The last event that is counted.
    counted: Cursor,
    /// The last event that was counted when evidence was last written.
    written: Cursor,
}

impl Keeper {
    /// A keeper of this evidence.
    #[must_use]
    pub const fn new(live: Arc<Live>, store: Arc<Attached>, evidence: SharedEvidence) -> Self {
        Self { live, store, evidence, counted: 0, written: 0 }
    }

    /// Runs until `stopping` is told, then writes once more.
    pub async fn run(mut self, mut stopping: tokio::sync::oneshot::Receiver<()>) {
        tokio::select! {
            () = self.store.attached() => {}
            _ = &mut stopping => return,
        }
        while let Err(failure) = self.restore().await {
            tracing::error!(%failure, "kept evidence cannot be read; what is counted meanwhile is added to it later");
            tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => {}
                _ = &mut stopping => return,
            }
        }
        let mut stored = self.store.stored();
        let mut write = tokio::time::interval(WRITE_EVERY);
        let mut count = tokio::time::interval(COUNT_EVERY);
        count.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ending = tokio::select! {
                _ = count.tick() => {
                    if *stored.borrow_and_update() > self.counted {
                        tell(self.count().await);
                    }
                    continue;
                }
                _ = write.tick() => false,
                _ = &mut stopping => true,
            };
            if ending {
                tell(self.count().await);
            }
            tell(self.write().await);
            if ending {
                return;
            }
        }
    }

    async fn restore(&mut self) -> Result<(), Failure> {
        let Checkpoint { cells, events_up_to } = self.store.checkpoint().await?;
        let count = cells.len();
        let mut unread = 0_usize;
        for Cell { key: StoredKey { route, phase, part }, bytes } in cells {
            let route = self.live.route_id(&route);
            let phase = Phase(phase);
            let key = CellKey::read(phase, &part, |name| self.live.metric_id(name));
            let mut evidence = self.evidence.lock();
            match (decode(&bytes), key) {
                (Ok(Kept::Cell(cell)), Some(key)) => evidence.route_mut(route).merge_cell(key, &cell),
                (Ok(Kept::Users(users)), None) if *part == *USERS => {
                    evidence.route_mut(route).merge_users(phase, &users)
                }
                (Ok(_) | Err(_), _) => unread += 1,
            }
        }
        if unread > 0 {
            tracing::error!(unread, "kept evidence that is not understood was left out");
        }
        tracing::info!(cells = count, events_up_to, "evidence read");
        (self.counted, self.written) = (events_up_to, events_up_to);
        Ok(())
    }

    /// Counts the events that are stored and not counted yet.
    async fn count(&mut self) -> Result<(), Failure> {
        let snapshot = self.live.snapshot();
        let metrics = aggregate::event_metrics(&snapshot.config().metrics, |index| snapshot.meters.id(index));
        loop {
            let query = EventQuery { after: self.counted, limit: PAGE, ..EventQuery::default() };
            let page = self.store.events(query).await?;
            for (number, event) in &page.rows {
                if let Some(to) = &event.attribution {
                    let route = self.live.route_id(&to.route);
                    self.evidence.lock().event(route, event, to, &metrics);
                }
                self.counted = *number;
            }
            if page.next.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes what has changed.
    async fn write(&mut self) -> Result<(), Failure> {
        let (names, routes) = (self.live.metric_names(), self.live.route_names());
        let mut cells = Vec::new();
        let mut taken = Vec::new();
        let counted = self.counted;
        for (id, evidence) in self.evidence.lock().routes_mut() {
            let Some(route) = routes.get(&id) else { continue };
            let mut put = |phase: Phase, part: String, kept: Kept| {
                let key = StoredKey { route: Box::from(&**route), phase: phase.0, part: part.into() };
                cells.push(Cell { key, bytes: encode(&kept) });
            };
            for (key, cell) in evidence.take_changed() {
                if let Some(part) = key.part(|id| names.get(usize::from(id.0)).map(|name| &**name)) {
                    put(key.phase, part, Kept::Cell(cell));
                    taken.push((id, key.phase, Some(key)));
                }
            }
            for (phase, users) in evidence.take_changed_users() {
                put(phase, USERS.to_owned(), Kept::Users(users));
                taken.push((id, phase, None));
            }
        }
        if cells.is_empty() && counted == self.written {
            return Ok(());
        }
        let saved = self.store.save_checkpoint(Checkpoint { cells, events_up_to: counted }).await;
        if saved.is_ok() {
            self.written = counted;
        } else {
            let mut evidence = self.evidence.lock();
            for (route, phase, key) in taken {
                let evidence = evidence.route_mut(route);
                match key {
                    Some(key) => evidence.give_back(key),
                    None => evidence.give_back_users(phase),
                }
            }
        }
        saved
    }
}

/// The store itself counts its failures, and the log tells of them.
fn tell(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        tracing::debug!(%failure, "evidence waits for the store");
    }
}
