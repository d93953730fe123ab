//! What a condition sees: figures of both arms, out of a route's evidence. The controller and a rehearsal look alike.
//!
//! Against a number, everything counts that the candidate did. Beside control, only what a hash drew, by
//! the arm that was assigned, each stratum with its like: control's figure is weighted as the candidate's users are.

use std::collections::VecDeque;
use std::time::Duration;

use super::sequential::{Clusters, Question, Stratified, Tracker};
use super::{Asks, Comparator, Figure, Figures, Finding, Limit, Reading, Statistic, judge};
use crate::domain::Arm;
use crate::domain::breaker::Millis;
use crate::domain::evidence::{Cell, CellKey, Measured, RouteEvidence, Stratum, Sums};
use crate::domain::metric::{BuiltIn, Kind, MetricRef};
use crate::domain::phase::Phase;
use crate::domain::sketch::Sketch;
use crate::domain::window::Mergeable as _;

/// Samples of a window: how exact its age is.
const SAMPLES: u32 = 60;

/// How sure a test has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The chance that it is answered with yes although it is not so, over all looks together.
    pub alpha: f64,
    /// The difference for which it is tuned; `None` takes a share of the limit.
    pub margin: Option<f64>,
}

/// A metric in terms of what is added up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// Above the line.
    pub over: Measured,
    /// Below the line; `None` takes the counts.
    pub under: Option<Measured>,
    /// How many of the unit in which people are told it one of what is added up is.
    pub scale: f64,
}

/// Under which keys metrics are added up.
pub trait Metrics {
    /// What a metric is made of in an arm.
    fn parts(&self, metric: MetricRef, arm: Arm) -> Parts;
    /// What it counts.
    fn kind(&self, metric: MetricRef) -> Kind;
}

/// A metric of the gateway's own, by itself.
#[must_use]
pub const fn built_in(metric: BuiltIn) -> Parts {
    Parts { over: Measured::BuiltIn(metric), under: None, scale: metric.scale() }
}

/// Sums of one arm in one stratum.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    stratum: Stratum,
    over: Sums,
    /// Below the line.
    under: f64,
    requests: f64,
    users: f64,
}

/// Sums of both arms, by `Arm::index`, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    arms: [Vec<Row>; 2],
    times: [Option<Sketch>; 2],
    scale: f64,
}

/// Where conditions look.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// What there is to see.
    pub evidence: &'a RouteEvidence,
    /// Where metrics are in it.
    pub metrics: &'a dyn Metrics,
    /// The phase in which requests are now.
    pub phase: Phase,
}

impl<'a> Look<'a> {
    /// What a figure is made of, in all of the phase.
    pub fn tally(&self, figure: &Figure) -> Tally {
        let drawn_only = matches!(figure.limit, Limit::OfControl { .. });
        let mut tally = Tally { scale: self.metrics.parts(figure.metric, Arm::Candidate).scale, ..Tally::default() };
        for stratum in self.evidence.strata(self.phase).filter(|stratum| !(drawn_only && *stratum == Stratum::Fixed)) {
            for arm in Arm::ALL {
                let parts = self.metrics.parts(figure.metric, arm);
                let cell = |metric| self.evidence.cell(CellKey { phase: self.phase, stratum, arm, metric });
                let over = cell(parts.over).map(|cell| *cell.total()).unwrap_or_default();
                let under = match parts.under {
                    None => over.count,
                    Some(under) => cell(under).map_or(0.0, |cell| cell.total().sum),
                };
                let requests = cell(Measured::BuiltIn(BuiltIn::Requests)).map_or(0.0, |cell| cell.total().count);
                let users = self.users_of(stratum)[arm.index()];
                tally.arms[arm.index()].push(Row { stratum, over, under, requests, users });
                if figure.statistic.quantile().is_some()
                    && let Some(times) = cell(parts.over).and_then(Cell::times)
                {
                    tally.times[arm.index()].get_or_insert_default().merge(&times);
                }
            }
        }
        tally
    }

    /// Users who were drawn, by `Arm::index`.
    fn users_of(&self, stratum: Stratum) -> [f64; 2] {
        let draw = self.evidence.drawn(self.phase, stratum);
        draw.map_or([0.0; 2], |draw| {
            let users = draw.users.users();
            [users.only[0] + users.both, users.only[1] + users.both]
        })
    }

    /// Requests and users that a hash drew to the candidate in this phase.
    pub fn drawn(&self) -> (f64, f64) {
        let drawn = self.evidence.strata(self.phase).filter(|stratum| *stratum != Stratum::Fixed);
        drawn.fold((0.0, 0.0), |(requests, users), stratum| {
            let metric = Measured::BuiltIn(BuiltIn::Requests);
            let key = CellKey { phase: self.phase, stratum, arm: Arm::Candidate, metric };
            let more = self.evidence.cell(key).map_or(0.0, |cell| cell.total().count);
            (requests + more, users + self.users_of(stratum)[Arm::Candidate.index()])
        })
    }

    /// Tests a figure over the phases of a run; `tracker` remembers the last look.
    #[must_use]
    pub fn test(&self, figure: &Figure, phases: &[u32], level: Level, tracker: &mut Tracker) -> Finding {
        let [control, candidate] = Arm::ALL.map(|arm| self.metrics.parts(figure.metric, arm));
        let compares = matches!(figure.limit, Limit::OfControl { .. });
        let mut strata = Vec::new();
        for phase in phases.iter().copied().map(Phase) {
            for stratum in self.evidence.strata(phase).filter(|stratum| *stratum != Stratum::Fixed) {
                let of = |arm, parts| self.clusters(phase, stratum, arm, parts);
                let against = if compares { of(Arm::Control, control) } else { None };
                if let Some(candidate) = of(Arm::Candidate, candidate)
                    && (against.is_some() || !compares)
                {
                    strata.push(Stratified { id: (phase, stratum), candidate, control: against });
                }
            }
        }
        let is_share = self.metrics.kind(figure.metric) == Kind::Occurrence;
        let (comparator, limit, scale) = (figure.comparator, figure.limit, candidate.scale);
        tracker.ask(&Question { comparator, limit, scale, alpha: level.alpha, margin: level.margin, is_share }, &strata)
    }

    fn clusters(&self, phase: Phase, stratum: Stratum, arm: Arm, parts: Parts) -> Option<Clusters<'a>> {
        let cell = |metric| self.evidence.cell(CellKey { phase, stratum, arm, metric });
        let cell = |metric| cell(metric).filter(|cell| !cell.buckets().is_empty());
        let under = match parts.under {
            Some(under) => Some(cell(under)?),
            None => None,
        };
        let over = cell(parts.over)?;
        let trails = [Some(over.trail()), under.map(Cell::trail)];
        Some(Clusters { over: over.buckets(), under: under.map(Cell::buckets), trails })
    }
}

impl Tally {
    /// What came after an earlier moment of the same phase.
    fn since(&self, earlier: &Self) -> Self {
        let rows = |now: &[Row], then: &[Row]| {
            let less = |row: &Row| match then.iter().find(|before| before.stratum == row.stratum) {
                None => *row,
                Some(before) => Row {
                    over: Sums {
                        count: row.over.count - before.over.count,
                        sum: row.over.sum - before.over.sum,
                        squares: row.over.squares - before.over.squares,
                    },
                    under: row.under - before.under,
                    requests: row.requests - before.requests,
                    ..*row
                },
            };
            now.iter().map(less).collect()
        };
        let times = |arm: usize| match (&self.times[arm], &earlier.times[arm]) {
            (Some(now), Some(then)) => Some(now.since(then)),
            (now, _) => now.clone(),
        };
        Self {
            arms: [rows(&self.arms[0], &earlier.arms[0]), rows(&self.arms[1], &earlier.arms[1])],
            times: [times(0), times(1)],
            scale: self.scale,
        }
    }

    /// The figures that a condition is judged by, over so many hours. `frozen` stands for control where
    /// control has nobody.
    pub fn figures(&self, figure: &Figure, hours: f64, is_partial: bool, frozen: Option<Reading>) -> Figures {
        let is_partial = is_partial && figure.statistic.accumulates();
        let candidate = self.reading(figure.statistic, Arm::Candidate, hours);
        let control = match figure.limit {
            Limit::Number(_) => None,
            Limit::OfControl { .. } => frozen.or_else(|| self.control_beside_candidate(figure.statistic, hours)),
        };
        Figures { candidate, control, is_partial }
    }

    fn reading(&self, statistic: Statistic, arm: Arm, hours: f64) -> Option<Reading> {
        let rows = &self.arms[arm.index()];
        let sum = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
        let (over, under, count) = (sum(|row| row.over.sum), sum(|row| row.under), sum(|row| row.over.count));
        let (value, samples) = match statistic {
            Statistic::Rate | Statistic::Mean => (over / under * self.scale, count),
            Statistic::Sum => (over * self.scale, count),
            Statistic::Count => (count, count),
            Statistic::PerHour => (over * self.scale / hours, count),
            Statistic::PerUser => {
                let users = sum(|row| row.users);
                (over * self.scale / users, users)
            }
            Statistic::P50 | Statistic::P95 | Statistic::P99 => {
                let times = self.times[arm.index()].as_ref()?;
                (times.quantile(statistic.quantile()?)? * self.scale, times.count() as f64)
            }
        };
        value.is_finite().then_some(Reading { value, samples })
    }

    /// Control's figure, weighted by strata as the candidate's is; what only grows, for as many requests.
    fn control_beside_candidate(&self, statistic: Statistic, hours: f64) -> Option<Reading> {
        let [control, candidate] = &self.arms;
        let pairs = || {
            let beside = |row: &Row| candidate.iter().find(|other| other.stratum == row.stratum).copied();
            control.iter().filter_map(move |row| Some((*row, beside(row)?)))
        };
        let samples: f64 = pairs().map(|(control, _)| control.over.count).sum();
        let value = match statistic {
            Statistic::Rate | Statistic::Mean => {
                let both = pairs().filter(|(control, candidate)| control.under > 0.0 && candidate.under > 0.0);
                let (sum, weight) = both.fold((0.0, 0.0), |(sum, weight), (control, candidate)| {
                    (sum + candidate.under * control.over.sum / control.under, weight + candidate.under)
                });
                sum / weight * self.scale
            }
            Statistic::Sum | Statistic::Count | Statistic::PerHour => {
                let both = pairs().filter(|(control, _)| control.requests > 0.0);
                let sum: f64 = both
                    .map(|(control, candidate)| {
                        let whole = if statistic == Statistic::Count { control.over.count } else { control.over.sum };
                        whole * candidate.requests / control.requests
                    })
                    .sum();
                let time = if statistic == Statistic::PerHour { hours } else { 1.0 };
                if statistic == Statistic::Count { sum } else { sum * self.scale / time }
            }
            Statistic::PerUser | Statistic::P50 | Statistic::P95 | Statistic::P99 => {
                return self.reading(statistic, Arm::Control, hours);
            }
        };
        value.is_finite().then_some(Reading { value, samples })
    }

    /// Control's own figure, to be remembered for when there is no control.
    pub fn baseline(&self, statistic: Statistic, hours: f64) -> Option<Reading> {
        self.control_beside_candidate(statistic, hours)
    }
}

/// The last stretch of a figure: what a guard looks at.
#[derive(Debug, Default)]
pub struct Ring {
    phase: Option<Phase>,
    samples: VecDeque<(Millis, Tally)>,
}

impl Ring {
    /// What happened in the window that ends now, how many hours it holds, and whether it is shorter than asked for.
    /// Of a phase that has just begun (`is_new`) everything counts, from its first request on.
    pub fn slide(
        &mut self,
        (phase, is_new): (Phase, bool),
        tally: Tally,
        window: Duration,
        now: Millis,
    ) -> (Tally, f64, bool) {
        if self.phase.replace(phase) != Some(phase) {
            self.samples.clear();
            if is_new {
                self.samples.push_back((now, Tally::default()));
            }
        }
        let length = window.as_millis() as Millis;
        let begins = now.saturating_sub(length);
        while self.samples.get(1).is_some_and(|(at, _)| *at <= begins) {
            self.samples.pop_front();
        }
        let (since, is_partial) = match self.samples.front() {
            None => (Tally::default(), true),
            Some((at, before)) => (tally.since(before), *at > begins),
        };
        let step = length / Millis::from(SAMPLES);
        if self.samples.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= step) {
            self.samples.push_back((now, tally));
        }
        (since, window.as_secs_f64() / 3_600.0, is_partial)
    }
}

/// Judges a condition's figures; what has none is answered by the route's health.
pub fn judged(
    asks: &Asks,
    figures: impl FnOnce(&Figure) -> Figures,
    min_samples: f64,
    breaker_open: bool,
    gate_shut: bool,
) -> Finding {
    match asks {
        Asks::BreakerOpen => Finding::of_truth(breaker_open),
        Asks::QualityGateShut => Finding::of_truth(gate_shut),
        Asks::Figure(figure) => {
            // A sum has as many values as there were.
            let least = if figure.statistic.accumulates() { 0.0 } else { min_samples };
            let mut figures = figures(figure);
            if figure.statistic.accumulates() && figures.candidate.is_none() && figure.comparator == Comparator::Above {
                figures.candidate = Some(Reading { value: 0.0, samples: 0.0 });
            }
            judge(figure.comparator, figure.limit, &figures, least)
        }
    }
}
