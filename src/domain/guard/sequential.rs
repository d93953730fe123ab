//! Guards that may be looked at at any time: an always-valid test of users as clusters, across strata.
//!
//! In each stratum `k` the harm is `R_T - f R_C - d`, ratios of sums over buckets of users. Strata are put together
//! with weights of their sizes, and the variance is that of each bucket's influence on the whole, so that users
//! who are in several strata (they were moved from control to the candidate) are not taken for several:
//!
//! ```text
//! psi_b = sum_k w_k (e_Tkb / D_Tk - f e_Ckb / D_Ck),  sum_b psi_b = sum_k w_k harm_k,  V = sum_b psi_b^2
//! e_C = S_C - R D_C,  e_T = S_T - (f R + d) D_T,  R = (S_C + f (S_T - d D_T)) / (D_C + f^2 D_T)
//! ```
//! Ratios and influences: Deng, Knoblich, Lu, KDD 2018, arXiv 1803.06336; boundaries of [`sequential`].
//!
//! Residuals are taken from what both arms would have if the candidate stood exactly at the limit (`R`), not from each
//! arm's own mean as in a Wald test. Where one user makes a tenth of an arm's requests, the arm's mean follows that user,
//! whose residual all but vanishes, and the variance with it: 2.5 % of rollouts of an equal candidate were
//! rolled back instead of 1 %. With residuals from the limit, harm over its standard error is a self-normalised sum, whose tail is
//! no heavier than the normal one for any sizes of the buckets as long as influences are symmetric (de la Peña, Ann.
//! Probab. 27, 1999; Howard, Ramdas, McAuliffe, Sekhon, Probab. Surveys 17, 2020, lemma 3), and which never exceeds the root of
//! the effective number of users. The price: `V` is larger by `harm^2` over that number where the candidate is worse.

use super::Comparator;
use super::verdict::{Finding, Limit, Verdict};
use crate::domain::evidence::{Stratum, Sums, Trail};
use crate::domain::phase::Phase;
use crate::domain::statistics::Estimate;
use crate::domain::statistics::sequential::{self, Guardrail};

/// With fewer buckets of users in an arm nothing is said: the test rests on their number.
pub const MIN_CLUSTERS: usize = 50;
/// The power for which the boundary is tuned.
const POWER: f64 = 0.9;
/// The difference at which the boundary is tightest, in margins. At the margin itself it is 2 % wider than it could be, and
/// where the variance is still ten times as large (a large difference, early) 14 % narrower than if tuned at the margin.
const TUNED_AT: f64 = 2.0;
/// The chance of taking a worse candidate for no worse.
const ALPHA_NON_INFERIOR: f64 = 0.05;
/// The margin where none is given, as a share of the limit.
const USUAL_MARGIN: f64 = 0.05;
/// Buckets that are followed before everything is added up anew, so that errors of rounding do not.
const FOLLOWED: u32 = 1 << 16;

/// One arm of one stratum: what is above the line and below it, by bucket.
#[derive(Debug, Clone, Copy)]
pub struct Clusters<'a> {
    /// Above the line: sums are taken.
    pub over: &'a [Sums],
    /// Below the line: `None` takes the counts of `over`, otherwise its sums.
    pub under: Option<&'a [Sums]>,
    /// What changed of late in both; without it, anything may have.
    pub trails: [Option<&'a Trail>; 2],
}

/// Which stratum of which phase.
pub type StratumId = (Phase, Stratum);

/// Both arms of one stratum; control where the test compares with it.
#[derive(Debug, Clone, Copy)]
pub struct Stratified<'a> {
    /// Which stratum of which phase; the one that users are in now comes last.
    pub id: StratumId,
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

impl Question {
    /// Control's share in what is tested, and what is taken away.
    const fn factor_and_offset(&self) -> (f64, f64) {
        match self.limit {
            Limit::Number(number) => (0.0, number),
            Limit::OfControl { factor, offset } => (factor, offset),
        }
    }
}

impl<'a> Clusters<'a> {
    fn pair(&self, bucket: usize) -> (f64, f64) {
        let over = self.over.get(bucket).copied().unwrap_or_default();
        match self.under {
            None => (over.sum, over.count),
            Some(under) => (over.sum, under.get(bucket).map_or(0.0, |under| under.sum)),
        }
    }

    /// Sums over all buckets.
    fn whole(&self) -> ArmSums {
        let pairs = (0..self.over.len()).map(|bucket| self.pair(bucket));
        pairs.fold(ArmSums::default(), |all, (s, d)| ArmSums {
            s: all.s + s,
            d: all.d + d,
            used: all.used + usize::from(d > 0.0),
        })
    }

    /// How long its trails are; `None` where it has none.
    fn lengths(&self) -> Option<[u64; 2]> {
        let under = if self.under.is_some() { self.trails[1]?.length() } else { 0 };
        Some([self.trails[0]?.length(), under])
    }

    /// The buckets that changed since its trails were so long.
    fn changed(&self, lengths: [u64; 2]) -> Option<impl Iterator<Item = u16> + use<'a>> {
        let over = self.trails[0]?.since(lengths[0])?;
        let under = if self.under.is_some() { Some(self.trails[1]?.since(lengths[1])?) } else { None };
        Some(over.chain(under.into_iter().flatten()))
    }
}

/// Asks whether the candidate stands so to the limit. *Holds* and *fails* are sure in their levels; *not enough data*
/// is what lies between. `samples` of the finding are the users' buckets of the lesser arm.
#[must_use]
pub fn ask(question: &Question, strata: &[Stratified<'_>]) -> Finding {
    Tracker::default().ask(question, strata)
}

/// Sums of one arm over the buckets of a stratum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct ArmSums {
    s: f64,
    d: f64,
    used: usize,
}

/// Strata together, each by its weight.
#[derive(Debug, Clone, Copy, Default)]
struct Whole {
    weight: f64,
    harm: f64,
    candidate: f64,
    limit: f64,
    /// A share's least variance, weighted.
    floor: f64,
    clusters: [usize; 2],
}

/// What a stratum's sums contribute to a bucket's influence: `(s - ratio d) * factor`, by arm.
type Factors = [(f64, f64); 2];

impl Whole {
    /// Adds a stratum, the candidate's sums first; `None` where an arm of it has nothing to divide by.
    fn add(&mut self, question: &Question, arms: [Option<ArmSums>; 2]) -> Option<Factors> {
        let [candidate, control] = arms;
        let candidate = candidate.filter(|sums| sums.d > 0.0)?;
        if control.is_some_and(|control| control.d <= 0.0) {
            return None;
        }
        let (factor, offset) = question.factor_and_offset();
        let r_t = candidate.s / candidate.d * question.scale;
        let r_c = control.map_or(0.0, |control| control.s / control.d) * question.scale;
        let weight = control.map_or(candidate.d, |control| candidate.d * control.d / (candidate.d + control.d));
        // What control would have if the candidate stood at the limit, and the candidate then.
        let at_limit = control.map_or(0.0, |control| {
            (control.d * r_c + factor * candidate.d * (r_t - offset)) / (control.d + factor * factor * candidate.d)
        });
        let ratios = [factor * at_limit + offset, at_limit].map(|ratio| ratio / question.scale);
        self.weight += weight;
        self.harm += weight * (r_t - factor * r_c - offset);
        self.candidate += weight * r_t;
        self.limit += weight * (factor * r_c + offset);
        let mut factors = [(0.0, 0.0); 2];
        for (place, (sums, sign)) in [(Some(candidate), 1.0), (control, -factor)].into_iter().enumerate() {
            let Some(sums) = sums else { continue };
            factors[place] = (ratios[place], weight * sign * question.scale / sums.d);
            self.clusters[place] = self.clusters[place].max(sums.used);
            // A share that was never seen may be small, but not nothing (Laplace's rule).
            let least = (sums.s + 1.0) / (sums.d + 2.0);
            self.floor += (weight * sign).powi(2) * least * (1.0 - least).max(0.0) / sums.d;
        }
        Some(factors)
    }
}

/// One bucket: its influence in the strata that are over, then S and D of the candidate and of control in the one that
/// users are in now. S is less [`Tracker::centres`] times D, so that little is lost where a ratio hardly varies.
type Row = [f64; 5];

/// How long the trails of both arms are, above the line and below it.
type Lengths = [[u64; 2]; 2];

/// Remembers the last look, so that the next one costs what has changed, not what there is.
///
/// Strata that are over contribute a fixed number to each bucket. The sum of squared influences is a quadratic form
/// of that and of the four sums of the last stratum, whose 15 coefficients follow each bucket that changes. It
/// answers as [`ask`] does; what it cannot follow it adds up anew.
#[derive(Debug, Default)]
pub struct Tracker {
    question: Option<Question>,
    /// The strata, and how long the trails of both arms were.
    seen: Vec<(StratumId, Option<Lengths>)>,
    /// All strata but the last.
    closed: Whole,
    rows: Vec<Row>,
    gram: [[f64; 5]; 5],
    centres: [f64; 2],
    /// Of the last stratum.
    open: [Option<ArmSums>; 2],
    followed: u32,
}

impl Tracker {
    /// As [`ask`].
    pub fn ask(&mut self, question: &Question, strata: &[Stratified<'_>]) -> Finding {
        if self.follow(question, strata).is_none() {
            self.begin(question, strata);
        }
        let lengths = |stratum: &Stratified<'_>| {
            let control = stratum.control.map_or(Some([0; 2]), |control| control.lengths());
            Some([stratum.candidate.lengths()?, control?])
        };
        self.seen.clear();
        self.seen.extend(strata.iter().map(|stratum| (stratum.id, lengths(stratum))));
        self.finding(question)
    }

    /// Takes over what changed since the last look; `None` if it cannot tell.
    fn follow(&mut self, question: &Question, strata: &[Stratified<'_>]) -> Option<()> {
        let (last, before) = strata.split_last()?;
        let is_known = self.question.as_ref() == Some(question)
            && self.seen.len() == strata.len()
            && self.seen.iter().zip(strata).all(|((id, _), stratum)| *id == stratum.id);
        let lengths = |at: usize| self.seen.get(at).and_then(|(_, lengths)| *lengths);
        let seen = lengths(before.len());
        let is_over = |(at, stratum): (usize, &Stratified<'_>)| {
            let [candidate, control] = lengths(at)?;
            let now = stratum.control.map_or(Some([0; 2]), |control| control.lengths())?;
            (stratum.candidate.lengths()? == candidate && now == control).then_some(())
        };
        if !is_known || self.followed > FOLLOWED || self.open[1].is_some() != last.control.is_some() {
            return None;
        }
        before.iter().enumerate().try_for_each(is_over)?;
        let [candidate, control] = seen?;
        let of_candidate = last.candidate.changed(candidate)?;
        let of_control = match &last.control {
            Some(clusters) => Some(clusters.changed(control)?),
            None => None,
        };
        for bucket in of_candidate.chain(of_control.into_iter().flatten()) {
            self.update(usize::from(bucket), last);
        }
        Some(())
    }

    /// Adds everything up.
    fn begin(&mut self, question: &Question, strata: &[Stratified<'_>]) {
        let buckets = strata.iter().map(|stratum| stratum.candidate.over.len()).max().unwrap_or(0);
        self.question = Some(*question);
        self.closed = Whole::default();
        self.rows.clear();
        self.rows.resize(buckets, Row::default());
        (self.gram, self.open, self.centres) = Default::default();
        let Some((last, before)) = strata.split_last() else { return };
        for stratum in before {
            let arms = [Some(stratum.candidate), stratum.control];
            let Some(factors) = self.closed.add(question, arms.map(|arm| Some(arm?.whole()))) else { continue };
            for (arm, (ratio, factor)) in arms.into_iter().zip(factors) {
                let Some(arm) = arm else { continue };
                for (bucket, row) in self.rows.iter_mut().enumerate() {
                    let (s, d) = arm.pair(bucket);
                    row[0] += factor * (s - ratio * d);
                }
            }
        }
        for (place, arm) in [Some(last.candidate), last.control].into_iter().enumerate() {
            let sums = arm.map(|arm| arm.whole());
            self.centres[place] = sums.filter(|sums| sums.d > 0.0).map_or(0.0, |sums| sums.s / sums.d);
            self.open[place] = sums.map(|_| ArmSums::default());
        }
        for bucket in 0..buckets {
            let before = self.rows[bucket][0];
            self.gram[0][0] += before * before;
            self.update(bucket, last);
        }
        self.followed = 0;
    }

    /// Puts a bucket's sums of the last stratum in the place of what they were.
    fn update(&mut self, bucket: usize, last: &Stratified<'_>) {
        let Some(row) = self.rows.get_mut(bucket) else { return };
        let before = *row;
        for (place, arm) in [Some(last.candidate), last.control].into_iter().enumerate() {
            let (Some(arm), Some(sums)) = (arm, &mut self.open[place]) else { continue };
            let (s, d) = arm.pair(bucket);
            let (s_at, d_at) = (1 + 2 * place, 2 + 2 * place);
            let was = before[d_at];
            let (s_centred, s_before) = (s - self.centres[place] * d, before[s_at] + self.centres[place] * was);
            sums.s += s - s_before;
            sums.d += d - was;
            sums.used = sums.used + usize::from(d > 0.0) - usize::from(was > 0.0);
            (row[s_at], row[d_at]) = (s_centred, d);
        }
        let after = *row;
        if before != after {
            for (i, line) in self.gram.iter_mut().enumerate() {
                for (j, sum) in line.iter_mut().enumerate().take(i + 1) {
                    *sum += after[i] * after[j] - before[i] * before[j];
                }
            }
        }
        self.followed += 1;
    }

    fn finding(&self, question: &Question) -> Finding {
        let mut all = self.closed;
        let factors = all.add(question, self.open).unwrap_or_default();
        if all.weight <= 0.0 {
            return Finding::UNKNOWN;
        }
        let compares = matches!(question.limit, Limit::OfControl { .. });
        let clusters = if compares { all.clusters[0].min(all.clusters[1]) } else { all.clusters[0] };
        let (found, limit) = (all.candidate / all.weight, all.limit / all.weight);
        let unknown = Finding {
            verdict: Verdict::NotEnoughData,
            found: Some(found),
            limit: Some(limit),
            samples: clusters as f64,
        };
        let floor = if question.is_share { all.floor } else { 0.0 };
        let variance = self.squares(factors).max(floor) / (all.weight * all.weight);
        let harm = Estimate::new(all.harm / all.weight, variance);
        let margin = question.margin.unwrap_or_else(|| limit.abs() * USUAL_MARGIN);
        let Some(harm) = harm.filter(|_| clusters >= MIN_CLUSTERS && margin > 0.0) else { return unknown };
        let harm = if question.comparator.is_upward() { harm } else { harm.negated() };
        let (tolerance, alpha_regressed) = (0.0, question.alpha);
        let guardrail = Guardrail { tolerance, margin, alpha_regressed, alpha_non_inferior: ALPHA_NON_INFERIOR };
        let at = sequential::target_variance(TUNED_AT * margin, question.alpha, POWER);
        let judged = guardrail.judge(harm, sequential::tuning(at, 2.0 * question.alpha));
        let verdict = match judged.verdict {
            sequential::Verdict::Regressed => Verdict::Holds,
            sequential::Verdict::NonInferior => Verdict::Fails,
            sequential::Verdict::Inconclusive => Verdict::NotEnoughData,
        };
        Finding { verdict, ..unknown }
    }

    /// The sum of squared influences.
    fn squares(&self, factors: Factors) -> f64 {
        let [(r_t, f_t), (r_c, f_c)] = factors;
        let [at_t, at_c] = self.centres;
        let by = [1.0, f_t, -f_t * (r_t - at_t), f_c, -f_c * (r_c - at_c)];
        let mut squares = 0.0;
        for (i, line) in self.gram.iter().enumerate() {
            for (j, sum) in line.iter().enumerate().take(i + 1) {
                squares += if i == j { 1.0 } else { 2.0 } * by[i] * by[j] * sum;
            }
        }
        squares.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Arm;
    use crate::domain::evidence::{CellKey, Measured, Observation, RouteEvidence};
    use crate::domain::metric::MetricId;

    const ID: StratumId = (Phase(1), Stratum::Rollout);

    impl Tracker {
        fn all_squares(&self, question: &Question) -> f64 {
            let mut all = self.closed;
            let factors = all.add(question, self.open).unwrap_or_default();
            self.squares(factors)
        }
    }

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
        let clusters = |over| Clusters { over, under: None, trails: [None; 2] };
        let stratum = Stratified { id: ID, candidate: clusters(candidate), control: Some(clusters(control)) };
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
                id: ID,
                candidate: Clusters { over: candidate, under: None, trails: [None; 2] },
                control: Some(Clusters { over: control, under: None, trails: [None; 2] }),
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

    /// A rollout of three phases: every request is one of the users', of whom a few ask much.
    fn grows(look: impl FnMut(&RouteEvidence, &[Phase])) {
        let (mut look, mut evidence, mut phases) = (look, RouteEvidence::default(), Vec::new());
        let metric = Measured::Own(MetricId(0));
        for n in 0_u64..9_000 {
            let phase = Phase(1 + (n / 3_000) as u32);
            if !phases.contains(&phase) {
                phases.push(phase);
            }
            let user = n * n * 7 % 1_303;
            let bucket = Some((user * 97 % 1_024) as u16);
            let arm = if user % 10 < u64::from(phase.0) * 2 { Arm::Candidate } else { Arm::Control };
            // Now and then something comes late, or too much to follow.
            let phase = if n % 1_999 == 1_998 { Phase(1) } else { phase };
            let key = CellKey { phase, stratum: Stratum::Rollout, arm, metric };
            evidence.observe(key, Observation { bucket, value: (n % 13) as f64 * 1e3, day: 0 }, false);
            if n % 21 == 0 && n % 1_000 < 700 {
                look(&evidence, &phases);
            }
        }
    }

    fn strata<'a>(evidence: &'a RouteEvidence, phases: &[Phase]) -> Vec<Stratified<'a>> {
        let clusters = |phase, arm| {
            let key = CellKey { phase, stratum: Stratum::Rollout, arm, metric: Measured::Own(MetricId(0)) };
            let cell = evidence.cell(key)?;
            Some(Clusters { over: cell.buckets(), under: None, trails: [Some(cell.trail()), None] })
        };
        let both = |phase: &Phase| {
            let candidate = clusters(*phase, Arm::Candidate)?;
            Some(Stratified {
                id: (*phase, Stratum::Rollout),
                candidate,
                control: Some(clusters(*phase, Arm::Control)?),
            })
        };
        phases.iter().filter_map(both).collect()
    }

    #[test]
    fn what_is_followed_is_what_is_added_up_anew() {
        let limit = Limit::OfControl { factor: 1.1, offset: 0.2 };
        let comparator = Comparator::Above;
        let question = Question { comparator, limit, scale: 1e-3, alpha: 0.01, margin: Some(0.1), is_share: false };
        let (mut tracker, mut looks, mut anew) = (Tracker::default(), 0, 0);
        grows(|evidence, phases| {
            let strata = strata(evidence, phases);
            let found = tracker.ask(&question, &strata);
            anew += u32::from(tracker.followed == 0);
            looks += 1;
            let mut other = Tracker::default();
            let expected = other.ask(&question, &strata);
            let (squares, wanted) = (tracker.all_squares(&question), other.all_squares(&question));
            assert!((squares - wanted).abs() <= 1e-9 * wanted, "look {looks}: {squares} {wanted}");
            assert_eq!((found.verdict, found.samples), (expected.verdict, expected.samples));
            let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-9,
                (a, b) => a == b,
            };
            assert!(near(found.found, expected.found) && near(found.limit, expected.limit), "{found:?} {expected:?}");
        });
        assert!(looks > 250 && anew < 40, "{anew} of {looks} looks were added up anew");
    }

    #[test]
    fn one_user_who_asks_much_is_one_user() {
        // Sixty users with one good answer each, and one whose 600 answers are all bad.
        let users = |bad: usize| sums((0..60).map(|user| (user, 0.0)).chain((0..bad).map(|_| (77, 1.0))));
        let control = every(60_000, 20);
        let found = ask_of(&users(600), &control, Comparator::Above, 1.0);
        assert_eq!((found.verdict, found.samples), (Verdict::NotEnoughData, 61.0), "{found:?}");
        let many = sums((0..660).map(|user| (user, if user % 11 == 0 { 0.0 } else { 1.0 })));
        assert_eq!(ask_of(&many, &control, Comparator::Above, 1.0).verdict, Verdict::Holds);
    }
}
