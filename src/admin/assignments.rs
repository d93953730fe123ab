//! Which arms many users are assigned: what `pointsman diff` asks, so that no salt need leave the gateway.
//!
//! One function answers for a file and for the running process. It reads rules and hash alone: health,
//! leases and counts have no part in it. Invariant: what is asked at once is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use super::question::Question;
use super::{Console, body, explain};
use crate::config::Loaded;
use crate::domain::Arm;
use crate::domain::decision::Reason;

/// Most subjects of one request.
pub const MAX_SUBJECTS: usize = 10_000;
/// Bytes of one request.
pub const MAX_BODY: usize = 8 << 20;

/// Who is asked about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The key of the kind that splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Attributes by name, as `explain` takes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AssignmentsAsked")]
pub struct Asked {
    /// The route's name.
    pub route: String,
    /// At most 10,000.
    #[schemars(length(max = MAX_SUBJECTS))]
    pub subjects: Vec<Subject>,
}

/// What rules and hash say for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Assigned {
    /// The arm.
    pub assigned: Arm,
    /// Why.
    pub by: Reason,
}

/// The answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Assignments {
    /// The generation of the running configuration; `None` from a file.
    pub generation: Option<u64>,
    /// In the order of the subjects.
    pub assignments: Vec<Assigned>,
    /// Attributes that the configuration does not have: they counted as missing.
    pub unknown_attributes: BTreeSet<String>,
}

/// Answers from a configuration; `None` if there is no such route.
#[must_use]
pub fn assign(loaded: &Loaded, route: &str, subjects: &[Subject]) -> Option<Assignments> {
    let index = loaded.config.routes.iter().position(|known| *known.name == *route)?;
    let known: BTreeSet<&str> = loaded.config.attributes.iter().map(|attribute| &*attribute.name).collect();
    let mut answer = Assignments::default();
    for subject in subjects {
        let (given, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) =
            subject.attributes.iter().partition(|(name, _)| known.contains(name.as_str()));
        answer.unknown_attributes.extend(unknown.into_keys().cloned());
        let attributes = given.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let question = Question { key: subject.key.clone(), attributes, ..Question::default() };
        let (assigned, by) = explain::assigned(loaded, index, &question).ok()?;
        answer.assignments.push(Assigned { assigned, by });
    }
    Some(answer)
}

/// `POST /api/v1/assignments`.
pub(super) async fn by_body(
    State(console): State<Arc<Console>>,
    request: Request,
) -> Result<Json<Assignments>, Problem> {
    let asked: Asked = body::read_up_to(MAX_BODY, request).await?;
    if asked.subjects.len() > MAX_SUBJECTS {
        let found = asked.subjects.len();
        return Err(Problem::Invalid(format!("{found} subjects: at most {MAX_SUBJECTS} are answered at once")));
    }
    let snapshot = console.live.snapshot();
    // So many decisions take longer than whatever else waits for this thread should wait.
    let answered = tokio::task::spawn_blocking(move || {
        let answer = assign(&snapshot.loaded, &asked.route, &asked.subjects);
        let generation = Some(snapshot.generation);
        answer.map(|answer| Assignments { generation, ..answer }).ok_or(Problem::UnknownRoute(asked.route))
    });
    answered
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "assigning broke off");
            Err(Problem::Internal)
        })
        .map(Json)
}
