//! The cells of one arm, by metric: the gateway's own by index, the file's in a short list.
//!
//! Several values of every request end here, so that finding a cell has to cost next to nothing.

use super::super::metric::{BuiltIn, MetricId};
use super::{Cell, Measured};

/// See the module. In the order of [`Measured`].
#[derive(Debug, Clone, Default)]
pub struct Cells {
    built_in: [Option<Box<Cell>>; BuiltIn::ALL.len()],
    /// In the order of their metrics; a route has a dozen at most.
    own: Vec<(MetricId, Cell)>,
}

impl Cells {
    /// The cell of a metric.
    #[must_use]
    pub fn get(&self, metric: Measured) -> Option<&Cell> {
        match metric {
            Measured::BuiltIn(metric) => self.built_in[metric as usize].as_deref(),
            Measured::Own(id) => self.own.iter().find(|(known, _)| *known == id).map(|(_, cell)| cell),
        }
    }

    /// The cell of a metric, to change it.
    pub fn get_mut(&mut self, metric: Measured) -> Option<&mut Cell> {
        match metric {
            Measured::BuiltIn(metric) => self.built_in[metric as usize].as_deref_mut(),
            Measured::Own(id) => self.own.iter_mut().find(|(known, _)| *known == id).map(|(_, cell)| cell),
        }
    }

    /// The cell of a metric; an empty one is made if there is none.
    pub fn or_default(&mut self, metric: Measured) -> &mut Cell {
        match metric {
            Measured::BuiltIn(metric) => self.built_in[metric as usize].get_or_insert_default(),
            Measured::Own(id) => {
                let place = self.own.partition_point(|(known, _)| *known < id);
                if self.own.get(place).is_none_or(|(known, _)| *known != id) {
                    self.own.insert(place, (id, Cell::default()));
                }
                &mut self.own[place].1
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Measured, &Cell)> {
        let built_in = BuiltIn::ALL.into_iter().zip(&self.built_in);
        let built_in = built_in.filter_map(|(metric, cell)| Some((Measured::BuiltIn(metric), cell.as_deref()?)));
        built_in.chain(self.own.iter().map(|(id, cell)| (Measured::Own(*id), cell)))
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Measured, &mut Cell)> {
        let built_in = BuiltIn::ALL.into_iter().zip(&mut self.built_in);
        let built_in = built_in.filter_map(|(metric, cell)| Some((Measured::BuiltIn(metric), cell.as_deref_mut()?)));
        built_in.chain(self.own.iter_mut().map(|(id, cell)| (Measured::Own(*id), cell)))
    }

    /// Adds all of another one; what had not changed counts as unchanged.
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|(metric, cell)| self.or_default(metric).join(cell));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_metric_and_told_in_order() {
        let mut cells = Cells::default();
        let own = |id| Measured::Own(MetricId(id));
        let order = [Measured::BuiltIn(BuiltIn::Requests), Measured::BuiltIn(BuiltIn::Served), own(1), own(2), own(7)];
        for (times, metric) in [4, 0, 3, 1, 2].into_iter().map(|place: usize| (place + 1, order[place])) {
            (0..times).for_each(|_| cells.or_default(metric).observe(1.0, false));
        }
        let counts = cells.iter().map(|(metric, cell)| (metric, cell.total().count)).collect::<Vec<_>>();
        assert_eq!(counts, (0..).zip(order).map(|(place, metric)| (metric, f64::from(place + 1))).collect::<Vec<_>>());
        assert!(cells.get(own(3)).is_none() && cells.get_mut(Measured::BuiltIn(BuiltIn::Latency)).is_none());
        let mut sum = cells.clone();
        sum.join(&cells);
        assert_eq!(sum.get(own(7)).unwrap().total().count, 10.0);
        assert!(BuiltIn::ALL.iter().enumerate().all(|(place, metric)| *metric as usize == place));
    }
}
