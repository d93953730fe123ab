//! Planning: how many users a difference takes, and which difference so many users can show.
//!
//! At one look; whoever looks all the time pays [`SEQUENTIAL_COST`] at most. Sizes are of one arm, unrounded.

use super::distributions::{normal_quantile, normal_upper_quantile};
use super::proportions::{Share, cohen_h};

/// How many times as many users an always-valid test needs for the same difference at the look that it is tuned for: the
/// boundary there is 2.779 standard errors instead of 1.645, one-sided at 5 %. An upper bound, since it ends earlier on
/// average.
pub const SEQUENTIAL_COST: f64 = (2.779 / 1.644_853_626_951_472_6) * (2.779 / 1.644_853_626_951_472_6);

/// How sure a plan is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The chance of a false alarm.
    pub alpha: f64,
    /// The chance to see a difference that is there.
    pub power: f64,
    /// Whether only one direction is of interest.
    pub one_sided: bool,
}

impl Plan {
    /// The quantile that belongs to `alpha`.
    fn z_alpha(self) -> f64 {
        normal_upper_quantile(if self.one_sided { self.alpha } else { self.alpha / 2.0 })
    }

    /// Standard errors that a difference has to be large: `z(alpha) + z(power)`.
    #[must_use]
    pub fn standard_errors(self) -> f64 {
        self.z_alpha() + normal_quantile(self.power)
    }

    /// Users of each arm for two shares, with each arm's own variance. `None` where they are the same.
    #[must_use]
    pub fn proportions(self, control: f64, candidate: f64) -> Option<f64> {
        let spread = control * (1.0 - control) + candidate * (1.0 - candidate);
        sound(self.standard_errors().powi(2) * spread / (control - candidate).powi(2))
    }

    /// The same with the pooled variance under the null hypothesis (Fleiss 1981).
    #[must_use]
    pub fn proportions_pooled(self, control: f64, candidate: f64) -> Option<f64> {
        let pooled = f64::midpoint(control, candidate);
        let null = (2.0 * pooled * (1.0 - pooled)).sqrt();
        let alternative = (control * (1.0 - control) + candidate * (1.0 - candidate)).sqrt();
        let root = self.z_alpha() * null + normal_quantile(self.power) * alternative;
        sound(root.powi(2) / (control - candidate).powi(2))
    }

    /// The same by Cohen's h.
    #[must_use]
    pub fn proportions_by_angle(self, control: f64, candidate: f64) -> Option<f64> {
        let share = |successes| Share { successes, trials: 1.0 };
        let h = cohen_h(share(control), share(candidate))?;
        sound(2.0 * (self.standard_errors() / h).powi(2))
    }

    /// Users of each arm for a difference of so many standard deviations (Cohen's d).
    #[must_use]
    pub fn means(self, d: f64) -> Option<f64> {
        sound(2.0 * (self.standard_errors() / d).powi(2))
    }

    /// The least difference that shows when the estimate has this variance.
    #[must_use]
    pub fn detectable(self, variance: f64) -> f64 {
        self.standard_errors() * variance.max(0.0).sqrt()
    }

    /// By how much the data have to grow for this difference to show, from what the variance is with today's: 1 is today's.
    /// `None` without spread or difference.
    #[must_use]
    pub fn growth(self, variance: f64, difference: f64) -> Option<f64> {
        let factor = variance * (self.standard_errors() / difference).powi(2);
        (variance > 0.0).then_some(factor).filter(|factor| factor.is_finite())
    }
}

/// How many times as many users a split costs than halves: `1 / (4 k (1 - k))`. Infinite at 0 and 1.
#[must_use]
pub fn split_penalty(candidate_share: f64) -> f64 {
    1.0 / (4.0 * candidate_share * (1.0 - candidate_share)).max(0.0)
}

fn sound(size: f64) -> Option<f64> {
    (size.is_finite() && size > 0.0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { alpha: 0.05, power: 0.8, one_sided: false };

    fn near(found: f64, wanted: f64, tolerance: f64) {
        assert!((found - wanted).abs() < tolerance, "{found} is not {wanted}");
    }

    #[test]
    fn known_answers() {
        near(PLAN.proportions(0.1, 0.12).unwrap(), 3_838.10, 0.01);
        near(PLAN.proportions_pooled(0.1, 0.12).unwrap(), 3_840.85, 0.01);
        near(PLAN.proportions_by_angle(0.1, 0.12).unwrap(), 3_834.61, 0.02);
        near(PLAN.means(0.2).unwrap(), 392.44, 0.01);
        near(Plan { one_sided: true, ..PLAN }.proportions(0.01, 0.015).unwrap(), 6_102.18, 0.01);
        near(split_penalty(0.1), 2.778, 1e-3);
        near(split_penalty(0.25), 1.333, 1e-3);
        near(SEQUENTIAL_COST, 2.854, 1e-3);
    }

    #[test]
    fn a_detectable_difference_needs_no_more_data() {
        let difference = PLAN.detectable(4e-4);
        near(difference, 2.801_585 * 0.02, 1e-6);
        near(PLAN.growth(4e-4, difference).unwrap(), 1.0, 1e-12);
        near(PLAN.growth(4e-4, difference / 2.0).unwrap(), 4.0, 1e-12);
    }

    #[test]
    fn no_difference_takes_no_number_of_users() {
        assert_eq!((PLAN.proportions(0.1, 0.1), PLAN.means(0.0), PLAN.growth(1.0, 0.0)), (None, None, None));
        assert_eq!((PLAN.growth(0.0, 1.0), PLAN.proportions_by_angle(0.5, 2.0)), (None, None));
        assert_eq!((split_penalty(0.0), split_penalty(1.0)), (f64::INFINITY, f64::INFINITY));
    }
}
