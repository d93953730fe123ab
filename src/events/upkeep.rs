//! Opens the store and keeps it within its bounds, for as long as the process runs.
//!
//! A store that cannot be opened keeps nothing away but events: it is tried again, less and less often,
//! and what needs it answers 503 until then.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Intake;
use crate::clock;
use crate::config::model::{State, StorePlace};
use crate::store::memory::Memory;
use crate::store::sqlite::Sqlite;
use crate::store::{Failure, Store};

/// Before the second try to open the store; doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often the size is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often what is too old is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// The fact that holds the secret behind the hashes of users.
const USER_SECRET: &str = "user_hash_secret";

const AGE: usize = 0;
const SIZE: usize = 1;

/// Runs until it is dropped. `tried` hears when the store was tried for the first time.
pub async fn run(intake: Arc<Intake>, tried: mpsc::Sender<()>) {
    let place = intake.live.snapshot().config().state.store.clone();
    let mut pause = FIRST_PAUSE;
    while let Err(reason) = attach(&intake, &place).await {
        intake.store.note_unopened(reason.clone());
        tracing::error!(reason, "the store cannot be opened; traffic goes on, events are refused");
        // Nobody waits any more after the first time.
        let _gone = tried.send(());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    let _gone = tried.send(());
    let mut pruned: Option<Instant> = None;
    loop {
        let settings = intake.live.snapshot().config().state.clone();
        let now = clock::now();
        if pruned.is_none_or(|pruned| now.saturating_duration_since(pruned) >= PRUNE_EVERY) {
            pruned = Some(now);
            forget_old(&intake, &settings).await;
        }
        // What fails is counted and logged by the store, and tried again with the next look.
        let _again = keep_size(&intake, &settings).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Opens the store and takes its secret over.
async fn attach(intake: &Intake, place: &StorePlace) -> Result<(), String> {
    let store = open(place).await?;
    let secret = store.keep(USER_SECRET, intake.live.users.own().to_owned()).await;
    intake.live.users.keep(secret.map_err(|error| error.to_string())?);
    let last = store.append_events(Vec::new()).await.map_err(|error| error.to_string())?.last;
    intake.store.attach(store, last);
    Ok(())
}

async fn open(place: &StorePlace) -> Result<Arc<dyn Store>, String> {
    match place {
        StorePlace::Memory => Ok(Arc::new(Memory::default())),
        StorePlace::Sqlite(path) => {
            let store = Sqlite::open(path).await.map_err(|error| error.to_string())?;
            log_opened(path);
            Ok(Arc::new(store))
        }
    }
}

fn log_opened(path: &Path) {
    tracing::info!(path = %path.display(), "the store is open");
}

async fn forget_old(intake: &Intake, settings: &State) {
    forget_samples(intake).await;
    let Some(before) = ago(settings.keep_events) else { return };
    if let Ok(rows @ 1..) = intake.store.prune(before).await {
        intake.pruned[AGE].fetch_add(rows, Ordering::Relaxed);
        tracing::info!(rows, %before, "events and history that are too old were removed");
    }
}

/// Removes the kept exchanges of each route that are older than it asks for.
async fn forget_samples(intake: &Intake) {
    let snapshot = intake.live.snapshot();
    for route in &snapshot.config().routes {
        let Some(before) = route.samples.as_ref().and_then(|samples| ago(samples.keep)) else { continue };
        if let Ok(rows @ 1..) = intake.store.forget_samples(&route.name, before).await {
            intake.pruned[AGE].fetch_add(rows, Ordering::Relaxed);
            tracing::info!(rows, route = &*route.name, "kept exchanges that are too old were removed");
        }
    }
}

fn ago(length: Duration) -> Option<jiff::Timestamp> {
    clock::timestamp().checked_sub(jiff::SignedDuration::try_from(length).unwrap_or(jiff::SignedDuration::MAX)).ok()
}

/// Removes the oldest events and kept exchanges, a tenth at a time, until the store has its size.
async fn keep_size(intake: &Intake, settings: &State) -> Result<(), Failure> {
    while intake.store.size().await? > settings.max_size {
        let rows = intake.store.drop_oldest().await?;
        if rows == 0 {
            // What is left is no event, and must stay.
            return Ok(());
        }
        intake.pruned[SIZE].fetch_add(rows, Ordering::Relaxed);
        let (size, max_size) = (intake.store.last_size(), settings.max_size);
        tracing::warn!(
            rows,
            size,
            max_size,
            "the store is over state.max_size: the oldest events and kept exchanges were removed"
        );
    }
    Ok(())
}
