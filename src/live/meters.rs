//! Which metrics are read from an answer, by arm, ready for the request path.
//!
//! Metrics keep their [`MetricId`] for as long as the process lives, so that values under way across a
//! reload still count for the metric that they are of.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;

use crate::config::model::{Metric, MetricIndex, MetricSource};
use crate::domain::Arm;
use crate::domain::metric::{Kind, MetricId, Usage};
use crate::domain::reading::Number;

/// What is read from the answers of one arm.
#[derive(Debug, Clone, Default)]
pub struct ArmMeters {
    /// From response headers.
    pub headers: Vec<(MetricId, Kind, HeaderName)>,
    /// From JSON answers.
    pub json: Vec<Number>,
    /// From what a language model's answer tells of its use.
    pub usage: Vec<(MetricId, Kind, Usage)>,
}

/// What is read from answers.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    arms: [ArmMeters; 2],
    ids: Vec<MetricId>,
}

impl Meters {
    /// What is read from an arm's answers.
    #[must_use]
    pub const fn of(&self, arm: Arm) -> &ArmMeters {
        &self.arms[arm.index()]
    }

    /// The number of a metric of the running configuration.
    #[must_use]
    pub fn id(&self, metric: MetricIndex) -> MetricId {
        self.ids[metric]
    }
}

/// The numbers of all metrics that there have been, by name.
#[derive(Debug, Default)]
pub(super) struct MetricIds(HashMap<Arc<str>, MetricId>);

impl MetricIds {
    /// The number of a name; a new name gets a new number.
    pub(super) fn of(&mut self, name: &Arc<str>) -> MetricId {
        let next = MetricId(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        *self.0.entry(Arc::clone(name)).or_insert(next)
    }

    /// All names, by number.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let mut named: Vec<_> = self.0.iter().map(|(name, id)| (*id, Arc::clone(name))).collect();
        named.sort_unstable();
        named.into_iter().map(|(_, name)| name).collect()
    }

    /// What a configuration reads from answers; new names get new numbers.
    pub(super) fn meters(&mut self, metrics: &[Metric]) -> Meters {
        let mut meters = Meters::default();
        for metric in metrics {
            let id = self.of(&metric.name);
            meters.ids.push(id);
            for (arm, source) in meters.arms.iter_mut().zip(&metric.sources) {
                match source {
                    MetricSource::Header(name) => arm.headers.push((id, metric.kind, name.clone())),
                    MetricSource::Json(pointer) => {
                        arm.json.push(Number { metric: id, kind: metric.kind, pointer: pointer.clone() });
                    }
                    MetricSource::Usage(usage) => arm.usage.push((id, metric.kind, *usage)),
                    MetricSource::Event(_) | MetricSource::Ratio(_) => {}
                }
            }
        }
        meters
    }
}
