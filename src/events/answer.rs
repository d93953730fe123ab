//! What the sender of events is told: 202 once they are stored, else a problem document (RFC 9457).
//!
//! Both faces that take events tell the same. Nothing here shows what the store said: that is in the log.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::batch::Mistake;
use crate::store::Appended;

/// When to try again while the store is not available, in seconds.
const UNAVAILABLE_RETRY: u64 = 5;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Stored(Appended),
    /// Some events are wrong; nothing was stored.
    Bad {
        /// All of what is wrong.
        mistakes: Vec<Mistake>,
        /// How many events there were.
        of: usize,
    },
    /// The batch as a whole cannot be read.
    Invalid(String),
    /// Not said to be JSON.
    NotJson,
    /// More bytes than these.
    TooLarge(usize),
    /// Something else than POST.
    Method,
    /// A page of an origin that is not listed.
    ForeignOrigin,
    /// The body stopped coming.
    Stalled,
    /// This address has sent too many.
    TooMany(Duration),
    /// The store has too much to write.
    Busy(Duration),
    /// There is no store at the moment.
    Unavailable,
}

/// What a sender is told of events that are on disk.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Stored {
    /// How many are new.
    stored: usize,
    /// How many were known by their id.
    duplicates: usize,
}

/// An answer, before it is HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// `application/json`, or `application/problem+json`.
    pub content_type: &'static str,
    /// The body.
    pub document: Value,
}

impl Outcome {
    /// Status and code of each refusal that who has a token may be told.
    #[must_use]
    pub fn to_trusted() -> [(StatusCode, &'static str); 6] {
        let bad = Self::Bad { mistakes: Vec::new(), of: 0 };
        let [invalid, large] = [Self::Invalid(String::new()), Self::TooLarge(0)];
        [bad, invalid, Self::NotJson, large, Self::Busy(Duration::ZERO), Self::Unavailable]
            .map(|outcome| (outcome.status(), outcome.code()))
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Stored(_) => StatusCode::ACCEPTED,
            Self::Bad { .. } | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) | Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable code, for programs.
    const fn code(&self) -> &'static str {
        match self {
            Self::Stored(_) => "stored",
            Self::Bad { .. } => "bad_events",
            Self::Invalid(_) => "invalid_request",
            Self::NotJson => "not_json",
            Self::TooLarge(_) => "content_too_large",
            Self::Method => "method_not_allowed",
            Self::ForeignOrigin => "foreign_origin",
            Self::Stalled => "request_timeout",
            Self::TooMany(_) => "too_many_events",
            Self::Busy(_) => "store_busy",
            Self::Unavailable => "store_unavailable",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Stored(_) => "they are stored".into(),
            Self::Bad { mistakes, of } => {
                let mut wrong: Vec<usize> = mistakes.iter().map(|mistake| mistake.index).collect();
                wrong.dedup();
                format!("{} of {of} events are wrong; nothing was stored", wrong.len())
            }
            Self::Invalid(what) => what.clone(),
            Self::NotJson => "the body must be said to be application/json".into(),
            Self::TooLarge(most) => format!("the body is larger than {most} bytes"),
            Self::Method => "events are sent with POST".into(),
            Self::ForeignOrigin => "pages of this origin may not send events; see events.origins".into(),
            Self::Stalled => "the body stopped coming".into(),
            Self::TooMany(_) => "this address has sent too many events".into(),
            Self::Busy(_) => "the store has too much to write; nothing was stored".into(),
            Self::Unavailable => "events cannot be stored at the moment; nothing was stored".into(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany(wait) | Self::Busy(wait) => Some(wait.as_secs_f64().ceil().max(1.0) as u64),
            Self::Unavailable => Some(UNAVAILABLE_RETRY),
            Self::Stored(_)
            | Self::Bad { .. }
            | Self::Invalid(_)
            | Self::NotJson
            | Self::TooLarge(_)
            | Self::Method
            | Self::ForeignOrigin
            | Self::Stalled => None,
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let status = self.status();
        if let Self::Stored(appended) = self {
            let document = json!(Stored { stored: appended.stored, duplicates: appended.duplicates });
            return Answer { status, retry_after: None, content_type: "application/json", document };
        }
        let mut document = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.detail(),
            "code": self.code(),
        });
        if let Self::Bad { mistakes, .. } = self {
            document["events"] = json!(mistakes);
        }
        let content_type = "application/problem+json";
        Answer { status, retry_after: self.retry_after(), content_type, document }
    }
}
