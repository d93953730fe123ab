//! Which users there were: exactly, as long as they are few, and as an exact random share of them after.
//!
//! A user is kept whose sample lies at or under a threshold; when there are too many, the threshold
//! halves. The sample is a slice of the digest that decides nothing else, so who is kept is random, and
//! two processes keep the same users. (Sketches with an error of 0.8 % are too coarse for a test of the
//! ratio of users.)

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::super::Arm;

/// Users that are kept.
pub const MAX_SAMPLE: usize = 65_536;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSample {
    threshold: u64,
    /// The arms that each was assigned (bit 0 control, bit 1 candidate), and in which each was measured (bits 2 and 3).
    users: HashMap<u64, u8, BuildHasherDefault<Spread>>,
    /// How many users have each set of arms: they are asked for every second.
    counts: [u32; 16],
}

/// Samples are slices of a digest already; but all that are kept have the same first bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 over the golden ratio, odd: Knuth, TAOCP vol. 3, 6.4.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Default for UserSample {
    fn default() -> Self {
        Self { threshold: u64::MAX, users: HashMap::default(), counts: [0; 16] }
    }
}

/// How many users, as estimated from the sample; exact while none was left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Users {
    /// Of each arm alone, by `Arm::index`.
    pub only: [f64; 2],
    /// Of both arms.
    pub both: f64,
}

/// The users in the sample itself, as tests count them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampled {
    /// Who was assigned each arm, by `Arm::index`.
    pub assigned: [f64; 2],
    /// Who got a whole answer of each.
    pub measured: [f64; 2],
    /// Who was assigned both.
    pub both: f64,
}

/// One user of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledUser {
    /// See `assignment::Digest::user_sample`.
    pub sample: u64,
    /// Whether each arm was assigned, by `Arm::index`.
    pub arms: [bool; 2],
    /// Whether there was a whole answer.
    pub measured: bool,
}

impl Sampled {
    fn count(users: impl Iterator<Item = u8>) -> Self {
        let mut counts = [0_u32; 16];
        users.for_each(|arms| counts[usize::from(arms & 0b1111)] += 1);
        Self::of_counts(&counts)
    }

    /// Of how many users there are by their bits.
    fn of_counts(counts: &[u32; 16]) -> Self {
        let with = |bits: usize| -> f64 {
            let of = |(arms, count): (usize, &u32)| if arms & bits == bits { f64::from(*count) } else { 0.0 };
            counts.iter().enumerate().map(of).sum()
        };
        Self { assigned: [with(0b0001), with(0b0010)], measured: [with(0b0100), with(0b1000)], both: with(0b0011) }
    }
}

impl UserSample {
    /// Notes a user; tells whether that was news.
    pub fn add(&mut self, sample: u64, arm: Arm, measured: bool) -> bool {
        if sample > self.threshold {
            return false;
        }
        let arms = self.users.entry(sample).or_default();
        let bits = (if measured { 0b101 } else { 0b001 }) << arm.index();
        let news = *arms & bits != bits;
        if news {
            let before = usize::from(*arms);
            *arms |= bits;
            self.counts[usize::from(*arms & 0b1111)] += 1;
            // Who is new has no arms yet, and is counted nowhere.
            self.counts[before] -= u32::from(before > 0);
            self.shrink();
        }
        news
    }

    /// Adds the users of another sample.
    pub fn merge(&mut self, other: &Self) {
        self.threshold = self.threshold.min(other.threshold);
        for (&sample, &arms) in &other.users {
            *self.users.entry(sample).or_default() |= arms;
        }
        let threshold = self.threshold;
        self.users.retain(|sample, _| *sample <= threshold);
        self.count();
        self.shrink();
    }

    /// The share of all users that are in the sample.
    #[must_use]
    pub fn share(&self) -> f64 {
        // What the threshold lets in; 2^64 values lie at or under u64::MAX.
        (self.threshold as f64 + 1.0) / 2.0_f64.powi(64)
    }

    /// How many users there were.
    #[must_use]
    pub fn users(&self) -> Users {
        let share = self.share();
        let Sampled { assigned: [control, candidate], both, .. } = self.sampled();
        Users { only: [(control - both) / share, (candidate - both) / share], both: both / share }
    }

    /// The users in the sample itself.
    #[must_use]
    pub fn sampled(&self) -> Sampled {
        Sampled::of_counts(&self.counts)
    }

    /// The users in several samples, each once, and the share of all users that they are.
    #[must_use]
    pub fn union(samples: &[&Self]) -> (Sampled, f64) {
        let Some(smallest) = samples.iter().min_by_key(|sample| sample.threshold) else {
            return (Sampled::default(), 1.0);
        };
        // Tables with one hash go through their users in one order, so this one is walked from end to end with each of them. It
        // must have room for all from the beginning: where it is still too small, its first part fills up first.
        let room = samples.iter().map(|sample| sample.users.len()).sum();
        let mut users = HashMap::with_capacity_and_hasher(room, BuildHasherDefault::<Spread>::default());
        for sample in samples {
            let known = sample.users.iter().filter(|(user, _)| **user <= smallest.threshold);
            known.for_each(|(user, arms)| *users.entry(*user).or_insert(0) |= arms);
        }
        (Sampled::count(users.into_values()), smallest.share())
    }

    /// The users in the sample.
    pub fn each(&self) -> impl Iterator<Item = SampledUser> + '_ {
        self.users.iter().map(|(&sample, arms)| SampledUser {
            sample,
            arms: [arms & 0b01 != 0, arms & 0b10 != 0],
            measured: arms & 0b1100 != 0,
        })
    }

    /// Whether every user is in it.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.threshold == u64::MAX
    }

    fn shrink(&mut self) {
        while self.users.len() > MAX_SAMPLE {
            self.threshold /= 2;
            let threshold = self.threshold;
            self.users.retain(|sample, _| *sample <= threshold);
            self.count();
        }
    }

    fn count(&mut self) {
        self.counts = [0; 16];
        self.users.values().for_each(|arms| self.counts[usize::from(*arms & 0b1111)] += 1);
    }

    pub(super) fn bytes(&self) -> usize {
        // An entry and a byte of control; a table is never more than 7/8 full and doubles.
        self.users.capacity() * 8 / 7 * (size_of::<(u64, u8)>() + 1)
    }

    /// Its parts, in order, for writing it down.
    pub(super) fn parts(&self) -> (u64, Vec<(u64, u8)>) {
        let mut users: Vec<_> = self.users.iter().map(|(sample, arms)| (*sample, *arms)).collect();
        users.sort_unstable();
        (self.threshold, users)
    }

    /// From the parts that were written down; `None` if they are none.
    pub(super) fn of(threshold: u64, users: Vec<(u64, u8)>) -> Option<Self> {
        // Who was measured in an arm was assigned it.
        let sound = |arms: u8| arms & 0b11 != 0 && arms < 16 && arms >> 2 & !arms == 0;
        let whole =
            users.len() <= MAX_SAMPLE && users.iter().all(|(sample, arms)| *sample <= threshold && sound(*arms));
        whole.then(|| {
            let mut sample = Self { threshold, users: users.into_iter().collect(), counts: [0; 16] };
            sample.count();
            sample
        })
    }
}
