//! Guards that may be looked at at any time: an always-valid test of users as clusters, across strata.
//!
//! In each stratum `k` the harm is `R_T - f R_C - d`, ratios of sums over buckets of users. Strata are put together
//! with weights of their sizes, and the variance is that of each bucket's influence on the whole, so that users
//! who are in several strata (they were moved from control to the candidate) are not taken for several:
//!
//! ```text
//! psi_b = sum_k w_k (e_Tkb / D_Tk - f e_Ckb / D_Ck),  e = S - R D,  V = B / (B - 1) sum_b psi_b^2
//! ```
//! Deng, Knoblich, Lu, KDD 2018, arXiv 1803.06336, with the boundaries of [`sequential`].

use super::Comparator;
use super::verdict::{Finding, Limit, Verdict};
use crate::domain::evidence::Sums;
use crate::domain::statistics::Estimate;
use crate::domain::statistics::sequential::{self, Guardrail};

/// With fewer buckets of users in an arm nothing is said: the test rests on their number.
pub const MIN_CLUSTERS: usize = 50;
/// The power for which the boundary is tuned at the margin.
const POWER: f64 = 0.9;
/// The chance of taking a worse candidate for no worse.
const ALPHA_NON_INFERIOR: f64 = 0.05;

/// One arm of one stratum: what is above the line and below it, by bucket.
#[derive(Debug, Clone, Copy)]
pub struct Clusters<'a> {
    /// Above the line: sums are taken.
    pub over: &'a [Sums],
    /// Below the line: `None` takes the counts of `over`, otherwise its sums.
    pub under: Option<&'a [Sums]>,
}

/// Both arms of one stratum; control where the test compares with it.
#[derive(Debug, Clone, Copy)]
pub struct Stratified<'a> {
    /// The candidate.
    pub candidate: Clusters<'a>,
    /// Control.
    pub control: Option<Clusters<'a>>,
}

/// What is tested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// Which direction is meant.
    pub comparator: Comparator,
    /// What the candidate is held against.
    pub limit: Limit,
    /// What one of the values is in the unit of the limit.
    pub scale: f64,
    /// The chance that it is answered with yes although it is not so, over all looks together.
    pub alpha: f64,
    /// The difference for which the test is tuned; `None` takes a twentieth of the limit.
    pub margin: Option<f64>,
    /// Whether values are 0 or 1, so that no spread seen is not taken for none.
    pub is_share: bool,
}

/// The margin where none is given, as a share of the limit.
const USUAL_MARGIN: f64 = 0.05;

impl Clusters<'_> {
    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let counts = self.over.iter().map(|sums| (sums.sum, sums.count));
        let ratios = self.under.map(|under| self.over.iter().zip(under).map(|(over, under)| (over.sum, under.sum)));
        let (counts, ratios) = if ratios.is_some() { (None, ratios) } else { (Some(counts), None) };
        counts.into_iter().flatten().chain(ratios.into_iter().flatten())
    }

    fn used(&self) -> usize {
        self.pairs().filter(|(_, d)| *d > 0.0).count()
    }

    fn sums(&self) -> (f64, f64) {
        self.pairs().fold((0.0, 0.0), |(all_s, all_d), (s, d)| (all_s + s, all_d + d))
    }
}

/// Asks whether the candidate stands so to the limit. *Holds* and *fails* are sure in their levels; *not enough data*
/// is what lies between. `samples` of the finding are the users' buckets of the lesser arm.
#[must_use]
pub fn ask(question: &Question, strata: &[Stratified<'_>]) -> Finding {
    let mut all = Whole::default();
    for stratum in strata {
        all.add(question, stratum);
    }
    all.finding(question)
}

/// All strata together.
#[derive(Default)]
struct Whole {
    weight: f64,
    harm: f64,
    candidate: f64,
    limit: f64,
    /// A share's least variance, weighted.
    floor: f64,
    influence: Vec<f64>,
    clusters: [usize; 2],
}

impl Whole {
    fn add(&mut self, question: &Question, stratum: &Stratified<'_>) {
        let (s_t, d_t) = stratum.candidate.sums();
        let control = stratum.control.map(|control| (control, control.sums()));
        let d_c = control.as_ref().map(|(_, (_, d))| *d);
        if d_t <= 0.0 || d_c.is_some_and(|d| d <= 0.0) {
            return;
        }
        let r_t = s_t / d_t * question.scale;
        let (factor, offset) = match question.limit {
            Limit::Number(number) => (0.0, number),
            Limit::OfControl { factor, offset } => (factor, offset),
        };
        let r_c = control.as_ref().map_or(0.0, |(_, (s, d))| s / d * question.scale);
        let weight = d_c.map_or(d_t, |d_c| d_t * d_c / (d_t + d_c));
        self.weight += weight;
        self.harm += weight * (r_t - factor * r_c - offset);
        self.candidate += weight * r_t;
        self.limit += weight * (factor * r_c + offset);
        self.influence.resize(self.influence.len().max(stratum.candidate.over.len()), 0.0);
        let arms = [Some((stratum.candidate, (s_t, d_t), 1.0)), control.map(|(arm, sums)| (arm, sums, -factor))];
        for (place, (arm, (s, d), sign)) in arms.into_iter().enumerate().filter_map(|(i, arm)| Some((i, arm?))) {
            let ratio = s / d;
            for (influence, (s, d_b)) in self.influence.iter_mut().zip(arm.pairs()) {
                *influence += weight * sign * question.scale * (s - ratio * d_b) / d;
            }
            self.clusters[place] = self.clusters[place].max(arm.used());
            // A share that was never seen may be small, but not nothing (Laplace's rule).
            let least = (s + 1.0) / (d + 2.0);
            self.floor += (weight * sign).powi(2) * least * (1.0 - least).max(0.0) / d;
        }
    }

    fn finding(&self, question: &Question) -> Finding {
        let compares = matches!(question.limit, Limit::OfControl { .. });
        let clusters = if compares { self.clusters[0].min(self.clusters[1]) } else { self.clusters[0] };
        if self.weight <= 0.0 {
            return Finding::UNKNOWN;
        }
        let (found, limit) = (self.candidate / self.weight, self.limit / self.weight);
        let unknown = Finding {
            verdict: Verdict::NotEnoughData,
            found: Some(found),
            limit: Some(limit),
            samples: clusters as f64,
        };
        let used = self.influence.iter().filter(|psi| **psi != 0.0).count() as f64;
        let squares: f64 = self.influence.iter().map(|psi| psi * psi).sum();
        let floor = if question.is_share { self.floor } else { 0.0 };
        let variance = (squares * used / (used - 1.0).max(1.0)).max(floor) / (self.weight * self.weight);
        let harm = Estimate::new(self.harm / self.weight, variance);
        let margin = question.margin.unwrap_or_else(|| limit.abs() * USUAL_MARGIN);
        let Some(harm) = harm.filter(|_| clusters >= MIN_CLUSTERS && margin > 0.0) else { return unknown };
        let harm = if question.comparator.is_upward() { harm } else { harm.negated() };
        let (tolerance, alpha_regressed) = (0.0, question.alpha);
        let guardrail = Guardrail { tolerance, margin, alpha_regressed, alpha_non_inferior: ALPHA_NON_INFERIOR };
        let at = sequential::target_variance(margin, question.alpha, POWER);
        let judged = guardrail.judge(harm, sequential::tuning(at, 2.0 * question.alpha));
        let verdict = match judged.verdict {
            sequential::Verdict::Regressed => Verdict::Holds,
            sequential::Verdict::NonInferior => Verdict::Fails,
            sequential::Verdict::Inconclusive => Verdict::NotEnoughData,
        };
        Finding { verdict, ..unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(values: impl Iterator<Item = (usize, f64)>) -> Vec<Sums> {
        let mut all = vec![Sums::default(); 1024];
        for (bucket, value) in values {
            let Sums { count, sum, squares } = all[bucket % 1024];
            all[bucket % 1024] = Sums { count: count + 1.0, sum: sum + value, squares: squares + value * value };
        }
        all
    }

    /// Users with one request each, of which every n-th fails.
    fn every(users: usize, nth: usize) -> Vec<Sums> {
        sums((0..users).map(|user| (user, if user % nth == 0 { 1.0 } else { 0.0 })))
    }

    fn ask_of(candidate: &[Sums], control: &[Sums], comparator: Comparator, factor: f64) -> Finding {
        let clusters = |over| Clusters { over, under: None };
        let stratum = Stratified { candidate: clusters(candidate), control: Some(clusters(control)) };
        let limit = Limit::OfControl { factor, offset: 0.0 };
        let question = Question { comparator, limit, scale: 1.0, alpha: 0.01, margin: Some(0.02), is_share: true };
        ask(&question, &[stratum])
    }

    #[test]
    fn three_answers() {
        let up = Comparator::Above;
        assert_eq!(ask_of(&every(40, 2), &every(900, 20), up, 1.0).verdict, Verdict::NotEnoughData, "too few users");
        assert_eq!(ask_of(&every(900, 4), &every(900, 20), up, 1.0).verdict, Verdict::Holds);
        assert_eq!(ask_of(&every(900, 20), &every(900, 20), up, 1.0).verdict, Verdict::NotEnoughData);
        assert_eq!(ask_of(&every(50_000, 20), &every(50_000, 20), up, 1.0).verdict, Verdict::Fails);
        assert_eq!(ask_of(&every(900, 4), &every(900, 20), up, 5.5).verdict, Verdict::NotEnoughData);
        assert_eq!(ask_of(&every(900, 20), &every(900, 4), Comparator::Below, 1.0).verdict, Verdict::Holds);
        let found = ask_of(&every(1_000, 4), &every(1_000, 20), up, 1.0);
        assert_eq!((found.found, found.limit), (Some(0.25), Some(0.05)));
    }

    #[test]
    fn a_share_that_was_never_seen_is_not_taken_for_nothing() {
        let found = ask_of(&every(60, 15), &every(60, 1_000), Comparator::Above, 1.0);
        assert_eq!(found.verdict, Verdict::NotEnoughData, "four errors of sixty are no proof");
        assert_eq!(
            ask(
                &Question {
                    comparator: Comparator::Above,
                    limit: Limit::Number(0.1),
                    scale: 1.0,
                    alpha: 0.01,
                    margin: None,
                    is_share: true
                },
                &[]
            ),
            Finding::UNKNOWN
        );
    }

    #[test]
    fn strata_of_different_splits_are_not_pooled() {
        // Kohavi's example: the candidate is better on each day and worse in the sum of both.
        let days = [(every(9_900, 49), every(10_000, 83)), (every(100, 43), every(10_000, 100))];
        let strata: Vec<Stratified<'_>> = days
            .iter()
            .map(|(control, candidate)| Stratified {
                candidate: Clusters { over: candidate, under: None },
                control: Some(Clusters { over: control, under: None }),
            })
            .collect();
        let limit = Limit::OfControl { factor: 1.0, offset: 0.0 };
        let question = Question {
            comparator: Comparator::Above,
            limit,
            scale: 1.0,
            alpha: 0.05,
            margin: Some(0.02),
            is_share: true,
        };
        let found = ask(&question, &strata);
        assert!(found.found < found.limit, "{found:?}");
    }
}
