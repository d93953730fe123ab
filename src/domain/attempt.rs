//! How one try at one arm ended.

use super::breaker;
use super::fallback::Cause;

/// The end of an attempt, as health and metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer whose status is not among `failure_status`; 4xx are answers.
    Success,
    /// No connection.
    Connect,
    /// A deadline passed.
    Timeout,
    /// The connection broke before the first byte, or the answer was not HTTP.
    Reset,
    /// A status among `failure_status`.
    Status,
    /// 429.
    TooMany,
    /// The answer broke off after its first byte.
    Truncated,
    /// The client went away, or stopped sending or reading.
    ClientGone,
    /// The answer is none that the client's can be made from.
    Rewrite,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Connect,
        Self::Timeout,
        Self::Reset,
        Self::Status,
        Self::TooMany,
        Self::Truncated,
        Self::ClientGone,
        Self::Rewrite,
    ];

    /// The word in labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Status => "status",
            Self::TooMany => "429",
            Self::Truncated => "truncated",
            Self::ClientGone => "client_gone",
            Self::Rewrite => "rewrite",
        }
    }

    /// Position in [`Outcome::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the backend failed. What the client did, and being told to wait, is no failure.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self.for_breaker(), breaker::Outcome::Failure)
    }

    /// What the breaker makes of it.
    #[must_use]
    pub const fn for_breaker(self) -> breaker::Outcome {
        match self {
            Self::Success => breaker::Outcome::Success,
            Self::Connect | Self::Timeout | Self::Reset | Self::Status | Self::Truncated | Self::Rewrite => {
                breaker::Outcome::Failure
            }
            Self::TooMany | Self::ClientGone => breaker::Outcome::Neutral,
        }
    }
}

impl From<Cause> for Outcome {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Connect => Self::Connect,
            Cause::Timeout => Self::Timeout,
            Cause::Reset => Self::Reset,
            Cause::Status => Self::Status,
            Cause::Rewrite => Self::Rewrite,
            // `busy` is refused before any attempt is made; as an outcome it says "not now", like 429.
            Cause::TooMany | Cause::Busy => Self::TooMany,
        }
    }
}
