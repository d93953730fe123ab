//! Which cohort a user belongs to: `sha256("{key}:{salt}")`, exact, public and sticky.
//!
//! One digest gives three disjoint slices: the assignment bucket, the statistical bucket and the
//! user sample. The formula is part of the contract with users (README, "Assignment"); the vectors
//! in the tests below are published and must never change.

use sha2::{Digest as _, Sha256};

use super::percent::Percent;

/// Longest user key in bytes. A longer one counts as missing, so that nobody can make us hash a body.
pub const MAX_KEY_BYTES: usize = 256;

/// Number of statistical buckets that users fall into.
pub const STATISTICAL_BUCKETS: u16 = 1024;

/// The digest of one user key under one salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// `sha256("{key}:{salt}")` over the raw bytes of both.
    #[must_use]
    pub fn of(key: &[u8], salt: &[u8]) -> Self {
        // Key, colon and salt mostly fit one block: hashing a joined buffer is then one compression
        // and half the instructions of three updates.
        let length = key.len() + 1 + salt.len();
        let mut joined = [0_u8; 128];
        if let Some(joined) = joined.get_mut(..length) {
            joined[..key.len()].copy_from_slice(key);
            joined[key.len()] = b':';
            joined[key.len() + 1..].copy_from_slice(salt);
            return Self(Sha256::digest(joined).into());
        }
        let mut hasher = Sha256::new();
        hasher.update(key);
        hasher.update(b":");
        hasher.update(salt);
        Self(hasher.finalize().into())
    }

    /// The assignment bucket: the last 8 hex digits, that is bytes 28 to 31, big endian.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        Bucket(self.word(28))
    }

    /// The statistical bucket, 0 to 1023: the 8 hex digits before the bucket's (bytes 24 to 27), modulo 1024.
    #[must_use]
    pub fn statistical_bucket(&self) -> u16 {
        (self.word(24) % u32::from(STATISTICAL_BUCKETS)) as u16
    }

    /// The user sample: bytes 16 to 23, big endian.
    #[must_use]
    pub fn user_sample(&self) -> u64 {
        (u64::from(self.word(16)) << 32) | u64::from(self.word(20))
    }

    /// A bucket for draws that must not depend on the assignment, such as a probe's share of the
    /// cohort or the ramp after a breaker closed: bytes 12 to 15.
    #[must_use]
    pub fn admission_bucket(&self) -> Bucket {
        Bucket(self.word(12))
    }

    /// The first 16 bytes, where a short name for a key is wanted.
    #[must_use]
    pub fn beginning(&self) -> [u8; 16] {
        let mut beginning = [0; 16];
        beginning.copy_from_slice(&self.0[..16]);
        beginning
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

/// Where a user stands on the scale that percentages cut: 0 to 2^32 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Bucket(pub u32);

impl Bucket {
    /// `bucket / (16^8 - 1) * 100`, in this order of operations (IEEE 754 double).
    #[must_use]
    pub fn percentage(self) -> f64 {
        f64::from(self.0) / f64::from(u32::MAX) * 100.0
    }
}

/// A percentage, precomputed to the highest bucket that it serves.
///
/// The threshold is found with the same f64 formula that [`Bucket::percentage`] uses, so comparing
/// integers gives bit for bit the answer of comparing floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    percent: Percent,
    highest: Option<u32>,
}

impl Share {
    /// 0 serves nobody and 100 everybody; otherwise a bucket is served when its percentage is at
    /// most `percent`.
    #[must_use]
    pub fn new(percent: Percent) -> Self {
        let highest = if percent == Percent::ZERO {
            None
        } else if percent == Percent::HUNDRED {
            Some(u32::MAX)
        } else {
            Some(highest_served(percent.get()))
        };
        Self { percent, highest }
    }

    /// The percentage that this was made from.
    #[must_use]
    pub const fn percent(&self) -> Percent {
        self.percent
    }

    /// Whether a user in this bucket is served.
    #[must_use]
    pub fn contains(&self, bucket: Bucket) -> bool {
        self.highest.is_some_and(|highest| bucket.0 <= highest)
    }
}

/// The formula grows with the bucket, so the border is found by bisection. Bucket 0 is always served.
fn highest_served(percent: f64) -> u32 {
    let (mut served, mut beyond) = (0_u64, 1_u64 << 32);
    while beyond - served > 1 {
        let middle = u64::midpoint(served, beyond);
        // `middle` is below 2^32 as long as `beyond` is at most 2^32.
        if Bucket(middle as u32).percentage() <= percent {
            served = middle;
        } else {
            beyond = middle;
        }
    }
    served as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Published vectors: key, salt, bucket, statistical bucket, user sample. Made with Python's
    /// hashlib: `int(h[-8:],16)`, `int(h[-16:-8],16) % 1024`, `int(h[-32:-16],16)`.
    const VECTORS: &[(&str, &str, u32, u16, u64)] = &[
        ("user123", "default_salt", 2507168226, 383, 12431912568522083875),
        ("user_0", "default_salt", 3020937387, 792, 1503975740928918181),
        ("user_1", "default_salt", 3509199891, 427, 17832878004793350257),
        ("demo@example.com", "default_salt", 479636118, 214, 14082275620896448396),
        ("user123", "answers", 1415116074, 667, 15116797481439565962),
        ("", "", 6240871, 476, 3962467125937901638),
        ("alice", "pointsman", 1593005378, 810, 4282220567451233498),
        ("användare-7", "salz", 3030787308, 812, 10282397977864365233),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "a-rather-long-salt-that-crosses-a-block",
            1289736447,
            365,
            17389304626470571119,
        ),
    ];

    #[test]
    fn published_vectors_hold() {
        for &(key, salt, bucket, statistical, sample) in VECTORS {
            let digest = Digest::of(key.as_bytes(), salt.as_bytes());
            assert_eq!(digest.bucket(), Bucket(bucket), "{key}:{salt}");
            assert_eq!(digest.statistical_bucket(), statistical, "{key}:{salt}");
            assert_eq!(digest.user_sample(), sample, "{key}:{salt}");
        }
    }

    fn share(percent: f64) -> Share {
        Share::new(Percent::new(percent).unwrap())
    }

    #[test]
    fn the_ends_serve_nobody_and_everybody() {
        assert!(!share(0.0).contains(Bucket(0)));
        assert!(share(100.0).contains(Bucket(u32::MAX)));
        assert!(share(f64::MIN_POSITIVE).contains(Bucket(0)));
    }

    #[test]
    fn the_share_of_100_000_users_lies_within_the_999_permille_interval() {
        const USERS: u32 = 100_000;
        // Two-sided 99.9 % quantile of the standard normal distribution.
        const Z: f64 = 3.290_526_731;
        for salt in ["default_salt", "answers", "other"] {
            for percent in [1.0, 5.0, 10.0, 25.0, 50.0, 75.0] {
                let share = share(percent);
                let served = (0..USERS)
                    .filter(|user| {
                        share.contains(Digest::of(format!("user_{user}").as_bytes(), salt.as_bytes()).bucket())
                    })
                    .count();
                let p = percent / 100.0;
                let half_width = Z * (p * (1.0 - p) * f64::from(USERS)).sqrt();
                let distance = (served as f64 - p * f64::from(USERS)).abs();
                assert!(distance <= half_width, "{salt} {percent}: {served}");
            }
        }
    }

    #[test]
    fn salts_are_independent() {
        // Phi coefficient of the two assignments over 100,000 users: its standard error is 1/sqrt(n).
        const USERS: u32 = 100_000;
        let half = share(50.0);
        let mut both = [[0_u32; 2]; 2];
        for user in 0..USERS {
            let key = format!("user_{user}");
            let a = half.contains(Digest::of(key.as_bytes(), b"answers").bucket());
            let b = half.contains(Digest::of(key.as_bytes(), b"answers-2").bucket());
            both[usize::from(a)][usize::from(b)] += 1;
        }
        let [[n00, n01], [n10, n11]] = both.map(|row| row.map(f64::from));
        let rows = (n00 + n01) * (n10 + n11);
        let columns = (n00 + n10) * (n01 + n11);
        let phi = (n11 * n00 - n10 * n01) / (rows * columns).sqrt();
        assert!(phi.abs() < 3.290_526_731 / f64::from(USERS).sqrt(), "{phi}");
    }

    proptest! {
        #[test]
        fn the_threshold_agrees_with_the_float_formula(percent in 0.0_f64..=100.0, bucket: u32) {
            let share = share(percent);
            let expected = percent != 0.0 && Bucket(bucket).percentage() <= percent;
            prop_assert_eq!(share.contains(Bucket(bucket)), expected);
            if let Some(highest) = share.highest && percent < 100.0 {
                prop_assert!(Bucket(highest).percentage() <= percent);
                prop_assert!(highest == u32::MAX || Bucket(highest + 1).percentage() > percent);
            }
        }

        #[test]
        fn raising_never_moves_a_user_to_control(a in 0.0_f64..=100.0, b in 0.0_f64..=100.0, bucket: u32) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(!share(low).contains(Bucket(bucket)) || share(high).contains(Bucket(bucket)));
        }

        #[test]
        fn long_and_short_inputs_hash_alike(key in proptest::collection::vec(any::<u8>(), 0..200), salt in proptest::collection::vec(any::<u8>(), 0..60)) {
            let whole: Vec<u8> = [&key[..], b":", &salt[..]].concat();
            let expected: [u8; 32] = Sha256::digest(&whole).into();
            prop_assert_eq!(Digest::of(&key, &salt), Digest(expected));
        }
    }
}
