//! Who asks: what the decision knows about a request.

use std::borrow::Cow;

use super::Arm;
use super::assignment::{Digest, MAX_KEY_BYTES};
use super::condition::Facts;

/// A kind of context (`user`, `session`, ...) by its place in the file's list of kinds.
pub type ContextIndex = usize;

/// The facts about who asks, borrowed from the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Contexts<'a> {
    /// Who asks, by kind.
    pub keys: Keys<'a>,
    /// What a tester's header with its key asks for.
    pub override_arm: Option<Arm>,
    /// What a pin that was verified keeps; see [`super::pin`].
    pub pinned: Option<Arm>,
    /// The attributes that conditions look at; empty where the route has none.
    pub facts: &'a Facts<'a>,
}

impl<'a> Contexts<'a> {
    /// One key of one kind, and nothing else.
    #[must_use]
    pub const fn of_key(kind: ContextIndex, key: &'a str) -> Self {
        Self { keys: Keys::one(kind, Some(key)), override_arm: None, pinned: None, facts: &[] }
    }

    /// The same user as seen from another route, where overrides and pins of this one do not count.
    #[must_use]
    pub const fn elsewhere(self) -> Self {
        Self { override_arm: None, pinned: None, ..self }
    }

    /// The digest of this kind's key under `salt`, if there is a key.
    #[must_use]
    pub fn digest(&self, kind: ContextIndex, salt: &str) -> Option<Digest> {
        self.keys.of(kind).map(|key| Digest::of(key.as_bytes(), salt.as_bytes()))
    }
}

/// Keys by kind: the one that splits the route, and those of other kinds where the route looks at
/// them. One key is held without a list. See [`usable_key`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    kind: ContextIndex,
    key: Option<&'a str>,
    others: &'a [(ContextIndex, Cow<'a, str>)],
}

impl<'a> Keys<'a> {
    /// The key of one kind.
    #[must_use]
    pub const fn one(kind: ContextIndex, key: Option<&'a str>) -> Self {
        Self { kind, key, others: &[] }
    }

    /// With keys of other kinds, each kind at most once.
    #[must_use]
    pub const fn with(self, others: &'a [(ContextIndex, Cow<'a, str>)]) -> Self {
        Self { others, ..self }
    }

    /// The key of a kind, if it is known.
    #[must_use]
    pub fn of(&self, kind: ContextIndex) -> Option<&'a str> {
        if kind == self.kind {
            return self.key;
        }
        self.others.iter().find(|(other, _)| *other == kind).map(|(_, key)| &**key)
    }
}

/// A key as it may be used: an empty key is a missing key, and so is one longer than
/// [`MAX_KEY_BYTES`].
#[must_use]
pub fn usable_key(key: &str) -> Option<&str> {
    (!key.is_empty() && key.len() <= MAX_KEY_BYTES).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_kind() {
        let others = [(2, Cow::Borrowed("session-7"))];
        let keys = Keys::one(1, Some("user-1")).with(&others);
        let rows = [(1, Some("user-1")), (2, Some("session-7")), (0, None), (3, None)];
        for (kind, expected) in rows {
            assert_eq!(keys.of(kind), expected, "{kind}");
        }
        assert_eq!(Keys::one(2, None).with(&others).of(2), None, "the kind that splits has one key");
    }
}
