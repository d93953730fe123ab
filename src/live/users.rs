//! The secret behind the hashes that stand for users in logs and events.
//!
//! The file's `[log] user_hash_secret` wins; else the one that the store keeps, so that a user has the
//! same hash after a restart. Until the store is open, the process's own stands in: a store that is new
//! takes that one over, so that lines written before it opened stay true.

use std::sync::OnceLock;

use secrecy::ExposeSecret as _;

use crate::config::model::Log;
use crate::domain::user::{self, HASH_BYTES};

/// See the module.
pub struct Users {
    own: String,
    kept: OnceLock<String>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("kept", &self.kept.get().is_some()).finish_non_exhaustive()
    }
}

impl Default for Users {
    fn default() -> Self {
        let [a, b] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        Self { own: format!("{}{}", a.simple(), b.simple()), kept: OnceLock::new() }
    }
}

impl Users {
    /// The process's own secret, for a store that has none yet.
    #[must_use]
    pub fn own(&self) -> &str {
        &self.own
    }

    /// From now on the store's secret counts. The first one stays.
    pub fn keep(&self, secret: String) {
        let _first = self.kept.set(secret);
    }

    /// Whether hashes stay what they are, also after a restart where there is a store that outlives it.
    #[must_use]
    pub fn are_settled(&self, log: &Log) -> bool {
        log.user_hash_secret.is_some() || self.kept.get().is_some()
    }

    /// What stands for the user with this key.
    #[must_use]
    pub fn hash(&self, log: &Log, key: &str) -> [u8; HASH_BYTES] {
        let kept = || self.kept.get().unwrap_or(&self.own).as_bytes();
        user::hash(log.user_hash_secret.as_ref().map_or_else(kept, |secret| secret.expose_secret().as_bytes()), key)
    }

    /// What stands for a user in a line: 32 hex digits, or the key itself where the file asks for it.
    #[must_use]
    pub fn shown(&self, log: &Log, key: &str) -> String {
        if log.plain_user_keys {
            return key.to_owned();
        }
        self.hash(log, key).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(secret: Option<&str>) -> Log {
        let user_hash_secret = secret.map(Into::into);
        Log { level: "info".into(), access_sample: 1.0, access: true, user_hash_secret, plain_user_keys: false }
    }

    #[test]
    fn the_files_secret_wins_then_the_stores_then_the_processs() {
        let (one, other) = (Users::default(), Users::default());
        let own = one.shown(&log(None), "u");
        assert_ne!(own, other.shown(&log(None), "u"), "secrets of processes are random");
        one.keep(other.own().to_owned());
        one.keep("never".to_owned());
        assert_eq!(one.shown(&log(None), "u"), other.shown(&log(None), "u"));
        let file = log(Some("a secret of some length"));
        assert_eq!(one.shown(&file, "u"), Users::default().shown(&file, "u"));
        assert_eq!(one.shown(&file, "u").len(), 32);
        assert!(!other.are_settled(&log(None)) && other.are_settled(&file) && one.are_settled(&log(None)));
        assert!(!format!("{one:?}").contains(one.own()));
    }
}
