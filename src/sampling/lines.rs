//! Lines of what waits for somebody, by name, each with its length and so many at the same time.
//!
//! It runs nothing. Whoever owns it is one task, so there is no lock; bounds are those of what stands first,
//! so that a reload's count at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Lines<J> {
    lines: HashMap<Arc<str>, Line<J>>,
}

#[derive(Debug)]
struct Line<J> {
    waiting: VecDeque<J>,
    /// Held by each that is under way.
    place: Arc<()>,
}

/// Something is under way for as long as this lives, whatever becomes of its task.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "kept for its count")] Arc<()>);

impl<J> Default for Lines<J> {
    fn default() -> Self {
        Self { lines: HashMap::new() }
    }
}

impl<J> Lines<J> {
    /// Puts a job at the end of a line, or gives it back where the line is full.
    pub(super) fn put(&mut self, name: &Arc<str>, most: usize, job: J) -> Result<(), J> {
        let new = || Line { waiting: VecDeque::new(), place: Arc::new(()) };
        let line = self.lines.entry(Arc::clone(name)).or_insert_with(new);
        if line.waiting.len() >= most {
            return Err(job);
        }
        line.waiting.push_back(job);
        Ok(())
    }

    /// The first job of a line that has a place for it.
    pub(super) fn next(&mut self, at_once: impl Fn(&J) -> usize) -> Option<(J, Place)> {
        self.lines.values_mut().find_map(|line| {
            let in_flight = Arc::strong_count(&line.place) - 1;
            let job = line.waiting.pop_front_if(|job| in_flight < at_once(job))?;
            Some((job, Place(Arc::clone(&line.place))))
        })
    }

    /// How many wait, by line.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.lines.iter().map(|(name, line)| (name, line.waiting.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_length_and_so_many_places() {
        let (mut lines, a, b): (_, Arc<str>, Arc<str>) = (Lines::default(), "a".into(), "b".into());
        let put = |lines: &mut Lines<u32>, name, job| lines.put(name, 2, job);
        assert_eq!([1, 2, 3].map(|job| put(&mut lines, &a, job)), [Ok(()), Ok(()), Err(3)]);
        assert_eq!(put(&mut lines, &b, 4), Ok(()), "another line");
        let (first, place) = lines.next(|job| if *job < 4 { 1 } else { 0 }).unwrap();
        assert_eq!(first, 1);
        assert!(
            lines.next(|job| if *job < 4 { 1 } else { 0 }).is_none(),
            "the only place of the one, none of the other"
        );
        drop(place);
        assert_eq!(lines.next(|job| if *job < 4 { 1 } else { 0 }).unwrap().0, 2);
        let mut waiting: Vec<_> = lines.waiting().map(|(name, count)| (&**name, count)).collect();
        waiting.sort_unstable();
        assert_eq!(waiting, [("a", 0), ("b", 1)]);
    }
}
