//! What Pointsman's own guards have to do, as figures that anybody can check again.
//!
//! Four sequential guards (errors, latency, quality, refusals) share the usual error budget, among users of whom a few
//! ask much and who differ from each other.

use std::time::Duration;

use super::{Course, Courses, Crowd, End, Made, Nature, Pace, Subject, Traffic, World, run};
use crate::domain::Arm;
use crate::domain::evidence::Measured;
use crate::domain::guard::{
    Action, Asks, Baseline, Comparator, Condition, Figure, Guard, Limit, Metrics, Parts, Statistic, Test, built_in,
};
use crate::domain::metric::{BuiltIn, Kind, MetricId, MetricRef};
use crate::domain::percent::Percent;
use crate::domain::rollout::{Plan, Stage, Stages};

/// Metrics of the file: quality is the first, whether an answer was a refusal the second.
#[derive(Debug)]
struct Own;

impl Metrics for Own {
    fn parts(&self, metric: MetricRef, _: Arm) -> Parts {
        match metric {
            MetricRef::BuiltIn(metric) => built_in(metric),
            MetricRef::Own(place) => Parts { over: own(place), under: None, scale: 1.0 },
        }
    }

    fn kind(&self, metric: MetricRef) -> Kind {
        match metric {
            MetricRef::BuiltIn(metric) => metric.kind(),
            MetricRef::Own(QUALITY) => Kind::Value,
            MetricRef::Own(_) => Kind::Occurrence,
        }
    }
}

const QUALITY: usize = 0;
const REFUSED: usize = 1;

const fn own(place: usize) -> Measured {
    Measured::Own(MetricId(place as u16))
}

/// One thing that guards have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A dead candidate is rolled back within ten attempts.
    Dead,
    /// Quality that falls from 0.85 to 0.70 is caught within 120 scores.
    Quality,
    /// Errors that double from 5 % are caught within 2,000 requests.
    Errors,
    /// Of rollouts of an equal candidate at most 1 % are rolled back.
    Equal,
}

impl Demand {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Dead, Self::Quality, Self::Errors, Self::Equal];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Dead => "a dead candidate is rolled back within 10 attempts",
            Self::Quality => "quality of 0.70 instead of 0.85 (sd 0.2) is caught within 120 scores in 95 % of runs",
            Self::Errors => "10 % errors instead of 5 % are caught within 2,000 candidate requests in 95 % of runs",
            Self::Equal => "of whole rollouts of an equal candidate at most 1 % are rolled back",
        }
    }

    /// Runs of the whole trial.
    #[must_use]
    pub const fn runs(self) -> u64 {
        match self {
            Self::Dead | Self::Quality | Self::Errors => 500,
            Self::Equal => 2_000,
        }
    }

    /// One run.
    #[must_use]
    pub fn run(self, seed: u64) -> Course {
        let (plan, crowd, rate) = match self {
            Self::Dead | Self::Quality | Self::Errors => (Plan::Fixed(percent(SHARE)), Crowd::Passing, 4.0),
            Self::Equal => (staged(), Crowd::Returning { users: 5_000, skew: 1.0 }, 4.0),
        };
        let guards = guards();
        let subject = Subject {
            plan: &plan,
            gates: &[],
            guards: &guards,
            error_budget: 0.01,
            abort_on_failures: true,
            metrics: &Own,
        };
        let horizon = match self {
            Self::Dead | Self::Quality => Duration::from_secs(600),
            Self::Errors | Self::Equal => Duration::from_secs(12_000),
        };
        let world = self.world(crowd, rate);
        run(&subject, Traffic::World(&world), Pace { look: Duration::from_secs(1), horizon }, seed)
    }

    fn world(self, crowd: Crowd, rate: f64) -> World {
        let share = |metric, means| Made { metric, nature: Nature::Share, means, timed: false };
        let errors = match self {
            Self::Dead => [0.05, DEAD],
            Self::Errors => [0.05, 0.10],
            Self::Quality | Self::Equal => [0.05; 2],
        };
        let quality = if self == Self::Quality { [0.85, 0.70] } else { [0.85; 2] };
        let metrics = vec![
            share(Measured::BuiltIn(BuiltIn::AttemptErrors), errors),
            Made {
                metric: Measured::BuiltIn(BuiltIn::AttemptLatency),
                nature: Nature::Amount { variation: 0.7 },
                means: [300_000.0; 2],
                timed: false,
            },
            Made { metric: own(QUALITY), nature: Nature::Score { deviation: 0.2 }, means: quality, timed: false },
            share(own(REFUSED), [0.02; 2]),
        ];
        World { crowd, rate, metrics, failures: Some(0), between_users: 0.3 }
    }

    /// The share of runs that did what they should.
    #[must_use]
    pub fn kept(self, courses: &Courses) -> f64 {
        let guard = |place: usize, most: u64| courses.acted(place).filter(|moment| moment.requests <= most).count();
        let kept = match self {
            Self::Dead => guard(guards().len(), 10),
            Self::Quality => guard(2, 120),
            Self::Errors => guard(0, 2_000),
            Self::Equal => courses.count() - courses.ended(End::RolledBack),
        };
        kept as f64 / courses.count().max(1) as f64
    }

    /// Whether enough runs did.
    #[must_use]
    pub fn holds(self, courses: &Courses) -> bool {
        self.kept(courses) >= self.wanted()
    }

    /// The share of runs that have to.
    #[must_use]
    pub const fn wanted(self) -> f64 {
        match self {
            Self::Dead => 1.0,
            Self::Quality | Self::Errors => 0.95,
            Self::Equal => 0.99,
        }
    }
}

/// The candidate's share where there is no plan, in percent.
const SHARE: f64 = 25.0;
/// No request succeeds, whoever asks.
const DEAD: f64 = 1e9;

fn percent(number: f64) -> Percent {
    Percent::new(number).unwrap_or(Percent::ZERO)
}

/// 5,250 looks, a second each.
fn staged() -> Plan {
    let stage = |(name, share, hold)| Stage { hold: Duration::from_secs(hold), ..Stage::new(name, percent(share)) };
    let stages = [("1", 1.0, 1_000), ("5", 5.0, 1_250), ("25", 25.0, 1_250), ("50", 50.0, 1_250)];
    let stages = stages.into_iter().map(stage).collect();
    Plan::Staged(Stages { stages, watch: Duration::from_secs(500), run: None })
}

fn guards() -> Vec<Guard> {
    let errors = MetricRef::BuiltIn(BuiltIn::AttemptErrors);
    let latency = MetricRef::BuiltIn(BuiltIn::AttemptLatency);
    vec![
        guard("errors", errors, Statistic::Rate, Comparator::Above, 0.02),
        guard("latency", latency, Statistic::Mean, Comparator::Above, 30.0),
        guard("quality", MetricRef::Own(QUALITY), Statistic::Mean, Comparator::Below, 0.05),
        guard("refusals", MetricRef::Own(REFUSED), Statistic::Rate, Comparator::Above, 0.02),
    ]
}

fn guard(name: &str, metric: MetricRef, statistic: Statistic, comparator: Comparator, margin: f64) -> Guard {
    let limit = Limit::OfControl { factor: 1.0, offset: 0.0 };
    let asks = Asks::Figure(Figure { metric, statistic, comparator, limit, confidence: None });
    Guard {
        name: name.into(),
        condition: Condition { text: format!("{name} {} control", comparator.as_str()).into(), asks },
        window: Duration::from_secs(300),
        hold_for: Duration::ZERO,
        min_samples: 20,
        action: Action::Rollback,
        test: Test::Sequential { margin },
        on_no_data: Duration::from_secs(3_600),
        baseline: Baseline::Live,
    }
}
