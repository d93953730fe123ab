//! Requests a second, by token: a bucket for each, and one for all who show none.
//!
//! Invariant: there are at most as many buckets as the file names tokens, and one more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::model::Token;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<Option<Arc<str>>, Bucket>>);

/// A token bucket that holds one second's worth.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Limits {
    /// Takes one from the bucket of this name.
    ///
    /// # Errors
    /// How long to wait, when it is empty.
    pub(super) fn admit(
        &self,
        name: Option<&Arc<str>>,
        tokens: &[Token],
        per_second: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(&name.cloned()) {
            // Names that were taken out of the file leave with the next that comes.
            buckets.retain(|name, _| name.as_ref().is_none_or(|name| tokens.iter().any(|token| *token.name == **name)));
        }
        let full = f64::from(per_second);
        let bucket = buckets.entry(name.cloned()).or_insert(Bucket { left: full, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * full).min(full);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / full));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::model::Role;

    fn token(name: &str) -> Token {
        Token { name: name.to_owned(), role: Role::Viewer, token: "0123456789abcdef".into() }
    }

    #[test]
    fn a_bucket_holds_a_second_and_fills_as_fast() {
        let (limits, begin) = (Limits::default(), clock::now());
        let take = |millis: u64| limits.admit(None, &[], 10, begin + Duration::from_millis(millis));
        assert!((0..10).all(|_| take(0).is_ok()));
        assert_eq!(take(0), Err(Duration::from_millis(100)));
        assert!(take(100).is_ok());
        assert!(take(100).is_err());
        assert!((0..10).all(|_| take(60_000).is_ok()));
        assert!(take(60_000).is_err());
    }

    #[test]
    fn tokens_do_not_take_from_each_other_and_leave_with_the_file() {
        let (limits, now) = (Limits::default(), clock::now());
        let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
        let tokens = [token("a"), token("b"), token("c")];
        for name in &names {
            assert!(limits.admit(Some(name), &tokens, 1, now).is_ok());
            assert!(limits.admit(Some(name), &tokens, 1, now).is_err());
        }
        assert!(limits.admit(None, &tokens[..1], 1, now).is_ok());
        assert_eq!(limits.0.lock().unwrap().len(), 2);
    }
}
