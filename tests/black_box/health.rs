//! The candidate's health: breaker, rate limits, bulkhead, quality gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::upstream::{Refusing, ok, status, with_fields};
use crate::support::{Answer, Gateway, Setup, Upstream, eventually};

/// A candidate that can be made ill and well while it runs.
struct Patient {
    upstream: Upstream,
    state: Arc<AtomicUsize>,
}

const WELL: usize = 0;
const ILL: usize = 1;
const LIMITED: usize = 2;

impl Patient {
    fn new(state: usize) -> Self {
        let state = Arc::new(AtomicUsize::new(state));
        let now = Arc::clone(&state);
        let upstream = Upstream::answering(move |_| match now.load(Ordering::SeqCst) {
            WELL => ok("candidate"),
            ILL => status(500, "Oh", "ill"),
            _ => with_fields(429, "Slow", "retry-after: 1\r\n", "slow"),
        });
        Self { upstream, state }
    }

    fn become_(&self, state: usize) {
        self.state.store(state, Ordering::SeqCst);
    }
}

/// A control beside this candidate, with these keys of the candidate, of the route, and more tables.
fn beside(control: &Upstream, candidate: &Upstream, backend: &str, route: &str, more: &str) -> Gateway {
    Setup::new(format!(
        "[backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {:?}\n{backend}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nrollout.percent = 100\n{route}\n\
         {more}\n",
        control.url(),
        candidate.url()
    ))
    .start()
}

/// Asks once; the reason, after a check that the client saw no error.
#[track_caller]
fn reason(gateway: &Gateway) -> String {
    let answer = gateway.ask();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.get("x-pointsman-reason").unwrap().to_owned()
}

#[test]
fn the_breaker_opens_probes_and_closes_and_the_client_sees_no_error() {
    let control = Upstream::saying("control");
    let candidate = Patient::new(ILL);
    let breaker = "breaker = { consecutive_failures = 3, open_for = \"300ms\", successes = 2, recover_over = \"0s\" }";
    let gateway = beside(&control, &candidate.upstream, breaker, "", "");
    let reasons: Vec<String> = (0..5).map(|_| reason(&gateway)).collect();
    assert_eq!(reasons, ["fallback", "fallback", "fallback", "breaker_open", "breaker_open"]);
    assert_eq!(candidate.upstream.heads(), 3, "an open breaker lets nothing through");

    // A probe that fails opens it again, and the client of the probe sees control's answer.
    eventually("a probe", || (reason(&gateway) == "fallback").then_some(()));
    assert_eq!(candidate.upstream.heads(), 4);
    assert_eq!(reason(&gateway), "breaker_open");

    candidate.become_(WELL);
    let mut probes = 0;
    eventually("recovery", || match reason(&gateway).as_str() {
        "breaker_open" => None,
        "breaker_probe" => {
            probes += 1;
            None
        }
        "rollout" => Some(()),
        other => panic!("{other}"),
    });
    assert_eq!(probes, 2);
    for position in ["open", "closed"] {
        assert!(gateway.stderr().contains(&format!("\"position\":\"{position}\"")), "{position} is not in the log");
    }
}

#[test]
fn admission_grows_after_the_breaker_closed() {
    let control = Upstream::saying("control");
    let candidate = Patient::new(ILL);
    let breaker = "breaker = { consecutive_failures = 1, open_for = \"50ms\", successes = 1, recover_over = \"20s\" }";
    let gateway = beside(&control, &candidate.upstream, breaker, "", "");
    assert_eq!(reason(&gateway), "fallback");
    candidate.become_(WELL);
    eventually("a probe", || (reason(&gateway) == "breaker_probe").then_some(()));
    let mut client = gateway.client();
    let through =
        (0..100).filter(|user| client.get("/", &[("x-user-id", &format!("u{user}"))]).text() == "candidate").count();
    assert!(through < 60, "{through} of 100 users at once");
}

#[test]
fn a_breaker_opens_on_a_share_of_failures_too() {
    let control = Upstream::saying("control");
    let count = AtomicUsize::new(0);
    let candidate = Upstream::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => status(503, "Oh", "ill"),
        _ => ok("candidate"),
    });
    let breaker = "breaker = { failure_ratio = 0.4, min_requests = 10, window = \"30s\" }";
    let gateway = beside(&control, &candidate, breaker, "", "");
    eventually("the breaker opens", || (reason(&gateway) == "breaker_open").then_some(()));
    assert!((9..=12).contains(&candidate.heads()), "{} requests", candidate.heads());
}

#[test]
fn faults_of_the_client_leave_the_breaker_closed() {
    let control = Upstream::saying("control");
    let candidate = Upstream::scripted(|conversation| {
        while let Some(seen) = conversation.request() {
            if seen.head.start.starts_with("GET /wait") {
                return conversation.await_departure();
            }
            conversation.write(status(400, "Bad", "yours"));
        }
    });
    let gateway = beside(&control, &candidate, "breaker = { consecutive_failures = 1 }", "", "");
    gateway.ask().expect(400, "yours");
    for round in 1..=3 {
        let mut client = gateway.client();
        client.send("GET /wait HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n\r\n");
        candidate.await_heads(1 + round);
        client.reset();
        candidate.await_departures(round);
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-length: 9\r\n\r\nhalf");
        candidate.await_heads(1 + round);
        client.reset();
    }
    gateway.await_lines(4);
    assert_eq!(gateway.ask().get("x-pointsman-reason"), Some("rollout"));
}

#[test]
fn a_candidate_that_asks_to_be_left_alone_is() {
    let control = Upstream::saying("control");
    let candidate = Patient::new(LIMITED);
    let gateway = beside(&control, &candidate.upstream, "breaker = { consecutive_failures = 1 }", "", "");
    assert_eq!(reason(&gateway), "fallback");
    assert_eq!(reason(&gateway), "rate_limited");
    assert_eq!(candidate.upstream.heads(), 1);
    candidate.become_(WELL);
    eventually("the second is over", || match reason(&gateway).as_str() {
        "rate_limited" => None,
        "rollout" => Some(()),
        other => panic!("{other}"),
    });
}

#[test]
fn a_candidate_without_room_is_busy_and_control_serves() {
    let control = Upstream::saying("control");
    let candidate = Upstream::scripted(|conversation| {
        while conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
            conversation.await_departure();
        }
    });
    for (keys, expected) in [("", 200), ("fallback = { on = [] }", 503)] {
        let gateway = beside(&control, &candidate, "max_in_flight = 2", keys, "");
        let mut holders = [gateway.client(), gateway.client()];
        for holder in &mut holders {
            holder.send("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n\r\n");
            assert_eq!(holder.head().0, 200);
        }
        let answer = gateway.ask();
        assert_eq!((answer.status, answer.get("x-pointsman-reason")), (expected, Some("busy")), "{keys}");
        expect_busy(&gateway, &answer);
        drop(holders);
        // Room is made when they are gone.
        gateway.await_lines(3);
        let mut again = gateway.client();
        again.send("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n\r\n");
        let (_, head) = again.head();
        assert_eq!(head.get("x-pointsman-reason"), Some("rollout"));
    }
}

/// The candidate had no room for one request, which got this answer: counts and line tell what came of it.
#[track_caller]
fn expect_busy(gateway: &Gateway, answer: &Answer) {
    let covered = answer.status == 200;
    let count = |name: &str| gateway.count(&format!("pointsman_fallbacks_{name}{{route=\"all\",cause=\"busy\"}}"));
    assert_eq!((count("total"), count("suppressed_total")), if covered { (1.0, 0.0) } else { (0.0, 1.0) });
    let line = gateway.line_of(answer);
    assert_eq!(line["fallback"], if covered { "busy".into() } else { Value::Null }, "{line}");
    assert_eq!((&line["served"], &line["reason"]), (&"control".into(), &"busy".into()), "{line}");
}

#[test]
fn room_that_is_lost_after_the_decision_is_asked_of_the_route_as_well() {
    let control = Upstream::saying("control");
    let candidate = Upstream::scripted(|conversation| {
        while conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
            conversation.await_departure();
        }
    });
    for (on, expected) in [("\"busy\"", 200), ("", 503)] {
        // What is rewritten is gathered between the decision and the try.
        let keys = format!("fallback = {{ on = [{on}] }}\nrewrite.candidate.request.json_merge = {{ a = 2 }}");
        let gateway = beside(&control, &candidate, "max_in_flight = 1", &keys, "");
        let mut late = gateway.client();
        late.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-length: 8\r\n\r\n{\"a\":");
        eventually("it is decided", || gateway.metric("pointsman_requests_in_flight").filter(|count| *count == 1.0));
        let mut holder = gateway.client();
        holder.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-length: 2\r\n\r\n{}");
        let (status, head) = holder.head();
        assert_eq!((status, head.get("x-pointsman-reason")), (200, Some("rollout")));
        late.send(" 1}");
        let answer = late.answer();
        assert_eq!((answer.status, answer.get("x-pointsman-reason")), (expected, Some("busy")), "{on}");
        expect_busy(&gateway, &answer);
    }
}

#[test]
fn forced_and_overridden_requests_go_past_the_breaker() {
    let control = Upstream::saying("control");
    let candidate = Patient::new(ILL);
    let keys = "override = { key = \"open-sesame\" }\nfallback = { on = [\"connect\"] }";
    let gateway = beside(&control, &candidate.upstream, "breaker = { consecutive_failures = 1 }", keys, "");
    gateway.ask().expect(500, "ill");
    assert_eq!(reason(&gateway), "breaker_open");
    let answer = gateway.get("/", &[("x-user-id", "u"), ("x-pointsman-override", "candidate open-sesame")]);
    answer.expect(500, "ill");
}

#[test]
fn the_control_has_a_breaker_only_where_the_file_asks_for_it() {
    for (keys, expected) in [("", 500), ("breaker = { consecutive_failures = 2, open_for = \"10s\" }", 503)] {
        let upstream = Upstream::answering(|_| status(500, "Oh", "ill"));
        let gateway = Setup::new(format!(
            "[backends.a]\nurl = {:?}\n{keys}\n[routes.all]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n",
            upstream.url()
        ))
        .start();
        for _ in 0..2 {
            assert_eq!(gateway.get("/", &[]).status, 500);
        }
        let answer = gateway.get("/", &[]);
        assert_eq!(answer.status, expected, "{keys}");
        if expected == 503 {
            assert_eq!((answer.code().as_str(), upstream.heads()), ("breaker_open", 2));
            assert!(answer.get("retry-after").is_some());
        }
    }
}

#[test]
fn bad_scores_shut_the_quality_gate_and_good_ones_open_it_again() {
    let control = Upstream::answering(|_| with_fields(200, "OK", "x-quality-score: 0.1\r\n", "control"));
    let good = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&good);
    let candidate = Upstream::answering(move |_| {
        let score = if now.load(Ordering::SeqCst) == 1 { "0.95" } else { "0.3" };
        with_fields(200, "OK", &format!("x-quality-score: {score}\r\n"), "candidate")
    });
    let gate = "quality_gate = { metric = \"quality\", min = 0.7, window = \"2s\", min_samples = 5, \
                retry_after = \"200ms\", probe_percent = 100.0 }";
    let metric =
        "[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\nfrom = { response_header = \"x-quality-score\" }";
    let gateway = beside(&control, &candidate, "", gate, metric);
    for _ in 0..5 {
        assert_eq!(reason(&gateway), "rollout");
    }
    eventually("the gate shuts", || (reason(&gateway) == "quality_gate").then_some(()));
    good.store(1, Ordering::SeqCst);
    eventually("the gate probes", || (reason(&gateway) == "quality_probe").then_some(()));
    eventually("the gate opens", || {
        std::thread::sleep(Duration::from_millis(20));
        (reason(&gateway) == "rollout").then_some(())
    });
    let scored = gateway.access_lines().iter().any(|line| line["attempts"][0]["score"] == 0.95);
    assert!(scored, "the score is not in the access log");
}

#[test]
fn a_backend_that_comes_up_is_used_without_a_restart() {
    let control = Upstream::saying("control");
    let candidate = Refusing::new();
    let gateway = Setup::new(format!(
        "[backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {:?}\n\
         breaker = {{ consecutive_failures = 3, open_for = \"100ms\", successes = 1, recover_over = \"0s\" }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nrollout.percent = 100\n",
        control.url(),
        candidate.url()
    ))
    .start();
    for _ in 0..5 {
        gateway.ask().expect(200, "control");
    }
    let candidate = candidate.open(|conversation| {
        while conversation.request().is_some() {
            conversation.write(ok("candidate"));
        }
    });
    eventually("the candidate serves", || (reason(&gateway) == "rollout").then_some(()));
    assert!(candidate.heads() > 0);
}

#[test]
fn a_probe_whose_client_left_gives_its_place_back() {
    let control = Upstream::saying("control");
    let ill = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&ill);
    let candidate = Upstream::scripted(move |conversation| {
        while let Some(seen) = conversation.request() {
            if seen.head.start.starts_with("GET /wait") && now.load(Ordering::SeqCst) == 0 {
                return conversation.await_departure();
            }
            conversation.write(if now.load(Ordering::SeqCst) == 1 {
                status(500, "Oh", "ill")
            } else {
                ok("candidate")
            });
        }
    });
    let breaker = "breaker = { consecutive_failures = 1, open_for = \"50ms\", successes = 1, recover_over = \"0s\" }";
    let gateway = beside(&control, &candidate, breaker, "", "");
    assert_eq!(reason(&gateway), "fallback");
    ill.store(0, Ordering::SeqCst);
    // Asks until the request is the probe, which then waits at the candidate.
    eventually("a waiting probe", || {
        let mut client = gateway.client();
        client.send("GET /wait HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n\r\n");
        client.set_patience(Duration::from_millis(100));
        let waits = client.wire.head().is_err();
        client.reset();
        waits.then_some(())
    });
    candidate.await_departures(1);
    eventually("the next probe", || (reason(&gateway) == "breaker_probe").then_some(()));
    assert_eq!(reason(&gateway), "rollout");
}
