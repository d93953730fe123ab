//! Whether two samples have the same quantile, at every look: for values that are independent of each other.
//!
//! Howard, Ramdas, *Sequential estimation of quantiles with applications to A/B testing and best-arm identification*,
//! Bernoulli 28(3), 2022, arXiv 1906.09712; as `confseq.quantiles.quantile_ab_p_value` has it. Only how many values are at most
//! `x` counts, so a histogram is enough: then it is the quantile of the rounded values that is compared. Requests of one user
//! are not independent, so where users send many it alarms too often.

use super::counts::ln_mixture;
use super::proportions::Share;
use super::sequential;

/// Narrowings of the search for where one sample says nothing.
const STEPS: usize = 80;
/// The golden section.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// A test of one quantile, tuned beforehand: that so many values are at most a common quantile is judged as any other share
/// is ([`counts`](super::counts)), for each arm, and the common quantile is the one that speaks least against itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SameQuantile {
    /// Which: 0 to 1, both excluded.
    pub quantile: f64,
    /// Values of each sample for which it is most powerful.
    pub tuned: f64,
    /// At this level.
    pub alpha: f64,
}

/// One sample: how many values, and the number up to the quantile that speaks least against anything.
#[derive(Debug, Clone, Copy)]
struct Side {
    values: f64,
    least: f64,
}

impl SameQuantile {
    /// The two-sided p-value for "both samples have the same quantile", from how many values of each lie at each place, from
    /// the lowest to the highest. It holds at every look. `None` where a sample is empty.
    #[must_use]
    pub fn p_value(&self, places: impl Iterator<Item = [u64; 2]> + Clone) -> Option<f64> {
        let counts = places.clone().fold([0, 0], |[a, b]: [u64; 2], [one, other]| [a + one, b + other]);
        if counts.contains(&0) {
            return None;
        }
        let sides = counts.map(|count| self.side(count as f64));
        let (mut below, mut found) = ([0.0; 2], f64::INFINITY);
        for at in places {
            let up_to = [below[0] + at[0] as f64, below[1] + at[1] as f64];
            // Where both have their quantile on the same side, the places in between are nearer to both.
            let before = (0..2).all(|side| up_to[side] < sides[side].least);
            let after = (0..2).all(|side| below[side] > sides[side].least);
            if !before && !after {
                let against = |side: usize| {
                    let Side { values, least } = sides[side];
                    self.ln_e_value(least.clamp(below[side], up_to[side]), values)
                };
                found = found.min(against(0) + against(1));
            }
            below = up_to;
        }
        Some(sequential::p_value(found))
    }

    /// The evidence against "this is the quantile" of `values`, of which so many are at most that.
    fn ln_e_value(&self, up_to: f64, values: f64) -> f64 {
        ln_mixture(Share { successes: up_to, trials: values }, self.quantile, self.tuned, self.alpha)
    }

    /// Finds what speaks least against anything; the evidence is convex.
    fn side(&self, values: f64) -> Side {
        let (mut low, mut high) = (0.0, values);
        let inner = |low: f64, high: f64| [high - GOLDEN * (high - low), low + GOLDEN * (high - low)];
        for _ in 0..STEPS {
            let [left, right] = inner(low, high);
            if self.ln_e_value(left, values) < self.ln_e_value(right, values) { high = right } else { low = left }
        }
        Side { values, least: f64::midpoint(low, high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 1 to 1,000, and of the same beyond an offset, are at each whole number.
    fn places(offset: u64) -> impl Iterator<Item = [u64; 2]> + Clone {
        (1..=1_000 + offset).map(move |value| [u64::from(value <= 1_000), u64::from(value > offset)])
    }

    /// Those of confseq's own tests.
    #[test]
    fn known_answers() {
        for (quantile, offset, wanted) in
            [(0.5, 70, 0.814_704), (0.5, 85, 0.083_805_5), (0.5, 100, 0.005_494_7), (0.9, 55, 0.034_046_3)]
        {
            let test = SameQuantile { quantile, tuned: 100.0, alpha: 0.05 };
            let found = test.p_value(places(offset)).unwrap();
            assert!((found / wanted - 1.0).abs() < 1e-5, "{quantile} {offset}: {found} is not {wanted}");
            let other = test.p_value(places(offset).map(|[one, other]| [other, one])).unwrap();
            assert!((other / found - 1.0).abs() < 1e-9, "whichever comes first: {found} {other}");
        }
    }

    #[test]
    fn what_is_alike_or_absent_says_nothing() {
        let test = SameQuantile { quantile: 0.95, tuned: 10_000.0, alpha: 0.05 };
        assert_eq!(test.p_value(places(0)), Some(1.0));
        assert_eq!(test.p_value([[1, 1]].into_iter()), Some(1.0));
        assert_eq!((test.p_value([].into_iter()), test.p_value([[4, 0], [1, 0]].into_iter())), (None, None));
        assert_eq!(test.p_value([[1 << 40, 1 << 40]].into_iter()), Some(1.0), "all in one place");
    }

    #[test]
    fn coarser_places_say_less() {
        let test = SameQuantile { quantile: 0.5, tuned: 100.0, alpha: 0.05 };
        let fine: Vec<[u64; 2]> = places(100).collect();
        let coarse = fine.chunks(20).map(|few| few.iter().fold([0, 0], |[a, b], [c, d]| [a + c, b + d]));
        let (fine, coarse) = (test.p_value(fine.iter().copied()).unwrap(), test.p_value(coarse).unwrap());
        assert!(coarse >= fine && coarse < 0.2, "{coarse} {fine}");
    }
}
