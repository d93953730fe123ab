//! Attributes of `[contexts.KIND]`: what conditions look at, each with its slot.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::model::{Attribute, Place, Source};
use crate::config::node::{Node, Value};
use crate::config::view::View;
use crate::domain::condition::{Fact, Type};

use super::server::{is_token, pointer};

/// The name under which conditions see the key of a kind.
const KEY: &str = "key";

/// An attribute that was named. Its place in the list is its slot, whether or not it is right.
#[derive(Debug)]
pub(super) struct Known {
    /// Index of its kind.
    pub(super) context: usize,
    /// Its name within the kind.
    pub(super) name: String,
    /// `None` has a mistake that is in the report.
    pub(super) attribute: Option<Attribute>,
}

/// All attributes, those of one kind together.
pub(super) fn all(contexts: &[(&str, View<'_>)]) -> Vec<Known> {
    let mut known = Vec::new();
    for (context, (kind, view)) in contexts.iter().enumerate() {
        if view.node(KEY).is_some() {
            let attribute = Attribute { name: name_of(kind, KEY), kind: Type::String, place: Place::Key(context) };
            known.push(Known { context, name: KEY.to_owned(), attribute: Some(attribute) });
        }
        for (name, view) in view.other_tables() {
            let attribute = attribute(&name_of(kind, name), &view);
            known.push(Known { context, name: name.to_owned(), attribute });
        }
    }
    known
}

fn name_of(kind: &str, name: &str) -> Arc<str> {
    Arc::from(format!("{kind}.{name}"))
}

fn attribute(name: &Arc<str>, view: &View<'_>) -> Option<Attribute> {
    let kind = view.word("type").and_then(Type::parse);
    let place = place(view, kind?);
    Some(Attribute { name: Arc::clone(name), kind: kind?, place: place? })
}

/// Places that an attribute can name; it names one.
const PLACES: [&str; 8] = ["header", "cookie", "query", "json", "path_segment", "client_ip", "method", "const"];

fn place(view: &View<'_>, kind: Type) -> Option<Place> {
    let header = view.header_name("header").map(|name| Place::Source(Source::Header(name)));
    let cookie = token(view, "cookie").map(|name| Place::Source(Source::Cookie(name)));
    let query = token(view, "query").map(|name| Place::Source(Source::Query(name)));
    let body = pointer(view, "json").map(|pointer| Place::Source(Source::Body(pointer)));
    let segment = view.integer("path_segment").map(Place::PathSegment);
    let client_ip = flag(view, "client_ip", Place::ClientIp);
    let method = flag(view, "method", Place::Method);
    let constant = view.node("const").and_then(|node| constant(view, node, kind)).map(Place::Constant);
    let count = PLACES.into_iter().filter(|key| view.is_typed(key)).count();
    if count != 1 {
        let help = format!("an attribute has one of {}", PLACES.map(|key| format!("`{key}`")).join(", "));
        view.error("", format!("an attribute with {count} places"), help);
        return None;
    }
    [header, cookie, query, body, segment, client_ip, method, constant].into_iter().flatten().next()
}

fn token(view: &View<'_>, key: &str) -> Option<String> {
    let name = view.text(key)?;
    if !is_token(name) {
        view.error(key, "an empty name, or one with spaces or separators", "for example `uid`");
        return None;
    }
    Some(name.to_owned())
}

fn flag(view: &View<'_>, key: &str, place: Place) -> Option<Place> {
    if !view.boolean(key)? {
        view.error(key, "`false` reads nothing", "write `true`, or leave it out");
        return None;
    }
    Some(place)
}

fn constant(view: &View<'_>, node: &Node, kind: Type) -> Option<Fact<'static>> {
    let fact = match (&node.value, kind) {
        (Value::Text(text), kind) => Fact::read(kind, Cow::Owned(text.clone())),
        (Value::Integer(number), Type::Number) => Some(Fact::Number(*number as f64)),
        (Value::Float(number), Type::Number) if number.is_finite() => Some(Fact::Number(*number)),
        (Value::Bool(word), Type::Boolean) => Some(Fact::Boolean(*word)),
        (Value::List(items), Type::List) => {
            let items = items.iter().filter_map(Node::as_text);
            Some(Fact::List(items.map(|item| Cow::Owned(item.to_owned())).collect()))
        }
        _ => None,
    };
    if fact.is_none() {
        let found = format!("{} is none of type {:?}", node.describe(), kind.as_str());
        view.error("const", found, "let `type` and value agree");
    }
    fact
}
