//! What changes the running process. The guard has seen to it that who asks may.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body;
use super::guard::Actor;
use super::problem::Problem;
use super::{Console, history_entry};
use crate::config::{Diagnostic, Severity, Told};
use crate::live::{ReloadOutcome, Trigger};
use crate::telemetry::log::LogError;

/// The log's filter, as it is and as it is to be.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogFilter")]
pub(super) struct Filter {
    filter: String,
}

/// The filter of the log.
pub(super) fn log_filter(console: &Console) -> Result<Json<Filter>, Problem> {
    console.log.filter().map(|filter| Json(Filter { filter })).ok_or(Problem::NoLog)
}

/// Changes the filter of the log, until the process ends.
pub(super) async fn set_log_filter(
    State(console): State<Arc<Console>>,
    Extension(actor): Extension<Actor>,
    request: Request,
) -> Result<Json<Filter>, Problem> {
    let wanted: Filter = body::read(request).await?;
    console.log.set(&wanted.filter).map_err(|error| match error {
        LogError::Filter { source, .. } => Problem::Invalid(format!("the filter: {source}")),
        LogError::Gone => Problem::NoLog,
    })?;
    tracing::info!(actor = &*actor.0, filter = wanted.filter, "the log's filter was changed");
    console.journal.note(history_entry("log_filter_changed", &actor.0, &json!({ "filter": wanted.filter })));
    Ok(Json(wanted))
}

/// What came of a reload that did not fail.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Reloaded {
    /// `applied` or `unchanged`.
    result: &'static str,
    /// What runs now.
    generation: u64,
    /// Keys that were changed in the file and wait for a restart.
    restart_required: Vec<String>,
    /// What is doubtful, and mistakes that cost a file of `routes.d` its changes.
    #[schemars(with = "Vec<Told>")]
    warnings: Vec<Value>,
    /// Whether there are such mistakes among the warnings.
    incomplete: bool,
}

/// Reads the configuration again.
pub(super) async fn reload(
    State(console): State<Arc<Console>>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Reloaded>, Problem> {
    let reloader = console.reloader.clone().ok_or(Problem::NoSources)?;
    tracing::info!(actor = &*actor.0, "a reload was asked for");
    let reloaded = tokio::task::spawn_blocking(move || reloader.reload_for(Trigger::Api, Some(&actor.0))).await;
    let outcome = reloaded.map_err(|error| {
        tracing::error!(%error, "the reload broke off");
        Problem::Internal
    })?;
    let result = outcome.name();
    let warnings = match outcome {
        ReloadOutcome::Failed { report } => return Err(Problem::ReloadFailed(report)),
        ReloadOutcome::Applied { warnings, .. } => warnings,
        ReloadOutcome::Unchanged => Vec::new(),
    };
    Ok(Json(Reloaded {
        result,
        generation: console.live.generation(),
        restart_required: console.live.reloads().restart_required.clone(),
        incomplete: warnings.iter().any(|warning| warning.severity == Severity::Error),
        warnings: warnings.iter().map(Diagnostic::to_json).collect(),
    }))
}
