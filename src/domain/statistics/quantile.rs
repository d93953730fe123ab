//! Quantiles of times with intervals that know of users: one user's requests are slow together.
//!
//! Deng, Knoblich, Lu, *Applying the Delta Method in Metric Analytics*, KDD 2018, section 4; as GrowthBook's
//! `QuantileClusteredStatistic` has it. At one look only: for guards, ask for the share of requests that are slower than a
//! threshold, which is a [`ratio`].

use super::super::sketch::{RELATIVE_ERROR, Sketch};
use super::super::window::Mergeable as _;
use super::distributions::normal_quantile;
use super::{Estimate, ratio};

/// Covers the ranks from which the density around a quantile is read.
const LEVEL: f64 = 0.05;

/// Why a quantile has no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// There are fewer values than its rank needs.
    TooFewValues,
    /// There are fewer than two clusters.
    TooFewClusters,
}

/// The fewest values for a quantile: `z^2 q / (1 - q)` of them, or `z^2 (1 - q) / q`, whichever is more.
#[must_use]
pub fn least_values(quantile: f64) -> f64 {
    let z2 = normal_quantile(1.0 - LEVEL / 2.0).powi(2);
    z2 * (quantile / (1.0 - quantile)).max((1.0 - quantile) / quantile)
}

/// All values together, and by cluster: what quantiles are read from.
#[derive(Debug, Clone)]
pub struct Clustered<'a> {
    clusters: Vec<&'a Sketch>,
    all: Sketch,
}

impl<'a> Clustered<'a> {
    /// Of clusters, one sketch each.
    #[must_use]
    pub fn new(clusters: &'a [Sketch]) -> Self {
        let clusters: Vec<&Sketch> = clusters.iter().filter(|sketch| sketch.count() > 0).collect();
        let mut all = Sketch::default();
        clusters.iter().for_each(|sketch| all.merge(sketch));
        Self { clusters, all }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.all.count() as f64
    }

    /// A quantile and its variance between clusters.
    ///
    /// # Errors
    /// When it cannot be told; see [`Unknown`].
    pub fn quantile(&self, quantile: f64) -> Result<Estimate, Unknown> {
        let n = self.count();
        if n <= least_values(quantile) {
            return Err(Unknown::TooFewValues);
        }
        let z = normal_quantile(1.0 - LEVEL / 2.0);
        let reach = z * (quantile * (1.0 - quantile) / n).sqrt();
        let at = |rank: f64| self.all.quantile(rank).ok_or(Unknown::TooFewValues);
        let value = at(quantile)?;
        let (lower, upper) = (at(quantile - reach)?, at(quantile + reach)?);
        let share = self.clusters.iter().map(|sketch| (sketch.count_up_to(value) as f64, sketch.count() as f64));
        let share: Vec<(f64, f64)> = share.collect();
        let share = ratio::ratio(share.into_iter()).ok_or(Unknown::TooFewClusters)?;
        let variance = clustered_variance(n, quantile, (upper - lower) / (2.0 * z), share.variance);
        // A value stands for its bin, anywhere within the relative error to both sides.
        let rounding = (value * RELATIVE_ERROR).powi(2) / 3.0;
        Estimate::new(value, variance + rounding).ok_or(Unknown::TooFewValues)
    }
}

/// The variance of a quantile: what it would be for independent values, times the design effect of the clusters.
///
/// `independent` is its standard error for independent values, `(q_U - q_L) / 2z`; `share` the variance between clusters of
/// the share of values up to it.
#[must_use]
pub fn clustered_variance(values: f64, quantile: f64, independent: f64, share: f64) -> f64 {
    let binomial = quantile * (1.0 - quantile) / values;
    independent * independent * share / binomial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(clusters: &[Sketch], q: f64) -> Result<Estimate, Unknown> {
        Clustered::new(clusters).quantile(q)
    }

    fn of(values: impl Iterator<Item = u64>) -> Sketch {
        values.fold(Sketch::default(), |mut sketch, value| {
            sketch.add(value);
            sketch
        })
    }

    #[test]
    fn ranks_need_values() {
        assert_eq!(least_values(0.99).floor(), 380.0);
        assert_eq!(least_values(0.95).ceil(), 73.0);
        assert!((least_values(0.05) - least_values(0.95)).abs() < 1e-9);
        let few = [of((1..=40).map(|n| n * 100)), of((1..=40).map(|n| n * 100))];
        assert!(quantile(&few, 0.95).is_ok());
        assert_eq!(quantile(&few, 0.99), Err(Unknown::TooFewValues));
        assert_eq!(quantile(&[], 0.5), Err(Unknown::TooFewValues));
        assert_eq!(quantile(&[of(1..=1_000), Sketch::default()], 0.5), Err(Unknown::TooFewClusters));
    }

    #[test]
    fn alike_clusters_have_the_variance_of_independent_values_or_less() {
        // Uniform over 10 to 110 ms, dealt out to 50 clusters: the density is 1 / 100,000 µs.
        let values: Vec<u64> = (0..20_000_u64).map(|n| 10_000 + n * 7_919 % 100_000).collect();
        let clusters: Vec<Sketch> = values.chunks(400).map(|chunk| of(chunk.iter().copied())).collect();
        let found = quantile(&clusters, 0.5).unwrap();
        assert!((found.value / 60_000.0 - 1.0).abs() < 0.011, "{found:?}");
        let independent = 100_000.0 * (0.25_f64 / 20_000.0).sqrt();
        let rounding = found.value * RELATIVE_ERROR / 3.0_f64.sqrt();
        assert!(found.standard_error() < 1.5 * independent.hypot(rounding), "{found:?} {independent} {rounding}");
    }

    #[test]
    fn clusters_that_differ_make_it_less_sure() {
        let same: Vec<Sketch> = (0..40).map(|_| of((1..=200).map(|n| n * 1_000))).collect();
        let apart: Vec<Sketch> = (0..40_u64).map(|c| of((1..=200).map(|n| n * 1_000 * (1 + c % 2 * 3)))).collect();
        let [same, apart] = [same, apart].map(|clusters| quantile(&clusters, 0.9).unwrap());
        assert!(apart.standard_error() / apart.value > 3.0 * same.standard_error() / same.value, "{same:?} {apart:?}");
        let variance = clustered_variance(1_000.0, 0.5, 2.0, 0.000_5);
        assert!((variance - 8.0).abs() < 1e-12, "twice the binomial variance of the share: {variance}");
    }
}
