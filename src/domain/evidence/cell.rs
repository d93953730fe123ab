//! One cell: sums in all, by bucket of users, and the distribution of times.

use super::super::sketch::{Place, Sketch};
use super::super::window::Mergeable as _;
use super::Observation;
use super::trail::Trail;

/// Buckets of users; see `assignment::Digest::statistical_bucket`.
pub const STATISTICAL_BUCKETS: usize = 1024;
/// Buckets of users that share one distribution of times, so that quantiles have a variance, too.
pub const COARSE_BUCKETS: usize = 64;

/// Days of which a cell keeps sums; with one more, the oldest goes.
pub const MAX_DAYS: usize = 120;

/// Days since 1970, in UTC.
pub type Day = i32;

/// Count, sum and sum of squares.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// How many values: the denominator of a mean.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl Sums {
    fn add(&mut self, value: f64) {
        // Values are at most `metric::MAX_NUMBER`, which no number of them brings beyond what is finite.
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    /// Stays finite, as what is kept has to be.
    fn merge(&mut self, other: &Self) {
        let add = |mine: f64, theirs: f64| (mine + theirs).clamp(f64::MIN, f64::MAX);
        self.count = add(self.count, other.count);
        self.sum = add(self.sum, other.sum);
        self.squares = add(self.squares, other.squares);
    }

    /// The mean; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

/// Sums over buckets as clusters, as ratio and delta method need them (statistics: Deng, Knoblich, Lu,
/// *Applying the Delta Method in Metric Analytics*, KDD 2018, arXiv 1803.06336).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Buckets with a value.
    pub clusters: f64,
    /// Sum of counts.
    pub d: f64,
    /// Sum of sums.
    pub s: f64,
    /// Sum of squared counts.
    pub dd: f64,
    /// Sum of squared sums.
    pub ss: f64,
    /// Sum of products.
    pub sd: f64,
}

impl Moments {
    /// The ratio of sums and its variance between clusters; `None` for fewer than two clusters
    /// and for sums beyond 1e150.
    #[must_use]
    pub fn ratio(&self) -> Option<(f64, f64)> {
        let k = self.clusters;
        if k < 2.0 || self.d <= 0.0 {
            return None;
        }
        let ratio = self.s / self.d;
        let mean = self.d / k;
        // The residuals S - R D add up to zero, so their squares are all that is needed.
        let residuals = self.ss - 2.0 * ratio * self.sd + ratio * ratio * self.dd;
        // Of what is too large to be squared, no spread is known: it is not zero.
        residuals.is_finite().then(|| (ratio, residuals.max(0.0) / ((k - 1.0) * k * mean * mean)))
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    pub(super) total: Sums,
    /// Empty until the first value with a bucket.
    pub(super) buckets: Vec<Sums>,
    /// Empty until the first time; one in all after compaction.
    pub(super) times: Vec<Sketch>,
    /// By day, rising; only of what has a bucket.
    pub(super) days: Vec<(Day, Sums)>,
    changed: bool,
    trail: Trail,
}

impl Cell {
    /// Bytes of a cell with buckets and without times.
    pub(super) const BYTES_WITHOUT_TIMES: usize =
        size_of::<Self>() + STATISTICAL_BUCKETS * size_of::<Sums>() + MAX_DAYS * size_of::<(Day, Sums)>();
    /// Bytes of a cell with everything.
    pub(super) const MAX_BYTES: usize = Self::BYTES_WITHOUT_TIMES + COARSE_BUCKETS * Sketch::MAX_BYTES;

    /// Adds a value; tells by how many bytes that made it larger.
    pub(super) fn add(&mut self, Observation { bucket, value, day }: Observation, time: Option<Place>) -> usize {
        self.changed = true;
        self.total.add(value);
        let mut grown = 0;
        if let Some(bucket) = bucket.map(usize::from).filter(|bucket| *bucket < STATISTICAL_BUCKETS) {
            if self.buckets.is_empty() {
                self.buckets = vec![Sums::default(); STATISTICAL_BUCKETS];
                grown += STATISTICAL_BUCKETS * size_of::<Sums>();
            }
            self.buckets[bucket].add(value);
            self.trail.note(bucket as u16);
            match self.days.last_mut() {
                // Nearly everything belongs to the newest day.
                Some((newest, sums)) if *newest == day => sums.add(value),
                Some(_) | None => {
                    grown += self.add_to_day(day, &Sums { count: 1.0, sum: value, squares: value * value });
                }
            }
        }
        if let Some(time) = time {
            if self.times.is_empty() {
                let shared = if bucket.is_some() { COARSE_BUCKETS } else { 1 };
                self.times = vec![Sketch::default(); shared];
                grown += shared * size_of::<Sketch>();
            }
            let coarse = usize::from(bucket.unwrap_or(0)) % self.times.len();
            let sketch = &mut self.times[coarse];
            let before = sketch.bytes();
            sketch.count_at(time);
            grown += sketch.bytes() - before;
        }
        grown
    }

    /// Adds a value that belongs to no bucket.
    pub fn observe(&mut self, value: f64, timed: bool) {
        self.count(value, timed.then(|| Place::of(value.max(0.0) as u64)));
    }

    /// The same for a time whose place is known.
    pub fn count(&mut self, value: f64, time: Option<Place>) {
        self.add(Observation { bucket: None, value, day: 0 }, time);
    }

    /// Adds to the sums of a day; tells by how many bytes that made the cell larger.
    fn add_to_day(&mut self, day: Day, more: &Sums) -> usize {
        let place = self.days.partition_point(|(known, _)| *known < day);
        if let Some((_, sums)) = self.days.get_mut(place).filter(|(known, _)| *known == day) {
            sums.merge(more);
            return 0;
        }
        let full = self.days.len() == MAX_DAYS;
        // What is older than everything that there is room for is left out.
        if !(full && place == 0) {
            self.days.insert(place, (day, *more));
        }
        if full {
            self.days.drain(..self.days.len() - MAX_DAYS);
        }
        if full { 0 } else { size_of::<(Day, Sums)>() }
    }

    /// Adds another one; what had not changed counts as unchanged.
    pub fn join(&mut self, other: &Self) {
        let changed = self.changed;
        self.merge(other);
        self.changed = changed;
    }

    /// Everything in it, bucket or not.
    #[must_use]
    pub const fn total(&self) -> &Sums {
        &self.total
    }

    /// By bucket; empty where nobody was drawn.
    #[must_use]
    pub fn buckets(&self) -> &[Sums] {
        &self.buckets
    }

    /// Which buckets changed of late.
    #[must_use]
    pub const fn trail(&self) -> &Trail {
        &self.trail
    }

    /// By day, in order; of what has a bucket, and of the last days only.
    #[must_use]
    pub fn days(&self) -> &[(Day, Sums)] {
        &self.days
    }

    /// Over its buckets as clusters.
    #[must_use]
    pub fn moments(&self) -> Moments {
        let used = self.buckets.iter().filter(|sums| sums.count > 0.0);
        used.fold(Moments::default(), |all, Sums { count, sum, .. }| Moments {
            clusters: all.clusters + 1.0,
            d: all.d + count,
            s: all.s + sum,
            dd: all.dd + count * count,
            ss: all.ss + sum * sum,
            sd: all.sd + sum * count,
        })
    }

    /// The distribution of its times, if it keeps one.
    #[must_use]
    pub fn times(&self) -> Option<Sketch> {
        let (first, rest) = self.times.split_first()?;
        let mut all = first.clone();
        rest.iter().for_each(|other| all.merge(other));
        Some(all)
    }

    /// Its times by coarse bucket of users; one in all once it is compacted.
    #[must_use]
    pub fn times_by_bucket(&self) -> &[Sketch] {
        &self.times
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.changed = true;
        self.trail.lose();
        self.total.merge(&other.total);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            self.buckets.iter_mut().zip(&other.buckets).for_each(|(sums, more)| sums.merge(more));
        }
        for (day, more) in &other.days {
            self.add_to_day(*day, more);
        }
        if self.times.is_empty() {
            self.times.clone_from(&other.times);
        } else if self.times.len() == other.times.len() {
            self.times.iter_mut().zip(&other.times).for_each(|(sketch, more)| sketch.merge(more));
        } else if let Some(more) = other.times() {
            self.compact();
            self.times.iter_mut().for_each(|sketch| sketch.merge(&more));
        }
    }

    /// Joins the distributions of all users into one.
    pub(super) fn compact(&mut self) {
        if self.times.len() > 1
            && let Some(all) = self.times()
        {
            self.times = vec![all];
            self.changed = true;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let times: usize = self.times.iter().map(Sketch::bytes).sum();
        size_of::<Self>() + self.buckets.len() * size_of::<Sums>() + self.days.len() * size_of::<(Day, Sums)>() + times
    }

    pub(super) const fn keeps_times(&self) -> bool {
        !self.times.is_empty()
    }

    pub(super) const fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) const fn settle(&mut self) {
        self.changed = false;
    }

    pub(super) const fn stir(&mut self) {
        self.changed = true;
    }

    pub(super) fn of(total: Sums, buckets: Vec<Sums>, times: Vec<Sketch>, days: Vec<(Day, Sums)>) -> Self {
        Self { total, buckets, times, days, changed: false, trail: Trail::default() }
    }
}
