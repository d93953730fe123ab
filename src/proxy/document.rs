//! The request's body as a JSON document, for the attributes and keys that come from it.
//!
//! It only reads: what was gathered for it goes on to the backend as it came. A body that cannot be
//! read is no mistake of the request; what would come from it is missing, and why is counted.

use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use super::timer::Timer;
use super::upload::{Extent, Patience, SharedUpload, UploadError};
use super::worker::Worker;
use crate::measure::counters::BodyMiss;

/// Gathers the body, up to `limit` bytes, and reads it. `None` if it is empty or no document.
///
/// # Errors
/// When the client's fault ends the request; see [`SharedUpload::gather`].
pub(crate) async fn read(
    worker: &Worker,
    upload: &SharedUpload,
    headers: &HeaderMap,
    limit: u64,
    patience: Patience,
    timer: &mut Timer,
) -> Result<Option<Value>, UploadError> {
    let document = match is_readable(headers) {
        Err(miss) => Err(miss),
        Ok(()) => {
            let gathered = upload.gather(limit, patience, timer).await?;
            match gathered.extent {
                Extent::Whole if gathered.bytes.is_empty() => return Ok(None),
                Extent::Whole => parse(&gathered.bytes),
                Extent::TooLarge => Err(BodyMiss::TooLarge),
                Extent::NoMemory => Err(BodyMiss::NoMemory),
            }
        }
    };
    if let Err(miss) = document {
        worker.counters().body_misses[miss.index()].add(1);
    }
    Ok(document.ok())
}

/// Whether the head promises JSON, or nothing else.
fn is_readable(headers: &HeaderMap) -> Result<(), BodyMiss> {
    if is_encoded(headers) {
        return Err(BodyMiss::ContentEncoding);
    }
    if promises_json(headers) { Ok(()) } else { Err(BodyMiss::ContentType) }
}

/// Whether a body has a `content-encoding`.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a head promises JSON, or nothing.
pub(crate) fn promises_json(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().all(is_json)
}

/// `application/json`, or any type with the suffix `+json` (RFC 6839, section 3.1), with any parameters.
fn is_json(value: &HeaderValue) -> bool {
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let suffix = essence.rsplit_once('+').map(|(_, suffix)| suffix);
    essence.eq_ignore_ascii_case("application/json") || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
}

/// A whole body as JSON (RFC 8259): UTF-8, nested at most 127 deep, numbers within what a double can
/// hold; of members with the same name, the last counts.
///
/// # Errors
/// Why it cannot be read.
pub fn parse(body: &[u8]) -> Result<Value, BodyMiss> {
    serde_json::from_slice(body).map_err(|error| {
        // The library has no kind of mistake for this, only these words.
        if error.to_string().starts_with("recursion limit exceeded") { BodyMiss::TooDeep } else { BodyMiss::NotJson }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> Vec<u8> {
        [vec![b'['; levels], vec![b']'; levels]].concat()
    }

    #[test]
    fn bodies() {
        let rows: [(&[u8], Result<Value, BodyMiss>); 14] = [
            (br#" {"query": "why?"} "#, Ok(json!({"query": "why?"}))),
            (br#"{"a": 1, "a": {"b": 2}, "a": 3}"#, Ok(json!({"a": 3}))),
            (b"123456789012345678901234567890", Ok(json!(123_456_789_012_345_678_901_234_567_890.0))),
            (br#""text""#, Ok(json!("text"))),
            (br#""\ud83d\ude00""#, Ok(json!("😀"))),
            (b"1e999", Err(BodyMiss::NotJson)),
            (b"{\"a\": \"\xff\"}", Err(BodyMiss::NotJson)),
            (br#""\ud83d""#, Err(BodyMiss::NotJson)),
            (b"{\"a\": 1", Err(BodyMiss::NotJson)),
            (b"{} {}", Err(BodyMiss::NotJson)),
            (b"query=why", Err(BodyMiss::NotJson)),
            (b"", Err(BodyMiss::NotJson)),
            (&nested(128), Err(BodyMiss::TooDeep)),
            (&nested(10_000), Err(BodyMiss::TooDeep)),
        ];
        for (body, expected) in rows {
            assert_eq!(parse(body), expected, "{:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
        }
        assert!(parse(&nested(127)).is_ok());
    }

    #[test]
    fn heads() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Result<(), BodyMiss>);
        let rows: [Row<'static>; 12] = [
            (&[], Ok(())),
            (&[("content-type", "application/json")], Ok(())),
            (&[("content-type", "Application/JSON; charset=utf-8")], Ok(())),
            (&[("content-type", "application/vnd.api+json;v=1"), ("content-encoding", "identity")], Ok(())),
            (&[("content-type", "application/ld+JSON")], Ok(())),
            (&[("content-type", "text/plain")], Err(BodyMiss::ContentType)),
            (&[("content-type", "application/jsonl")], Err(BodyMiss::ContentType)),
            (&[("content-type", "application/json+xml")], Err(BodyMiss::ContentType)),
            (&[("content-type", "application/json"), ("content-type", "text/xml")], Err(BodyMiss::ContentType)),
            (&[("content-type", "")], Err(BodyMiss::ContentType)),
            (&[("content-encoding", "gzip")], Err(BodyMiss::ContentEncoding)),
            (&[("content-encoding", "identity"), ("content-encoding", "br")], Err(BodyMiss::ContentEncoding)),
        ];
        for (fields, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(http::HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            assert_eq!(is_readable(&headers), expected, "{fields:?}");
        }
    }
}
