//! Events that are forgotten on request: by age, or because a user asks for it.
//!
//! The guard has seen to it that who asks is an admin. The act goes on when who asked goes away, and
//! stands in the history once it is done; the history does not say who was forgotten.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, RawQuery, Request, State};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::refused;
use crate::admin::guard::Actor;
use crate::admin::parameters::{self, Kind, Parameter, wrong};
use crate::admin::problem::Problem;
use crate::admin::{Console, body, history_entry};
use crate::clock;
use crate::domain::assignment::MAX_KEY_BYTES;
use crate::domain::context::usable_key;
use crate::store::{Failure, Store as _, UserHash};

/// What may be asked of a removal by age.
pub(in crate::admin) const OF_PRUNING: [Parameter; 1] =
    [Parameter::new("before", Kind::NeededTime, "What happened before this time goes. It lies in the past.")];

/// What came of it.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(in crate::admin) struct Removed {
    /// How many rows went.
    removed: u64,
}

/// Whose events are to go: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// The key, as requests carry it.
    user: Option<Value>,
    /// What stands for it in events and access lines.
    user_hash: Option<Value>,
}

/// What [`erase`] takes: one of the two, the other missing or `null`.
pub(in crate::admin) fn shape(_: &mut SchemaGenerator) -> Schema {
    let one = |name: &str, other: &str, schema: Value| {
        json!({
            "type": "object", "properties": { name: schema, other: { "type": "null" } }, "required": [name],
            "additionalProperties": false,
        })
    };
    let (key, hash) = ("The key, as requests carry it.", "What stands for it in events and access lines.");
    let key = json!({ "type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES, "description": key });
    let hash = json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{32}$", "description": hash });
    json_schema!({ "oneOf": [one("user", "user_hash", key), one("user_hash", "user", hash)] })
}

/// Forgets events and history from before a moment.
pub(in crate::admin) async fn prune(
    State(console): State<Arc<Console>>,
    Extension(actor): Extension<Actor>,
    query: RawQuery,
) -> Result<Json<Removed>, Problem> {
    let before = parameters::read(&query, &OF_PRUNING)?.time("before");
    let before = before.ok_or_else(|| wrong("before", "it is missing"))?;
    if before > clock::timestamp() {
        return Err(wrong("before", "it lies in the future"));
    }
    let store = Arc::clone(console.intake.store());
    carried_out(&console, actor, "pruned", json!({ "before": before }), async move { store.prune(before).await }).await
}

/// Forgets the events of a user.
pub(in crate::admin) async fn erase(
    State(console): State<Arc<Console>>,
    Extension(actor): Extension<Actor>,
    request: Request,
) -> Result<Json<Removed>, Problem> {
    let user = whose(&console, &body::read(request).await?)?;
    let store = Arc::clone(console.intake.store());
    carried_out(&console, actor, "erased", json!({}), async move { store.erase_user(user).await }).await
}

fn whose(console: &Console, whose: &Whose) -> Result<UserHash, Problem> {
    let snapshot = console.live.snapshot();
    let log = &snapshot.config().log;
    match (&whose.user, &whose.user_hash) {
        (Some(Value::String(key)), None) => {
            let key = usable_key(key).ok_or_else(|| wrong("user", "it is no key: 1 to 256 bytes"))?;
            if !console.live.users.are_settled(log) {
                // This would be the hash of nobody.
                return Err(Problem::StoreUnavailable);
            }
            Ok(UserHash(console.live.users.hash(log, key)))
        }
        (None, Some(Value::String(hash))) => {
            UserHash::parse(hash).ok_or_else(|| wrong("user_hash", "it has no 32 hex digits"))
        }
        (Some(_), None) => Err(wrong("user", "it is a text")),
        (None, Some(_)) => Err(wrong("user_hash", "it is a text")),
        (Some(_), Some(_)) | (None, None) => Err(wrong("user", "either it or `user_hash` is given")),
    }
}

/// Removes in a task of its own, and notes what was removed.
async fn carried_out(
    console: &Arc<Console>,
    actor: Actor,
    kind: &'static str,
    mut detail: Value,
    removal: impl Future<Output = Result<u64, Failure>> + Send + 'static,
) -> Result<Json<Removed>, Problem> {
    let journal = console.journal.clone();
    let task = tokio::spawn(async move {
        let removed = removal.await?;
        tracing::info!(actor = &*actor.0, kind, removed, "events were removed on request");
        detail["removed"] = removed.into();
        journal.note(history_entry(kind, &actor.0, &detail));
        Ok(removed)
    });
    match task.await {
        Ok(removed) => removed.map(|removed| Json(Removed { removed })).map_err(refused),
        Err(error) => {
            tracing::error!(%error, "a removal broke off");
            Err(Problem::Internal)
        }
    }
}
