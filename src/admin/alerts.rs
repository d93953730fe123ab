//! What fires and what was told of late, and whether a webhook hears of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use serde::Serialize;
use serde_json::json;

use super::guard::Actor;
use super::problem::Problem;
use super::{Console, history_entry};
use crate::alerts::Seen;

/// Everything that the desk shows.
pub(super) fn page(console: &Console) -> Json<Arc<Seen>> {
    Json(console.alerts.seen())
}

/// What came of a message that was sent by hand.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "AlertsTested")]
pub(super) struct Tested {
    /// Whether the webhook answered 2xx.
    delivered: bool,
    /// Why not.
    error: Option<String>,
}

/// Sends a message to a webhook, once.
pub(super) async fn test(
    State(console): State<Arc<Console>>,
    Extension(Actor(actor)): Extension<Actor>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Tested>, Problem> {
    let Path(name) = name.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let Some(result) = console.alerts.test(&name).await else { return Err(Problem::UnknownWebhook(name)) };
    let (delivered, error) = (result.is_ok(), result.err());
    let detail = json!({ "webhook": name, "delivered": delivered });
    console.journal.note(history_entry("alerts_tested", &actor, &detail));
    Ok(Json(Tested { delivered, error }))
}
