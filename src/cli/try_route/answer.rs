//! An answer of one arm: sent for, timed, and read for what it says of itself.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;

use super::plan::Plan;
use crate::clock;
use crate::domain::metric::Usage;
use crate::domain::reading::{Format, Prices, Read, Reading, Tokens};

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
    /// How the body holds documents, by its type.
    pub(super) format: Option<Format>,
    /// Whether the body is longer than what was kept.
    pub(super) cut: bool,
}

/// Prices of a backend's tokens, as `/api/v1/routes` tells them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Pricing {
    /// For a million tokens.
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) currency: String,
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
        let content_type = text(&parts.headers, "content-type");
        Ok(Self {
            status: parts.status,
            served,
            reason,
            request_id,
            first_byte,
            total,
            body: body.freeze(),
            format: content_type.and_then(|content_type| Format::of(&content_type)),
            cut,
        })
    }

    /// The body as JSON, keys in order, so that equal objects look alike.
    pub(super) fn json(&self) -> Option<Value> {
        let mut value: Value = serde_json::from_slice(&self.body).ok()?;
        value.sort_all_objects();
        Some(value)
    }

    /// What the body says of tokens, in the shapes that the gateway reads.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        Some(self.read().tokens).filter(|tokens| *tokens != Tokens::default())
    }

    /// What these cost; `None` if the body does not tell both counts.
    pub(super) fn cost(&self, pricing: &Pricing) -> Option<f64> {
        let prices = Prices { input: pricing.input, output: pricing.output };
        self.read().usage(Usage::Cost, Some(prices))
    }

    fn read(&self) -> Read {
        let mut reading = Reading::new(self.format.unwrap_or(Format::Json));
        reading.see(&self.body, 0, &[]);
        reading.finish(&[])
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
