//! For tests: a configuration in a temporary directory, live, with its reloader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Live, ReloadOutcome, ReloadStatus, Reloader, lock};
use crate::clock;
use crate::config::{self, Sources};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Fixture {
    /// Without symbolic links.
    pub(super) root: PathBuf,
    pub(super) live: Arc<Live>,
    pub(super) reloader: Arc<Reloader>,
    /// Every filter that the log was given.
    pub(super) levels: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// A configuration with this percentage; `more` goes to its end.
pub(super) fn text(percent: u32, more: &str) -> String {
    format!(
        r#"
[backends.perplexity]
respond = {{ body = "control" }}
[backends.lightrag]
respond = {{ body = "candidate" }}
breaker = {{ consecutive_failures = 3, open_for = "60s" }}
[contexts.user]
key = [{{ header = "x-user-id" }}]
[routes.answers]
path = "/query"
control = "perplexity"
candidate = "lightrag"
fallback = {{ replay = "connect" }}
rollout = {{ percent = {percent} }}
{more}"#
    )
}

impl Fixture {
    /// `gateway.toml` with 25 percent and `more`.
    pub(super) fn new(more: &str) -> Self {
        Self::build(&[], |root| {
            let path = root.join("gateway.toml");
            std::fs::write(&path, text(25, more)).unwrap();
            path
        })
    }

    /// What `layout` makes in a directory; it returns the path of the file.
    pub(super) fn build(variables: &[(&str, &str)], layout: impl FnOnce(&Path) -> PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = layout(&root);
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources { path, profile: None, environment: BTreeMap::from_iter(variables) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let loaded = config::load(&sources, None).unwrap_or_else(|report| panic!("{report}"));
        let live = Live::new(loaded, 1, runtime.handle().clone()).unwrap();
        let levels: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&levels);
        let set = Box::new(move |level: &str| lock(&told).push(level.to_owned()));
        let reloader = Arc::new(Reloader::new(Arc::clone(&live), sources, set));
        Self { root, live, reloader, levels, _folder: folder, _runtime: runtime }
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.root.join(name), text).unwrap();
    }

    /// The percentage that runs.
    pub(super) fn percent(&self) -> f64 {
        self.route_percent("answers")
    }

    pub(super) fn route_percent(&self, route: &str) -> f64 {
        let percent = &self.live.snapshot().loaded.redacted["routes"][route]["rollout"]["percent"];
        percent.as_f64().unwrap_or_else(|| panic!("no percentage of {route}"))
    }

    pub(super) fn status(&self) -> ReloadStatus {
        self.live.reloads().clone()
    }

    /// How many attempts that `trigger` asked for ended as `result`.
    pub(super) fn count(&self, result: &'static str, trigger: &'static str) -> u64 {
        self.live.reloads().counts.get(&(result, trigger)).copied().unwrap_or_default()
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(super) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let since = clock::now();
    while !condition() {
        assert!(clock::now().saturating_duration_since(since) < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The generation, if it was applied.
#[track_caller]
pub(super) fn applied(outcome: &ReloadOutcome) -> u64 {
    match outcome {
        ReloadOutcome::Applied { generation, .. } => *generation,
        ReloadOutcome::Unchanged | ReloadOutcome::Failed { .. } => panic!("not applied: {outcome:?}"),
    }
}

/// The report, if it failed.
#[track_caller]
pub(super) fn refused(outcome: &ReloadOutcome) -> String {
    match outcome {
        ReloadOutcome::Failed { report } => report.to_string(),
        ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => panic!("not refused: {outcome:?}"),
    }
}
