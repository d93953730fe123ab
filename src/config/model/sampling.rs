//! `[judges.NAME]`, and what routes say of sampled exchanges, as the gateway runs with them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::{Endpoint, JudgeIndex, Tls};
use crate::domain::assignment::Share;
use crate::domain::percent::Percent;
use crate::domain::pointer::Pointer;
use crate::domain::sampling::Redaction;

/// `[judges.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// The name.
    pub name: Arc<str>,
    /// Where exchanges are posted to.
    pub url: Endpoint,
    /// Whom to trust there.
    pub tls: Tls,
    /// Set on every request to it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Of one request.
    pub timeout: Duration,
    /// How often a request that failed is sent again.
    pub retries: u32,
    /// Requests at the same time.
    pub max_in_flight: usize,
    /// Exchanges that wait.
    pub queue: usize,
    /// Requests in a minute of the clock.
    pub per_minute: u32,
    /// Requests on a day.
    pub per_day: u32,
}

/// `[routes.NAME.judge]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Judging {
    /// The judge.
    pub by: JudgeIndex,
    /// How many of the requests, by `Arm::index` of who is to serve.
    pub shares: [Share; 2],
    /// Exchanges with a larger body are not judged.
    pub max_body: usize,
    /// What is sent, by name.
    pub send: Vec<(Box<str>, [Excerpt; 2])>,
}

impl Judging {
    /// Whether anything that is sent is in the body of the request.
    #[must_use]
    pub fn reads_request(&self) -> bool {
        self.send.iter().flat_map(|(_, arms)| arms).any(|excerpt| matches!(excerpt, Excerpt::RequestJson(_)))
    }

    /// Whether anything that is sent is in the body of the answer.
    #[must_use]
    pub fn reads_answer(&self) -> bool {
        self.send.iter().flat_map(|(_, arms)| arms).any(|excerpt| matches!(excerpt, Excerpt::ResponseJson(_)))
    }
}

/// A part of an exchange, by `Arm::index` of who answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Excerpt {
    /// A place in the request's body.
    RequestJson(Pointer),
    /// A field of the request.
    RequestHeader(HeaderName),
    /// A place in the answer.
    ResponseJson(Pointer),
    /// A field of the answer.
    ResponseHeader(HeaderName),
}

/// `[routes.NAME.samples]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// How many of the requests, by `Arm::index` of who is to serve.
    pub shares: [Share; 2],
    /// Exchanges with a larger body are not kept.
    pub max_body: usize,
    /// Older ones are forgotten.
    pub keep: Duration,
    /// What is not kept of bodies.
    pub redaction: Redaction,
}

/// `[routes.NAME.shadow]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// How many of the requests that control serves.
    pub percent: Percent,
    /// Requests with these methods are copied.
    pub methods: Vec<Method>,
    /// Copies at the same time.
    pub max_in_flight: usize,
    /// Copies that wait.
    pub queue: usize,
    /// Copies in a minute of the clock.
    pub per_minute: u32,
    /// Copies on a day.
    pub per_day: u32,
}

/// What names of events begin with that tell of copies; only the gateway makes these.
pub const SHADOW_EVENTS: &str = "shadow.";

/// What names of events begin with that are verdicts; only the gateway makes these.
pub const JUDGE_EVENTS: &str = "judge.";

/// The name of the events that are verdicts of a judge.
#[must_use]
pub fn judge_event(judge: &str) -> String {
    format!("{JUDGE_EVENTS}{judge}")
}
