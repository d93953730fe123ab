use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::alerts::{Seen, WebhookStatus};
use crate::config;
use crate::controller::rollout::{GuardView, View};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::decision::Reason;
use crate::domain::guard::{Action, Finding, Verdict};
use crate::domain::pairs::Preference;
use crate::domain::reading::{Tokens, Unread};
use crate::domain::sampling::{Fate, Purpose};
use crate::jwt::Rejection;
use crate::live::shadows::Answered;
use crate::measure::counters::CodeClass;

const FILE: &str = r#"
[jwt]
algorithms = ["RS256"]
jwks = { url = "http://127.0.0.1:1/keys" }
[metrics.quality]
kind = "value"
better = "higher"
from = { response_header = "x-quality-score" }
[judges.llm]
url = "http://127.0.0.1:1/judge"
[backends.old]
url = "http://127.0.0.1:1/secret-path"
[backends.new]
urls = ["http://127.0.0.1:2", "http://name.invalid:3"]
prices = { input = 3.0, output = 15.0 }
budget = { cost_per_day = 2.0 }
[routes.answers]
control = "old"
candidate = "new"
rollout = { percent = 25.0 }
quality_gate = { metric = "quality", min = 0.7 }
pin = { by = "user", secrets = ["0123456789abcdef"] }
shadow = { percent = 10 }
judge = { by = "llm", percent = 5, send = { answer = { response_json = "/answer" } } }
"#;

/// A gateway in which everything has happened once.
fn exercised(runtime: &tokio::runtime::Runtime) -> Arc<Live> {
    let loaded = config::load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap();
    let live = Live::new(loaded, 2, runtime.handle().clone()).unwrap();
    let snapshot = live.snapshot();
    for counters in &snapshot.routes[0].counters {
        counters.request(Arm::Candidate, Arm::Control, Reason::Fallback, CodeClass::Of(2));
        counters.drawn[Arm::Candidate.index()].add(1);
        counters.attempt(Arm::Candidate, Outcome::Reset);
        counters.duration[1].record(Duration::from_millis(3));
        counters.first_byte[1].record(Duration::from_millis(2));
        counters.overhead.record(Duration::from_micros(30));
        counters.keyless.add(1);
        counters.pins_rejected[1].add(1);
        counters.read[1].tokens(Tokens { input: Some(11), output: None });
        counters.read[1].cost.add(0.25);
        counters.read[1].first_token.record(Duration::from_millis(2));
        counters.read[1].unread[Unread::Truncated.index()].add(1);
    }
    snapshot.routes[0].note_sampled(Purpose::Judge, Fate::Budget);
    let answered = |status, millis| Answered { status, duration: Duration::from_millis(millis), bytes: 7 };
    let shadow = &snapshot.routes[0].shadow;
    shadow.note([&answered(200, 3), &answered(503, 40)], Outcome::Status, true);
    shadow.note([&answered(200, 3), &answered(0, 0)], Outcome::Connect, false);
    shadow.note_preference(Preference::Tie);
    snapshot.judges[0].state.count(0);
    snapshot.judges[0].state.set_waiting(3);
    snapshot.backends[0].state.spend(crate::clock::utc_day(), 0.5);
    live.workers[0].connections.add(3);
    live.workers[1].disconnections.add(1);
    live.workers[0].jwt_rejected[Rejection::Expired.index()].add(1);
    live.workers[1].jwt_rejected[Rejection::Expired.index()].add(2);
    let mut reloads = live.reloads();
    reloads.counts.insert(("applied", "watch"), 2);
    reloads.watching = "inotify+poll";
    reloads.restart_required = vec!["listen.address".into()];
    drop(reloads);
    live
}

fn text() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let live = exercised(&runtime);
    let intake = Intake::new(Arc::clone(&live), Arc::default());
    let webhook = WebhookStatus {
        name: "ops".into(),
        format: "slack",
        waiting: 1,
        delivered: 2,
        failed: 3,
        given_up: 4,
        error: None,
    };
    let alerts = Alerts::showing(Seen { webhooks: vec![webhook], ..Seen::default() });
    let finding = Finding { verdict: Verdict::Fails, found: Some(0.01), limit: Some(0.05), samples: 200.0 };
    let guard = GuardView {
        name: "errors".to_owned(),
        when: "error_rate > 5%".to_owned(),
        then: Action::Rollback,
        finding,
        breached_seconds: 0.0,
        for_seconds: 60.0,
    };
    let (route, state) = ("answers".to_owned(), "held".to_owned());
    let rollouts = Rollouts::showing(View { route, state, guards: vec![guard], ..View::default() });
    render(&live, &intake, &alerts, &rollouts, 7).unwrap()
}

#[test]
fn every_family_of_the_table_is_told_and_no_other() {
    let text = text();
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let declared: Vec<String> = families().map(|family| format!("{} {}", family.name, family.kind.as_str())).collect();
    assert_eq!(told, declared);
}

#[test]
fn values_are_those_of_the_gateway() {
    let text = text();
    let rows = [
        r#"pointsman_requests_total{route="answers",assigned="candidate",served="control",reason="fallback",code_class="2xx"} 2"#,
        r#"pointsman_attempts_total{route="answers",arm="candidate",outcome="reset"} 2"#,
        r#"pointsman_request_duration_seconds_bucket{route="answers",served="candidate",le="0.0025"} 0"#,
        r#"pointsman_request_duration_seconds_bucket{route="answers",served="candidate",le="0.005"} 2"#,
        r#"pointsman_request_duration_seconds_bucket{route="answers",served="candidate",le="+Inf"} 2"#,
        r#"pointsman_request_duration_seconds_sum{route="answers",served="candidate"} 0.006"#,
        r#"pointsman_keyless_requests_total{route="answers"} 2"#,
        r#"pointsman_pins_rejected_total{route="answers",reason="forged"} 2"#,
        r#"pointsman_tokens_total{route="answers",arm="candidate",direction="input"} 22"#,
        r#"pointsman_tokens_total{route="answers",arm="candidate",direction="output"} 0"#,
        r#"pointsman_sampled_total{route="answers",purpose="judge",result="budget"} 1"#,
        r#"pointsman_sampled_total{route="answers",purpose="shadow",result="done"} 0"#,
        r#"pointsman_shadow_percent{route="answers"} 10"#,
        r#"pointsman_shadow_attempts_total{route="answers",outcome="connect"} 1"#,
        r#"pointsman_shadow_duration_seconds_sum{route="answers",arm="candidate"} 0.04"#,
        r#"pointsman_shadow_duration_seconds_count{route="answers",arm="control"} 1"#,
        r#"pointsman_shadow_response_bytes_total{route="answers",arm="control"} 7"#,
        r#"pointsman_shadow_statuses_total{route="answers",control="2xx",candidate="5xx"} 1"#,
        r#"pointsman_shadow_statuses_total{route="answers",control="2xx",candidate="none"} 1"#,
        r#"pointsman_shadow_preferences_total{route="answers",preference="tie"} 1"#,
        r#"pointsman_judge_requests_total{judge="llm",result="ok"} 1"#,
        r#"pointsman_judge_waiting{judge="llm"} 3"#,
        r#"pointsman_cost_total{route="answers",arm="candidate"} 0.5"#,
        r#"pointsman_time_to_first_token_seconds_count{route="answers",arm="candidate"} 2"#,
        r#"pointsman_answers_unread_total{route="answers",arm="candidate",reason="truncated"} 2"#,
        r#"pointsman_budget_used_ratio{backend="new"} 0.25"#,
        r#"pointsman_rollout_percent{route="answers"} 25"#,
        r#"pointsman_rollout_state{route="answers",state="held"} 1"#,
        r#"pointsman_rollout_state{route="answers",state="running"} 0"#,
        r#"pointsman_rollout_state{route="answers",state="state_unknown"} 0"#,
        r#"pointsman_guard_state{route="answers",guard="errors",verdict="fails"} 1"#,
        r#"pointsman_guard_state{route="answers",guard="errors",verdict="holds"} 0"#,
        r#"pointsman_effective_percent{route="answers"} 100"#,
        r#"pointsman_quality_gate_open{route="answers"} 1"#,
        r#"pointsman_breaker_state{backend="new"} 0"#,
        r#"pointsman_endpoint_addresses{backend="new",endpoint="http://name.invalid:3"} 0"#,
        r#"pointsman_endpoint_healthy_addresses{backend="old",endpoint="http://127.0.0.1:1"} 1"#,
        r#"pointsman_jwt_rejected_total{reason="expired"} 3"#,
        r#"pointsman_jwt_rejected_total{reason="signature"} 0"#,
        "pointsman_jwks_keys 0",
        "pointsman_jwks_last_success_timestamp_seconds 0",
        r#"pointsman_jwks_refreshes_total{result="failure"} 0"#,
        "pointsman_connections 2",
        "pointsman_access_log_lines_dropped_total 7",
        r#"pointsman_config_reloads_total{result="applied",trigger="watch"} 2"#,
        "pointsman_config_restart_required 1",
        "pointsman_ready 1",
        "pointsman_store_up 0",
        r#"pointsman_store_failures_total{operation="append_events"} 0"#,
        r#"pointsman_events_total{result="stored"} 0"#,
        r#"pointsman_exposure_rejected_total{reason="forged"} 0"#,
    ];
    for row in rows {
        assert!(text.lines().any(|line| line == row), "{row}\n{text}");
    }
    assert!(!text.contains("secret-path"));
    let unread = r#"_total{route="answers",arm="control""#;
    assert!(!text.contains(&format!("pointsman_tokens{unread}")), "nothing is read of control\n{text}");
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) if std::env::var_os("CI").is_none() => {
            // Past the test runner, which keeps what passing tests print.
            let skipped = format!("SKIPPED: promtool (Debian package `prometheus`) does not run: {error}\n");
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return;
        }
        Err(error) => panic!("promtool (Debian package `prometheus`) must be there in CI: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(text().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_page_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference(), "docs/metrics.md is out of date: run the tests with POINTSMAN_BLESS=1");
}
