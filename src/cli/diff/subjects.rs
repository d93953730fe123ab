//! Who is asked about: keys that are made up, or users from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::admin::assignments::Subject;
use crate::cli::test::cases;
use crate::config::Diagnostic;

/// Most users of a file.
const MAX_USERS: usize = 1_000_000;
/// Bytes of a file of users.
const MAX_FILE: u64 = 256 << 20;

/// Who is asked about, by route.
#[derive(Debug)]
pub(super) enum Subjects {
    /// The same for every route, and they stand for all others.
    Sampled(Vec<Subject>),
    /// The same for every route.
    Listed(PathBuf, Vec<Subject>),
    /// Each route's own.
    Cases(PathBuf, BTreeMap<String, Vec<Subject>>),
}

impl Subjects {
    /// `user-0`, `user-1` and so on: the hash makes of them what it makes of any keys.
    pub(super) fn sampled(count: usize) -> Self {
        let subject = |number| Subject { key: Some(format!("user-{number}")), ..Subject::default() };
        Self::Sampled((0..count).map(subject).collect())
    }

    /// Reads a file: cases (`.toml`), or a user a line.
    ///
    /// # Errors
    /// Mistakes in the file (inner), or what kept it from being read.
    pub(super) fn read(path: &Path) -> anyhow::Result<Result<Self, Vec<Diagnostic>>> {
        let of = || path.display().to_string();
        let bytes = std::fs::metadata(path).with_context(|| format!("cannot read {}", of()))?.len();
        ensure!(bytes <= MAX_FILE, "{} is larger than {MAX_FILE} bytes", of());
        if path.extension().is_some_and(|extension| extension == "toml") {
            // Without a configuration: a route or an attribute may be in one of the two only.
            return Ok(cases::read(path, None).map(|cases| Self::Cases(path.to_owned(), by_route(cases))));
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", of()))?;
        let subjects = lines(&text).with_context(|| format!("in {}", of()))?;
        Ok(Ok(Self::Listed(path.to_owned(), subjects)))
    }

    /// Whom a route is asked about.
    pub(super) fn of(&self, route: &str) -> &[Subject] {
        match self {
            Self::Sampled(subjects) | Self::Listed(_, subjects) => subjects,
            Self::Cases(_, subjects) => subjects.get(route).map_or(&[], Vec::as_slice),
        }
    }

    /// Whether they stand for all others.
    pub(super) const fn are_sampled(&self) -> bool {
        matches!(self, Self::Sampled(_))
    }

    /// What they are called.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Sampled(_) => "sampled users".to_owned(),
            Self::Listed(path, _) | Self::Cases(path, _) => format!("users in {}", path.display()),
        }
    }
}

fn by_route(cases: Vec<cases::Case>) -> BTreeMap<String, Vec<Subject>> {
    let mut subjects: BTreeMap<String, Vec<Subject>> = BTreeMap::new();
    for case in cases {
        subjects.entry(case.route).or_default().push(Subject { key: case.key, attributes: case.attributes });
    }
    subjects
}

/// A key a line, or JSON: `{"key": "user123", "attributes": {"user.tier": "premium"}}`. Empty lines are left out.
fn lines(text: &str) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if subjects.len() == MAX_USERS {
            bail!("line {number}: more than {MAX_USERS} users");
        }
        subjects.push(if line.starts_with('{') {
            let example = r#"expected {"key": "user123", "attributes": {"user.tier": "premium"}}"#;
            serde_json::from_str(line).with_context(|| format!("line {number}: {example}"))?
        } else {
            Subject { key: Some(line.to_owned()), ..Subject::default() }
        });
    }
    ensure!(!subjects.is_empty(), "no users; expected one a line");
    Ok(subjects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_json_a_line() {
        let found = lines("alice\n\n {\"key\": \"bob\", \"attributes\": {\"user.tier\": \"premium\"}}\n{}\n").unwrap();
        let keys: Vec<_> = found.iter().map(|subject| subject.key.as_deref()).collect();
        assert_eq!(keys, [Some("alice"), Some("bob"), None]);
        assert_eq!(found[1].attributes["user.tier"], "premium");
        for (bad, line) in [("a\n{\"kee\": 1}", "line 2: expected"), ("{", "line 1: expected"), ("\n", "no users")] {
            assert!(lines(bad).unwrap_err().to_string().starts_with(line), "{bad}");
        }
    }
}
