//! JSON bodies, bounded.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Bytes of a body, unless its page says otherwise.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Reads a body.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    read_up_to(MAX_BODY, request).await
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_up_to<T: DeserializeOwned>(limit: usize, request: Request) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::NotJson);
    }
    let body = Limited::new(request.into_body(), limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::TooLarge(limit)
        } else {
            Problem::Invalid("the body broke off".into())
        }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| Problem::Invalid(format!("the body: {error}")))
}

/// A form of another page could be sent without asking; JSON could not (Fetch standard, CORS-safelisted types).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
