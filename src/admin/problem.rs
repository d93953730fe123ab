//! Errors of the administrative faces: RFC 9457 problem documents with stable codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::config::model::Role;
use crate::config::{Diagnostic, Report};

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No `Host`, several, or one that is none.
    BadHost,
    /// A `Host` that is not ours: a name that was made to point here.
    UnknownHost,
    /// A page of another origin asks.
    ForeignOrigin,
    /// No token, and it takes one.
    TokenRequired(Role),
    /// A token that nobody has.
    InvalidToken,
    /// A token whose role is too low.
    RoleTooLow(Role),
    /// No such page.
    NotFound,
    /// No route of this name.
    UnknownRoute(String),
    /// The page is there, for other methods.
    MethodNotAllowed,
    /// A body that is not said to be JSON.
    NotJson,
    /// A body over so many bytes.
    TooLarge(usize),
    /// A body, path or query that cannot be understood.
    Invalid(String),
    /// It took too long.
    Timeout,
    /// There is nothing to change: the process has no log of its own.
    NoLog,
    /// There is nothing to reload from.
    NoSources,
    /// The configuration has mistakes; what ran before goes on.
    ReloadFailed(Report),
    /// A mistake of ours.
    Internal,
}

impl Problem {
    const fn status(&self) -> StatusCode {
        match self {
            Self::BadHost | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::TokenRequired(_) | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin | Self::RoleTooLow(_) => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownRoute(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoLog | Self::NoSources => StatusCode::CONFLICT,
            Self::ReloadFailed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code, for programs.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::UnknownHost => "unknown_host",
            Self::ForeignOrigin => "foreign_origin",
            Self::TokenRequired(_) => "token_required",
            Self::InvalidToken => "invalid_token",
            Self::RoleTooLow(_) => "role_too_low",
            Self::NotFound => "not_found",
            Self::UnknownRoute(_) => "unknown_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotJson => "not_json",
            Self::TooLarge(_) => "content_too_large",
            Self::Invalid(_) => "invalid_request",
            Self::Timeout => "timeout",
            Self::NoLog => "no_log",
            Self::NoSources => "no_sources",
            Self::ReloadFailed(_) => "reload_failed",
            Self::Internal => "internal",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::BadHost => "there must be exactly one Host, and it must be a host".into(),
            Self::UnknownHost => "this host is not served here; further ones stand in admin.hosts".into(),
            Self::ForeignOrigin => "pages of other origins may not ask".into(),
            Self::TokenRequired(role) => {
                format!("this takes `Authorization: Bearer` with a token of admin.tokens, {}", enough(*role))
            }
            Self::InvalidToken => "nobody has this token".into(),
            Self::RoleTooLow(role) => format!("this takes a token, {}", enough(*role)),
            Self::NotFound => "there is no such page".into(),
            Self::UnknownRoute(name) => format!("there is no route {name:?}"),
            Self::MethodNotAllowed => "this page does not take this method".into(),
            Self::NotJson => "the body must be said to be application/json".into(),
            Self::TooLarge(limit) => format!("the body is larger than {limit} bytes"),
            Self::Invalid(what) => what.clone(),
            Self::Timeout => "the answer took too long".into(),
            Self::NoLog => "this process has no log whose filter could be changed".into(),
            Self::NoSources => "this process was not started from a file".into(),
            Self::ReloadFailed(report) => report.to_string(),
            Self::Internal => "something went wrong; the log tells more".into(),
        }
    }

    fn document(&self) -> Value {
        let status = self.status();
        let mut document = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.detail(),
            "code": self.code(),
        });
        if let Self::ReloadFailed(report) = self {
            document["diagnostics"] = report.diagnostics.iter().map(Diagnostic::to_json).collect();
        }
        document
    }

    /// How a client is to prove who it is (RFC 6750, section 3).
    const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::TokenRequired(_) => Some("Bearer realm=\"pointsman\""),
            Self::InvalidToken => Some("Bearer realm=\"pointsman\", error=\"invalid_token\""),
            Self::RoleTooLow(_) => Some("Bearer realm=\"pointsman\", error=\"insufficient_scope\""),
            Self::BadHost
            | Self::UnknownHost
            | Self::ForeignOrigin
            | Self::NotFound
            | Self::UnknownRoute(_)
            | Self::MethodNotAllowed
            | Self::NotJson
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Timeout
            | Self::NoLog
            | Self::NoSources
            | Self::ReloadFailed(_)
            | Self::Internal => None,
        }
    }
}

/// Which roles suffice.
fn enough(role: Role) -> String {
    match role {
        Role::Events => "events, or at least operator".to_owned(),
        Role::Flags | Role::Viewer | Role::Operator | Role::Admin => format!("at least {}", role.as_str()),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.document().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
