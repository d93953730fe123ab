//! What is asked of `explain`, and the facts that a decision is made from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::config::model::{Attribute, ContextIndex, Place, Route};
use crate::domain::Arm;
use crate::domain::condition::Fact;
use crate::domain::context::usable_key;

/// What is asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The route's name.
    pub route: String,
    /// The key of the kind that splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The arm that a tester's header asks for.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub override_arm: Option<Arm>,
    /// The pin of a running conversation, as the client would send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Attributes by name (`user.tier`): strings as they would be sent, or values of their type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// There is no such route.
    #[error("there is no route {name:?}; there are: {known}")]
    Route {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is no such attribute.
    #[error("there is no attribute {name:?}; there are: {known}")]
    Attribute {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// The attributes of a question, by slot, and the names of those that cannot be read as their type.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) facts: Vec<Option<Fact<'static>>>,
    /// Keys of other kinds than the one that splits.
    pub(super) keys: Vec<(ContextIndex, Cow<'static, str>)>,
    pub(super) unreadable: Vec<String>,
}

impl Question {
    /// Reads `route=&key=&override=&pin=&attr=NAME=VALUE`, the last as often as wanted.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut question = Self::default();
        let mut route = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "route" => route = Some(value.into_owned()),
                "key" => question.key = Some(value.into_owned()),
                "override" => {
                    let arm = Arm::parse(&value);
                    question.override_arm = Some(arm.ok_or_else(|| format!("override={value:?}: no such arm"))?);
                }
                "pin" => question.pin = Some(value.into_owned()),
                "attr" => {
                    let (name, value) = attribute(&value)?;
                    question.attributes.insert(name, value);
                }
                other => return Err(format!("unknown parameter {other:?}")),
            }
        }
        question.route = route.ok_or("the parameter \"route\" is missing")?;
        Ok(question)
    }

    /// The query that [`Question::from_query`] reads. Attributes that are no strings are written as JSON.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("route", &self.route);
        if let Some(key) = &self.key {
            query.append_pair("key", key);
        }
        if let Some(arm) = self.override_arm {
            query.append_pair("override", arm.as_str());
        }
        if let Some(pin) = &self.pin {
            query.append_pair("pin", pin);
        }
        for (name, value) in &self.attributes {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            query.append_pair("attr", &format!("{name}={value}"));
        }
        query.finish()
    }

    /// The facts: what was given, the key of the kind that splits, and constants.
    pub(super) fn facts(&self, config: &Config, route: &Route) -> Result<Given, Unanswerable> {
        for name in self.attributes.keys() {
            if !config.attributes.iter().any(|known| *known.name == **name) {
                let known: Vec<&str> = config.attributes.iter().map(|known| &*known.name).collect();
                return Err(Unanswerable::Attribute { name: name.clone(), known: known.join(", ") });
            }
        }
        let mut given = Given::default();
        for attribute in &config.attributes {
            let fact = match (self.attributes.get(&*attribute.name), &attribute.place) {
                (Some(value), _) => {
                    let fact = read(attribute, value);
                    if fact.is_none() {
                        given.unreadable.push(attribute.name.to_string());
                    }
                    fact
                }
                (None, Place::Constant(fact)) => Some(fact.clone()),
                (None, Place::Key(kind)) if *kind == route.policy.split_by => {
                    let key = self.key.as_deref().and_then(usable_key);
                    key.map(|key| Fact::Text(Cow::Owned(key.to_owned())))
                }
                (None, Place::Key(_) | Place::Source(_) | Place::PathSegment(_) | Place::ClientIp | Place::Method) => {
                    None
                }
            };
            if let (Place::Key(kind), Some(Fact::Text(key))) = (&attribute.place, &fact)
                && *kind != route.policy.split_by
                && usable_key(key).is_some()
            {
                given.keys.push((*kind, key.clone()));
            }
            given.facts.push(fact);
        }
        Ok(given)
    }
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// When there is no `=`.
pub fn attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, for example user.tier=premium")?;
    Ok((name.to_owned(), Value::from(value)))
}

/// As it would be read from a request; words in place of lists, numbers and so on are read, too.
pub(super) fn read(attribute: &Attribute, value: &Value) -> Option<Fact<'static>> {
    match Fact::from_json(attribute.kind, value) {
        Some(fact) => Some(fact.into_owned()),
        None => match value {
            Value::Number(_) | Value::Bool(_) => Fact::read(attribute.kind, Cow::Owned(value.to_string())),
            Value::String(_) | Value::Array(_) | Value::Null | Value::Object(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_query_reads_what_was_written(
            route in ".{0,10}",
            key in proptest::option::of(".{0,10}"),
            attributes in proptest::collection::btree_map("[a-z.]{1,6}", ".{0,8}".prop_map(Value::from), 0..4),
        ) {
            let question = Question { route, key, override_arm: Some(Arm::Control), pin: Some("p".into()), attributes };
            let read = Question::from_query(&question.to_query()).unwrap();
            prop_assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&question).unwrap());
        }
    }

    #[test]
    fn mistakes_in_a_query_are_told() {
        for query in ["", "key=a", "route=a&other=1", "route=a&override=both", "route=a&attr=user.tier"] {
            assert!(Question::from_query(query).is_err(), "{query}");
        }
    }
}
