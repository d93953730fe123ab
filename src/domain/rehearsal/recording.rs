//! Values that were recorded, by user and in their order. Users are drawn anew for every run, so that both arms are equal.

use super::chance::Chance;
use super::world::{Made, Nature};
use crate::domain::Arm;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Seconds since the first one.
    pub at: u64,
    /// Who; the same number for the same user.
    pub user: u64,
    /// What it measures: the place of the metric, and the value in the unit in which it is added up.
    pub values: Vec<(usize, f64)>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// In the order of their time.
    pub events: Vec<Recorded>,
    /// What is measured. Of the candidate's mean only the distance from control's counts.
    pub metrics: Vec<Made>,
}

impl Recording {
    /// In the order of time.
    #[must_use]
    pub fn new(mut events: Vec<Recorded>, metrics: Vec<Made>) -> Self {
        events.sort_by_key(|event| event.at);
        Self { events, metrics }
    }

    /// A value as the arm would have it.
    pub(super) fn value(&self, place: usize, value: f64, arm: Arm, chance: &mut Chance) -> f64 {
        let Some(Made { nature, means: [control, candidate], .. }) = self.metrics.get(place) else { return value };
        if arm == Arm::Control || control == candidate {
            return value;
        }
        match nature {
            // As many become ones, or zeros, as it takes.
            Nature::Share if candidate > control => {
                let turns = value == 0.0 && chance.unit() < (candidate - control) / (1.0 - control);
                if turns { 1.0 } else { value }
            }
            Nature::Share => {
                let turns = value > 0.0 && chance.unit() < (control - candidate) / control;
                if turns { 0.0 } else { value }
            }
            Nature::Score { .. } => value + candidate - control,
            Nature::Amount { .. } => value * candidate / control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::Measured;
    use crate::domain::metric::MetricId;

    #[test]
    fn the_candidate_has_the_mean_that_it_is_given() {
        let rows = [
            (Nature::Share, [0.25, 0.5]),
            (Nature::Share, [0.25, 0.1]),
            (Nature::Score { deviation: 1.0 }, [0.25, -1.0]),
            (Nature::Amount { variation: 1.0 }, [0.25, 5.0]),
        ];
        for (nature, means) in rows {
            let made = Made { metric: Measured::Own(MetricId(0)), nature, means, timed: false };
            let recording = Recording::new(Vec::new(), vec![made]);
            let mut chance = Chance::new(1, 1);
            for arm in Arm::ALL {
                let values = (0..20_000).map(|n| f64::from(u8::from(n % 4 == 0)));
                let sum: f64 = values.map(|value| recording.value(0, value, arm, &mut chance)).sum();
                let mean = sum / 20_000.0;
                assert!((mean - means[arm.index()]).abs() < 0.02, "{nature:?} {arm}: {mean}");
            }
        }
    }
}
