//! Moments as they are typed: a time (RFC 3339), or how long ago.

use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::clock;

/// A time, from `2026-11-20T08:00:00Z` or from `90m`, `12h`, `7d`, which count from now.
///
/// # Errors
/// What is wrong with it.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    before(text, clock::timestamp())
}

fn before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let expected = "expected a time such as 2026-11-20T08:00:00Z, or how long ago, such as 90m, 12h or 7d";
    let span: Span = text.parse().map_err(|_| expected.to_owned())?;
    let ago = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected.to_owned())?;
    if ago.is_negative() {
        return Err(expected.to_owned());
    }
    now.checked_sub(ago).map_err(|_| "that is too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let rows = [
            ("2026-11-01T00:00:00Z", Some("2026-11-01T00:00:00Z")),
            ("2026-11-01T01:00:00+01:00", Some("2026-11-01T00:00:00Z")),
            ("90m", Some("2026-11-20T06:30:00Z")),
            ("12h", Some("2026-11-19T20:00:00Z")),
            ("7d", Some("2026-11-13T08:00:00Z")),
            ("-7d", None),
            ("yesterday", None),
            ("7", None),
            ("", None),
            ("19998y", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|time| time.parse().unwrap());
            assert_eq!(before(text, now).ok(), expected, "{text}");
        }
    }
}
