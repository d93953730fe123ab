//! The keys that an issuer publishes: fetched in the background, read by requests without a lock.
//!
//! It verifies nothing. Invariants: a failed fetch takes no key away; what was fetched belongs to the
//! URL, so a reload that keeps the URL keeps the keys; a request only leaves a wish behind.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::lock;
use crate::clock;
use crate::config::model::Jwks as Settings;
use crate::jwt::{Key, SetError, key_set};
use crate::upstream::{BuildError, Document, FetchError};

/// Between two fetches that tokens of unknown keys asked for.
const EARLY_GAP: Duration = Duration::from_secs(10);
/// Wait after the first failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after failures.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Part of a wait that is left to chance, so that gateways do not all come back at once.
const JITTER: f64 = 0.5;

/// See the module.
pub struct Jwks {
    settings: Settings,
    published: Arc<Published>,
    document: Arc<Document>,
    /// Aborted when dropped, which is what ends the loop.
    tasks: Mutex<JoinSet<()>>,
}

/// What belongs to the URL.
#[derive(Debug, Default)]
struct Published {
    current: ArcSwap<Ring>,
    succeeded_at: AtomicI64,
    successes: AtomicU64,
    failures: AtomicU64,
    /// Whether the last fetch failed: what lasts is told once.
    failing: AtomicBool,
    wished: AtomicBool,
    wish: Notify,
}

/// Keys as they were published together.
#[derive(Debug, Default)]
pub struct Ring {
    /// Changes with every other document, and is 0 before the first.
    pub version: u64,
    /// The keys.
    pub keys: Vec<Key>,
    document: Bytes,
}

/// Why a fetch gave no keys.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the answer is {0}")]
    Set(#[from] SetError),
}

impl Jwks {
    /// Prepares fetching; keeps the keys of `before` where that has the same URL.
    pub(super) fn new(settings: &Settings, before: Option<&Self>) -> Result<Self, BuildError> {
        let document = Arc::new(Document::new(&settings.url, &settings.tls)?);
        let same = before.filter(|before| before.settings.url == settings.url);
        let published = same.map(|before| Arc::clone(&before.published)).unwrap_or_default();
        Ok(Self { settings: settings.clone(), published, document, tasks: Mutex::default() })
    }

    /// Whether [`Jwks::new`] would make the same of these.
    pub(super) fn serves(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// Starts fetching. A second call does nothing.
    pub(super) fn spawn_background(&self, runtime: &Handle) {
        let mut tasks = lock(&self.tasks);
        if tasks.is_empty() {
            let (published, document) = (Arc::clone(&self.published), Arc::clone(&self.document));
            tasks.spawn_on(keep_fetched(published, document, self.settings.clone()), runtime);
        }
    }

    /// The keys as they were last fetched; none before that.
    #[must_use]
    pub fn ring(&self) -> Guard<Arc<Ring>> {
        self.published.current.load()
    }

    /// Asks for another fetch soon. Costs one load while such a wish is open.
    pub fn wish(&self) {
        if !self.published.wished.load(Ordering::Relaxed) && !self.published.wished.swap(true, Ordering::Relaxed) {
            self.published.wish.notify_one();
        }
    }

    /// When keys were last fetched, in milliseconds since 1970; 0 before that.
    #[must_use]
    pub fn succeeded_at(&self) -> i64 {
        self.published.succeeded_at.load(Ordering::Relaxed)
    }

    /// Fetches that gave keys, and those that did not.
    #[must_use]
    pub fn refreshes(&self) -> (u64, u64) {
        (self.published.successes.load(Ordering::Relaxed), self.published.failures.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Fetches at once and then whenever it is time, for as long as it is polled.
async fn keep_fetched(published: Arc<Published>, document: Arc<Document>, settings: Settings) {
    let mut failures = 0_u32;
    let mut early = tokio::time::interval(EARLY_GAP);
    early.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let outcome = fetch(&document, &settings).await;
        failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
        published.take(outcome, &settings);
        // Whoever asked meanwhile has been served; what is still unknown is asked for again.
        published.wished.store(false, Ordering::Relaxed);
        let wait = wait_after(failures, settings.refresh, fastrand::f64());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = published.early(&mut early) => {}
        }
    }
}

async fn fetch(document: &Document, settings: &Settings) -> Result<(Bytes, Vec<Key>), Failure> {
    let document = document.fetch(settings.max_bytes, settings.timeout).await?;
    let keys = key_set(&document)?;
    Ok((document, keys))
}

/// How long to wait after so many failures in a row. `chance` is from 0 to 1.
fn wait_after(failures: u32, refresh: Duration, chance: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return refresh };
    let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(LAST_RETRY).min(refresh);
    wait.mul_f64(1.0 - JITTER * chance)
}

impl Published {
    /// Resolves when there is a wish and the last that was granted is long enough ago.
    async fn early(&self, gap: &mut tokio::time::Interval) {
        while !self.wished.load(Ordering::Relaxed) {
            self.wish.notified().await;
        }
        gap.tick().await;
    }

    fn take(&self, outcome: Result<(Bytes, Vec<Key>), Failure>, settings: &Settings) {
        let url = String::from_utf8_lossy(settings.url.authority.as_bytes());
        match outcome {
            Ok((document, keys)) => {
                let before = self.current.load();
                if before.version == 0 || before.document != document {
                    tracing::info!(%url, keys = keys.len(), "the issuer's keys changed");
                    self.current.store(Arc::new(Ring { version: before.version + 1, keys, document }));
                }
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(%url, "the issuer's keys can be fetched again");
                }
                self.succeeded_at.store(clock::timestamp().as_millisecond(), Ordering::Relaxed);
                self.successes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let kept = self.current.load().keys.len();
                    tracing::warn!(%url, %error, kept, "the issuer's keys cannot be fetched");
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_double_the_wait_with_a_share_left_to_chance() {
        let rows = [
            (0, 600, 0.0, 600_000),
            (0, 600, 1.0, 600_000),
            (1, 600, 0.0, 1_000),
            (1, 600, 1.0, 500),
            (3, 600, 0.5, 3_000),
            (7, 600, 0.0, 60_000),
            (u32::MAX, 600, 0.0, 60_000),
            (7, 10, 0.0, 10_000),
        ];
        for (failures, refresh, chance, expected) in rows {
            let wait = wait_after(failures, Duration::from_secs(refresh), chance);
            assert_eq!(wait, Duration::from_millis(expected), "{failures} failures, every {refresh} s, {chance}");
        }
    }

    #[test]
    fn another_document_is_another_version_and_a_failure_is_none() {
        let published = Published::default();
        let folder = r#"
[jwt]
algorithms = ["RS256"]
jwks = { url = "http://127.0.0.1:1/keys" }
[backends.a]
respond = {}
[routes.r]
control = "a"
candidate = "a"
"#;
        let config = crate::config::load_text(folder, "gateway.toml", &Default::default()).unwrap().config;
        let settings = config.jwt.unwrap().jwks.unwrap();
        let mut versions = Vec::new();
        for outcome in [Ok("one"), Ok("one"), Err(SetError::Shape), Ok("two")] {
            let outcome = outcome.map(|text| (Bytes::from_static(text.as_bytes()), Vec::new())).map_err(Failure::Set);
            published.take(outcome, &settings);
            versions.push(published.current.load().version);
        }
        assert_eq!(versions, [1, 1, 1, 2]);
        let counts = (published.successes.load(Ordering::Relaxed), published.failures.load(Ordering::Relaxed));
        assert_eq!(counts, (3, 1));
    }
}
