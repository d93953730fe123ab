//! Sample ratio mismatch: whether as many users came to each arm as were to come.
//!
//! Where they did not, something other than the split decides who is counted, and no comparison of the arms holds. Counts
//! are of users, each once.

use statrs::function::gamma::ln_gamma;

use super::distributions::chi_square_above;

/// A fixed test this small is an alarm, as others have it.
pub const ALARM: f64 = 0.001;
/// How strongly the prior of [`ln_bayes_factor`] is drawn to the planned shares.
pub const CONCENTRATION: f64 = 1_000.0;

/// Pearson's chi-square of counts against planned shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tested {
    /// Chi-square.
    pub statistic: f64,
    /// Its p-value, at one look.
    pub p: f64,
}

/// Tests counts against shares, at one look. Shares are relative; `None` for nobody, for fewer than two arms with a share,
/// and where somebody is in an arm without one.
#[must_use]
pub fn chi_square(counts: &[f64], shares: &[f64]) -> Option<Tested> {
    let (users, all): (f64, f64) = (counts.iter().sum(), shares.iter().sum());
    let arms = shares.iter().filter(|share| **share > 0.0).count() as f64;
    if arms < 2.0 || users <= 0.0 {
        return None;
    }
    let parts = counts.iter().zip(shares).filter(|(count, share)| **count > 0.0 || **share > 0.0);
    let statistic: f64 =
        parts.map(|(count, share)| (count - users * share / all).powi(2) / (users * share / all)).sum();
    statistic.is_finite().then(|| Tested { statistic, p: chi_square_above(statistic, arms - 1.0) })
}

/// The logarithm of the Bayes factor for "the shares are others" against "the shares are `shares`", which sum to 1, with a
/// Dirichlet prior. It may be looked at whenever one likes: its p-value is [`p_value`](super::sequential::p_value).
/// Factors of independent stages multiply, so their logarithms add.
///
/// ```text
/// ln B(a + x) - ln B(a) - sum x ln share
/// ```
/// Lindon, Malek, *Anytime-Valid Inference for Multinomial Count Data*, NeurIPS 2022, arXiv 2011.03567.
#[must_use]
pub fn ln_bayes_factor(counts: &[f64], shares: &[f64], prior: &[f64]) -> Option<f64> {
    let posterior = counts.iter().zip(prior).map(|(count, a)| count + a);
    let under: f64 =
        counts.iter().zip(shares).filter(|(count, _)| **count > 0.0).map(|(n, share)| n * share.ln()).sum();
    let factor = ln_multivariate_beta(posterior) - ln_multivariate_beta(prior.iter().copied()) - under;
    factor.is_finite().then_some(factor)
}

/// [`ln_bayes_factor`] with the prior that is drawn to the planned shares by [`CONCENTRATION`].
#[must_use]
pub fn evidence(counts: [f64; 2], candidate_share: f64) -> Option<f64> {
    let shares = [1.0 - candidate_share, candidate_share];
    let open = candidate_share > 0.0 && candidate_share < 1.0;
    open.then(|| ln_bayes_factor(&counts, &shares, &shares.map(|share| share * CONCENTRATION))).flatten()
}

fn ln_multivariate_beta(parts: impl Iterator<Item = f64>) -> f64 {
    let (logs, sum) = parts.fold((0.0, 0.0), |(logs, sum), part| (logs + ln_gamma(part), sum + part));
    logs - ln_gamma(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::statistics::sequential::p_value;

    #[test]
    fn fixed_tests() {
        let rows = [
            ([821_588.0, 815_482.0], [0.5, 0.5], 22.774_369, 1.821_8e-6),
            ([9_200.0, 800.0], [0.9, 0.1], 44.444_4, 2.617e-11),
            ([1_050.0, 8_950.0], [10.0, 90.0], 2.777_78, 0.095_580_7),
            ([5_000.0, 5_200.0], [1.0, 1.0], 3.921_569, 0.047_670_4),
        ];
        for (counts, shares, statistic, p) in rows {
            let tested = chi_square(&counts, &shares).unwrap();
            assert!((tested.statistic / statistic - 1.0).abs() < 2e-6, "{tested:?}");
            assert!((tested.p / p - 1.0).abs() < 1e-4, "{tested:?}");
        }
        assert!(chi_square(&[5.0, 5.0, 0.0], &[1.0, 1.0, 0.0]).is_some(), "an arm without a share takes no part");
        for (counts, shares) in [([0.0, 0.0], [0.5, 0.5]), ([1.0, 2.0], [1.0, 0.0]), ([1.0, 2.0], [0.0, 0.0])] {
            assert_eq!(chi_square(&counts, &shares), None);
        }
    }

    #[test]
    fn tests_at_every_look() {
        let rows = [
            ([550.0, 450.0], 0.5, [1.0, 1.0], 1.774_509, 0.169_567),
            ([5_000.0, 5_200.0], 0.5, [1.0, 1.0], -2.428_636, 1.0),
            ([5_000.0, 5_200.0], 0.5, [500.0, 500.0], 0.577_784, 0.561_140),
            ([821_588.0, 815_482.0], 0.5, [1.0, 1.0], 4.458_785, 0.011_576_4),
            ([1_100.0, 8_900.0], 0.1, [100.0, 900.0], 3.682_263, 0.025_166_0),
        ];
        for (counts, share, prior, ln, p) in rows {
            let found = ln_bayes_factor(&counts, &[share, 1.0 - share], &prior).unwrap();
            assert!((found - ln).abs() < 1e-6, "{found} is not {ln}");
            assert!((p_value(found) / p - 1.0).abs() < 1e-5, "{found}");
        }
        let found = evidence([8_900.0, 1_100.0], 0.1).unwrap();
        assert!((found - 3.682_263).abs() < 1e-6, "{found}");
        assert_eq!(evidence([0.0, 0.0], 0.5), Some(0.0), "nobody came: no evidence");
        assert_eq!((evidence([1.0, 1.0], 0.0), evidence([1.0, 1.0], 1.0)), (None, None));
    }
}
