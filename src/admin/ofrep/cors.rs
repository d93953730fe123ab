//! Pages of other origins, as far as `ofrep.cors` lets them ask (Fetch standard, CORS protocol).
//!
//! The guard refuses the others. No credentials that browsers send by themselves count, so none are allowed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::PREFIX;
use crate::live::Live;

/// What a page may send.
const ALLOWED_HEADERS: &str = "authorization, content-type, if-none-match, last-event-id, x-api-key";
/// What a page may see of an answer.
const EXPOSED_HEADERS: &str = "etag, retry-after";
/// How long a browser may remember it.
const MAX_AGE_SECONDS: &str = "600";

/// The origin of a page that may ask.
pub(in crate::admin) fn allowed<'a>(cors: &[String], path: &str, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    let text = origin.to_str().ok().filter(|_| path.starts_with(PREFIX))?;
    cors.iter().any(|known| known.eq_ignore_ascii_case(text)).then_some(origin)
}

/// Tells a browser that the page may see the answer, refusals among them.
pub(in crate::admin) async fn tell(State(live): State<Arc<Live>>, request: Request, next: Next) -> Response {
    let origin = allowed(&live.snapshot().config().ofrep.cors, request.uri().path(), request.headers()).cloned();
    let mut response = next.run(request).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// What a browser asks before it sends what a page wants.
pub(in crate::admin) async fn preflight() -> Response {
    let fields = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS),
    ];
    (StatusCode::NO_CONTENT, fields).into_response()
}
