//! The statistics beside those of public Python packages (scipy, statsmodels, gbstats), and beside their own promise: how
//! often two arms that are alike are told apart.
//!
//! 200 data sets are made here from a seed; `tests/oracle/compare.py` computes everything anew and tells what differs by
//! more than 1e-6. What both would get wrong is not seen; the known answers beside the code are for that.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what broke")]

#[path = "../benches/simulate/run.rs"]
mod simulation;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pointsman::domain::Arm;
use pointsman::domain::evidence::{CellKey, Drawn, Measured, Observation, RouteEvidence, Stratum};
use pointsman::domain::experiment::report::Verdict;
use pointsman::domain::experiment::{self, Metric, Part, Role, Settings, Term};
use pointsman::domain::metric::{Better, Kind, MetricId};
use pointsman::domain::phase::Phase;
use pointsman::domain::statistics::means::{self, Sample};
use pointsman::domain::statistics::proportions::{self, Share};
use pointsman::domain::statistics::same_quantile::SameQuantile;
use pointsman::domain::statistics::{Estimate, distributions, mismatch, power, quantile, ratio, sequential};
use serde_json::{Value, json};

/// Data sets of each kind: 200 together, as many trials of several looks, and 40 pairs of histograms.
const SETS: [(&str, usize); 9] = [
    ("means", 40),
    ("proportions", 40),
    ("clusters", 40),
    ("mismatch", 20),
    ("power", 20),
    ("quantiles", 20),
    ("distributions", 20),
    ("looks", 200),
    ("same_quantiles", 40),
];

/// Numbers from a seed (splitmix64), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, both excluded.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn whole(&mut self, low: f64, high: f64) -> f64 {
        self.between(low, high).floor()
    }

    /// Standard normal.
    fn normal(&mut self) -> f64 {
        distributions::normal_quantile(self.unit())
    }

    /// Above zero with a heavy tail, like costs and times.
    fn heavy(&mut self) -> f64 {
        (0.8 * self.normal()).exp()
    }
}

fn case(kind: &str, random: &mut Random) -> Value {
    let (input, found) = match kind {
        "means" => means_case(random),
        "proportions" => proportions_case(random),
        "clusters" => clusters_case(random),
        "mismatch" => mismatch_case(random),
        "power" => power_case(random),
        "quantiles" => quantiles_case(random),
        "distributions" => distributions_case(random),
        "looks" => looks_case(random),
        "same_quantiles" => same_quantiles_case(random),
        other => panic!("{other}"),
    };
    json!({ "kind": kind, "input": input, "found": found })
}

fn sample(values: &[f64]) -> Sample {
    Sample {
        count: values.len() as f64,
        sum: values.iter().sum(),
        squares: values.iter().map(|value| value * value).sum(),
    }
}

fn means_case(random: &mut Random) -> (Value, Value) {
    let lift = random.between(0.8, 1.3);
    let mut values = |scale: f64| -> Vec<f64> {
        let count = random.whole(20.0, 800.0) as usize;
        (0..count).map(|_| scale * random.heavy()).collect()
    };
    let (control, candidate) = (values(10.0), values(10.0 * lift));
    let tuning = random.whole(100.0, 10_000.0);
    let (a, b) = (sample(&control), sample(&candidate));
    let users = a.count + b.count;
    let (welch, relative) = (means::welch(a, b, 0.05).unwrap(), means::welch_relative(a, b, 0.05).unwrap());
    let mut found = json!({
        "welch.statistic": welch.statistic,
        "welch.p": welch.p,
        "welch.degrees": welch.degrees,
        "welch.lower": welch.interval.lower,
        "welch.upper": welch.interval.upper,
        "cohen_d": means::cohen_d(a, b),
        "hedges_g": means::hedges_g(a, b),
        "relative.value": relative.estimate.value,
        "relative.p": relative.p,
        "relative.lower": relative.interval.lower,
        "relative.upper": relative.interval.upper,
    });
    for (name, estimate) in [("absolute", welch.estimate), ("relative", relative.estimate)] {
        // GrowthBook tunes by a number of users: the variance of one of `n` is `V n`.
        let tau2 = sequential::tuning(estimate.variance * users / tuning, 0.05);
        let interval = sequential::interval(estimate, tau2, 0.05);
        found[format!("sequential.{name}.lower")] = interval.lower.into();
        found[format!("sequential.{name}.upper")] = interval.upper.into();
        found[format!("sequential.{name}.p")] = sequential::p_value(sequential::ln_e_value(estimate, tau2)).into();
    }
    (json!({ "control": control, "candidate": candidate, "tuning": tuning }), found)
}

fn proportions_case(random: &mut Random) -> (Value, Value) {
    let mut share = || {
        let trials = random.whole(30.0, 5_000.0);
        Share { successes: random.whole(0.02, 0.6 * trials).max(2.0), trials }
    };
    let (control, candidate) = (share(), share());
    let tested = |test: Option<proportions::Tested>| test.unwrap();
    let (pooled, unpooled) =
        (tested(proportions::pooled_z(control, candidate)), tested(proportions::unpooled_z(control, candidate)));
    let plain = tested(proportions::chi_square(control, candidate, false));
    let yates = tested(proportions::chi_square(control, candidate, true));
    let newcombe = proportions::newcombe(control, candidate, 0.05).unwrap();
    let wilson = proportions::wilson(candidate, 0.05).unwrap();
    let found = json!({
        "pooled.z": pooled.statistic,
        "pooled.p": pooled.p,
        "unpooled.z": unpooled.statistic,
        "unpooled.p": unpooled.p,
        "chi_square": plain.statistic,
        "chi_square.p": plain.p,
        "yates": yates.statistic,
        "yates.p": yates.p,
        "newcombe.lower": newcombe.lower,
        "newcombe.upper": newcombe.upper,
        "wilson.lower": wilson.lower,
        "wilson.upper": wilson.upper,
        "fisher.p": proportions::fisher(control, candidate),
        "cohen_h": proportions::cohen_h(control, candidate),
        "odds_ratio": proportions::odds_ratio(control, candidate),
        "risk_ratio": proportions::risk_ratio(control, candidate),
    });
    let input = |share: Share| [share.successes as u64, share.trials as u64];
    (json!({ "control": input(control), "candidate": input(candidate) }), found)
}

/// Requests of users through the evidence and the comparison that reports are made of; each user has a bucket alone.
fn clusters_case(random: &mut Random) -> (Value, Value) {
    let (measured, phase, stratum) = (Measured::Own(MetricId(0)), Phase(1), Stratum::Rollout);
    let mut evidence = RouteEvidence::default();
    let mut users: [Vec<Vec<f64>>; 2] = [Vec::new(), Vec::new()];
    for arm in Arm::ALL {
        let count = random.whole(20.0, 300.0) as u16;
        for bucket in 0..count {
            let liking = random.normal();
            let requests = (1.0 + 6.0 * random.heavy()).floor() as usize;
            let values: Vec<f64> = (0..requests).map(|_| 5.0 + liking + random.heavy()).collect();
            for &value in &values {
                let key = CellKey { phase, stratum, arm, metric: measured };
                evidence.observe(key, Observation { bucket: Some(bucket), value, day: 0 }, false);
            }
            let drawn = Drawn { percent: 50.0, at: 0, user: Some(random.next()), arm, measured: true };
            evidence.draw(phase, stratum, drawn);
            users[arm.index()].push(values);
        }
    }
    let counted = experiment::counted(&evidence, &Settings::default());
    let compared = experiment::compare(&evidence, &counted, &metric_of(measured)).unwrap();
    let pairs = |arm: usize| users[arm].iter().map(|values| (values.iter().sum::<f64>(), values.len() as f64));
    let raw = |estimate: Estimate, clusters: f64| estimate.variance * (clusters - 1.0) / clusters;
    let [c, t] = [(compared.control, compared.clusters[0]), (compared.candidate, compared.clusters[1])];
    let relative = means::student(compared.relative().unwrap(), compared.degrees(), 0.05).unwrap();
    let found = json!({
        "ols.difference": compared.difference().unwrap().value,
        "ols.variance": raw(c.0, c.1) + raw(t.0, t.1),
        "ratio.control": compared.control.value,
        "ratio.control.variance": compared.control.variance,
        "ratio.candidate": compared.candidate.value,
        "ratio.candidate.variance": ratio::ratio(pairs(1)).unwrap().variance,
        "jackknife.control.variance": ratio::jackknife(pairs(0)).unwrap().variance,
        "jackknife.candidate.variance": ratio::jackknife(pairs(1)).unwrap().variance,
        "ratio.relative": relative.estimate.value,
        "ratio.relative.lower": relative.interval.lower,
        "ratio.relative.upper": relative.interval.upper,
    });
    (json!({ "control": users[0], "candidate": users[1] }), found)
}

fn metric_of(measured: Measured) -> Metric {
    let term = |part| [Term { measured, part, scale: 1.0 }; 2];
    Metric {
        name: "m".into(),
        unit: String::new(),
        kind: Kind::Value,
        better: Better::Higher,
        role: Role::Primary,
        over: term(Part::Sum),
        under: term(Part::Count),
        times: None,
    }
}

fn mismatch_case(random: &mut Random) -> (Value, Value) {
    let share = random.between(0.02, 0.9);
    let users = random.whole(200.0, 1_000_000.0);
    let candidate = (users * share * random.between(0.97, 1.03)).floor();
    let counts = [users - candidate, candidate];
    let tested = mismatch::chi_square(&counts, &[1.0 - share, share]).unwrap();
    let found = json!({
        "srm.chi_square": tested.statistic,
        "srm.p": tested.p,
        "srm.gbstats.p": tested.p,
        "srm.ln_bayes_factor": mismatch::evidence(counts, share),
    });
    (json!({ "counts": counts, "share": share }), found)
}

fn power_case(random: &mut Random) -> (Value, Value) {
    let (alpha, power) = (random.between(0.001, 0.2), random.between(0.6, 0.99));
    let (d, p1) = (random.between(0.02, 0.8), random.between(0.05, 0.5));
    let p2 = p1 * random.between(1.05, 1.5);
    let plan = power::Plan { alpha, power, one_sided: false };
    let found = json!({ "power.means": plan.means(d), "power.by_angle": plan.proportions_by_angle(p1, p2) });
    (json!({ "alpha": alpha, "power": power, "d": d, "p1": p1, "p2": p2 }), found)
}

fn quantiles_case(random: &mut Random) -> (Value, Value) {
    let quantile = random.between(0.5, 0.95);
    let clusters = random.whole(20.0, 200.0) as usize;
    let counts: Vec<f64> = (0..clusters).map(|_| random.whole(10.0, 200.0)).collect();
    let up_to: Vec<f64> =
        counts.iter().map(|count| (count * (quantile + random.between(-0.05, 0.05))).floor()).collect();
    let standard_error = random.between(0.1, 50.0);
    let share = ratio::ratio(up_to.iter().copied().zip(counts.iter().copied())).unwrap();
    let variance = quantile::clustered_variance(counts.iter().sum(), quantile, standard_error, share.variance);
    let input = json!({ "quantile": quantile, "up_to": up_to, "counts": counts, "standard_error": standard_error });
    (input, json!({ "quantile.variance": variance }))
}

fn distributions_case(random: &mut Random) -> (Value, Value) {
    let (p, degrees, x) =
        (10.0_f64.powf(random.between(-9.0, -0.1)), random.between(1.0, 500.0), random.between(0.01, 8.0));
    let found = json!({
        "normal.quantile": distributions::normal_quantile(p),
        "normal.above": distributions::normal_above(x),
        "t.quantile": distributions::t_upper_quantile(p, degrees),
        "t.above": distributions::t_above(x, degrees),
        "chi_square.above": distributions::chi_square_above(x, degrees),
    });
    (json!({ "p": p, "degrees": degrees, "x": x }), found)
}

/// Histograms of both arms whose quantile lies, or does not lie, at the same place.
fn same_quantiles_case(random: &mut Random) -> (Value, Value) {
    let (quantile, tuned) = (random.between(0.3, 0.95), random.whole(50.0, 5_000.0));
    let places: Vec<[u64; 2]> = (0..40)
        .map(|place| {
            // The candidate's lie a few places further.
            let at = |shift: f64| 30.0 * (-((f64::from(place) - 15.0 - shift) / 8.0).powi(2)).exp();
            [random.between(0.0, 1.0) * at(0.0), random.between(0.0, 1.5) * at(2.0)].map(|count| count as u64)
        })
        .collect();
    let p = SameQuantile { quantile, tuned, alpha: 0.05 }.p_value(places.iter().copied());
    (json!({ "quantile": quantile, "tuned": tuned, "places": places }), json!({ "same_quantiles.p": p }))
}

/// A trial of 20 looks whose arms differ by three standard errors at the last: each user comes once and has a bucket alone,
/// where gbstats' variance is the gateway's. What is compared is when the report has a verdict, and the last interval.
fn looks_case(random: &mut Random) -> (Value, Value) {
    const LOOKS: usize = 20;
    const USERS: usize = 40;
    const LIFT: f64 = 0.2;
    let settings = Settings { effect: LIFT, ..Settings::default() };
    let (metrics, mut evidence) = ([metric_of(Measured::Own(MetricId(0)))], RouteEvidence::default());
    let (mut arms, mut seen) = ([Sample { count: 0.0, sum: 0.0, squares: 0.0 }; 2], Vec::new());
    let (mut decided, mut last) = (0, None);
    for look in 1..=LOOKS {
        for user in 0..USERS {
            // Halves, as drawn: of each two users one.
            let arm = if user % 2 == 0 { Arm::Control } else { Arm::Candidate };
            let value = 1.0 + random.normal() + if arm == Arm::Candidate { LIFT } else { 0.0 };
            let bucket = Some((look * USERS + user) as u16);
            let key = CellKey { phase: Phase(1), stratum: Stratum::Rollout, arm, metric: metrics[0].over[0].measured };
            evidence.observe(key, Observation { bucket, value, day: 0 }, false);
            let drawn = Drawn { percent: 50.0, at: look as i64, user: Some(random.next()), arm, measured: true };
            evidence.draw(Phase(1), Stratum::Rollout, drawn);
            let all = &mut arms[arm.index()];
            *all = Sample { count: all.count + 1.0, sum: all.sum + value, squares: all.squares + value * value };
        }
        if arms[0].count < settings.min_users {
            continue;
        }
        let (route, name, now) = ("r", "e", look as i64);
        let question = experiment::Question {
            route,
            name,
            settings: &settings,
            metrics: &metrics,
            conditions: &[],
            current: None,
            now,
        };
        let found = experiment::report(&evidence, question).metrics.remove(0);
        let is_decided = matches!(found.verdict, Verdict::Better | Verdict::Worse);
        if is_decided && decided == 0 {
            decided = look;
        }
        // The report is tuned by the effect that matters, gbstats by users: the variance of one, over that of the plan.
        let scale = found.control.unwrap().abs().max(found.candidate.unwrap().abs());
        let target = sequential::target_variance(settings.effect * scale, settings.alpha, settings.power);
        let variance = means::welch(arms[0], arms[1], 0.05).unwrap().estimate.variance;
        let users = arms[0].count + arms[1].count;
        seen.push(json!({ "look": look, "arms": arms.map(|of| [of.count, of.sum, of.squares]), "tuning": variance * users / target }));
        last = found.difference.unwrap().always_valid;
    }
    let last = last.unwrap();
    let found = json!({ "looks.decided": decided, "looks.lower": last.lower, "looks.upper": last.upper });
    (json!({ "seen": seen }), found)
}

/// A Python with the packages of `tests/oracle/requirements.txt`.
fn python() -> Option<String> {
    let named = std::env::var("POINTSMAN_ORACLE_PYTHON").ok();
    let beside = format!("{}/../oracle/bin/python", env!("CARGO_TARGET_TMPDIR"));
    let candidates = named.into_iter().chain([beside, "python3".to_owned()]);
    let has_all = |python: &String| {
        let command = Command::new(python).args(["-c", "import gbstats.frequentist.tests, statsmodels.api"]).output();
        command.is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(has_all)
}

#[test]
fn data_sets_agree_with_public_packages() {
    let Some(python) = python() else {
        let skipped = "SKIPPED: no Python with the packages of tests/oracle/requirements.txt (python3 -m venv target/oracle; \
                       target/oracle/bin/pip install -r tests/oracle/requirements.txt)\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        assert!(std::env::var_os("CI").is_none(), "{skipped}");
        return;
    };
    let mut random = Random(20_261_121);
    let mut cases = Vec::new();
    for (kind, count) in SETS {
        cases.extend((0..count).map(|_| case(kind, &mut random)));
    }
    assert_eq!(cases.len(), 200 + 200 + 40);
    let looks = cases.iter().filter_map(|case| case["found"]["looks.decided"].as_u64());
    let decided = looks.filter(|look| *look > 0).count();
    assert!((80..180).contains(&decided), "trials of both outcomes are compared: {decided}");
    let quantiles = cases.iter().filter_map(|case| case["found"]["same_quantiles.p"].as_f64());
    let told_apart = quantiles.filter(|p| *p < 0.9).count();
    assert!((5..40).contains(&told_apart), "so are quantiles that differ: {told_apart}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/compare.py");
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(Value::from(cases).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let differences = answer["differences"].as_array().unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
    let compared: u64 = answer["compared"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    // 17 numbers of means, 16 of proportions, 11 of clusters, 4, 2, 1 and 5 of the others, 3 of trials, 1 of histograms.
    assert_eq!(compared, 40 * (17 + 16 + 11) + 20 * (4 + 2 + 1 + 5) + 200 * 3 + 40, "{answer}");
}

/// In the small; `cargo bench --bench simulate` runs 2,000.
#[test]
fn arms_that_are_alike_are_rarely_told_apart() {
    for percentages in [[50.0; 3], [10.0, 25.0, 50.0]] {
        let setup = simulation::Setup { trials: 100, users: 700, percentages, difference: 0.0 };
        let alarms = simulation::run(setup, 7);
        // Of 100 at 5 %: 5, and 14 is over four standard deviations more.
        assert!(alarms.users_once < 14, "{percentages:?}: {alarms:?}");
        assert!(alarms.always_valid <= 5 && alarms.guard <= 5 && alarms.robust < 14, "{percentages:?}: {alarms:?}");
        assert_eq!(alarms.mismatch, 0, "{percentages:?}: {alarms:?}");
        // What this is for: the same data, by request and with every look taken for the only one.
        assert!(alarms.requests_peeking > 30, "{percentages:?}: {alarms:?}");
    }
    let setup = simulation::Setup { trials: 20, users: 1_500, percentages: [50.0; 3], difference: 0.25 };
    let alarms = simulation::run(setup, 7);
    assert!(alarms.always_valid >= 15, "a difference is seen: {alarms:?}");
}
