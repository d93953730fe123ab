//! What was typed: a tree of values, each of which knows where it stands.
//!
//! Made from TOML with spans; it judges nothing. Every node keeps its place through merging and
//! interpolation, so that a mistake found late can still be shown where it was typed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// Where a value was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In no source: the default.
    Default,
    /// In a source, at these bytes.
    Source {
        /// The text it stands in.
        source: Arc<Source>,
        /// Bytes of [`Source::text`].
        span: Range<usize>,
    },
}

/// Which kind of source a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The file itself.
    File,
    /// A file of `routes.d`; a mistake in it costs only its own changes.
    Fragment,
    /// One environment variable.
    Environment,
}

/// A text that values were read from.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// As messages name it: `gateway.toml`, `environment POINTSMAN__LISTEN__THREADS`.
    pub name: String,
    /// What kind of source it is.
    pub kind: SourceKind,
    /// All of it.
    pub text: String,
}

impl Origin {
    /// The place as `explain` shows it: `gateway.toml:41:13`, `environment NAME` or `default`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Source { source, .. } if source.kind == SourceKind::Environment => source.name.clone(),
            Self::Source { source, span } => {
                let (line, column) = position(&source.text, span.start);
                format!("{}:{line}:{column}", source.name)
            }
        }
    }

    /// Whether it was typed at all.
    #[must_use]
    pub const fn is_typed(&self) -> bool {
        matches!(self, Self::Source { .. })
    }

    /// The kind of source, if it was typed.
    #[must_use]
    pub fn kind(&self) -> Option<SourceKind> {
        match self {
            Self::Default => None,
            Self::Source { source, .. } => Some(source.kind),
        }
    }
}

/// Line and column of a byte, both from 1; columns count characters.
#[must_use]
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was typed.
    pub origin: Origin,
    /// The text before interpolation, where that changed it; messages show this one.
    pub typed: Option<String>,
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A date or time, or an integer beyond 64 bits: accepted by no key, kept as it was typed.
    Other(String),
    /// An array.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

/// Keys in their alphabetical order.
pub type Table = BTreeMap<String, Entry>;

/// A key of a table with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key was typed.
    pub key: Origin,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// A node that was not interpolated.
    #[must_use]
    pub const fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, typed: None }
    }

    /// An empty table that nobody typed.
    #[must_use]
    pub const fn empty() -> Self {
        Self::new(Value::Table(Table::new()), Origin::Default)
    }

    /// The table, if it is one.
    #[must_use]
    pub const fn as_table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value { Some(table) } else { None }
    }

    /// The table, if it is one.
    pub const fn as_table_mut(&mut self) -> Option<&mut Table> {
        if let Value::Table(table) = &mut self.value { Some(table) } else { None }
    }

    /// The string, if it is one.
    #[must_use]
    pub const fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text.as_str()) } else { None }
    }

    /// The value of a key, if this is a table that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_table()?.get(name).map(|entry| &entry.node)
    }

    /// What messages call it: its type, and the value where that is short.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("the string {:?}", self.typed.as_ref().unwrap_or(text)),
            Value::Integer(number) => format!("the integer {number}"),
            Value::Float(number) => format!("the number {number:?}"),
            Value::Bool(word) => format!("`{word}`"),
            Value::Other(text) => format!("`{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// A mistake in the TOML itself: message and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Range<usize>,
}

/// Reads a document. With mistakes, the tree holds what could be made out all the same.
#[must_use]
pub fn parse_document(source: &Arc<Source>) -> (Node, Vec<SyntaxError>) {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let span = table.span();
    let node = Node::new(
        Value::Table(convert_table(table.into_inner(), source)),
        Origin::Source { source: Arc::clone(source), span },
    );
    (node, errors.iter().map(syntax_error).collect())
}

/// Reads one value, as environment variables hold it.
///
/// # Errors
/// The first mistake in the TOML.
pub fn parse_value(source: &Arc<Source>) -> Result<Node, SyntaxError> {
    let value = DeValue::parse(&source.text).map_err(|error| syntax_error(&error))?;
    Ok(convert(value, source))
}

fn syntax_error(error: &toml::de::Error) -> SyntaxError {
    SyntaxError { message: error.message().to_owned(), span: error.span().unwrap_or(0..0) }
}

fn convert(value: Spanned<DeValue<'_>>, source: &Arc<Source>) -> Node {
    let origin = Origin::Source { source: Arc::clone(source), span: value.span() };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => convert_integer(&number),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Other(number.as_str().to_owned()), Value::Float)
        }
        DeValue::Boolean(word) => Value::Bool(word),
        DeValue::Datetime(time) => Value::Other(time.to_string()),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| convert(item, source)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, source)),
    };
    Node::new(value, origin)
}

fn convert_integer(number: &DeInteger<'_>) -> Value {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| Value::Other(number.to_string()), Value::Integer)
}

fn convert_table(table: DeTable<'_>, source: &Arc<Source>) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let origin = Origin::Source { source: Arc::clone(source), span: key.span() };
            (key.into_inner().into_owned(), Entry { key: origin, node: convert(value, source) })
        })
        .collect()
}
