//! One A/A trial after the other: two arms that are alike, looked at 40 times, through the gateway's own evidence and
//! comparison. What is called a difference then is a false alarm.
//!
//! Users differ in liking and, with a heavy tail, in how often they come; they keep coming after they came first, so the
//! metric is open-ended. A seed makes every number.

use pointsman::domain::Arm;
use pointsman::domain::evidence::{CellKey, Drawn, Measured, Observation, RouteEvidence, Stratum};
use pointsman::domain::experiment::{Comparison, Metric, Part, Role, Settings, Term, compare, counted};
use pointsman::domain::metric::{Better, Kind, MetricId};
use pointsman::domain::phase::Phase;
use pointsman::domain::statistics::distributions::normal_quantile;
use pointsman::domain::statistics::{Estimate, means, mismatch, sequential};

/// Looks at one trial.
pub(crate) const LOOKS: usize = 40;
/// The level of every test.
pub(crate) const ALPHA: f64 = 0.05;
/// Relative to the arms' mean of 1: the difference for which always-valid tests are tuned.
const EFFECT: f64 = 0.05;
/// Tests begin with so many users in each arm.
pub(crate) const MIN_USERS: f64 = 100.0;

pub(crate) const MEASURED: Measured = Measured::Own(MetricId(0));

/// How trials are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Trials.
    pub(crate) trials: usize,
    /// Users of each.
    pub(crate) users: usize,
    /// The candidate's percentage in each third of the looks.
    pub(crate) percentages: [f64; 3],
    /// The candidate's mean less control's.
    pub(crate) difference: f64,
}

/// In how many trials each test raised an alarm.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Alarms {
    /// Requests as if they were independent, one look at the end.
    pub(crate) requests_once: usize,
    /// The same, at any look.
    pub(crate) requests_peeking: usize,
    /// Requests as if they were independent, always-valid, at any look.
    pub(crate) requests_always_valid: usize,
    /// Clustered by user, one look at the end.
    pub(crate) users_once: usize,
    /// The same, at any look.
    pub(crate) users_peeking: usize,
    /// Clustered by user, always-valid, at any look: what reports decide by.
    pub(crate) always_valid: usize,
    /// The same one-sided, as guards use it.
    pub(crate) guard: usize,
    /// By spending the level on looks, at any of them.
    pub(crate) robust: usize,
    /// Sample ratio mismatch at 0.001, always-valid, at any look.
    pub(crate) mismatch: usize,
}

/// Numbers from a seed (splitmix64), the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        normal_quantile(self.unit())
    }
}

/// Who comes, how often, and what for.
pub(crate) struct User {
    pub(crate) sample: u64,
    pub(crate) bucket: u16,
    pub(crate) percentage: f64,
    pub(crate) liking: f64,
    /// Requests a look.
    rate: f64,
    first_look: usize,
}

impl User {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            sample: random.next(),
            bucket: (random.next() % 1_024) as u16,
            percentage: random.unit() * 100.0,
            liking: 0.5 * random.normal(),
            rate: 0.25 * (1.2 * random.normal()).exp(),
            first_look: (random.unit() * (LOOKS / 2) as f64) as usize,
        }
    }

    /// How many requests there are until a look.
    pub(crate) fn requests(&self, look: usize, random: &mut Random) -> usize {
        if self.first_look <= look { (self.rate + random.unit()) as usize } else { 0 }
    }
}

/// Runs the trials.
pub(crate) fn run(setup: Setup, seed: u64) -> Alarms {
    let mut alarms = Alarms::default();
    for trial in 0..setup.trials {
        let mut random = Random(seed.wrapping_add((trial as u64) << 32));
        let found = one(setup, &mut random);
        for (count, alarm) in [
            (&mut alarms.requests_once, found.requests_once),
            (&mut alarms.requests_peeking, found.requests_peeking),
            (&mut alarms.requests_always_valid, found.requests_always_valid),
            (&mut alarms.users_once, found.users_once),
            (&mut alarms.users_peeking, found.users_peeking),
            (&mut alarms.always_valid, found.always_valid),
            (&mut alarms.guard, found.guard),
            (&mut alarms.robust, found.robust),
            (&mut alarms.mismatch, found.mismatch),
        ] {
            *count += alarm.min(1);
        }
    }
    alarms
}

fn one(setup: Setup, random: &mut Random) -> Alarms {
    let users: Vec<User> = (0..setup.users).map(|_| User::new(random)).collect();
    let (metric, settings) = (metric(), Settings::default());
    let (mut evidence, mut alarms) = (RouteEvidence::default(), Alarms::default());
    let mut robust_look = 0;
    for look in 0..LOOKS {
        let stage = look * setup.percentages.len() / LOOKS;
        traffic(setup, stage, look, &users, random, &mut evidence);
        let counted = counted(&evidence, &settings);
        let Ok(found) = compare(&evidence, &counted, &metric) else { continue };
        let seen = mismatch_of(&counted, &mut alarms);
        if seen.iter().any(|users| *users < MIN_USERS) {
            continue;
        }
        robust_look += 1;
        let requests = requests_apart(&evidence);
        judge(&found, requests, look == LOOKS - 1, robust_look, &mut alarms);
    }
    alarms
}

fn traffic(setup: Setup, stage: usize, look: usize, users: &[User], random: &mut Random, evidence: &mut RouteEvidence) {
    let percent = setup.percentages[stage];
    let (phase, stratum) = (Phase(percent.to_bits() as u32 ^ (percent.to_bits() >> 32) as u32), Stratum::Rollout);
    for user in users {
        let arm = if user.percentage <= percent { Arm::Candidate } else { Arm::Control };
        let shift = if arm == Arm::Candidate { setup.difference } else { 0.0 };
        for _ in 0..user.requests(look, random) {
            let value = 1.0 + shift + user.liking + random.normal();
            let key = CellKey { phase, stratum, arm, metric: MEASURED };
            evidence.observe(key, Observation { bucket: Some(user.bucket), value, day: 0 }, false);
            let drawn = Drawn { percent, at: look as i64 * 60, user: Some(user.sample), arm, measured: true };
            evidence.draw(phase, stratum, drawn);
        }
    }
}

/// The difference and its variance as if requests were independent, of all requests poured together, as it is often done.
fn requests_apart(evidence: &RouteEvidence) -> Option<Estimate> {
    let mut sides = [means::Sample { count: 0.0, sum: 0.0, squares: 0.0 }; 2];
    for (key, cell) in evidence.cells() {
        let (side, total) = (&mut sides[key.arm.index()], cell.total());
        side.count += total.count;
        side.sum += total.sum;
        side.squares += total.squares;
    }
    means::welch(sides[0], sides[1], ALPHA).map(|test| test.estimate)
}

fn mismatch_of(counted: &[pointsman::domain::experiment::Counted<'_>], alarms: &mut Alarms) -> [f64; 2] {
    let (mut ln, mut seen) = (0.0, [0.0_f64; 2]);
    for of in counted {
        let sampled = of.sampled;
        ln += mismatch::evidence(sampled.assigned, of.draw.percent / 100.0).unwrap_or(0.0);
        (0..2).for_each(|arm| seen[arm] = seen[arm].max(sampled.assigned[arm]));
    }
    alarms.mismatch += usize::from(sequential::p_value(ln) < mismatch::ALARM);
    seen
}

fn judge(found: &Comparison, requests: Option<Estimate>, is_last: bool, look: u32, alarms: &mut Alarms) {
    let tau2 = |alpha| sequential::tuning(sequential::target_variance(EFFECT, ALPHA, 0.8), alpha);
    let outside = |estimate: Estimate| !sequential::interval(estimate, tau2(ALPHA), ALPHA).contains(0.0);
    if let Some(requests) = requests {
        let alarm = requests.p_value().is_some_and(|p| p < ALPHA);
        alarms.requests_peeking += usize::from(alarm);
        alarms.requests_once += usize::from(alarm && is_last);
        alarms.requests_always_valid += usize::from(outside(requests));
    }
    let Some(difference) = found.difference() else { return };
    let alarm = means::student(difference, found.degrees(), ALPHA).is_some_and(|test| test.p < ALPHA);
    alarms.users_peeking += usize::from(alarm);
    alarms.users_once += usize::from(alarm && is_last);
    alarms.always_valid += usize::from(outside(difference));
    let width = sequential::half_width_one_sided(difference.variance, tau2(2.0 * ALPHA), ALPHA);
    alarms.guard += usize::from(difference.value > width);
    alarms.robust += usize::from(difference.value > sequential::half_width_robust(difference.variance, look, ALPHA));
}

pub(crate) fn metric() -> Metric {
    let term = |part| [Term { measured: MEASURED, part, scale: 1.0 }; 2];
    Metric {
        name: "value".into(),
        unit: String::new(),
        kind: Kind::Value,
        better: Better::Higher,
        role: Role::Primary,
        over: term(Part::Sum),
        under: term(Part::Count),
        times: None,
    }
}
