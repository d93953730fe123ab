//! OFREP, the OpenFeature Remote Evaluation Protocol: every route is a flag, and its variant is the arm that
//! would serve now.
//!
//! | file | what |
//! |---|---|
//! | `asked` | what a client sends, checked and bounded, and the facts in it |
//! | `answer` | from a decision to value, variant, reason and metadata |
//! | `failure` | what went wrong, in the protocol's shapes |
//! | `stream` | tells clients that keep answers when to ask again |
//! | `limit` | requests a second, by token |
//! | `cors` | pages of other origins |
//!
//! The protocol: <https://github.com/open-feature/protocol>, `service/openapi.yaml`. It decides nothing by
//! itself: the variant comes from [`Snapshot::decide`](crate::live::Snapshot::decide), which requests are routed
//! by, too. An answer is not an exposure: nothing is counted for experiments here.

pub(super) mod answer;
pub(super) mod asked;
pub(super) mod cors;
pub(super) mod failure;
mod limit;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::guard::Actor;
use super::parameters::{Kind, Parameter};
use crate::clock;
use crate::live::{Live, Snapshot};
use asked::Asked;
use failure::Failure;
use limit::Limits;
use stream::Streams;

/// Everything of the protocol lies below.
pub(super) const PREFIX: &str = "/ofrep/";
pub(super) const FLAGS: &str = "/ofrep/v1/evaluate/flags";
pub(super) const FLAG: &str = "/ofrep/v1/evaluate/flags/{key}";
pub(super) use stream::{PATH as STREAM, ticket};

/// The most bytes that `ofrep.max_body` can be.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Kept by who asked, and asked about before it is used again.
const CACHE_CONTROL: &str = "private, no-cache";

pub(super) struct Ofrep {
    live: Arc<Live>,
    limits: Limits,
    streams: Streams,
}

/// What may be asked of the stream: `EventSource` sends no headers.
pub(super) const OF_STREAM: [Parameter; 1] =
    [Parameter::new("ticket", Kind::Free { needed: false }, "Stands for a token, as the address in an answer has it.")];

/// One flag.
pub(super) async fn one(
    State(ofrep): State<Arc<Ofrep>>,
    key: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Response> {
    let Path(key) = key.map_err(|rejection| Failure::General(rejection.body_text()).of_flag(""))?;
    let snapshot = ofrep.live.snapshot();
    let evaluated = async {
        ofrep.admit(&snapshot, &request)?;
        let asked = Asked::read(request, snapshot.config().ofrep.max_body).await?;
        let route = snapshot.route_named(&key).ok_or(Failure::FlagNotFound)?;
        let key = asked.targeting_key()?;
        json(&answer::evaluate(&snapshot, route, &asked, key, clock::now_millis()))
    };
    match evaluated.await {
        Ok(body) => Ok(fresh(body)),
        Err(failure) => Err(failure.of_flag(&key)),
    }
}

/// What all flags are for one context.
#[derive(Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Evaluations")]
pub(super) struct All<'a> {
    flags: Vec<answer::Success<'a>>,
    metadata: About,
    event_streams: [stream::Offer; 1],
}

/// About all flags together.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "EvaluationsMetadata")]
struct About {
    generation: u64,
}

/// Every flag, in the order of their names.
pub(super) async fn all(State(ofrep): State<Arc<Ofrep>>, request: Request) -> Result<Response, Response> {
    let snapshot = ofrep.live.snapshot();
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let evaluated = async {
        ofrep.admit(&snapshot, &request)?;
        let offer = stream::Offer::to(&snapshot.config().admin, request.extensions().get::<Actor>());
        let asked = Asked::read(request, snapshot.config().ofrep.max_body).await?;
        let (key, now) = (asked.targeting_key()?, clock::now_millis());
        let routes = 0..snapshot.config().routes.len();
        let flags = routes.map(|route| answer::evaluate(&snapshot, route, &asked, key, now)).collect();
        json(&All { flags, metadata: About { generation: snapshot.generation }, event_streams: [offer] })
    };
    let body = evaluated.await.map_err(Failure::of_all)?;
    let tag = tag(&body);
    let same = is_known(&known, &tag);
    let mut response = if same { StatusCode::NOT_MODIFIED.into_response() } else { fresh(body) };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL));
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).map_err(|_| Failure::Internal.of_all())?);
    Ok(response)
}

/// Tells when to ask again.
pub(super) async fn stream(
    State(ofrep): State<Arc<Ofrep>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Response> {
    ofrep.admit(&ofrep.live.snapshot(), &request).map_err(Failure::of_all)?;
    ofrep.streams.open(&headers).map_err(Failure::of_all)
}

impl Ofrep {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self { streams: Streams::new(Arc::clone(&live)), live, limits: Limits::default() }
    }

    /// Whether this token may ask once more now.
    fn admit(&self, snapshot: &Snapshot, request: &Request) -> Result<(), Failure> {
        let admin = &snapshot.config().admin;
        let name = request.extensions().get::<Actor>().map(|actor| &actor.0);
        let per_second = snapshot.config().ofrep.requests_per_second;
        self.limits.admit(name, &admin.tokens, per_second, clock::now()).map_err(Failure::TooMany)
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(%error, "an evaluation cannot be written");
        Failure::Internal
    })
}

fn fresh(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A strong entity tag: equal bytes, equal tag. The context and everything else that matters is in the bytes.
fn tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// `If-None-Match` compares weakly (RFC 9110, 13.1.2).
fn is_known(values: &[HeaderValue], tag: &str) -> bool {
    let listed = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    listed.map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
