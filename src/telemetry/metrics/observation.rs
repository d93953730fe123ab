//! Everything that one scrape looks at, read once, so that all families tell of the same moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::alerts::Alerts;
use crate::clock;
use crate::controller::rollout::{Rollouts, View};
use crate::domain::breaker::Millis;
use crate::domain::budget::Day;
use crate::events::Intake;
use crate::live::{Jwks, Live, ReloadStatus, Snapshot};
use crate::measure::RouteTotals;
use crate::measure::counters::{Counter, WorkerCounters};

/// See the module.
#[derive(Debug)]
pub struct Observation<'a> {
    pub(super) live: &'a Live,
    pub(super) intake: &'a Intake,
    pub(super) alerts: &'a Alerts,
    /// By the route's name.
    pub(super) rollouts: BTreeMap<Arc<str>, View>,
    pub(super) snapshot: Arc<Snapshot>,
    /// In the order of the snapshot's routes.
    pub(super) totals: Vec<RouteTotals>,
    pub(super) reloads: ReloadStatus,
    pub(super) access_dropped: u64,
    pub(super) now: Millis,
    pub(super) day: Day,
    pub(super) uptime: Duration,
    pub(super) resident_bytes: Option<u64>,
}

impl<'a> Observation<'a> {
    /// Looks at everything.
    #[must_use]
    pub fn of(
        live: &'a Live,
        intake: &'a Intake,
        alerts: &'a Alerts,
        rollouts: &Rollouts,
        access_dropped: u64,
    ) -> Self {
        let (snapshot, rollouts) = (live.snapshot(), rollouts.all());
        let totals = snapshot.routes.iter().map(|route| route.totals()).collect();
        let reloads = live.reloads().clone();
        let (now, day, uptime) = (clock::now_millis(), clock::utc_day(), clock::uptime());
        let resident_bytes = resident_bytes();
        Self {
            live,
            intake,
            alerts,
            rollouts,
            snapshot,
            totals,
            reloads,
            access_dropped,
            now,
            day,
            uptime,
            resident_bytes,
        }
    }

    /// The published keys, where there is a place to fetch them from.
    pub(super) fn jwks(&self) -> impl Iterator<Item = &Jwks> {
        self.snapshot.jwks.iter().map(|jwks| &**jwks)
    }

    /// A worker's counter, summed over the workers.
    pub(super) fn workers(&self, pick: impl Fn(&WorkerCounters) -> &Counter) -> u64 {
        self.live.workers.iter().map(|worker| pick(worker).get()).sum()
    }
}

/// Memory in use, as Linux tells it; `None` elsewhere.
fn resident_bytes() -> Option<u64> {
    /// Of the "kB" that the file counts in.
    const KIB: u64 = 1024;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * KIB)
}
