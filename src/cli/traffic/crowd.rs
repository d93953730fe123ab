//! Who asks: made-up users, or those of a file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::people::Person;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Where a key stands.
const KEY: HeaderName = HeaderName::from_static("x-user-id");

/// See the module.
#[derive(Debug)]
pub(super) enum Crowd {
    /// So many, with what is made up of them.
    MadeUp(u32),
    /// These, at least one.
    Listed(Vec<Listed>),
}

/// A user of a file.
#[derive(Debug)]
pub(super) struct Listed {
    key: String,
    headers: HeaderMap,
}

/// A line that is more than a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(default)]
    headers: Map<String, Value>,
}

impl Crowd {
    /// Reads a file with a user a line: a key, or `{"key": "...", "headers": {"x-user-tier": "premium"}}`.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = read(path)?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let read =
            |(number, line): (usize, &str)| listed(line.trim()).with_context(|| format!("{}:{number}", path.display()));
        let listed: Vec<Listed> = lines.map(read).collect::<anyhow::Result<_>>()?;
        ensure!(!listed.is_empty(), "{} holds no user: expected one a line", path.display());
        Ok(Self::Listed(listed))
    }

    /// How many there are.
    pub(super) fn users(&self) -> u32 {
        match self {
            Self::MadeUp(users) => *users,
            Self::Listed(listed) => u32::try_from(listed.len()).unwrap_or(u32::MAX),
        }
    }

    /// Says who asks.
    pub(super) fn introduce(&self, person: Person, headers: &mut HeaderMap) {
        match self {
            Self::MadeUp(_) => person.introduce(headers),
            Self::Listed(listed) => headers.extend(listed[person.index as usize].headers.clone()),
        }
    }

    /// The key of a user.
    pub(super) fn key(&self, person: Person) -> String {
        match self {
            Self::MadeUp(_) => person.key(),
            Self::Listed(listed) => listed[person.index as usize].key.clone(),
        }
    }
}

fn listed(line: &str) -> anyhow::Result<Listed> {
    let expected = r#"expected a key, or {"key": "...", "headers": {"x-user-tier": "premium"}}"#;
    let Line { key, headers: given } = if line.starts_with('{') {
        serde_json::from_str(line).context(expected)?
    } else {
        Line { key: line.to_owned(), headers: Map::new() }
    };
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).with_context(|| format!("{text:?} cannot stand in a header"));
    headers.insert(KEY, value(&key)?);
    for (name, text) in &given {
        let name: HeaderName = name.parse().with_context(|| format!("{name:?} is no name of a header"))?;
        let text = text.as_str().with_context(|| format!("the value of {name} is no string"))?;
        headers.insert(name, value(text)?);
    }
    Ok(Listed { key, headers })
}

/// A text file, up to a bound.
///
/// # Errors
/// If it cannot be read, is no text, or is too long.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let length = file.take(MAX_FILE + 1).read_to_string(&mut text);
    let length = length.with_context(|| format!("cannot read {}: expected text in UTF-8", path.display()))?;
    ensure!(length as u64 <= MAX_FILE, "{} is longer than {} MiB", path.display(), MAX_FILE >> 20);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_key_or_says_more() {
        let more = listed(r#"{"key": "ann", "headers": {"X-User-Tier": "premium"}}"#).unwrap();
        assert_eq!((more.key.as_str(), &more.headers["x-user-id"]), ("ann", &HeaderValue::from_static("ann")));
        assert_eq!(more.headers["x-user-tier"], "premium");
        assert_eq!(listed("bob@example.com").unwrap().headers["x-user-id"], "bob@example.com");
        for line in [r#"{"key": 1}"#, r#"{"headers": {}}"#, r#"{"key": "a", "headers": {"a b": "c"}}"#, "{", "a\u{7f}"]
        {
            assert!(listed(line).is_err(), "{line}");
        }
        let other = r#"{"key": "a", "attributes": {}}"#;
        assert!(format!("{:#}", listed(other).unwrap_err()).contains("unknown field"));
    }
}
