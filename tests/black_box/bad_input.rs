//! Malformed requests: refused, closed, and never passed on as they were.

use std::net::Shutdown;
use std::time::Duration;

use crate::support::message::Ending;
use crate::support::upstream::{Seen, status};
use crate::support::{BOUND, Client, Gateway, Setup, Upstream, eventually, pattern};

/// How long a refusal may take; what takes longer waits for the rest of something unfinished.
const REFUSED_WITHIN: Duration = Duration::from_millis(300);

/// What may come of a row.
#[derive(Clone, Copy)]
enum Expect {
    /// One of these statuses or a close without an answer; then the connection is closed, and nothing
    /// reached the upstream.
    Refused(&'static [u16]),
    /// It is answered 200, and what reached the upstream is a plain message with this body.
    Normalised(&'static str),
    /// Refused, or normalised to this body: both are safe, and which one is hyper's choice.
    Either(&'static str),
}

use Expect::{Either, Normalised, Refused};

const BAD: Expect = Refused(&[400]);

/// Something that would be a request of its own if a body ended early.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

fn check(gateway: &Gateway, upstream: &Upstream, request: &[u8], expect: Expect) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let before = upstream.heads();
    let mut client = gateway.client();
    // The gateway may close before it has everything.
    let _closed_early = client.try_send(request);
    let patience = if matches!(expect, Refused(_)) { REFUSED_WITHIN } else { BOUND };
    let status = first_status(&mut client, patience);
    let heads = upstream.heads() - before;
    let refused = |statuses: &[u16]| heads == 0 && status.is_none_or(|status| statuses.contains(&status));
    let normalised = |body: &str| {
        status == Some(200)
            && heads == 1
            && is_plain(&upstream.last_request())
            && upstream.last_request().body == body.as_bytes()
    };
    let held = match expect {
        Refused(statuses) => refused(statuses),
        Normalised(body) => normalised(body),
        Either(body) => refused(&[400]) || normalised(body),
    };
    assert!(held, "{shown:?}: status {status:?}, {heads} heads upstream: {:?}", upstream.requests().last());
}

/// The status of the first answer; checks that no second one follows a refusal. A gateway that waits
/// for more than this is told that no more will come (before the answer that would cancel the request).
fn first_status(client: &mut Client, patience: Duration) -> Option<u16> {
    client.set_patience(patience);
    let first = client.wire.head();
    client.set_patience(BOUND);
    // The gateway may have closed by now.
    let _closed = client.wire.socket.shutdown(Shutdown::Write);
    let head = match first {
        Ok(head) => head,
        Err(_) => client.wire.head().unwrap(),
    }?;
    let status: u16 = head.start.split(' ').nth(1).unwrap().parse().unwrap();
    let rest = String::from_utf8_lossy(&client.wire.rest().unwrap()).into_owned();
    let answers = rest.matches("HTTP/1.1 ").count();
    assert!(status == 200 || answers == 0, "after {status} came {rest:?}");
    assert!(!rest.contains("/smuggled"), "a smuggled request was answered: {rest:?}");
    Some(status)
}

/// Whether a message is framed in exactly one way and says nothing doubtful.
fn is_plain(seen: &Seen) -> bool {
    let (lengths, codings) = (seen.head.all("content-length"), seen.head.all("transfer-encoding"));
    let framed = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => true,
        ([length], []) => length.bytes().all(|byte| byte.is_ascii_digit()),
        ([], [coding]) => *coding == "chunked",
        _ => false,
    };
    let fields = seen.head.fields.iter().all(|(name, value)| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte))
            && !value.contains(['\0', '\r', '\n'])
    });
    framed && fields && seen.head.all("host").len() == 1 && seen.ending == Ending::Whole
}

fn run(rows: &[(String, Expect)]) {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    for (request, expect) in rows {
        check(&gateway, &upstream, request.as_bytes(), *expect);
    }
    gateway.get("/", &[]).expect(200, "ok");
}

/// A POST with these field lines and this rest.
fn post(fields: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{rest}")
}

/// A GET with these field lines.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\n{fields}\r\n")
}

#[test]
fn framing_that_two_parsers_could_read_differently_is_refused() {
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    let rows = [
        // Length beside coding: hyper drops the length and closes, so that nothing can follow.
        (post("content-length: 6\r\ntransfer-encoding: chunked\r\n", &chunks), Either("")),
        (post("transfer-encoding: chunked\r\ncontent-length: 6\r\n", &chunks), Either("")),
        (post("transfer-encoding: identity\r\ncontent-length: 4\r\n", "body"), BAD),
        (post("transfer-encoding: identity\r\n", ""), BAD),
        (post("transfer-encoding: gzip\r\n", "body"), BAD),
        (post("transfer-encoding: gzip, chunked\r\n", &chunks), BAD),
        (post("transfer-encoding: chunked, gzip\r\n", &chunks), BAD),
        (post("transfer-encoding: chunked, chunked\r\n", &chunks), BAD),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", &chunks), BAD),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", &chunks), BAD),
        (post("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", &chunks), BAD),
        (post("transfer-encoding: xchunked\r\n", &chunks), BAD),
        (post("transfer-encoding: chunkedx\r\n", &chunks), BAD),
        (post("transfer-encoding: \"chunked\"\r\n", &chunks), BAD),
        (post("transfer-encoding: chunked;q=1\r\n", &chunks), BAD),
        (post("transfer-encoding:\x0bchunked\r\n", &chunks), BAD),
        (post("transfer-encoding : chunked\r\n", &chunks), BAD),
        (post("transfer-encoding\t: chunked\r\n", &chunks), BAD),
        (post("transfer-encoding:\r\n chunked\r\n", &chunks), BAD),
        (post("transfer-encoding:\r\n", &chunks), BAD),
        (post("transfer-encoding: CHUNKED\r\n", "2\r\nok\r\n0\r\n\r\n"), Normalised("ok")),
        (post("transfer_encoding: chunked\r\ncontent-length: 2\r\n", "ok"), Normalised("ok")),
        ("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), BAD),
        (post("content-length: 4\r\ncontent-length: 5\r\n", "body5"), BAD),
        (post("content-length: 4, 5\r\n", "body5"), BAD),
        (post("content-length: 4\r\ncontent-length: 4\r\n", "body"), Either("body")),
        (post("content-length: 4, 4\r\n", "body"), Either("body")),
        (post("content-length: +4\r\n", "body"), BAD),
        (post("content-length: -4\r\n", "body"), BAD),
        (post("content-length: 0x4\r\n", "body"), BAD),
        (post("content-length: 4 4\r\n", "body"), BAD),
        (post("content-length: 4a\r\n", "body"), BAD),
        (post("content-length:\r\n", "body"), BAD),
        (post("content-length: 99999999999999999999\r\n", "body"), BAD),
        (post("content-length: 004\r\n", "body"), Either("body")),
        (post("content-length:\r\n 4\r\n", "body"), BAD),
    ];
    run(&rows);
}

#[test]
fn chunks_that_are_none_never_make_a_whole_body() {
    let rows = [
        "zz\r\nok\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "2\r\nokay\r\n0\r\n\r\n",
        "2\nok\n0\n\n",
        "2\r\nok0\r\n\r\n",
        "2",
        "1ffffffffffffffff\r\nx",
        "2 x\r\nok\r\n0\r\n\r\n",
        "\r\n2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "2;a=\n\"b\"\r\nok\r\n0\r\n\r\n",
    ];
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    for row in rows {
        let mut client = gateway.client();
        client.send(format!("{}{row}", post("transfer-encoding: chunked\r\n", "")));
        let status = first_status(&mut client, REFUSED_WITHIN);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{row:?}: {status:?}");
    }
    let whole: Vec<_> = upstream.requests().into_iter().filter(|seen| seen.ending == Ending::Whole).collect();
    assert!(whole.is_empty(), "{whole:?}");
}

#[test]
fn hosts_that_are_none_are_refused() {
    let rows = [
        (get(""), BAD),
        (get("host: a\r\nhost: b\r\n"), BAD),
        (get("host: a\r\nhost: a\r\n"), BAD),
        (get("host:\r\n"), BAD),
        (get("host: a b\r\n"), BAD),
        (get("host: a, b\r\n"), BAD),
        (get("host: a/b\r\n"), BAD),
        (get("host: u@a\r\n"), BAD),
        (get("host: http://a\r\n"), BAD),
        (get("host: a:b\r\n"), BAD),
        (get("host: a:80:80\r\n"), BAD),
        (get("host: a:123456\r\n"), BAD),
        (get("host: [::1\r\n"), BAD),
        (get("host: a?b\r\n"), BAD),
        (get("host: a#b\r\n"), BAD),
        (get("host: a\\b\r\n"), BAD),
        (get("host: \u{e4}\r\n"), BAD),
        (get("host: [::1]:80\r\n"), Normalised("")),
        (get("host: a.b-c:80\r\n"), Normalised("")),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(), BAD),
        ("GET http://a/ HTTP/1.1\r\n\r\n".to_owned(), BAD),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), BAD),
        ("GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), Normalised("")),
        ("GET http://a?b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), Normalised("")),
    ];
    run(&rows);
}

#[test]
fn request_lines_that_are_none_are_refused() {
    let line = |line: &str| format!("{line}\r\nhost: a\r\n\r\n");
    let rows = [
        (line("GET  / HTTP/1.1"), BAD),
        (line("GET /  HTTP/1.1"), BAD),
        (line("GET / HTTP/1.1 "), BAD),
        (line(" GET / HTTP/1.1"), BAD),
        (line("GET\t/\tHTTP/1.1"), BAD),
        (line("GET / b HTTP/1.1"), BAD),
        (line("GET a HTTP/1.1"), BAD),
        (line("GET a/b HTTP/1.1"), BAD),
        (line("GET * HTTP/1.1"), BAD),
        (line("GET ftp://a/ HTTP/1.1"), BAD),
        (line("GET //a HTTP/1.1"), Either("")),
        (line("GET /a\0b HTTP/1.1"), BAD),
        (line("GET /a\x7fb HTTP/1.1"), BAD),
        (line("GET /a#b HTTP/1.1"), Either("")),
        (line("GET HTTP/1.1"), BAD),
        (line("GET /"), BAD),
        (line("GET / HTTP/2.0"), Refused(&[400, 505])),
        (line("GET / HTTP/1.2"), Refused(&[400, 505])),
        (line("GET / HTTP/1.10"), Refused(&[400, 505])),
        (line("GET / http/1.1"), Refused(&[400, 505])),
        (line("GET / HTTP/ 1.1"), Refused(&[400, 505])),
        (line("GET / HTTPS/1.1"), Refused(&[400, 505])),
        (line("G ET / HTTP/1.1"), BAD),
        (line("G\"ET / HTTP/1.1"), BAD),
        (line("G(ET / HTTP/1.1"), BAD),
        (line(""), BAD),
        ("GET /\r\n".to_owned(), BAD),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), Refused(&[400, 505])),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".to_owned(), BAD),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), Refused(&[400, 405, 501])),
        ("CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), Refused(&[400, 405, 501])),
        ("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), Normalised("")),
    ];
    run(&rows);
}

#[test]
fn fields_that_are_none_are_refused() {
    let rows = [
        (get("host: a\r\nx : b\r\n"), BAD),
        (get("host: a\r\n x: b\r\n"), BAD),
        (get("host: a\r\nx: b\r\n c\r\n"), BAD),
        (get("host: a\r\nx: b\r\n\tc\r\n"), BAD),
        (get("host: a\r\nx\r\n"), BAD),
        (get("host: a\r\n: b\r\n"), BAD),
        (get("host: a\r\nx y: b\r\n"), BAD),
        (get("host: a\r\nx(: b\r\n"), BAD),
        (get("host: a\r\nx: a\0b\r\n"), BAD),
        (get("host: a\r\nx: a\rb\r\n"), BAD),
        (get("host: a\r\nx: a\x01b\r\n"), BAD),
        (get("host: a\r\nx: a\x7fb\r\n"), BAD),
        (get("host: a\r\nx\u{e4}: b\r\n"), BAD),
        ("GET / HTTP/1.1\nhost: a\n\n".to_owned(), Either("")),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: y\nz: w\r\n\r\n".to_owned(), Either("")),
        ("GET / HTTP/1.1\rhost: a\r\r".to_owned(), BAD),
    ];
    run(&rows);
}

#[test]
fn heads_over_the_limits_are_431() {
    let upstream = Upstream::saying("ok");
    let top = "limits.max_head = \"8KiB\"\nlimits.max_headers = 20";
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").top(top).start();
    let many: String = (0..25).map(|index| format!("x-{index}: y\r\n")).collect();
    let rows = [
        (get(&format!("host: a\r\nx: {}\r\n", "y".repeat(9_000))), Refused(&[431])),
        (get(&format!("host: a\r\nx: {}\r\n", "y".repeat(900_000))), Refused(&[431])),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(9_000)), Refused(&[414, 431])),
        (get(&format!("host: a\r\n{many}")), Refused(&[431])),
        (get(&format!("host: a\r\nx: {}\r\n", "y".repeat(6_000))), Normalised("")),
    ];
    for (request, expect) in rows {
        check(&gateway, &upstream, request.as_bytes(), expect);
    }
}

#[test]
fn bodies_over_the_limit_are_413() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").top("limits.max_body = \"10KiB\"").start();
    assert_eq!(gateway.post(&pattern(10_240)).status, 200);

    let mut client = gateway.client();
    client.send(post("content-length: 10241\r\n", ""));
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (413, "content_too_large"));
    client.expect_closed();
    assert_eq!(upstream.heads(), 1, "a length that is too large is refused before anything is sent");

    let mut client = gateway.client();
    client.send(post("transfer-encoding: chunked\r\n", ""));
    client.send([b"2801\r\n".as_slice(), &pattern(0x2801), b"\r\n"].concat());
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (413, "content_too_large"));
    let line = gateway.line_of(&answer);
    assert_eq!(line["attempts"][0]["outcome"], "client_gone", "{line}");
    let whole = upstream.requests().iter().filter(|seen| seen.ending == Ending::Whole).count();
    assert_eq!(whole, 1, "the upstream must not take the cut body for a whole one");
}

#[test]
fn refusals_of_the_gateways_own_are_problem_documents_that_close() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    let rows = [
        (get("host: a\r\nhost: b\r\n"), 400, "bad_request"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), 501, "method_not_supported"),
    ];
    for (request, status, code) in rows {
        let mut client = gateway.client();
        client.send(&request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(answer.get("connection"), Some("close"));
        client.expect_closed();
    }
}

#[test]
fn every_refusal_is_counted_once() {
    let upstream = Upstream::answering(|_| status(400, "Bad", "mine"));
    let route = Setup::route(&upstream.url(), &upstream.url(), "")
        .replacing("path = \"/\"", "path = \"/plain\"")
        .with("[routes.rewritten]\npath = \"/rewritten\"\ncontrol = \"control\"\ncandidate = \"candidate\"")
        .with("rewrite.control.request.json_merge = { a = 1 }");
    let limits = "limits.max_body = \"10KiB\"\nlimits.rewrite_body = \"1KiB\"\nlimits.max_head = \"8KiB\"";
    let gateway = route.top(limits).start();
    let ask = |path: &str, fields: &str, body: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}");
    let large = format!("2801\r\n{}\r\n", "x".repeat(0x2801));
    let rows = [
        // Of the parser.
        ("no request\r\n\r\n".to_owned(), Some(400), 1.0),
        (ask("/plain", &format!("x: {}\r\n", "y".repeat(9_000)), ""), Some(431), 1.0),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), None, 1.0),
        // Before a route is found.
        (ask("/plain", "host: b\r\n", ""), Some(400), 1.0),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), Some(501), 1.0),
        (ask("/plain", "content-length: 10241\r\n", ""), Some(413), 1.0),
        // Of a route.
        (ask("/plain", "transfer-encoding: chunked\r\n", &large), Some(413), 1.0),
        (ask("/rewritten", "content-length: 2000\r\n", &large[..2_000]), Some(413), 1.0),
        // What is neither malformed nor too large, or not the gateway's.
        (ask("/rewritten", "content-length: 3\r\n", "{}}"), Some(422), 0.0),
        (ask("/plain", "", ""), Some(400), 0.0),
        (get("host: a\r\n"), Some(404), 0.0),
    ];
    let mut expected = 0.0;
    for (request, answer, more) in rows {
        let shown = &request[..request.len().min(80)];
        let mut client = gateway.client();
        client.send(&request);
        let head = client.wire.head().unwrap();
        let status = head.map(|head| head.start.split(' ').nth(1).unwrap().parse().unwrap());
        assert_eq!(status, answer, "{shown:?}");
        expected += more;
        eventually(shown, || gateway.metric("pointsman_requests_rejected_total").filter(|count| *count >= expected));
        assert_eq!(gateway.count("pointsman_requests_rejected_total"), expected, "{shown:?}");
    }
    assert_eq!(gateway.count("pointsman_requests_unrouted_total"), 1.0);
    assert_eq!(gateway.await_lines(4).len(), 4, "what reaches no route has no line");
}

#[test]
fn more_connections_than_allowed_are_closed() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").top("limits.max_connections = 3").start();
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..3 {
        crate::support::eventually("room for a connection", || {
            // The connection of the start may still be open.
            let mut client = gateway.client();
            client.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let served = client.wire.head().unwrap().is_some();
            served.then(|| clients.push(client))
        });
    }
    gateway.client().expect_closed();
    clients.pop();
    crate::support::eventually("room again", || {
        let mut client = gateway.client();
        client.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.wire.head().unwrap().map(|_| ())
    });
}
