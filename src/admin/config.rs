//! The running configuration: which it is, what it says, and what came of reloads. No secrets.

use std::collections::BTreeMap;

use axum::Json;
use serde::Serialize;
use serde_json::Value;

use super::Console;
use crate::config::{Diagnostic, Told, restart_keys};
use crate::live::ReloadStatus;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RunningConfig")]
pub(super) struct Page {
    generation: u64,
    hash: String,
    published_at: jiff::Timestamp,
    /// As it was typed: variables are not filled in.
    config: Value,
    reload: Reload,
    /// Keys that were changed in the file and wait for a restart.
    restart_required: Vec<String>,
    /// What the process runs with for every key that needs a restart.
    restart_keys: BTreeMap<&'static str, String>,
    #[schemars(with = "Vec<Told>")]
    warnings: Vec<Value>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Reloads")]
struct Reload {
    failed: bool,
    error: Option<String>,
    succeeded_at: Option<jiff::Timestamp>,
    counts: Vec<Count>,
    watching: Option<&'static str>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(rename = "ReloadCount")]
struct Count {
    result: &'static str,
    trigger: &'static str,
    count: u64,
}

/// The page.
pub(super) fn page(console: &Console) -> Json<impl Serialize + use<>> {
    let snapshot = console.live.snapshot();
    let status = console.live.reloads().clone();
    Json(Page {
        generation: snapshot.generation,
        hash: snapshot.config().hash.clone(),
        published_at: snapshot.published_at,
        config: snapshot.loaded.redacted.clone(),
        restart_required: status.restart_required.clone(),
        restart_keys: restart_keys(console.reloader.as_ref().map_or(snapshot.config(), |reloader| reloader.started())),
        reload: status.into(),
        warnings: snapshot.loaded.warnings.iter().map(Diagnostic::to_json).collect(),
    })
}

impl From<ReloadStatus> for Reload {
    fn from(status: ReloadStatus) -> Self {
        let counts = status.counts.into_iter();
        let mut counts: Vec<_> = counts.map(|((result, trigger), count)| Count { result, trigger, count }).collect();
        counts.sort();
        Self {
            failed: status.failed,
            error: status.error,
            succeeded_at: status.succeeded_at,
            counts,
            watching: Some(status.watching).filter(|mode| !mode.is_empty()),
        }
    }
}
