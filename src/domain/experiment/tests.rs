use super::report::{Decision, MetricReport, Severity, State, Verdict};
use super::*;
use crate::domain::assignment::{Digest, Share};
use crate::domain::evidence::{CellKey, Day, Drawn, Observation};
use crate::domain::metric::{BuiltIn, MetricId};
use crate::domain::percent::Percent;
use proptest::prelude::*;

const SCORE: Measured = Measured::Own(MetricId(0));
const ERRORS: Measured = Measured::BuiltIn(BuiltIn::Errors);
const LATENCY: Measured = Measured::BuiltIn(BuiltIn::Latency);
const DAY: Seconds = 86_400;

fn metric(measured: Measured, better: Better, role: Role) -> Metric {
    let (name, unit, scale) = match measured {
        Measured::BuiltIn(built_in) => (built_in.as_str(), "ms", built_in.scale()),
        Measured::Own(_) => ("quality", "", 1.0),
    };
    let term = |part, scale| [Term { measured, part, scale }; 2];
    let times = (measured == LATENCY).then_some(Term { measured, part: Part::Sum, scale });
    let (over, under) = (term(Part::Sum, scale), term(Part::Count, 1.0));
    let unit = if measured == LATENCY { unit } else { "" };
    let kind = if measured == ERRORS { Kind::Occurrence } else { Kind::Value };
    Metric { name: name.into(), unit: unit.into(), kind, better, role, over, under, times }
}

fn three() -> Vec<Metric> {
    let guard = |relative, absolute| Role::Guard(Margin { relative, absolute });
    vec![
        metric(SCORE, Better::Higher, Role::Primary),
        metric(ERRORS, Better::Lower, guard(0.1, 0.01)),
        metric(LATENCY, Better::Lower, guard(0.2, 0.0)),
    ]
}

/// Uniform numbers from a seed, the same in every run.
fn noise(seed: u64) -> f64 {
    let digest = Digest::of(&seed.to_be_bytes(), b"noise");
    f64::from((digest.user_sample() >> 32) as u32) / f64::from(u32::MAX)
}

/// What users of one phase do: their arms drawn by the gateway's own hash.
struct Run {
    phase: u32,
    percent: f64,
    users: u64,
    requests: u64,
    from: Seconds,
    /// Score, share of errors and microseconds, by `Arm::index`.
    score: [f64; 2],
    errors: [f64; 2],
    latency: [f64; 2],
}

impl Default for Run {
    fn default() -> Self {
        let (users, requests, from) = (4_000, 5, 0);
        Self { phase: 1, percent: 50.0, users, requests, from, score: [0.7; 2], errors: [0.01; 2], latency: [2e5; 2] }
    }
}

impl Run {
    fn add(&self, evidence: &mut RouteEvidence) {
        let share = Share::new(Percent::new(self.percent).unwrap());
        let (phase, stratum) = (Phase(self.phase), Stratum::Rollout);
        for user in 0..self.users {
            let digest = Digest::of(&user.to_be_bytes(), b"salt");
            let arm = if share.contains(digest.bucket()) { Arm::Candidate } else { Arm::Control };
            let bucket = Some(digest.statistical_bucket());
            let liking = noise(user) - 0.5;
            for request in 0..self.requests {
                let draw = noise(user * 1_000 + request + u64::from(self.phase) * 1_000_000_000);
                let at = self.from + (request * 8 * DAY as u64 / self.requests) as Seconds + user as Seconds % 3_600;
                let values = [
                    (SCORE, self.score[arm.index()] + 0.2 * liking + 0.2 * (draw - 0.5)),
                    (ERRORS, f64::from(u8::from(draw < self.errors[arm.index()]))),
                    (LATENCY, self.latency[arm.index()] * (0.5 + draw + liking / 2.0)),
                    (Measured::BuiltIn(BuiltIn::Requests), 1.0),
                ];
                for (metric, value) in values {
                    let observation = Observation { bucket, value, day: (at / DAY) as Day };
                    evidence.observe(CellKey { phase, stratum, arm, metric }, observation, metric == LATENCY);
                }
                let user = Some(digest.user_sample());
                evidence.draw(phase, stratum, Drawn { percent: self.percent, at, user, arm, measured: true });
            }
        }
    }
}

fn evidence(runs: &[Run]) -> RouteEvidence {
    let mut evidence = RouteEvidence::default();
    runs.iter().for_each(|run| run.add(&mut evidence));
    evidence
}

fn asked(evidence: &RouteEvidence, settings: &Settings, metrics: &[Metric]) -> Report {
    asked_with(evidence, settings, metrics, &[])
}

fn asked_with(evidence: &RouteEvidence, settings: &Settings, metrics: &[Metric], conditions: &[Condition]) -> Report {
    let question = Question {
        route: "answers",
        name: "trial",
        settings,
        metrics,
        conditions,
        current: Some(Phase(1)),
        now: 20 * DAY,
    };
    report(evidence, question)
}

fn codes(report: &Report) -> Vec<(&str, Severity)> {
    report.findings.iter().map(|finding| (finding.code.as_str(), finding.severity)).collect()
}

fn named<'a>(report: &'a Report, name: &str) -> &'a MetricReport {
    report.metrics.iter().find(|metric| metric.name == name).unwrap()
}

#[test]
fn a_better_candidate_that_harms_nothing_is_shipped() {
    let report = asked(&evidence(&[Run { score: [0.7, 0.75], ..Run::default() }]), &Settings::default(), &three());
    assert_eq!((report.decision, report.state), (Decision::Ship, State::Running), "{report:#?}");
    let quality = named(&report, "quality");
    let found = quality.difference.unwrap();
    assert!((found.value - 0.05).abs() < 0.01 && quality.verdict == Verdict::Better, "{quality:?}");
    let (fixed, always) = (found.fixed_horizon.unwrap(), found.always_valid.unwrap());
    assert!(always.lower < fixed.lower && fixed.upper < always.upper, "looking all the time costs");
    assert!((quality.relative.unwrap().value - 0.05 / 0.7).abs() < 0.01);
    assert_eq!(named(&report, "errors").verdict, Verdict::NoWorse);
    let latency = named(&report, "latency");
    assert_eq!(latency.quantiles.len(), 3);
    let slow = latency.slower.as_ref().unwrap();
    assert!((slow.control - 0.05).abs() < 0.01 && slow.difference.always_valid.is_some(), "{slow:?}");
    let (score, errors) = (quality.by_request.as_ref().unwrap(), named(&report, "errors").by_request.clone().unwrap());
    assert_eq!((score.test.as_str(), score.effect.as_str()), ("welch", "cohen_d"));
    assert!(score.p.unwrap() < 1e-6 && score.effect_size.unwrap() > 0.0, "{score:?}");
    assert!(matches!(errors.test.as_str(), "chi_square" | "fisher") && errors.p.unwrap() > 0.001, "{errors:?}");
    assert!((report.control.users + report.candidate.users - 4_000.0).abs() < 0.5 && report.control.requests > 9_000.0);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.summary.contains("quality is better: the difference is between 0.0"), "{}", report.summary);
    let plan = report.plan.unwrap();
    assert!(plan.users_always_valid > 2.0 * plan.users_fixed_horizon && (plan.split_penalty - 1.0).abs() < 1e-9);
}

#[test]
fn quantiles_of_requests_are_tested_beside_the_verdict() {
    let tested = |candidate: f64| {
        let evidence = evidence(&[Run { latency: [2e5, candidate], ..Run::default() }]);
        let report = asked(&evidence, &Settings::default(), &three());
        assert!(named(&report, "errors").by_request.as_ref().unwrap().quantiles.is_empty());
        let by_request = named(&report, "latency").by_request.clone().unwrap();
        by_request.quantiles.iter().map(|of| (of.quantile, of.p_always_valid)).collect::<Vec<_>>()
    };
    let (alike, slower) = (tested(2e5), tested(2.4e5));
    assert_eq!(alike.iter().map(|(quantile, _)| *quantile).collect::<Vec<_>>(), [0.5, 0.95, 0.99]);
    assert!(alike.iter().all(|(_, p)| *p > 0.05), "{alike:?}");
    assert!(slower.iter().all(|(_, p)| *p < 1e-6), "{slower:?}");
}

#[test]
fn a_condition_of_the_file_that_does_not_hold_is_waited_for() {
    let evidence = evidence(&[Run { score: [0.7, 0.75], ..Run::default() }]);
    let condition = |verdict, found| Condition {
        condition: "quality > control * 1.15 at 95%".to_owned(),
        finding: crate::domain::guard::Finding { verdict, found, limit: Some(0.8), samples: 900.0 },
    };
    use crate::domain::guard::Verdict as Found;
    for (verdict, words) in
        [(Found::Fails, "not so (0.7500"), (Found::NotEnoughData, "too little data to tell (0.7500")]
    {
        let report = asked_with(&evidence, &Settings::default(), &three(), &[condition(verdict, Some(0.75))]);
        assert_eq!(report.decision, Decision::Wait);
        assert!(report.waiting_for[0].contains(words), "{:?}", report.waiting_for);
    }
    let report = asked_with(&evidence, &Settings::default(), &three(), &[condition(Found::Holds, Some(0.9))]);
    assert_eq!((report.decision, report.conditions.len()), (Decision::Ship, 1));
}

#[test]
fn a_candidate_that_is_slower_than_the_margin_is_kept_out() {
    let run = Run { score: [0.7, 0.75], latency: [2e5, 3e5], ..Run::default() };
    let report = asked(&evidence(&[run]), &Settings::default(), &three());
    assert_eq!(report.decision, Decision::Keep);
    assert!(report.summary.starts_with("Keep control: latency is worse: by at least"), "{}", report.summary);
    assert!(named(&report, "latency").harm.unwrap().lower > 80.0, "in milliseconds");
}

#[test]
fn a_difference_between_few_users_decides_nothing() {
    let run = Run { score: [0.2, 0.9], users: 60, ..Run::default() };
    let report = asked(&evidence(&[run]), &Settings { min_users: 50.0, ..Settings::default() }, &three());
    let quality = named(&report, "quality");
    assert!(quality.difference.unwrap().always_valid.unwrap().lower > 0.0, "{quality:?}");
    assert_eq!((quality.verdict, report.decision), (Verdict::Undecided, Decision::Wait));
    assert!(quality.words.contains("too few users have values"), "{quality:?}");
}

#[test]
fn what_happened_to_nobody_is_bounded_by_the_number_of_users() {
    let guarded = |relative, absolute, users| {
        let run = Run { score: [0.7, 0.75], errors: [0.0; 2], users, ..Run::default() };
        let guard = Role::Guard(Margin { relative, absolute });
        asked(&evidence(&[run]), &Settings::default(), &[metric(ERRORS, Better::Lower, guard)]).metrics.remove(0)
    };
    // Of 2,000 users, 1 - 0.025^(1/2000) is 0.18 %.
    let enough = guarded(0.1, 0.005, 4_000);
    assert_eq!(enough.verdict, Verdict::NoWorse, "{enough:?}");
    assert!((0.001_8..0.003_5).contains(&enough.harm.unwrap().upper), "{enough:?}");
    let few = guarded(0.1, 0.005, 400);
    assert_eq!(few.verdict, Verdict::Undecided, "{few:?}");
    assert!(few.decision_in_seconds.unwrap() > 8 * DAY / 2, "{few:?}");
    let relative = guarded(0.1, 0.0, 4_000);
    assert!(relative.words.contains("give the guard `absolute`"), "{relative:?}");
}

#[test]
fn without_a_difference_it_waits_and_says_for_what() {
    let settings = Settings { min_duration: 30 * DAY, min_users: 5_000.0, ..Settings::default() };
    let report = asked(&evidence(&[Run::default()]), &settings, &three());
    assert_eq!(report.decision, Decision::Wait);
    let waiting = report.waiting_for.join("\n");
    for part in ["quality: not decided yet", "users of the 5000", "of the 30 days"] {
        assert!(waiting.contains(part), "{part}: {waiting}");
    }
    assert_eq!(codes(&report), [("few_users", Severity::Warning)]);
    assert_eq!(report.summary, "Not decided yet.");
    let slow = evidence(&[Run { latency: [2e5, 3e5], ..Run::default() }]);
    let early = asked(&slow, &settings, &three());
    assert!(early.summary.starts_with("Not decided yet; so far latency is worse: by at least"), "{}", early.summary);
    let over = asked(&evidence(&[Run::default()]), &Settings { stop: Some(10 * DAY), ..settings }, &three());
    assert_eq!((over.summary.as_str(), over.state), ("It has ended without a decision.", State::Ended));
}

#[test]
fn who_was_not_drawn_is_counted_and_not_compared() {
    let mut evidence = evidence(&[Run::default()]);
    let before = asked(&evidence, &Settings::default(), &three());
    for metric in [SCORE, Measured::BuiltIn(BuiltIn::Requests)] {
        let key = CellKey { phase: Phase(1), stratum: Stratum::Fixed, arm: Arm::Candidate, metric };
        (0..500).for_each(|_| evidence.observe(key, Observation { bucket: Some(3), value: 1e6, day: 0 }, false));
    }
    let after = asked(&evidence, &Settings::default(), &three());
    assert_eq!(after.metrics, before.metrics);
    assert_eq!((after.candidate.left_out, after.control.left_out), (500.0, 0.0));
    assert_eq!(codes(&after), [("left_out", Severity::Note)]);
}

/// Kohavi's example: better on each of two days, worse if they are poured together.
#[test]
fn stages_are_not_poured_together() {
    let mut evidence = RouteEvidence::default();
    let rows = [
        (1, Arm::Control, 20_000, 990_000),
        (1, Arm::Candidate, 230, 10_000),
        (2, Arm::Control, 5_000, 500_000),
        (2, Arm::Candidate, 6_000, 500_000),
    ];
    for (phase, arm, yes, all) in rows {
        let key = CellKey { phase: Phase(phase), stratum: Stratum::Rollout, arm, metric: SCORE };
        for n in 0..all {
            let bucket = Some((n * 7 % 1_024) as u16);
            evidence.observe(key, Observation { bucket, value: f64::from(u8::from(n < yes)), day: 0 }, false);
        }
        let percent = if phase == 1 { 1.0 } else { 50.0 };
        let at = Seconds::from(phase) * DAY;
        evidence.draw(Phase(phase), Stratum::Rollout, Drawn { percent, at, user: None, arm, measured: true });
    }
    let report = asked(&evidence, &Settings::default(), &[metric(SCORE, Better::Higher, Role::Primary)]);
    let quality = named(&report, "quality");
    assert!(quality.difference.unwrap().value > 0.001, "{quality:?}");
    assert_eq!((quality.strata, quality.verdict), ([2, 0], Verdict::Better));
    assert!(codes(&report).contains(&("changed_meanwhile", Severity::Note)));
}

#[test]
fn a_ramp_joins_its_stages_and_counts_each_user_once() {
    let stage = |phase, percent, from| Run { phase, percent, from, score: [0.7, 0.75], ..Run::default() };
    let report = asked(&evidence(&[stage(1, 10.0, 0), stage(2, 50.0, 8 * DAY)]), &Settings::default(), &three());
    assert_eq!(named(&report, "quality").strata, [2, 0]);
    assert!((named(&report, "quality").difference.unwrap().value - 0.05).abs() < 0.01);
    assert!((report.candidate.users - 2_000.0).abs() < 150.0, "{}", report.candidate.users);
    assert_eq!(report.strata.len(), 2);
    let late = Settings { start: Some(9 * DAY), ..Settings::default() };
    assert_eq!(asked(&evidence(&[stage(1, 10.0, 0), stage(2, 50.0, 8 * DAY)]), &late, &three()).strata.len(), 1);
    let over = Settings { stop: Some(DAY), ..Settings::default() };
    let ended = asked(&evidence(&[stage(1, 10.0, 0), stage(2, 50.0, 8 * DAY)]), &over, &three());
    assert_eq!((ended.strata.len(), ended.state), (1, State::Ended));
}

#[test]
fn a_broken_split_is_not_trusted() {
    // By the hash half of the users are the candidate's, by the file a third.
    let mut lost = RouteEvidence::default();
    Run { users: 2_000, ..Run::default() }.add(&mut lost);
    let mut wrong = RouteEvidence::default();
    let (mut unmeasured, mut both) = (RouteEvidence::default(), RouteEvidence::default());
    for (_, user) in (0..2_000_u64).map(|user| (user, Digest::of(&user.to_be_bytes(), b"salt").user_sample())) {
        let arm = if user % 2 == 0 { Arm::Candidate } else { Arm::Control };
        let drawn = Drawn { percent: 33.0, at: 0, user: Some(user), arm, measured: true };
        let (phase, stratum) = (Phase(1), Stratum::Rollout);
        wrong.draw(phase, stratum, drawn);
        let measured = arm == Arm::Control || user % 8 > 0;
        unmeasured.draw(phase, stratum, Drawn { percent: 50.0, measured, ..drawn });
        both.draw(phase, stratum, Drawn { percent: 50.0, ..drawn });
        if user % 10 == 0 {
            both.draw(phase, stratum, Drawn { percent: 50.0, arm: Arm::Control, ..drawn });
            both.draw(phase, stratum, Drawn { percent: 50.0, arm: Arm::Candidate, ..drawn });
        }
    }
    for (evidence, code) in
        [(wrong, "sample_ratio_mismatch"), (unmeasured, "measured_ratio_mismatch"), (both, "users_in_both_arms")]
    {
        let report = asked(&evidence, &Settings::default(), &three());
        assert_eq!((report.decision, report.findings[0].code.as_str()), (Decision::Distrust, code), "{report:#?}");
    }
    assert!(asked(&lost, &Settings::default(), &three()).findings.is_empty());
}

#[test]
fn a_first_rush_and_a_heavy_user_are_told() {
    let mut evidence = evidence(&[Run { requests: 8, users: 1_000, ..Run::default() }]);
    let candidate = |metric| CellKey { phase: Phase(1), stratum: Stratum::Rollout, arm: Arm::Candidate, metric };
    for n in 0..3_000_u16 {
        let observation = Observation { bucket: Some(n % 1_024), value: 1.0, day: Day::from(n % 2) };
        evidence.observe(candidate(SCORE), observation, false);
        let heavy = Observation { bucket: Some(7), value: 1.0, day: 0 };
        evidence.observe(candidate(Measured::BuiltIn(BuiltIn::Requests)), heavy, false);
    }
    let report = asked(&evidence, &Settings::default(), &three());
    assert_eq!(codes(&report), [("concentrated", Severity::Warning), ("novelty", Severity::Warning)]);
}

/// A value of a bucket of an arm.
type Seen = (Arm, u16, f64);

fn cells(rows: &[Seen]) -> RouteEvidence {
    let mut evidence = RouteEvidence::default();
    for (n, (arm, bucket, value)) in rows.iter().enumerate() {
        let (phase, stratum) = (Phase(1), Stratum::Rollout);
        let key = CellKey { phase, stratum, arm: *arm, metric: SCORE };
        evidence.observe(key, Observation { bucket: Some(*bucket), value: *value, day: 0 }, false);
        let user = Some(n as u64);
        evidence.draw(phase, stratum, Drawn { percent: 50.0, at: n as Seconds, user, arm: *arm, measured: true });
    }
    evidence
}

#[test]
fn what_cannot_be_compared_is_said_in_words() {
    use Arm::{Candidate, Control};
    let huge = 1e200;
    let rows: [(&[Seen], &str); 8] = [
        (&[], "no randomised request has a value"),
        (&[(Control, 1, 1.0), (Control, 2, 2.0)], "no randomised request of candidate"),
        (&[(Candidate, 1, 1.0), (Candidate, 2, 2.0)], "no randomised request of control"),
        (&[(Control, 1, 1.0), (Control, 2, 2.0), (Candidate, 7, 1.0), (Candidate, 7, 3.0)], "one bucket of users"),
        (&[(Control, 1, 1.0), (Control, 2, 1.0), (Candidate, 1, 1.0), (Candidate, 2, 1.0)], "every user of both arms"),
        (&[(Control, 1, 1.0), (Control, 2, 1.0), (Candidate, 1, 2.0), (Candidate, 2, 2.0)], "nothing is known of the"),
        (&[(Control, 1, 1.0), (Control, 2, 2.0), (Candidate, 1, huge), (Candidate, 2, -huge)], "too large"),
        (&[(Control, 1, 0.0), (Control, 2, 0.0), (Candidate, 1, 0.0), (Candidate, 2, 9.0)], "not decided yet"),
    ];
    for (values, words) in rows {
        let metrics = [metric(SCORE, Better::Higher, Role::Primary)];
        let report = asked(&cells(values), &Settings::default(), &metrics);
        assert!(report.metrics[0].words.contains(words), "{words}: {}", report.metrics[0].words);
        assert_eq!(report.decision, Decision::Wait, "{values:?}");
        whole(&report);
    }
    let nothing = asked(&RouteEvidence::default(), &Settings::default(), &[]);
    assert_eq!((nothing.decision, codes(&nothing)[0].0), (Decision::NoQuestion, "no_randomised_requests"));
}

/// JSON has no infinity and no NaN: what is read again is the same only where there are none.
fn whole(report: &Report) {
    let text = serde_json::to_string(report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).ok().as_ref(), Some(report), "{text}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
}

#[test]
fn a_variance_over_strata_is_that_of_one_stratum_cut_in_two() {
    // The same users in two phases with the same split: as one phase with twice the requests.
    let half = |phase| Run { phase, requests: 4, ..Run::default() };
    let metrics = three();
    let (one, two) = (evidence(&[half(1)]), evidence(&[half(1), half(2)]));
    let found = |evidence: &RouteEvidence| {
        compare(evidence, &counted(evidence, &Settings::default()), &metrics[0]).unwrap().difference().unwrap()
    };
    let ratio = found(&two).variance / found(&one).variance;
    // Users' own liking stays, requests' noise halves: between a half and one.
    assert!((0.5..1.0).contains(&ratio), "{ratio}");
}

proptest! {
    #[test]
    fn reports_hold_no_strange_numbers(
        rows in proptest::collection::vec((any::<bool>(), 0_u16..6, prop_oneof![
            -1e3_f64..1e3, Just(0.0), Just(1e75), Just(-1e75), 1e-300_f64..1e-290,
        ]), 0..40),
        margins in (0.0_f64..2.0, 0.0_f64..2.0),
        alpha in prop_oneof![1e-12_f64..0.5, Just(0.05)],
    ) {
        let arm = |candidate| if candidate { Arm::Candidate } else { Arm::Control };
        let rows: Vec<_> = rows.into_iter().map(|(candidate, bucket, value)| (arm(candidate), bucket, value)).collect();
        let guard = Role::Guard(Margin { relative: margins.0, absolute: margins.1 });
        let metrics = [metric(SCORE, Better::Higher, Role::Primary), metric(SCORE, Better::Lower, guard)];
        whole(&asked(&cells(&rows), &Settings { alpha, ..Settings::default() }, &metrics));
    }
}
