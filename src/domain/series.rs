//! What one route did over time, by arm: minutes for hours, hours for weeks, in bounded memory.
//!
//! For pages and people. Statistics read [`evidence`](super::evidence), which keeps users apart; here only
//! sums and the distribution of times are kept. By the arm that served, and for attempts by the arm that
//! was tried. Times are passed in as seconds since 1970.

use std::collections::VecDeque;

use super::Arm;
use super::evidence::{Cell, Cells, Measured};

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
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// The word under which slices are kept.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

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
pub type ByArm = [Cells; 2];

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
    /// What was measured in the newest minute and is in no slice yet: a request adds to one place, not two.
    pending: Option<Pending>,
    minutes: VecDeque<Slice>,
    hours: VecDeque<Slice>,
    /// What is too old to be kept and was not told of yet.
    expired: Vec<Place>,
}

/// Values of one minute.
#[derive(Debug, Default)]
struct Pending {
    minute: i64,
    arms: ByArm,
}

impl Pending {
    /// The slice of a step that it belongs to.
    const fn number(&self, step: Step) -> i64 {
        (self.minute * Step::Minute.seconds()).div_euclid(step.seconds())
    }
}

/// Names one slice.
pub type SliceName = (Step, i64);

/// Where one cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which slice.
    pub slice: SliceName,
    /// Which arm.
    pub arm: Arm,
    /// Which metric.
    pub metric: Measured,
}

impl Series {
    /// Counts a value that was measured at a time. With `timed`, its distribution is kept, too.
    pub fn observe(&mut self, at: Seconds, arm: Arm, metric: Measured, value: f64, timed: bool) {
        if let Some(arms) = self.newest(at) {
            arms[arm.index()].or_default(metric).observe(value, timed);
            return;
        }
        // What comes late goes where it belongs.
        for step in Step::ALL {
            if let Some(slice) = self.slice((step, at.div_euclid(step.seconds()))) {
                slice.arms[arm.index()].or_default(metric).observe(value, timed);
                slice.changed = true;
            }
        }
    }

    /// The newest minute, to add to it; `None` for a time before it.
    pub fn newest(&mut self, at: Seconds) -> Option<&mut ByArm> {
        let minute = at.div_euclid(Step::Minute.seconds());
        if self.pending.as_ref().is_none_or(|pending| pending.minute < minute) {
            self.settle();
            // The slices have to be there: they tell what is too old.
            for step in Step::ALL {
                self.slice((step, at.div_euclid(step.seconds())));
            }
            self.pending = Some(Pending { minute, ..Pending::default() });
        }
        self.pending.as_mut().filter(|pending| pending.minute == minute).map(|pending| &mut pending.arms)
    }

    /// Puts what is pending into its slices.
    fn settle(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        for step in Step::ALL {
            if let Some(slice) = self.slice((step, pending.number(step))) {
                slice.arms.iter_mut().zip(&pending.arms).for_each(|(all, arm)| all.join(arm));
                slice.changed = true;
            }
        }
    }

    /// The sum over the slices that begin within a range, its end excluded.
    #[must_use]
    pub fn sum(&self, step: Step, start: Seconds, end: Seconds) -> ByArm {
        let slices = match step {
            Step::Minute => &self.minutes,
            Step::Hour => &self.hours,
        };
        let mut sum = ByArm::default();
        let slices = slices.iter().map(|slice| (slice.number, &slice.arms));
        let pending = self.pending.iter().map(|pending| (pending.number(step), &pending.arms));
        let within = |number: i64| (start..end).contains(&(number * step.seconds()));
        for (_, arms) in slices.chain(pending).filter(|(number, _)| within(*number)) {
            sum.iter_mut().zip(arms).for_each(|(all, arm)| all.join(arm));
        }
        sum
    }

    /// Slices that have changed since they were last taken, with what was measured in them.
    pub fn take_changed(&mut self) -> Vec<(SliceName, ByArm)> {
        self.settle();
        let minutes = self.minutes.iter_mut().map(|slice| (Step::Minute, slice));
        let all = minutes.chain(self.hours.iter_mut().map(|slice| (Step::Hour, slice)));
        all.filter_map(|(step, slice)| {
            std::mem::take(&mut slice.changed).then(|| ((step, slice.number), slice.arms.clone()))
        })
        .collect()
    }

    /// What has become too old since this was last asked.
    pub fn take_expired(&mut self) -> Vec<Place> {
        self.settle();
        std::mem::take(&mut self.expired)
    }

    /// Forgets that a slice was taken: what was to become of it has failed.
    pub fn give_back(&mut self, name: SliceName) {
        if let Some(slice) = self.slice(name) {
            slice.changed = true;
        }
    }

    /// As [`Series::give_back`], for what was too old.
    pub fn give_back_expired(&mut self, place: Place) {
        self.expired.push(place);
    }

    /// Adds what was kept of a slice. What is too old expires at once.
    pub fn restore(&mut self, place: Place, cell: &Cell) {
        match self.slice(place.slice) {
            Some(slice) => slice.arms[place.arm.index()].or_default(place.metric).join(cell),
            None => self.expired.push(place),
        }
    }

    /// The slice with a name; makes room for it, and gives none for what is too old to be kept.
    fn slice(&mut self, (step, number): SliceName) -> Option<&mut Slice> {
        let (slices, most) = match step {
            Step::Minute => (&mut self.minutes, MINUTES as i64),
            Step::Hour => (&mut self.hours, HOURS as i64),
        };
        // Nearly everything that comes belongs to the newest slice.
        if slices.back().is_some_and(|newest| newest.number == number) {
            return slices.back_mut();
        }
        let newest = slices.back().map_or(number, |slice| slice.number.max(number));
        if newest - number >= most {
            return None;
        }
        while let Some(oldest) = slices.pop_front_if(|oldest| newest - oldest.number >= most) {
            for (arm, measured) in Arm::ALL.into_iter().zip(oldest.arms) {
                let slice = (step, oldest.number);
                self.expired.extend(measured.iter().map(|(metric, _)| Place { slice, arm, metric }));
            }
        }
        let place = slices.partition_point(|slice| slice.number < number);
        if slices.get(place).is_none_or(|slice| slice.number != number) {
            slices.insert(place, Slice { number, ..Slice::default() });
        }
        slices.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metric::BuiltIn;
    use proptest::prelude::*;

    const REQUESTS: Measured = Measured::BuiltIn(BuiltIn::Requests);
    const LATENCY: Measured = Measured::BuiltIn(BuiltIn::Latency);

    fn count(series: &Series, step: Step, start: Seconds, end: Seconds) -> f64 {
        series.sum(step, start, end)[0].get(REQUESTS).map_or(0.0, |cell| cell.total().count)
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
    fn times_have_quantiles_and_slices_are_kept_restored_and_removed() {
        let mut series = Series::default();
        (1..=100).for_each(|n| series.observe(10, Arm::Candidate, LATENCY, f64::from(n) * 1_000.0, true));
        let taken = series.take_changed();
        assert_eq!(taken.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [(Step::Minute, 0), (Step::Hour, 0)]);
        assert!(series.take_changed().is_empty());
        series.give_back((Step::Hour, 0));
        assert_eq!(series.take_changed().len(), 1);
        let mut other = Series::default();
        let place = |slice| Place { slice, arm: Arm::Candidate, metric: LATENCY };
        for (slice, arms) in &taken {
            other.restore(place(*slice), arms[1].get(LATENCY).unwrap());
        }
        for step in Step::ALL {
            let median =
                |series: &Series| series.sum(step, 0, 3_600)[1].get(LATENCY).unwrap().times().unwrap().quantile(0.5);
            assert_eq!(median(&other), median(&series));
            assert!((median(&series).unwrap() / 50_000.0 - 1.0).abs() < 0.011);
        }
        assert!(other.take_changed().is_empty(), "what is kept already need not be written");
        other.observe(MINUTES as Seconds * 60, Arm::Control, REQUESTS, 1.0, false);
        assert_eq!(other.take_expired(), [place((Step::Minute, 0))]);
        other.restore(place((Step::Minute, 0)), &Cell::default());
        assert_eq!(other.take_expired(), [place((Step::Minute, 0))], "what is too old is removed");
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
