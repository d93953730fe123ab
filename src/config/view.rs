//! Reading a validated tree by key: each accessor gives the value, typed, or nothing.
//!
//! Shape was judged by `validate` and defaults were filled in, so nothing here reports a mistake of
//! shape: what is `None` was either left out, or is in the report already.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::ledger::Ledger;
use super::node::{Entry, Node, Origin, Value};
use super::parse;
use super::sink::Sink;
use super::spec::{self, Key, Kind, Leaf, join};
use super::visit;

/// Largest secret in a file.
const MAX_SECRET_BYTES: usize = 64 << 10;

/// What all views of one tree share.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) sink: &'a Sink,
    pub(super) ledger: &'a Ledger,
    /// What relative paths of files start from.
    pub(super) folder: &'a Path,
    /// Every key that was asked for, as [`spec::walk`] names it.
    pub(super) read: RefCell<BTreeSet<String>>,
}

/// A table and its keys.
#[derive(Debug, Clone)]
pub(super) struct View<'a> {
    context: &'a Context<'a>,
    node: Option<&'a Node>,
    keys: &'static [Key],
    path: String,
    pattern: String,
}

impl<'a> View<'a> {
    /// The whole tree.
    pub(super) fn root(context: &'a Context<'a>, node: &'a Node) -> Self {
        Self { context, node: Some(node), keys: spec::ROOT, path: String::new(), pattern: String::new() }
    }

    /// Where the table was typed.
    pub(super) fn origin(&self) -> &'a Origin {
        self.node.map_or(&Origin::Default, |node| &node.origin)
    }

    /// The node and kind of a key. Asking for a key that is not in the spec is a mistake of ours that
    /// the test of all keys finds.
    fn find(&self, name: &str) -> Option<(&'a Node, &'static Kind)> {
        self.context.read.borrow_mut().insert(join(&self.pattern, name));
        let key = self.keys.iter().find(|key| key.name == name)?;
        Some((self.node?.get(name)?, &key.kind))
    }

    /// Whether the key was typed somewhere, rather than filled in.
    pub(super) fn is_typed(&self, name: &str) -> bool {
        self.node.and_then(|node| node.get(name)).is_some_and(|node| node.origin.is_typed())
    }

    /// A table with keys; empty if it is not there.
    pub(super) fn table(&self, name: &str) -> Self {
        self.optional_table(name).unwrap_or_else(|| {
            let keys: &'static [Key] = &[];
            Self { context: self.context, node: None, keys, path: self.path(name), pattern: join(&self.pattern, name) }
        })
    }

    /// A table with keys, if it is there.
    pub(super) fn optional_table(&self, name: &str) -> Option<Self> {
        let (node, kind) = self.find(name)?;
        let Kind::Table(keys) = kind else { return None };
        Some(Self {
            context: self.context,
            node: Some(node),
            keys,
            path: self.path(name),
            pattern: join(&self.pattern, name),
        })
    }

    /// The named tables, in the order of their names.
    pub(super) fn named(&self, name: &str) -> Vec<(&'a str, Self)> {
        let Some((node, Kind::Named(keys))) = self.find(name) else { return Vec::new() };
        let entries = node.as_table().into_iter().flatten();
        let view = |(entry_name, entry): (&'a String, &'a Entry)| {
            let path = join(&self.path(name), entry_name);
            let pattern = join(&join(&self.pattern, name), "NAME");
            (entry_name.as_str(), Self { context: self.context, node: Some(&entry.node), keys, path, pattern })
        };
        entries.map(view).collect()
    }

    /// The entries that no key lists, where there may be any.
    pub(super) fn others(&self) -> Vec<(&'a str, &'a Entry)> {
        self.context.read.borrow_mut().insert(join(&self.pattern, "*"));
        let entries = self.node.and_then(Node::as_table).into_iter().flatten();
        let others = entries.filter(|(name, _)| !self.keys.iter().any(|key| key.name == name.as_str()));
        others.map(|(name, entry)| (name.as_str(), entry)).collect()
    }

    /// The tables among them, in the order of their names.
    pub(super) fn other_tables(&self) -> Vec<(&'a str, Self)> {
        let Some(Key { kind: Kind::Table(keys), .. }) = self.keys.iter().find(|key| key.name == "*") else {
            return Vec::new();
        };
        let view = |(name, entry): (&'a str, &'a Entry)| {
            let (path, pattern) = (self.path(name), join(&self.pattern, "*"));
            (name, Self { context: self.context, node: Some(&entry.node), keys, path, pattern })
        };
        self.others().into_iter().map(view).collect()
    }

    /// The items of a list with their nodes.
    pub(super) fn items(&self, name: &str) -> Vec<&'a Node> {
        match self.find(name).map(|(node, _)| &node.value) {
            Some(Value::List(items)) => items.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the key holds a list without items.
    pub(super) fn is_empty_list(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| node.value == Value::List(Vec::new()))
    }

    /// The tables of a list; items that are none are left out.
    pub(super) fn tables(&self, name: &str) -> Vec<Self> {
        self.items(name).into_iter().filter_map(|item| self.item_table(name, item)).collect()
    }

    /// An item of a list as a table.
    pub(super) fn item_table(&self, name: &str, item: &'a Node) -> Option<Self> {
        let key = self.keys.iter().find(|key| key.name == name)?;
        let Kind::List(kind) = &key.kind else { return None };
        let Kind::Table(keys) = visit::resolve(kind, item) else { return None };
        let (path, pattern) = (self.path(name), join(&self.pattern, name));
        Some(Self { context: self.context, node: Some(item), keys, path, pattern })
    }

    /// A node of any kind.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.find(name).map(|(node, _)| node)
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.node(name)?.as_text()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        parse::boolean(self.node(name)?).ok()
    }

    /// A whole number, of any type that the key's range fits.
    pub(super) fn integer<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let (node, Kind::Leaf(Leaf::Integer(min, max))) = self.find(name)? else { return None };
        parse::integer(node, *min, *max).ok().and_then(|number| T::try_from(number).ok())
    }

    /// A number.
    pub(super) fn float(&self, name: &str) -> Option<f64> {
        let (node, Kind::Leaf(Leaf::Float(min, max))) = self.find(name)? else { return None };
        parse::float(node, *min, *max).ok()
    }

    /// A length of time.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        let (node, Kind::Leaf(Leaf::Duration(min, max))) = self.find(name)? else { return None };
        parse::duration(node, *min, *max).ok()
    }

    /// Bytes.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        let (node, Kind::Leaf(Leaf::Size(min, max))) = self.find(name)? else { return None };
        parse::size(node, *min, *max).ok()
    }

    /// One of the key's words.
    pub(super) fn word(&self, name: &str) -> Option<&'a str> {
        let (node, Kind::Leaf(Leaf::Word { now, later })) = self.find(name)? else { return None };
        parse::word(node, now, later).ok()
    }

    /// Any value, as JSON.
    pub(super) fn json(&self, name: &str) -> Option<serde_json::Value> {
        parse::json(self.node(name)?).ok()
    }

    /// `ip:port`.
    pub(super) fn address(&self, name: &str) -> Option<SocketAddr> {
        parse::address(self.node(name)?).ok()
    }

    /// The name of a header.
    pub(super) fn header_name(&self, name: &str) -> Option<HeaderName> {
        parse::header_name(self.node(name)?).ok()
    }

    /// A host name.
    pub(super) fn host(&self, name: &str) -> Option<String> {
        parse::host(self.node(name)?).ok()
    }

    /// A path.
    pub(super) fn request_path(&self, name: &str) -> Option<String> {
        parse::path(self.node(name)?).ok()
    }

    /// A path as it was typed, which begins in the configuration's folder.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.context.folder.join(path)
    }

    /// A secret of at least `least` bytes.
    pub(super) fn secret(&self, name: &str, least: usize) -> Option<SecretString> {
        self.secret_at(name, self.node(name)?, least)
    }

    fn secret_at(&self, name: &str, node: &Node, least: usize) -> Option<SecretString> {
        let secret = self.secret_text(&self.path(name), node)?;
        if secret.len() < least {
            let help = format!("a secret that can be guessed is none: at least {least} bytes");
            self.context.sink.error(&node.origin, &self.path(name), format!("found {} bytes", secret.len()), help);
            return None;
        }
        Some(SecretString::from(secret))
    }

    /// A list of secrets of at least `least` bytes each.
    pub(super) fn secrets(&self, name: &str, least: usize) -> Option<Vec<SecretString>> {
        let secrets: Vec<Option<SecretString>> =
            self.items(name).into_iter().map(|node| self.secret_at(name, node, least)).collect();
        secrets.into_iter().collect()
    }

    /// The tables of a key that takes one, or a list of them.
    pub(super) fn one_or_more(&self, name: &str) -> Vec<Self> {
        let Some((node, Kind::Either(_, Kind::Table(keys)))) = self.find(name) else { return Vec::new() };
        let nodes: Vec<&Node> = if let Value::List(items) = &node.value { items.iter().collect() } else { vec![node] };
        let (path, pattern) = (self.path(name), join(&self.pattern, name));
        let view =
            |node| Self { context: self.context, node: Some(node), keys, path: path.clone(), pattern: pattern.clone() };
        nodes.into_iter().filter(|node| node.as_table().is_some()).map(view).collect()
    }

    /// Header fields. The values of kind `secret` are marked, so that nothing shows them.
    pub(super) fn headers(&self, name: &str) -> Vec<(HeaderName, HeaderValue)> {
        let Some((node, Kind::Headers(kind))) = self.find(name) else { return Vec::new() };
        let sensitive = matches!(kind, Kind::Leaf(Leaf::Secret));
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (field, entry) in node.as_table().into_iter().flatten() {
            let path = join(&self.path(name), field);
            let Ok(header) = HeaderName::from_bytes(field.as_bytes()) else { continue };
            self.check_settable(&path, &entry.key, &header);
            if fields.iter().any(|(other, _)| *other == header) {
                self.context.sink.error(&entry.key, &path, "the same header twice", "header names ignore case");
            }
            if let Some(value) = self.field_value(&path, &entry.node, sensitive) {
                fields.push((header, value));
            }
        }
        fields
    }

    fn field_value(&self, path: &str, node: &Node, sensitive: bool) -> Option<HeaderValue> {
        let text = if sensitive { self.secret_text(path, node)? } else { node.as_text()?.to_owned() };
        let Ok(mut value) = HeaderValue::from_str(&text) else {
            // Values that are no secrets were judged by their kind.
            if sensitive {
                let help = "a header's value is visible ASCII on one line";
                self.context.sink.error(&node.origin, path, "found a value that cannot stand in a header", help);
            }
            return None;
        };
        value.set_sensitive(sensitive);
        Some(value)
    }

    /// Framing and hop-by-hop fields are the gateway's own.
    pub(super) fn check_settable(&self, path: &str, origin: &Origin, header: &HeaderName) {
        const OURS: [&str; 9] = [
            "connection",
            "content-length",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        if OURS.contains(&header.as_str()) {
            let help = "framing, hop-by-hop fields and `host` are the gateway's; see `backends.NAME.host`";
            self.context.sink.error(origin, path, format!("`{header}` cannot be changed"), help);
        }
    }

    fn secret_text(&self, path: &str, node: &Node) -> Option<String> {
        if let Some(text) = node.as_text() {
            return Some(text.to_owned());
        }
        let file = parse::file_reference(node)?;
        let bytes = self.file_bytes(path, node, file)?;
        let text = String::from_utf8(bytes.to_vec()).ok();
        let text = text.as_deref().map(|text| text.strip_suffix('\n').unwrap_or(text));
        let text = text.map(|text| text.strip_suffix('\r').unwrap_or(text));
        let mistake = match text {
            None => "is not UTF-8",
            Some("") => "is empty",
            Some(text) if text.len() > MAX_SECRET_BYTES => "is too large for a secret: at most 64 KiB",
            Some(text) => return Some(text.to_owned()),
        };
        self.context.sink.error(
            &node.origin,
            path,
            format!("the file {file:?} {mistake}"),
            "it holds the secret alone",
        );
        None
    }

    /// The bytes of the file that a key names.
    pub(super) fn file(&self, name: &str) -> Option<&'a [u8]> {
        let node = self.node(name)?;
        self.file_bytes(&self.path(name), node, parse::file(node).ok()?)
    }

    fn file_bytes(&self, path: &str, node: &Node, file: &str) -> Option<&'a [u8]> {
        match self.context.ledger.known(&self.context.folder.join(file))? {
            Ok(bytes) => Some(bytes),
            Err(reason) => {
                let help = "the file must be there and readable when the configuration is loaded";
                self.context.sink.error(&node.origin, path, format!("cannot read {file:?}: {reason}"), help);
                None
            }
        }
    }

    /// The path of one of the keys.
    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// The place of a key; of the table where the key was not typed.
    pub(super) fn place(&self, name: &str) -> &'a Origin {
        let origin = self.node.and_then(|node| node.get(name)).map(|node| &node.origin);
        origin.filter(|origin| origin.is_typed()).unwrap_or_else(|| self.origin())
    }

    /// Reports a mistake at a key.
    pub(super) fn error(&self, name: &str, found: impl Into<String>, help: impl Into<String>) {
        self.context.sink.error(self.place(name), &self.path(name), found, help);
    }

    /// Reports something doubtful at a key.
    pub(super) fn warning(&self, name: &str, found: impl Into<String>, help: impl Into<String>) {
        self.context.sink.warning(self.place(name), &self.path(name), found, help);
    }

    /// Reports a mistake at a place of its own.
    pub(super) fn error_at(&self, origin: &Origin, name: &str, found: impl Into<String>, help: impl Into<String>) {
        self.context.sink.error(origin, &self.path(name), found, help);
    }
}
