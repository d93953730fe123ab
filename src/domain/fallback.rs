//! Whether control may answer after the candidate failed.
//!
//! Pure rules only; counting, timing and sending are the exchange's.

/// Why a candidate's try did not count as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No connection.
    Connect,
    /// A deadline passed before the first byte.
    Timeout,
    /// The connection broke before the first byte, or the answer was not HTTP.
    Reset,
    /// A status among `failure_status`.
    Status,
    /// 429.
    #[serde(rename = "429")]
    TooMany,
    /// No room within `max_in_flight`.
    Busy,
    /// What it is to be sent cannot be made from this request, or what is to come back from its answer.
    Rewrite,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] =
        [Self::Connect, Self::Timeout, Self::Reset, Self::Status, Self::TooMany, Self::Busy, Self::Rewrite];

    /// The word in file, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Status => "status",
            Self::TooMany => "429",
            Self::Busy => "busy",
            Self::Rewrite => "rewrite",
        }
    }

    /// Position in [`Cause::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CauseSet(u8);

impl CauseSet {
    /// With one more cause.
    #[must_use]
    pub const fn with(self, cause: Cause) -> Self {
        Self(self.0 | 1 << cause.index())
    }

    /// Whether the cause is in it.
    #[must_use]
    pub const fn contains(self, cause: Cause) -> bool {
        self.0 & 1 << cause.index() != 0
    }
}

impl FromIterator<Cause> for CauseSet {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        causes.into_iter().fold(Self::default(), Self::with)
    }
}

/// When a request that is not idempotent is sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Only where nothing can have been done: no connection, no room.
    Connect,
    /// After every cause in `on`.
    Always,
}

/// `[routes.NAME.fallback]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The causes that are answered by control.
    pub on: CauseSet,
    /// Whether requests that are not idempotent are sent a second time.
    pub replay: Replay,
    /// Bytes of a request body kept for the second try.
    pub replay_body: u64,
}

/// Why a fallback that would have helped did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Suppressed {
    /// `on` does not name the cause.
    NotNamed,
    /// Not idempotent, and `replay` does not allow it.
    NotIdempotent,
    /// More of the body was sent than is kept.
    BodyNotKept,
    /// No time is left.
    Deadline,
}

/// What the exchange knows when a try has failed.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Whether the candidate was asked at all.
    pub asked: bool,
    /// Whether the method is idempotent (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// Whether all of the body that was sent is still there.
    pub body_kept: bool,
    /// Whether the deadline has passed.
    pub out_of_time: bool,
}

impl Settings {
    /// Decides whether control may answer after `cause`.
    ///
    /// # Errors
    /// Why it may not.
    pub const fn allows(&self, cause: Cause, situation: Situation) -> Result<(), Suppressed> {
        // Nothing was sent: safe for every method, asked for or not.
        let untouched = matches!(cause, Cause::Connect | Cause::Busy) || !situation.asked;
        if !matches!(cause, Cause::Connect) && !self.on.contains(cause) {
            return Err(Suppressed::NotNamed);
        }
        if !untouched && !situation.idempotent && matches!(self.replay, Replay::Connect) {
            return Err(Suppressed::NotIdempotent);
        }
        if !situation.body_kept {
            return Err(Suppressed::BodyNotKept);
        }
        if situation.out_of_time {
            return Err(Suppressed::Deadline);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Situation = Situation { asked: true, idempotent: true, body_kept: true, out_of_time: false };

    fn settings(on: &[Cause], replay: Replay) -> Settings {
        Settings { on: on.iter().copied().collect(), replay, replay_body: 1024 }
    }

    #[test]
    fn rows() {
        let post = Situation { idempotent: false, ..FINE };
        let sent = Situation { body_kept: false, ..FINE };
        let late = Situation { out_of_time: true, ..FINE };
        let all = settings(&Cause::ALL, Replay::Connect);
        let always = settings(&Cause::ALL, Replay::Always);
        let none = settings(&[], Replay::Connect);
        let rows = [
            (&all, Cause::Timeout, FINE, Ok(())),
            (&all, Cause::Timeout, post, Err(Suppressed::NotIdempotent)),
            (&all, Cause::Status, post, Err(Suppressed::NotIdempotent)),
            (&all, Cause::Connect, post, Ok(())),
            (&all, Cause::Busy, post, Ok(())),
            (&all, Cause::Rewrite, post, Err(Suppressed::NotIdempotent)),
            (&all, Cause::Rewrite, Situation { asked: false, ..post }, Ok(())),
            (&none, Cause::Rewrite, Situation { asked: false, ..post }, Err(Suppressed::NotNamed)),
            (&always, Cause::Timeout, post, Ok(())),
            (&always, Cause::Timeout, sent, Err(Suppressed::BodyNotKept)),
            (&always, Cause::Timeout, late, Err(Suppressed::Deadline)),
            (&none, Cause::Connect, post, Ok(())),
            (&none, Cause::Status, FINE, Err(Suppressed::NotNamed)),
            (&none, Cause::Busy, FINE, Err(Suppressed::NotNamed)),
        ];
        for (settings, cause, situation, expected) in rows {
            assert_eq!(settings.allows(cause, situation), expected, "{cause:?} {situation:?}");
        }
    }

    #[test]
    fn indices_follow_the_list() {
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause.index(), index);
        }
    }
}
