//! Statistics: estimates, intervals and tests, each a function of numbers with its source.
//!
//! Nothing here knows an arm, a metric or a user; experiments and guards turn evidence into
//! these numbers and verdicts into words. What has no answer (nobody, no spread, a division by zero) is
//! `None`, and what is given is never NaN. Distribution functions are `statrs`'s.

pub mod counts;
pub mod distributions;
pub mod group;
pub mod means;
pub mod mismatch;
pub mod power;
pub mod proportions;
pub mod quantile;
pub mod ratio;
pub mod same_quantile;
pub mod sequential;

/// What is estimated, and the variance of the estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate itself, in the unit of what is estimated.
    pub value: f64,
    /// Its variance, in that unit squared; not that of one observation.
    pub variance: f64,
}

impl Estimate {
    /// An estimate; `None` if a part is not finite or the variance is negative.
    #[must_use]
    pub fn new(value: f64, variance: f64) -> Option<Self> {
        let sound = value.is_finite() && variance.is_finite() && variance >= 0.0;
        sound.then_some(Self { value, variance })
    }

    /// The square root of its variance.
    #[must_use]
    pub fn standard_error(self) -> f64 {
        self.variance.sqrt()
    }

    /// How many standard errors it is above something; `None` without spread.
    #[must_use]
    pub fn z(self, above: f64) -> Option<f64> {
        let z = (self.value - above) / self.standard_error();
        (self.variance > 0.0 && z.is_finite()).then_some(z)
    }

    /// The same, seen from the other side.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { value: -self.value, ..self }
    }

    /// The interval that reaches this far to both sides.
    #[must_use]
    pub fn within(self, half_width: f64) -> Interval {
        Interval { lower: self.value - half_width, upper: self.value + half_width }
    }

    /// The two-sided interval of one look at a normal estimate, which covers with `1 - alpha`.
    #[must_use]
    pub fn fixed_horizon(self, alpha: f64) -> Interval {
        self.within(distributions::normal_quantile(1.0 - alpha / 2.0) * self.standard_error())
    }

    /// The two-sided p-value of one look at a normal estimate; `None` without spread.
    #[must_use]
    pub fn p_value(self) -> Option<f64> {
        Some(2.0 * distributions::normal_above(self.z(0.0)?.abs()))
    }

    /// The p-value of one look for "it is at least `margin`": small where it is clearly less, as in a fixed-horizon
    /// test of non-inferiority.
    #[must_use]
    pub fn p_value_below(self, margin: f64) -> Option<f64> {
        Some(distributions::normal_above(-self.z(margin)?))
    }
}

/// From `lower` to `upper`, either of which may be infinite where nothing is known on that side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Interval {
    /// Whether a number lies in it.
    #[must_use]
    pub fn contains(self, number: f64) -> bool {
        (self.lower..=self.upper).contains(&number)
    }
}

/// Combines independent estimates of the same thing, each weighted by the inverse of its variance: the combination with
/// the least variance. Those without spread are left out, since nothing is known about them; `None` if none is left.
#[must_use]
pub fn combine(estimates: &[Estimate]) -> Option<Estimate> {
    let known = estimates.iter().filter(|estimate| estimate.variance > 0.0);
    let (sum, weight) = known.fold((0.0, 0.0), |(sum, weight), estimate| {
        (sum + estimate.value / estimate.variance, weight + 1.0 / estimate.variance)
    });
    Estimate::new(sum / weight, 1.0 / weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_combine_by_inverse_variance() {
        let of = |value, variance| Estimate { value, variance };
        let all = combine(&[of(0.01, 1e-4), of(0.02, 4e-5), of(0.0, 2e-5)]).unwrap();
        assert!((all.value - 0.007_058_823_5).abs() < 1e-10, "{all:?}");
        assert!((all.variance - 1.176_47e-5).abs() < 1e-10, "{all:?}");
        assert_eq!(combine(&[]), None);
        assert_eq!(combine(&[of(1.0, 0.0)]), None);
        assert_eq!(combine(&[of(1.0, 0.0), of(2.0, 1.0)]), Some(of(2.0, 1.0)));
    }

    #[test]
    fn non_inferiority_at_one_look() {
        // 1.0 % against 1.3 % of 20,000 each, with a margin of half a percentage point.
        let variance = (0.01 * 0.99 + 0.013 * 0.987) / 20_000.0;
        let difference = Estimate::new(0.003, variance).unwrap();
        assert!((difference.standard_error() - 0.001_066_09).abs() < 1e-8);
        assert!((difference.z(0.005).unwrap() + 1.876_012).abs() < 1e-6);
        assert!((difference.p_value_below(0.005).unwrap() - 0.030_326_8).abs() < 1e-7);
        let upper = difference.fixed_horizon(0.1).upper;
        assert!((upper - 0.004_753_56).abs() < 1e-8, "{upper}");
    }

    #[test]
    fn what_is_not_a_number_is_no_estimate() {
        for (value, variance) in
            [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (1.0, f64::INFINITY), (1.0, -1.0)]
        {
            assert_eq!(Estimate::new(value, variance), None);
        }
        let flat = Estimate::new(1.0, 0.0).unwrap();
        assert_eq!((flat.z(0.0), flat.p_value(), flat.p_value_below(2.0)), (None, None, None));
        assert!(flat.fixed_horizon(0.05).contains(1.0));
    }
}
