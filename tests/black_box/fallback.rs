//! The candidate fails, control answers, the client sees no error, and the failure counts.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::message::Ending;
use crate::support::upstream::{Blackhole, Refusing, ok, status};
use crate::support::{Answer, BOUND, Conversation, Gateway, Setup, Upstream, pattern};

const QUICK: &str = "timeouts = { connect = \"1s\", first_byte = \"800ms\", idle = \"800ms\" }";

/// A control beside a candidate at this URL, to which everybody goes.
fn beside(control: &Upstream, candidate: &str, keys: &str) -> Gateway {
    Setup::new(format!(
        "[backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {candidate:?}\n{QUICK}\n\
         breaker = {{ consecutive_failures = 1000 }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nrollout.percent = 100\n{keys}\n",
        control.url()
    ))
    .start()
}

/// Control answered for the candidate, whose attempt counts with this outcome.
#[track_caller]
fn check_covered(gateway: &Gateway, answer: &Answer, outcome: &str, cause: &str) {
    answer.expect(200, "control");
    assert_eq!(answer.get("x-pointsman-reason"), Some("fallback"));
    let line = gateway.line_of(answer);
    assert_eq!((&line["assigned"], &line["served"]), (&"candidate".into(), &"control".into()), "{line}");
    assert_eq!(line["fallback"], cause, "{line}");
    let attempts: Vec<_> = line["attempts"].as_array().unwrap().iter().map(|a| (&a["arm"], &a["outcome"])).collect();
    assert_eq!(attempts, [(&"candidate".into(), &outcome.into()), (&"control".into(), &"success".into())], "{line}");
}

/// A candidate that does this once it has read a request.
fn after_request(act: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |conversation| {
        while conversation.request().is_some() {
            act(conversation);
        }
    })
}

/// The ways in which a candidate fails after it was asked, with outcome and cause.
fn failing() -> Vec<(&'static str, Upstream, &'static str, &'static str)> {
    vec![
        ("reset", after_request(Conversation::reset), "reset", "reset"),
        ("close", after_request(Conversation::close), "reset", "reset"),
        ("garbage", after_request(|c| c.write("SSH-2.0-OpenSSH_9\r\n")), "reset", "reset"),
        (
            "half a head",
            after_request(|c| {
                c.write("HTTP/1.1 200 OK\r\nx: ");
                c.close()
            }),
            "reset",
            "reset",
        ),
        ("silence", after_request(Conversation::await_departure), "timeout", "timeout"),
        ("500", after_request(|c| c.write(status(500, "Oh", "no"))), "status", "status"),
        ("503", after_request(|c| c.write(status(503, "Oh", "no"))), "status", "status"),
        ("429", after_request(|c| c.write(status(429, "Slow", "no"))), "429", "429"),
        ("101", after_request(|c| c.write("HTTP/1.1 101 Surprise\r\n\r\n")), "reset", "reset"),
        (
            "bad coding",
            after_request(|c| c.write("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
            "reset",
            "reset",
        ),
    ]
}

#[test]
fn every_failure_before_the_answer_is_covered_for_get() {
    let control = Upstream::saying("control");
    for (what, candidate, outcome, cause) in failing() {
        let gateway = beside(&control, &candidate.url(), "");
        let mut client = gateway.client();
        for _ in 0..2 {
            let answer = client.get("/", &[("x-user-id", "u")]);
            assert_eq!(answer.status, 200, "{what}");
            check_covered(&gateway, &answer, outcome, cause);
        }
    }
}

#[test]
fn a_post_is_not_sent_twice_unless_the_route_says_so() {
    let control = Upstream::saying("control");
    let told = [("500", 500), ("503", 503), ("429", 429), ("silence", 504)];
    for (what, candidate, outcome, _) in failing() {
        let gateway = beside(&control, &candidate.url(), "");
        let answer = gateway.post(b"pay 5");
        let expected = told.iter().find(|(name, _)| *name == what).map_or(502, |(_, status)| *status);
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
        let line = gateway.line_of(&answer);
        assert_eq!((&line["served"], line["fallback"].is_null()), (&"candidate".into(), true), "{what}: {line}");
        assert_eq!(line["attempts"][0]["outcome"], outcome, "{what}: {line}");
        assert_eq!((candidate.heads(), control.heads()), (1, 0), "{what}");
    }
}

#[test]
fn a_post_is_replayed_where_the_route_says_so() {
    let control = Upstream::answering(|seen| ok(if seen.body == pattern(1 << 20) { "control" } else { "not whole" }));
    for (what, candidate, outcome, cause) in failing() {
        let gateway = beside(&control, &candidate.url(), "fallback = { replay = \"always\" }");
        let answer = gateway.post(&pattern(1 << 20));
        assert_eq!(answer.text(), "control", "{what}: {answer:?}");
        check_covered(&gateway, &answer, outcome, cause);
        assert_eq!(candidate.heads(), 1, "{what}");
    }
}

#[test]
fn a_replayed_body_in_chunks_keeps_its_trailers() {
    let control = Upstream::answering(|seen| ok(&format!("{:?}{:?}", seen.body.len(), seen.trailers.get("x-sum"))));
    let candidate = after_request(|c| c.write(status(500, "Oh", "no")));
    let gateway = beside(&control, &candidate.url(), "fallback = { replay = \"always\" }");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n3\r\nyou\r\n0\r\nx-sum: 7\r\n\r\n");
    client.answer().expect(200, "8Some(\"7\")");
    assert_eq!(candidate.only_request().body, b"helloyou");
}

#[test]
fn a_refused_connection_is_covered_even_for_a_post() {
    let control = Upstream::echo();
    let candidate = Refusing::new();
    let gateway = beside(&control, &candidate.url(), "");
    let body = pattern(3_000_000);
    let answer = gateway.post(&body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body == body, "the body differs");
    let line = gateway.line_of(&answer);
    assert_eq!((&line["fallback"], &line["attempts"][0]["outcome"]), (&"connect".into(), &"connect".into()), "{line}");
}

#[test]
fn a_connection_that_does_not_come_about_is_covered() {
    let control = Upstream::saying("control");
    let candidate = Blackhole::new();
    let gateway = beside(&control, &candidate.url(), "");
    check_covered(&gateway, &gateway.post(b"body"), "connect", "connect");
}

#[test]
fn a_body_larger_than_what_is_kept_cannot_fall_back_after_it_was_sent() {
    let control = Upstream::saying("control");
    let candidate = after_request(|c| c.write(status(500, "Oh", "no")));
    let keys = "fallback = { replay = \"always\", replay_body = \"100KiB\" }";
    let gateway = beside(&control, &candidate.url(), keys);
    check_covered(&gateway, &gateway.post(&pattern(100 << 10)), "status", "status");
    gateway.post(&pattern((100 << 10) + 1)).expect(500, "no");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        client.send([b"c800\r\n".as_slice(), &pattern(0xc800), b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    client.answer().expect(500, "no");
    assert_eq!(control.heads(), 1);
}

#[test]
fn all_kept_bodies_together_have_a_limit() {
    let control = Upstream::saying("control");
    let (arrived, arrivals) = channel();
    let arrived = Mutex::new(arrived);
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let candidate = after_request(move |c| {
        arrived.lock().unwrap().send(()).unwrap();
        // The test lets one go after the other.
        let _told = gate.lock().unwrap().recv_timeout(BOUND);
        c.write(status(500, "Oh", "no"));
    });
    let gateway = Setup::new(format!(
        "limits.replay_memory = \"150KiB\"\n\
         [backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {:?}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nrollout.percent = 100\n\
         fallback = {{ replay = \"always\" }}\n",
        control.url(),
        candidate.url()
    ))
    .start();
    let request = |client: &mut crate::support::Client| {
        client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-length: 102400\r\n\r\n");
        client.send(pattern(102_400));
        arrivals.recv_timeout(BOUND).unwrap();
    };
    let (mut first, mut second) = (gateway.client(), gateway.client());
    request(&mut first);
    request(&mut second);
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!((first.answer().status, second.answer().status), (200, 500));
    let mut third = gateway.client();
    request(&mut third);
    go.send(()).unwrap();
    assert_eq!(third.answer().status, 200, "memory of ended requests is free again");
}

#[test]
fn only_named_causes_fall_back() {
    let control = Upstream::saying("control");
    for (what, candidate, _, cause) in failing() {
        let gateway = beside(&control, &candidate.url(), "fallback = { on = [\"busy\"] }");
        let answer = gateway.ask();
        assert!(answer.status >= 429, "{what}: {answer:?}");
        let gateway = beside(&control, &candidate.url(), &format!("fallback = {{ on = [{cause:?}] }}"));
        gateway.ask().expect(200, "control");
    }
}

#[test]
fn after_the_first_byte_nothing_is_covered_up() {
    let control = Upstream::saying("control");
    let candidate = after_request(|c| {
        c.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this");
        c.reset();
    });
    let gateway = beside(&control, &candidate.url(), "fallback = { replay = \"always\" }");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nx-request-id: cut\r\n\r\n");
    let (status, head) = client.head();
    let (_, _, ending) = client.wire.body(&head, true).unwrap();
    assert_eq!((status, ending), (200, Ending::Truncated));
    let line = gateway.line_with_id("cut");
    assert_eq!(line["attempts"][0]["outcome"], "truncated", "{line}");
    assert_eq!(control.heads(), 0);
}

#[test]
fn one_deadline_holds_for_both_tries() {
    let silent = || after_request(Conversation::await_departure);
    let (control, candidate) = (silent(), silent());
    let gateway = Setup::new(format!(
        "[backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {:?}\ntimeouts.first_byte = \"200ms\"\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nrollout.percent = 100\n\
         deadline = \"500ms\"\n",
        control.url(),
        candidate.url()
    ))
    .start();
    let begun = pointsman::clock::now();
    let answer = gateway.ask();
    let took = begun.elapsed();
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(5), "{took:?}");
    let line = gateway.line_of(&answer);
    let outcomes: Vec<_> = line["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].clone()).collect();
    assert_eq!(outcomes, ["timeout", "timeout"], "{line}");
    control.await_departures(1);
}

#[test]
fn no_second_try_is_begun_after_the_deadline() {
    let control = Upstream::saying("control");
    let candidate = after_request(Conversation::await_departure);
    let gateway = Setup::candidate(&control.url(), &candidate.url(), "deadline = \"150ms\"").start();
    assert_eq!(gateway.ask().status, 504);
    assert_eq!(control.heads(), 0);
}

#[test]
fn control_takes_over_while_the_body_is_still_coming() {
    let control = Upstream::answering(|seen| ok(&String::from_utf8_lossy(&seen.body)));
    // It fails in the middle of the upload.
    let candidate = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.wire.chunk().unwrap();
            conversation.reset();
        }
    });
    let gateway = beside(&control, &candidate.url(), "fallback = { replay = \"always\" }");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst \r\n");
    control.await_heads(1);
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    client.answer().expect(200, "first second");
}

#[test]
fn a_candidate_that_answers_500_before_the_body_has_come_is_covered() {
    let control = Upstream::answering(|seen| ok(&String::from_utf8_lossy(&seen.body)));
    let candidate = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.write(status(500, "Oh", "no"));
            conversation.await_departure();
        }
    });
    let gateway = beside(&control, &candidate.url(), "fallback = { replay = \"always\" }");
    let mut client = gateway.client();
    client.send("PUT / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-length: 12\r\n\r\nfirst ");
    control.await_heads(1);
    client.send("second");
    client.answer().expect(200, "first second");
    candidate.await_departures(1);
}

#[test]
fn control_that_fails_too_is_told_as_what_it_is() {
    let refusing = Refusing::new();
    let candidate = after_request(|c| c.write(status(500, "Oh", "no")));
    let gateway = Setup::candidate(&refusing.url(), &candidate.url(), "").start();
    let answer = gateway.ask();
    assert_eq!((answer.status, answer.code().as_str()), (502, "connect_failed"));
    assert!(answer.get("retry-after").is_some());
    let line = gateway.line_of(&answer);
    assert_eq!((line["attempts"].as_array().unwrap().len(), &line["status"]), (2, &502.into()), "{line}");
}

/// An upstream that closes each connection in the moment its second request comes.
fn closing_on_reuse() -> Upstream {
    Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write(ok("fresh"));
            if conversation.head().is_some() {
                conversation.reset();
            }
        }
    })
}

#[test]
fn a_get_on_a_stale_connection_is_sent_again() {
    let upstream = closing_on_reuse();
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    let mut client = gateway.client();
    client.get("/", &[]).expect(200, "fresh");
    // A connection counts as possibly stale after it has lain idle for half a second.
    std::thread::sleep(Duration::from_millis(600));
    let answer = client.get("/", &[]);
    answer.expect(200, "fresh");
    assert_eq!(gateway.line_of(&answer)["attempts"].as_array().unwrap().len(), 1);
    assert_eq!((upstream.heads(), upstream.connections()), (3, 2));
}

#[test]
fn a_post_on_a_stale_connection_is_not_sent_twice() {
    let upstream = closing_on_reuse();
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    let mut client = gateway.client();
    client.get("/", &[]).expect(200, "fresh");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.request("POST", "/", &[], b"pay 5").status, 502);
    assert_eq!(upstream.heads(), 2);
}

#[test]
fn a_post_that_may_be_repeated_is_sent_again_on_a_fresh_connection_by_either_arm() {
    for (percent, arm) in [(0, "control"), (100, "candidate")] {
        let upstream = closing_on_reuse();
        let more = format!("rollout.percent = {percent}\nfallback = {{ replay = \"always\", on = [] }}\n");
        let gateway = Setup::route(&upstream.url(), &upstream.url(), &more).start();
        let mut client = gateway.client();
        client.get("/", &[("x-user-id", "u")]).expect(200, "fresh");
        std::thread::sleep(Duration::from_millis(600));
        let body = vec![b'q'; 20_000];
        let answer = client.request("POST", "/", &[("x-user-id", "u")], &body);
        answer.expect(200, "fresh");
        assert_eq!(gateway.line_of(&answer)["attempts"].as_array().unwrap().len(), 1, "{arm}");
        assert_eq!((upstream.heads(), upstream.connections()), (3, 2), "{arm}");
    }
}

#[test]
fn a_post_that_the_candidate_broke_off_at_its_work_is_control_s() {
    let candidate = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write(ok("fresh"));
            if conversation.request().is_some() {
                std::thread::sleep(Duration::from_millis(1_200));
                conversation.reset();
            }
        }
    });
    let control = Upstream::saying("control");
    let gateway = Setup::candidate(&control.url(), &candidate.url(), "fallback = { replay = \"always\" }\n").start();
    let mut client = gateway.client();
    client.get("/", &[("x-user-id", "u")]).expect(200, "fresh");
    client.request("POST", "/", &[("x-user-id", "u")], b"q").expect(200, "control");
    assert_eq!((candidate.heads(), control.heads()), (2, 1));
}

#[test]
fn a_get_on_a_connection_that_is_closed_right_after_its_use_is_sent_again() {
    let upstream = closing_on_reuse();
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    let mut client = gateway.client();
    client.get("/", &[]).expect(200, "fresh");
    client.get("/", &[]).expect(200, "fresh");
}

#[test]
fn connections_that_the_backend_closed_while_idle_cost_nothing() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write(ok("one each"));
            conversation.close();
        }
    });
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    let mut client = gateway.client();
    for _ in 0..4 {
        client.request("POST", "/", &[], b"pay 5").expect(200, "one each");
        // Nothing tells when the gateway has seen the close; it needs microseconds.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((upstream.heads(), upstream.connections()), (4, 4));
}
