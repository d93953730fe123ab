//! Bodies arrive as they were sent, however they are framed.

use crate::support::message::Ending;
use crate::support::upstream::ok;
use crate::support::{Gateway, Setup, Upstream, pattern};

const MEGABYTE: usize = 1_000_000;

fn before(upstream: &Upstream) -> Gateway {
    Setup::route(&upstream.url(), &upstream.url(), "").start()
}

/// A chunked body of these pieces.
fn chunked(pieces: &[&[u8]], trailers: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    bytes
}

#[test]
fn ten_megabytes_with_a_length_arrive_both_ways() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let body = pattern(10 * MEGABYTE);
    let answer = gateway.request("POST", "/", &[], &body);
    assert_eq!((answer.status, answer.ending, answer.body.len()), (200, Ending::Whole, body.len()));
    assert!(answer.body == body, "the answer differs");
    let seen = upstream.only_request();
    assert!(seen.body == body, "the request differs");
    assert_eq!((seen.head.get("transfer-encoding"), seen.trailers.fields.len()), (None, 0));
}

#[test]
fn ten_megabytes_in_chunks_arrive_both_ways() {
    let body = pattern(10 * MEGABYTE);
    let upstream = {
        let body = body.clone();
        Upstream::answering(move |_| {
            let pieces: Vec<&[u8]> = body.chunks(77_777).collect();
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(), chunked(&pieces, "")].concat()
        })
    };
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let pieces: Vec<&[u8]> = body.chunks(50_001).collect();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(chunked(&pieces, ""));
    let answer = client.answer();
    assert!(answer.body == body, "the answer differs");
    assert_eq!((answer.ending, answer.get("content-length")), (Ending::Whole, None));
    let seen = upstream.only_request();
    assert!(seen.body == body, "the request differs");
    assert_eq!((seen.ending, seen.head.get("content-length")), (Ending::Whole, None));
}

#[test]
fn every_method_may_have_a_body_framed_either_way() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut client = gateway.client();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] {
        let answer = client.request(method, "/", &[], b"with a length");
        assert_eq!((answer.status, answer.text().as_str()), (200, "with a length"), "{method}");
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"));
        client.send(chunked(&[b"in ", b"chunks"], ""));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "in chunks"), "{method}");
    }
}

#[test]
fn an_empty_body_stays_one() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream);
    let mut client = gateway.client();
    for fields in ["content-length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "\r\n"] {
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}"));
        client.answer().expect(200, "ok");
        assert_eq!(upstream.last_request().body, b"", "{fields:?}");
        assert_eq!(upstream.last_request().ending, Ending::Whole);
    }
}

#[test]
fn trailers_pass_both_ways_where_they_are_welcome() {
    let upstream = Upstream::answering(|_| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n".to_vec();
        [head, chunked(&[b"ok"], "x-sum: 42\r\n")].concat()
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-mine\r\n\
         transfer-encoding: chunked\r\n\r\n",
    );
    client.send(chunked(&[b"body"], "x-mine: 43\r\n"));
    let answer = client.answer();
    answer.expect(200, "ok");
    assert_eq!(answer.trailers.get("x-sum"), Some("42"));
    let seen = upstream.only_request();
    assert_eq!((seen.head.get("te"), seen.trailers.get("x-mine")), (Some("trailers"), Some("43")));

    let answer = client.get("/", &[]);
    answer.expect(200, "ok");
    assert_eq!(upstream.last_request().head.get("te"), None);
    assert_eq!(answer.trailers.get("x-sum"), None, "a client that does not say `te: trailers` gets none");
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.head().0, 100);
    client.send("hello");
    client.answer().expect(200, "hello");
    assert_eq!(upstream.only_request().head.get("expect"), None);
    client.get("/", &[]).expect(200, "");
}

#[test]
fn a_body_leaves_piece_by_piece_and_an_answer_may_come_before_its_end() {
    let (first, seen_first) = std::sync::mpsc::channel();
    let first = std::sync::Mutex::new(first);
    let upstream = Upstream::scripted(move |conversation| {
        let Some(head) = conversation.head() else { return };
        let piece = conversation.wire.chunk().unwrap().unwrap();
        first.lock().unwrap().send(piece).unwrap();
        conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        conversation.write_chunk(b"early ");
        let seen = conversation.rest_of(head).unwrap();
        conversation.write_chunk(&seen.body);
        conversation.write("0\r\n\r\n");
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    assert_eq!(seen_first.recv_timeout(crate::support::BOUND).unwrap(), b"first");
    let (status, _) = client.head();
    assert_eq!((status, client.wire.chunk().unwrap().unwrap()), (200, b"early ".to_vec()));
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    let (rest, _, ending) = client.wire.chunked().unwrap();
    assert_eq!((rest, ending), (b"second".to_vec(), Ending::Whole));
}

#[test]
fn a_connection_whose_upload_goes_on_is_not_given_to_another_request() {
    let upstream = Upstream::scripted(|conversation| {
        // Answers a POST as soon as its head is there, and takes its body afterwards.
        while let Some(head) = conversation.head() {
            conversation.write(ok("early"));
            if conversation.rest_of(head).is_none() {
                return;
            }
        }
    });
    let gateway = before(&upstream);
    let mut slow = gateway.client();
    slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345");
    slow.answer().expect(200, "early");
    // Another client must not wait for the slow one.
    gateway.get("/", &[]).expect(200, "early");
    slow.send("67890");
    slow.get("/", &[]).expect(200, "early");
}

#[test]
fn an_early_refusal_of_a_large_upload_reaches_the_client() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.head().is_some() {
            conversation.write("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
            conversation.await_departure();
        }
    });
    let gateway = before(&upstream);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n");
    client.send(pattern(1_000));
    client.answer().expect(413, "big");
}

#[test]
fn a_client_that_waits_for_100_gets_a_final_answer_at_once_where_nobody_wants_the_body() {
    let gateway = Setup::new(
        "[backends.off]\nrespond = { status = 404, body = \"off\" }\n\
         [routes.all]\npath = \"/\"\ncontrol = \"off\"\ncandidate = \"off\"\n",
    )
    .start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    client.answer().expect(404, "off");
}

#[test]
fn a_client_that_waits_for_100_is_told_once_though_two_backends_are_asked() {
    let control = Upstream::echo();
    let candidate = Upstream::answering(|_| crate::support::upstream::status(500, "Oh", "no"));
    let gateway = Setup::candidate(&control.url(), &candidate.url(), "fallback = { replay = \"always\" }").start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.head().0, 100);
    client.send("hello");
    client.answer().expect(200, "hello");
    assert_eq!(candidate.only_request().body, b"hello");
}

#[test]
fn a_client_that_says_close_is_closed_after_its_answer() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let answer = client.get("/", &[("connection", "close")]);
    answer.expect(200, "ok");
    assert_eq!(answer.get("connection"), Some("close"));
    client.expect_closed();
    gateway.get("/", &[]).expect(200, "ok");
    assert_eq!(upstream.connections(), 1, "the client's wish is not the upstream's affair");
}

#[test]
fn trailers_that_nobody_looked_at_do_not_pass() {
    let upstream = Upstream::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let gateway = before(&upstream);
    let mut client = gateway.client();
    let named = "x-mine, x-user-id, x-forwarded-for, x-pointsman-shadow, proxy-authorization";
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ntrailer: {named}\r\ntransfer-encoding: chunked\r\n\r\n"));
    let trailers = "x-mine: 1\r\nx-user-id: other\r\nx-forwarded-for: 6.6.6.6\r\nx-pointsman-shadow: 1\r\n\
                    proxy-authorization: y\r\nnot-announced: 2\r\n";
    client.send(chunked(&[b"body"], trailers));
    client.answer().expect(200, "ok");
    let seen = upstream.only_request();
    assert_eq!(seen.trailers.fields.len(), 1, "{:?}", seen.trailers);
    assert_eq!(seen.trailers.get("x-mine"), Some("1"));
}

#[test]
fn what_a_client_says_of_an_empty_body_passes() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream);
    let mut client = gateway.client();
    for (method, told, expected) in
        [("DELETE", "content-length: 0\r\n", Some("0")), ("DELETE", "", None), ("POST", "", Some("0"))]
    {
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n{told}\r\n"));
        client.answer().expect(200, "ok");
        assert_eq!(upstream.last_request().head.get("content-length"), expected, "{method} {told:?}");
    }
}
