//! Upgrades: a tunnel only after the upstream's 101.

use crate::support::upstream::{Refusing, ok, status};
use crate::support::{Gateway, Setup, Upstream};

const ASK: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
                   x-request-id: tunnel\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees to every upgrade and then sends back what comes.
fn echoing() -> Upstream {
    Upstream::scripted(|conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.write([AGREE.as_bytes(), b"hello "].concat());
        loop {
            match conversation.wire.some() {
                Ok(bytes) if !bytes.is_empty() => conversation.write(bytes),
                Ok(_) | Err(_) => return conversation.await_departure(),
            }
        }
    })
}

fn before(upstream: &Upstream, keys: &str) -> Gateway {
    Setup::route(&upstream.url(), &upstream.url(), keys).start()
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_one_side_is_done() {
    let upstream = echoing();
    let gateway = before(&upstream, "deadline = \"300ms\"");
    let mut client = gateway.client();
    // What a client sends right behind its request belongs to the tunnel.
    client.send([ASK.as_bytes(), b"eager "].concat());
    let (status, head) = client.head();
    assert_eq!(status, 101);
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert!(head.get("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.wire.exactly(12).unwrap(), b"hello eager ");
    let asked = upstream.only_request().head;
    assert_eq!((asked.get("upgrade"), asked.get("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(asked.get("sec-websocket-version"), Some("13"));
    for round in 0..50_u32 {
        let bytes = round.to_be_bytes().repeat(500);
        client.send(&bytes);
        assert_eq!(client.wire.exactly(bytes.len()).unwrap(), bytes);
    }
    // A tunnel has no deadline: this is longer than the route's.
    std::thread::sleep(std::time::Duration::from_millis(350));
    client.send("still here");
    assert_eq!(client.wire.exactly(10).unwrap(), b"still here");
    client.finish_sending();
    client.expect_closed();
    let line = gateway.line_with_id("tunnel");
    assert_eq!((&line["status"], &line["attempts"][0]["outcome"]), (&101.into(), &"success".into()), "{line}");
}

#[test]
fn an_upstream_that_ends_a_tunnel_ends_it_for_the_client() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write([AGREE.as_bytes(), b"bye"].concat());
            conversation.close();
        }
    });
    let gateway = before(&upstream, "");
    let mut client = gateway.client();
    client.send(ASK);
    assert_eq!(client.head().0, 101);
    assert_eq!(client.wire.exactly(3).unwrap(), b"bye");
    client.expect_closed();
}

#[test]
fn a_client_that_leaves_a_tunnel_ends_it_for_the_upstream() {
    let upstream = echoing();
    let gateway = before(&upstream, "");
    for (departures, with_reset) in [(1, false), (2, true)] {
        let mut client = gateway.client();
        client.send(ASK);
        assert_eq!(client.head().0, 101);
        if with_reset {
            client.reset()
        } else {
            drop(client)
        }
        upstream.await_departures(departures);
    }
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::saying("no tunnel");
    let gateway = before(&upstream, "");
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(ASK);
        client.answer().expect(200, "no tunnel");
    }
    client.get("/", &[]).expect(200, "no tunnel");
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write(AGREE);
            conversation.await_departure();
        }
    });
    let gateway = before(&upstream, "");
    let requests = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        // Without `Connection: upgrade` the field asks for nothing.
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
        // HTTP/1.0 knows no upgrade (RFC 9110, 7.8).
        "GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let mut client = gateway.client();
        client.send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.code().as_str()), (502, "bad_answer"), "{request:?}");
        upstream.await_departures(index + 1);
        let asked = upstream.last_request().head;
        assert_eq!((asked.get("upgrade"), asked.get("connection")), (None, None), "{request:?}");
    }
}

#[test]
fn h2c_is_never_passed_on() {
    let upstream = Upstream::answering(|_| ok("plain"));
    let gateway = before(&upstream, "");
    for protocols in ["h2c", "H2C", "websocket, h2c"] {
        let fields =
            [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", protocols), ("http2-settings", "AAMAAABk")];
        gateway.get("/", &fields).expect(200, "plain");
        let asked = upstream.last_request().head;
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(asked.get(name), None, "{protocols}: {name}");
        }
    }
}

#[test]
fn a_tunnel_to_the_candidate_counts_in_its_bulkhead() {
    let control = Upstream::saying("control");
    let candidate = echoing();
    let setup = Setup::new(format!(
        "[backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {:?}\nmax_in_flight = 1\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nforced = \"candidate\"\n",
        control.url(),
        candidate.url()
    ));
    let gateway = setup.start();
    let mut tunnel = gateway.client();
    tunnel.send(ASK);
    assert_eq!(tunnel.head().0, 101);
    let answer = gateway.ask();
    answer.expect(200, "control");
    assert_eq!(answer.get("x-pointsman-reason"), Some("busy"));
    drop(tunnel);
    candidate.await_departures(1);
    gateway.line_with_id("tunnel");
    let mut again = gateway.client();
    again.send(ASK);
    assert_eq!(again.head().0, 101);
}

#[test]
fn control_takes_an_upgrade_that_the_candidate_could_not() {
    let control = echoing();
    let refusing = Refusing::new();
    let failing = Upstream::answering(|_| status(500, "Oh", "no"));
    for candidate in [refusing.url(), failing.url()] {
        let gateway = Setup::route(&control.url(), &candidate, "forced = \"candidate\"").start();
        let mut client = gateway.client();
        client.send(ASK);
        assert_eq!(client.head().0, 101, "{candidate}");
        assert_eq!(client.wire.exactly(6).unwrap(), b"hello ");
        client.send("echo");
        assert_eq!(client.wire.exactly(4).unwrap(), b"echo");
    }
}
