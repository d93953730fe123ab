//! Parameters of queries, as data: every one is known, given once, and within its bounds.
//!
//! A page's list of them is what its query is read by and what `/openapi.json` tells. Invariant: what was
//! read is what the list says, so that a page need not look again.

use std::fmt::Display;

use axum::extract::RawQuery;
use jiff::{SpanRelativeTo, Timestamp, Unit};

use super::problem::Problem;

/// Bytes of a text.
pub(super) const MAX_TEXT: usize = 256;

/// One parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it does, in words.
    pub(super) words: &'static str,
}

/// What a parameter can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// 1 to [`MAX_TEXT`] bytes.
    Text,
    /// A text of any length, read by its page.
    Free { needed: bool },
    /// `NAME=VALUE`, as often as wanted; read by its page.
    Pairs,
    /// RFC 3339.
    Time,
    /// The same, and it must be there.
    NeededTime,
    /// A whole number within bounds, and what counts without it.
    Number { least: u64, most: u64, default: Option<u64> },
    /// One of these words, the first without it.
    Word(&'static [&'static str]),
    /// From a second to so many.
    Length { most_seconds: i64 },
}

/// What a query gives.
#[derive(Debug)]
pub(super) struct Given(Vec<(&'static str, Value)>);

#[derive(Debug)]
enum Value {
    Text(String),
    Time(Timestamp),
    Number(u64),
    Seconds(i64),
}

/// What is wrong with a parameter.
pub(super) fn wrong(name: &str, reason: impl Display) -> Problem {
    Problem::Parameter { name: name.to_owned(), reason: reason.to_string() }
}

/// Reads a query by the list of what is known.
pub(super) fn read(RawQuery(query): &RawQuery, known: &[Parameter]) -> Result<Given, Problem> {
    let mut found: Vec<(&str, Value)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()) {
        let Some(parameter) = known.iter().find(|parameter| *parameter.name == *name) else {
            let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
            return Err(wrong(&name, format!("it is not known here; known are {}", names.join(", "))));
        };
        if found.iter().any(|(other, _)| *other == name) {
            return Err(wrong(&name, "it is given more than once"));
        }
        found.push((parameter.name, parameter.read(&value).map_err(|reason| wrong(&name, reason))?));
    }
    let missing = |parameter: &&Parameter| {
        parameter.kind == Kind::NeededTime && !found.iter().any(|(name, _)| *name == parameter.name)
    };
    match known.iter().find(missing) {
        Some(parameter) => Err(wrong(parameter.name, format!("it is missing: {}", parameter.words))),
        None => Ok(Given(found)),
    }
}

impl Parameter {
    pub(super) const fn new(name: &'static str, kind: Kind, words: &'static str) -> Self {
        Self { name, kind, words }
    }

    fn read(&self, text: &str) -> Result<Value, String> {
        match text.len() {
            0 => return Err("it is empty".to_owned()),
            1..=MAX_TEXT => {}
            _ => return Err(format!("it is longer than {MAX_TEXT} bytes")),
        }
        match self.kind {
            Kind::Text | Kind::Free { .. } | Kind::Pairs => Ok(Value::Text(text.to_owned())),
            Kind::Time | Kind::NeededTime => {
                let reason = "it is no time such as 2026-11-20T08:00:00Z (RFC 3339; in a query, + is written %2B)";
                text.parse().map(Value::Time).map_err(|_| reason.to_owned())
            }
            Kind::Number { least, most, .. } => {
                let number = text.parse().ok().filter(|number| (least..=most).contains(number));
                number.map(Value::Number).ok_or_else(|| format!("it is no whole number from {least} to {most}"))
            }
            Kind::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Word(words) => Err(format!("it is none of {}", words.join(", "))),
            Kind::Length { most_seconds } => seconds(text, most_seconds)
                .map(Value::Seconds)
                .ok_or_else(|| format!("it is no length of time up to {most_seconds}s, such as 15m, 1h or 7d")),
        }
    }
}

fn seconds(text: &str, most: i64) -> Option<i64> {
    let span: jiff::Span = text.parse().ok()?;
    let total = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).ok()?;
    (total >= 1.0 && total <= most as f64).then_some(total.ceil() as i64)
}

impl Given {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            Value::Time(_) | Value::Number(_) | Value::Seconds(_) => None,
        }
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        match self.get(name)? {
            Value::Time(at) => Some(*at),
            Value::Text(_) | Value::Number(_) | Value::Seconds(_) => None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Time(_) | Value::Seconds(_) => None,
        }
    }

    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Seconds(seconds) => Some(*seconds),
            Value::Text(_) | Value::Time(_) | Value::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Parameter; 5] = [
        Parameter::new("n", Kind::Number { least: 1, most: 1_000, default: None }, ""),
        Parameter::new("at", Kind::Time, ""),
        Parameter::new("text", Kind::Text, ""),
        Parameter::new("word", Kind::Word(&["json", "csv"]), ""),
        Parameter::new("length", Kind::Length { most_seconds: 3_600 }, ""),
    ];

    fn given(query: &str) -> Result<Given, Problem> {
        read(&RawQuery(Some(query.to_owned())), &KNOWN)
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
            ("word=xml", "word"),
            ("length=0s", "length"),
            ("length=-1h", "length"),
            ("length=1e99h", "length"),
            ("length=2h", "length"),
            ("length=999999999999999d", "length"),
            ("other=1", "other"),
            ("N=1", "N"),
            ("=", ""),
        ];
        for (query, expected) in rows {
            let problem = given(query).unwrap_err();
            assert!(matches!(&problem, Problem::Parameter { name, .. } if name == expected), "{query}: {problem:?}");
        }
        let needed = [Parameter::new("before", Kind::NeededTime, "")];
        let problem = read(&RawQuery(None), &needed).unwrap_err();
        assert!(matches!(&problem, Problem::Parameter { name, .. } if name == "before"), "{problem:?}");
    }

    #[test]
    fn what_is_right_is_read() {
        let at: Timestamp = "2026-11-20T07:00:00Z".parse().unwrap();
        let nothing = given("").unwrap();
        assert_eq!((nothing.number("n"), nothing.time("at"), nothing.text("text")), (None, None, None));
        let found = given("n=1000&at=2026-11-20T08:00:00%2B01:00&text=a%20%27b&word=csv&length=1m").unwrap();
        assert_eq!((found.number("n"), found.time("at"), found.text("text")), (Some(1_000), Some(at), Some("a 'b")));
        assert_eq!((found.text("word"), found.seconds("length")), (Some("csv"), Some(60)));
    }
}
