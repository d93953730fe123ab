//! Deadlines, each told apart from the others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::message::Ending;
use crate::support::upstream::{Blackhole, Refusing};
use crate::support::{Gateway, Setup, Upstream, eventually};

/// A gateway before one backend with these keys of backend and route.
fn before(url: &str, backend: &str, route: &str) -> Gateway {
    Setup::new(format!(
        "[backends.a]\nurl = {url:?}\n{backend}\n[routes.all]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n{route}\n",
    ))
    .start()
}

/// Reads a request and then does nothing until the gateway has gone.
fn silent() -> Upstream {
    Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.await_departure();
        }
    })
}

/// Sends the head and a piece, then nothing.
fn stalling() -> Upstream {
    Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\npiece\r\n");
            conversation.await_departure();
        }
    })
}

#[test]
fn a_refused_connection_is_502_with_a_time_to_come_again() {
    let refusing = Refusing::new();
    let answer = before(&refusing.url(), "", "").get("/", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (502, "connect_failed"));
    assert!(answer.get("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(answer.get("proxy-status"), Some("pointsman; error=connection_refused"));
}

#[test]
fn a_name_that_does_not_resolve_is_502() {
    let answer = before("http://does-not-exist.invalid:80", "", "").get("/", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (502, "no_address"));
}

#[test]
fn a_connection_that_does_not_come_about_is_504() {
    let blackhole = Blackhole::new();
    let gateway = before(&blackhole.url(), "timeouts = { connect = \"100ms\" }", "");
    let begun = pointsman::clock::now();
    let answer = gateway.get("/", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
    assert_eq!(answer.get("proxy-status"), Some("pointsman; error=connection_timeout"));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "connect");
}

#[test]
fn a_backend_that_does_not_begin_to_answer_is_504_and_is_let_go() {
    let upstream = silent();
    let gateway = before(&upstream.url(), "timeouts = { first_byte = \"100ms\", idle = \"20s\" }", "");
    let answer = gateway.get("/", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
    assert_eq!(answer.get("proxy-status"), Some("pointsman; error=http_response_timeout"));
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "timeout");
    upstream.await_departures(1);
}

#[test]
fn a_backend_that_stops_in_the_middle_is_cut_after_idle() {
    let upstream = stalling();
    let gateway = before(&upstream.url(), "timeouts = { first_byte = \"20s\", idle = \"100ms\" }", "");
    let answer = gateway.get("/", &[]);
    assert_eq!((answer.status, answer.text().as_str(), answer.ending), (200, "piece", Ending::Truncated));
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "timeout");
    upstream.await_departures(1);
}

#[test]
fn gaps_shorter_than_idle_may_add_up_to_more() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for _ in 0..12 {
                std::thread::sleep(Duration::from_millis(50));
                conversation.write_chunk(b"x");
            }
            conversation.write("0\r\n\r\n");
        }
    });
    let gateway = before(&upstream.url(), "timeouts = { first_byte = \"400ms\", idle = \"400ms\" }", "");
    gateway.get("/", &[]).expect(200, "xxxxxxxxxxxx");
}

#[test]
fn the_routes_deadline_holds_before_and_after_the_first_byte() {
    let upstream = silent();
    let gateway = before(&upstream.url(), "", "deadline = \"100ms\"");
    assert_eq!(gateway.get("/", &[]).status, 504);
    upstream.await_departures(1);

    let steady = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while conversation.try_write("1\r\nx\r\n") {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let gateway = before(&steady.url(), "", "deadline = \"200ms\"");
    let answer = gateway.get("/", &[]);
    assert_eq!((answer.status, answer.ending), (200, Ending::Truncated));
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "timeout");
}

#[test]
fn a_client_that_stops_sending_is_408_and_no_fault_of_the_backend() {
    let upstream = silent();
    let gateway = before(&upstream.url(), "timeouts = { first_byte = \"20s\", idle = \"100ms\" }", "");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "client_gone");
    client.expect_closed();
}

/// Three of them could take a candidate from everybody.
#[test]
fn a_client_that_sends_slowly_until_the_deadline_is_408_and_opens_no_breaker() {
    let upstream = silent();
    let keys = "timeouts = { first_byte = \"20s\", idle = \"20s\" }\nbreaker = { consecutive_failures = 1 }";
    // Half of the body has come by the deadline; or all of it, late.
    for length in [100, 4] {
        let gateway = before(&upstream.url(), keys, "deadline = \"600ms\"");
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"));
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(100));
            client.send("x");
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"), "{length}");
        assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "client_gone", "{length}");
        assert_eq!(gateway.count("pointsman_breaker_state{backend=\"a\"}"), 0.0, "{length}");
    }
    let gateway = before(&upstream.url(), keys, "deadline = \"600ms\"");
    let answer = gateway.request("POST", "/", &[], b"at once");
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "timeout");
}

#[test]
fn a_client_that_reads_slowly_is_cut_at_the_deadline_and_opens_no_breaker() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while conversation.try_write(&piece) {}
            conversation.await_departure();
        }
    });
    let keys = "breaker = { consecutive_failures = 1 }";
    let gateway = before(&upstream.url(), keys, "deadline = \"600ms\"");
    let mut socket = TcpStream::connect(gateway.address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut piece = [0; 1_024];
            while !is_over.load(Ordering::SeqCst) && socket.read(&mut piece).is_ok_and(|bytes| bytes > 0) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let line = gateway.await_lines(1).remove(0);
        is_over.store(true, Ordering::SeqCst);
        assert_eq!((&line["status"], &line["attempts"][0]["outcome"]), (&200.into(), &"client_gone".into()), "{line}");
    });
    upstream.await_departures(1);
    assert_eq!(gateway.count("pointsman_breaker_state{backend=\"a\"}"), 0.0);
}

#[test]
fn a_slow_upload_is_not_a_slow_backend() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url(), "timeouts = { first_byte = \"300ms\", idle = \"300ms\" }", "");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(60));
        client.send("x");
    }
    client.answer().expect(200, "xxxxxxxx");
}

#[test]
fn a_head_that_does_not_end_is_closed_after_header_timeout() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").top("limits.header_timeout = \"1s\"").start();
    let mut fresh = gateway.client();
    let mut begun = gateway.client();
    begun.send("GET / HTTP/1.1\r\nhost: a\r\nx: ");
    let mut idle = gateway.client();
    idle.get("/", &[]).expect(200, "ok");
    for client in [&mut fresh, &mut begun, &mut idle] {
        // Whatever is said, nothing but the close may come of it.
        let rest = String::from_utf8(client.wire.rest().unwrap()).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_control_without_room_is_503() {
    let upstream = silent();
    let gateway = before(&upstream.url(), "max_in_flight = 1", "");
    let mut first = gateway.client();
    first.send("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: first\r\n\r\n");
    upstream.await_heads(1);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/", &[]);
        assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
        assert!(answer.get("retry-after").is_some());
    }
    drop(first);
    gateway.line_with_id("first");
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.await_heads(2);
}

#[test]
fn a_client_that_stops_sending_after_its_answer_holds_nothing() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
            conversation.await_departure();
        }
    });
    let gateway = before(&upstream.url(), "timeouts = { idle = \"100ms\" }", "");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    client.answer().expect(200, "early");
    upstream.await_departures(1);
    client.expect_closed();
}

#[test]
fn an_upload_that_nobody_takes_holds_nothing() {
    let whole = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nearly";
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nearly";
    for answer in [whole, half] {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let upstream = Upstream::scripted(move |conversation| {
            if conversation.head().is_some() {
                conversation.write(answer);
                // It takes nothing of the body, and stays.
                let _over = wait.lock().unwrap().recv();
            }
        });
        let gateway = before(&upstream.url(), "timeouts = { idle = \"300ms\" }", "");
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 90000000\r\n\r\n");
        client.wire.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(!client.try_send(vec![b'x'; 90_000_000]), "nobody can have taken it");
        drop(client);
        eventually("the end of the client's connection", || {
            (gateway.metric("pointsman_connections") == Some(0.0)).then_some(())
        });
        gateway.signal("TERM");
        drop(done);
    }
}
