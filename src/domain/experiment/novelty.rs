//! Whether the first days tell another story than the later ones: people try what is new, caches are cold, bugs are found.

use std::collections::BTreeMap;

use super::super::evidence::{Cell, Day, RouteEvidence, Sums};
use super::super::statistics::distributions::t_above;
use super::combine::{cell, part};
use super::{ARMS, Counted, Metric};

/// Fewer days than this say nothing about a change over time.
const MIN_DAYS: usize = 6;

/// The difference of the arms in the first days and after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Novelty {
    /// How many days are the first ones.
    pub(super) days: usize,
    /// The difference then.
    pub(super) early: f64,
    /// The difference after.
    pub(super) late: f64,
    /// How likely two such stretches differ so much by chance, two-sided, at one look; from the scatter between days.
    pub(super) p: f64,
}

/// Compares the first third of the days with the rest; `None` where there are too few, or no scatter.
pub(super) fn novelty(evidence: &RouteEvidence, counted: &[Counted<'_>], metric: &Metric) -> Option<Novelty> {
    let days: Vec<(f64, f64)> = differences(evidence, counted, metric).into_values().collect();
    if days.len() < MIN_DAYS {
        return None;
    }
    let (first, rest) = days.split_at(days.len() / 3);
    let ((early, early_variance), (late, late_variance)) = (mean(first)?, mean(rest)?);
    let t = (early - late) / (early_variance + late_variance).sqrt();
    let degrees = (first.len().min(rest.len()) - 1).max(1) as f64;
    t.is_finite().then(|| Novelty { days: first.len(), early, late, p: 2.0 * t_above(t.abs(), degrees) })
}

/// By day: the difference within strata, weighted as strata are, and the weight.
fn differences(evidence: &RouteEvidence, counted: &[Counted<'_>], metric: &Metric) -> BTreeMap<Day, (f64, f64)> {
    let mut days: BTreeMap<Day, (f64, f64)> = BTreeMap::new();
    for of in counted {
        let sides = ARMS.map(|arm| {
            let of = |term| cell(evidence, of, arm, term).map_or(&[][..], Cell::days);
            (of(metric.over[arm.index()]), of(metric.under[arm.index()]), arm.index())
        });
        for (day, _) in sides[0].1 {
            let at = |days: &[(Day, Sums)]| {
                days.binary_search_by_key(day, |(known, _)| *known).map_or(Sums::default(), |place| days[place].1)
            };
            let [(cs, cd), (ts, td)] = sides
                .map(|(over, under, arm)| (part(metric.over[arm], &at(over)), part(metric.under[arm], &at(under))));
            let weight = cd / (cd + td) * td;
            if weight > 0.0 && weight.is_finite() {
                let (difference, all) = days.entry(*day).or_default();
                *all += weight;
                *difference += (ts / td - cs / cd - *difference) * weight / *all;
            }
        }
    }
    days
}

/// The weighted mean of differences and its variance by their scatter; `None` of fewer than two.
fn mean(days: &[(f64, f64)]) -> Option<(f64, f64)> {
    let all: f64 = days.iter().map(|(_, weight)| weight).sum();
    let mean = days.iter().map(|(difference, weight)| difference * weight).sum::<f64>() / all;
    let n = days.len() as f64;
    let scatter: f64 = days.iter().map(|(difference, weight)| (weight / all * (difference - mean)).powi(2)).sum();
    (n >= 2.0).then_some((mean, scatter * n / (n - 1.0)))
}
