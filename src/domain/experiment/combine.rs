//! Both arms' ratios over all strata, with the variance between buckets of users.
//!
//! Strata are weighted by how many requests (or other denominators) tell of both arms, `D_T D_C / (D_T + D_C)`: the inverse of
//! the variance where requests vary alike, as Cochran, Mantel and Haenszel weight tables. The inverse of an *estimated*
//! variance would favour a stratum in which rare, large values happen to be missing, and take one without any error for
//! certain. Users who move from control to the candidate as the percentage grows are in the same bucket in every stratum
//! and arm, so adding influence by bucket before squaring counts their covariance.

use super::super::evidence::{Cell, CellKey, RouteEvidence, STATISTICAL_BUCKETS, Sums};
use super::super::statistics::{Estimate, means, ratio};
use super::{ARMS, Arm, Counted, Metric, Part, Term};

/// Why arms cannot be compared by a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// No randomised decision has a value.
    NoData,
    /// One arm has none.
    EmptyArm(Arm),
    /// All values of an arm belong to users of one bucket: one user, for all that is known.
    OneCluster(Arm),
    /// Each arm has values, but no phase and stratum has them of both.
    NeverTogether,
    /// Its numbers are too large to be squared, or what is below the line of a ratio is not positive.
    NotNumeric,
}

/// Both arms by one metric, over all strata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Control.
    pub control: Estimate,
    /// The candidate.
    pub candidate: Estimate,
    /// Of the two estimates: users that were in both arms, in different strata.
    pub covariance: f64,
    /// Buckets with values, by `Arm::index`.
    pub clusters: [f64; 2],
    /// What is below the line, by `Arm::index`.
    pub denominators: [f64; 2],
    /// How evenly that is spread over the buckets, from 0 (one has it all) to 1: Kish's effective size over the number of
    /// buckets, in the least even stratum.
    pub evenness: [f64; 2],
    /// Strata that count.
    pub strata: usize,
    /// Strata that have values of one arm only, or of one bucket.
    pub strata_left_out: usize,
}

impl Comparison {
    /// The candidate less control.
    #[must_use]
    pub fn difference(&self) -> Option<Estimate> {
        self.contrast(1.0, 1.0)
    }

    /// `a` times the candidate less `b` times control.
    #[must_use]
    pub fn contrast(&self, a: f64, b: f64) -> Option<Estimate> {
        let (c, t) = (self.control, self.candidate);
        let variance = a * a * t.variance + b * b * c.variance - 2.0 * a * b * self.covariance;
        Estimate::new(a * t.value - b * c.value, variance.max(0.0))
    }

    /// The difference relative to control; `None` where control is too near zero for one.
    #[must_use]
    pub fn relative(&self) -> Option<Estimate> {
        if ratio::is_near_zero(self.control) {
            return None;
        }
        ratio::relative_correlated(self.control, self.candidate, self.covariance)
    }

    /// Degrees of freedom for one look.
    #[must_use]
    pub fn degrees(&self) -> f64 {
        let variances = [self.control.variance, self.candidate.variance];
        means::satterthwaite(variances, self.clusters).unwrap_or(1.0)
    }
}

/// The cell of a term; the others of its sums are not looked at.
pub(super) fn cell<'a>(evidence: &'a RouteEvidence, of: &Counted<'_>, arm: Arm, term: Term) -> Option<&'a Cell> {
    evidence.cell(CellKey { phase: of.phase, stratum: of.stratum, arm, metric: term.measured })
}

/// A term of sums.
pub(super) fn part(term: Term, sums: &Sums) -> f64 {
    match term.part {
        Part::Sum => sums.sum * term.scale,
        Part::Count => sums.count * term.scale,
    }
}

/// One arm in one stratum.
struct Side {
    ratio: f64,
    denominator: f64,
    clusters: f64,
    evenness: f64,
    /// Residuals by bucket over the denominator, scaled so that their squares add up to the variance.
    influence: Vec<f64>,
}

enum Found {
    Nothing,
    OneCluster,
    NotNumeric,
    Side(Side),
}

/// Compares the arms over the strata that count.
///
/// # Errors
/// Why they cannot be compared.
pub fn compare(evidence: &RouteEvidence, counted: &[Counted<'_>], metric: &Metric) -> Result<Comparison, Shortfall> {
    let (mut seen, mut single, mut strange) = ([false; 2], [false; 2], false);
    let (mut pairs, mut left_out) = (Vec::new(), 0);
    for of in counted {
        let sides = ARMS.map(|arm| side(evidence, of, arm, metric));
        for (index, side) in sides.iter().enumerate() {
            seen[index] |= !matches!(side, Found::Nothing);
            single[index] |= matches!(side, Found::OneCluster);
            strange |= matches!(side, Found::NotNumeric);
        }
        match sides {
            [Found::Side(control), Found::Side(candidate)] => pairs.push([control, candidate]),
            [Found::Nothing, Found::Nothing] => {}
            _ => left_out += 1,
        }
    }
    if strange {
        return Err(Shortfall::NotNumeric);
    }
    if pairs.is_empty() {
        return Err(match (seen, single) {
            ([false, false], _) => Shortfall::NoData,
            ([false, true], _) => Shortfall::EmptyArm(Arm::Control),
            ([true, false], _) => Shortfall::EmptyArm(Arm::Candidate),
            ([true, true], [_, true]) => Shortfall::OneCluster(Arm::Candidate),
            ([true, true], [true, false]) => Shortfall::OneCluster(Arm::Control),
            ([true, true], [false, false]) => Shortfall::NeverTogether,
        });
    }
    combine(&pairs, left_out).ok_or(Shortfall::NotNumeric)
}

fn side(evidence: &RouteEvidence, of: &Counted<'_>, arm: Arm, metric: &Metric) -> Found {
    let (over, under) = (metric.over[arm.index()], metric.under[arm.index()]);
    let Some(below) = cell(evidence, of, arm, under).filter(|cell| !cell.buckets().is_empty()) else {
        return Found::Nothing;
    };
    // Nothing above the line is nothing that happened.
    let above = cell(evidence, of, arm, over).map_or(&[][..], Cell::buckets);
    let none = Sums::default();
    let pair = |bucket: usize| (part(over, above.get(bucket).unwrap_or(&none)), part(under, &below.buckets()[bucket]));
    let (mut s, mut d, mut squares, mut clusters) = (0.0, 0.0, 0.0, 0.0);
    for (above, below) in (0..below.buckets().len()).map(pair) {
        s += above;
        d += below;
        squares += below * below;
        clusters += f64::from(u8::from(above != 0.0 || below != 0.0));
    }
    if clusters == 0.0 || d == 0.0 {
        return Found::Nothing;
    }
    if !(d > 0.0 && d.is_finite() && s.is_finite()) {
        return Found::NotNumeric;
    }
    if clusters < 2.0 {
        return Found::OneCluster;
    }
    let ratio = s / d;
    let factor = (clusters / (clusters - 1.0)).sqrt() / d;
    let influence = (0..below.buckets().len()).map(pair).map(|(above, below)| factor * (above - ratio * below));
    let evenness = (d * d / (squares * clusters)).clamp(0.0, 1.0);
    Found::Side(Side { ratio, denominator: d, clusters, evenness, influence: influence.collect() })
}

fn combine(pairs: &[[Side; 2]], strata_left_out: usize) -> Option<Comparison> {
    let weight = |[control, candidate]: &[Side; 2]| {
        control.denominator / (control.denominator + candidate.denominator) * candidate.denominator
    };
    let all: f64 = pairs.iter().map(weight).sum();
    let mut values = [0.0; 2];
    let mut denominators = [0.0; 2];
    let mut clusters = [0.0_f64; 2];
    let mut evenness = [1.0_f64; 2];
    let mut influence = [vec![0.0; STATISTICAL_BUCKETS], vec![0.0; STATISTICAL_BUCKETS]];
    for pair in pairs {
        let share = weight(pair) / all;
        for (index, side) in pair.iter().enumerate() {
            values[index] += share * side.ratio;
            denominators[index] += side.denominator;
            clusters[index] = clusters[index].max(side.clusters);
            evenness[index] = evenness[index].min(side.evenness);
            influence[index].iter_mut().zip(&side.influence).for_each(|(sum, one)| *sum += share * one);
        }
    }
    let [control, candidate] = &influence;
    let squares = |of: &[f64]| of.iter().map(|one| one * one).sum();
    // Within a stratum nobody is in both arms: what products there would add is noise.
    let covariance = if pairs.len() > 1 { control.iter().zip(candidate).map(|(c, t)| c * t).sum() } else { 0.0 };
    Some(Comparison {
        control: Estimate::new(values[0], squares(control))?,
        candidate: Estimate::new(values[1], squares(candidate))?,
        covariance,
        clusters,
        denominators,
        evenness,
        strata: pairs.len(),
        strata_left_out,
    })
}
