//! Planning from what is seen: how long the effect that matters takes at the present traffic and spread.

use super::super::series::Seconds;
use super::super::statistics::power::{self, SEQUENTIAL_COST, split_penalty};
use super::combine::{Comparison, Shortfall};
use super::health::Users;
use super::report::{Detectable, Plan, Split};
use super::{Counted, Metric, Role, Settings};

const DAY: f64 = 86_400.0;
/// A plan from less than this would be a guess.
const LEAST_ELAPSED: Seconds = 600;
/// After so many days.
const DAYS: [f64; 4] = [7.0, 14.0, 28.0, 56.0];
/// The candidate's percentages.
const SPLITS: [f64; 5] = [5.0, 10.0, 25.0, 50.0, 75.0];

/// The plan for the primary metric, or the first that can be compared; `None` without traffic to go by.
pub(super) fn plan(
    settings: &Settings,
    metrics: &[Metric],
    compared: &[Result<Comparison, Shortfall>],
    counted: &[Counted<'_>],
    elapsed: Seconds,
    users: Users,
) -> Option<Plan> {
    let known = metrics.iter().zip(compared).filter_map(|(metric, found)| {
        Some((metric, found.as_ref().ok()?.relative().filter(|relative| relative.variance > 0.0)?))
    });
    let (metric, relative) = known.min_by_key(|(metric, _)| metric.role != Role::Primary)?;
    if elapsed < LEAST_ELAPSED {
        return None;
    }
    let days = elapsed as f64 / DAY;
    let plan = power::Plan { alpha: settings.alpha, power: settings.power, one_sided: false };
    let all = users.assigned[0] + users.assigned[1];
    // The variance falls as the data grow.
    let growth = plan.growth(relative.variance, settings.effect)?;
    let share = counted.last().map(|of| of.draw.percent / 100.0).filter(|share| *share > 0.0 && *share < 1.0)?;
    let penalty = split_penalty(share);
    let after = |later: f64| Detectable { days: later, relative: plan.detectable(relative.variance * days / later) };
    let with = |percent: f64| Split { percent, days: days * growth * split_penalty(percent / 100.0) / penalty };
    Some(Plan {
        metric: metric.name.clone(),
        users_per_day: all / days,
        detectable_now: plan.detectable(relative.variance),
        users_fixed_horizon: all * growth,
        users_always_valid: all * growth * SEQUENTIAL_COST,
        days_fixed_horizon: days * growth,
        days_always_valid: days * growth * SEQUENTIAL_COST,
        split_penalty: penalty,
        detectable: DAYS.into_iter().map(after).collect(),
        splits: SPLITS.into_iter().map(with).collect(),
    })
}
