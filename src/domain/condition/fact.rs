//! What is known of one attribute of a request, in the type that the file gives it.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use semver::Version;
use serde_json::Value;

/// The type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text as it was sent.
    String,
    /// A finite IEEE 754 double.
    Number,
    /// `true` or `false`, in any case.
    Boolean,
    /// Strings with commas between them, spaces around each left out.
    List,
    /// A moment, as RFC 3339 writes it.
    Timestamp,
    /// A version by semver.org; a `v` before it is left out.
    Semver,
}

impl Type {
    /// Every type.
    pub const ALL: [Self; 6] = [Self::String, Self::Number, Self::Boolean, Self::List, Self::Timestamp, Self::Semver];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Timestamp => "timestamp",
            Self::Semver => "semver",
        }
    }

    /// Reads the word that [`Type::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The value of an attribute. What cannot be read as its attribute's type is no fact: it is missing.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact<'a> {
    /// Of [`Type::String`].
    Text(Cow<'a, str>),
    /// Of [`Type::Number`]; finite.
    Number(f64),
    /// Of [`Type::Boolean`].
    Boolean(bool),
    /// Of [`Type::List`].
    List(Vec<Cow<'a, str>>),
    /// Of [`Type::Timestamp`].
    Timestamp(Timestamp),
    /// Of [`Type::Semver`].
    Version(Version),
}

/// The facts of a request by [slot](super::Slot); what is missing is `None`, or beyond the end.
pub type Facts<'a> = [Option<Fact<'a>>];

impl<'a> Fact<'a> {
    /// Reads a text as a type; `None` if it is none.
    #[must_use]
    pub fn read(kind: Type, text: Cow<'a, str>) -> Option<Self> {
        match kind {
            Type::String => Some(Self::Text(text)),
            Type::Number => text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(Self::Number),
            Type::Boolean => match text.trim() {
                word if word.eq_ignore_ascii_case("true") => Some(Self::Boolean(true)),
                word if word.eq_ignore_ascii_case("false") => Some(Self::Boolean(false)),
                _ => None,
            },
            Type::List => Some(Self::List(items(text))),
            Type::Timestamp => text.trim().parse().ok().map(Self::Timestamp),
            Type::Semver => version(&text).map(Self::Version),
        }
    }

    /// Reads a JSON value as a type; `None` if it is none. Strings are read as texts, numbers and words
    /// also as strings, numbers also as seconds since 1970, which is how tokens tell times (RFC 7519, 2).
    #[must_use]
    pub fn from_json(kind: Type, value: &'a Value) -> Option<Self> {
        match (value, kind) {
            (Value::String(text), kind) => Self::read(kind, Cow::Borrowed(text)),
            (Value::Number(number), Type::Number) => number.as_f64().map(Self::Number),
            (Value::Number(number), Type::String) => Some(Self::Text(Cow::Owned(number.to_string()))),
            (Value::Number(number), Type::Timestamp) => {
                Timestamp::from_second(number.as_i64()?).ok().map(Self::Timestamp)
            }
            (Value::Bool(word), Type::Boolean) => Some(Self::Boolean(*word)),
            (Value::Bool(word), Type::String) => Some(Self::Text(Cow::Borrowed(if *word { "true" } else { "false" }))),
            (Value::Array(items), Type::List) => {
                items.iter().map(|item| item.as_str().map(Cow::Borrowed)).collect::<Option<_>>().map(Self::List)
            }
            (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Null | Value::Object(_), _) => None,
        }
    }

    /// The same fact, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Fact<'_> {
        match self {
            Self::Text(text) => Fact::Text(Cow::Borrowed(text)),
            Self::Number(number) => Fact::Number(*number),
            Self::Boolean(word) => Fact::Boolean(*word),
            Self::List(items) => Fact::List(items.iter().map(|item| Cow::Borrowed(&**item)).collect()),
            Self::Timestamp(time) => Fact::Timestamp(*time),
            Self::Version(version) => Fact::Version(version.clone()),
        }
    }
}

impl Fact<'_> {
    /// The same fact, owned.
    #[must_use]
    pub fn into_owned(self) -> Fact<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Text(text) => Fact::Text(owned(text)),
            Self::Number(number) => Fact::Number(number),
            Self::Boolean(word) => Fact::Boolean(word),
            Self::List(items) => Fact::List(items.into_iter().map(owned).collect()),
            Self::Timestamp(time) => Fact::Timestamp(time),
            Self::Version(version) => Fact::Version(version),
        }
    }
}

/// A version, with or without a `v` before it.
pub(super) fn version(text: &str) -> Option<Version> {
    let text = text.trim();
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

fn items(text: Cow<'_, str>) -> Vec<Cow<'_, str>> {
    match text {
        Cow::Borrowed(text) => parts(text).map(Cow::Borrowed).collect(),
        Cow::Owned(text) => parts(&text).map(|item| Cow::Owned(item.to_owned())).collect(),
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(word) => write!(f, "{word}"),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Timestamp(time) => write!(f, "{time}"),
            Self::Version(version) => write!(f, "{version}"),
        }
    }
}
