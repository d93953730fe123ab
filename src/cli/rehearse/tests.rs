use std::path::Path;

use clap::Parser as _;
use serde_json::Value;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

const FILE: &str = r#"
[backends.old]
url = "http://old"
[backends.new]
url = "http://new"
[metrics.quality]
kind = "value"
better = "higher"
from = { event = "rated", value = "/value" }
[routes.answers]
path = "/"
control = "old"
candidate = "new"
[routes.answers.rollout]
watch = "30s"
stages = [{ percent = 20.0, hold = "2m" }, { percent = 50.0, hold = "2m", approve = true }]
[routes.answers.guards.errors]
when = "error_rate > control"
test = "sequential"
margin = "2%"
then = "rollback"
[routes.answers.guards.quality]
when = "quality < 0.6"
window = "2m"
then = "hold"
[routes.plain]
path = "/plain"
control = "old"
candidate = "new"
rollout.percent = 10.0
"#;

fn args(words: &[&str]) -> Args {
    Line::try_parse_from([&["rehearse"], words].concat()).unwrap_or_else(|error| panic!("{error}")).args
}

fn config() -> crate::config::model::Config {
    let loaded = crate::config::load_text(FILE, "gateway.toml", &std::collections::BTreeMap::new());
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

fn told(words: &[&str]) -> anyhow::Result<Value> {
    let config = config();
    rehearsed(&args(&[&["--route", "answers", "--runs", "4"], words].concat()), &config, &config.routes[0])
        .map(|told| told::as_json(&told))
}

#[test]
fn equal_arms_complete_and_a_bad_candidate_does_not() {
    let found = told(&["--effect", "error_rate=30%", "--rate", "20"]).unwrap();
    assert_eq!(found["sets"]["equal"]["ends"]["completed"]["share"], 1.0, "{found:#}");
    assert_eq!(found["sets"]["equal"]["ends"]["completed"]["median_seconds"], 270, "{found:#}");
    assert_eq!(found["sets"]["effect"]["guards"]["errors"]["acted"], 1.0, "{found:#}");
    assert_eq!(found["sets"]["effect"]["ends"]["rolled_back"]["share"], 1.0, "{found:#}");
    let text = {
        let config = config();
        let args = args(&["--route", "answers", "--runs", "2", "--effect", "quality=0.3"]);
        told::as_text(&rehearsed(&args, &config, &config.routes[0]).unwrap())
    };
    for part in ["route answers: 2 run(s)", "quality < 0.6", "error_rate > control", "catastrophe", "rolled back"] {
        assert!(text.contains(part), "{text}");
    }
    let again = told(&["--effect", "error_rate=30%", "--rate", "20"]).unwrap();
    assert_eq!(again, found, "the same seed, the same answer");
}

#[test]
fn what_cannot_be_rehearsed_is_told() {
    let rows: [(&[&str], &str); 9] = [
        (&["--effect", "error_rate"], "expected METRIC=MEAN"),
        (&["--effect", "sped=1"], "there is no metric \"sped\""),
        (&["--effect", "latency=1s"], "no guard or gate of the route looks at it"),
        (&["--effect", "error_rate=many"], "expected a number such as"),
        (&["--effect", "error_rate=120%"], "error_rate is a share"),
        (&["--effect", "quality=0.5,0.1"], "it takes a mean alone"),
        (&["--mean", "quality=0.5,0.1,3"], "expected a mean, and perhaps a deviation"),
        (&["--rate", "10000", "--days", "2"], "more than 20000000 requests"),
        (&["--from", "/not/there"], "cannot read /not/there"),
    ];
    for (words, expected) in rows {
        let error = format!("{:#}", told(words).unwrap_err());
        assert!(error.contains(expected), "{words:?}: {error}");
    }
    let refused = |words: &[&str]| Line::try_parse_from([&["rehearse"], words].concat()).is_err();
    for words in
        [&[][..], &["--route", "r", "--runs", "0"], &["--route", "r", "--skew", "3"], &["--route", "r", "--demands"]]
    {
        assert!(refused(words), "{words:?}");
    }
}

#[test]
fn a_file_without_such_a_route_or_anything_to_rehearse_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, FILE).unwrap();
    let file = path.to_str().unwrap();
    for (words, code) in [(&["--route", "other"], MISTAKES), (&["--route", "plain"], MISTAKES)] {
        let found = run(&args(&[&[file], &words[..]].concat())).unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", ExitCode::from(code)), "{words:?}");
    }
    let found = run(&args(&[file, "--route", "answers", "--runs", "1", "--json"])).unwrap();
    assert_eq!(format!("{found:?}"), format!("{:?}", ExitCode::SUCCESS));
}

fn recording(path: &Path, route: &str) {
    let line = |n: u32| {
        let at = jiff::Timestamp::from_second(1_790_000_000 + i64::from(n) / 4).unwrap();
        let value = 0.7 + f64::from(n % 5) / 20.0;
        format!(
            r#"{{"number": {n}, "name": "rated", "at": "{at}", "user": "{:032x}", "route": "{route}", "arm": "control", "value": {value}, "data": null}}"#,
            n % 700
        )
    };
    std::fs::write(path, (0..1_300).map(|n| line(n) + "\n").collect::<String>()).unwrap();
}

#[test]
fn what_was_exported_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ndjson");
    recording(&path, "answers");
    let file = path.to_str().unwrap();
    let found = told(&["--from", file, "--effect", "quality=0.3"]).unwrap();
    let mean = found["assumed"][0]["mean"].as_f64().unwrap();
    assert!((mean - 0.8).abs() < 1e-9, "{found:#}");
    assert_eq!(found["sets"]["equal"]["guards"]["quality"]["acted"], 0.0, "{found:#}");
    assert_eq!(found["sets"]["effect"]["guards"]["quality"]["acted"], 1.0, "{found:#}");
    assert_eq!(found["sets"]["equal"]["ends"]["completed"]["share"], 1.0, "{found:#}");

    recording(&path, "other");
    let error = format!("{:#}", told(&["--from", file]).unwrap_err());
    assert!(error.contains("no event of route answers counts for a metric"), "{error}");
    std::fs::write(&path, "{}\n").unwrap();
    let error = format!("{:#}", told(&["--from", file]).unwrap_err());
    assert!(error.contains("line 1 is no exported event"), "{error}");
}
