//! What a client sends: `{"context": {"targetingKey": "user123", "user": {"tier": "premium"}}}`.
//!
//! Attributes lie in the table of their kind, and so do keys of other kinds: `{"session": {"key": "s1"}}`.
//! What no kind or attribute of the file names is ignored, since clients send all that they know; what cannot
//! be read as its type is missing, as it is in a request. Invariant: what is read here is bounded in bytes,
//! depth and number.

use std::borrow::Cow;

use axum::extract::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::failure::Failure;
use crate::admin::question;
use crate::config::Config;
use crate::config::model::{ContextIndex, Place, Route};
use crate::domain::assignment::MAX_KEY_BYTES;
use crate::domain::condition::Fact;
use crate::domain::context::usable_key;
use crate::domain::decision::KeyNeed;

/// Levels of a context, itself among them.
const MAX_DEPTH: usize = 16;
/// Values of a context, those within others among them.
const MAX_VALUES: usize = 4_096;
/// The entry of a kind's table that holds its key.
const KEY: &str = "key";
/// The protocol's name for who asks.
const TARGETING_KEY: &str = "targetingKey";

// For the document alone: `Asked` reads it, with the protocol's own failures.
/// What is sent.
#[derive(schemars::JsonSchema)]
#[schemars(rename = "EvaluationRequest")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(in crate::admin) struct Sent {
    context: SentContext,
}

/// Who asks, and what is known of it: `{"targetingKey": "user123", "user": {"tier": "premium"}}`.
#[derive(schemars::JsonSchema)]
#[schemars(rename = "EvaluationContext")]
#[expect(dead_code, reason = "it is a shape alone")]
struct SentContext {
    /// The key of who asks.
    #[schemars(rename = "targetingKey", length(min = 1, max = MAX_KEY_BYTES))]
    targeting_key: String,
    #[schemars(flatten)]
    attributes: Map<String, Value>,
}

/// Who asks.
#[derive(Debug, Default)]
pub(super) struct Asked {
    context: Map<String, Value>,
}

impl Asked {
    /// Reads a request.
    pub(super) async fn read(request: Request, max_body: usize) -> Result<Self, Failure> {
        let body = Limited::new(request.into_body(), max_body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Failure::TooLarge(max_body)
            } else {
                Failure::Parse("the body broke off".to_owned())
            }
        })?;
        Self::parse(&body.to_bytes())
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let body: Result<Map<String, Value>, _> = serde_json::from_slice(body);
        let mut body = body.map_err(|error| Failure::Parse(format!("the body: {error}")))?;
        let context = match body.remove("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                return Err(Failure::InvalidContext("`context` is not an object".to_owned()));
            }
        };
        let mut left = MAX_VALUES;
        for value in context.values() {
            bounded(value, MAX_DEPTH - 1, &mut left)?;
        }
        Ok(Self { context })
    }

    /// Who asks; the protocol wants to know in every request.
    pub(super) fn targeting_key(&self) -> Result<&str, Failure> {
        let missing = |why: String| Failure::TargetingKeyMissing(why);
        match self.context.get(TARGETING_KEY) {
            None | Some(Value::Null) => Err(missing(format!("`context.{TARGETING_KEY}` is missing"))),
            Some(Value::String(key)) => {
                usable_key(key).ok_or_else(|| missing(format!("`{TARGETING_KEY}` has 1 to {MAX_KEY_BYTES} bytes")))
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Failure::InvalidContext(format!("`{TARGETING_KEY}` is not a string")))
            }
        }
    }

    /// The key of a kind that splits: its own if the context tells it apart, else who asks.
    pub(super) fn key<'a>(&'a self, config: &Config, kind: ContextIndex, targeting_key: &'a str) -> &'a str {
        self.key_of(config, kind).unwrap_or(targeting_key)
    }

    /// The keys of further kinds that the route looks at, as they would split a route of their own.
    pub(super) fn other_keys<'a>(
        &'a self,
        config: &Config,
        route: &Route,
        targeting_key: &'a str,
    ) -> Vec<(ContextIndex, Cow<'a, str>)> {
        let key = |need: &KeyNeed| (need.kind, Cow::Borrowed(self.key(config, need.kind, targeting_key)));
        route.policy.needs.keys.iter().map(key).collect()
    }

    fn key_of(&self, config: &Config, kind: ContextIndex) -> Option<&str> {
        usable_key(self.entry(&config.contexts[kind].name, KEY)?.as_str()?)
    }

    fn entry(&self, kind: &str, name: &str) -> Option<&Value> {
        self.context.get(kind)?.as_object()?.get(name)
    }

    /// What the route's conditions look at, by slot, as [`Question`](crate::admin::question::Question) and
    /// requests give it.
    pub(super) fn facts<'a>(&'a self, config: &'a Config, route: &Route, key: &'a str) -> Vec<Option<Fact<'a>>> {
        let slots = &route.policy.needs.slots;
        let mut facts = vec![None; slots.last().map_or(0, |last| last + 1)];
        for slot in slots {
            let attribute = &config.attributes[*slot];
            facts[*slot] = match &attribute.place {
                Place::Constant(fact) => Some(fact.borrowed()),
                Place::Key(kind) if *kind == route.policy.split_by => Some(Fact::Text(Cow::Borrowed(key))),
                Place::Key(kind) => self.key_of(config, *kind).map(|key| Fact::Text(Cow::Borrowed(key))),
                Place::Source(_) | Place::PathSegment(_) | Place::ClientIp | Place::Method => {
                    let value = attribute.name.split_once('.').and_then(|(kind, name)| self.entry(kind, name));
                    value.and_then(|value| question::read(attribute, value))
                }
            };
        }
        facts
    }
}

fn bounded(value: &Value, depth: usize, left: &mut usize) -> Result<(), Failure> {
    if depth == 0 {
        return Err(Failure::InvalidContext(format!("`context` has more than {MAX_DEPTH} levels")));
    }
    *left = left
        .checked_sub(1)
        .ok_or_else(|| Failure::InvalidContext(format!("`context` has more than {MAX_VALUES} values")))?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| bounded(item, depth - 1, left)),
        Value::Object(table) => table.values().try_for_each(|item| bounded(item, depth - 1, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
