//! Going through a tree of values with the tree of keys at hand.

use super::node::{Entry, Node, Origin, Source, SourceKind, Value, parse_value};
use super::spec::{self, Key, Kind, join};
use std::sync::Arc;

/// The kind that a value has where two are possible: the table if it is one, the first otherwise.
pub(super) fn resolve(kind: &'static Kind, node: &Node) -> &'static Kind {
    match kind {
        Kind::Either(_, other) if node.as_table().is_some() => other,
        Kind::Either(one, _) => one,
        Kind::Leaf(_) | Kind::List(_) | Kind::Table(_) | Kind::Named(_) | Kind::Headers(_) => kind,
    }
}

/// Calls `see` with the path, kind and node of every value that a known key holds.
pub(super) fn visit(node: &Node, keys: &'static [Key], see: &mut impl FnMut(&str, &'static Kind, &Node)) {
    visit_table("", node, keys, see);
}

fn visit_table(path: &str, node: &Node, keys: &'static [Key], see: &mut impl FnMut(&str, &'static Kind, &Node)) {
    for (name, entry) in node.as_table().into_iter().flatten() {
        if let Some(key) = spec::find(keys, name) {
            visit_value(&join(path, name), &entry.node, &key.kind, see);
        }
    }
}

fn visit_value(path: &str, node: &Node, kind: &'static Kind, see: &mut impl FnMut(&str, &'static Kind, &Node)) {
    let kind = resolve(kind, node);
    see(path, kind, node);
    match kind {
        Kind::Table(keys) => visit_table(path, node, keys, see),
        Kind::Named(keys) => {
            for (name, entry) in node.as_table().into_iter().flatten() {
                visit_table(&join(path, name), &entry.node, keys, see);
            }
        }
        Kind::Headers(value) => {
            for (name, entry) in node.as_table().into_iter().flatten() {
                visit_value(&join(path, name), &entry.node, value, see);
            }
        }
        Kind::List(item) => {
            if let Value::List(items) = &node.value {
                for node in items {
                    visit_value(path, node, item, see);
                }
            }
        }
        Kind::Leaf(_) | Kind::Either(..) => {}
    }
}

/// Puts the default of every key that is missing.
pub(super) fn fill_defaults(node: &mut Node, keys: &'static [Key]) {
    let Some(table) = node.as_table_mut() else { return };
    for key in keys.iter().filter(|key| !key.later) {
        if key.name == "*" {
            let others = table.iter_mut().filter(|(name, _)| !keys.iter().any(|key| key.name == name.as_str()));
            others.for_each(|(_, entry)| fill_value(&mut entry.node, &key.kind));
            continue;
        }
        if !table.contains_key(key.name)
            && let Some(default) = default_of(key)
        {
            table.insert(key.name.to_owned(), Entry { key: Origin::Default, node: default });
        }
        if let Some(entry) = table.get_mut(key.name) {
            fill_value(&mut entry.node, &key.kind);
        }
    }
}

fn fill_value(node: &mut Node, kind: &'static Kind) {
    match (resolve(kind, node), &mut node.value) {
        (Kind::Table(keys), Value::Table(_)) => fill_defaults(node, keys),
        (Kind::Named(keys), Value::Table(table)) => {
            for entry in table.values_mut() {
                fill_defaults(&mut entry.node, keys);
            }
        }
        (Kind::List(item), Value::List(items)) => {
            for node in items {
                fill_value(node, item);
            }
        }
        _ => {}
    }
}

/// What a key holds where it was not typed.
pub(super) fn default_of(key: &'static Key) -> Option<Node> {
    match key.kind {
        Kind::Table(_) if !key.optional && !key.required => Some(Node::empty()),
        Kind::Named(_) | Kind::Headers(_) => Some(Node::empty()),
        Kind::Leaf(_) | Kind::List(_) | Kind::Either(..) | Kind::Table(_) => {
            key.default.map(|text| default_node(&key.kind, text))
        }
    }
}

fn default_node(kind: &Kind, text: &str) -> Node {
    let source = Arc::new(Source { name: String::new(), kind: SourceKind::File, text: text.to_owned() });
    let mut node = match parse_value(&source) {
        Ok(node) if !kind.is_text() => node,
        // A test parses every default, so this is a string's bare text.
        Ok(_) | Err(_) => Node::new(Value::Text(text.to_owned()), Origin::Default),
    };
    forget_origin(&mut node);
    node
}

fn forget_origin(node: &mut Node) {
    node.origin = Origin::Default;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(forget_origin),
        Value::Table(table) => {
            for entry in table.values_mut() {
                entry.key = Origin::Default;
                forget_origin(&mut entry.node);
            }
        }
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_) => {}
    }
}

/// The kind `user` read from `x-user-id`, where the file names no kinds at all.
pub(super) fn fill_contexts(root: &mut Node) {
    let Some(table) = root.as_table_mut() else { return };
    let named = table.get("contexts").is_some_and(|entry| entry.node.as_table().is_none_or(|kinds| !kinds.is_empty()));
    if !named {
        let user = default_node(&Kind::Named(&[]), r#"{ user = { key = [{ header = "x-user-id" }] } }"#);
        table.insert("contexts".to_owned(), Entry { key: Origin::Default, node: user });
    }
}
