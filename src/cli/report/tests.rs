use super::*;
use crate::domain::experiment::report::{
    ArmReport, ByRequest, Finding, MarginReport, Plan, SameQuantile, State, StratumReport,
};
use crate::domain::pairs::Pairs;

fn difference(value: f64, reach: f64) -> Option<Difference> {
    let range = |by: f64| Some(Range { lower: value - by, upper: value + by });
    Some(Difference {
        value,
        standard_error: Some(reach / 3.0),
        fixed_horizon: range(reach * 0.6),
        always_valid: range(reach),
    })
}

fn metric(name: &str, role: &str, better: &str, found: Verdict, words: &str) -> MetricReport {
    MetricReport {
        name: name.to_owned(),
        unit: String::new(),
        kind: "value".to_owned(),
        better: better.to_owned(),
        role: role.to_owned(),
        margin: None,
        verdict: found,
        words: words.to_owned(),
        control: Some(0.7),
        candidate: Some(0.756),
        difference: difference(0.056, 0.021),
        relative: difference(0.08, 0.03),
        harm: None,
        p_fixed_horizon: Some(1e-6),
        p_always_valid: Some(0.001),
        decision_in_seconds: None,
        denominators: [1000.0, 900.0],
        clusters: [600.0, 580.0],
        strata: [1, 0],
        quantiles: Vec::new(),
        slower: None,
        by_request: None,
    }
}

fn by_request() -> ByRequest {
    let quantiles = [(0.5, 1.0), (0.95, 0.0421)];
    ByRequest {
        test: "welch".to_owned(),
        p: Some(0.4),
        interval: None,
        effect: "cohen_d".to_owned(),
        effect_size: Some(0.01),
        stratum: "00000001/rollout".to_owned(),
        quantiles: quantiles.map(|(quantile, p_always_valid)| SameQuantile { quantile, p_always_valid }).to_vec(),
    }
}

fn report() -> Report {
    let arm = |users| ArmReport { users, users_measured: users - 1.0, requests: users * 3.0, left_out: 12.0 };
    let time = "2026-11-20T08:00:00Z".parse().ok();
    let guard = MetricReport {
        unit: "ms".to_owned(),
        margin: Some(MarginReport { relative: 0.05, absolute: 0.0 }),
        control: Some(212.0),
        candidate: Some(214.0),
        relative: difference(0.01, 0.025),
        by_request: Some(by_request()),
        ..metric("latency", "guard", "lower", Verdict::NoWorse, "no worse than the margin")
    };
    let blind = MetricReport {
        control: None,
        candidate: None,
        difference: None,
        relative: None,
        ..metric(
            "<b>clicks</b>",
            "exploratory",
            "higher",
            Verdict::Unknown,
            "unknown: no randomised request has a value",
        )
    };
    let finding = Finding {
        code: "left_out".to_owned(),
        severity: Severity::Note,
        what: "12 requests were not drawn.".to_owned(),
        meaning: "They differ.".to_owned(),
        action: "Nothing.".to_owned(),
    };
    Report {
        route: "answers".to_owned(),
        name: "new & <script>alert(1)</script> | old\u{1b}[2J".to_owned(),
        state: State::Running,
        decision: Decision::Ship,
        summary: "Ship the candidate: quality is better.".to_owned(),
        waiting_for: vec!["its | end".to_owned()],
        conditions: Vec::new(),
        first: time,
        last: time,
        elapsed_seconds: 86_400,
        alpha: 0.05,
        power: 0.8,
        effect: 0.05,
        control: arm(1200.0),
        candidate: arm(1180.0),
        strata: Vec::<StratumReport>::new(),
        metrics: vec![metric("quality", "primary", "higher", Verdict::Better, "better"), guard, blind],
        shadow: Some(Shadowed {
            pairs: Pairs { wins: 60, losses: 40, ties: 7 },
            win_rate: Pairs { wins: 60, losses: 40, ties: 7 }.win_rate(),
        }),
        findings: vec![finding],
        plan: Some(Plan {
            metric: "quality".to_owned(),
            users_per_day: 2380.0,
            detectable_now: 0.028,
            users_fixed_horizon: 746.0,
            users_always_valid: 2129.0,
            days_fixed_horizon: 0.31,
            days_always_valid: 0.89,
            split_penalty: 1.0,
            detectable: Vec::new(),
            splits: Vec::new(),
        }),
    }
}

#[test]
fn as_a_table() {
    insta::assert_snapshot!(table::written(&report(), false));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(markdown::written(&report(), false));
}

#[test]
fn as_html() {
    let text = html::written(&report(), false);
    assert!(!text.contains("<script") && !text.contains("<b>") && !text.contains('\u{1b}'), "{text}");
    assert!(!text.contains("http"), "nothing is fetched");
    assert_eq!(text.matches("<svg").count(), 2);
    for tag in ["table", "ul", "svg", "tr", "td", "body", "html", "span"] {
        let (open, close) = (text.matches(&format!("<{tag}")).count(), text.matches(&format!("</{tag}>")).count());
        assert_eq!(open, close, "{tag}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_plan_alone() {
    let text = table::written(&report(), true);
    assert!(text.contains("+5.00 % takes 746 users or 0.310 days at one look"), "{text}");
    let none = Report { plan: None, ..report() };
    assert!(html::written(&none, true).contains("There is no plan yet"));
}

#[test]
fn bars_end_where_intervals_do() {
    let rows = [
        (0.0, -0.5, 0.5, 1.0, "       [-------o-------]       "),
        (0.5, 0.25, 2.0, 1.0, "               |   [---o------>"),
        (-1.0, -9.0, -0.9, 1.0, "o]             |               "),
        (0.0, 0.0, 0.0, 0.0, "               o               "),
    ];
    for (value, lower, upper, reach, expected) in rows {
        assert_eq!(table::bar(value, Range { lower, upper }, reach), expected);
    }
}
