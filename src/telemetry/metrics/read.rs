//! Where the values of families come from that tell what was read of answers.
//!
//! Invariant: an arm of whose answers nothing is read is not told of, so that nobody takes its zeros for facts.

use super::{Observation, Samples};
use crate::config::model::BackendIndex;
use crate::domain::Arm;
use crate::domain::reading::Unread;
use crate::live::Snapshot;
use crate::measure::counters::ReadTotals;

/// The arms whose backends are `read`.
pub(super) fn by_read_arm(
    seen: &Observation<'_>,
    out: &mut Samples,
    read: fn(&Snapshot, Arm, BackendIndex) -> bool,
    collect: fn(&ReadTotals, [&str; 2], &mut Samples),
) {
    for (route, totals) in seen.snapshot.config().routes.iter().zip(&seen.totals) {
        for arm in Arm::ALL {
            if route.backend(arm).is_some_and(|backend| read(&seen.snapshot, arm, backend)) {
                collect(&totals.read[arm.index()], [&route.name, arm.as_str()], out);
            }
        }
    }
}

pub(super) fn has_prices(snapshot: &Snapshot, _: Arm, backend: BackendIndex) -> bool {
    snapshot.config().backends[backend].pricing.is_some()
}

pub(super) fn tokens(read: &ReadTotals, [route, arm]: [&str; 2], out: &mut Samples) {
    for (direction, &count) in ["input", "output"].into_iter().zip(&read.tokens) {
        out.count(&[route, arm, direction], count);
    }
}

pub(super) fn unread(read: &ReadTotals, [route, arm]: [&str; 2], out: &mut Samples) {
    for (why, &count) in Unread::ALL.into_iter().zip(&read.unread) {
        out.count(&[route, arm, why.as_str()], count);
    }
}

pub(super) fn budgets(seen: &Observation<'_>, out: &mut Samples) {
    for (definition, live) in seen.snapshot.config().backends.iter().zip(&seen.snapshot.backends) {
        if let Some(most) = definition.cost_per_day {
            out.value(&[&definition.name], live.state.spent(seen.day) / most);
        }
    }
}
