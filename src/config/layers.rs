//! Laying one tree over another, and the environment as a tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Entry, Node, Origin, Source, SourceKind, Table, Value, parse_value};
use super::report::did_you_mean;
use super::spec::{Key, Kind, Leaf, ROOT, join};

/// What environment variables that set keys begin with.
pub(super) const PREFIX: &str = "POINTSMAN__";

/// A value that two layers have.
pub(super) struct Overlaid<'a> {
    pub(super) path: &'a str,
    pub(super) old: &'a Node,
    pub(super) new: &'a Node,
    /// Whether the new one counts.
    pub(super) counts: bool,
}

/// Lays `over` onto `base`: tables are merged, everything else is replaced but for a kill switch that is thrown. `overlaid`
/// gets every value that both have, unless both throw the switch.
pub(super) fn merge(base: &mut Node, over: Node, path: &str, overlaid: &mut impl FnMut(Overlaid<'_>)) {
    if base.as_table().is_none() || over.as_table().is_none() {
        let off = Value::Bool(false);
        let counts = !(is_kill_switch(path) && base.value == off);
        if counts || over.value != off {
            overlaid(Overlaid { path, old: base, new: &over, counts });
        }
        if counts {
            *base = over;
        }
        return;
    }
    let (Value::Table(table), Value::Table(news)) = (&mut base.value, over.value) else { return };
    for (name, entry) in news {
        match table.get_mut(&name) {
            Some(old) => merge(&mut old.node, entry.node, &join(path, &name), overlaid),
            None => {
                table.insert(name, entry);
            }
        }
    }
}

/// `routes.NAME.enabled`: no layer may take back another's `false`.
fn is_kill_switch(path: &str) -> bool {
    path.strip_prefix("routes.").and_then(|rest| rest.strip_suffix(".enabled")).is_some_and(|name| !name.contains('.'))
}

/// An environment variable that sets nothing; its value is never shown.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) origin: Origin,
    pub(super) found: String,
    pub(super) help: String,
}

/// A key set from the environment.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) path: Vec<String>,
    pub(super) node: Node,
    pub(super) secret: bool,
}

/// What the environment sets. `tree` says which names there are.
pub(super) fn environment(variables: &BTreeMap<String, String>, tree: &Node) -> Vec<Result<Setting, Unusable>> {
    let ours = variables.iter().filter(|(name, _)| name.starts_with(PREFIX));
    ours.map(|(name, value)| setting(name, value, tree)).collect()
}

fn setting(name: &str, value: &str, tree: &Node) -> Result<Setting, Unusable> {
    let source =
        Arc::new(Source { name: format!("environment {name}"), kind: SourceKind::Environment, text: value.to_owned() });
    let origin = Origin::Source { source: Arc::clone(&source), span: 0..value.len() };
    let segments: Vec<&str> = name[PREFIX.len()..].split("__").collect();
    // What an unknown name holds may well be a secret that was misspelt.
    let unusable = |(found, help)| Unusable { origin, found, help };
    let (path, kind) = resolve(&segments, ROOT, tree).map_err(unusable)?;
    let secret = matches!(kind, Kind::Leaf(Leaf::Secret));
    Ok(Setting { path, node: value_node(kind, &source), secret })
}

type Resolved = Result<(Vec<String>, &'static Kind), (String, String)>;

fn resolve(segments: &[&str], keys: &'static [Key], node: &Node) -> Resolved {
    let Some((first, rest)) = segments.split_first() else {
        return Err(("names a table, not a key".to_owned(), "name one of its keys behind `__`".to_owned()));
    };
    let name = first.to_lowercase();
    // The environment changes entries, it adds none.
    let listed = |key: &&Key| key.name == name || (key.name == "*" && node.get(&name).is_some());
    let Some(key) = keys.iter().find(listed) else {
        let guess = did_you_mean(&name, keys.iter().map(|key| key.name)).unwrap_or_default();
        return Err((format!("unknown key `{name}`"), guess));
    };
    if key.later {
        return Err((format!("`{name}` is not yet available"), String::new()));
    }
    let empty = Node::empty();
    let node = node.get(&name).unwrap_or(&empty);
    let (below, kind) = match &key.kind {
        Kind::Table(keys) => resolve(rest, keys, node)?,
        Kind::Named(keys) => resolve_named(rest, keys, node)?,
        Kind::Headers(value) => {
            let [header] = rest else {
                return Err(("names no header".to_owned(), "name one header behind `__`".to_owned()));
            };
            (vec![header.to_lowercase().replace('_', "-")], *value)
        }
        kind @ (Kind::Leaf(_) | Kind::List(_) | Kind::Either(..)) => {
            if !rest.is_empty() {
                return Err((format!("`{name}` has no keys below it"), String::new()));
            }
            (Vec::new(), kind)
        }
    };
    Ok(([vec![name], below].concat(), kind))
}

fn resolve_named(segments: &[&str], keys: &'static [Key], node: &Node) -> Resolved {
    let Some((first, rest)) = segments.split_first() else {
        return Err(("names a table, not a key".to_owned(), "name an entry and a key behind `__`".to_owned()));
    };
    let wanted = first.to_lowercase();
    let names = || node.as_table().into_iter().flat_map(Table::keys);
    // Shells allow no dashes in names of variables.
    let exact = names().find(|name| **name == wanted);
    let Some(name) = exact.or_else(|| names().find(|name| name.replace('-', "_") == wanted)) else {
        let guess = did_you_mean(&wanted, names().map(String::as_str)).unwrap_or_default();
        return Err((
            format!("no file names `{wanted}`"),
            format!("{guess}the environment changes entries, it adds none"),
        ));
    };
    let empty = Node::empty();
    let (below, kind) = resolve(rest, keys, node.get(name).unwrap_or(&empty))?;
    Ok(([vec![name.clone()], below].concat(), kind))
}

/// A variable's value: TOML, or the bare text where a string belongs or nothing else can be made of
/// it, so that validation says what would be right.
fn value_node(kind: &'static Kind, source: &Arc<Source>) -> Node {
    let origin = Origin::Source { source: Arc::clone(source), span: 0..source.text.len() };
    let parsed = parse_value(source).ok();
    let fits = |node: &Node| !kind.is_text() || matches!(node.value, Value::Text(_) | Value::Table(_));
    parsed.filter(fits).unwrap_or_else(|| Node::new(Value::Text(source.text.clone()), origin))
}

/// A tree that holds one setting and nothing else.
pub(super) fn tree_of(setting: Setting) -> Node {
    let Setting { path, node, .. } = setting;
    path.into_iter().rev().fold(node, |node, name| {
        let origin = node.origin.clone();
        let entry = Entry { key: origin.clone(), node };
        Node::new(Value::Table(Table::from([(name, entry)])), origin)
    })
}
