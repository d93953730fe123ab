//! From a body to drafts of events: shape, types, bounds. Who and where is for `attribution`.
//!
//! Every event is judged, so that a sender hears of all mistakes at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock;
use crate::config::model::{JUDGE_EVENTS, SHADOW_EVENTS};
use crate::domain::context::usable_key;
use crate::domain::exposure::TOKEN_LETTERS;
use crate::store::EventId;

/// Letters of a name.
pub(super) const MAX_NAME: usize = 128;
/// Letters of an id.
pub(super) const MAX_ID: usize = 64;
/// Bytes of `data`, written without spaces.
const MAX_DATA: usize = 16 << 10;
/// Arrays and objects within each other in `data`.
const MAX_DEPTH: usize = 32;
/// How far a time may lie ahead: clocks differ.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(300);
/// Letters of what was sent that are repeated to the sender.
const MAX_QUOTED: usize = 40;

pub(super) const FIELDS: [&str; 9] =
    ["id", "name", "user", "exposure", "route", "contexts", "value", "data", "timestamp"];

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Mistake {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The field; empty for the event as a whole.
    pub field: String,
    /// Why.
    pub reason: String,
}

impl Mistake {
    pub(super) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { index: 0, field: field.to_owned(), reason: reason.into() }
    }
}

/// An event as it was sent, in shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) id: EventId,
    pub(super) name: Box<str>,
    pub(super) at: Timestamp,
    pub(super) user: Option<Box<str>>,
    pub(super) exposure: Option<Box<str>>,
    pub(super) route: Option<Box<str>>,
    pub(super) contexts: Option<Map<String, Value>>,
    pub(super) value: Option<f64>,
    pub(super) data: Box<str>,
}

/// Reads a body: an event, a list of events, or `{"events": [...]}`.
pub(super) fn read(body: &[u8], now: Timestamp, keep: Duration) -> Result<Vec<Result<Draft, Vec<Mistake>>>, String> {
    let sent = match serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))? {
        Value::Array(events) => events,
        Value::Object(mut fields) if fields.len() == 1 && fields.contains_key("events") => {
            match fields.remove("events") {
                Some(Value::Array(events)) => events,
                Some(_) | None => return Err("`events` is not a list".to_owned()),
            }
        }
        event @ Value::Object(_) => vec![event],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err("the body is neither an event nor a list of events".to_owned());
        }
    };
    Ok(sent.into_iter().map(|event| draft(event, now, keep)).collect())
}

fn draft(event: Value, now: Timestamp, keep: Duration) -> Result<Draft, Vec<Mistake>> {
    let Value::Object(fields) = event else {
        return Err(vec![Mistake::new("", format!("an event is an object, and this is {}", kind(&event)))]);
    };
    let mut reader = Reader { fields, mistakes: Vec::new() };
    reader.refuse_unknown();
    let id = reader.word("id", MAX_ID);
    let name = reader.word("name", MAX_NAME);
    if name.as_deref().is_some_and(|name| [JUDGE_EVENTS, SHADOW_EVENTS].iter().any(|begin| name.starts_with(begin))) {
        let reason = format!("names that begin with `{JUDGE_EVENTS}` or `{SHADOW_EVENTS}` are the gateway's own");
        reader.mistakes.push(Mistake::new("name", reason));
    }
    if name.is_none() && !reader.has_mistake("name") {
        reader.mistakes.push(Mistake::new("name", "it is missing"));
    }
    let draft = Draft {
        id: id.unwrap_or_else(|| clock::new_uuid().to_string().into()),
        name: name.unwrap_or_default(),
        at: reader.timestamp(now, keep),
        user: reader.user(),
        exposure: reader.word("exposure", TOKEN_LETTERS),
        route: reader.text("route").map(String::into_boxed_str),
        contexts: reader.contexts(),
        value: reader.value(),
        data: reader.data(),
    };
    if reader.mistakes.is_empty() { Ok(draft) } else { Err(reader.mistakes) }
}

/// Takes an event apart. `null` is as good as nothing.
struct Reader {
    fields: Map<String, Value>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn refuse_unknown(&mut self) {
        for name in self.fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let reason = format!("there is no such field; there are: {}", FIELDS.join(", "));
            self.mistakes.push(Mistake::new(&quoted(name), reason));
        }
    }

    fn has_mistake(&self, field: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.field == field)
    }

    fn refuse<T>(&mut self, field: &str, reason: impl Into<String>) -> Option<T> {
        self.mistakes.push(Mistake::new(field, reason));
        None
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.swap_remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.refuse(field, format!("it is a string, and this is {}", kind(&other)))
            }
        }
    }

    /// A text without spaces.
    fn word(&mut self, field: &str, most: usize) -> Option<Box<str>> {
        let text = self.text(field)?;
        let is_visible = !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if !is_visible || text.chars().count() > most {
            return self.refuse(field, format!("it has 1 to {most} letters, and no spaces or control characters"));
        }
        Some(text.into())
    }

    fn user(&mut self) -> Option<Box<str>> {
        let text = self.text("user")?;
        if usable_key(&text).is_none() {
            return self.refuse("user", "a key has 1 to 256 bytes");
        }
        Some(text.into())
    }

    fn contexts(&mut self) -> Option<Map<String, Value>> {
        match self.take("contexts")? {
            Value::Object(contexts) => Some(contexts),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                self.refuse("contexts", format!("it is an object, and this is {}", kind(&other)))
            }
        }
    }

    fn value(&mut self) -> Option<f64> {
        let value = self.take("value")?;
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Some(number),
            None => self.refuse("value", format!("it is a finite number, and this is {}", kind(&value))),
        }
    }

    fn data(&mut self) -> Box<str> {
        let Some(value) = self.take("data") else { return Box::default() };
        if is_deeper(&value, MAX_DEPTH) {
            self.mistakes.push(Mistake::new("data", format!("it is nested deeper than {MAX_DEPTH}")));
        }
        let text = value.to_string();
        if text.len() > MAX_DATA {
            let reason = format!("it has {} bytes, and at most {MAX_DATA} are kept", text.len());
            self.mistakes.push(Mistake::new("data", reason));
        }
        text.into()
    }

    fn timestamp(&mut self, now: Timestamp, keep: Duration) -> Timestamp {
        let Some(text) = self.text("timestamp") else { return now };
        let Ok(at) = text.parse::<Timestamp>() else {
            let reason = format!("it is a time as RFC 3339 writes it, `2026-11-20T08:00:00Z`, not {}", quoted(&text));
            self.mistakes.push(Mistake::new("timestamp", reason));
            return now;
        };
        let age = now.duration_since(at);
        if at.duration_since(now) > MAX_AHEAD {
            self.mistakes.push(Mistake::new("timestamp", "it lies more than 5 minutes ahead"));
        } else if age > SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX) {
            self.mistakes.push(Mistake::new("timestamp", "it is older than `state.keep_events` keeps events"));
        }
        at
    }
}

/// Whether arrays and objects lie deeper within each other than allowed. The parser has a bound of its own.
fn is_deeper(value: &Value, allowed: usize) -> bool {
    match value {
        Value::Array(items) => allowed == 0 || items.iter().any(|item| is_deeper(item, allowed - 1)),
        Value::Object(fields) => allowed == 0 || fields.values().any(|field| is_deeper(field, allowed - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The beginning of what was sent.
pub(super) fn quoted(text: &str) -> String {
    let begin: String = text.chars().take(MAX_QUOTED).collect();
    let more = if begin.len() < text.len() { "..." } else { "" };
    format!("{begin:?}{more}")
}
