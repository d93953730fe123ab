//! Shares of independent users: of `n` users, `k` did it.
//!
//! For shares of requests see [`ratio`](super::ratio): requests of one user are alike.

use statrs::function::gamma::ln_gamma;

use super::distributions::{chi_square_above, normal_above, normal_quantile};
use super::{Estimate, Interval};

/// Below this expected count in any cell of the 2 x 2 table, [`fisher`] is to be asked.
pub const SMALL_EXPECTED: f64 = 5.0;
/// Tables with more ways than this are not counted through.
const MAX_TABLES: f64 = 1e6;
/// Tables that are as likely as the one seen, up to rounding, count with it.
const AS_LIKELY: f64 = 1e-7;

/// `successes` of `trials`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many did it.
    pub successes: f64,
    /// Of how many.
    pub trials: f64,
}

/// A test statistic and its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tested {
    /// z, or chi-square.
    pub statistic: f64,
    /// Two-sided.
    pub p: f64,
}

impl Share {
    /// The share itself; `None` of nobody.
    #[must_use]
    pub fn value(self) -> Option<f64> {
        let value = self.successes / self.trials;
        (self.trials > 0.0 && (0.0..=1.0).contains(&value)).then_some(value)
    }

    /// The share and its binomial variance.
    #[must_use]
    pub fn estimate(self) -> Option<Estimate> {
        let share = self.value()?;
        Estimate::new(share, share * (1.0 - share) / self.trials)
    }

    fn failures(self) -> f64 {
        self.trials - self.successes
    }
}

/// Wilson's score interval (Wilson, J. Am. Stat. Assoc. 22, 1927): right near 0 and 1, too.
#[must_use]
pub fn wilson(share: Share, alpha: f64) -> Option<Interval> {
    let (p, n, z) = (share.value()?, share.trials, normal_quantile(1.0 - alpha / 2.0));
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // Rounding must not leave out the ends.
    let lower = if share.successes == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let upper = if share.failures() == 0.0 { 1.0 } else { (centre + half).min(1.0) };
    Some(Interval { lower, upper })
}

/// Newcombe's interval of the difference, candidate less control, from Wilson's of each (Newcombe, Statistics in Medicine
/// 17, 1998, method 10).
#[must_use]
pub fn newcombe(control: Share, candidate: Share, alpha: f64) -> Option<Interval> {
    let (c, t) = (control.value()?, candidate.value()?);
    let (around_c, around_t) = (wilson(control, alpha)?, wilson(candidate, alpha)?);
    Some(Interval {
        lower: t - c - (t - around_t.lower).hypot(around_c.upper - c),
        upper: t - c + (around_t.upper - t).hypot(c - around_c.lower),
    })
}

/// The z-test with the pooled share. `None` where both arms are all or nothing.
#[must_use]
pub fn pooled_z(control: Share, candidate: Share) -> Option<Tested> {
    let all = Share { successes: control.successes + candidate.successes, trials: control.trials + candidate.trials };
    let pooled = all.value()?;
    let variance = pooled * (1.0 - pooled) * (1.0 / control.trials + 1.0 / candidate.trials);
    z_test(Estimate::new(candidate.value()? - control.value()?, variance)?)
}

/// The z-test with each arm's own share, which goes with the interval of [`Estimate::fixed_horizon`].
#[must_use]
pub fn unpooled_z(control: Share, candidate: Share) -> Option<Tested> {
    z_test(super::ratio::difference(control.estimate()?, candidate.estimate()?))
}

fn z_test(difference: Estimate) -> Option<Tested> {
    let statistic = difference.z(0.0)?;
    Some(Tested { statistic, p: 2.0 * normal_above(statistic.abs()) })
}

/// Pearson's chi-square of the 2 x 2 table; with Yates' continuity correction if asked for.
#[must_use]
pub fn chi_square(control: Share, candidate: Share, yates: bool) -> Option<Tested> {
    let [a, b, c, d] = [candidate.successes, candidate.failures(), control.successes, control.failures()];
    let all = a + b + c + d;
    let rows = (a + b) * (c + d);
    let columns = (a + c) * (b + d);
    let apart = (a * d - b * c).abs();
    let apart = if yates { (apart - all / 2.0).max(0.0) } else { apart };
    let statistic = all * apart * apart / (rows * columns);
    statistic.is_finite().then(|| Tested { statistic, p: chi_square_above(statistic, 1.0) })
}

/// The smallest expected count of the 2 x 2 table if both arms were alike.
#[must_use]
pub fn smallest_expected(control: Share, candidate: Share) -> f64 {
    let all = control.trials + candidate.trials;
    let successes = control.successes + candidate.successes;
    successes.min(all - successes) * control.trials.min(candidate.trials) / all.max(1.0)
}

/// The two-sided p-value of Fisher's exact test: of all tables with these margins, those that are at most as likely as the
/// one seen. Counts are whole; `None` for tables with over a million ways.
#[must_use]
pub fn fisher(control: Share, candidate: Share) -> Option<f64> {
    let _ = (control.value()?, candidate.value()?);
    let successes = control.successes + candidate.successes;
    let first = (successes - control.trials).max(0.0);
    let last = successes.min(candidate.trials);
    if last - first > MAX_TABLES {
        return None;
    }
    let ln = |k: f64| ln_choose(candidate.trials, k) + ln_choose(control.trials, successes - k);
    let all = ln_choose(control.trials + candidate.trials, successes);
    let seen = ln(candidate.successes);
    let mut p = 0.0;
    let mut k = first;
    while k <= last {
        let likely = ln(k);
        if likely <= seen + AS_LIKELY {
            p += (likely - all).exp();
        }
        k += 1.0;
    }
    Some(p.min(1.0))
}

fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

/// Cohen's h: the difference of shares on a scale on which it is equally easy to see everywhere (Cohen 1988).
#[must_use]
pub fn cohen_h(control: Share, candidate: Share) -> Option<f64> {
    let angle = |share: f64| 2.0 * share.sqrt().asin();
    Some(angle(candidate.value()?) - angle(control.value()?))
}

/// The odds of the candidate over those of control; `None` where they are infinite.
#[must_use]
pub fn odds_ratio(control: Share, candidate: Share) -> Option<f64> {
    let ratio = candidate.successes * control.failures() / (candidate.failures() * control.successes);
    ratio.is_finite().then_some(ratio)
}

/// The candidate's share over control's; `None` where control has none.
#[must_use]
pub fn risk_ratio(control: Share, candidate: Share) -> Option<f64> {
    let ratio = candidate.value()? / control.value()?;
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: Share = Share { successes: 120.0, trials: 1_000.0 };
    const CANDIDATE: Share = Share { successes: 150.0, trials: 1_000.0 };

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
    }

    #[test]
    fn two_proportions() {
        let tested = pooled_z(CONTROL, CANDIDATE).unwrap();
        near(tested.statistic, 1.963_049_807_6);
        near(tested.p, 0.049_640_386_9);
        let tested = unpooled_z(CONTROL, CANDIDATE).unwrap();
        near(tested.statistic, 1.964_943_729_7);
        near(tested.p, 0.049_420_750_7);
        let tested = chi_square(CONTROL, CANDIDATE, false).unwrap();
        near(tested.statistic, 3.853_564_547_2);
        near(tested.p, 0.049_640_386_9);
        let tested = chi_square(CONTROL, CANDIDATE, true).unwrap();
        near(tested.statistic, 3.600_941_982_4);
        near(tested.p, 0.057_746_841_5);
    }

    #[test]
    fn intervals() {
        let rows = [
            (newcombe(CONTROL, CANDIDATE, 0.05), 0.000_013_782_4, 0.060_008_258_6),
            (wilson(CONTROL, 0.05), 0.101_299_260_6, 0.141_609_075_8),
            (wilson(CANDIDATE, 0.05), 0.129_210_072_5, 0.173_468_658_4),
            (wilson(Share { successes: 0.0, trials: 50.0 }, 0.05), 0.0, 0.071_347_599_1),
            (wilson(Share { successes: 50.0, trials: 50.0 }, 0.05), 1.0 - 0.071_347_599_1, 1.0),
        ];
        for (interval, lower, upper) in rows {
            let interval = interval.unwrap();
            near(interval.lower, lower);
            near(interval.upper, upper);
        }
    }

    #[test]
    fn sizes_of_effects() {
        near(cohen_h(CONTROL, CANDIDATE).unwrap(), 0.087_915_618_4);
        near(odds_ratio(CONTROL, CANDIDATE).unwrap(), 1.294_117_647_058_8);
        near(risk_ratio(CONTROL, CANDIDATE).unwrap(), 1.25);
    }

    #[test]
    fn few_are_counted_exactly() {
        let of = |successes, trials| Share { successes, trials };
        // The lady and her tea, and what scipy.stats.fisher_exact says of others.
        near(fisher(of(1.0, 4.0), of(3.0, 4.0)).unwrap(), 0.485_714_285_714);
        near(fisher(of(10.0, 12.0), of(3.0, 14.0)).unwrap(), 0.004_832_413_514_6);
        near(fisher(of(0.0, 10.0), of(0.0, 12.0)).unwrap(), 1.0);
        assert!(smallest_expected(of(1.0, 4.0), of(3.0, 4.0)) < SMALL_EXPECTED);
        assert!(smallest_expected(CONTROL, CANDIDATE) > SMALL_EXPECTED);
        assert_eq!(fisher(of(4e6, 8e6), of(4e6, 8e6)), None);
    }

    #[test]
    fn what_has_no_answer_has_none() {
        let of = |successes, trials| Share { successes, trials };
        let nobody = of(0.0, 0.0);
        assert_eq!((wilson(nobody, 0.05), newcombe(nobody, CONTROL, 0.05)), (None, None));
        assert_eq!((pooled_z(nobody, CONTROL), fisher(nobody, CONTROL)), (None, None));
        assert_eq!((cohen_h(nobody, CONTROL), risk_ratio(nobody, CONTROL)), (None, None));
        let (none, all) = (of(0.0, 9.0), of(9.0, 9.0));
        assert_eq!((unpooled_z(none, all), chi_square(none, none, false)), (None, None));
        assert_eq!((odds_ratio(none, all), risk_ratio(none, all)), (None, None));
        assert_eq!(of(3.0, 2.0).value(), None);
    }
}
