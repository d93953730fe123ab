//! An always-valid interval for a share of independent users: exact, so also for few of them.
//!
//! Howard, Ramdas, McAuliffe, Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence sequences*, Ann. Stat. 2021, arXiv
//! 1810.08240, the beta-binomial mixture; as the package `confseq` has it.

use statrs::function::beta::ln_beta;

use super::Interval;
use super::proportions::Share;

/// Halvings of the search for an end.
const HALVINGS: usize = 60;

/// The interval that holds at all looks with `1 - alpha`, narrowest after `tuned` users; `None` of nobody.
///
/// It holds every share `p` against which the mixture of likelihood ratios is under `1 / alpha`.
#[must_use]
pub fn interval(share: Share, tuned: f64, alpha: f64) -> Option<Interval> {
    let seen = share.value()?;
    let refused = |p: f64| ln_mixture(share, p, tuned, alpha) > -alpha.ln();
    let end = |outside: f64| {
        let (mut out, mut within) = (outside, seen);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(out, within);
            if refused(middle) { out = middle } else { within = middle }
        }
        within
    };
    Some(Interval { lower: if seen == 0.0 { 0.0 } else { end(0.0) }, upper: if seen == 1.0 { 1.0 } else { end(1.0) } })
}

/// The logarithm of the mixture of likelihood ratios against the share `p`: an e-value at every look.
pub(super) fn ln_mixture(Share { successes, trials }: Share, p: f64, tuned: f64, alpha: f64) -> f64 {
    let (q, failures) = (1.0 - p, trials - successes);
    let variance = p * q;
    let logarithm = -2.0 * alpha.ln();
    let r = (tuned * variance / (logarithm + (1.0 + logarithm).ln()) - variance).max(1e-3 * variance);
    let (a, b) = (r / q, r / p);
    let under = |count: f64, share: f64| if count > 0.0 { count * share.ln() } else { 0.0 };
    ln_beta(a + successes, b + failures) - ln_beta(a, b) - under(successes, p) - under(failures, q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        let found = interval(Share { successes: 700.0, trials: 1_000.0 }, 100.0, 0.05).unwrap();
        assert!((found.lower - 0.651_629).abs() < 1e-6, "{found:?}");
        assert!((found.upper - 0.745_949).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn ends_are_open_where_nothing_was_seen() {
        let of = |successes, trials| interval(Share { successes, trials }, 100.0, 0.05);
        assert_eq!(of(0.0, 0.0), None);
        let (none, all) = (of(0.0, 50.0).unwrap(), of(50.0, 50.0).unwrap());
        assert_eq!((none.lower, all.upper), (0.0, 1.0));
        assert!((none.upper - (1.0 - all.lower)).abs() < 1e-9 && none.upper < 0.25, "{none:?} {all:?}");
        let one = of(1.0, 1.0).unwrap();
        assert!(one.lower < 0.1, "of one user hardly anything is known: {one:?}");
    }
}
