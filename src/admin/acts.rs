//! What changes the running process. The guard has seen to it that who asks may.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::Json;
use serde::{Deserialize, Serialize};

use super::Console;
use super::body;
use super::guard::Actor;
use super::problem::Problem;
use crate::telemetry::log::LogError;

/// The log's filter, as it is and as it is to be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    Ok(Json(wanted))
}
