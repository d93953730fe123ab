//! Quantiles of durations in fixed memory: logarithmic buckets with a relative error of at most 1 %.
//!
//! DDSketch with fixed bounds (Masson, Rim, Lee, VLDB 2019, arXiv 1908.10693): bucket `k` holds
//! values in `(γ^(k-1), γ^k]`, with γ = (1 + a) / (1 - a), and answers `2γ^k / (γ + 1)`. Counts are
//! integers, so merging is exact and does not depend on the order.

use super::window::Mergeable;

/// Relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;
const ALPHA: f64 = RELATIVE_ERROR;
const GAMMA: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);
/// 1 / ln γ, so that a key costs one logarithm.
const KEYS_PER_E: f64 = 49.998_333_288_886_78;
/// Values are counted in microseconds from 10 µs (key 116) up to one hour (key 1101).
const LOWEST_KEY: i32 = 116;
const BUCKETS: usize = 986;

/// Where a duration is counted; found once for all sketches that count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u16);

impl Place {
    /// The place of a duration in microseconds. Beyond 10 µs and one hour it counts as these.
    #[must_use]
    pub fn of(micros: u64) -> Self {
        Self((key(micros as f64) - LOWEST_KEY).clamp(0, BUCKETS as i32 - 1) as u16)
    }
}

/// Counts of durations, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Empty until the first value, so that an idle arm costs nothing.
    counts: Vec<u32>,
    total: u64,
}

impl Sketch {
    /// Counts one duration in microseconds.
    pub fn add(&mut self, micros: u64) {
        self.count_at(Place::of(micros));
    }

    /// Counts one duration whose place is known.
    pub fn count_at(&mut self, Place(place): Place) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        if let Some(count) = self.counts.get_mut(usize::from(place)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// Bytes of a sketch with values.
    pub const MAX_BYTES: usize = size_of::<Self>() + BUCKETS * size_of::<u32>();

    /// Bytes in use.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size_of::<Self>() + self.counts.len() * size_of::<u32>()
    }

    /// The buckets that are not empty, by index, for writing them down.
    pub fn counts(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        (0..).zip(&self.counts).filter(|(_, count)| **count > 0).map(|(index, count)| (index, *count))
    }

    /// Puts the count of a bucket that was written down; `None` if there is no such bucket.
    pub fn put(&mut self, index: u16, count: u32) -> Option<()> {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        let place = self.counts.get_mut(usize::from(index))?;
        self.total = self.total - u64::from(*place) + u64::from(count);
        *place = count;
        Some(())
    }

    /// How many values of this and of another are in each bucket, from the lowest to the highest.
    pub fn beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = [u64; 2]> + Clone + 'a {
        (0..BUCKETS).map(move |place| [self, other].map(|of| of.counts.get(place).map_or(0, |count| u64::from(*count))))
    }

    /// What came after an earlier state of the same sketch.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts.clone();
        counts.iter_mut().zip(&earlier.counts).for_each(|(now, then)| *now = now.saturating_sub(*then));
        let total = counts.iter().map(|count| u64::from(*count)).sum();
        Self { counts, total }
    }

    /// How many values are counted beyond a place.
    #[must_use]
    pub fn above(&self, Place(place): Place) -> u64 {
        self.counts.iter().skip(usize::from(place) + 1).map(|count| u64::from(*count)).sum()
    }

    /// How many values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// How many values are at most `micros`, as far as buckets tell them apart.
    #[must_use]
    pub fn count_up_to(&self, micros: f64) -> u64 {
        let last = (key(micros) - LOWEST_KEY).clamp(0, BUCKETS as i32 - 1) as usize;
        self.counts.iter().take(last + 1).map(|&count| u64::from(count)).sum()
    }

    /// The value at quantile `q` (0 to 1) in microseconds: the smallest bucket whose cumulative count
    /// reaches `q * count`. `None` without values.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|&count| {
            seen += u64::from(count);
            seen >= rank
        })?;
        Some(value(index as i32 + LOWEST_KEY))
    }
}

impl Mergeable for Sketch {
    fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine = mine.saturating_add(*theirs);
            }
        }
        self.total += other.total;
    }
}

fn key(x: f64) -> i32 {
    (x.max(1.0).ln() * KEYS_PER_E).ceil() as i32
}

fn value(key: i32) -> f64 {
    2.0 * GAMMA.powi(key) / (GAMMA + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_answers() {
        assert!((KEYS_PER_E * GAMMA.ln() - 1.0).abs() < 1e-15);
        assert_eq!(key(100.0), 231);
        assert!((value(231) - 100.494_568).abs() < 1e-5);
        assert_eq!(key(250.0), 277);
        assert!((value(277) - 252.177_787).abs() < 1e-5);
        assert_eq!(key(10.0), LOWEST_KEY);
        assert!(value(LOWEST_KEY + BUCKETS as i32 - 1) >= 3.6e9 * (1.0 - ALPHA));
    }

    #[test]
    fn half_lies_up_to_the_median() {
        let mut sketch = Sketch::default();
        (1..=100).for_each(|n| sketch.add(n * 1_000));
        assert_eq!(sketch.count_up_to(sketch.quantile(0.5).unwrap()), 50);
        assert_eq!((sketch.count_up_to(0.0), sketch.count_up_to(1e12)), (0, 100));
        assert_eq!(Sketch::default().count_up_to(1e12), 0);
    }

    #[test]
    fn two_are_walked_side_by_side() {
        let of = |values: &[u64]| {
            values.iter().fold(Sketch::default(), |mut sketch, &value| {
                sketch.add(value);
                sketch
            })
        };
        let (one, other) = (of(&[1_000, 2_000, 2_000]), of(&[2_000, 9_000]));
        let places: Vec<[u64; 2]> = one.beside(&other).filter(|at| *at != [0, 0]).collect();
        assert_eq!(places, [[1, 0], [2, 1], [0, 1]]);
        assert!(one.beside(&Sketch::default()).all(|[_, none]| none == 0));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(mut values in proptest::collection::vec(11_u64..3_600_000_000, 1..200), q in 0.0_f64..=1.0) {
            let mut sketch = Sketch::default();
            for &value in &values {
                sketch.add(value);
            }
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            let found = sketch.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= exact * (ALPHA + 1e-9), "{} for {}", found, exact);
        }

        #[test]
        fn merging_is_counting_both(a in proptest::collection::vec(1_u64..1_000_000, 0..50), b in proptest::collection::vec(1_u64..1_000_000, 0..50)) {
            let of = |values: &[u64]| values.iter().fold(Sketch::default(), |mut sketch, &value| { sketch.add(value); sketch });
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let both: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(merged, of(&both));
        }
    }
}
