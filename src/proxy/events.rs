//! `POST /v1/events` on the data listener, for browsers: `[events] public`.
//!
//! What a browser says of users is not believed: an event has an exposure token, or is of the user whom
//! the route finds in this request as in any other. Pages of other origins must be listed (CORS, Fetch
//! standard 3.2). Nothing here waits for anything but the client's body and the store's word.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::admission;
use super::attributes::{self, Asker};
use super::headers::{Peer, Survey, X_REQUEST_ID};
use super::identity::{self, Found, Shown};
use super::reply::Reply;
use super::worker::{Current, Worker};
use crate::clock;
use crate::config::model::{Config, MissingKey};
use crate::events::answer::{Answer, Outcome};
use crate::events::{MAX_PUBLIC_BODY, Sender};
use crate::live::RouteIndex;

/// For the whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a browser remembers that it may send, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// Serves one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    snapshot: Current,
    (parts, incoming): (Parts, Incoming),
    (survey, request_id): (Survey, HeaderValue),
) -> Response<Reply> {
    let host = match admission::check(&parts, survey) {
        Ok(host) => host,
        Err(problem) => {
            worker.counters().rejected.add(1);
            peer.rest(clock::now());
            return problem.into_response(&request_id);
        }
    };
    let trusted = peer.is_trusted(&snapshot);
    let shown = Shown { parts: &parts, trusted, claims: None, body: None };
    let from = attributes::client(
        &snapshot.config().listen.trusted_proxies,
        Asker { shown, peer: peer.address(), key: (0, None) },
    );
    let page = Page::of(&parts.headers, &host, &snapshot.config().events.origins);
    let mut response = match (&page, &parts.method) {
        (Page::Foreign, _) => answered(&Outcome::ForeignOrigin),
        (Page::Own | Page::Listed(_), &Method::OPTIONS) => preflight(),
        (Page::Own | Page::Listed(_), &Method::POST) => {
            answered(&taken(&worker, &snapshot, shown, from, incoming).await)
        }
        (Page::Own | Page::Listed(_), _) => answered(&Outcome::Method),
    };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, request_id);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page.allow(headers);
    peer.rest(clock::now());
    response
}

async fn taken(worker: &Worker, snapshot: &Current, shown: Shown<'_>, from: IpAddr, incoming: Incoming) -> Outcome {
    if !is_json(&shown.parts.headers) {
        return Outcome::NotJson;
    }
    let intake = worker.intake();
    // Who may send nothing is not read at all.
    if let Err(outcome) = intake.may_send(snapshot, from, clock::now()) {
        return outcome;
    }
    let body = Limited::new(incoming, MAX_PUBLIC_BODY).collect();
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Outcome::TooLarge(MAX_PUBLIC_BODY),
        Ok(Err(_)) => return Outcome::Invalid("the body broke off".to_owned()),
        Err(_) => return Outcome::Stalled,
    };
    let key = |route: RouteIndex| key(snapshot.config(), route, shown);
    let prepared = intake.prepare(snapshot, &bytes, &Sender::Public { key: &key }, clock::timestamp());
    let count = prepared.as_ref().map_or(1, Vec::len);
    match (prepared, intake.admit(snapshot, from, count, clock::now())) {
        (Ok(events), Ok(())) => intake.keep(events).await,
        (Err(outcome), _) | (Ok(_), Err(outcome)) => outcome,
    }
}

/// The key that a route finds in this request.
fn key(config: &Config, route: RouteIndex, shown: Shown<'_>) -> Option<Box<str>> {
    let route = &config.routes[route];
    match identity::find_key(&config.contexts[route.policy.split_by].key, shown) {
        Found::Key(key) => Some(key.into()),
        Found::Untrusted | Found::Nothing if route.missing_key == MissingKey::Cookie => {
            identity::anonymous_key(&shown.parts.headers).map(Into::into)
        }
        Found::Untrusted | Found::Nothing => None,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// Which page asks.
#[derive(Debug, PartialEq, Eq)]
enum Page {
    /// None, or one of the host that was asked.
    Own,
    /// One of an origin that the file lists.
    Listed(HeaderValue),
    /// Another.
    Foreign,
}

impl Page {
    fn of(headers: &HeaderMap, host: &HeaderValue, listed: &[String]) -> Self {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(value), None) = (origins.next(), origins.next()) else {
            return if headers.contains_key(header::ORIGIN) { Self::Foreign } else { Self::Own };
        };
        let Ok(origin) = value.to_str() else { return Self::Foreign };
        let origin = origin.to_ascii_lowercase();
        // Behind something that ends TLS the scheme is not known here; the host is the same for all.
        let own = origin.split_once("://").is_some_and(|(_, authority)| {
            !authority.is_empty() && authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
        });
        if listed.contains(&origin) {
            // A copy: a slice of the head would keep the whole read buffer.
            HeaderValue::from_bytes(value.as_bytes()).map_or(Self::Foreign, Self::Listed)
        } else if own {
            Self::Own
        } else {
            Self::Foreign
        }
    }

    /// Lets a listed page see the answer.
    fn allow(&self, headers: &mut HeaderMap) {
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if let Self::Listed(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
        }
    }
}

/// May it send? It may, and this is how.
fn preflight() -> Response<Reply> {
    let mut response = Response::new(Reply::Full(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    response
}

fn answered(outcome: &Outcome) -> Response<Reply> {
    let Answer { status, retry_after, content_type, document } = outcome.answer();
    let mut response = Response::new(Reply::full(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_apart_by_their_origin() {
        let listed = vec!["https://shop.example".to_owned()];
        let rows: [(&[&str], Page); 8] = [
            (&[], Page::Own),
            (&["http://gateway.example:8080"], Page::Own),
            (&["https://GATEWAY.example:8080"], Page::Own),
            (&["https://gateway.example"], Page::Foreign),
            (&["https://shop.example"], Page::Listed(HeaderValue::from_static("https://shop.example"))),
            (&["http://shop.example"], Page::Foreign),
            (&["null"], Page::Foreign),
            (&["https://shop.example", "https://shop.example"], Page::Foreign),
        ];
        for (origins, expected) in rows {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let host = HeaderValue::from_static("gateway.example:8080");
            assert_eq!(Page::of(&headers, &host, &listed), expected, "{origins:?}");
        }
    }
}
