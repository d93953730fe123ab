//! An answer of one arm: sent for, timed, and read for what it says of itself.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::Value;

use super::plan::Plan;
use crate::clock;

/// Bytes of a body that are kept; what comes beyond is not waited for.
const MAX_BODY: usize = 16 << 20;

/// What one arm answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Who served, as far as the gateway tells.
    pub(super) served: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) request_id: Option<String>,
    /// To the head of the answer.
    pub(super) first_byte: Duration,
    /// To the end of its body.
    pub(super) total: Duration,
    pub(super) body: Bytes,
    /// Whether the body is longer than what was kept.
    pub(super) cut: bool,
}

/// Tokens, as OpenAI and who follows it count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) total_tokens: Option<u64>,
}

impl Answer {
    /// Sends the request with this override, and reads the whole answer.
    ///
    /// # Errors
    /// What kept the answer from coming whole and in time.
    pub(super) async fn to(plan: &Plan, chosen: HeaderValue, data: &[u8], patience: Duration) -> anyhow::Result<Self> {
        let asked = Self::ask(plan, chosen, data);
        tokio::time::timeout(patience, asked).await.with_context(|| format!("no whole answer within {patience:?}"))?
    }

    async fn ask(plan: &Plan, chosen: HeaderValue, data: &[u8]) -> anyhow::Result<Self> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(data)));
        *request.method_mut() = plan.method.clone();
        *request.uri_mut() = plan.uri.clone();
        *request.headers_mut() = plan.headers.clone();
        request.headers_mut().insert(plan.override_header.clone(), chosen);
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let begin = clock::now();
        let response = client.request(request).await.context("no answer; is the gateway there (--url)?")?;
        let first_byte = clock::now().saturating_duration_since(begin);
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut cut) = (BytesMut::new(), false);
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.context("the answer broke off")?.into_data() else { continue };
            cut = body.len() + data.len() > MAX_BODY;
            body.extend_from_slice(&data[..data.len().min(MAX_BODY - body.len())]);
            if cut {
                break;
            }
        }
        let total = clock::now().saturating_duration_since(begin);
        let (served, reason) = (text(&parts.headers, "x-pointsman-arm"), text(&parts.headers, "x-pointsman-reason"));
        let request_id = text(&parts.headers, "x-request-id");
        Ok(Self { status: parts.status, served, reason, request_id, first_byte, total, body: body.freeze(), cut })
    }

    /// The body as JSON, keys in order, so that equal objects look alike.
    pub(super) fn json(&self) -> Option<Value> {
        let mut value: Value = serde_json::from_slice(&self.body).ok()?;
        value.sort_all_objects();
        Some(value)
    }

    /// What the body says it cost in tokens: `usage` of the object, or of the last event that has one.
    pub(super) fn usage(&self) -> Option<Usage> {
        let of = |value: &Value| {
            let usage = value.get("usage").filter(|usage| usage.is_object())?;
            let count = |name: &str| usage.get(name).and_then(Value::as_u64);
            let usage = Usage {
                prompt_tokens: count("prompt_tokens"),
                completion_tokens: count("completion_tokens"),
                total_tokens: count("total_tokens"),
            };
            let any = [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens].iter().any(Option::is_some);
            any.then_some(usage)
        };
        if let Ok(value) = serde_json::from_slice::<Value>(&self.body) {
            return of(&value);
        }
        let text = std::str::from_utf8(&self.body).ok()?;
        let events = text.lines().rev().filter_map(|line| line.strip_prefix("data:"));
        events.filter_map(|event| serde_json::from_str(event.trim()).ok()).find_map(|event: Value| of(&event))
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
