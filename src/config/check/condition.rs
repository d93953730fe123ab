//! Conditions: from tables of clauses to what is evaluated, with segments put in place.
//!
//! A condition is compiled once; what is wrong in a segment is reported in the segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::node::{Entry, Node, Origin, Table, Value};
use crate::config::report::did_you_mean;
use crate::config::spec::join;
use crate::config::view::View;
use crate::domain::condition::{Clause, MAX_CLAUSES, MAX_DEPTH, Operand, Operator, Predicate, Segment, Slot};
use crate::domain::rewrite::Mention;

use super::attribute::Known;

/// Words of a condition that are no kinds.
pub(super) const RESERVED: [&str; 4] = ["any", "all", "not", "segment"];

/// What conditions are compiled against.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    attributes: &'a [Known],
    kinds: &'a [&'a str],
    view: View<'a>,
    entries: BTreeMap<&'a str, &'a Entry>,
    /// `None` has a mistake that is in the report.
    compiled: BTreeMap<&'a str, Option<Arc<Segment>>>,
    /// Segments that are being compiled, each referred to by the one before.
    open: Vec<&'a str>,
}

/// Where a clause stands: for messages.
#[derive(Clone, Copy)]
struct At<'v> {
    view: &'v View<'v>,
    path: &'v str,
    depth: usize,
}

impl At<'_> {
    fn error(self, origin: &Origin, found: impl Into<String>, help: impl Into<String>) {
        self.view.error_at(origin, self.path, found, help);
    }
}

impl<'a> Conditions<'a> {
    pub(super) fn new(attributes: &'a [Known], kinds: &'a [&'a str], view: View<'a>) -> Self {
        let entries = view.others().into_iter().collect();
        Self { attributes, kinds, view, entries, compiled: BTreeMap::new(), open: Vec::new() }
    }

    /// Compiles all, so that mistakes in those that nobody refers to are told.
    pub(super) fn compile_segments(&mut self) {
        let names: Vec<&'a str> = self.entries.keys().copied().collect();
        for name in names {
            self.segment(name);
        }
    }

    /// Whether a kind has a key to split by.
    pub(super) fn has_key(&self, context: usize) -> bool {
        self.attributes.iter().any(|known| known.context == context && known.name == "key")
    }

    /// The slots of what a template mentions.
    ///
    /// # Errors
    /// What is wrong with it, and what there is.
    pub(super) fn mentioned(&self, mention: &Mention) -> Result<Vec<Slot>, (String, String)> {
        let (kind, name) = match mention {
            Mention::All => return Ok((0..self.attributes.len()).collect()),
            Mention::Kind(kind) => (kind, None),
            Mention::Attribute(kind, name) => (kind, Some(name)),
        };
        let Some(context) = self.kinds.iter().position(|known| known == kind) else {
            let found = format!("there is no kind {kind:?} in [contexts]");
            return Err((found, expected_one_of(kind, self.kinds.iter().copied())));
        };
        let of_kind = || self.attributes.iter().enumerate().filter(move |(_, known)| known.context == context);
        let slots: Vec<Slot> =
            of_kind().filter(|(_, known)| name.is_none_or(|name| known.name == *name)).map(|(slot, _)| slot).collect();
        match name.filter(|_| slots.is_empty()) {
            Some(name) => {
                let help = expected_one_of(name, of_kind().map(|(_, known)| known.name.as_str()));
                Err((format!("there is no attribute `{kind}.{name}`"), help))
            }
            None => Ok(slots),
        }
    }

    /// The condition that a key holds.
    pub(super) fn compile(&mut self, view: &View<'_>, key: &str) -> Option<Clause> {
        let node = view.node(key)?;
        self.bounded(node, At { view, path: key, depth: 1 })
    }

    fn bounded(&mut self, node: &Node, at: At<'_>) -> Option<Clause> {
        let clause = self.table(node, at)?;
        if !clause.extent().is_allowed() {
            let help = format!("at most {MAX_DEPTH} levels and {MAX_CLAUSES} clauses, with all segments in place");
            at.error(&node.origin, "a condition that is too large", help);
            return None;
        }
        Some(clause)
    }

    fn segment(&mut self, name: &'a str) -> Option<Arc<Segment>> {
        if let Some(known) = self.compiled.get(name) {
            return known.clone();
        }
        let entry: &'a Entry = self.entries.get(name)?;
        let view = self.view.clone();
        self.open.push(name);
        let clause = self.bounded(&entry.node, At { view: &view, path: name, depth: 1 });
        self.open.pop();
        let segment = clause.map(|clause| Arc::new(Segment::new(name, clause)));
        self.compiled.insert(name, segment.clone());
        segment
    }

    /// Keys of one table are ANDed.
    fn table(&mut self, node: &Node, at: At<'_>) -> Option<Clause> {
        if at.depth > MAX_DEPTH {
            at.error(&node.origin, "clauses nested too deeply", format!("at most {MAX_DEPTH} levels"));
            return None;
        }
        let Some(table) = node.as_table().filter(|table| !table.is_empty()) else {
            let help = r#"expected a table of clauses, for example { user.tier = "premium" }"#;
            // The outermost was judged by its kind.
            if at.depth > 1 {
                at.error(&node.origin, format!("found {}", describe(node)), help);
            }
            return None;
        };
        let mut clauses = Vec::new();
        for (key, entry) in table {
            let path = join(at.path, key);
            let at = At { path: &path, ..at };
            match key.as_str() {
                "any" => clauses.push(self.several(&entry.node, at).map(Clause::Any)),
                "all" => clauses.push(self.several(&entry.node, at).map(Clause::All)),
                "not" => {
                    let inner = self.table(&entry.node, At { depth: at.depth + 1, ..at });
                    clauses.push(inner.map(|clause| Clause::Not(Box::new(clause))));
                }
                "segment" => clauses.push(self.reference(&entry.node, at).map(Clause::Segment)),
                name => match name.split_once('.') {
                    Some((kind, attribute)) => self.attribute(kind, attribute, entry, at, &mut clauses),
                    None => self.kind(name, entry, at, &mut clauses),
                },
            }
        }
        one_or_all(super::all(clauses)?)
    }

    fn several(&mut self, node: &Node, at: At<'_>) -> Option<Box<[Clause]>> {
        match &node.value {
            Value::List(items) if !items.is_empty() => {
                let inner = At { depth: at.depth + 1, ..at };
                let clauses = super::all(items.iter().map(|item| self.table(item, inner)));
                clauses.map(Vec::into_boxed_slice)
            }
            Value::List(_)
            | Value::Table(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Other(_) => {
                let help = "expected a list of tables, one at least: [{ ... }, { ... }]";
                at.error(&node.origin, format!("found {}", describe(node)), help);
                None
            }
        }
    }

    fn reference(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Segment>> {
        let Some(name) = node.as_text() else {
            at.error(&node.origin, format!("found {}", describe(node)), "expected the name of a segment");
            return None;
        };
        let Some(known) = self.entries.keys().copied().find(|known| *known == name) else {
            let help = expected_one_of(name, self.entries.keys().copied());
            at.error(&node.origin, format!("there is no segment {name:?}"), help);
            return None;
        };
        if let Some(begin) = self.open.iter().position(|open| *open == known) {
            let circle: Vec<&str> = self.open[begin..].iter().copied().chain([known]).collect();
            let found = format!("a cycle of segments: {}", circle.join(" -> "));
            at.error(&node.origin, found, "take one of the references out");
            return None;
        }
        if self.open.len() >= MAX_DEPTH {
            let help = format!("at most {MAX_DEPTH} levels");
            at.error(&node.origin, "segments that refer to each other too deeply", help);
            return None;
        }
        self.segment(known)
    }

    /// `user = { tier = ... }`, which is how TOML reads `user.tier = ...`.
    fn kind(&self, kind: &str, entry: &Entry, at: At<'_>, clauses: &mut Vec<Option<Clause>>) {
        if !self.kinds.contains(&kind) {
            clauses.push(self.unknown_kind(kind, &entry.key, at));
            return;
        }
        let Some(attributes) = entry.node.as_table().filter(|table| !table.is_empty()) else {
            let help = format!("name an attribute: {kind}.NAME = ...");
            at.error(&entry.node.origin, format!("found {}", describe(&entry.node)), help);
            clauses.push(None);
            return;
        };
        for (name, entry) in attributes {
            let path = join(at.path, name);
            self.attribute(kind, name, entry, At { path: &path, ..at }, clauses);
        }
    }

    fn unknown_kind(&self, kind: &str, origin: &Origin, at: At<'_>) -> Option<Clause> {
        let help = expected_one_of(kind, RESERVED.into_iter().chain(self.kinds.iter().copied()));
        at.error(origin, format!("there is no kind {kind:?} in [contexts]"), help);
        None
    }

    fn attribute(&self, kind: &str, name: &str, entry: &Entry, at: At<'_>, clauses: &mut Vec<Option<Clause>>) {
        let Some(context) = self.kinds.iter().position(|known| *known == kind) else {
            clauses.push(self.unknown_kind(kind, &entry.key, at));
            return;
        };
        let of_kind = || self.attributes.iter().enumerate().filter(move |(_, known)| known.context == context);
        let Some((slot, known)) = of_kind().find(|(_, known)| known.name == name) else {
            let help = expected_one_of(name, of_kind().map(|(_, known)| known.name.as_str()));
            at.error(&entry.key, format!("there is no attribute `{kind}.{name}`"), help);
            clauses.push(None);
            return;
        };
        match &entry.node.value {
            Value::Table(operators) if operators.is_empty() => {
                at.error(&entry.node.origin, "found no operator", expected_one_of("", words()));
                clauses.push(None);
            }
            Value::Table(operators) => self.comparisons(slot, known, operators, at, clauses),
            Value::List(_) => clauses.push(comparison(slot, known, Operator::In, &entry.node, at)),
            Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_) => {
                clauses.push(comparison(slot, known, Operator::Eq, &entry.node, at));
            }
        }
    }

    fn comparisons(&self, slot: Slot, known: &Known, operators: &Table, at: At<'_>, clauses: &mut Vec<Option<Clause>>) {
        for (word, entry) in operators {
            let path = join(at.path, word);
            let at = At { path: &path, ..at };
            clauses.push(match Operator::parse(word) {
                Some(operator) => comparison(slot, known, operator, &entry.node, at),
                None => {
                    at.error(&entry.key, format!("unknown operator `{word}`"), expected_one_of(word, words()));
                    None
                }
            });
        }
    }
}

/// `None` also where the attribute itself has a mistake.
fn comparison(slot: Slot, known: &Known, operator: Operator, node: &Node, at: At<'_>) -> Option<Clause> {
    let operand = operand(node);
    if operand.is_none() {
        at.error(&node.origin, format!("found {}", describe(node)), "expected a value, or a list of values");
    }
    let attribute = known.attribute.as_ref()?;
    match Predicate::new(operator, attribute.kind, operand?) {
        Ok(predicate) => Some(Clause::Attribute { slot, name: Arc::clone(&attribute.name), predicate }),
        Err(mistake) => {
            let items: &[Node] = if let Value::List(items) = &node.value { items } else { &[] };
            let item = mistake.item.and_then(|index| items.get(index));
            at.error(&item.unwrap_or(node).origin, mistake.found, mistake.help);
            None
        }
    }
}

fn operand(node: &Node) -> Option<Operand> {
    match &node.value {
        Value::Text(text) | Value::Other(text) => Some(Operand::Text(text.clone())),
        Value::Integer(number) => Some(Operand::Number(*number as f64)),
        Value::Float(number) => Some(Operand::Number(*number)),
        Value::Bool(word) => Some(Operand::Boolean(*word)),
        Value::List(items) => items.iter().map(operand).collect::<Option<Vec<_>>>().map(Operand::List),
        Value::Table(_) => None,
    }
}

fn one_or_all(mut clauses: Vec<Clause>) -> Option<Clause> {
    match clauses.len() {
        0 | 1 => clauses.pop(),
        _ => Some(Clause::All(clauses.into_boxed_slice())),
    }
}

fn describe(node: &Node) -> String {
    if node.as_table().is_some_and(Table::is_empty) { "an empty table".to_owned() } else { node.describe() }
}

fn words() -> impl Iterator<Item = &'static str> {
    Operator::ALL.into_iter().map(Operator::as_str)
}

fn expected_one_of<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let guess = did_you_mean(word, names.iter().copied()).unwrap_or_default();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("{guess}there are: {known}")
}
