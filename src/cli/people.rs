//! People who ask: made-up users, what is known of them, and what they want to know.
//!
//! The one source of them for the demo and for `pointsman traffic`. It sends nothing. Invariant: everything
//! is a function of seed and number, so that the same seed gives the same people, whoever asks first.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Most distinct users.
pub(super) const MAX_USERS: u32 = 10_000_000;
/// Users for each organization, on average.
const USERS_AN_ORGANIZATION: u32 = 25;

const TIERS: [(&str, u32); 3] = [("free", 78), ("premium", 17), ("enterprise", 5)];
const DEVICES: [(&str, u32); 3] = [("mobile", 55), ("desktop", 38), ("tablet", 7)];
const REGIONS: [(&str, u32); 5] = [("us", 34), ("eu", 31), ("apac", 22), ("latam", 9), ("mea", 4)];

/// What people ask where nobody says what.
pub(super) const QUERIES: [&str; 24] = [
    "how do I reset my password",
    "compare the basic and the premium plan",
    "why was my card declined twice",
    "summarize the main findings of the last quarterly report",
    "opening hours on public holidays",
    "what does error 502 mean",
    "vegetarian recipes with lentils and spinach",
    "how does retrieval augmented generation differ from fine-tuning",
    "cancel my subscription",
    "latest research on perovskite solar cells",
    "write a polite reminder about an unpaid invoice",
    "is my data stored in the european union",
    "train from Malmö to Hamburg tomorrow morning",
    "which knowledge graph links these two authors",
    "side effects of ibuprofen with alcohol",
    "explain entropy to a twelve year old",
    "refund",
    "what changed in version 2 of the API",
    "translate \"good morning\" into Japanese",
    "best practices for rolling out a new search backend",
    "who signed the contract with the supplier in Lyon",
    "convert 350 degrees fahrenheit to celsius",
    "list all open tickets about slow uploads, newest first, with the customer and the time of the first reply",
    "how many people live in Reykjavík",
];

/// Users of whom a few ask much, and most seldom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Population {
    /// Distinct users, 1 to [`MAX_USERS`].
    pub(super) users: u32,
    /// How uneven: at 0 all ask alike, at 1 the n-th most active asks about 1/n as often as the first (Zipf).
    pub(super) skew: f64,
}

impl Population {
    /// One of them: the inverse of a power law's distribution, cut off at the number of users.
    pub(super) fn pick(&self, rng: &mut fastrand::Rng) -> Person {
        let (top, u) = (f64::from(self.users) + 1.0, rng.f64());
        let rank = if (self.skew - 1.0).abs() < 1e-9 {
            top.powf(u)
        } else {
            let exponent = 1.0 - self.skew;
            ((top.powf(exponent) - 1.0) * u + 1.0).powf(1.0 / exponent)
        };
        Person { index: (rank as u32).clamp(1, self.users) - 1 }
    }
}

/// A user, by rank of activity from 0; of the same rank always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Person {
    /// The rank.
    pub(super) index: u32,
}

impl Person {
    /// The key.
    pub(super) fn key(self) -> String {
        format!("user_{}", self.index)
    }

    /// Says who asks: the key, and what conditions may look at.
    pub(super) fn introduce(self, headers: &mut HeaderMap) {
        let mut rng = rng(u64::from(self.index), 0);
        let words = [("x-user-tier", &TIERS[..]), ("x-device-type", &DEVICES[..]), ("x-region", &REGIONS[..])];
        for (name, choices) in words {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(weighted(choices, &mut rng)));
        }
        let organizations = Population { users: 1 + self.index / USERS_AN_ORGANIZATION, skew: 0.5 };
        let organization = organizations.pick(&mut rng).index;
        for (name, value) in [("x-user-id", self.key()), ("x-organization-id", format!("org_{organization}"))] {
            // Letters, digits and an underscore can stand in a header.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The chances of the request with this number.
pub(super) fn rng(seed: u64, number: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(mixed(mixed(seed).wrapping_add(number)))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): neighbours have nothing in common.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn weighted(choices: &[(&'static str, u32)], rng: &mut fastrand::Rng) -> &'static str {
    let all: u32 = choices.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.u32(..all);
    for (word, weight) in choices {
        if left < *weight {
            return word;
        }
        left -= weight;
    }
    choices.first().map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(population: Population, most: u32) -> f64 {
        const PICKS: u64 = 20_000;
        let picked = (0..PICKS).filter(|number| population.pick(&mut rng(7, *number)).index < most).count();
        picked as f64 / PICKS as f64
    }

    #[test]
    fn a_few_ask_much() {
        // Shares of the ten most active among 1,000: (11^(1-s) - 1) / (1001^(1-s) - 1), or ln 11 / ln 1001.
        let rows = [(0.0, 10.0 / 1_000.0), (0.8, 0.205), (1.0, 0.347), (1.5, 0.721)];
        for (skew, expected) in rows {
            let found = share(Population { users: 1_000, skew }, 10);
            assert!((found - expected).abs() < 0.02, "{skew}: {found}, not {expected}");
        }
        let one = Population { users: 1, skew: 0.8 };
        assert!((0..100).all(|number| one.pick(&mut rng(1, number)).index == 0));
        for skew in [0.0, 0.8, 1.0, 2.0] {
            let all = Population { users: 3, skew };
            let seen: std::collections::BTreeSet<u32> = (0..200).map(|n| all.pick(&mut rng(1, n)).index).collect();
            assert_eq!(seen, [0, 1, 2].into(), "{skew}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_people() {
        let all = Population { users: 10_000, skew: 0.8 };
        let picks = |seed| -> Vec<u32> { (0..50).map(|number| all.pick(&mut rng(seed, number)).index).collect() };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
        let told = |index| {
            let mut headers = HeaderMap::new();
            Person { index }.introduce(&mut headers);
            headers
        };
        assert_eq!(told(4), told(4));
        assert_eq!(told(4)["x-user-id"], "user_4");
        assert_eq!(told(4).len(), 5);
        let desktops = (0..1_000).filter(|index| told(*index)["x-device-type"] == "desktop").count();
        assert!((320..440).contains(&desktops), "{desktops}");
    }
}
