//! Judges, kept exchanges and copies all at once, with everything behind them at its worst: clients and backends
//! notice nothing, memory stays within its bound, and nothing counts twice.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;

use crate::reading::get;
use crate::support::message::Ending;
use crate::support::upstream::{ok, with_fields};
use crate::support::{BOUND, Setup, Upstream, eventually, pattern};

/// Bytes of a body of which many are sent.
const LARGE: usize = 900_000;
/// How many of them: together several times what may be held.
const MANY: usize = 300;
/// How much the process may grow meanwhile: what may be held (32 MiB), and buffers.
const GROWTH_KIB: u64 = 96 * 1024;

/// Everything that can be asked for, of everything.
fn setup(control: &str, candidate: &str, judge: &str) -> Setup {
    Setup::new(format!(
        "state.store = \"sqlite:pointsman.db\"\n[admin.tokens.board]\nrole = \"viewer\"\n\
         token = \"board-token-0123456789\"\n[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\n\
         from = {{ judge = \"llm\" }}\n[judges.llm]\nurl = {judge:?}\nqueue = 10000\n\
         [backends.old]\nurl = {control:?}\n[backends.new]\nurl = {candidate:?}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\nfallback.replay = \"connect\"\n\
         [routes.all.judge]\nby = \"llm\"\npercent = 100\nmax_body = \"1MiB\"\n\
         send = {{ query = {{ request_json = \"/query\" }}, answer = {{ response_json = \"/text\" }} }}\n\
         [routes.all.samples]\npercent = 100\nmax_body = \"1MiB\"\n\
         [routes.all.shadow]\npercent = 100\nmethods = [\"GET\", \"POST\"]\nqueue = 10000\n"
    ))
}

fn hanging() -> Upstream {
    Upstream::scripted(|conversation| {
        conversation.request();
        conversation.await_departure();
    })
}

#[test]
fn pieces_pass_one_by_one_in_both_directions() {
    let ((go, gate), (came, arrivals)) = (channel::<()>(), channel::<Vec<u8>>());
    let (gate, came) = (Mutex::new(gate), Mutex::new(came));
    let control = Upstream::scripted(move |conversation| {
        let Some(head) = conversation.head() else { return };
        assert_eq!(head.get("x-pointsman-shadow"), None);
        for _ in 0..5 {
            // The client sends a piece only when the one before is here: whoever gathers, waits for ever.
            let piece = conversation.wire.chunk().unwrap().unwrap();
            came.lock().unwrap().send(piece).unwrap();
        }
        conversation.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for token in 0..5 {
            gate.lock().unwrap().recv_timeout(BOUND).unwrap();
            conversation.write_chunk(format!("data: {token}\n\n").as_bytes());
        }
        conversation.write("0\r\n\r\n");
    });
    let (candidate, judge) = (hanging(), hanging());
    let gateway = setup(&control.url(), &candidate.url(), &judge.url()).start();
    let mut client = gateway.client();
    let head = "POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-type: application/json\r\n";
    client.send(format!("{head}transfer-encoding: chunked\r\n\r\n"));
    for digit in ["1", "2", "3", "4", "5"] {
        client.send(format!("1\r\n{digit}\r\n"));
        assert_eq!(arrivals.recv_timeout(BOUND).unwrap(), digit.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.head().0, 200);
    for token in 0..5 {
        go.send(()).unwrap();
        assert_eq!(client.wire.chunk().unwrap().unwrap(), format!("data: {token}\n\n").as_bytes());
    }
    assert_eq!(client.wire.chunk().unwrap().unwrap(), b"");
    candidate.await_heads(1);
    let kept = "pointsman_sampled_total{route=\"all\",purpose=\"samples\",result=\"done\"}";
    eventually("the exchange is kept", || (gateway.metric(kept) == Some(1.0)).then_some(()));
}

#[test]
fn large_bodies_before_a_candidate_that_hangs_stay_within_the_bound() {
    let (control, candidate, judge) = (Upstream::echo(), hanging(), hanging());
    let gateway = setup(&control.url(), &candidate.url(), &judge.url()).start();
    let body = pattern(LARGE);
    let mut client = gateway.client();
    let fields = [("x-user-id", "u"), ("content-type", "application/octet-stream")];
    assert_eq!(client.request("POST", "/", &fields, &body).body, body);
    let before = gateway.resident_kib();
    for _ in 1..MANY {
        let answer = client.request("POST", "/", &fields, &body);
        assert_eq!((answer.status, answer.ending, answer.body == body), (200, Ending::Whole, true));
    }
    let grown = gateway.peak_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    let dropped = "pointsman_sampled_total{route=\"all\",purpose=\"shadow\",result=\"no_memory\"}";
    assert!(gateway.count(dropped) > 200.0, "{}", gateway.count(dropped));
}

#[test]
fn an_answer_to_a_copy_is_read_to_its_end_however_it_comes() {
    let pieces = 200_usize;
    let candidate = Upstream::scripted(move |conversation| {
        while conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for piece in 0..pieces {
                conversation.write_chunk(&pattern(1_000 + piece));
            }
            conversation.write("0\r\nx-end: yes\r\n\r\n");
        }
    });
    let bytes: usize = (0..pieces).map(|piece| 1_000 + piece).sum();
    let (control, judge) = (Upstream::saying("{}"), hanging());
    let gateway = setup(&control.url(), &candidate.url(), &judge.url()).start();
    for count in 1..=3 {
        assert_eq!(gateway.ask().text(), "{}");
        let read = || gateway.metric("pointsman_shadow_response_bytes_total{route=\"all\",arm=\"candidate\"}");
        eventually("all of it", || (read() == Some((count * bytes) as f64)).then_some(()));
    }
    assert_eq!(candidate.connections(), 1, "a connection whose answer was read serves the next copy");
}

#[test]
fn a_verdict_counts_once_also_after_a_crash() {
    let control =
        Upstream::answering(|_| with_fields(200, "OK", "content-type: application/json\r\n", "{\"text\": 1}"));
    let judge = Upstream::answering(|_| ok("{\"scores\": {\"quality\": 0.5}}"));
    let mut gateway = setup(&control.url(), "http://127.0.0.1:9", &judge.url()).start();
    (0..3).for_each(|_| drop(gateway.ask()));
    let done = "pointsman_sampled_total{route=\"all\",purpose=\"judge\",result=\"done\"}";
    eventually("three verdicts", || (gateway.metric(done) == Some(3.0)).then_some(()));
    let counted = |gateway: &crate::support::Gateway| {
        let stats = get(gateway, "/api/v1/stats?window=1h&route=all")["routes"]["all"].clone();
        stats["control"]["metrics"]["quality"]["count"].clone()
    };
    for round in 0..2 {
        gateway.kill();
        gateway.start_again();
        eventually("the store is open", || (gateway.metric("pointsman_store_up") == Some(1.0)).then_some(()));
        eventually("three scores", || (counted(&gateway) == json!(3.0)).then_some(()));
        assert_eq!(get(&gateway, "/api/v1/events?type=judge.llm")["events"].as_array().unwrap().len(), 3, "{round}");
    }
}
