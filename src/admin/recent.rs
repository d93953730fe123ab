//! Why one request went where it did: its access line, while it is among the last ones.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;

use super::Console;
use super::problem::Problem;

/// The line of a request.
pub(super) async fn line(
    State(console): State<Arc<Console>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path(id) = id.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let line = console.access.recent().find(&id).ok_or_else(|| {
        let snapshot = console.live.snapshot();
        let log = &snapshot.config().log;
        Problem::UnknownRequest { sample: if log.access { log.access_sample } else { 0.0 } }
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], line))
}
