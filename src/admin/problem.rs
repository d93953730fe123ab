//! Errors of the administrative faces: RFC 9457 problem documents with stable codes.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::model::Role;
use crate::config::{Diagnostic, Report, Told};
use crate::controller::rollout::View;
use crate::events::Mistake;

/// What a problem is told as.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document {
    r#type: &'static str,
    /// What the status means.
    title: &'static str,
    status: u16,
    /// What is wrong, in words.
    detail: String,
    /// The stable code, for programs.
    code: &'static str,
    /// The parameter or field that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// With `reload_failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Vec<Told>>,
    /// With `bad_events`: what is wrong with which.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Mistake>>,
    /// With `rollout_refused` and `rollout_conflict`: where the rollout stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<View>,
}

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq)]
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
    /// No webhook of this name.
    UnknownWebhook(String),
    /// The page is there, for other methods.
    MethodNotAllowed,
    /// A body that is not said to be JSON.
    NotJson,
    /// A body over so many bytes.
    TooLarge(usize),
    /// A body, path or query that cannot be understood.
    Invalid(String),
    /// A parameter or field that cannot be understood.
    Parameter {
        /// Which.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No line is kept of this request; of ordinary ones this share has one.
    UnknownRequest {
        /// `log.access_sample`.
        sample: f64,
    },
    /// As many exports as there may be are under way.
    TooManyExports,
    /// The store has too much to write.
    StoreBusy(Duration),
    /// There is no store at the moment.
    StoreUnavailable,
    /// It took too long.
    Timeout,
    /// There is nothing to change: the process has no log of its own.
    NoLog,
    /// There is nothing to reload from.
    NoSources,
    /// The configuration has mistakes; what ran before goes on.
    ReloadFailed(Report),
    /// The rollout cannot do that where it stands.
    RolloutRefused(String, Box<View>),
    /// The rollout has another version than the one that was seen.
    RolloutConflict(Box<View>),
    /// It was not done, since it could not be stored.
    RolloutUnstored(String),
    /// A mistake of ours.
    Internal,
}

impl Problem {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::BadHost | Self::Invalid(_) | Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::TokenRequired(_) | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin | Self::RoleTooLow(_) => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownRoute(_) | Self::UnknownWebhook(_) | Self::UnknownRequest { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoLog | Self::NoSources | Self::RolloutRefused(..) | Self::RolloutConflict(_) => StatusCode::CONFLICT,
            Self::ReloadFailed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyExports | Self::StoreBusy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout | Self::StoreUnavailable | Self::RolloutUnstored(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::UnknownWebhook(_) => "unknown_webhook",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotJson => "not_json",
            Self::TooLarge(_) => "content_too_large",
            Self::Invalid(_) | Self::Parameter { .. } => "invalid_request",
            Self::UnknownRequest { .. } => "unknown_request",
            Self::TooManyExports => "too_many_exports",
            Self::StoreBusy(_) => "store_busy",
            Self::StoreUnavailable => "store_unavailable",
            Self::Timeout => "timeout",
            Self::NoLog => "no_log",
            Self::NoSources => "no_sources",
            Self::ReloadFailed(_) => "reload_failed",
            Self::RolloutRefused(..) => "rollout_refused",
            Self::RolloutConflict(_) => "rollout_conflict",
            Self::RolloutUnstored(_) => "rollout_unstored",
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
            Self::UnknownWebhook(name) => format!("there is no webhook {name:?}; they stand in [alerts.webhooks]"),
            Self::MethodNotAllowed => "this page does not take this method".into(),
            Self::NotJson => "the body must be said to be application/json".into(),
            Self::TooLarge(limit) => format!("the body is larger than {limit} bytes"),
            Self::Invalid(what) => what.clone(),
            Self::Parameter { name, reason } => format!("`{name}`: {reason}"),
            Self::UnknownRequest { sample } => format!(
                "no line is kept of this request: it is not among the last ones, or had none; requests that failed or \
                 fell back have one, others by log.access_sample, which is {sample}"
            ),
            Self::TooManyExports => "as many exports as there may be are under way".into(),
            Self::StoreBusy(_) => "the store has too much to write".into(),
            Self::StoreUnavailable => "the store cannot be used at the moment; /healthz tells why".into(),
            Self::Timeout => "the answer took too long".into(),
            Self::NoLog => "this process has no log whose filter could be changed".into(),
            Self::NoSources => "this process was not started from a file".into(),
            Self::ReloadFailed(report) => report.to_string(),
            Self::RolloutRefused(why, _) => why.clone(),
            Self::RolloutConflict(view) => {
                format!("the rollout was changed meanwhile: it has version {}", view.version)
            }
            Self::RolloutUnstored(why) => format!("nothing was done, since it could not be stored: {why}"),
            Self::Internal => "something went wrong; the log tells more".into(),
        }
    }

    fn document(&self) -> Value {
        let status = self.status();
        json!(Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.detail(),
            code: self.code(),
            parameter: if let Self::Parameter { name, .. } = self { Some(name.clone()) } else { None },
            diagnostics: if let Self::ReloadFailed(report) = self {
                Some(report.diagnostics.iter().map(Diagnostic::told).collect())
            } else {
                None
            },
            events: None,
            rollout: if let Self::RolloutRefused(_, view) | Self::RolloutConflict(view) = self {
                Some(View::clone(view))
            } else {
                None
            },
        })
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
            | Self::UnknownWebhook(_)
            | Self::MethodNotAllowed
            | Self::NotJson
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Parameter { .. }
            | Self::UnknownRequest { .. }
            | Self::TooManyExports
            | Self::StoreBusy(_)
            | Self::StoreUnavailable
            | Self::Timeout
            | Self::NoLog
            | Self::NoSources
            | Self::ReloadFailed(_)
            | Self::RolloutRefused(..)
            | Self::RolloutConflict(_)
            | Self::RolloutUnstored(_)
            | Self::Internal => None,
        }
    }
}

impl Problem {
    /// Seconds after which to try again.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::StoreBusy(wait) => Some(wait.as_secs().max(1)),
            Self::StoreUnavailable | Self::TooManyExports => Some(TRY_AGAIN),
            Self::BadHost
            | Self::UnknownHost
            | Self::ForeignOrigin
            | Self::TokenRequired(_)
            | Self::InvalidToken
            | Self::RoleTooLow(_)
            | Self::NotFound
            | Self::UnknownRoute(_)
            | Self::UnknownWebhook(_)
            | Self::UnknownRequest { .. }
            | Self::MethodNotAllowed
            | Self::NotJson
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Parameter { .. }
            | Self::Timeout
            | Self::NoLog
            | Self::NoSources
            | Self::ReloadFailed(_)
            | Self::RolloutRefused(..)
            | Self::RolloutConflict(_)
            | Self::RolloutUnstored(_)
            | Self::Internal => None,
        }
    }
}

/// When to try again while the store is not available, in seconds.
const TRY_AGAIN: u64 = 5;

/// Which roles suffice.
pub(super) fn enough(role: Role) -> String {
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
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
