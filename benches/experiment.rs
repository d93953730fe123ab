//! A report over 20 metrics, 6 phases and 10 million requests: `cargo bench --bench experiment`.

use std::hint::black_box;

use pointsman::domain::Arm;
use pointsman::domain::assignment::Digest;
use pointsman::domain::evidence::{CellKey, Drawn, Measured, Observation, RouteEvidence, Stratum};
use pointsman::domain::experiment::{Margin, Metric, Part, Question, Role, Settings, Term, report};
use pointsman::domain::metric::{Better, BuiltIn, Kind, MetricId};
use pointsman::domain::phase::Phase;

const METRICS: u16 = 20;
const PHASES: u32 = 6;
const REQUESTS: u64 = 10_000_000;

fn main() {
    divan::main();
}

/// The first two are times; each phase has 100,000 users.
fn evidence() -> RouteEvidence {
    let mut evidence = RouteEvidence::default();
    for request in 0..REQUESTS / u64::from(METRICS) {
        let phase = Phase((request % u64::from(PHASES)) as u32);
        let digest = Digest::of(&(request % 100_000).to_be_bytes(), b"salt");
        let percent = 10.0 * f64::from(phase.0 + 1);
        let arm = if digest.bucket().percentage() <= percent { Arm::Candidate } else { Arm::Control };
        let (stratum, bucket) = (Stratum::Rollout, Some(digest.statistical_bucket()));
        let at = request as i64;
        for metric in 0..METRICS {
            let value = (digest.user_sample() >> 44) as f64 + (request % 1_000 * u64::from(metric)) as f64;
            let key = CellKey { phase, stratum, arm, metric: measured(metric) };
            // Adding up one value is adding up twenty alike: the report sees sums.
            evidence.observe(key, Observation { bucket, value, day: (at / 86_400) as i32 }, metric < 2);
        }
        let user = Some(digest.user_sample());
        evidence.draw(phase, stratum, Drawn { percent, at, user, arm, measured: true });
    }
    evidence
}

fn measured(metric: u16) -> Measured {
    match metric {
        0 => Measured::BuiltIn(BuiltIn::Latency),
        1 => Measured::BuiltIn(BuiltIn::FirstByte),
        own => Measured::Own(MetricId(own)),
    }
}

fn metrics() -> Vec<Metric> {
    let metric = |index: u16| {
        let sum = Term { measured: measured(index), part: Part::Sum, scale: 1.0 };
        let count = Term { part: Part::Count, ..sum };
        let role = match index {
            2 => Role::Primary,
            3 | 0 => Role::Guard(Margin { relative: 0.1, absolute: 0.0 }),
            _ => Role::Exploratory,
        };
        let (over, under) = ([sum; 2], [count; 2]);
        let times = (index < 2).then_some(sum);
        let (name, unit) = (format!("metric-{index}"), String::new());
        Metric { name, unit, kind: Kind::Value, better: Better::Lower, role, over, under, times }
    };
    (0..METRICS).map(metric).collect()
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn whole_report(bencher: divan::Bencher<'_, '_>) {
    let (evidence, metrics, settings) = (evidence(), metrics(), Settings::default());
    let question = Question {
        route: "answers",
        name: "trial",
        settings: &settings,
        metrics: &metrics,
        conditions: &[],
        current: None,
        now: REQUESTS as i64,
    };
    bencher.bench_local(|| report(black_box(&evidence), black_box(question)));
}

/// What is done while the loops wait.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn copy_of_the_evidence(bencher: divan::Bencher<'_, '_>) {
    let evidence = evidence();
    bencher.bench_local(|| black_box(&evidence).clone());
}
