//! What one route did over time, by arm: minutes for hours, hours for weeks, in bounded memory.
//!
//! For pages and people. Statistics read [`evidence`](super::evidence), which keeps users apart; here only
//! sums and the distribution of times are kept. By the arm that served, and for attempts by the arm that
//! was tried. Times are passed in as seconds since 1970.

use std::collections::{BTreeMap, VecDeque};

use super::Arm;
use super::evidence::{Cell, Measured};

/// Seconds since 1970.
pub type Seconds = i64;

/// How fine slices are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One minute; kept for [`MINUTES`] of them.
    Minute,
    /// One hour; kept for [`HOURS`] of them.
    Hour,
}

/// Minutes that are kept: three hours, so that every range of up to two has them.
pub const MINUTES: usize = 180;
/// Hours that are kept: thirty days.
pub const HOURS: usize = 720;

impl Step {
    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> Seconds {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// The finest step whose slices reach back to `start`.
    #[must_use]
    pub const fn reaching(start: Seconds, now: Seconds) -> Self {
        let minutes = (MINUTES as Seconds - 1) * Self::Minute.seconds();
        if now - start <= minutes { Self::Minute } else { Self::Hour }
    }
}

/// What was measured of both arms, by `Arm::index`.
pub type ByArm = [BTreeMap<Measured, Cell>; 2];

/// One stretch of time.
#[derive(Debug, Clone, Default)]
struct Slice {
    /// Which: its beginning divided by the length of the step.
    number: i64,
    arms: ByArm,
    changed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Series {
    minutes: VecDeque<Slice>,
    hours: VecDeque<Slice>,
}

impl Series {
    /// Counts a value that was measured at a time. With `timed`, its distribution is kept, too.
    pub fn observe(&mut self, at: Seconds, arm: Arm, metric: Measured, value: f64, timed: bool) {
        for (step, slices, most) in [(Step::Minute, &mut self.minutes, MINUTES), (Step::Hour, &mut self.hours, HOURS)] {
            if let Some(slice) = slice_at(slices, at.div_euclid(step.seconds()), most) {
                slice.arms[arm.index()].entry(metric).or_default().observe(value, timed);
                slice.changed = true;
            }
        }
    }

    /// The sum over the slices that begin within a range, its end excluded, and where the first begins.
    #[must_use]
    pub fn sum(&self, step: Step, start: Seconds, end: Seconds) -> ByArm {
        let slices = match step {
            Step::Minute => &self.minutes,
            Step::Hour => &self.hours,
        };
        let mut sum = ByArm::default();
        let within = |slice: &&Slice| (start..end).contains(&(slice.number * step.seconds()));
        for slice in slices.iter().filter(within) {
            for (all, arm) in sum.iter_mut().zip(&slice.arms) {
                for (metric, cell) in arm {
                    all.entry(*metric).or_default().join(cell);
                }
            }
        }
        sum
    }

    /// Hours that have changed since they were last taken, with what was measured in them.
    pub fn take_changed_hours(&mut self) -> Vec<(i64, ByArm)> {
        let changed = self.hours.iter_mut().filter(|slice| slice.changed);
        changed
            .map(|slice| {
                slice.changed = false;
                (slice.number, slice.arms.clone())
            })
            .collect()
    }

    /// Forgets that an hour was taken: what was to become of it has failed.
    pub fn give_back_hour(&mut self, number: i64) {
        if let Some(slice) = self.hours.iter_mut().find(|slice| slice.number == number) {
            slice.changed = true;
        }
    }

    /// Adds what was kept of an hour; one that is too old is left out.
    pub fn restore_hour(&mut self, number: i64, arm: Arm, metric: Measured, cell: &Cell) {
        if let Some(slice) = slice_at(&mut self.hours, number, HOURS) {
            slice.arms[arm.index()].entry(metric).or_default().join(cell);
        }
    }
}

/// The slice with a number; makes room for it, and gives none for what is too old to be kept.
fn slice_at(slices: &mut VecDeque<Slice>, number: i64, most: usize) -> Option<&mut Slice> {
    let place = slices.partition_point(|slice| slice.number < number);
    if slices.get(place).is_none_or(|slice| slice.number != number) {
        let newest = slices.back().map_or(number, |slice| slice.number.max(number));
        if newest - number >= most as i64 {
            return None;
        }
        slices.insert(place, Slice { number, ..Slice::default() });
        while slices.front().is_some_and(|oldest| newest - oldest.number >= most as i64) {
            slices.pop_front();
        }
    }
    let place = slices.partition_point(|slice| slice.number < number);
    slices.get_mut(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metric::BuiltIn;
    use proptest::prelude::*;

    const REQUESTS: Measured = Measured::BuiltIn(BuiltIn::Requests);
    const LATENCY: Measured = Measured::BuiltIn(BuiltIn::Latency);

    fn count(series: &Series, step: Step, start: Seconds, end: Seconds) -> f64 {
        series.sum(step, start, end)[0].get(&REQUESTS).map_or(0.0, |cell| cell.total().count)
    }

    #[test]
    fn ranges_hold_what_began_in_them() {
        let mut series = Series::default();
        for minute in 0..120 {
            series.observe(minute * 60 + 59, Arm::Control, REQUESTS, 1.0, false);
        }
        assert_eq!(count(&series, Step::Minute, 0, 7_200), 120.0);
        assert_eq!(count(&series, Step::Minute, 60, 120), 1.0);
        assert_eq!(count(&series, Step::Minute, 61, 121), 1.0);
        assert_eq!(count(&series, Step::Hour, 0, 3_600), 60.0);
        assert_eq!((Step::reaching(0, 7_200), Step::reaching(0, 30_000)), (Step::Minute, Step::Hour));
    }

    #[test]
    fn times_have_quantiles_and_hours_are_kept_and_restored() {
        let mut series = Series::default();
        (1..=100).for_each(|n| series.observe(10, Arm::Candidate, LATENCY, f64::from(n) * 1_000.0, true));
        let taken = series.take_changed_hours();
        assert!(series.take_changed_hours().is_empty());
        series.give_back_hour(0);
        assert_eq!(series.take_changed_hours().len(), 1);
        let mut other = Series::default();
        for (number, arms) in &taken {
            for (metric, cell) in &arms[1] {
                other.restore_hour(*number, Arm::Candidate, *metric, cell);
            }
        }
        let median = |series: &Series| series.sum(Step::Hour, 0, 3_600)[1][&LATENCY].times().unwrap().quantile(0.5);
        assert_eq!(median(&other), median(&series));
        assert!((median(&series).unwrap() / 50_000.0 - 1.0).abs() < 0.011);
        assert!(other.take_changed_hours().is_empty(), "what is kept already need not be written");
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_what_is_recent_is_there(times in proptest::collection::vec(0_i64..10_000_000, 1..200)) {
            let mut series = Series::default();
            times.iter().for_each(|at| series.observe(*at, Arm::Control, REQUESTS, 1.0, false));
            prop_assert!(series.minutes.len() <= MINUTES && series.hours.len() <= HOURS);
            let newest = times.iter().max().unwrap().div_euclid(3_600);
            // Whatever came while it was recent, in the order of coming, is at least what is recent now.
            let recent = times.iter().filter(|at| newest - at.div_euclid(3_600) < HOURS as i64).count();
            prop_assert!((count(&series, Step::Hour, 0, i64::MAX) - recent as f64).abs() < 1e-9);
        }
    }
}
