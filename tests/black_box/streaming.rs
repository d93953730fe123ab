//! Answers stream: pieces leave as they come, ends are told as they are.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::message::Ending;
use crate::support::{BOUND, Conversation, Gateway, Setup, Upstream, eventually};

fn before(upstream: &Upstream) -> Gateway {
    Setup::route(&upstream.url(), &upstream.url(), "").start()
}

#[test]
fn events_leave_as_they_come() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::scripted(move |conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for token in 0..20 {
            // The next one is sent only when the client has this one: whoever gathers, waits for ever.
            gate.lock().unwrap().recv_timeout(BOUND).unwrap();
            conversation.write_chunk(format!("data: {token}\n\n").as_bytes());
        }
        conversation.write("0\r\n\r\n");
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    // The head comes before any event.
    let (status, head) = client.head();
    assert_eq!((status, head.get("content-type")), (200, Some("text/event-stream")));
    for token in 0..20 {
        go.send(()).unwrap();
        assert_eq!(client.wire.chunk().unwrap().unwrap(), format!("data: {token}\n\n").as_bytes());
    }
    assert_eq!(client.wire.chunk().unwrap().unwrap(), b"");
}

/// Ways in which an upstream breaks off in the middle of a body.
fn breaking_off() -> Vec<(&'static str, Upstream)> {
    let after = |bytes: &'static str, end: fn(&mut Conversation)| {
        Upstream::scripted(move |conversation| {
            if conversation.request().is_some() {
                conversation.write(bytes);
                end(conversation);
            }
        })
    };
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    vec![
        ("chunked, close", after(chunked, Conversation::close)),
        ("chunked, reset", after(chunked, Conversation::reset)),
        (
            "bad chunk",
            after("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n", |c| {
                c.await_departure();
            }),
        ),
        ("length, close", after("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart", Conversation::close)),
        ("length, reset", after("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart", Conversation::reset)),
    ]
}

#[test]
fn an_answer_that_breaks_off_looks_like_one() {
    for (what, upstream) in breaking_off() {
        let gateway = before(&upstream);
        let answer = gateway.get("/", &[]);
        assert_eq!((answer.status, answer.ending), (200, Ending::Truncated), "{what}: {answer:?}");
        assert!(b"part".starts_with(&answer.body), "{what}: {answer:?}");
        let line = gateway.line_of(&answer);
        assert_eq!(line["attempts"][0]["outcome"], "truncated", "{what}: {line}");
    }
}

#[test]
fn an_answer_that_lasts_until_the_close_is_whole() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\n\r\nuntil ");
            conversation.write("the close");
            conversation.close();
        }
    });
    let gateway = before(&upstream);
    let answer = gateway.get("/", &[]);
    answer.expect(200, "until the close");
    assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "success");
}

#[test]
fn a_client_that_goes_away_cancels_the_call() {
    let endless = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            conversation.write_chunk(b"data: 1\n\n");
            conversation.await_departure();
        }
    });
    let silent = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.await_departure();
        }
    });
    for (upstream, with_reset, wait_for_head) in
        [(&endless, false, true), (&endless, true, true), (&silent, false, false), (&silent, true, false)]
    {
        let gateway = before(upstream);
        let before = upstream.heads();
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: gone\r\n\r\n");
        if wait_for_head {
            client.head();
            client.wire.chunk().unwrap();
        } else {
            upstream.await_heads(before + 1);
        }
        if with_reset {
            client.reset()
        } else {
            drop(client)
        }
        upstream.await_departures(before + 1);
        let line = gateway.line_with_id("gone");
        assert_eq!(line["attempts"][0]["outcome"], "client_gone", "{line}");
    }
}

#[test]
fn a_client_that_goes_away_while_it_sends_cancels_the_call() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.await_departure();
        }
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-request-id: gone\r\ncontent-length: 100\r\n\r\nhalf");
    upstream.await_heads(1);
    client.reset();
    upstream.await_departures(1);
    let line = gateway.line_with_id("gone");
    assert_eq!((&line["attempts"][0]["outcome"], &line["status"]), (&"client_gone".into(), &().into()), "{line}");
}

#[test]
fn a_body_that_turns_out_too_large_during_the_answer_is_not_the_backends_fault() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            conversation.write_chunk(b"early");
            conversation.await_departure();
        }
    });
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").top("limits.max_body = \"1KiB\"").start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-request-id: big\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
    let (_, head) = client.head();
    assert_eq!(client.wire.chunk().unwrap().unwrap(), b"early");
    client.send([b"800\r\n".as_slice(), &[b'x'; 0x800], b"\r\n"].concat());
    let (_, _, ending) = client.wire.body(&head, true).unwrap();
    assert_eq!(ending, Ending::Truncated);
    let line = gateway.line_with_id("big");
    assert_eq!(line["attempts"][0]["outcome"], "client_gone", "{line}");
}

#[test]
fn a_slow_reader_slows_the_upstream_down_and_nothing_is_gathered() {
    const PIECE: usize = 64 * 1024;
    let (told, written) = channel();
    let told = Mutex::new(told);
    let upstream = Upstream::scripted(move |conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        // Stops when the gateway takes no more: then its buffers and the kernel's are full.
        conversation.wire.socket.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; PIECE], b"\r\n"].concat();
        let mut pieces = 0_usize;
        while pieces < 4_000 && conversation.try_write(&chunk) {
            pieces += 1;
        }
        told.lock().unwrap().send(pieces).unwrap();
    });
    let gateway = before(&upstream);
    // The first reader makes the allocator and the program's pages warm.
    let mut readers = [gateway.client(), gateway.client(), gateway.client(), gateway.client()];
    let mut resident = Vec::new();
    for client in &mut readers {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.head();
        let pieces = written.recv_timeout(BOUND).unwrap();
        assert!(pieces < 2_000, "{pieces} pieces of 64 KiB went somewhere");
        resident.push(gateway.resident_kib());
    }
    let grown = resident[3].saturating_sub(resident[0]) / 3;
    assert!(grown < 2 * 1024, "{grown} KiB for each slow reader: {resident:?}");
}

#[test]
fn many_streams_at_the_same_time_do_not_mix() {
    let upstream = Upstream::scripted(|conversation| {
        while let Some(seen) = conversation.request() {
            let name = seen.head.start.split(' ').nth(1).unwrap().to_owned();
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for _ in 0..50 {
                conversation.write_chunk(name.as_bytes());
            }
            conversation.write("0\r\n\r\n");
        }
    });
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").threads(2).start();
    let mut clients: Vec<_> = (0..40).map(|_| gateway.client()).collect();
    for round in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{round}-{index} HTTP/1.1\r\nhost: a\r\n\r\n"));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            client.answer().expect(200, &format!("/{round}-{index}").repeat(50));
        }
    }
    eventually("lines", || (gateway.access_lines().len() == 120).then_some(()));
}
