//! Sums over the answers, by the arm that gave them, in bounded memory.
//!
//! Times are those of all queries, failed ones among them: a timeout that was left out would make a slow
//! backend look fast.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::connection::Failure;
use crate::domain::Arm;
use crate::domain::sketch::Sketch;

/// Who answered, as far as the answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Control,
    Candidate,
    /// There was no answer, or the gateway tells strangers nothing.
    Unknown,
}

impl Group {
    pub(super) const ALL: [Self; 3] = [Self::Control, Self::Candidate, Self::Unknown];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Candidate => "candidate",
            Self::Unknown => "unknown",
        }
    }

    pub(super) const fn of(arm: Option<Arm>) -> Self {
        match arm {
            Some(Arm::Control) => Self::Control,
            Some(Arm::Candidate) => Self::Candidate,
            None => Self::Unknown,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Candidate => 1,
            Self::Unknown => 2,
        }
    }
}

/// How a query ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Who asked, below the number of users.
    pub(super) user: u32,
    /// Who answered.
    pub(super) arm: Option<Arm>,
    /// The status, once the whole body had come.
    pub(super) ended: Result<StatusCode, Failure>,
    /// From the time when it was to begin to its end.
    pub(super) latency: Duration,
    /// How good the answer is, as it says.
    pub(super) score: Option<f64>,
    /// What its tokens cost.
    pub(super) cost: Option<f64>,
}

impl Outcome {
    /// Whether it was answered 2xx.
    pub(super) fn is_success(&self) -> bool {
        self.ended.as_ref().is_ok_and(StatusCode::is_success)
    }
}

/// Figures of one arm, or of all together. What cannot be told is `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Queries that ended, well or not.
    pub(super) queries: u64,
    /// Distinct users of them.
    pub(super) users: u64,
    /// Queries a second.
    pub(super) rate: f64,
    /// Those that were not answered 2xx.
    pub(super) errors: u64,
    /// Their share.
    pub(super) error_rate: Option<f64>,
    /// The share of the others.
    pub(super) success_rate: Option<f64>,
    /// Milliseconds; quantiles are within 1 %.
    pub(super) average_ms: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// The longest, exactly.
    pub(super) max_ms: Option<f64>,
    /// The sum of what is known.
    pub(super) cost: Option<f64>,
    /// The mean over the answers whose cost is known.
    pub(super) cost_per_query: Option<f64>,
    /// The mean over the answers that tell one.
    pub(super) score: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    sum: f64,
}

impl Sum {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.count += 1;
            self.sum += value;
        }
    }

    fn total(self) -> Option<f64> {
        (self.count > 0).then_some(self.sum)
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// One arm, or all together.
#[derive(Debug, Clone, Default)]
struct Cell {
    times: Sketch,
    millis: Sum,
    max: Duration,
    errors: u64,
    /// A bit for each user.
    users: Vec<u64>,
    cost: Sum,
    score: Sum,
}

impl Cell {
    fn new(users: u32) -> Self {
        Self { users: vec![0; users.div_ceil(u64::BITS) as usize], ..Self::default() }
    }

    fn record(&mut self, outcome: &Outcome) {
        self.times.add(u64::try_from(outcome.latency.as_micros()).unwrap_or(u64::MAX));
        self.millis.add(Some(millis(outcome.latency)));
        self.max = self.max.max(outcome.latency);
        self.errors += u64::from(!outcome.is_success());
        if let Some(word) = self.users.get_mut((outcome.user / u64::BITS) as usize) {
            *word |= 1 << (outcome.user % u64::BITS);
        }
        self.cost.add(outcome.cost);
        self.score.add(outcome.score);
    }

    fn figures(&self, length: Duration) -> Figures {
        let queries = self.millis.count;
        let share = |part: u64| (queries > 0).then(|| part as f64 / queries as f64);
        let quantile = |q: f64| self.times.quantile(q).map(|micros| micros / 1e3);
        Figures {
            queries,
            users: self.users.iter().map(|word| u64::from(word.count_ones())).sum(),
            rate: if length.is_zero() { 0.0 } else { queries as f64 / length.as_secs_f64() },
            errors: self.errors,
            error_rate: share(self.errors),
            success_rate: share(queries - self.errors),
            average_ms: self.millis.mean(),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: (queries > 0).then(|| millis(self.max)),
            cost: self.cost.total(),
            cost_per_query: self.cost.mean(),
            score: self.score.mean(),
        }
    }
}

/// All sums of a run.
#[derive(Debug)]
pub(super) struct Tally {
    total: Cell,
    groups: [Cell; 3],
    /// By status or failure: statuses have three digits, so there are at most 900.
    endings: BTreeMap<u16, u64>,
    failures: [u64; Failure::ALL.len()],
    /// The latest failure, in words.
    last_failure: Option<String>,
}

impl Tally {
    /// Sums over so many users.
    pub(super) fn new(users: u32) -> Self {
        Self {
            total: Cell::new(users),
            groups: [(); 3].map(|()| Cell::new(users)),
            endings: BTreeMap::new(),
            failures: [0; Failure::ALL.len()],
            last_failure: None,
        }
    }

    /// Counts a query that ended.
    pub(super) fn record(&mut self, outcome: &Outcome) {
        self.total.record(outcome);
        self.groups[Group::of(outcome.arm).index()].record(outcome);
        match &outcome.ended {
            Ok(status) => *self.endings.entry(status.as_u16()).or_default() += 1,
            Err(failure) => {
                self.failures[failure.index()] += 1;
                self.last_failure = Some(failure.to_string());
            }
        }
    }

    /// How many ended, and how many of them badly.
    pub(super) const fn progress(&self) -> (u64, u64) {
        (self.total.millis.count, self.total.errors)
    }

    /// What the latest failure was.
    pub(super) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// The figures, of a run that took so long.
    pub(super) fn sums(&self, length: Duration) -> Sums {
        let statuses = self.endings.iter().map(|(status, count)| (status.to_string(), *count));
        let failures = Failure::ALL.iter().zip(self.failures).filter(|(_, count)| *count > 0);
        let failures = failures.map(|(name, count)| ((*name).to_owned(), count));
        Sums {
            total: self.total.figures(length),
            groups: Group::ALL.map(|group| self.groups[group.index()].figures(length)),
            endings: statuses.chain(failures).collect(),
        }
    }
}

/// [`Tally`] at its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sums {
    /// All together.
    pub(super) total: Figures,
    /// As [`Group::ALL`].
    groups: [Figures; 3],
    /// How many ended with which status or failure.
    pub(super) endings: BTreeMap<String, u64>,
}

impl Sums {
    /// Those of an arm.
    pub(super) const fn group(&self, group: Group) -> &Figures {
        &self.groups[group.index()]
    }
}

/// A time in milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_arm_and_together() {
        let mut tally = Tally::new(100);
        let answer = |user, arm, status, millis| Outcome {
            user,
            arm,
            ended: StatusCode::from_u16(status).map_err(|_| Failure::Timeout),
            latency: Duration::from_millis(millis),
            score: (status == 200).then_some(0.5),
            cost: None,
        };
        for outcome in [
            answer(0, Some(Arm::Control), 200, 10),
            answer(0, Some(Arm::Control), 200, 30),
            answer(99, Some(Arm::Candidate), 503, 20),
            Outcome { cost: Some(0.25), ..answer(64, Some(Arm::Candidate), 200, 20) },
            answer(5, None, 0, 1_000),
        ] {
            tally.record(&outcome);
        }
        let sums = tally.sums(Duration::from_secs(2));
        let control = sums.group(Group::Control);
        assert_eq!((control.queries, control.users, control.errors, control.cost), (2, 1, 0, None));
        assert_eq!((control.average_ms, control.max_ms, control.success_rate), (Some(20.0), Some(30.0), Some(1.0)));
        let candidate = sums.group(Group::Candidate);
        assert_eq!((candidate.users, candidate.error_rate, candidate.score), (2, Some(0.5), Some(0.5)));
        assert_eq!((candidate.cost, candidate.cost_per_query), (Some(0.25), Some(0.25)));
        assert_eq!((sums.group(Group::Unknown).errors, sums.total.queries, sums.total.rate), (1, 5, 2.5));
        assert!(sums.total.p99_ms.is_some_and(|p99| (990.0..=1_010.0).contains(&p99)), "{:?}", sums.total);
        let endings: Vec<_> = sums.endings.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(endings, [("200", 3), ("503", 1), ("timeout", 1)]);
        let none = Tally::new(1).sums(Duration::ZERO);
        assert_eq!(none.total, Figures::default());
    }
}
