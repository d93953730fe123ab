//! What stands for a user where their key must not stand: logs, events, exports.
//!
//! One hash for all of these, so that what a log shows finds the user's events again.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of the hash.
pub const HASH_BYTES: usize = 16;

/// The first 16 bytes of HMAC-SHA-256 (RFC 2104) over the key.
#[must_use]
pub fn hash(secret: &[u8], key: &str) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    // HMAC takes secrets of any length, so this cannot fail; were it to, nobody is told from anybody.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
        mac.update(key.as_bytes());
        hash.copy_from_slice(&mac.finalize().into_bytes()[..HASH_BYTES]);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python: `hmac.new(b"a secret of some length", b"user123", "sha256").hexdigest()[:32]`.
    #[test]
    fn the_published_vector_holds() {
        let hex = |hash: [u8; HASH_BYTES]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(hash(b"a secret of some length", "user123")), "9beff7358e50c11c9d476b7b4b8c8d12");
        assert_ne!(hash(b"a secret of some length", "user124"), hash(b"a secret of some length", "user123"));
        assert_ne!(hash(b"another secret", "user123"), hash(b"a secret of some length", "user123"));
    }
}
