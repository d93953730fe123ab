//! A configuration as it may be shown: before variables are filled in, and without secrets.

use serde_json::{Map, Value as Json};

use super::node::{Node, Value};
use super::spec::{self, Key, Kind, Leaf};
use super::visit;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The whole tree.
pub(super) fn tree(node: &Node) -> Json {
    table(node, spec::ROOT)
}

fn table(node: &Node, keys: &'static [Key]) -> Json {
    let entries = node.as_table().into_iter().flatten();
    // What no key describes cannot be known to be harmless.
    let shown = entries.filter_map(|(name, entry)| {
        let key = spec::find(keys, name)?;
        Some((name.clone(), value(&entry.node, &key.kind)))
    });
    Json::Object(shown.collect::<Map<String, Json>>())
}

fn value(node: &Node, kind: &'static Kind) -> Json {
    let kind = visit::resolve(kind, node);
    match (kind, &node.value) {
        (Kind::Leaf(Leaf::Secret), _) => Json::from(REDACTED),
        (Kind::Table(keys), _) => table(node, keys),
        (Kind::Named(keys), Value::Table(entries)) => {
            Json::Object(entries.iter().map(|(name, entry)| (name.clone(), table(&entry.node, keys))).collect())
        }
        (Kind::Headers(kind), Value::Table(entries)) => {
            Json::Object(entries.iter().map(|(name, entry)| (name.clone(), value(&entry.node, kind))).collect())
        }
        (Kind::Leaf(Leaf::Condition | Leaf::Constant | Leaf::Json), _) => whole(node),
        (Kind::List(kind), Value::List(items)) => items.iter().map(|node| value(node, kind)).collect(),
        (_, value) => scalar(value),
    }
}

/// Everything below a node that holds no secrets.
fn whole(node: &Node) -> Json {
    match &node.value {
        Value::Table(table) => table.iter().map(|(name, entry)| (name.clone(), whole(&entry.node))).collect(),
        Value::List(items) => items.iter().map(whole).collect(),
        value @ (Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_)) => {
            scalar(value)
        }
    }
}

/// A value that is no container; containers are `null`.
pub(super) fn scalar(value: &Value) -> Json {
    match value {
        Value::Text(text) | Value::Other(text) => Json::from(text.as_str()),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Bool(word) => Json::from(*word),
        Value::List(_) | Value::Table(_) => Json::Null,
    }
}
