//! Malformed answers: an upstream's mistake, or malice, reaches no client and no other request.

use crate::support::message::Ending;
use crate::support::{Gateway, Setup, Upstream};

fn before(upstream: &Upstream) -> Gateway {
    Setup::route(&upstream.url(), &upstream.url(), "").start()
}

/// An upstream that answers everything with these bytes and then listens on.
fn raw(bytes: &'static str) -> Upstream {
    Upstream::answering(move |_| bytes.as_bytes().to_vec())
}

#[test]
fn answers_that_are_none_are_502() {
    let rows = [
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 1000 High\r\n\r\n",
        "HTTP/1.1 abc Word\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ];
    for row in rows {
        let upstream = raw(row);
        let gateway = before(&upstream);
        let answer = gateway.get("/", &[]);
        assert_eq!((answer.status, answer.code().as_str()), (502, "bad_answer"), "{row:?}");
        assert_eq!(gateway.line_of(&answer)["attempts"][0]["outcome"], "reset", "{row:?}");
    }
}

#[test]
fn a_length_beside_a_coding_does_not_reach_the_client() {
    for row in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 30\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let upstream = raw(row);
        let gateway = before(&upstream);
        let answer = gateway.get("/", &[]);
        if answer.status != 502 {
            assert_eq!((answer.text().as_str(), answer.ending), ("hello", Ending::Whole), "{row:?}: {answer:?}");
            assert_eq!(answer.get("content-length"), None, "{row:?}");
        }
    }
}

#[test]
fn the_same_length_twice_becomes_one() {
    for lengths in
        ["content-length: 2\r\ncontent-length: 2", "content-length: 2, 2", "content-length: 2,2\r\ncontent-length: 2"]
    {
        let upstream = Upstream::answering(move |_| format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nok").into_bytes());
        let answer = before(&upstream).get("/", &[]);
        answer.expect(200, "ok");
        assert_eq!(answer.get("content-length"), Some("2"), "{lengths}");
    }
}

#[test]
fn bytes_behind_an_answer_never_answer_another_request() {
    const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let rows = [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 50\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n"),
    ];
    for (method, clean) in rows {
        let upstream = Upstream::answering(move |seen| {
            let poison = if seen.head.start.contains("/poisoned") { POISON } else { "" };
            [clean, poison].concat().into_bytes()
        });
        let gateway = before(&upstream);
        let mut client = gateway.client();
        for _ in 0..3 {
            let answer = client.request(method, "/poisoned", &[], b"");
            assert!(!answer.text().contains("poison"), "{clean:?}: {answer:?}");
            // The connection with the surplus may be lost, but nobody gets the surplus.
            let answer = client.request(method, "/clean", &[], b"");
            assert!(!answer.text().contains("poison"), "{clean:?}: {answer:?}");
        }
    }
}

#[test]
fn a_head_without_end_is_bounded() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() && conversation.try_write("HTTP/1.1 200 OK\r\n") {
            let line = format!("x: {}\r\n", "y".repeat(8_000));
            let mut lines = 0;
            while lines < 10_000 && conversation.try_write(&line) {
                lines += 1;
            }
            conversation.await_departure();
        }
    });
    let gateway = before(&upstream);
    let answer = gateway.get("/", &[]);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(gateway.resident_kib() < 64 * 1024, "{} KiB", gateway.resident_kib());
}

#[test]
fn a_backend_may_call_a_status_what_it_likes() {
    for start in ["HTTP/1.1 520 Web Server Returned an Unknown Error", "HTTP/1.1 200 Fine"] {
        let upstream = Upstream::answering(move |_| format!("{start}\r\ncontent-length: 2\r\n\r\nok").into_bytes());
        let answer = before(&upstream).get("/", &[]);
        assert_eq!((answer.head.start.as_str(), answer.text().as_str()), (start, "ok"));
    }
}

#[test]
fn an_answer_in_the_old_version_ends_its_connection() {
    let upstream = raw("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok");
    let gateway = before(&upstream);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.get("/", &[]).expect(200, "ok");
    }
    assert_eq!((upstream.heads(), upstream.connections()), (3, 3));
}

#[test]
fn nobody_changes_protocols_in_the_middle_of_a_request() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
            conversation.await_departure();
        }
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 10\r\n\r\nhalf");
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (502, "bad_answer"));
}
