//! Where a route's rollout stands, and the verbs that move it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use serde::{Deserialize, Serialize};

use super::Console;
use super::body;
use super::guard::Actor;
use super::problem::Problem;
use crate::controller::rollout::{Answer, Ask, View};

/// A command.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RolloutCommand")]
pub(super) struct Wanted {
    /// `start`, `pause`, `resume`, `approve`, `promote`, `jump`, `step_back`, `rollback`, `restart`, `disable`, `enable`.
    verb: String,
    /// The stage's name, for `jump` alone.
    #[serde(default)]
    stage: Option<String>,
    /// Why; it stands in the history.
    reason: String,
    /// The version that was seen: with another one nothing is done, and the answer is 409.
    #[serde(default)]
    version: Option<u64>,
    /// Whether only to tell what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What came of a command.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "RolloutAnswer")]
pub(super) struct Told {
    /// `done`, `already` where it was so before, or `would` for a dry run.
    result: &'static str,
    /// Where the rollout stands now, or would.
    rollout: View,
}

fn name_of(name: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|rejection| Problem::Invalid(rejection.body_text()))
}

/// Where it stands.
pub(super) async fn page(
    State(console): State<Arc<Console>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<View>, Problem> {
    let name = name_of(name)?;
    match console.rollouts.view(&name) {
        Some(view) => Ok(Json(view)),
        // Nobody has looked at it yet.
        None if console.live.snapshot().route_named(&name).is_some() => Err(Problem::StoreUnavailable),
        None => Err(Problem::UnknownRoute(name)),
    }
}

/// Moves it.
pub(super) async fn command(
    State(console): State<Arc<Console>>,
    Extension(Actor(actor)): Extension<Actor>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Told>, Problem> {
    let route = name_of(name)?;
    let Wanted { verb, stage, reason, version, dry_run } = body::read(request).await?;
    tracing::info!(actor = &*actor, route, verb, reason, dry_run, "a rollout is to move");
    let actor = actor.to_string();
    let known = route.clone();
    let ask = move |reply| Ask { route, verb, stage, actor, reason, version, dry_run, reply };
    let answer = console.rollouts.ask(ask).await.ok_or(Problem::StoreUnavailable)?;
    let told = |result, rollout: Box<View>| Ok(Json(Told { result, rollout: *rollout }));
    match answer {
        Answer::Done(view) => told(if dry_run { "would" } else { "done" }, view),
        Answer::Already(view) => told("already", view),
        Answer::Refused(why, view) => Err(Problem::RolloutRefused(why, view)),
        Answer::Conflict(view) => Err(Problem::RolloutConflict(view)),
        Answer::Unknown => Err(Problem::UnknownRoute(known)),
        Answer::Invalid(help) => Err(Problem::Invalid(help)),
        Answer::Unstored(why) => Err(Problem::RolloutUnstored(why)),
    }
}
