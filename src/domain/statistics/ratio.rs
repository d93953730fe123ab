//! Ratios of sums over independent clusters, by the delta method: metrics of requests where users are assigned.
//!
//! Deng, Knoblich, Lu, *Applying the Delta Method in Metric Analytics*, KDD 2018, arXiv 1803.06336. A cluster is whatever
//! is independent of the others: a user, or a bucket of users. It has a sum `S` above the line and a sum `D` below it.

use super::{Estimate, Interval};

/// How many standard errors from zero control has to be for a relative difference by the delta method; nearer, the
/// interval is [`fieller`]'s.
pub const NEAR_ZERO: f64 = 3.0;

/// The ratio of the sums of clusters `(S, D)`, and its variance between clusters.
///
/// ```text
/// R = sum S / sum D,  e = S - R D,  Var(R) = K / (K - 1) * sum e^2 / (sum D)^2
/// ```
/// `None` for fewer than two clusters, or where nothing is below the line.
#[must_use]
pub fn ratio(clusters: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Estimate> {
    let (count, s, d) =
        clusters.clone().fold((0.0, 0.0, 0.0), |(count, all_s, all_d), (s, d)| (count + 1.0, all_s + s, all_d + d));
    if count < 2.0 || d == 0.0 {
        return None;
    }
    let ratio = s / d;
    let squares: f64 = clusters.map(|(s, d)| (s - ratio * d).powi(2)).sum();
    Estimate::new(ratio, count / (count - 1.0) * squares / (d * d))
}

/// The same by leaving out one cluster after the other (delete-one jackknife): mean of the ratios and their variance.
#[must_use]
pub fn jackknife(clusters: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Estimate> {
    let (count, s, d) =
        clusters.clone().fold((0.0, 0.0, 0.0), |(count, all_s, all_d), (s, d)| (count + 1.0, all_s + s, all_d + d));
    if count < 2.0 {
        return None;
    }
    let left = clusters.map(|(one_s, one_d)| (s - one_s) / (d - one_d));
    let mean = left.clone().sum::<f64>() / count;
    let squares: f64 = left.map(|ratio| (ratio - mean).powi(2)).sum();
    Estimate::new(mean, (count - 1.0) / count * squares)
}

/// The candidate's estimate less control's, which is independent of it.
#[must_use]
pub fn difference(control: Estimate, candidate: Estimate) -> Estimate {
    Estimate { value: candidate.value - control.value, variance: candidate.variance + control.variance }
}

/// The difference relative to control, by the delta method.
///
/// ```text
/// (T - C) / |C|,  V = Var(T) / C^2 + Var(C) T^2 / C^4
/// ```
/// `None` where control is zero.
#[must_use]
pub fn relative(control: Estimate, candidate: Estimate) -> Option<Estimate> {
    relative_correlated(control, candidate, 0.0)
}

/// [`relative`] for estimates with this covariance.
#[must_use]
pub fn relative_correlated(control: Estimate, candidate: Estimate, covariance: f64) -> Option<Estimate> {
    let (c, t) = (control.value, candidate.value);
    let quotient = t / c;
    let variance = candidate.variance + quotient * quotient * control.variance - 2.0 * quotient * covariance;
    Estimate::new((t - c) / c.abs(), (variance / c / c).max(0.0))
}

/// Whether control is so near to zero that a relative difference has no normal distribution.
#[must_use]
pub fn is_near_zero(control: Estimate) -> bool {
    control.value.abs() <= NEAR_ZERO * control.standard_error()
}

/// Fieller's interval for the relative difference `T / C - 1`: all `r` for which `T - (1 + r) C` is within `z` standard
/// errors of zero. `None` where control is not told from zero at `z`, since every relative difference is possible then.
/// (Fieller, *Some Problems in Interval Estimation*, J. R. Stat. Soc. B 16, 1954.)
#[must_use]
pub fn fieller(control: Estimate, candidate: Estimate, covariance: f64, z: f64) -> Option<Interval> {
    let (c, t, z2) = (control.value, candidate.value, z * z);
    let a = c * c - z2 * control.variance;
    let b = c * t - z2 * covariance;
    let root = b * b - a * (t * t - z2 * candidate.variance);
    if a <= 0.0 || root < 0.0 {
        return None;
    }
    let ends = [(b - root.sqrt()) / a - 1.0, (b + root.sqrt()) / a - 1.0];
    // Relative to the size of control: where it is negative, more is less.
    let ends = ends.map(|end| if c < 0.0 { -end } else { end });
    let (lower, upper) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
    (lower.is_finite() && upper.is_finite()).then_some(Interval { lower, upper })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLUSTERS: [(f64, f64); 5] = [(1.0, 10.0), (0.0, 4.0), (2.0, 20.0), (0.0, 5.0), (3.0, 11.0)];

    fn near(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 2e-6, "{found} is not {wanted}");
    }

    #[test]
    fn known_answers() {
        let found = ratio(CLUSTERS.into_iter()).unwrap();
        near(found.value, 0.12);
        near(found.variance, 0.001_806_4);
        near(found.standard_error(), 0.042_501_8);
        // Of 50 independent requests it would be larger here.
        near((0.12_f64 * 0.88 / 50.0).sqrt(), 0.045_956_5);
        let left = jackknife(CLUSTERS.into_iter()).unwrap();
        near(left.variance, 0.001_875_90);
        near(left.value, 0.119_804_90);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(ratio([].into_iter()), None);
        assert_eq!(ratio([(1.0, 2.0)].into_iter()), None);
        assert_eq!(ratio([(1.0, 0.0), (2.0, 0.0)].into_iter()), None);
        assert_eq!(ratio([(1e200, 1.0), (-1e200, 1.0)].into_iter()), None);
        assert_eq!(jackknife([(1.0, 1.0), (1.0, 0.0)].into_iter()), None);
        let (zero, one) = (Estimate { value: 0.0, variance: 1.0 }, Estimate { value: 1.0, variance: 1.0 });
        assert_eq!(relative(zero, one), None);
        assert_eq!(fieller(zero, one, 0.0, 1.96), None);
        assert!(is_near_zero(one) && !is_near_zero(Estimate { value: 4.0, variance: 1.0 }));
    }

    #[test]
    fn far_from_zero_fieller_is_the_delta_method() {
        for sign in [1.0, -1.0] {
            let control = Estimate { value: 10.0 * sign, variance: 1e-4 };
            let candidate = Estimate { value: 11.0 * sign, variance: 2e-4 };
            let delta = relative(control, candidate).unwrap().within(0.0);
            let delta = Estimate { value: delta.lower, ..relative(control, candidate).unwrap() }.fixed_horizon(0.05);
            let exact = fieller(control, candidate, 0.0, 1.959_964).unwrap();
            assert!((exact.lower - delta.lower).abs() < 1e-5, "{exact:?} {delta:?}");
            assert!((exact.upper - delta.upper).abs() < 1e-5, "{exact:?} {delta:?}");
        }
    }

    proptest! {
        #[test]
        fn scaling_scales(clusters in proptest::collection::vec((-10.0_f64..10.0, 1.0_f64..10.0), 2..30), factor in 0.1_f64..10.0) {
            let one = ratio(clusters.iter().copied()).unwrap();
            let other = ratio(clusters.iter().map(|(s, d)| (s * factor, *d))).unwrap();
            prop_assert!((other.value - factor * one.value).abs() < 1e-9);
            prop_assert!((other.variance - factor * factor * one.variance).abs() < 1e-9 * (1.0 + other.variance));
        }
    }
}
