//! A ring of time slices: what happened in the last `length`, in bounded memory.
//!
//! The window slides by one slice at a time, so its age is exact to one slice (`length / SLICES`).

use std::time::Duration;

use super::breaker::Millis;

/// Slices a window is cut into.
const SLICES: usize = 30;

/// What a window can hold: something that starts empty and adds up.
pub trait Mergeable: Default {
    /// Adds `other` to this.
    fn merge(&mut self, other: &Self);
}

/// The last `length` of something that adds up.
#[derive(Debug, Clone)]
pub struct Window<T> {
    slices: Vec<T>,
    slice_millis: u64,
    /// Number of the newest slice since time zero.
    newest: u64,
}

impl<T: Mergeable> Window<T> {
    /// An empty window. Lengths under [`SLICES`] milliseconds are taken as that.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let slice_millis = (length / SLICES as u64).max(1);
        Self { slices: std::iter::repeat_with(T::default).take(SLICES).collect(), slice_millis, newest: 0 }
    }

    /// The slice for `now`. A time before the newest slice lands in the newest one: a record that
    /// comes late is not lost.
    pub fn at(&mut self, now: Millis) -> &mut T {
        self.advance(now);
        let index = (self.newest % SLICES as u64) as usize;
        &mut self.slices[index]
    }

    /// The sum over the window that ends `now`.
    #[must_use]
    pub fn total(&mut self, now: Millis) -> T {
        self.advance(now);
        let mut total = T::default();
        for slice in &self.slices {
            total.merge(slice);
        }
        total
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slices.fill_with(T::default);
    }

    fn advance(&mut self, now: Millis) {
        let number = now / self.slice_millis;
        if number <= self.newest {
            return;
        }
        let passed = (number - self.newest).min(SLICES as u64);
        for step in 0..passed {
            let index = ((number - step) % SLICES as u64) as usize;
            self.slices[index] = T::default();
        }
        self.newest = number;
    }
}

/// Count and sum of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Mean {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
    }

    /// The mean; `None` without values.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Mergeable for Mean {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window: Window<Mean> = Window::new(Duration::from_secs(30));
        window.at(0).add(1.0);
        window.at(10_000).add(2.0);
        assert_eq!(window.total(29_000).count, 2);
        assert_eq!(window.total(30_000).count, 1);
        assert_eq!(window.total(40_000).count, 0);
    }

    #[test]
    fn a_late_record_is_kept() {
        let mut window: Window<Mean> = Window::new(Duration::from_secs(30));
        window.at(20_000).add(1.0);
        window.at(19_000).add(1.0);
        assert_eq!(window.total(20_000).count, 2);
    }

    proptest! {
        #[test]
        fn the_total_is_what_a_list_would_say(mut times in proptest::collection::vec(0_u64..100_000, 0..100)) {
            times.sort_unstable();
            let mut window: Window<Mean> = Window::new(Duration::from_secs(30));
            for &time in &times {
                window.at(time).add(1.0);
            }
            let now = times.last().copied().unwrap_or(0);
            // The slice of `now` and the 29 before it.
            let oldest = (now / 1_000).saturating_sub(29) * 1_000;
            let expected = times.iter().filter(|&&time| time >= oldest).count();
            prop_assert_eq!(window.total(now).count, expected as u64);
        }
    }
}
