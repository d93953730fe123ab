use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// An answer as a row tells it: status, fields in order, body and trailers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

/// How reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    /// Whole; whether the connection may be used again, and what came behind.
    Whole(Told, bool, Vec<u8>),
    /// Broken off, or not HTTP.
    Refused,
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// Reads an answer that comes in these pieces, after which the connection is closed.
fn read(method: &Method, pieces: &[&[u8]]) -> Read {
    let mut coming = pieces.iter().filter(|piece| !piece.is_empty());
    let mut input = BytesMut::new();
    let (head, length) = loop {
        match parse_head(&input.clone().freeze(), method) {
            Err(Malformed) => return Read::Refused,
            Ok(Some((head, length))) if head.status.is_informational() && head.status != 101 => {
                drop(input.split_to(length));
            }
            Ok(Some(found)) => break found,
            Ok(None) => match coming.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return Read::Refused,
            },
        }
    };
    drop(input.split_to(length));
    let mut told =
        Told { status: head.status.as_u16(), fields: pairs(&head.headers), body: Vec::new(), trailers: Vec::new() };
    let (mut decoder, mut input) = (head.body, input.freeze());
    loop {
        match decoder.decode(&mut input) {
            Err(Malformed) => return Read::Refused,
            Ok(Decoded::Piece(piece)) => {
                assert!(!piece.is_empty());
                told.body.extend_from_slice(&piece);
            }
            Ok(Decoded::Trailers(trailers)) => {
                assert!(decoder.is_over());
                told.trailers = pairs(&trailers);
            }
            Ok(Decoded::End) => return Read::Whole(told, head.keep_alive, input.to_vec()),
            Ok(Decoded::More) => match coming.next() {
                Some(piece) => input = Bytes::copy_from_slice(piece),
                None if decoder.close().is_ok() => {}
                None => return Read::Refused,
            },
        }
    }
}

fn get(text: &str) -> Read {
    read(&Method::GET, &[text.as_bytes()])
}

/// Status, body, whether another request may follow, what came behind; an empty row for what is refused.
fn row(found: &Read) -> String {
    match found {
        Read::Refused => "refused".to_owned(),
        Read::Whole(told, keep_alive, behind) => format!(
            "{} {:?} {} {:?}",
            told.status,
            String::from_utf8_lossy(&told.body),
            if *keep_alive { "keep" } else { "close" },
            String::from_utf8_lossy(behind),
        ),
    }
}

#[test]
fn how_an_answer_ends() {
    let rows = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc", r#"200 "ab" keep "c""#),
        ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", r#"200 "" keep """#),
        ("HTTP/1.1 200 OK\r\n\r\nall of it", r#"200 "all of it" close """#),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nabc", r#"204 "" keep "abc""#),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", r#"304 "" keep """#),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", r#"200 "ab" keep """#),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab", r#"200 "ab" keep """#),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", "refused"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na", r#"200 "a" close """#),
        ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\na", r#"200 "a" close """#),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", r#"200 "a" close """#),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na", r#"200 "a" close """#),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length:\r\n\r\n", r#"304 "" keep """#),
        ("HTTP/1.1 204 x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", r#"204 "" keep """#),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: x\r\n\r\n0\r\n\r\n", "refused"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "refused"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", r#"200 "ab" keep """#),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
            r#"200 "a" close """#,
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "refused"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "refused"),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            r#"200 "" keep """#,
        ),
        ("HTTP/2 200 OK\r\n\r\n", "refused"),
        ("HTTP/1.1 99 Low\r\n\r\n", "refused"),
        ("HTTP/1.1 200 OK\r\nfield : a\r\n\r\n", "refused"),
        ("HTTP/1.1 200 OK\r\n folded: a\r\n\r\n", "refused"),
        ("garbage\r\n\r\n", "refused"),
        ("", "refused"),
    ];
    for (text, expected) in rows {
        assert_eq!(row(&get(text)), expected, "{text:?}");
    }
    let head = read(&Method::HEAD, &[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"]);
    assert_eq!(row(&head), r#"200 "" keep """#);
    let upgrade = get("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nfirst words");
    assert_eq!(row(&upgrade), r#"101 "" keep "first words""#);
}

#[test]
fn chunks_and_what_is_none() {
    let rows = [
        ("0\r\n\r\n", r#"200 "" keep """#),
        ("000\r\n\r\n", r#"200 "" keep """#),
        ("00000000000000000002\r\nab\r\n00000000000000000000\r\n\r\n", r#"200 "ab" keep """#),
        ("1000000000000000000000000\r\nab", "refused"),
        ("A\r\n0123456789\r\n0\r\n\r\nnext", r#"200 "0123456789" keep "next""#),
        ("2;name=value\r\nab\r\n0;last\r\n\r\n", r#"200 "ab" keep """#),
        ("2 \t\r\nab\r\n0\r\n\r\n", r#"200 "ab" keep """#),
        ("2 ;a\r\nab\r\n0\r\n\r\n", r#"200 "ab" keep """#),
        ("2\nab\r\n0\r\n\r\n", "refused"),
        ("2;a\nb\r\nab\r\n0\r\n\r\n", "refused"),
        ("2\r\nabc\r\n0\r\n\r\n", "refused"),
        ("2\r\nab\n0\r\n\r\n", "refused"),
        ("2\r\nab\r\n", "refused"),
        ("2\r\nab\r\n0\r\n", "refused"),
        ("\r\nab", "refused"),
        ("-1\r\nab", "refused"),
        ("0x2\r\nab\r\n0\r\n\r\n", "refused"),
        ("2 2\r\nab\r\n0\r\n\r\n", "refused"),
        ("10000000000000000\r\nab", "refused"),
        (" 2\r\nab\r\n0\r\n\r\n", "refused"),
    ];
    for (chunks, expected) in rows {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(row(&get(&text)), expected, "{chunks:?}");
    }
}

#[test]
fn trailers() {
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nsum: 1\r\nother: b c\r\n\r\nnext";
    let Read::Whole(told, true, behind) = get(text) else { panic!("{:?}", get(text)) };
    assert_eq!(told.trailers, [("sum".to_owned(), "1".to_owned()), ("other".to_owned(), "b c".to_owned())]);
    assert_eq!((told.body, behind), (b"a".to_vec(), b"next".to_vec()));
    for broken in ["no field\r\n", "sum: 1\n", "sum: 1 \nother: 2\r\n", "sum: 1\rother: 2\r\n", "\n", "\r"] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{broken}\r\n");
        assert_eq!(get(&text), Read::Refused, "{broken:?}");
    }
}

#[test]
fn the_end_of_a_head_is_seen_wherever_it_is_cut() {
    for text in ["HTTP/1.1 200 OK\r\na: b\r\n\r\n", "HTTP/1.1 200 OK\na: b\n\n"] {
        for step in 1..text.len() {
            let reads: Vec<usize> = (step..text.len()).step_by(step).chain([text.len()]).collect();
            let mut before = 0;
            for end in reads {
                let seen = ends_head(&text.as_bytes()[..end], end - before);
                assert_eq!(seen, end == text.len(), "{text:?} to {end} by {step}");
                before = end;
            }
        }
    }
}

#[test]
fn nothing_is_without_a_limit() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let fields = |count: usize| "a: b\r\n".repeat(count);
    let rows = [
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{}\r\n", fields(MAX_HEADERS - 1)), true),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{}\r\n", fields(MAX_HEADERS)), false),
        (format!("HTTP/1.1 204 OK\r\na: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES - 64)), true),
        (format!("HTTP/1.1 204 OK\r\na: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES)), false),
        (format!("HTTP/1.1 204 OK\r\na: {}", "x".repeat(MAX_HEAD_BYTES)), false),
        (format!("{chunked}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MAX_CHUNK_EXTENSION_BYTES - 1)), true),
        (format!("{chunked}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MAX_CHUNK_EXTENSION_BYTES + 1)), false),
        (format!("{chunked}0\r\na: {}\r\n\r\n", "x".repeat(MAX_TRAILER_BYTES - 16)), true),
        (format!("{chunked}0\r\na: {}\r\n\r\n", "x".repeat(MAX_TRAILER_BYTES)), false),
        (format!("{chunked}0\r\n{}\r\n", fields(101)), false),
    ];
    for (text, accepted) in rows {
        assert_eq!(get(&text) != Read::Refused, accepted, "{:.60} ({} bytes)", text, text.len());
    }
}

#[test]
fn a_request_on_the_wire() {
    let mut fields = HeaderMap::new();
    for (name, value) in [("host", "a:1"), ("x", "1"), ("x", "2"), ("content-length", "9"), ("transfer-encoding", "y")]
    {
        fields.append(name, HeaderValue::from_static(value));
    }
    let rows = [
        (Method::GET, Framing::None, "GET /p?q HTTP/1.1\r\nhost: a:1\r\nx: 1\r\nx: 2\r\n\r\n"),
        (Method::POST, Framing::None, "POST /p?q HTTP/1.1\r\nhost: a:1\r\nx: 1\r\nx: 2\r\ncontent-length: 0\r\n\r\n"),
        (
            Method::PUT,
            Framing::Length(u64::MAX),
            "PUT /p?q HTTP/1.1\r\nhost: a:1\r\nx: 1\r\nx: 2\r\ncontent-length: 18446744073709551615\r\n\r\n",
        ),
        (
            Method::GET,
            Framing::Chunked,
            "GET /p?q HTTP/1.1\r\nhost: a:1\r\nx: 1\r\nx: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
    ];
    for (method, framing, expected) in rows {
        let mut out = Vec::new();
        encode_head(&mut out, &method, "/p?q", &fields, framing);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
    for (bytes, expected) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65_536, "10000\r\n")] {
        let mut out = Vec::new();
        encode_chunk_size(&mut out, bytes);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("sum", HeaderValue::from_static("1"));
    for name in ["authorization", "x-forwarded-for", "x-pointsman-shadow", "proxy-authorization", "not-announced"] {
        trailers.insert(name, HeaderValue::from_static("no"));
    }
    let announced = "Sum, authorization,x-forwarded-for , x-pointsman-shadow, proxy-authorization, not a name";
    let fields = HeaderMap::from_iter([(header::TRAILER, HeaderValue::from_static(announced))]);
    let mut out = Vec::new();
    encode_trailers(&mut out, &trailers, &announced_trailers(&fields));
    assert_eq!(String::from_utf8_lossy(&out), "0\r\nsum: 1\r\n\r\n");
}

/// What hyper's client makes of the same bytes, of which the connection's end is the last.
async fn hyper_reads(text: Vec<u8>) -> Option<Told> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.ok()?;
    let connection = tokio::spawn(connection);
    let server = tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(far);
        let mut asked = [0; 1_024];
        let _head = reader.read(&mut asked).await;
        let _written = writer.write_all(&text).await;
        let _closed = writer.shutdown().await;
    });
    let request = http::Request::get("/").body(Empty::<Bytes>::new()).ok()?;
    let told = async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?;
        let trailers = body.trailers().map(pairs).unwrap_or_default();
        let fields = pairs(&head.headers);
        Some(Told { status: head.status.as_u16(), fields, body: body.to_bytes().to_vec(), trailers })
    }
    .await;
    server.await.ok()?;
    connection.abort();
    told
}

/// Answers, most of them valid, with faults here and there.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        5 => Just("HTTP/1.1 200 OK"),
        1 => Just("HTTP/1.1 204 No Content"),
        1 => Just("HTTP/1.1 304 x"),
        1 => Just("HTTP/1.1 500"),
        1 => Just("HTTP/1.0 200 OK"),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
        1 => Just("HTTP/1.1 2x0 OK"),
    ];
    let field = prop_oneof![
        3 => Just("server: x".to_owned()),
        3 => "[a-z]{1,6}: [ -~]{0,12}",
        2 => (0_u8..12).prop_map(|length| format!("content-length: {length}")),
        2 => Just("transfer-encoding: chunked".to_owned()),
        1 => Just("connection: close".to_owned()),
        1 => Just("no colon".to_owned()),
        1 => Just("Mixed-Case:tight".to_owned()),
        1 => Just("empty:".to_owned()),
    ];
    let body = prop_oneof![
        2 => "[a-z]{0,12}",
        3 => Just("3\r\nabc\r\n0\r\n\r\n".to_owned()),
        1 => Just("3\r\nabc\r\n5;x=y\r\n01234\r\n0\r\nsum: 1\r\n\r\n".to_owned()),
        1 => Just("3\r\nabcd\r\n0\r\n\r\n".to_owned()),
        1 => Just("z\r\n".to_owned()),
    ];
    let whole = (status, prop::collection::vec(field, 0..5), body).prop_map(|(status, fields, body)| {
        format!("{status}\r\n{}\r\n{body}", fields.into_iter().map(|field| field + "\r\n").collect::<String>())
    });
    let fault = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (whole, fault).prop_map(|(text, fault)| {
        let mut bytes = text.into_bytes();
        if let Some((index, byte)) = fault {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Where a network cuts an answer makes no difference.
    #[test]
    fn cuts_make_no_difference(text in answers(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        let whole = read(&Method::GET, &[&text]);
        // What came behind was not read where it came in a piece of its own.
        let told = |found: &Read| match found {
            Read::Whole(told, keep_alive, _) => Some((told.clone(), *keep_alive)),
            Read::Refused => None,
        };
        prop_assert_eq!(told(&read(&Method::GET, &pieces)), told(&whole));
        prop_assert_eq!(told(&read(&Method::GET, &bytes)), told(&whole));
    }

    /// What is accepted here is what another implementation reads; what it refuses is refused.
    #[test]
    fn nothing_is_read_otherwise_than_by_hyper(text in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let theirs = runtime.block_on(hyper_reads(text.clone()));
        match (read(&Method::GET, &[&text]), theirs) {
            (Read::Whole(ours, ..), Some(theirs)) => {
                // What only frames is left out here.
                let told = |mut told: Told| {
                    let lengths = told.fields.iter().filter(|field| field.0 == "content-length");
                    let mut lengths: Vec<_> = lengths.map(|field| field.1.clone()).collect();
                    lengths.dedup();
                    let plain = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                    let void = told.fields.iter().any(|field| field.0 == "transfer-encoding")
                        || lengths.len() > 1
                        || !lengths.iter().all(plain);
                    told.fields.retain(|(name, value)| match name.as_str() {
                        "content-length" => !void,
                        "transfer-encoding" => false,
                        "connection" => !value.eq_ignore_ascii_case("close"),
                        _ => true,
                    });
                    told.fields.sort();
                    told.fields.dedup_by(|a, b| a.0 == "content-length" && a == b);
                    told
                };
                let (mut ours, theirs) = (ours, told(theirs));
                ours.fields.sort();
                prop_assert_eq!(ours, theirs);
            }
            (Read::Whole(ours, ..), None) => prop_assert!(false, "only accepted here: {:?}", ours),
            // Stricter here: codings beyond `chunked`, lengths in lists.
            (Read::Refused, _) => {}
        }
    }
}
