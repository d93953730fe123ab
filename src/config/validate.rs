//! Whether a tree has the shape that the keys say: types, ranges, unknown, missing and future keys.
//!
//! Reports everything and builds nothing.

use super::node::{Entry, Node, Origin, Table, Value};
use super::parse;
use super::report::did_you_mean;
use super::sink::Sink;
use super::spec::{self, Key, Kind, join};
use super::visit;

/// Longest name of a route, backend, metric, kind or token: they become labels.
const MAX_NAME: usize = 64;

/// How strictly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// A whole configuration.
    Whole,
    /// A layer that is not in use: nothing must be there, and variables are not filled in.
    Layer,
}

/// Checks a tree against the keys.
pub(super) fn table(path: &str, node: &Node, keys: &'static [Key], extent: Extent, sink: &Sink) {
    let Some(table) = node.as_table() else {
        sink.error(&node.origin, path, format!("found {}", node.describe()), "expected a table");
        return;
    };
    for (name, entry) in table {
        one_key(&join(path, name), name, entry, keys, extent, sink);
    }
    if extent == Extent::Whole {
        missing(path, node, table, keys, sink);
    }
}

fn one_key(path: &str, name: &str, entry: &Entry, keys: &'static [Key], extent: Extent, sink: &Sink) {
    match spec::find(keys, name) {
        None => {
            let guess = did_you_mean(name, keys.iter().map(|key| key.name)).unwrap_or_default();
            sink.error(&entry.key, path, "unknown key", format!("{guess}known here: {}", names(keys)));
        }
        Some(key) if key.later => {
            sink.error(&entry.key, path, "not yet available", "it is in the design and comes later; leave it out");
        }
        Some(key) if key.name == "*" => {
            check_name(path, name, &entry.key, sink);
            value(path, &entry.node, &key.kind, extent, sink);
        }
        Some(key) => value(path, &entry.node, &key.kind, extent, sink),
    }
}

/// All of them: who misspelt one looks for it in the list.
fn names(keys: &[Key]) -> String {
    let names: Vec<&str> = keys.iter().filter(|key| !key.later).map(|key| key.name).collect();
    names.join(", ")
}

fn missing(path: &str, node: &Node, table: &Table, keys: &'static [Key], sink: &Sink) {
    for key in keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
        sink.error(
            &node.origin,
            &join(path, key.name),
            format!("`{}` is missing", key.name),
            format!("add it: {}", key.doc),
        );
    }
}

fn value(path: &str, node: &Node, kind: &'static Kind, extent: Extent, sink: &Sink) {
    let kind = visit::resolve(kind, node);
    match kind {
        Kind::Table(keys) => table(path, node, keys, extent, sink),
        Kind::Named(keys) => named(path, node, keys, extent, sink),
        Kind::Headers(kind) => headers(path, node, kind, extent, sink),
        Kind::List(item) => match &node.value {
            Value::List(items) => items.iter().for_each(|node| value(path, node, item, extent, sink)),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Other(_)
            | Value::Table(_) => {
                sink.error(&node.origin, path, format!("found {}", node.describe()), "expected a list")
            }
        },
        // Resolved above.
        Kind::Either(..) => {}
        Kind::Leaf(leaf) => {
            let unknown = extent == Extent::Layer && node.as_text().is_some_and(|text| text.contains('$'));
            if !unknown && let Err(mistake) = parse::leaf(leaf, node) {
                sink.error(&node.origin, path, mistake.found, mistake.help);
            }
        }
    }
}

fn named(path: &str, node: &Node, keys: &'static [Key], extent: Extent, sink: &Sink) {
    let Some(entries) = node.as_table() else {
        sink.error(&node.origin, path, format!("found {}", node.describe()), "expected a table of named tables");
        return;
    };
    for (name, entry) in entries {
        let path = join(path, name);
        check_name(&path, name, &entry.key, sink);
        table(&path, &entry.node, keys, extent, sink);
    }
}

/// Names become labels and parts of paths, so they are plain.
pub(super) fn check_name(path: &str, name: &str, origin: &Origin, sink: &Sink) {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    if !plain || !(1..=MAX_NAME).contains(&name.len()) {
        let help = format!("names have 1 to {MAX_NAME} of the characters a-z, 0-9, `_` and `-`");
        sink.error(origin, path, format!("{name:?} cannot be a name"), help);
    }
}

fn headers(path: &str, node: &Node, kind: &'static Kind, extent: Extent, sink: &Sink) {
    let Some(entries) = node.as_table() else {
        sink.error(&node.origin, path, format!("found {}", node.describe()), r#"expected a table: { name = "value" }"#);
        return;
    };
    for (name, entry) in entries {
        let path = join(path, name);
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            sink.error(&entry.key, &path, format!("{name:?} is not the name of a header"), "for example `x-api-key`");
        }
        value(&path, &entry.node, kind, extent, sink);
    }
}
