//! The circuit breaker of one backend as a value: `closed`, `open`, `half_open`.
//!
//! A [`State`] fits into 64 bits ([`State::pack`]), so that the shell around it can be one atomic word
//! and the success path one load. Every transition takes the old state and the time and returns the
//! next; nothing here waits, locks or asks what time it is. Times are milliseconds on any clock that
//! never runs backwards.
//!
//! What it does not do: count over a window (see [`RatioTrip`], whose counts the caller keeps) and
//! decide what a failure is (`proxy/attempt`).

use std::time::Duration;

use super::assignment::Share;
use super::percent::Percent;

/// Milliseconds since the process began.
pub type Millis = u64;

/// How a breaker behaves; from `[backends.NAME.breaker]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Consecutive failures that open it. 1 to [`MAX_CONSECUTIVE`].
    pub consecutive_failures: u16,
    /// Opens on a share of failures too, when set.
    pub ratio: Option<RatioTrip>,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// The longest it stays open, however often it reopens.
    pub open_for_max: Duration,
    /// Probes let through at the same time while half open. 1 to [`MAX_PROBES`].
    pub probes: u8,
    /// Probes that must succeed before it closes. 1 to [`MAX_PROBES`].
    pub successes: u8,
    /// A probe that has not settled after this long is given up, so that it cannot hold the breaker
    /// half open for ever.
    pub probe_timeout: Duration,
    /// After closing, admission grows linearly to everybody over this time. Zero: at once.
    pub recover_over: Duration,
}

/// Opens when `failures / total` over a window reaches a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioTrip {
    /// The share of failures that opens.
    pub failure_ratio: Percent,
    /// Judged only from this many attempts in the window.
    pub min_requests: u32,
    /// The length of the window.
    pub window: Duration,
}

/// Largest number of consecutive failures that can be asked for: what 14 bits hold.
pub const MAX_CONSECUTIVE: u16 = (1 << 14) - 1;
/// Largest number of probes or successes that can be asked for: what 7 bits hold.
pub const MAX_PROBES: u8 = (1 << 7) - 1;
/// Reopenings that still lengthen the open time (each doubles it).
const MAX_REOPENINGS: u8 = (1 << 4) - 1;
/// Times are kept in 38 bits: 8.7 years of milliseconds.
const TIME_MASK: u64 = (1 << 38) - 1;

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ratio: None,
            open_for: Duration::from_secs(30),
            open_for_max: Duration::from_secs(300),
            probes: 1,
            successes: 3,
            probe_timeout: Duration::from_secs(60),
            recover_over: Duration::from_secs(10),
        }
    }
}

/// Where the breaker stands. `epoch` changes with every move between the three positions, so that
/// a probe of an earlier half-open time cannot settle a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests pass; failures in a row are counted.
    Closed {
        /// Failures since the last success.
        failures: u16,
        /// When it closed after having been open, while admission is still growing.
        recovering_since: Option<Millis>,
        /// See [`State::Open::reopenings`]; forgotten once recovered.
        reopenings: u8,
        /// See [`State`].
        epoch: u8,
    },
    /// Nothing passes before `until`.
    Open {
        /// When probes may begin.
        until: Millis,
        /// How often in a row it opened again without recovering fully.
        reopenings: u8,
        /// See [`State`].
        epoch: u8,
    },
    /// A limited number of probes pass.
    HalfOpen {
        /// When the latest lease was given; see [`Settings::probe_timeout`].
        leased_at: Millis,
        /// Probes under way.
        leases: u8,
        /// Probes that succeeded.
        successes: u8,
        /// See [`State::Open::reopenings`].
        reopenings: u8,
        /// See [`State`].
        epoch: u8,
    },
}

/// The position alone, as metrics and pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BreakerPosition")]
pub enum Position {
    /// Requests pass.
    Closed,
    /// Probes pass.
    HalfOpen,
    /// Nothing passes.
    Open,
}

impl Position {
    /// The value of the gauge `pointsman_breaker_state`: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub const fn gauge(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }

    /// The word in API and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What the breaker says to a request, from one look at its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    /// Requests pass.
    Pass,
    /// Closed a short while ago: this share of the users passes.
    Recovering(Share),
    /// A probe may begin, if [`State::lease`] grants one.
    ProbeDue,
    /// Nothing passes.
    Refuse,
}

/// The right to one probe, of one half-open time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an unsettled lease keeps a probe's place until it times out"]
pub struct Lease {
    epoch: u8,
}

/// How an attempt ended, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The backend did its work.
    Success,
    /// The backend failed.
    Failure,
    /// Says nothing about the backend: the client left, or sent nonsense.
    Neutral,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0, recovering_since: None, reopenings: 0, epoch: 0 }
    }
}

impl State {
    /// The position, as seen at `now`: an open breaker whose time is up counts as half open.
    #[must_use]
    pub const fn position(self, now: Millis) -> Position {
        match self {
            Self::Closed { .. } => Position::Closed,
            Self::Open { until, .. } if now < until => Position::Open,
            Self::Open { .. } | Self::HalfOpen { .. } => Position::HalfOpen,
        }
    }

    /// What a request is told at `now`.
    #[must_use]
    pub fn view(self, now: Millis, settings: &Settings) -> View {
        match self {
            Self::Closed { recovering_since: None, .. } => View::Pass,
            Self::Closed { recovering_since: Some(since), .. } => {
                recovered_share(now, since, settings.recover_over).map_or(View::Pass, View::Recovering)
            }
            Self::Open { until, .. } if now < until => View::Refuse,
            Self::Open { .. } => View::ProbeDue,
            Self::HalfOpen { leases, .. } if leases < settings.probes => View::ProbeDue,
            Self::HalfOpen { leased_at, .. } if overdue(now, leased_at, settings) => View::ProbeDue,
            Self::HalfOpen { .. } => View::Refuse,
        }
    }

    /// Takes the right to one probe, and the state that follows; `None` where [`State::view`] does
    /// not say [`View::ProbeDue`].
    #[must_use]
    pub fn lease(self, now: Millis, settings: &Settings) -> Option<(Lease, Self)> {
        let (leases, successes, reopenings, epoch) = match self {
            Self::Open { until, reopenings, epoch } if until <= now => (1, 0, reopenings, next_epoch(epoch)),
            Self::HalfOpen { leases, successes, reopenings, epoch, .. } if leases < settings.probes => {
                (leases + 1, successes, reopenings, epoch)
            }
            // Lost leases are forgotten as a whole: a new epoch makes late answers harmless.
            Self::HalfOpen { leased_at, successes, reopenings, epoch, .. } if overdue(now, leased_at, settings) => {
                (1, successes, reopenings, next_epoch(epoch))
            }
            Self::Closed { .. } | Self::Open { .. } | Self::HalfOpen { .. } => return None,
        };
        Some((Lease { epoch }, Self::HalfOpen { leased_at: now, leases, successes, reopenings, epoch }))
    }

    /// Records how an attempt that passed as any other ended. `jitter` is a random number in 0..1
    /// that spreads the end of the open time.
    #[must_use]
    pub fn record(self, outcome: Outcome, now: Millis, jitter: f64, settings: &Settings) -> Self {
        let Self::Closed { failures, recovering_since, reopenings, epoch } = self else {
            // An attempt from before it opened: the probes decide now.
            return self;
        };
        match outcome {
            Outcome::Neutral => self,
            Outcome::Success => Self::Closed { failures: 0, recovering_since, reopenings, epoch },
            Outcome::Failure if failures + 1 >= settings.consecutive_failures => self.trip(now, jitter, settings),
            Outcome::Failure => Self::Closed { failures: failures + 1, recovering_since, reopenings, epoch },
        }
    }

    /// Settles a probe. A lease of an earlier time changes nothing.
    #[must_use]
    pub fn settle(self, lease: Lease, outcome: Outcome, now: Millis, jitter: f64, settings: &Settings) -> Self {
        let Self::HalfOpen { leased_at, leases, successes, reopenings, epoch } = self else {
            return self;
        };
        if lease.epoch != epoch {
            return self;
        }
        let leases = leases.saturating_sub(1);
        match outcome {
            Outcome::Neutral => Self::HalfOpen { leased_at, leases, successes, reopenings, epoch },
            Outcome::Failure => {
                let reopenings = (reopenings + 1).min(MAX_REOPENINGS);
                open(now, reopenings, next_epoch(epoch), jitter, settings)
            }
            Outcome::Success if successes + 1 >= settings.successes => Self::Closed {
                failures: 0,
                recovering_since: (!settings.recover_over.is_zero()).then_some(now),
                reopenings: if settings.recover_over.is_zero() { 0 } else { reopenings },
                epoch: next_epoch(epoch),
            },
            Outcome::Success => Self::HalfOpen { leased_at, leases, successes: successes + 1, reopenings, epoch },
        }
    }

    /// Opens a closed breaker at once, as a failure ratio over a window does.
    #[must_use]
    pub fn trip(self, now: Millis, jitter: f64, settings: &Settings) -> Self {
        let Self::Closed { recovering_since, reopenings, epoch, .. } = self else {
            return self;
        };
        let still_recovering =
            recovering_since.is_some_and(|since| recovered_share(now, since, settings.recover_over).is_some());
        let reopenings = if still_recovering { (reopenings + 1).min(MAX_REOPENINGS) } else { 0 };
        open(now, reopenings, next_epoch(epoch), jitter, settings)
    }

    /// The state in one word: two bits of tag, 6 of epoch, 4 of reopenings, 14 of counts, 38 of time.
    #[must_use]
    pub fn pack(self) -> u64 {
        let (tag, epoch, reopenings, counts, time) = match self {
            // Time 0 stands for "not recovering"; a breaker cannot have recovered in the first millisecond.
            Self::Closed { failures, recovering_since, reopenings, epoch } => (
                0,
                epoch,
                reopenings,
                u64::from(failures.min(MAX_CONSECUTIVE)),
                recovering_since.map_or(0, |since| since.max(1)),
            ),
            Self::Open { until, reopenings, epoch } => (1, epoch, reopenings, 0, until),
            Self::HalfOpen { leased_at, leases, successes, reopenings, epoch } => {
                let counts = (u64::from(leases.min(MAX_PROBES)) << 7) | u64::from(successes.min(MAX_PROBES));
                (2, epoch, reopenings, counts, leased_at)
            }
        };
        (tag << 62)
            | (u64::from(epoch & EPOCH_MASK) << 56)
            | (u64::from(reopenings & 15) << 52)
            | (counts << 38)
            | time.min(TIME_MASK)
    }

    /// The reverse of [`State::pack`].
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        let epoch = (word >> 56) as u8 & EPOCH_MASK;
        let reopenings = (word >> 52) as u8 & 15;
        let counts = (word >> 38) & ((1 << 14) - 1);
        let time = word & TIME_MASK;
        match word >> 62 {
            0 => Self::Closed {
                failures: counts as u16,
                recovering_since: if time == 0 { None } else { Some(time) },
                reopenings,
                epoch,
            },
            1 => Self::Open { until: time, reopenings, epoch },
            _ => Self::HalfOpen {
                leased_at: time,
                leases: (counts >> 7) as u8,
                successes: counts as u8 & MAX_PROBES,
                reopenings,
                epoch,
            },
        }
    }
}

/// Epochs are counted in 6 bits: an answer would have to come 64 moves late to be mistaken.
const EPOCH_MASK: u8 = (1 << 6) - 1;

const fn next_epoch(epoch: u8) -> u8 {
    (epoch + 1) & EPOCH_MASK
}

fn overdue(now: Millis, leased_at: Millis, settings: &Settings) -> bool {
    now.saturating_sub(leased_at) >= millis(settings.probe_timeout)
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// `open_for`, doubled for each reopening up to `open_for_max`, then up to 10 % longer by `jitter`, so
/// that replicas do not probe in step.
fn open(now: Millis, reopenings: u8, epoch: u8, jitter: f64, settings: &Settings) -> State {
    let grown = settings.open_for.saturating_mul(1 << u32::from(reopenings));
    let base = grown.min(settings.open_for_max.max(settings.open_for));
    let length = base.mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0));
    State::Open { until: now.saturating_add(millis(length)).min(TIME_MASK), reopenings, epoch }
}

/// The share admitted `now` after closing at `since`; `None` once everybody is.
fn recovered_share(now: Millis, since: Millis, over: Duration) -> Option<Share> {
    let elapsed = now.saturating_sub(since);
    let over = millis(over);
    if elapsed >= over {
        return None;
    }
    // Begins at one tenth: a ramp that begins with nobody would learn nothing.
    let share = 10.0 + 90.0 * elapsed as f64 / over as f64;
    Percent::new(share).map(Share::new)
}

#[cfg(test)]
mod tests;
