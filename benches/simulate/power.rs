//! One trial after the other of arms that differ, with all that another tool needs to judge the same data: JSON lines, which
//! `benches/power.py` reads.
//!
//! What the gateway decides is the verdict of its own report at each look. Effects are in standard errors of the last look,
//! so that every kind of users has the same grid; a trial has the same users whatever the effect is.

use std::io::{self, Write};

use pointsman::domain::Arm;
use pointsman::domain::evidence::{CellKey, Drawn, Observation, RouteEvidence, Stratum};
use pointsman::domain::experiment::report::{MetricReport, Verdict};
use pointsman::domain::experiment::{Question, Settings, report};
use pointsman::domain::phase::Phase;
use pointsman::domain::statistics::power::Plan;
use pointsman::domain::statistics::sequential::target_variance;
use serde_json::json;

use super::run::{ALPHA, LOOKS, MEASURED, MIN_USERS, Random, User, metric};

/// True effects, in standard errors of the last look. The plan is for the one that one look finds in 80 % of trials, 2.8.
const EFFECTS: [f64; 7] = [0.0, 1.0, 2.0, 2.8, 4.0, 5.0, 6.0];
/// Trials without an effect that tell how large a standard error is.
const PILOTS: usize = 40;
const SEED: u64 = 20_261_122;
const PERCENT: f64 = 50.0;

/// How users come.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    users: usize,
    /// Whether each comes once; otherwise as in A/A trials.
    once: bool,
}

const KINDS: [Kind; 2] = [
    Kind { name: "independent users, one request each", users: 4_000, once: true },
    Kind { name: "users with many requests, heavy-tailed", users: 1_500, once: false },
];

/// Users of an arm by their sums of values and of requests, as a ratio of sums over users needs them.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    users: f64,
    s: f64,
    ss: f64,
    d: f64,
    dd: f64,
    sd: f64,
}

/// What is seen at one look.
struct Look {
    number: usize,
    sums: [Sums; 2],
    found: MetricReport,
}

/// Runs so many trials of each kind and effect.
pub(crate) fn write(trials: usize, out: &mut impl Write) -> io::Result<()> {
    for kind in KINDS {
        let pilots = (0..PILOTS).filter_map(|trial| last_variance(kind, trial));
        let variance = pilots.sum::<f64>() / PILOTS as f64;
        let plan = Plan { alpha: ALPHA, power: 0.8, one_sided: false };
        let settings = Settings { effect: plan.detectable(variance), ..Settings::default() };
        // gbstats tunes by users: the variance of one of them, over the variance for which we are tuned.
        let tuning = variance * kind.users as f64 / target_variance(settings.effect, ALPHA, settings.power);
        let head = json!({ "kind": kind.name, "users": kind.users, "looks": LOOKS, "trials": trials,
            "standard_error": variance.sqrt(), "effect": settings.effect, "tuning": tuning });
        writeln!(out, "{head}")?;
        for effect in EFFECTS {
            for trial in 0..trials {
                let looks = trial_of(kind, effect * variance.sqrt(), &settings, trial);
                writeln!(out, "{}", line(effect, &looks))?;
            }
        }
    }
    Ok(())
}

fn last_variance(kind: Kind, trial: usize) -> Option<f64> {
    // Another seed than that of trials: they are not judged by what they were planned with.
    let looks = trial_of(kind, 0.0, &Settings::default(), usize::MAX - trial);
    Some(looks.last()?.found.difference?.standard_error?.powi(2))
}

fn line(effect: f64, looks: &[Look]) -> serde_json::Value {
    let decided = looks.iter().find(|look| matches!(look.found.verdict, Verdict::Better | Verdict::Worse));
    let once = looks.last().and_then(|look| look.found.p_fixed_horizon).is_some_and(|p| p < ALPHA);
    let sums = |look: &Look| look.sums.map(|Sums { users, s, ss, d, dd, sd }| [users, s, ss, d, dd, sd]);
    let seen: Vec<_> = looks.iter().map(|look| json!([look.number, sums(look)])).collect();
    json!({ "effect": effect, "decided": decided.map(|look| look.number), "once": once, "seen": seen })
}

/// The looks at which each arm has enough users.
fn trial_of(kind: Kind, shift: f64, settings: &Settings, trial: usize) -> Vec<Look> {
    let mut random = Random(SEED.wrapping_add((trial as u64) << 32));
    let users: Vec<User> = (0..kind.users).map(|_| User::new(&mut random)).collect();
    let (metrics, mut evidence) = ([metric()], RouteEvidence::default());
    let mut totals = vec![(0.0, 0.0); users.len()];
    let mut looks = Vec::new();
    for look in 0..LOOKS {
        for (index, user) in users.iter().enumerate() {
            let comes = if kind.once { usize::from(index % LOOKS == look) } else { user.requests(look, &mut random) };
            let arm = if user.percentage <= PERCENT { Arm::Candidate } else { Arm::Control };
            let shift = if arm == Arm::Candidate { shift } else { 0.0 };
            for _ in 0..comes {
                let value = 1.0 + shift + user.liking + random.normal();
                let key = CellKey { phase: Phase(1), stratum: Stratum::Rollout, arm, metric: MEASURED };
                evidence.observe(key, Observation { bucket: Some(user.bucket), value, day: 0 }, false);
                totals[index].0 += value;
                totals[index].1 += 1.0;
            }
            if comes > 0 {
                let at = look as i64 * 60;
                let drawn = Drawn { percent: PERCENT, at, user: Some(user.sample), arm, measured: true };
                evidence.draw(Phase(1), Stratum::Rollout, drawn);
            }
        }
        let sums = by_user(&users, &totals);
        if sums.iter().all(|arm| arm.users >= MIN_USERS) {
            let now = look as i64 * 60;
            let (route, name, conditions) = ("answers", "trial", &[]);
            let question = Question { route, name, settings, metrics: &metrics, conditions, current: None, now };
            let found = report(&evidence, question).metrics.pop();
            looks.extend(found.map(|found| Look { number: look + 1, sums, found }));
        }
    }
    looks
}

fn by_user(users: &[User], totals: &[(f64, f64)]) -> [Sums; 2] {
    let mut sums = [Sums::default(); 2];
    for (user, (s, d)) in users.iter().zip(totals).filter(|(_, (_, d))| *d > 0.0) {
        let arm = if user.percentage <= PERCENT { Arm::Candidate } else { Arm::Control };
        let sums = &mut sums[arm.index()];
        sums.users += 1.0;
        sums.s += s;
        sums.ss += s * s;
        sums.d += d;
        sums.dd += d * d;
        sums.sd += s * d;
    }
    sums
}
