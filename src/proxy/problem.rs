//! Answers of the gateway's own: RFC 9457 problem documents with an RFC 9209 `proxy-status`.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::reply::Reply;

/// Something that the gateway answers itself, with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The request breaks a rule of HTTP that a proxy must not pass on.
    BadRequest(&'static str),
    /// `CONNECT`, which this gateway does not do.
    MethodNotSupported,
    /// The client stopped sending its body.
    RequestTimeout,
    /// The body is larger than `limits.max_body`.
    ContentTooLarge,
    /// No route takes this request.
    NoRoute,
    /// No connection to the backend.
    Connect,
    /// The backend has no address.
    NoAddress,
    /// The TLS handshake with the backend failed.
    Tls,
    /// The backend closed or broke the connection before it answered.
    Reset,
    /// The backend's answer is not HTTP as a proxy may pass on.
    BadAnswer,
    /// The backend has no room.
    Busy,
    /// The backend's breaker is open, and there is no other arm.
    BreakerOpen,
    /// A deadline passed before there was a connection.
    ConnectTimeout,
    /// A deadline passed before there was an answer.
    Timeout,
    /// What the arm is to be sent cannot be made from this body.
    RewriteRequest,
    /// The body, or what is made of it, is larger than `limits.rewrite_body`.
    RewriteTooLarge,
    /// `limits.replay_memory` has no room for a body that is to be rewritten.
    RewriteMemory,
    /// A stream was asked for, of an arm whose answers are rewritten.
    RewriteStreamRequest,
    /// The answer is a stream, and is to be rewritten.
    RewriteStream,
    /// The client's answer cannot be made from the backend's.
    RewriteAnswer,
}

/// How long clients are asked to wait, in seconds: connections are tried anew with every request.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ContentTooLarge | Self::RewriteTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RewriteRequest | Self::RewriteStreamRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Connect
            | Self::NoAddress
            | Self::Tls
            | Self::Reset
            | Self::BadAnswer
            | Self::RewriteStream
            | Self::RewriteAnswer => StatusCode::BAD_GATEWAY,
            Self::Busy | Self::BreakerOpen | Self::RewriteMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout | Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable code, for programs.
    const fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::MethodNotSupported => "method_not_supported",
            Self::RequestTimeout => "request_timeout",
            Self::ContentTooLarge => "content_too_large",
            Self::NoRoute => "no_route",
            Self::Connect => "connect_failed",
            Self::NoAddress => "no_address",
            Self::Tls => "tls_failed",
            Self::Reset => "connection_reset",
            Self::BadAnswer => "bad_answer",
            Self::Busy => "busy",
            Self::BreakerOpen => "breaker_open",
            Self::ConnectTimeout | Self::Timeout => "timeout",
            Self::RewriteRequest => "rewrite_request",
            Self::RewriteTooLarge => "rewrite_too_large",
            Self::RewriteMemory => "rewrite_memory",
            Self::RewriteStreamRequest => "rewrite_stream_request",
            Self::RewriteStream => "rewrite_stream",
            Self::RewriteAnswer => "rewrite_answer",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest(detail) => detail,
            Self::MethodNotSupported => "this gateway does not tunnel CONNECT requests",
            Self::RequestTimeout => "the request body stopped coming",
            Self::ContentTooLarge => "the request body is larger than this gateway accepts",
            Self::NoRoute => "no route takes this host, path and method",
            Self::Connect => "no connection to the backend could be made",
            Self::NoAddress => "the backend's name has not been resolved",
            Self::Tls => "the TLS handshake with the backend failed",
            Self::Reset => "the backend closed the connection before it answered",
            Self::BadAnswer => "the backend's answer cannot be passed on",
            Self::Busy => "the backend is at its limit of requests",
            Self::BreakerOpen => "the backend's circuit breaker is open",
            Self::ConnectTimeout => "no connection to the backend came about in time",
            Self::Timeout => "the backend did not answer in time",
            Self::RewriteRequest => {
                "the backend's request cannot be made from this body: it must be JSON without content-encoding, \
                 with the fields that the backend needs"
            }
            Self::RewriteTooLarge => "the request body is larger than what this gateway rewrites",
            Self::RewriteMemory => "this gateway has no room to rewrite the request body now",
            Self::RewriteStreamRequest => "this answer cannot be streamed: ask without `stream`",
            Self::RewriteStream => "the backend answered with a stream, which cannot be rewritten",
            Self::RewriteAnswer => "the backend's answer cannot be rewritten",
        }
    }

    /// The error type of RFC 9209, section 2.3, where an upstream is to blame.
    const fn proxy_error(self) -> Option<&'static str> {
        match self {
            Self::Connect => Some("connection_refused"),
            Self::NoAddress => Some("dns_error"),
            Self::Tls => Some("tls_protocol_error"),
            Self::Reset => Some("connection_terminated"),
            Self::BadAnswer | Self::RewriteStream | Self::RewriteAnswer => Some("http_protocol_error"),
            Self::RewriteMemory => Some("proxy_internal_error"),
            Self::Busy => Some("connection_limit_reached"),
            Self::BreakerOpen => Some("destination_unavailable"),
            Self::ConnectTimeout => Some("connection_timeout"),
            Self::Timeout => Some("http_response_timeout"),
            Self::BadRequest(_)
            | Self::ContentTooLarge
            | Self::MethodNotSupported
            | Self::RewriteRequest
            | Self::RewriteTooLarge
            | Self::RewriteStreamRequest => Some("http_request_error"),
            Self::NoRoute => Some("destination_not_found"),
            Self::RequestTimeout => Some("connection_read_timeout"),
        }
    }

    /// Whether the connection cannot go on: what follows on it may not be what it seems.
    const fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::MethodNotSupported
                | Self::ContentTooLarge
                | Self::RequestTimeout
                | Self::RewriteTooLarge
                | Self::RewriteMemory
        )
    }

    /// Whether it says that the request is malformed or too large.
    pub(crate) const fn is_rejection(self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::MethodNotSupported | Self::ContentTooLarge | Self::RewriteTooLarge)
    }

    /// The answer.
    pub(crate) fn into_response(self, request_id: &HeaderValue) -> Response<Reply> {
        let status = self.status();
        let document = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.detail(),
            "code": self.code(),
            "request_id": request_id.to_str().unwrap_or_default(),
        });
        let mut response = Response::new(Reply::full(Bytes::from(document.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(super::headers::X_REQUEST_ID, request_id.clone());
        if let Some(error) = self.proxy_error()
            && let Ok(value) = HeaderValue::try_from(format!("pointsman; error={error}"))
        {
            headers.insert(super::headers::PROXY_STATUS, value);
        }
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_errors_has_every_problem() {
        const PAGE: &str = include_str!("../../docs/errors.md");
        let all = [
            Problem::BadRequest("why"),
            Problem::MethodNotSupported,
            Problem::RequestTimeout,
            Problem::ContentTooLarge,
            Problem::NoRoute,
            Problem::Connect,
            Problem::NoAddress,
            Problem::Tls,
            Problem::Reset,
            Problem::BadAnswer,
            Problem::Busy,
            Problem::BreakerOpen,
            Problem::ConnectTimeout,
            Problem::Timeout,
            Problem::RewriteRequest,
            Problem::RewriteTooLarge,
            Problem::RewriteMemory,
            Problem::RewriteStreamRequest,
            Problem::RewriteStream,
            Problem::RewriteAnswer,
        ];
        for problem in all {
            let error = problem.proxy_error().unwrap_or_default();
            let row = format!("| `{}` | {} | `{error}` |", problem.code(), problem.status().as_u16());
            assert!(PAGE.contains(&row), "docs/errors.md lacks {row}");
        }
        assert_eq!(PAGE.lines().filter(|line| line.starts_with("| `")).count(), all.len());
    }
}
