//! Evidence on its way to the store and back: read once at the start, then written every few seconds,
//! while events are read from the store as they come in.
//!
//! Events count by their number: what is kept says up to which event it counts, so that after a crash
//! each counts once, no more and no less. Requests since the last writing are lost in a crash; events
//! never. Nothing waits for this.

use std::sync::Arc;
use std::time::Duration;

use super::SharedWindows;
use super::aggregate::{self, SharedEvidence};
use crate::clock;
use crate::domain::Arm;
use crate::domain::evidence::{CellKey, Kept, Measured, Stratum, decode, encode};
use crate::domain::metric::MetricId;
use crate::domain::phase::Phase;
use crate::domain::series::{Place, SliceName, Step};
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
    windows: SharedWindows,
    /// The last event that is counted.
    counted: Cursor,
    /// The last event that was counted when evidence was last written.
    written: Cursor,
}

impl Keeper {
    /// A keeper of this evidence.
    #[must_use]
    pub const fn new(live: Arc<Live>, store: Arc<Attached>, evidence: SharedEvidence, windows: SharedWindows) -> Self {
        Self { live, store, evidence, windows, counted: 0, written: 0 }
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
                (Ok(Kept::Cell(cell)), None) if let Some(place) = self.place_of(&part) => {
                    evidence.series_mut(route).restore(place, &cell);
                }
                (Ok(Kept::Draw(draw)), None) if let Some(stratum) = Stratum::of_draw(&part) => {
                    evidence.route_mut(route).merge_draw(phase, stratum, &draw);
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

    /// Reads `hour/482137/control/latency`.
    fn place_of(&self, part: &str) -> Option<Place> {
        let mut words = part.splitn(4, '/');
        let (step, number) = (words.next()?, words.next()?.parse().ok()?);
        let step = Step::ALL.into_iter().find(|known| known.as_str() == step)?;
        let arm = Arm::parse(words.next()?)?;
        let metric = Measured::named(words.next()?, |name| self.live.metric_id(name))?;
        Some(Place { slice: (step, number), arm, metric })
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
                    let scores = {
                        let mut evidence = self.evidence.lock();
                        evidence.pair(route, event, to, |name| self.live.metric_id(name));
                        evidence.event(route, event, to, &metrics)
                    };
                    let age = clock::timestamp().duration_since(event.at);
                    self.windows.score(route, &scores, age.unsigned_abs());
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
        let counted = self.counted;
        let (cells, taken) = self.take();
        if cells.is_empty() && counted == self.written {
            return Ok(());
        }
        let saved = self.store.save_checkpoint(Checkpoint { cells, events_up_to: counted }).await;
        match saved {
            Ok(()) => self.written = counted,
            Err(_) => self.give_back(taken),
        }
        saved
    }

    /// What has changed, and what it was taken from.
    fn take(&self) -> (Vec<Cell>, Vec<(u32, Taken)>) {
        let (names, routes) = (self.live.metric_names(), self.live.route_names());
        let name_of = |id: MetricId| names.get(usize::from(id.0)).map(|name| &**name);
        let (mut changed, mut taken) = (Vec::new(), Vec::new());
        let mut put = |route: u32, phase: Phase, part: String, kept: Option<Kept>| {
            if let Some(name) = routes.get(&route) {
                let key = StoredKey { route: Box::from(&**name), phase: phase.0, part: part.into() };
                changed.push((key, kept));
            }
        };
        let mut evidence = self.evidence.lock();
        for (route, evidence) in evidence.routes_mut() {
            for (key, cell) in evidence.take_changed() {
                if let Some(part) = key.part(name_of) {
                    put(route, key.phase, part, Some(Kept::Cell(cell)));
                    taken.push((route, Taken::Cell(key)));
                }
            }
            for ((phase, stratum), draw) in evidence.take_changed_draws() {
                put(route, phase, stratum.draw_part(), Some(Kept::Draw(draw)));
                taken.push((route, Taken::Draw(phase, stratum)));
            }
        }
        for (route, series) in evidence.all_series_mut() {
            for (slice, arms) in series.take_changed() {
                for (arm, measured) in Arm::ALL.into_iter().zip(arms) {
                    for (metric, cell) in measured.iter() {
                        if let Some(part) = part_of(Place { slice, arm, metric }, name_of) {
                            put(route, TIMELESS, part, Some(Kept::Cell(cell.clone())));
                        }
                    }
                }
                taken.push((route, Taken::Slice(slice)));
            }
            for place in series.take_expired() {
                if let Some(part) = part_of(place, name_of) {
                    put(route, TIMELESS, part, None);
                    taken.push((route, Taken::Expired(place)));
                }
            }
        }
        drop(evidence);
        // Whoever counts waits for the copies above, and for no encoding. An empty content removes a cell.
        let bytes = |kept: Option<Kept>| kept.as_ref().map(encode).unwrap_or_default();
        (changed.into_iter().map(|(key, kept)| Cell { key, bytes: bytes(kept) }).collect(), taken)
    }

    fn give_back(&self, taken: Vec<(u32, Taken)>) {
        let mut evidence = self.evidence.lock();
        for (route, taken) in taken {
            match taken {
                Taken::Cell(key) => evidence.route_mut(route).give_back(key),
                Taken::Draw(phase, stratum) => evidence.route_mut(route).give_back_draw(phase, stratum),
                Taken::Slice(slice) => evidence.series_mut(route).give_back(slice),
                Taken::Expired(place) => evidence.series_mut(route).give_back_expired(place),
            }
        }
    }
}

/// The phase under which slices of time are kept: they do not belong to one.
const TIMELESS: Phase = Phase(0);

/// What a kept cell was taken from.
enum Taken {
    Cell(CellKey),
    Draw(Phase, Stratum),
    Slice(SliceName),
    Expired(Place),
}

/// The name of a cell of a slice: `hour/482137/control/latency`.
fn part_of<'a>(place: Place, metric: impl FnOnce(MetricId) -> Option<&'a str>) -> Option<String> {
    let (step, number) = place.slice;
    Some(format!("{}/{number}/{}/{}", step.as_str(), place.arm, place.metric.name(metric)?))
}

/// The store itself counts its failures, and the log tells of them.
fn tell(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        tracing::debug!(%failure, "evidence waits for the store");
    }
}
