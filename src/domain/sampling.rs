//! Sampled exchanges: which ones, what is looked at in their bodies, and what must not be kept.
//!
//! It moves nothing anywhere. Invariant: what is drawn depends on a request's id alone, so that
//! everybody who knows the id can tell, and each purpose draws for itself.

use serde_json::Value;

use super::assignment::{Digest, Share};
use super::decision::Reason;
use super::pointer::Pointer;
use super::reading::{Format, documents};

/// What stands in place of what was redacted.
pub const REDACTED: &str = "[redacted]";

/// What an exchange is sampled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A judge scores it.
    Judge,
    /// It is kept for people.
    Samples,
    /// The candidate is sent a copy of its request.
    Shadow,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Judge, Self::Samples, Self::Shadow];

    /// The word in labels, which is the salt of its draw, too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Samples => "samples",
            Self::Shadow => "shadow",
        }
    }

    /// Position in [`Purpose::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a request is drawn: the percentage of the bucket of `sha256("{id}:{purpose}")`, as the
    /// assignment computes it for users, is at most the share's.
    #[must_use]
    pub fn draws(self, share: Share, id: &[u8]) -> bool {
        share.contains(Digest::of(id, self.as_str().as_bytes()).bucket())
    }

    /// As [`Purpose::draws`], for a percentage that changes while the process runs: 0 draws nobody.
    #[must_use]
    pub fn draws_percent(self, percent: f64, id: &[u8]) -> bool {
        percent > 0.0 && Digest::of(id, self.as_str().as_bytes()).bucket().percentage() <= percent
    }
}

/// Whether a request may be copied to the candidate, by the reason for which control serves it. A copy costs
/// its user nothing, so most are; not those that were never meant for a candidate, and none while it has to
/// be left alone.
#[must_use]
pub const fn may_be_copied(reason: Reason) -> bool {
    match reason {
        Reason::Forced
        | Reason::Target
        | Reason::NotStarted
        | Reason::Holdout
        | Reason::Excluded
        | Reason::Prerequisite
        | Reason::Pinned
        | Reason::Rule
        | Reason::NoKey
        | Reason::Rollout
        | Reason::QualityGate => true,
        Reason::Disabled
        | Reason::Override
        | Reason::RolledBack
        | Reason::StateUnknown
        | Reason::Condition
        | Reason::BreakerOpen
        | Reason::RateLimited
        | Reason::Budget
        | Reason::Busy
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback
        | Reason::Undecided => false,
    }
}

/// Whether a judge is shown the candidate's answer of a pair first: the lowest bit of the bucket of
/// `sha256("{id}:order")`, so that who is shown first is no matter of the arm.
#[must_use]
pub fn shows_candidate_first(id: &[u8]) -> bool {
    Digest::of(id, b"order").bucket().0 & 1 == 1
}

/// What became of an exchange that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was scored, kept, or copied.
    Done,
    /// A body is compressed.
    Encoded,
    /// A body is no JSON by its `content-type`.
    ContentType,
    /// A body is larger than `max_body`.
    TooLarge,
    /// A body did not come to its end, or is only a part (206).
    Truncated,
    /// There was no room for it.
    NoMemory,
    /// A body says that it is JSON, and is not.
    NotJson,
    /// No backend answered.
    NoAnswer,
    /// The answer is none of the 2xx, which alone are judged.
    Status,
    /// The request has no key, so a score would count for nobody.
    NoKey,
    /// Too many others were waiting.
    QueueFull,
    /// The judge's budget is spent.
    Budget,
    /// The judge could not be asked.
    Failed,
    /// The judge said what is no verdict.
    Invalid,
    /// The store could not keep it.
    Store,
    /// The candidate has to be left alone: its breaker, its `retry-after`, its budget.
    Unhealthy,
    /// The candidate has `max_in_flight` requests of users.
    Busy,
    /// What the candidate is to be sent cannot be made of the request.
    Rewrite,
}

impl Fate {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::Done,
        Self::Encoded,
        Self::ContentType,
        Self::TooLarge,
        Self::Truncated,
        Self::NoMemory,
        Self::NotJson,
        Self::NoAnswer,
        Self::Status,
        Self::NoKey,
        Self::QueueFull,
        Self::Budget,
        Self::Failed,
        Self::Invalid,
        Self::Store,
        Self::Unhealthy,
        Self::Busy,
        Self::Rewrite,
    ];

    /// The word in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Encoded => "encoded",
            Self::ContentType => "content_type",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::NoMemory => "no_memory",
            Self::NotJson => "not_json",
            Self::NoAnswer => "no_answer",
            Self::Status => "status",
            Self::NoKey => "no_key",
            Self::QueueFull => "queue_full",
            Self::Budget => "budget",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Store => "store",
            Self::Unhealthy => "unhealthy",
            Self::Busy => "busy",
            Self::Rewrite => "rewrite",
        }
    }

    /// Position in [`Fate::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A body that was read: one document, or those of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// There is no body.
    Empty,
    /// One.
    One(Value),
    /// One for each event, or line.
    Many(Vec<Value>),
}

impl Document {
    /// Reads a whole body; `None` if a part of it is not JSON.
    #[must_use]
    pub fn read(format: Format, body: &[u8]) -> Option<Self> {
        let mut found = documents(format, body)?;
        Some(match format {
            Format::Json => found.pop().map_or(Self::Empty, Self::One),
            Format::EventStream | Format::JsonLines => Self::Many(found),
        })
    }

    /// What a pointer points to. In a stream: the texts of all its documents together, as language
    /// models stream them, or else the last value.
    #[must_use]
    pub fn find(&self, pointer: &Pointer) -> Option<Value> {
        match self {
            Self::Empty => None,
            Self::One(document) => pointer.find(document).cloned(),
            Self::Many(documents) => {
                let found = || documents.iter().filter_map(|document| pointer.find(document));
                let text: String = found().filter_map(Value::as_str).collect();
                if text.is_empty() { found().next_back().cloned() } else { Some(Value::from(text)) }
            }
        }
    }

    /// The whole, as JSON; a list for a stream, and nothing where there is nothing.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::One(document) => document,
            Self::Many(documents) => Value::Array(documents),
        }
    }
}

/// What is not kept of a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Redaction {
    pointers: Vec<Pointer>,
    fields: Vec<Box<str>>,
}

impl Redaction {
    /// Redacts what these point to, and the values of members with these names.
    #[must_use]
    pub const fn new(pointers: Vec<Pointer>, fields: Vec<Box<str>>) -> Self {
        Self { pointers, fields }
    }

    /// Puts [`REDACTED`] in place of it; in a stream, in each document.
    pub fn apply(&self, document: &mut Document) {
        match document {
            Document::Empty => {}
            Document::One(document) => self.redact(document),
            Document::Many(documents) => documents.iter_mut().for_each(|document| self.redact(document)),
        }
    }

    fn redact(&self, document: &mut Value) {
        for pointer in &self.pointers {
            if let Some(found) = pointer.find_mut(document) {
                *found = Value::from(REDACTED);
            }
        }
        if !self.fields.is_empty() {
            self.redact_fields(document);
        }
    }

    /// The parser bounds how deep a document is.
    fn redact_fields(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if self.fields.iter().any(|field| **field == *name) {
                        *value = Value::from(REDACTED);
                    } else {
                        self.redact_fields(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_fields(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::percent::Percent;
    use serde_json::json;

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    #[test]
    fn draws_are_as_published_and_each_purpose_has_its_own() {
        // printf 'r-1:judge' | sha256sum: the last 8 hex digits / 0xffffffff * 100, as docs/judge.md has it.
        let percentage = 17.115_305_645_7;
        for (percent, expected) in
            [(percentage + 0.001, true), (percentage - 0.001, false), (0.0, false), (100.0, true)]
        {
            let share = Share::new(Percent::new(percent).unwrap());
            assert_eq!(Purpose::Judge.draws(share, b"r-1"), expected, "{percent}");
            assert_eq!(Purpose::Judge.draws_percent(percent, b"r-1"), expected, "{percent}");
        }
        let tenth = Share::new(Percent::new(10.0).unwrap());
        let ids: Vec<String> = (0..20_000).map(|n| format!("id-{n}")).collect();
        let drawn = |purpose: Purpose| ids.iter().filter(|id| purpose.draws(tenth, id.as_bytes())).count();
        let both =
            ids.iter().filter(|id| Purpose::ALL.iter().all(|purpose| purpose.draws(tenth, id.as_bytes()))).count();
        for purpose in Purpose::ALL {
            assert!((1_800..2_200).contains(&drawn(purpose)), "{purpose:?}: {}", drawn(purpose));
        }
        assert!((5..50).contains(&both), "independent draws meet in 1 of 1,000: {both}");
        let first = ids.iter().filter(|id| shows_candidate_first(id.as_bytes())).count();
        assert!((9_700..10_300).contains(&first), "{first}");
    }

    #[test]
    fn bodies_are_read_by_their_format() {
        let stream = b"data: {\"d\":\"a\"}\n\ndata: {\"d\":\"b\",\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n";
        let rows: [(Format, &[u8], Option<Document>); 7] = [
            (Format::Json, b"", Some(Document::Empty)),
            (Format::Json, b" {\"a\": 1} ", Some(Document::One(json!({"a": 1})))),
            (Format::Json, b"{\"a\": 1", None),
            (Format::JsonLines, b"1\n2\n", Some(Document::Many(vec![json!(1), json!(2)]))),
            (Format::JsonLines, b"1\nx\n", None),
            (
                Format::EventStream,
                stream,
                Some(Document::Many(vec![json!({"d": "a"}), json!({"d": "b", "n": 1}), json!({"n": 2})])),
            ),
            (Format::EventStream, b"data: x\n\n", None),
        ];
        for (format, body, expected) in rows {
            assert_eq!(Document::read(format, body), expected, "{format:?} {:?}", String::from_utf8_lossy(body));
        }
        let read = Document::read(Format::EventStream, stream).unwrap();
        assert_eq!(read.find(&pointer("/d")), Some(json!("ab")));
        assert_eq!(read.find(&pointer("/n")), Some(json!(2)));
        assert_eq!(read.find(&pointer("/x")), None);
    }

    #[test]
    fn nothing_that_is_named_stays() {
        let redaction = Redaction::new(vec![pointer("/user/mail"), pointer("/items/1")], vec!["key".into()]);
        let secret = || {
            json!({"user": {"mail": "SECRET", "key": {"deep": "SECRET"}}, "items": [{"key": ["SECRET"]}, "SECRET", 3],
                   "mail": "stays"})
        };
        for mut document in [Document::One(secret()), Document::Many(vec![secret(), json!(null), secret()])] {
            redaction.apply(&mut document);
            let text = document.into_value().to_string();
            assert!(!text.contains("SECRET") && text.contains("stays") && text.contains(REDACTED), "{text}");
        }
        let mut whole = Document::One(json!("SECRET"));
        Redaction::new(vec![pointer("")], Vec::new()).apply(&mut whole);
        assert_eq!(whole, Document::One(json!(REDACTED)));
    }

    #[test]
    fn words_are_told_apart() {
        let words: std::collections::BTreeSet<&str> = Fate::ALL.into_iter().map(Fate::as_str).collect();
        assert_eq!(words.len(), Fate::ALL.len());
        assert!(Fate::ALL.into_iter().enumerate().all(|(index, fate)| fate.index() == index));
        assert!(Purpose::ALL.into_iter().enumerate().all(|(index, purpose)| purpose.index() == index));
    }
}
