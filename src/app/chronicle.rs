//! Entries of the history that the process makes itself: its start and end, and what came of reloads.

use serde_json::{Value, json};

use crate::admin::history_entry;
use crate::config::Config;
use crate::live::{Attempted, ReloadOutcome, Trigger};
use crate::store::Entry;

/// Letters of the report of a reload that failed; the log has all of it.
const MAX_REPORT: usize = 2_000;
/// Who starts and stops the process.
const PROCESS: &str = "process";

/// The process begins to run.
pub(super) fn started(config: &Config) -> Entry {
    history_entry("started", PROCESS, &json!({ "version": env!("CARGO_PKG_VERSION"), "config": config.hash }))
}

/// The process was told to end.
pub(super) fn stopped() -> Entry {
    history_entry("stopped", PROCESS, &json!({}))
}

/// What came of a reload; `None` if nothing did.
pub(super) fn reloaded(attempted: &Attempted<'_>) -> Option<Entry> {
    let actor = match (attempted.actor, attempted.trigger) {
        (Some(actor), _) => actor,
        (None, Trigger::Watch | Trigger::Poll) => "file",
        (None, Trigger::Signal) => "signal",
        (None, Trigger::Api) => "api",
    };
    let mut detail = json!({ "trigger": attempted.trigger.name(), "config": attempted.hash });
    match attempted.outcome {
        ReloadOutcome::Applied { generation, warnings } => {
            detail["generation"] = Value::from(*generation);
            detail["warnings"] = Value::from(warnings.len());
            Some(history_entry("reloaded", actor, &detail))
        }
        ReloadOutcome::Failed { report } => {
            detail["error"] = report.to_string().chars().take(MAX_REPORT).collect::<String>().into();
            Some(history_entry("reload_failed", actor, &detail))
        }
        ReloadOutcome::Unchanged => None,
    }
}
