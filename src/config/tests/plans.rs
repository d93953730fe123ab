//! Plans and guards with mistakes, as rows; the messages are in `snapshots/`.

use super::broken::messages;
use super::*;

/// Metrics beside which plans and guards are tried.
const METRICS: &str = "[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\nfrom = { response_header = \"x-quality\" }\n\
    [metrics.took]\nkind = \"value\"\nbetter = \"lower\"\nunit = \"s\"\nfrom = { response_json = \"/took\" }\n\
    [metrics.clicks]\nkind = \"ratio\"\nbetter = \"higher\"\nfrom = { ratio = [\"quality\", \"requests\"] }\n";

#[test]
fn guards() {
    let when = |condition: &str| format!("when = {condition:?}\nthen = \"hold\"\n");
    let tested = |condition: &str, more: &str| format!("{}test = \"sequential\"\n{more}", when(condition));
    let rows = [
        ("nothing", String::new()),
        ("no comparison", when("error_rate")),
        ("no metric", when("> 5%")),
        ("no number", when("error_rate > five")),
        ("a unit that there is not", when("latency.p95 > 5 min")),
        ("two conditions", when("error_rate > 5% and latency > 2s")),
        ("equality", when("error_rate == 5%")),
        ("a factor of nothing", when("latency > control * 0")),
        ("a factor with a unit", when("latency > control * 5s")),
        ("more than a flag", when("breaker_open > 5")),
        ("a condition without an end", when(&format!("error_rate > {}", "1".repeat(300)))),
        ("a metric that there is not", when("qualty < 0.6")),
        ("a metric that nobody could mean", when("happiness < 0.6")),
        ("a statistic that there is not", when("latency.p90 > 2s")),
        ("a quantile of an own metric", when("quality.p95 < 0.6")),
        ("a sum of a ratio", when("clicks.sum > 5")),
        ("a rate of a value", when("quality.rate < 5%")),
        ("a time without a unit", when("latency.mean > 2000")),
        ("a distance without a unit", when("latency.mean > control + 200")),
        ("a time beside what has none", when("quality < 300ms")),
        ("a confidence", when("quality < control at 95%")),
        ("a confidence of nothing", when("quality < control at 5%")),
        ("no text", "when = 5\nthen = \"hold\"\n".to_owned()),
        ("a word that is none", "when = \"error_rate > 5%\"\nthen = \"roll_back\"\n".to_owned()),
        ("a baseline that is none", format!("{}baseline = \"old\"\n", when("quality < control"))),
        ("a baseline of nothing", format!("{}baseline = \"frozen\"\n", when("quality < 0.6"))),
        ("a baseline of a state", format!("{}baseline = \"frozen\"\n", when("breaker_open"))),
        ("a baseline of a sum", format!("{}baseline = \"frozen\"\n", when("quality.per_hour < control"))),
        ("a baseline for each user", format!("{}baseline = \"frozen\"\n", when("quality.per_user < control"))),
        ("a baseline of a test", tested("quality < control", "margin = \"1%\"\nbaseline = \"frozen\"\n")),
        ("times", format!("{}window = \"1s\"\nfor = \"2d\"\non_no_data = 5\n", when("error_rate > 5%"))),
        ("too few values", format!("{}min_samples = 0\n", when("error_rate > 5%"))),
        ("a test without a margin", tested("error_rate > control", "")),
        ("a margin of nothing", tested("error_rate > control", "margin = \"0%\"\n")),
        ("a margin without a unit", tested("latency.mean > control", "margin = \"200\"\n")),
        ("a margin in words", tested("latency.mean > control", "margin = \"little\"\n")),
        ("a margin without a test", format!("{}margin = \"1%\"\n", when("error_rate > control"))),
        ("a test of a quantile", tested("latency.p95 > control", "margin = \"20ms\"\n")),
        ("a test of no figure", tested("breaker_open", "")),
        ("a margin of no figure", tested("breaker_open", "margin = \"1%\"\n")),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    insta::assert_snapshot!(messages(&rows, |lines| format!("{METRICS}{BACKENDS}{ROUTE}[routes.r.guards.g]\n{lines}")));
    let many: String =
        (0..51).map(|n| format!("[routes.r.guards.g{n}]\nwhen = \"breaker_open\"\nthen = \"hold\"\n")).collect();
    assert!(bad(&format!("{BACKENDS}{ROUTE}{many}"), &[]).contains("51 guards"));
}

#[test]
fn plans() {
    let stage = |keys: &str| format!("[[routes.r.rollout.stages]]\n{keys}\n");
    let rows = [
        ("a percentage and a plan", format!("[routes.r.rollout]\npercent = 5\n{}", stage("percent = 10"))),
        ("no stage", "[routes.r.rollout]\nstages = []\n".to_owned()),
        ("a plan's keys without a plan", "[routes.r.rollout]\nrun = \"1\"\nwatch = \"1h\"\n".to_owned()),
        ("a stage without a share", stage("name = \"a\"")),
        ("less than before", [10, 25, 20].map(|share| stage(&format!("percent = {share}"))).concat()),
        ("more than everybody", stage("percent = 101")),
        ("a name twice", ["name = \"a\"\npercent = 1", "name = \"a\"\npercent = 2"].map(stage).concat()),
        ("no name", stage("name = \"\"\npercent = 1")),
        ("a name in two lines", stage("name = \"a\\nb\"\npercent = 1")),
        ("a deadline before its time", stage("percent = 1\nhold = \"2h\"\ndeadline = \"1h\"")),
        ("a deadline before it has settled", stage("percent = 1\nsettle = \"2h\"\ndeadline = \"1h\"")),
        ("no deadline", stage("percent = 1\non_deadline = \"rollback\"")),
        ("what becomes of it", stage("percent = 1\ndeadline = \"1h\"\non_deadline = \"abort\"")),
        ("times", stage("percent = 1\nhold = 5\nsettle = \"2d\"")),
        ("counts", stage("percent = 1\nmin_users = -1\nmin_requests = \"many\"")),
        (
            "conditions",
            stage(
                "percent = 1\npass = [\"error_rate < 1%\", \"quality\", \"latency.mean < 2000\", \"quality.p95 > 1\", 5]",
            ),
        ),
        ("a confidence of a quantile", stage("percent = 1\npass = [\"latency.p95 < control at 95%\"]")),
        ("one condition", stage("percent = 1\npass = \"error_rate < 1%\"")),
        ("a key that there is not", stage("percentage = 1")),
        ("budget", "[routes.r.rollout]\nerror_budget = 0\nabort_on_failures = \"yes\"\n".to_owned()),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    insta::assert_snapshot!(messages(&rows, |lines| format!("{METRICS}{BACKENDS}{ROUTE}{lines}")));
    let many = stage("percent = 1").repeat(51);
    assert!(bad(&format!("{BACKENDS}{ROUTE}{many}"), &[]).contains("51 stages"));
}

/// At 100 % nobody is drawn to control, so that its figures have to be kept.
#[test]
fn guards_that_will_have_nobody_to_compare_with_are_told() {
    let guard = |keys: &str| format!("guards.g = {{ when = \"error_rate > control * 2\", then = \"hold\"{keys} }}\n");
    let fixed = |share: u8| format!("rollout.percent = {share}\n");
    let rows = [
        (fixed(100), guard(""), 1),
        (fixed(99), guard(""), 0),
        (fixed(100), guard(", baseline = \"frozen\""), 0),
        // Who is held out was not drawn by the same hash.
        (format!("holdout = 1\n{}", fixed(100)), guard(""), 1),
        (fixed(100), "guards.g = { when = \"error_rate > 5%\", then = \"hold\" }\n".to_owned(), 0),
        ("rollout.stages = [{ percent = 5 }, { percent = 100 }]\n".to_owned(), guard(""), 1),
        ("rollout.stages = [{ percent = 5 }, { percent = 50 }]\n".to_owned(), guard(""), 0),
    ];
    for (rollout, guard, expected) in rows {
        let loaded = good(&format!("{BACKENDS}{ROUTE}{rollout}{guard}"), &[]);
        assert_eq!(loaded.warnings.len(), expected, "{rollout}{guard}: {:?}", loaded.warnings);
    }
}
