//! Means of independent values: Welch's test, and how large a difference is.
//!
//! Each value has to be independent of the others, so a value is a user's, not a request's; metrics of requests are
//! [`ratio`](super::ratio)'s.

use super::distributions::{t_above, t_upper_quantile};
use super::{Estimate, Interval, ratio};

/// Values by their count, sum and sum of squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

/// A test at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// What is estimated, and its variance.
    pub estimate: Estimate,
    /// Degrees of freedom of Student's t.
    pub degrees: f64,
    /// The estimate in standard errors.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// P-value for "it is greater than zero": small where it clearly is.
    pub p_greater: f64,
    /// The two-sided interval at the level that was asked for.
    pub interval: Interval,
}

impl Sample {
    /// The variance of one value; `None` for fewer than two.
    #[must_use]
    pub fn variance(self) -> Option<f64> {
        let squares = self.squares - self.sum * self.sum / self.count;
        (self.count > 1.0 && squares.is_finite()).then(|| squares.max(0.0) / (self.count - 1.0))
    }

    /// The mean and its variance; `None` for fewer than two values.
    #[must_use]
    pub fn mean(self) -> Option<Estimate> {
        Estimate::new(self.sum / self.count, self.variance()? / self.count)
    }
}

/// Welch's t-test of the difference of two means, candidate less control (Welch, Biometrika 34, 1947). `None` for fewer
/// than two values on a side, or without any spread.
#[must_use]
pub fn welch(control: Sample, candidate: Sample, alpha: f64) -> Option<Test> {
    student(ratio::difference(control.mean()?, candidate.mean()?), welch_degrees(control, candidate)?, alpha)
}

/// The same of the difference relative to control's mean, by the delta method.
#[must_use]
pub fn welch_relative(control: Sample, candidate: Sample, alpha: f64) -> Option<Test> {
    student(ratio::relative(control.mean()?, candidate.mean()?)?, welch_degrees(control, candidate)?, alpha)
}

/// The test of an estimate against zero by Student's t; `None` without spread.
#[must_use]
pub fn student(estimate: Estimate, degrees: f64, alpha: f64) -> Option<Test> {
    let statistic = estimate.z(0.0)?;
    let half_width = t_upper_quantile(alpha / 2.0, degrees) * estimate.standard_error();
    let above = t_above(statistic.abs(), degrees);
    Some(Test {
        estimate,
        degrees,
        statistic,
        p: (2.0 * above).min(1.0),
        p_greater: if statistic >= 0.0 { above } else { 1.0 - above },
        interval: estimate.within(half_width),
    })
}

/// Degrees of freedom of two variances of means, each from so many clusters (Welch and Satterthwaite).
#[must_use]
pub fn satterthwaite(variances: [f64; 2], clusters: [f64; 2]) -> Option<f64> {
    let part = |side: usize| variances[side] * variances[side] / (clusters[side] - 1.0);
    let degrees = (variances[0] + variances[1]).powi(2) / (part(0) + part(1));
    (degrees.is_finite() && degrees > 0.0).then_some(degrees)
}

fn welch_degrees(control: Sample, candidate: Sample) -> Option<f64> {
    satterthwaite([control.mean()?.variance, candidate.mean()?.variance], [control.count, candidate.count])
}

/// Cohen's d: the difference in pooled standard deviations (Cohen 1988). `None` without spread.
#[must_use]
pub fn cohen_d(control: Sample, candidate: Sample) -> Option<f64> {
    let inner = |sample: Sample| Some(sample.variance()? * (sample.count - 1.0));
    let pooled = (inner(control)? + inner(candidate)?) / (control.count + candidate.count - 2.0);
    let d = (candidate.mean()?.value - control.mean()?.value) / pooled.sqrt();
    d.is_finite().then_some(d)
}

/// Hedges' g: Cohen's d without its bias in small samples (Hedges 1981).
#[must_use]
pub fn hedges_g(control: Sample, candidate: Sample) -> Option<f64> {
    let correction = 1.0 - 3.0 / (4.0 * (control.count + candidate.count) - 9.0);
    cohen_d(control, candidate).map(|d| d * correction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: Sample = Sample { count: 3_407.0, sum: 1_396.87, squares: 52_377.976_7 };
    const CANDIDATE: Sample = Sample { count: 3_461.0, sum: 2_422.7, squares: 134_698.29 };

    fn near(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 3e-8, "{found} is not {wanted}");
    }

    #[test]
    fn growthbooks_welch_test() {
        let test = welch(CONTROL, CANDIDATE, 0.05).unwrap();
        near(test.estimate.value, 0.29);
        near(test.estimate.standard_error(), 0.124_783_63);
        near(test.degrees, 5_841.742_032);
        near(test.statistic, 2.324_022_76);
        near(test.p, 0.020_158_402_6);
        near(test.interval.lower, 0.045_377_892_6);
        near(test.interval.upper, 0.534_622_107_4);
    }

    #[test]
    fn growthbooks_relative_test() {
        let test = welch_relative(CONTROL, CANDIDATE, 0.05).unwrap();
        near(test.estimate.value, 0.707_317_07);
        near(test.estimate.standard_error(), 0.378_794_36);
        near(test.p, 0.061_911_827_5);
        near(test.interval.lower, -0.035_260_089_1);
        near(test.interval.upper, 1.449_894_235_4);
    }

    #[test]
    fn growthbooks_one_sided_tests() {
        // Its own data for these: 3,000 users of control.
        let control = Sample { count: 3_000.0, ..CONTROL };
        near(welch(control, CANDIDATE, 0.05).unwrap().p_greater, 0.035_542_724_9);
        near(welch_relative(control, CANDIDATE, 0.05).unwrap().p_greater, 0.065_582_628_7);
        let other = welch(CANDIDATE, control, 0.05).unwrap();
        near(other.p_greater, 1.0 - 0.035_542_724_9);
    }

    #[test]
    fn sizes_of_effects() {
        near(cohen_d(CONTROL, CANDIDATE).unwrap(), 0.055_897_181_9);
        near(hedges_g(CONTROL, CANDIDATE).unwrap(), 0.055_891_075_8);
        // The pooled standard deviation.
        near(0.29 / cohen_d(CONTROL, CANDIDATE).unwrap(), 5.188_096_966);
    }

    #[test]
    fn what_cannot_be_tested_is_not() {
        let none = Sample { count: 0.0, sum: 0.0, squares: 0.0 };
        let one = Sample { count: 1.0, sum: 3.0, squares: 9.0 };
        let flat = Sample { count: 9.0, sum: 9.0, squares: 9.0 };
        let huge = Sample { count: 9.0, sum: 1e200, squares: f64::INFINITY };
        for (control, candidate) in [(none, CANDIDATE), (CONTROL, one), (flat, flat), (huge, CANDIDATE)] {
            assert_eq!(welch(control, candidate, 0.05), None);
            assert_eq!(cohen_d(control, candidate), None);
        }
        assert_eq!(welch_relative(Sample { sum: 0.0, ..flat }, CANDIDATE, 0.05), None);
        assert!(welch(flat, CANDIDATE, 0.05).is_some(), "spread on one side is enough");
    }
}
