//! Evidence: what the arms did, added up so that it can be compared honestly.
//!
//! One [`RouteEvidence`] a route. A [`Cell`] holds one metric of one arm in one phase and stratum, by
//! 1024 buckets of users: users in different buckets are independent, so the spread between buckets
//! tells the variance without a record of any user (Chamandy, Muralidharan, Najmi, Naidu: *Estimating
//! Uncertainty for Massive Data Streams*, 2012). It draws no conclusions.
//!
//! Invariants: cells only add up, so replicas and restarts merge by addition; only what a hash drew is
//! in a cell with buckets; memory stays within [`BUDGET`].

mod cell;
mod cells;
mod codec;
mod draw;
mod naming;
mod sample;
mod trail;

pub use cell::{COARSE_BUCKETS, Cell, Day, MAX_DAYS, Moments, STATISTICAL_BUCKETS, Sums};
pub use cells::Cells;
pub use codec::{CodecError, Kept, decode, encode};
pub use draw::{Draw, Drawn};
pub use sample::{MAX_SAMPLE, Sampled, SampledUser, UserSample, Users};
pub use trail::Trail;

use super::Arm;
use super::metric::{BuiltIn, MetricId};
use super::phase::Phase;
use super::sketch::Place;

/// Bytes of one route's evidence.
pub const BUDGET: usize = 16 << 20;

/// How the arm of a user came about; users of different strata are never pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stratum {
    /// Not drawn: forced, targeted, overridden, ineligible. Counted, never compared.
    Fixed,
    /// Drawn by the rollout's percentage.
    Rollout,
    /// Drawn by the percentage of the rule with this index.
    Rule(u16),
}

/// A metric of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measured {
    /// One of the gateway's own.
    BuiltIn(BuiltIn),
    /// One of the file's.
    Own(MetricId),
}

/// Which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// The phase.
    pub phase: Phase,
    /// The stratum.
    pub stratum: Stratum,
    /// The arm.
    pub arm: Arm,
    /// The metric.
    pub metric: Measured,
}

/// One value for a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The user's statistical bucket; `None` without a key.
    pub bucket: Option<u16>,
    /// The value.
    pub value: f64,
    /// The day on which it was seen.
    pub day: Day,
}

/// What was measured in one phase of users of one stratum.
#[derive(Debug, Clone)]
struct Stretch {
    phase: Phase,
    stratum: Stratum,
    arms: [Cells; 2],
    /// What was drawn, and for whom.
    draw: Option<Draw>,
}

impl Stretch {
    fn cells(&self) -> impl Iterator<Item = (CellKey, &Cell)> {
        let (phase, stratum) = (self.phase, self.stratum);
        let arms = Arm::ALL.into_iter().zip(&self.arms);
        arms.flat_map(move |(arm, cells)| {
            cells.iter().map(move |(metric, cell)| (CellKey { phase, stratum, arm, metric }, cell))
        })
    }

    fn cells_mut(&mut self) -> impl Iterator<Item = (CellKey, &mut Cell)> {
        let (phase, stratum) = (self.phase, self.stratum);
        let arms = Arm::ALL.into_iter().zip(&mut self.arms);
        arms.flat_map(move |(arm, cells)| {
            cells.iter_mut().map(move |(metric, cell)| (CellKey { phase, stratum, arm, metric }, cell))
        })
    }
}

/// Adds the values of one request. See [`RouteEvidence::recorder`].
#[derive(Debug)]
pub struct Recorder<'a> {
    evidence: &'a mut RouteEvidence,
    /// `None` before the first value of a phase and stratum.
    place: Option<usize>,
    phase: Phase,
    stratum: Stratum,
    bucket: Option<u16>,
    day: Day,
    /// Whether there is room for new distributions.
    room: bool,
}

impl Recorder<'_> {
    /// As [`RouteEvidence::observe`]; a time's place is found by who has it already.
    pub fn observe(&mut self, arm: Arm, metric: Measured, value: f64, time: Option<Place>) {
        let observation = Observation { bucket: self.bucket, value, day: self.day };
        let cell = self.place.and_then(|place| self.evidence.stretches[place].arms[arm.index()].get_mut(metric));
        match cell {
            Some(cell) => {
                let bucket = self.bucket.filter(|_| self.stratum != Stratum::Fixed);
                let time = time.filter(|_| self.room || cell.keeps_times());
                self.evidence.bytes += cell.add(Observation { bucket, ..observation }, time);
            }
            None => {
                let (phase, stratum) = (self.phase, self.stratum);
                self.evidence.observe(CellKey { phase, stratum, arm, metric }, observation, time.is_some());
                self.place = self.evidence.place(phase, stratum).ok();
            }
        }
    }
}

/// The evidence of one route.
#[derive(Debug, Clone, Default)]
pub struct RouteEvidence {
    /// In the order of phase and stratum.
    stretches: Vec<Stretch>,
    /// The stretch that was last added to: nearly always the next one, too.
    last: usize,
    bytes: usize,
    /// Observations that found no room.
    pub dropped: u64,
}

impl RouteEvidence {
    /// Adds a value. With `timed`, its distribution is kept, too (values in microseconds).
    pub fn observe(&mut self, key: CellKey, observation: Observation, timed: bool) {
        // What no hash drew, and who has no key, belongs to no bucket.
        let bucket = observation.bucket.filter(|_| key.stratum != Stratum::Fixed);
        let time = timed.then(|| Place::of(observation.value.max(0.0) as u64));
        // Means are worth more than distributions: where room is short, these are left out.
        let room = self.bytes + Cell::MAX_BYTES <= BUDGET;
        if let Some(cell) = self.cell_mut(key) {
            let time = time.filter(|_| room || cell.keeps_times());
            let grown = cell.add(Observation { bucket, ..observation }, time);
            self.bytes += grown;
        } else if self.make_room(key) {
            let grown = self.or_default(key).add(Observation { bucket, ..observation }, time.filter(|_| room));
            self.bytes += size_of::<Cell>() + grown;
        } else {
            self.dropped += 1;
        }
    }

    /// Adds the values of one request: its phase and stratum are looked up once.
    pub fn recorder(&mut self, phase: Phase, stratum: Stratum, bucket: Option<u16>, day: Day) -> Recorder<'_> {
        let place = self.place(phase, stratum).ok();
        let room = self.bytes + Cell::MAX_BYTES <= BUDGET;
        Recorder { evidence: self, place, phase, stratum, bucket, day, room }
    }

    /// Where the cells of a phase and stratum are, or would be.
    fn place(&self, phase: Phase, stratum: Stratum) -> Result<usize, usize> {
        let is_it = |stretch: &Stretch| (stretch.phase, stretch.stratum) == (phase, stratum);
        if self.stretches.get(self.last).is_some_and(is_it) {
            return Ok(self.last);
        }
        self.stretches.binary_search_by_key(&(phase, stratum), |stretch| (stretch.phase, stretch.stratum))
    }

    fn cell_mut(&mut self, key: CellKey) -> Option<&mut Cell> {
        let place = self.place(key.phase, key.stratum).ok()?;
        self.last = place;
        self.stretches[place].arms[key.arm.index()].get_mut(key.metric)
    }

    fn or_default(&mut self, CellKey { phase, stratum, arm, metric }: CellKey) -> &mut Cell {
        self.stretch(phase, stratum).arms[arm.index()].or_default(metric)
    }

    fn stretch(&mut self, phase: Phase, stratum: Stratum) -> &mut Stretch {
        let place = self.place(phase, stratum).unwrap_or_else(|place| {
            self.stretches.insert(place, Stretch { phase, stratum, arms: Default::default(), draw: None });
            place
        });
        self.last = place;
        &mut self.stretches[place]
    }

    fn with_cell(&mut self, key: CellKey, change: impl FnOnce(&mut Cell)) {
        let before = self.cell(key).map_or(0, Cell::bytes);
        let cell = self.or_default(key);
        change(cell);
        let after = cell.bytes();
        self.bytes = self.bytes - before + after;
    }

    /// Notes a decision that a hash drew.
    pub fn draw(&mut self, phase: Phase, stratum: Stratum, drawn: Drawn) {
        let slot = &mut self.stretch(phase, stratum).draw;
        let before = slot.as_ref().map_or(0, Draw::bytes);
        let draw = slot.get_or_insert_with(|| Draw::new(drawn));
        draw.add(drawn);
        let after = draw.bytes();
        self.bytes = self.bytes - before + after;
    }

    /// The cells, in the order of their keys.
    pub fn cells(&self) -> impl Iterator<Item = (CellKey, &Cell)> {
        self.stretches.iter().flat_map(Stretch::cells)
    }

    /// One cell.
    #[must_use]
    pub fn cell(&self, key: CellKey) -> Option<&Cell> {
        let place = self.place(key.phase, key.stratum).ok()?;
        self.stretches[place].arms[key.arm.index()].get(key.metric)
    }

    /// Strata of a phase in which anything was measured or drawn, in their order.
    pub fn strata(&self, phase: Phase) -> impl Iterator<Item = Stratum> + '_ {
        let first = self.stretches.partition_point(|stretch| stretch.phase < phase);
        self.stretches[first..].iter().take_while(move |stretch| stretch.phase == phase).map(|stretch| stretch.stratum)
    }

    /// What was drawn in one phase and stratum.
    #[must_use]
    pub fn drawn(&self, phase: Phase, stratum: Stratum) -> Option<&Draw> {
        let place = self.place(phase, stratum).ok()?;
        self.stretches[place].draw.as_ref()
    }

    /// What was drawn, by phase and stratum.
    pub fn draws(&self) -> impl Iterator<Item = ((Phase, Stratum), &Draw)> {
        self.stretches.iter().filter_map(|stretch| Some(((stretch.phase, stretch.stratum), stretch.draw.as_ref()?)))
    }

    /// Adds what another process, or an earlier one, has seen.
    pub fn merge_cell(&mut self, key: CellKey, other: &Cell) {
        self.with_cell(key, |cell| cell.merge(other));
    }

    /// Adds what another process, or an earlier one, has drawn.
    pub fn merge_draw(&mut self, phase: Phase, stratum: Stratum, other: &Draw) {
        let slot = &mut self.stretch(phase, stratum).draw;
        let before = slot.as_ref().map_or(0, Draw::bytes);
        match slot {
            Some(known) => known.merge(other),
            None => *slot = Some(other.clone()),
        }
        let after = slot.as_mut().map_or(0, |draw| {
            draw.changed = true;
            draw.bytes()
        });
        self.bytes = self.bytes - before + after;
    }

    /// Bytes in use, as far as they grow.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys whose cells have changed since they were last taken, with the cells.
    pub fn take_changed(&mut self) -> Vec<(CellKey, Cell)> {
        let changed = self.stretches.iter_mut().flat_map(Stretch::cells_mut).filter(|(_, cell)| cell.is_changed());
        changed
            .map(|(key, cell)| {
                cell.settle();
                (key, cell.clone())
            })
            .collect()
    }

    /// Forgets that a cell was taken: what was to become of it has failed.
    pub fn give_back(&mut self, key: CellKey) {
        if let Some(cell) = self.cell_mut(key) {
            cell.stir();
        }
    }

    /// Forgets that a draw was taken.
    pub fn give_back_draw(&mut self, phase: Phase, stratum: Stratum) {
        if let Some(draw) = &mut self.stretch(phase, stratum).draw {
            draw.changed = true;
        }
    }

    /// Draws that have changed since they were last taken.
    pub fn take_changed_draws(&mut self) -> Vec<((Phase, Stratum), Draw)> {
        let draws = self.stretches.iter_mut().filter_map(|stretch| {
            let key = (stretch.phase, stretch.stratum);
            stretch.draw.as_mut().filter(|draw| draw.changed).map(|draw| (key, draw))
        });
        draws
            .map(|(key, draw)| {
                draw.changed = false;
                (key, draw.clone())
            })
            .collect()
    }

    /// Makes room for a new cell: distributions of other phases go first, since their means are kept.
    fn make_room(&mut self, key: CellKey) -> bool {
        if self.bytes + Cell::BYTES_WITHOUT_TIMES <= BUDGET {
            return true;
        }
        let Self { stretches, bytes, .. } = self;
        for (other, cell) in stretches.iter_mut().flat_map(Stretch::cells_mut) {
            if other.phase != key.phase {
                let before = cell.bytes();
                cell.compact();
                *bytes = *bytes - before + cell.bytes();
            }
            if *bytes + Cell::BYTES_WITHOUT_TIMES <= BUDGET {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
