//! Parameters of the pages that read the store: every one is known, given once, and within its bounds.

use std::fmt::Display;

use axum::extract::RawQuery;
use jiff::Timestamp;

use crate::admin::problem::Problem;
use crate::store::EventQuery;

/// Bytes of a text.
const MAX_TEXT: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

/// What is wrong with a parameter.
pub(super) fn wrong(name: &str, reason: impl Display) -> Problem {
    Problem::Parameter { name: name.to_owned(), reason: reason.to_string() }
}

impl Parameters {
    /// Reads a query of which these names are known.
    pub(super) fn read(RawQuery(query): &RawQuery, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(wrong(&name, format!("it is not known here; known are {}", known.join(", "))));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(wrong(&name, "it is given more than once"));
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    /// A text of 1 to 256 bytes.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some((_, value)) = self.0.iter().find(|(known, _)| known == name) else { return Ok(None) };
        match value.len() {
            0 => Err(wrong(name, "it is empty")),
            1..=MAX_TEXT => Ok(Some(value)),
            _ => Err(wrong(name, format!("it is longer than {MAX_TEXT} bytes"))),
        }
    }

    /// A time (RFC 3339).
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let reason = "it is no time such as 2026-11-20T08:00:00Z (RFC 3339; in a query, + is written %2B)";
        text.parse().map(Some).map_err(|_| wrong(name, reason))
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| wrong(name, format!("it is no whole number from {least} to {most}")))
    }

    /// Which events are wanted: `type`, `route`, `start` and `end`.
    pub(super) fn events(&self, limit: usize) -> Result<EventQuery, Problem> {
        Ok(EventQuery {
            name: self.text("type")?.map(str::to_owned),
            route: self.text("route")?.map(str::to_owned),
            start: self.time("start")?,
            end: self.time("end")?,
            after: 0,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = (Option<u64>, Option<Timestamp>, Option<String>);

    fn read(query: &str) -> Result<Found, Problem> {
        let parameters = Parameters::read(&RawQuery(Some(query.to_owned())), &["n", "at", "text"])?;
        let text = parameters.text("text")?.map(str::to_owned);
        Ok((parameters.number("n", 1, 1_000)?, parameters.time("at")?, text))
    }

    #[test]
    fn mistakes_name_their_parameter() {
        let long = format!("text={}", "x".repeat(MAX_TEXT + 1));
        let rows = [
            ("n=0", "n"),
            ("n=1001", "n"),
            ("n=-1", "n"),
            ("n=NaN", "n"),
            ("n=1e2", "n"),
            ("n=99999999999999999999999", "n"),
            ("n=", "n"),
            ("n=1&n=1", "n"),
            ("at=yesterday", "at"),
            ("at=2026-13-01T00:00:00Z", "at"),
            ("at=2026-11-20T08:00:00", "at"),
            ("at=2026-11-20T08:00:00+01:00", "at"),
            ("at=1732089600", "at"),
            ("text=", "text"),
            (long.as_str(), "text"),
            ("other=1", "other"),
            ("N=1", "N"),
            ("=", ""),
        ];
        for (query, expected) in rows {
            let problem = read(query).unwrap_err();
            assert!(matches!(&problem, Problem::Parameter { name, .. } if name == expected), "{query}: {problem:?}");
        }
    }

    #[test]
    fn what_is_right_is_read() {
        let at: Timestamp = "2026-11-20T07:00:00Z".parse().unwrap();
        assert_eq!(read("").unwrap(), (None, None, None));
        let found = read("n=1000&at=2026-11-20T08:00:00%2B01:00&text=a%20%27b").unwrap();
        assert_eq!(found, (Some(1_000), Some(at), Some("a 'b".to_owned())));
    }
}
