//! Quantiles of times of both arms, within strata, joined as strata are.

use super::super::evidence::{Cell, RouteEvidence};
use super::super::statistics::Estimate;
use super::super::statistics::quantile::Clustered;
use super::combine::cell;
use super::report::{Difference, QuantileReport, Range};
use super::{ARMS, Counted, Metric};

/// Which are told.
pub(super) const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// The quantiles of a metric of times, with intervals for one look; those that have too few values are left out.
pub(super) fn of(
    evidence: &RouteEvidence,
    counted: &[Counted<'_>],
    metric: &Metric,
    alpha: f64,
) -> Vec<QuantileReport> {
    let Some(term) = metric.times else { return Vec::new() };
    let times = |of: &Counted<'_>, arm| cell(evidence, of, arm, term).map_or(&[][..], Cell::times_by_bucket);
    let by_stratum: Vec<[Clustered<'_>; 2]> =
        counted.iter().map(|of| ARMS.map(|arm| Clustered::new(times(of, arm)))).collect();
    QUANTILES.into_iter().filter_map(|q| joined(q, term.scale, &by_stratum, alpha)).collect()
}

fn joined(q: f64, scale: f64, by_stratum: &[[Clustered<'_>; 2]], alpha: f64) -> Option<QuantileReport> {
    let found: Vec<(f64, Estimate, Estimate)> = by_stratum
        .iter()
        .filter_map(|[control, candidate]| {
            let (c, t) = (control.quantile(q).ok()?, candidate.quantile(q).ok()?);
            let (cn, tn) = (control.count(), candidate.count());
            Some((cn / (cn + tn) * tn, c, t))
        })
        .collect();
    let all: f64 = found.iter().map(|(weight, ..)| weight).sum();
    let (mut control, mut candidate, mut variance) = (0.0, 0.0, 0.0);
    for (weight, c, t) in found {
        let share = weight / all * scale;
        control += share * c.value;
        candidate += share * t.value;
        variance += share * share * (c.variance + t.variance);
    }
    let difference = Estimate::new(candidate - control, variance).filter(|difference| difference.variance > 0.0)?;
    let difference = Difference {
        value: difference.value,
        standard_error: Some(difference.standard_error()),
        fixed_horizon: Range::of(difference.fixed_horizon(alpha)),
        always_valid: None,
    };
    Some(QuantileReport { quantile: q, control, candidate, difference })
}
