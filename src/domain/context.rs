//! Who asks: what the decision knows about a request.

use super::Arm;
use super::assignment::{Digest, MAX_KEY_BYTES};
use super::condition::Facts;

/// The facts about who asks, borrowed from the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Contexts<'a> {
    /// The key of the kind that the route splits by. See [`usable_key`].
    pub key: Option<&'a str>,
    /// What a tester's header with its key asks for.
    pub override_arm: Option<Arm>,
    /// The attributes that conditions look at; empty where the route has none.
    pub facts: &'a Facts<'a>,
}

impl Contexts<'_> {
    /// The digest of the key under `salt`, if there is a key.
    #[must_use]
    pub fn digest(&self, salt: &str) -> Option<Digest> {
        self.key.map(|key| Digest::of(key.as_bytes(), salt.as_bytes()))
    }
}

/// A key as it may be used: an empty key is a missing key, and so is one longer than
/// [`MAX_KEY_BYTES`].
#[must_use]
pub fn usable_key(key: &str) -> Option<&str> {
    (!key.is_empty() && key.len() <= MAX_KEY_BYTES).then_some(key)
}
