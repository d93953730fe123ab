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
mod codec;
mod draw;
mod naming;
mod sample;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

pub use cell::{COARSE_BUCKETS, Cell, Day, MAX_DAYS, Moments, STATISTICAL_BUCKETS, Sums};
pub use codec::{CodecError, Kept, decode, encode};
pub use draw::{Draw, Drawn};
pub use sample::{MAX_SAMPLE, Sampled, SampledUser, UserSample, Users};

use super::Arm;
use super::metric::{BuiltIn, MetricId};
use super::phase::Phase;

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

/// The evidence of one route.
#[derive(Debug, Clone, Default)]
pub struct RouteEvidence {
    cells: BTreeMap<CellKey, Cell>,
    /// What was drawn, and for whom.
    draws: BTreeMap<(Phase, Stratum), Draw>,
    bytes: usize,
    /// Observations that found no room.
    pub dropped: u64,
}

impl RouteEvidence {
    /// Adds a value. With `timed`, its distribution is kept, too (values in microseconds).
    pub fn observe(&mut self, key: CellKey, observation: Observation, timed: bool) {
        // What no hash drew, and who has no key, belongs to no bucket.
        let bucket = observation.bucket.filter(|_| key.stratum != Stratum::Fixed);
        // Means are worth more than distributions: where room is short, these are left out.
        let room = self.bytes + Cell::MAX_BYTES <= BUDGET;
        if let Some(cell) = self.cells.get_mut(&key) {
            let timed = timed && (room || cell.keeps_times());
            self.bytes += cell.add(Observation { bucket, ..observation }, timed);
        } else if self.make_room(key) {
            let cell = self.cells.entry(key).or_default();
            self.bytes += size_of::<Cell>() + cell.add(Observation { bucket, ..observation }, timed && room);
        } else {
            self.dropped += 1;
        }
    }

    fn with_cell(&mut self, key: CellKey, change: impl FnOnce(&mut Cell)) {
        let (before, cell) = match self.cells.get_mut(&key) {
            Some(cell) => (cell.bytes(), cell),
            None => (0, self.cells.entry(key).or_default()),
        };
        change(cell);
        self.bytes = self.bytes - before + cell.bytes();
    }

    /// Notes a decision that a hash drew.
    pub fn draw(&mut self, phase: Phase, stratum: Stratum, drawn: Drawn) {
        let (before, draw) = match self.draws.get_mut(&(phase, stratum)) {
            Some(draw) => (draw.bytes(), draw),
            None => (0, self.draws.entry((phase, stratum)).or_insert_with(|| Draw::new(drawn))),
        };
        draw.add(drawn);
        self.bytes = self.bytes - before + draw.bytes();
    }

    /// The cells, in the order of their keys.
    pub fn cells(&self) -> impl Iterator<Item = (CellKey, &Cell)> {
        self.cells.iter().map(|(key, cell)| (*key, cell))
    }

    /// One cell.
    #[must_use]
    pub fn cell(&self, key: CellKey) -> Option<&Cell> {
        self.cells.get(&key)
    }

    /// What was drawn, by phase and stratum.
    pub fn draws(&self) -> impl Iterator<Item = ((Phase, Stratum), &Draw)> {
        self.draws.iter().map(|(key, draw)| (*key, draw))
    }

    /// Adds what another process, or an earlier one, has seen.
    pub fn merge_cell(&mut self, key: CellKey, other: &Cell) {
        self.with_cell(key, |cell| cell.merge(other));
    }

    /// Adds what another process, or an earlier one, has drawn.
    pub fn merge_draw(&mut self, phase: Phase, stratum: Stratum, other: &Draw) {
        let draw = self.draws.entry((phase, stratum));
        let before = if let Entry::Occupied(known) = &draw { known.get().bytes() } else { 0 };
        let draw = draw.and_modify(|known| known.merge(other)).or_insert_with(|| other.clone());
        draw.changed = true;
        self.bytes = self.bytes - before + draw.bytes();
    }

    /// Bytes in use, as far as they grow.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys whose cells have changed since they were last taken, with the cells.
    pub fn take_changed(&mut self) -> Vec<(CellKey, Cell)> {
        let changed = self.cells.iter_mut().filter(|(_, cell)| cell.is_changed());
        changed
            .map(|(key, cell)| {
                cell.settle();
                (*key, cell.clone())
            })
            .collect()
    }

    /// Forgets that a cell was taken: what was to become of it has failed.
    pub fn give_back(&mut self, key: CellKey) {
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.stir();
        }
    }

    /// Forgets that a draw was taken.
    pub fn give_back_draw(&mut self, phase: Phase, stratum: Stratum) {
        if let Some(draw) = self.draws.get_mut(&(phase, stratum)) {
            draw.changed = true;
        }
    }

    /// Draws that have changed since they were last taken.
    pub fn take_changed_draws(&mut self) -> Vec<((Phase, Stratum), Draw)> {
        let changed = self.draws.iter_mut().filter(|(_, draw)| draw.changed);
        changed
            .map(|(key, draw)| {
                draw.changed = false;
                (*key, draw.clone())
            })
            .collect()
    }

    /// Makes room for a new cell: distributions of other phases go first, since their means are kept.
    fn make_room(&mut self, key: CellKey) -> bool {
        if self.bytes + Cell::BYTES_WITHOUT_TIMES <= BUDGET {
            return true;
        }
        let Self { cells, bytes, .. } = self;
        for (other, cell) in cells {
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
