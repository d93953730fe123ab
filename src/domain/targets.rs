//! Keys that always get one arm, as they are or as their SHA-256.
//!
//! A list may be large; finding a key in it costs the same whatever its size. A key is hashed only
//! where the list holds hashes, once for each decision. No key is ever listed for both arms.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use super::Arm;
use super::context::usable_key;

/// What a hashed key begins with; 64 hex digits follow: `sha256(key)` over its raw bytes, without a salt.
pub const HASH_PREFIX: &str = "sha256:";

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetKey {
    /// The key itself.
    Plain(Box<str>),
    /// The SHA-256 of the key.
    Hashed([u8; 32]),
}

/// Why a text cannot be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// It has no bytes, or more than a key may have.
    Length(usize),
    /// It begins like a hash, and what follows is not 64 hex digits.
    Hash,
    /// It holds a control character.
    Control,
}

impl TargetKey {
    /// Reads a key, or [`HASH_PREFIX`] and a hash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        if let Some(hex) = text.strip_prefix(HASH_PREFIX) {
            return hash_of(hex).map(Self::Hashed).ok_or(Mistake::Hash);
        }
        if text.chars().any(char::is_control) {
            return Err(Mistake::Control);
        }
        usable_key(text).map(|key| Self::Plain(key.into())).ok_or(Mistake::Length(text.len()))
    }
}

fn hash_of(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hex.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(hash)
}

/// The listed keys of one route.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    control: List,
    candidate: List,
}

#[derive(Debug, Clone, Default)]
struct List {
    plain: HashSet<Box<str>>,
    hashed: HashSet<[u8; 32]>,
}

impl Targets {
    /// Lists keys. Gives back where those stood that the other arm lists, too, one of each pair; they are
    /// left out.
    #[must_use]
    pub fn list(entries: impl IntoIterator<Item = (Arm, TargetKey)>) -> (Self, Vec<usize>) {
        let (mut targets, mut twice) = (Self::default(), Vec::new());
        let mut plain = Vec::new();
        // Hashes first, so that each plain key can be compared with all of them.
        for (index, (arm, key)) in entries.into_iter().enumerate() {
            match key {
                TargetKey::Plain(key) => plain.push((index, arm, key)),
                TargetKey::Hashed(hash) if targets.of(other(arm)).hashed.contains(&hash) => twice.push(index),
                TargetKey::Hashed(hash) => drop(targets.of_mut(arm).hashed.insert(hash)),
            }
        }
        for (index, arm, key) in plain {
            let others = targets.of(other(arm));
            if others.plain.contains(&key) || (!others.hashed.is_empty() && others.hashed.contains(&hash(&key))) {
                twice.push(index);
            } else {
                targets.of_mut(arm).plain.insert(key);
            }
        }
        (targets, twice)
    }

    /// The arm that this key is listed for.
    #[must_use]
    pub fn arm_of(&self, key: &str) -> Option<Arm> {
        let arm = |found: &dyn Fn(&List) -> bool| Arm::ALL.into_iter().find(|arm| found(self.of(*arm)));
        arm(&|list| list.plain.contains(key)).or_else(|| {
            if self.control.hashed.is_empty() && self.candidate.hashed.is_empty() {
                return None;
            }
            let hash = hash(key);
            arm(&|list| list.hashed.contains(&hash))
        })
    }

    /// How many keys are listed for an arm.
    #[must_use]
    pub fn count(&self, arm: Arm) -> usize {
        self.of(arm).plain.len() + self.of(arm).hashed.len()
    }

    const fn of(&self, arm: Arm) -> &List {
        match arm {
            Arm::Control => &self.control,
            Arm::Candidate => &self.candidate,
        }
    }

    const fn of_mut(&mut self, arm: Arm) -> &mut List {
        match arm {
            Arm::Control => &mut self.control,
            Arm::Candidate => &mut self.candidate,
        }
    }
}

const fn other(arm: Arm) -> Arm {
    match arm {
        Arm::Control => Arm::Candidate,
        Arm::Candidate => Arm::Control,
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Published: `printf %s user123 | sha256sum`.
    const USER123: &str = "sha256:e606e38b0d8c19b24cf0ee3808183162ea7cd63ff7912dbb22b5e803286b4446";

    fn key(text: &str) -> TargetKey {
        TargetKey::parse(text).expect(text)
    }

    #[test]
    fn plain_and_hashed_keys_are_found() {
        let upper = USER123.to_uppercase().replace("SHA256:", HASH_PREFIX);
        for listed in ["user123", USER123, &upper] {
            let (targets, twice) = Targets::list([(Arm::Candidate, key(listed)), (Arm::Control, key("other"))]);
            assert_eq!(twice, [0_usize; 0]);
            assert_eq!(targets.arm_of("user123"), Some(Arm::Candidate), "{listed}");
            assert_eq!(targets.arm_of("other"), Some(Arm::Control));
            assert_eq!(targets.arm_of("user124"), None);
            assert_eq!(targets.arm_of(USER123), None, "a hash is not a key");
            assert_eq!((targets.count(Arm::Control), targets.count(Arm::Candidate)), (1, 1));
        }
    }

    #[test]
    fn a_key_in_both_arms_is_found_whatever_it_is_listed_as() {
        for (one, two) in [("user123", "user123"), ("user123", USER123), (USER123, "user123"), (USER123, USER123)] {
            let entries = [(Arm::Control, key("a")), (Arm::Control, key(one)), (Arm::Candidate, key(two))];
            let (targets, twice) = Targets::list(entries);
            assert_eq!(twice.len(), 1, "{one} {two}");
            assert!(twice[0] > 0);
            assert_eq!(targets.count(Arm::Control) + targets.count(Arm::Candidate), 2);
            let (_, twice) = Targets::list([(Arm::Control, key(one)), (Arm::Control, key(two))]);
            assert_eq!(twice, [0_usize; 0], "twice for one arm is no contradiction");
        }
    }

    #[test]
    fn what_cannot_be_listed() {
        let long = "x".repeat(super::super::assignment::MAX_KEY_BYTES + 1);
        let rows = [
            ("", Mistake::Length(0)),
            (&long, Mistake::Length(long.len())),
            ("a\tb", Mistake::Control),
            ("sha256:", Mistake::Hash),
            ("sha256:e606", Mistake::Hash),
            (&USER123.replace("e6", "g6"), Mistake::Hash),
            (&USER123[..USER123.len() - 1].replace("b444", "ä444"), Mistake::Hash),
        ];
        for (text, mistake) in rows {
            assert_eq!(TargetKey::parse(text), Err(mistake), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_listed_key_is_found_by_its_hash(keys in proptest::collection::hash_set("[a-zäöü@.]{1,12}", 1..20)) {
            let hex = |key: &str| hash(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let (targets, _) = Targets::list(keys.iter().map(|k| (Arm::Control, key(&format!("sha256:{}", hex(k))))));
            for key in &keys {
                prop_assert_eq!(targets.arm_of(key), Some(Arm::Control));
                prop_assert_eq!(targets.arm_of(&format!("{key}!")), None);
            }
        }
    }
}
