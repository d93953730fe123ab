//! The names under which cells are kept: `rollout/candidate/latency`, `rule:3/control/own.quality`.

use super::super::Arm;
use super::super::metric::{BuiltIn, MetricId};
use super::super::phase::Phase;
use super::{CellKey, Measured, Stratum};

/// Under which what was drawn in a stratum is kept: `rollout/users`.
const USERS: &str = "users";

/// Before the names of a file's metrics, so that they cannot be taken for the gateway's own.
const OWN: &str = "own.";

impl Measured {
    /// The name under which it is kept.
    pub fn name<'a>(self, metric: impl FnOnce(MetricId) -> Option<&'a str>) -> Option<String> {
        match self {
            Self::BuiltIn(metric) => Some(metric.as_str().to_owned()),
            Self::Own(id) => Some(format!("{OWN}{}", metric(id)?)),
        }
    }

    /// Reads what [`Measured::name`] writes.
    pub fn named(name: &str, metric: impl FnOnce(&str) -> MetricId) -> Option<Self> {
        match name.strip_prefix(OWN) {
            Some(own) => Some(Self::Own(metric(own))),
            None => BuiltIn::parse(name).map(Self::BuiltIn),
        }
    }
}

impl Stratum {
    /// Its word: `fixed`, `rollout`, or `rule:3`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Fixed => "fixed".to_owned(),
            Self::Rollout => "rollout".to_owned(),
            Self::Rule(index) => format!("rule:{index}"),
        }
    }

    /// Reads what [`Stratum::name`] writes.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "fixed" => Some(Self::Fixed),
            "rollout" => Some(Self::Rollout),
            other => Some(Self::Rule(other.strip_prefix("rule:")?.parse().ok()?)),
        }
    }

    /// The name under which what was drawn in it is kept.
    #[must_use]
    pub fn draw_part(self) -> String {
        format!("{}/{USERS}", self.name())
    }

    /// Reads what [`Stratum::draw_part`] writes.
    #[must_use]
    pub fn of_draw(part: &str) -> Option<Self> {
        let (stratum, what) = part.split_once('/')?;
        (what == USERS).then(|| Self::named(stratum)).flatten()
    }
}

impl CellKey {
    /// The name of the cell within its phase; `metric` tells the name of a metric of the file.
    pub fn part<'a>(&self, metric: impl FnOnce(MetricId) -> Option<&'a str>) -> Option<String> {
        Some(format!("{}/{}/{}", self.stratum.name(), self.arm, self.metric.name(metric)?))
    }

    /// Reads what [`CellKey::part`] writes; `metric` gives the number of a name.
    pub fn read(phase: Phase, part: &str, metric: impl FnOnce(&str) -> MetricId) -> Option<Self> {
        let mut words = part.splitn(3, '/');
        let stratum = Stratum::named(words.next()?)?;
        let arm = Arm::parse(words.next()?)?;
        let metric = Measured::named(words.next()?, metric)?;
        Some(Self { phase, stratum, arm, metric })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let phase = Phase(7);
        let strata = [Stratum::Fixed, Stratum::Rollout, Stratum::Rule(0), Stratum::Rule(999)];
        let metrics = [Measured::BuiltIn(BuiltIn::Latency), Measured::Own(MetricId(3))];
        for stratum in strata {
            assert_eq!(Stratum::of_draw(&stratum.draw_part()), Some(stratum));
            assert_eq!(CellKey::read(phase, &stratum.draw_part(), |_| MetricId(0)), None);
            for arm in Arm::ALL {
                for metric in metrics {
                    let key = CellKey { phase, stratum, arm, metric };
                    let part = key.part(|id| (id == MetricId(3)).then_some("latency")).unwrap();
                    let id = |name: &str| MetricId(if name == "latency" { 3 } else { 0 });
                    assert_eq!(CellKey::read(phase, &part, id), Some(key), "{part}");
                }
            }
        }
        for part in
            ["", "rollout", "rollout/control", "rollout/both/latency", "rule:x/control/latency", "fixed/control/no"]
        {
            assert_eq!(CellKey::read(phase, part, |_| MetricId(0)), None, "{part}");
        }
    }
}
