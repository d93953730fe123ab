//! Always-valid inference: intervals and verdicts that hold at every look at once, however often one looks.
//!
//! Everything is a function of an estimate, its variance `V`, a mixing variance `tau2` that is fixed before the first
//! look, and the level `alpha`. The boundaries are Robbins' normal mixture: Howard, Ramdas, McAuliffe, Sekhon, *Time-uniform,
//! nonparametric, nonasymptotic confidence sequences*, Ann. Stat. 2021, arXiv 1810.08240; with estimated variances they are
//! the asymptotic confidence sequences of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Ann. Stat. 52(6) 2024, arXiv
//! 2103.06476. As a test it is the mixture sequential probability ratio test of Johari, Koomen, Pekelis, Walsh, 2022.
//! The variance has to be that of independent clusters (users): with requests it alarms falsely in 28 to 31 % of runs.

use super::distributions::{normal_above, normal_below, normal_upper_quantile};
use super::{Estimate, Interval};

/// The mixing variance for which the two-sided interval is tightest when the variance has come down to `at`.
///
/// ```text
/// tau2 = V* (-2 ln alpha + ln(1 - 2 ln alpha))
/// ```
/// For one-sided boundaries give `2 * alpha`.
#[must_use]
pub fn tuning(at: f64, alpha: f64) -> f64 {
    let logarithm = -2.0 * level(alpha).ln();
    at * (logarithm + (1.0 + logarithm).ln())
}

/// The variance at which a fixed-horizon, one-sided test would find a difference of `margin` with this power: where a
/// boundary should be tightest, so that one number that people know, the margin, tunes everything.
#[must_use]
pub fn target_variance(margin: f64, alpha: f64, power: f64) -> f64 {
    (margin / (normal_upper_quantile(level(alpha)) + normal_upper_quantile(1.0 - power))).powi(2)
}

/// Half the width of the two-sided interval that holds at all looks with `1 - alpha`.
///
/// ```text
/// h2 = sqrt( V (V + tau2) / tau2 * ( ln((V + tau2) / V) - 2 ln alpha ) )
/// ```
/// Zero for a variance of zero; infinite without an end.
#[must_use]
pub fn half_width(variance: f64, tau2: f64, alpha: f64) -> f64 {
    boundary(variance, tau2, |spread| spread.ln() - 2.0 * level(alpha).ln())
}

/// How far a one-sided bound is from the estimate, at all looks with `1 - alpha`.
///
/// ```text
/// h1 = sqrt( V (V + tau2) / tau2 * 2 ln( 1 + sqrt((V + tau2) / V) / (2 alpha) ) )
/// ```
#[must_use]
pub fn half_width_one_sided(variance: f64, tau2: f64, alpha: f64) -> f64 {
    boundary(variance, tau2, |spread| 2.0 * (spread.sqrt() / (2.0 * level(alpha))).ln_1p())
}

/// `sqrt(V (V + tau2) / tau2 * logarithm((V + tau2) / V))`, with its limits.
fn boundary(variance: f64, tau2: f64, logarithm: impl FnOnce(f64) -> f64) -> f64 {
    if variance == 0.0 {
        return 0.0;
    }
    let spread = (1.0 + tau2 / variance).min(f64::MAX);
    let half_width = (variance * (1.0 + variance / tau2) * logarithm(spread).min(f64::MAX)).sqrt();
    let known = variance > 0.0 && tau2 > 0.0 && tau2.is_finite() && half_width.is_finite();
    if known { half_width } else { f64::INFINITY }
}

/// The two-sided interval that holds at all looks with `1 - alpha`.
#[must_use]
pub fn interval(estimate: Estimate, tau2: f64, alpha: f64) -> Interval {
    estimate.within(half_width(estimate.variance, tau2, alpha))
}

/// The logarithm of the e-value against "the difference is zero", for either direction.
///
/// ```text
/// E = sqrt(V / (V + tau2)) exp( tau2 D^2 / (2 V (V + tau2)) )
/// ```
/// Evidence is against it by a factor of `E`; it may be looked at whenever one likes. Zero (no evidence) without spread.
#[must_use]
pub fn ln_e_value(estimate: Estimate, tau2: f64) -> f64 {
    let Estimate { value, variance } = estimate;
    let ln = 0.5 * (variance / (variance + tau2)).ln() + 0.5 * value * value * tau2 / (variance * (variance + tau2));
    if variance > 0.0 && tau2 > 0.0 && !ln.is_nan() { ln } else { 0.0 }
}

/// As [`ln_e_value`], against "the difference is zero or less": the mixture is over positive differences only.
#[must_use]
pub fn ln_e_value_greater(estimate: Estimate, tau2: f64) -> f64 {
    let Estimate { value, variance } = estimate;
    let z = value * (tau2 / (variance * (variance + tau2))).sqrt();
    let ln = std::f64::consts::LN_2 + normal_below(z).max(f64::MIN_POSITIVE).ln() + ln_e_value(estimate, tau2);
    if variance > 0.0 && tau2 > 0.0 && !ln.is_nan() { ln } else { 0.0 }
}

/// The p-value of an e-value. It holds at every look; the smallest one so far may be kept.
#[must_use]
pub fn p_value(ln_e_value: f64) -> f64 {
    (-ln_e_value).exp().min(1.0)
}

/// The level that look number `look` (from 1) may spend of `alpha`: `alpha / (k (k + 1))`. Their sum is `alpha`, and a
/// union bound needs nothing but that each look is right by itself: valid under any dependence, so it is the robust method.
#[must_use]
pub fn spent(alpha: f64, look: u32) -> f64 {
    let look = f64::from(look.max(1));
    level(alpha) / (look * (look + 1.0))
}

/// How far a one-sided bound is from the estimate at look number `look`, by the robust method.
#[must_use]
pub fn half_width_robust(variance: f64, look: u32, alpha: f64) -> f64 {
    normal_upper_quantile(spent(alpha, look)) * variance.max(0.0).sqrt()
}

/// `R_T - (1 + m) R_C` and its variance: positive where the candidate exceeds control by more than the relative margin
/// `m`. It needs no division, so it also holds where control is zero. The arms are independent.
#[must_use]
pub fn contrast(control: Estimate, candidate: Estimate, margin: f64) -> Estimate {
    let factor = 1.0 + margin;
    Estimate {
        value: candidate.value - factor * control.value,
        variance: candidate.variance + factor * factor * control.variance,
    }
}

/// What a guardrail tolerates. Differences are oriented so that more is worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guardrail {
    /// A difference above this is a regression; 0 or more.
    pub tolerance: f64,
    /// A difference below this is no worse; above 0.
    pub margin: f64,
    /// The chance of a false alarm over the whole run.
    pub alpha_regressed: f64,
    /// The chance of taking a worse candidate for no worse, over the whole run.
    pub alpha_non_inferior: f64,
}

/// What a guardrail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Worse by more than is tolerated.
    Regressed,
    /// No worse than the margin.
    NonInferior,
    /// Not enough data for either.
    Inconclusive,
}

/// A verdict and the bounds that it was read from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// The lower bound, at `alpha_regressed`, and the upper bound, at `alpha_non_inferior`.
    pub bounds: Interval,
}

impl Guardrail {
    /// Judges a difference by two one-sided bounds that hold at all looks. A variance of zero decides nothing: it
    /// says that no spread was seen, not that there is none.
    #[must_use]
    pub fn judge(self, harm: Estimate, tau2: f64) -> Judged {
        let lower = harm.value - half_width_one_sided(harm.variance, tau2, self.alpha_regressed);
        let upper = harm.value + half_width_one_sided(harm.variance, tau2, self.alpha_non_inferior);
        let verdict = if harm.variance <= 0.0 {
            Verdict::Inconclusive
        } else if lower > self.tolerance {
            Verdict::Regressed
        } else if upper < self.margin {
            Verdict::NonInferior
        } else {
            Verdict::Inconclusive
        };
        Judged { verdict, bounds: Interval { lower, upper } }
    }
}

/// Levels are probabilities.
fn level(alpha: f64) -> f64 {
    alpha.clamp(f64::MIN_POSITIVE, 1.0)
}

/// The level that a one-sided fixed-horizon test would need for a bound as far away as `z` standard errors.
#[must_use]
pub fn nominal_level(z: f64) -> f64 {
    normal_above(z)
}

#[cfg(test)]
mod tests;
