//! Beside the verdict: the tests that people know from elsewhere, and the share of slow requests.
//!
//! Neither decides anything. Tests of single requests take each for another user's, so they see too little spread where
//! users send many; they are told because people compare them with what other tools say. The share of slow requests is by
//! users: a quantile turned into a rate can be looked at at any time (statistics of quantiles cannot).

use super::super::evidence::{Cell, RouteEvidence, Sums};
use super::super::metric::Kind;
use super::super::sketch::{Place, Sketch};
use super::super::statistics::means::{self, Sample};
use super::super::statistics::proportions::{self, SMALL_EXPECTED, Share};
use super::super::statistics::same_quantile;
use super::super::statistics::sequential::{interval, target_variance, tuning};
use super::super::statistics::{Estimate, ratio};
use super::super::window::Mergeable as _;
use super::combine::cell;
use super::quantiles::QUANTILES;
use super::report::{ByRequest, Difference, Range, SameQuantile, Slower};
use super::{ARMS, Counted, Metric, Part, Settings};

/// Slow is what is slower than this share of control's requests.
const SLOW: f64 = 0.95;
/// Requests of an arm for which tests of quantiles are tuned: before there are any, nobody knows.
const TUNED_FOR: f64 = 10_000.0;

/// Tests of single requests in the largest stratum, since strata with other splits cannot be poured together. `None` for
/// metrics whose values are not those of single requests.
pub(super) fn by_request(
    evidence: &RouteEvidence,
    counted: &[Counted<'_>],
    metric: &Metric,
    alpha: f64,
) -> Option<ByRequest> {
    let single = ARMS.iter().all(|arm| {
        let (over, under) = (metric.over[arm.index()], metric.under[arm.index()]);
        over.measured == under.measured && (over.part, under.part) == (Part::Sum, Part::Count)
    });
    let sums = |of: &Counted<'_>| -> Option<[Sums; 2]> {
        let [control, candidate] =
            ARMS.map(|arm| cell(evidence, of, arm, metric.over[arm.index()]).map(|cell| *cell.total()));
        Some([control?, candidate?])
    };
    let least = |[control, candidate]: &[Sums; 2]| control.count.min(candidate.count);
    let strata = counted.iter().filter(|_| single).filter_map(|of| Some((of, sums(of)?)));
    let (of, [control, candidate]) = strata.max_by(|one, other| least(&one.1).total_cmp(&least(&other.1)))?;
    let stratum = format!("{}/{}", of.phase, of.stratum.name());
    if metric.kind == Kind::Occurrence {
        let share = |sums: Sums| Share { successes: sums.sum, trials: sums.count };
        let (control, candidate) = (share(control), share(candidate));
        let few = proportions::smallest_expected(control, candidate) < SMALL_EXPECTED;
        let chi_square = || proportions::chi_square(control, candidate, false).map(|tested| tested.p);
        let p = if few { proportions::fisher(control, candidate) } else { chi_square() };
        return Some(ByRequest {
            test: if few { "fisher" } else { "chi_square" }.to_owned(),
            p,
            interval: proportions::newcombe(control, candidate, alpha).and_then(Range::of),
            effect: "cohen_h".to_owned(),
            effect_size: proportions::cohen_h(control, candidate),
            stratum,
            quantiles: Vec::new(),
        });
    }
    let scale = metric.over[0].scale;
    let sample =
        |sums: Sums| Sample { count: sums.count, sum: sums.sum * scale, squares: sums.squares * scale * scale };
    let (control, candidate) = (sample(control), sample(candidate));
    let test = means::welch(control, candidate, alpha);
    Some(ByRequest {
        test: "welch".to_owned(),
        p: test.map(|test| test.p),
        interval: test.and_then(|test| Range::of(test.interval)),
        effect: "cohen_d".to_owned(),
        effect_size: means::cohen_d(control, candidate),
        stratum,
        quantiles: same_quantiles(evidence, of, metric, alpha),
    })
}

/// Whether quantiles of times are the same, in one stratum.
fn same_quantiles(evidence: &RouteEvidence, of: &Counted<'_>, metric: &Metric, alpha: f64) -> Vec<SameQuantile> {
    let times = |arm| metric.times.and_then(|term| cell(evidence, of, arm, term)?.times());
    let [Some(control), Some(candidate)] = ARMS.map(times) else { return Vec::new() };
    let tested = QUANTILES.into_iter().filter_map(|quantile| {
        let test = same_quantile::SameQuantile { quantile, tuned: TUNED_FOR, alpha };
        Some(SameQuantile { quantile, p_always_valid: test.p_value(control.beside(&candidate))? })
    });
    tested.collect()
}

/// The share of requests that are slower than 95 % of control's, by users.
pub(super) fn slower(
    evidence: &RouteEvidence,
    counted: &[Counted<'_>],
    metric: &Metric,
    settings: &Settings,
) -> Option<Slower> {
    let term = metric.times?;
    let times = |of: &Counted<'_>, arm| cell(evidence, of, arm, term).map_or(&[][..], Cell::times_by_bucket);
    let mut all = Sketch::default();
    counted.iter().flat_map(|of| times(of, ARMS[0])).for_each(|sketch| all.merge(sketch));
    let than = all.quantile(SLOW)?;
    let place = Place::of(than as u64);
    let share = |sketches: &[Sketch]| -> Option<(f64, Estimate)> {
        let used = sketches.iter().filter(|sketch| sketch.count() > 0);
        let clusters = used.map(|sketch| (sketch.above(place) as f64, sketch.count() as f64));
        let count: f64 = clusters.clone().map(|(_, count)| count).sum();
        Some((count, ratio::ratio(clusters)?))
    };
    let (mut weights, mut control, mut candidate, mut variance) = (0.0, 0.0, 0.0, 0.0);
    for of in counted {
        let (Some((c, of_control)), Some((t, of_candidate))) = (share(times(of, ARMS[0])), share(times(of, ARMS[1])))
        else {
            continue;
        };
        let weight = c * t / (c + t);
        weights += weight;
        control += weight * of_control.value;
        candidate += weight * of_candidate.value;
        variance += weight * weight * (of_control.variance + of_candidate.variance);
    }
    let (control, candidate) = (control / weights, candidate / weights);
    let difference = Estimate::new(candidate - control, variance / (weights * weights))?;
    let least = settings.effect * (1.0 - SLOW);
    let tau2 = tuning(target_variance(least, settings.alpha, settings.power), settings.alpha);
    Some(Slower {
        than: than * term.scale,
        control,
        candidate,
        difference: Difference {
            value: difference.value,
            standard_error: Some(difference.standard_error()),
            fixed_horizon: Range::of(difference.fixed_horizon(settings.alpha)),
            always_valid: Range::of(interval(difference, tau2, settings.alpha)),
        },
    })
}
