//! A phase: a stretch in which nothing changed that affects the split or the arms.
//!
//! A phase is named by what it is, not by when it was: the same split between the same arms is the same
//! phase, in every process and after every restart, so nobody has to count or to agree.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A phase of a route: the first 32 bits of a hash over what makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Phase(pub u32);

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Gathers what makes a part of a phase. Parts are told apart by name and length, so that no two
/// different lists give the same hash.
#[derive(Debug, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds one part.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for bytes in [name.as_bytes(), value.as_ref()] {
            self.0.update((bytes.len() as u64).to_be_bytes());
            self.0.update(bytes);
        }
        self
    }

    /// The hash of all parts.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The phase that all parts make.
    #[must_use]
    pub fn phase(self) -> Phase {
        let [a, b, c, d, ..] = self.finish();
        Phase(u32::from_be_bytes([a, b, c, d]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_name_order_or_border_differs() {
        let new = Fingerprint::default;
        let all = [
            new(),
            new().with("a", "bc"),
            new().with("ab", "c"),
            new().with("b", "bc"),
            new().with("a", "b").with("a", "c"),
            new().with("a", "c").with("a", "b"),
        ];
        let hashes: std::collections::BTreeSet<[u8; 32]> = all.into_iter().map(Fingerprint::finish).collect();
        assert_eq!(hashes.len(), 6);
        assert_eq!(new().with("a", "b").phase(), new().with("a", "b").phase());
        assert_eq!(Phase(10).to_string(), "0000000a");
    }
}
