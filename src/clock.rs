//! The only reader of time. Everything else is given `now`.

#![expect(clippy::disallowed_methods, reason = "this is the one place that asks for the time")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::domain::breaker::Millis;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The monotonic time.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// A monotonic time as milliseconds since the process first asked, at least 1.
#[must_use]
pub fn millis(at: Instant) -> Millis {
    let since = at.saturating_duration_since(*START);
    1 + u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1)
}

/// The monotonic time in milliseconds. See [`millis`].
#[must_use]
pub fn now_millis() -> Millis {
    millis(now())
}

/// The time on the wall.
#[must_use]
pub fn timestamp() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The day, counted from 1970-01-01 in UTC.
#[must_use]
pub fn utc_day() -> u16 {
    const SECONDS_A_DAY: u64 = 86_400;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u16::try_from(since.as_secs() / SECONDS_A_DAY).unwrap_or(u16::MAX)
}

/// How long the process has been running.
#[must_use]
pub fn uptime() -> Duration {
    START.elapsed()
}

/// A new UUIDv7 (RFC 9562): unique, and sorted by the time on the wall.
#[must_use]
pub fn new_uuid() -> uuid::Uuid {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut random = [0_u8; 10];
    random[..8].copy_from_slice(&fastrand::u64(..).to_le_bytes());
    random[8..].copy_from_slice(&fastrand::u16(..).to_le_bytes());
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
