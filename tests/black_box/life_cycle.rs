//! Starting, refusing to start, stopping in order.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::gateway::{Port, command};
use crate::support::upstream::ok;
use crate::support::{BOUND, Client, Gateway, Setup, Upstream, eventually};

fn ports() -> [Port; 3] {
    [Port::free(), Port::free(), Port::free()]
}

#[test]
fn a_taken_port_is_an_error_even_if_its_holder_would_share_it() {
    let upstream = Upstream::saying("ok");
    for share in [false, true] {
        let ports = ports();
        let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        holder.set_reuse_port(share).unwrap();
        holder.set_reuse_address(true).unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], ports[0].number));
        holder.bind(&address.into()).unwrap();
        holder.listen(1).unwrap();
        let output = Setup::route(&upstream.url(), &upstream.url(), "").run_to_end(&ports);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
        drop(TcpListener::from(holder));
    }
}

#[test]
fn a_broken_file_is_exit_code_2_with_every_mistake() {
    let toml = "[backends.a]\nurl = \"ftp://x\"\n[routes.r]\npath = \"q\"\ncontrol = \"a\"\ncandidate = \"b\"\n\
                rolout.percent = 5\n";
    let output = Setup::new(toml).run_to_end(&ports());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in ["ftp://x", "gateway.toml:8", "gateway.toml:10", "gateway.toml:12", "rolout", "rollout"] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let output = command(std::path::Path::new("/nonexistent/gateway.toml")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("/nonexistent/gateway.toml"), "{stderr}");
}

/// An upstream that answers `/slow` when it is told to and everything else at once.
fn gated() -> (Upstream, Sender<()>) {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::answering(move |seen| {
        if seen.head.start.starts_with("GET /slow") {
            // A gate that was dropped answers too.
            let _told = gate.lock().unwrap().recv_timeout(BOUND);
        }
        ok("done")
    });
    (upstream, go)
}

fn gateway(upstream: &Upstream, delay: &str, timeout: &str) -> Gateway {
    let top = format!("shutdown.drain_delay = {delay:?}\nshutdown.drain_timeout = {timeout:?}");
    Setup::route(&upstream.url(), &upstream.url(), "").top(&top).threads(2).start()
}

fn begin_slow(gateway: &Gateway, upstream: &Upstream) -> Client {
    let mut client = gateway.client();
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\nx-request-id: slow\r\n\r\n");
    let heads = upstream.heads();
    eventually("the slow request", || {
        upstream.requests().iter().any(|seen| seen.head.start.starts_with("GET /slow")).then_some(())
    });
    assert!(upstream.heads() >= heads);
    client
}

fn await_stopping(gateway: &Gateway) {
    eventually("the signal is heard", || gateway.stderr().contains("stopping").then_some(()));
}

#[test]
fn a_first_signal_lets_requests_under_way_end() {
    for signal in ["TERM", "INT"] {
        let (upstream, go) = gated();
        let mut gateway = gateway(&upstream, "0s", "30s");
        let mut idle = gateway.client();
        idle.get("/", &[]).expect(200, "done");
        let mut fresh = gateway.client();
        let mut slow = begin_slow(&gateway, &upstream);
        gateway.signal(signal);
        idle.expect_closed();
        fresh.expect_closed();
        eventually("no more connections", || std::net::TcpStream::connect(gateway.address).is_err().then_some(()));
        assert!(gateway.is_running());
        go.send(()).unwrap();
        let answer = slow.answer();
        answer.expect(200, "done");
        assert_eq!(answer.get("connection"), Some("close"));
        slow.expect_closed();
        assert!(gateway.await_exit().success());
        assert_eq!(gateway.line_with_id("slow")["status"], 200);
    }
}

#[test]
fn new_connections_are_served_during_drain_delay() {
    let (upstream, _go) = gated();
    let mut gateway = gateway(&upstream, "700ms", "30s");
    let mut kept = gateway.client();
    kept.get("/", &[]).expect(200, "done");
    let begun = pointsman::clock::now();
    gateway.signal("TERM");
    await_stopping(&gateway);
    gateway.get("/", &[]).expect(200, "done");
    kept.get("/", &[]).expect(200, "done");
    kept.expect_closed();
    assert!(gateway.await_exit().success());
    assert!(begun.elapsed() >= Duration::from_millis(700));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (upstream, _go) = gated();
    for (delay, with_request) in [("20s", false), ("0s", true)] {
        let mut gateway = gateway(&upstream, delay, "20s");
        let slow = with_request.then(|| begin_slow(&gateway, &upstream));
        gateway.get("/", &[]).expect(200, "done");
        gateway.signal("TERM");
        await_stopping(&gateway);
        assert!(gateway.is_running());
        let begun = pointsman::clock::now();
        gateway.signal("TERM");
        gateway.await_exit();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        drop(slow);
    }
}

#[test]
fn requests_that_do_not_end_are_cut_after_drain_timeout() {
    let (upstream, _go) = gated();
    let mut gateway = gateway(&upstream, "0s", "300ms");
    let mut slow = begin_slow(&gateway, &upstream);
    let begun = pointsman::clock::now();
    gateway.signal("TERM");
    slow.expect_closed();
    assert!(gateway.await_exit().success());
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(gateway.line_with_id("slow")["attempts"][0]["outcome"], "client_gone");
}

#[test]
fn a_long_stream_is_not_killed_by_the_first_signal() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::scripted(move |conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for piece in [b"1", b"2", b"3"] {
            conversation.write_chunk(piece);
            gate.lock().unwrap().recv_timeout(BOUND).unwrap();
        }
        conversation.write("0\r\n\r\n");
    });
    let mut gateway = gateway(&upstream, "0s", "30s");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.head();
    assert_eq!(client.wire.chunk().unwrap().unwrap(), b"1");
    gateway.signal("TERM");
    await_stopping(&gateway);
    for piece in [b"2", b"3"] {
        go.send(()).unwrap();
        assert_eq!(client.wire.chunk().unwrap().unwrap(), piece);
    }
    go.send(()).unwrap();
    assert_eq!(client.wire.chunk().unwrap().unwrap(), b"");
    assert!(gateway.await_exit().success());
}
