//! What went wrong, with the protocol's statuses, codes and bodies.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

/// A failure as it is told.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EvaluationFailure")]
pub(in crate::admin) struct Told {
    /// The flag that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The protocol's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    /// What is wrong, in words.
    error_details: String,
}

/// Why there is no evaluation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The body cannot be understood.
    Parse(String),
    /// The context does not say who asks.
    TargetingKeyMissing(String),
    /// The context is not one.
    InvalidContext(String),
    /// There is no such flag.
    FlagNotFound,
    /// Anything else that the client has to change.
    General(String),
    /// The body is larger than so many bytes.
    TooLarge(usize),
    /// The token asks too often; it may again after this.
    TooMany(Duration),
    /// As many streams as there may be are open, or the process is stopping.
    NoStream(&'static str),
    /// A mistake of ours.
    Internal,
}

/// How long who was refused a stream should wait, in seconds.
const NO_STREAM_WAIT: u64 = 10;

impl Failure {
    /// The answer to who asked for one flag.
    pub(super) fn of_flag(self, key: &str) -> Response {
        self.response(Some(key))
    }

    /// The answer to who asked for all.
    pub(super) fn of_all(self) -> Response {
        self.response(None)
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Parse(_) | Self::TargetingKeyMissing(_) | Self::InvalidContext(_) | Self::General(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::FlagNotFound => StatusCode::NOT_FOUND,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoStream(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Where the protocol wants one.
    pub(super) const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Parse(_) => Some("PARSE_ERROR"),
            Self::TargetingKeyMissing(_) => Some("TARGETING_KEY_MISSING"),
            Self::InvalidContext(_) => Some("INVALID_CONTEXT"),
            Self::FlagNotFound => Some("FLAG_NOT_FOUND"),
            Self::General(_) | Self::TooLarge(_) => Some("GENERAL"),
            Self::TooMany(_) | Self::NoStream(_) | Self::Internal => None,
        }
    }

    fn details(&self) -> String {
        match self {
            Self::Parse(details)
            | Self::TargetingKeyMissing(details)
            | Self::InvalidContext(details)
            | Self::General(details) => details.clone(),
            Self::FlagNotFound => "there is no flag of this name; every route is one".to_owned(),
            Self::TooLarge(bytes) => format!("the body is larger than {bytes} bytes"),
            Self::TooMany(_) => "more requests a second than ofrep.requests_per_second".to_owned(),
            Self::NoStream(why) => (*why).to_owned(),
            Self::Internal => "something went wrong; the log tells more".to_owned(),
        }
    }

    /// For `retry-after`, in whole seconds.
    fn wait(&self) -> Option<u64> {
        match self {
            Self::TooMany(wait) => Some(wait.as_secs_f64().ceil().max(1.0) as u64),
            Self::NoStream(_) => Some(NO_STREAM_WAIT),
            Self::Parse(_)
            | Self::TargetingKeyMissing(_)
            | Self::InvalidContext(_)
            | Self::FlagNotFound
            | Self::General(_)
            | Self::TooLarge(_)
            | Self::Internal => None,
        }
    }

    fn response(self, key: Option<&str>) -> Response {
        let error_code = self.code();
        let key = key.filter(|_| error_code.is_some()).map(str::to_owned);
        let body = Told { key, error_code, error_details: self.details() };
        let mut response = (self.status(), Json(body)).into_response();
        if let Some(wait) = self.wait() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}
