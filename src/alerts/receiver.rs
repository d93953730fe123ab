//! One webhook, and one try at it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::book::Delivery;
use super::{format, signature};
use crate::config::model::Webhook;
use crate::upstream::{Document, FetchError};

/// Bytes of a receiver's answer that are taken in.
const MAX_ANSWER: usize = 16 << 10;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// See the module.
pub(super) struct Receiver {
    webhook: Webhook,
    source: String,
    document: Result<Document, String>,
}

impl Receiver {
    /// Prepares sending; what is wrong with its TLS is told with each try.
    pub(super) fn new(webhook: &Webhook, source: &str) -> Self {
        let document = Document::new(&webhook.endpoint, &webhook.tls).map_err(|error| error.to_string());
        Self { webhook: webhook.clone(), source: source.to_owned(), document }
    }

    /// Sends a message, once. `at` is the time in seconds that the signature holds for.
    ///
    /// # Errors
    /// Why it was not taken, without anything of the URL's path.
    pub(super) async fn send(self: Arc<Self>, delivery: Delivery, at: i64, most: Duration) -> Result<(), String> {
        let document = self.document.as_ref().map_err(Clone::clone)?;
        let Delivery { id, message, .. } = &delivery;
        let (kind, body) = format::body(self.webhook.format, message, id, &self.source);
        let body = body.to_string();
        let mut fields = HeaderMap::from_iter([(CONTENT_TYPE, kind), (TIMESTAMP, HeaderValue::from(at))]);
        let signature = signature::of(&self.webhook.secrets, id, at, body.as_bytes());
        for (name, value) in [(ID, Some(id.clone())), (SIGNATURE, signature)] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                fields.insert(name, value);
            }
        }
        let timeout = self.webhook.timeout.min(most);
        let fields: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
        match document.post(&fields, Bytes::from(body), MAX_ANSWER, timeout).await {
            // A receiver that says much has taken it all the same.
            Ok(_) | Err(FetchError::TooLong(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
