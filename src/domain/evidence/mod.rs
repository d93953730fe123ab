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
mod naming;
mod sample;

use std::collections::BTreeMap;

pub use cell::{COARSE_BUCKETS, Cell, Moments, STATISTICAL_BUCKETS, Sums};
pub use cells::Cells;
pub use codec::{CodecError, Kept, decode, encode};
pub use naming::USERS;
pub use sample::{MAX_SAMPLE, UserSample, Users};

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
}

/// What was measured in one phase of users of one stratum.
#[derive(Debug)]
struct Stretch {
    phase: Phase,
    stratum: Stratum,
    arms: [Cells; 2],
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

/// The evidence of one route.
#[derive(Debug, Default)]
pub struct RouteEvidence {
    /// In the order of phase and stratum.
    stretches: Vec<Stretch>,
    /// The stretch that was last added to: nearly always the next one, too.
    last: usize,
    /// Users that were assigned, by phase.
    users: BTreeMap<Phase, UserSample>,
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
        if let Some(cell) = self.cell_mut(key) {
            let timed = timed && (room || cell.keeps_times());
            let grown = cell.add(bucket, observation.value, timed);
            self.bytes += grown;
        } else if self.make_room(key) {
            let grown = self.or_default(key).add(bucket, observation.value, timed && room);
            self.bytes += size_of::<Cell>() + grown;
        } else {
            self.dropped += 1;
        }
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
        let place = self.place(phase, stratum).unwrap_or_else(|place| {
            self.stretches.insert(place, Stretch { phase, stratum, arms: Default::default() });
            place
        });
        self.last = place;
        self.stretches[place].arms[arm.index()].or_default(metric)
    }

    fn with_cell(&mut self, key: CellKey, change: impl FnOnce(&mut Cell)) {
        let before = self.cell(key).map_or(0, Cell::bytes);
        let cell = self.or_default(key);
        change(cell);
        let after = cell.bytes();
        self.bytes = self.bytes - before + after;
    }

    /// Notes that a user was assigned an arm, by the user's sample.
    pub fn assign(&mut self, phase: Phase, sample: u64, arm: Arm) {
        self.with_users(phase, |users| users.add(sample, arm));
    }

    fn with_users(&mut self, phase: Phase, change: impl FnOnce(&mut UserSample)) {
        let users = self.users.entry(phase).or_default();
        let before = users.bytes();
        change(users);
        self.bytes = self.bytes - before + users.bytes();
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

    /// The users of each phase.
    pub fn users(&self) -> impl Iterator<Item = (Phase, &UserSample)> {
        self.users.iter().map(|(phase, users)| (*phase, users))
    }

    /// Adds what another process, or an earlier one, has seen.
    pub fn merge_cell(&mut self, key: CellKey, other: &Cell) {
        self.with_cell(key, |cell| cell.merge(other));
    }

    /// Adds the users that another process, or an earlier one, has seen.
    pub fn merge_users(&mut self, phase: Phase, other: &UserSample) {
        self.with_users(phase, |users| users.merge(other));
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

    /// Forgets that the users of a phase were taken.
    pub fn give_back_users(&mut self, phase: Phase) {
        if let Some(users) = self.users.get_mut(&phase) {
            users.stir();
        }
    }

    /// Phases whose users have changed since they were last taken, with the users.
    pub fn take_changed_users(&mut self) -> Vec<(Phase, UserSample)> {
        let changed = self.users.iter_mut().filter(|(_, users)| users.is_changed());
        changed
            .map(|(phase, users)| {
                users.settle();
                (*phase, users.clone())
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
