//! Which buckets of a cell changed of late, so that whoever looks every second need not read all of them.
//!
//! It is no part of what a cell tells: two cells with the same sums are the same, whatever their trails, and it is
//! not kept. Invariant: who has seen the trail at a length is told every bucket that changed since, or that it
//! cannot be told.

/// Changes that are remembered.
const LENGTH: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Trail {
    length: u64,
    recent: [u16; LENGTH],
}

impl Default for Trail {
    fn default() -> Self {
        Self { length: 0, recent: [0; LENGTH] }
    }
}

impl PartialEq for Trail {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Trail {
    /// How long it is; it grows with every change.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The buckets that changed since it was so long, some of them several times; `None` if they were too many.
    #[must_use]
    pub fn since(&self, length: u64) -> Option<impl Iterator<Item = u16> + '_> {
        let steps = self.length.checked_sub(length).filter(|steps| *steps <= LENGTH as u64)?;
        Some((0..steps).map(|step| self.recent[(self.length - 1 - step) as usize % LENGTH]))
    }

    pub(super) const fn note(&mut self, bucket: u16) {
        self.recent[self.length as usize % LENGTH] = bucket;
        self.length += 1;
    }

    /// Anything may have changed.
    pub(super) const fn lose(&mut self) {
        self.length += LENGTH as u64 + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_or_too_much() {
        let mut trail = Trail::default();
        let since = |trail: &Trail, length| trail.since(length).map(Iterator::collect::<Vec<_>>);
        assert_eq!(since(&trail, 0), Some(vec![]));
        [7, 9, 7].into_iter().for_each(|bucket| trail.note(bucket));
        assert_eq!(since(&trail, 1), Some(vec![7, 9]));
        (0..LENGTH as u16).for_each(|bucket| trail.note(bucket));
        assert_eq!(since(&trail, 3).map(|buckets| buckets.len()), Some(LENGTH));
        assert_eq!(since(&trail, 2), None);
        let length = trail.length();
        trail.lose();
        assert_eq!(since(&trail, length), None);
        assert_eq!(since(&trail, trail.length() + 1), None, "it was never so long");
    }
}
