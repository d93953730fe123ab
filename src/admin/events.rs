//! `POST /v1/events`: events of those who have a token. The guard has seen to it that they have.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::{Console, body};
use crate::clock;
use crate::events::answer::{Answer, Outcome};
use crate::events::{MAX_BODY, Sender};

/// Takes a batch; answers once it is stored.
pub(super) async fn take(State(console): State<Arc<Console>>, request: Request) -> Response {
    let outcome = taken(&console, request).await;
    let Answer { status, retry_after, content_type, document } = outcome.answer();
    let mut response = (status, document.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn taken(console: &Console, request: Request) -> Outcome {
    if !body::is_json(request.headers()) {
        return Outcome::NotJson;
    }
    let bytes = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Outcome::TooLarge(MAX_BODY),
        Err(_) => return Outcome::Invalid("the body broke off".to_owned()),
    };
    let intake = &console.intake;
    let prepared = intake.prepare(&console.live.snapshot(), &bytes, &Sender::Trusted, clock::timestamp());
    match prepared {
        Ok(events) => intake.keep(events).await,
        Err(outcome) => outcome,
    }
}
