//! Connections to a backend are kept, given to whoever comes next, and left when they are of no more use.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::upstream::ok;
use crate::support::{BOUND, Gateway, Setup, Upstream, eventually, pattern};

fn before(upstream: &Upstream) -> Gateway {
    Setup::route(&upstream.url(), &upstream.url(), "").access_sample(0.0).start()
}

#[test]
fn ten_thousand_requests_one_after_another_share_one_connection() {
    let upstream = Upstream::scripted(|conversation| {
        while conversation.head().is_some() {
            conversation.write(ok("ok"));
        }
    });
    let gateway = before(&upstream);
    // Each client leaves a connection behind that it was the last to use.
    for _ in 0..20 {
        let mut client = gateway.client();
        for _ in 0..500 {
            client.get("/", &[]).expect(200, "ok");
        }
    }
    assert_eq!((upstream.heads(), upstream.connections()), (10_000, 1));
}

#[test]
fn a_connection_on_which_something_unasked_for_came_is_not_used() {
    let endings = [
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlate",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        "",
    ];
    for unasked in endings {
        let (told, closed) = channel();
        let told = Mutex::new(told);
        let upstream = Upstream::scripted(move |conversation| {
            if conversation.request().is_some() {
                conversation.write(ok("one each"));
                conversation.write(unasked);
                // Only the sending side: that the gateway closes is what is waited for.
                conversation.wire.socket.shutdown(std::net::Shutdown::Write).unwrap();
                conversation.await_departure();
                told.lock().unwrap().send(()).unwrap();
            }
        });
        let gateway = before(&upstream);
        let mut client = gateway.client();
        for count in 1..4 {
            client.request("POST", "/", &[], b"pay 5").expect(200, "one each");
            // Nobody asks for it, and yet the gateway lets it go.
            closed.recv_timeout(BOUND).unwrap();
            assert_eq!((upstream.heads(), upstream.connections()), (count, count), "{unasked:?}");
        }
    }
}

#[test]
fn a_connection_that_has_lain_too_long_is_closed() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::new(format!(
        "[backends.control]\nurl = {:?}\nkeepalive.idle = \"100ms\"\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"control\"\n",
        upstream.url()
    ))
    .start();
    gateway.ask().expect(200, "ok");
    upstream.await_departures(1);
    gateway.ask().expect(200, "ok");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn no_more_connections_are_kept_than_the_file_says() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::scripted(move |conversation| {
        while conversation.request().is_some() {
            gate.lock().unwrap().recv_timeout(BOUND).unwrap();
            conversation.write(ok("ok"));
        }
    });
    let gateway = Setup::new(format!(
        "[backends.control]\nurl = {:?}\nkeepalive.max_idle = 2\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"control\"\n",
        upstream.url()
    ))
    .start();
    let mut clients = [gateway.client(), gateway.client(), gateway.client(), gateway.client(), gateway.client()];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    upstream.await_heads(5);
    for _ in &clients {
        go.send(()).unwrap();
    }
    for client in &mut clients {
        client.answer().expect(200, "ok");
    }
    upstream.await_departures(3);
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn a_connection_is_used_on_after_the_client_that_opened_it_has_gone() {
    let upstream = Upstream::answering(|seen| {
        let body = String::from_utf8_lossy(&pattern(100_000)).into_owned();
        if seen.head.start.contains("/large") { ok(&body) } else { ok("small") }
    });
    let gateway = before(&upstream);
    let large = String::from_utf8_lossy(&pattern(100_000)).into_owned();
    for round in 0..20 {
        let mut client = gateway.client();
        client.get("/large", &[]).expect(200, &large);
        let mut other = gateway.client();
        drop(client);
        other.get("/", &[]).expect(200, "small");
        assert_eq!(upstream.connections(), 1, "round {round}");
    }
}

#[test]
fn a_client_that_reads_nothing_stops_no_other() {
    let upstream = Upstream::scripted(|conversation| {
        while let Some(seen) = conversation.request() {
            if !seen.head.start.contains("/endless") {
                conversation.write(ok("small"));
                continue;
            }
            conversation.write("HTTP/1.1 200 OK\r\n\r\n");
            while conversation.try_write([b'x'; 65_536]) {}
        }
    });
    let gateway = before(&upstream);
    let mut deaf = gateway.client();
    deaf.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(deaf.head().0, 200);
    let mut client = gateway.client();
    for _ in 0..200 {
        client.get("/", &[]).expect(200, "small");
    }
    drop(deaf);
    gateway.get("/", &[]).expect(200, "small");
}

#[test]
fn a_client_may_send_everything_before_it_takes_anything() {
    const BODY: usize = 12_000_000;
    let upstream = Upstream::scripted(|conversation| {
        let Some(head) = conversation.head() else { return };
        // More than all buffers on the way hold, before the first byte of the body is read.
        conversation.wire.socket.set_write_timeout(Some(BOUND)).unwrap();
        let mut answering = conversation.wire.socket.try_clone().unwrap();
        let answer = std::thread::spawn(move || {
            use std::io::Write as _;
            answering.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
            let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65_536], b"\r\n"].concat();
            for _ in 0..200 {
                answering.write_all(&chunk).unwrap();
            }
        });
        let seen = conversation.rest_of(head).unwrap();
        assert_eq!(seen.body.len(), BODY);
        answer.join().unwrap();
        conversation.write("0\r\n\r\n");
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n"));
    client.send(pattern(1_000));
    upstream.await_heads(1);
    client.send(pattern(BODY - 1_000));
    eventually("the whole body at the upstream", || upstream.requests().first().map(|seen| seen.body.len()));
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.len()), (200, 200 * 65_536));
}

#[test]
fn what_was_sent_before_an_answer_broke_off_arrives() {
    // Everything is there at once, so that the end is seen together with what came before it.
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation
                .write([b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n".as_slice(), &pattern(40_000)].concat());
            conversation.close();
        }
    });
    let gateway = before(&upstream);
    for _ in 0..20 {
        let mut client = gateway.client();
        client.set_patience(Duration::from_secs(5));
        let answer = client.get("/", &[]);
        assert_eq!((answer.status, answer.ending), (200, crate::support::message::Ending::Truncated));
        assert!(answer.body == pattern(40_000), "{} bytes", answer.body.len());
    }
}
