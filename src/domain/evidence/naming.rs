//! The names under which cells are kept: `rollout/candidate/latency`, `rule:3/control/own.quality`.

use super::super::Arm;
use super::super::metric::{BuiltIn, MetricId};
use super::super::phase::Phase;
use super::{CellKey, Measured, Stratum};

/// Under which the users of a phase are kept.
pub const USERS: &str = "users";

/// Before the names of a file's metrics, so that they cannot be taken for the gateway's own.
const OWN: &str = "own.";

impl CellKey {
    /// The name of the cell within its phase; `metric` tells the name of a metric of the file.
    pub fn part<'a>(&self, metric: impl FnOnce(MetricId) -> Option<&'a str>) -> Option<String> {
        let stratum = match self.stratum {
            Stratum::Fixed => "fixed".to_owned(),
            Stratum::Rollout => "rollout".to_owned(),
            Stratum::Rule(index) => format!("rule:{index}"),
        };
        let (mark, metric) = match self.metric {
            Measured::BuiltIn(metric) => ("", metric.as_str()),
            Measured::Own(id) => (OWN, metric(id)?),
        };
        Some(format!("{stratum}/{}/{mark}{metric}", self.arm))
    }

    /// Reads what [`CellKey::part`] writes; `metric` gives the number of a name.
    pub fn read(phase: Phase, part: &str, metric: impl FnOnce(&str) -> MetricId) -> Option<Self> {
        let mut words = part.splitn(3, '/');
        let stratum = match words.next()? {
            "fixed" => Stratum::Fixed,
            "rollout" => Stratum::Rollout,
            other => Stratum::Rule(other.strip_prefix("rule:")?.parse().ok()?),
        };
        let arm = Arm::parse(words.next()?)?;
        let name = words.next()?;
        let metric = match name.strip_prefix(OWN) {
            Some(own) => Measured::Own(metric(own)),
            None => Measured::BuiltIn(BuiltIn::parse(name)?),
        };
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
