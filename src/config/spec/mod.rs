//! Every key of `gateway.toml`, as data.
//!
//! One static tree says what may be written, of which kind, with which default and what it means.
//! Validation, defaults, the names of environment variables, the JSON Schema, the reference page
//! and the list of keys that need a restart are all made from it, so they cannot disagree.

mod alerts;
mod backends;
mod events;
mod jwt;
mod metrics;
mod routes;
mod sampling;
mod server;

use std::time::Duration;

pub use server::ROOT;

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name; `*` stands for every name that the table does not list.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it: the bare text for strings, TOML otherwise.
    pub default: Option<&'static str>,
    /// One line of explanation.
    pub doc: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Whether a change waits for a restart.
    pub restart: bool,
    /// A table without which the thing it describes does not exist, instead of having defaults.
    pub optional: bool,
    /// In the design, but not built yet: using it is a mistake.
    pub later: bool,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// One value.
    Leaf(Leaf),
    /// A list.
    List(&'static Kind),
    /// Either of two.
    Either(&'static Kind, &'static Kind),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table of named tables with these keys.
    Named(&'static [Key]),
    /// A table from names of header fields to values.
    Headers(&'static Kind),
}

/// A value that holds no others.
#[derive(Debug, Clone, Copy)]
pub enum Leaf {
    /// Any string.
    Text,
    /// One of the words.
    Word {
        /// Accepted words.
        now: &'static [&'static str],
        /// Words, or beginnings of them, whose feature is not built yet.
        later: &'static [&'static str],
    },
    /// A whole number, both ends included.
    Integer(i64, i64),
    /// A number, both ends included.
    Float(f64, f64),
    /// `true` or `false`.
    Bool,
    /// A length of time, both ends included.
    Duration(Duration, Duration),
    /// Bytes, both ends included.
    Size(u64, u64),
    /// `ip:port`.
    Address,
    /// An address range.
    Network,
    /// A host name without port.
    Host,
    /// `http://` or `https://`, host, port and path; empty where a backend may be off.
    Url,
    /// A path that begins with `/`.
    Path,
    /// The name of a header field.
    HeaderName,
    /// The value of a header field.
    HeaderValue,
    /// A request method.
    Method,
    /// A status code.
    Status,
    /// A string that is never shown, or `{ file = "..." }`.
    Secret,
    /// A file, relative to the configuration's folder.
    File,
    /// The name of an entry in another table.
    Reference(&'static str),
    /// A table of clauses; what they compare is judged when the whole is built.
    Condition,
    /// A string, a number, `true` or `false`, or a list of strings.
    Constant,
    /// Any value, turned into JSON. TOML has no `null` and JSON no dates.
    Json,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, default: None, doc, required: false, restart: false, optional: false, later: false }
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    const fn later(name: &'static str, doc: &'static str) -> Self {
        let mut key = Self::new(name, TEXT, doc);
        key.later = true;
        key
    }
}

impl Leaf {
    /// Whether a bare word from the environment can be meant as a string.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        !matches!(
            self,
            Self::Integer(..)
                | Self::Float(..)
                | Self::Bool
                | Self::Status
                | Self::Condition
                | Self::Constant
                | Self::Json
        )
    }
}

impl Kind {
    /// Whether it is one value that is written as a string.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Leaf(leaf) if leaf.is_text())
    }
}

/// The key of a table that a name means, the wildcard among them.
#[must_use]
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name).or_else(|| keys.iter().find(|key| key.name == "*"))
}

/// Calls `visit` with the path and key of everything below `keys`, tables before what is in them.
/// Named tables stand in the path as `NAME`.
pub fn walk(keys: &'static [Key], visit: &mut impl FnMut(&str, &'static Key)) {
    walk_below("", keys, visit);
}

fn walk_below(path: &str, keys: &'static [Key], visit: &mut impl FnMut(&str, &'static Key)) {
    for key in keys {
        let path = join(path, key.name);
        visit(&path, key);
        walk_kind(&path, &key.kind, visit);
    }
}

fn walk_kind(path: &str, kind: &'static Kind, visit: &mut impl FnMut(&str, &'static Key)) {
    match kind {
        Kind::Table(keys) => walk_below(path, keys, visit),
        Kind::Named(keys) => walk_below(&join(path, "NAME"), keys, visit),
        Kind::List(item) => walk_kind(path, item, visit),
        Kind::Either(one, other) => {
            walk_kind(path, one, visit);
            walk_kind(path, other, visit);
        }
        Kind::Leaf(_) | Kind::Headers(_) => {}
    }
}

/// Two parts of a key path; either may be empty.
#[must_use]
pub fn join(path: &str, name: &str) -> String {
    let dot = if path.is_empty() || name.is_empty() { "" } else { "." };
    format!("{path}{dot}{name}")
}

const ZERO: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// From one millisecond to a day: what a wait or a limit may be.
const WAIT: Kind = duration(MILLISECOND, DAY);
/// As [`WAIT`], or nothing.
const WAIT_OR_NONE: Kind = duration(Duration::ZERO, DAY);
const PERCENT: Kind = float(0.0, 100.0);
const COUNT: Kind = integer(1, 1_000_000_000);

const fn word(now: &'static [&'static str]) -> Kind {
    words(now, &[])
}

const fn words(now: &'static [&'static str], later: &'static [&'static str]) -> Kind {
    Kind::Leaf(Leaf::Word { now, later })
}

const fn integer(min: i64, max: i64) -> Kind {
    Kind::Leaf(Leaf::Integer(min, max))
}

const fn float(min: f64, max: f64) -> Kind {
    Kind::Leaf(Leaf::Float(min, max))
}

const fn duration(min: Duration, max: Duration) -> Kind {
    Kind::Leaf(Leaf::Duration(min, max))
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Leaf(Leaf::Size(min, max))
}

const fn reference(table: &'static str) -> Kind {
    Kind::Leaf(Leaf::Reference(table))
}

const TEXT: Kind = Kind::Leaf(Leaf::Text);
const BOOL: Kind = Kind::Leaf(Leaf::Bool);
const ADDRESS: Kind = Kind::Leaf(Leaf::Address);
const NETWORK: Kind = Kind::Leaf(Leaf::Network);
const HOST: Kind = Kind::Leaf(Leaf::Host);
const URL: Kind = Kind::Leaf(Leaf::Url);
const PATH: Kind = Kind::Leaf(Leaf::Path);
const HEADER_NAME: Kind = Kind::Leaf(Leaf::HeaderName);
const HEADER_VALUE: Kind = Kind::Leaf(Leaf::HeaderValue);
const METHOD: Kind = Kind::Leaf(Leaf::Method);
const STATUS: Kind = Kind::Leaf(Leaf::Status);
const SECRET: Kind = Kind::Leaf(Leaf::Secret);
const FILE: Kind = Kind::Leaf(Leaf::File);
const CONDITION: Kind = Kind::Leaf(Leaf::Condition);
const CONSTANT: Kind = Kind::Leaf(Leaf::Constant);
const JSON: Kind = Kind::Leaf(Leaf::Json);
