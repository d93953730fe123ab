//! A made-up world: users of whom a few ask much, each with a nature of their own, and what their requests measure.
//!
//! Users differ: who has errors has more of them, who waits waits longer. That is what makes requests of one user no
//! independent evidence. Invariant: a user is a function of seed and number, in both arms the same.

use super::chance::Chance;
use crate::domain::Arm;
use crate::domain::assignment::{Bucket, STATISTICAL_BUCKETS};
use crate::domain::evidence::Measured;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crowd {
    /// So many users come back: at a skew of 0 all ask alike, at 1 the n-th most active asks about 1/n as often as
    /// the first (Zipf).
    Returning {
        /// How many.
        users: u32,
        /// How uneven.
        skew: f64,
    },
    /// Every user asks once or twice, by turns, and never again.
    Passing,
}

/// What a metric's values look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nature {
    /// 0 or 1. A user's own share is the mean times a log-normal factor.
    Share,
    /// Any number, normally distributed around the mean.
    Score {
        /// Standard deviation.
        deviation: f64,
    },
    /// Above zero, log-normally distributed.
    Amount {
        /// Standard deviation over mean.
        variation: f64,
    },
}

/// A metric as it is made up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Made {
    /// Which.
    pub metric: Measured,
    /// What its values look like.
    pub nature: Nature,
    /// Its mean, by `Arm::index`, in the unit in which it is added up.
    pub means: [f64; 2],
    /// Whether its distribution is kept.
    pub timed: bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Who asks.
    pub crowd: Crowd,
    /// Requests a second.
    pub rate: f64,
    /// What is measured of every request.
    pub metrics: Vec<Made>,
    /// Which of the metrics is a failed attempt, if one is.
    pub failures: Option<usize>,
    /// How much of the variance is between users, 0 to 1.
    pub between_users: f64,
}

/// One user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    seed: u64,
    /// Where percentages cut.
    pub(super) bucket: Bucket,
    /// Among the buckets of users.
    pub(super) statistical: u16,
    /// In the sample of users.
    pub(super) sample: u64,
}

/// Streams of users lie above those of runs.
const USERS: u64 = 1 << 63;
/// Spread of a user's share of errors, as the standard deviation of its logarithm, where all variance is between users.
const SHARE_SPREAD: f64 = 1.5;

impl Crowd {
    /// Who makes the request with this number.
    pub(super) fn pick(self, number: u64, chance: &mut Chance) -> u64 {
        match self {
            Self::Passing => number * 2 / 3,
            Self::Returning { users, skew } => {
                let (top, u) = (f64::from(users) + 1.0, chance.unit());
                let rank = if (skew - 1.0).abs() < 1e-9 {
                    top.powf(u)
                } else {
                    let exponent = 1.0 - skew;
                    ((top.powf(exponent) - 1.0) * u + 1.0).powf(1.0 / exponent)
                };
                (rank as u64).clamp(1, u64::from(users)) - 1
            }
        }
    }
}

impl User {
    pub(super) const fn new(seed: u64, number: u64) -> Self {
        let mut chance = Chance::new(seed, USERS | number);
        let bits = chance.bits();
        Self {
            seed: chance.bits(),
            bucket: Bucket((bits >> 32) as u32),
            statistical: (bits as u32 % STATISTICAL_BUCKETS as u32) as u16,
            sample: chance.bits(),
        }
    }
}

impl World {
    /// One value of a metric, of a request of this user.
    pub(super) fn value(&self, place: usize, user: &User, arm: Arm, chance: &mut Chance) -> f64 {
        let Made { nature, means, .. } = self.metrics[place];
        let mean = means[arm.index()];
        let own = Chance::new(user.seed, place as u64).normal();
        match nature {
            Nature::Share => {
                let spread = SHARE_SPREAD * self.between_users.sqrt();
                let share = mean * (spread * own - spread * spread / 2.0).exp();
                f64::from(u8::from(chance.unit() < share))
            }
            Nature::Score { deviation } => mean + deviation * self.blend(own, chance),
            Nature::Amount { variation } => {
                let spread = variation.mul_add(variation, 1.0).ln().sqrt();
                mean * (spread * self.blend(own, chance) - spread * spread / 2.0).exp()
            }
        }
    }

    /// What is the user's and what is the request's, of variance 1 together.
    fn blend(&self, own: f64, chance: &mut Chance) -> f64 {
        self.between_users.sqrt() * own + (1.0 - self.between_users).sqrt() * chance.normal()
    }
}
