//! A request as bytes.

use std::io::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, as they come.
    Chunked,
}

/// What follows the last piece of a body in chunks, where there are no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Room for a request line and a field of usual size.
const USUAL_FIELD_BYTES: usize = 48;

/// Fields that cannot be sent as trailers (RFC 9110, 6.5.1): who reads the head must know them before the body.
const NEVER_TRAILERS: [HeaderName; 16] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Appends the head of a request. The framing alone says how the body goes: fields that speak of it are left out.
///
/// `target` is the request target as it stands on the wire (RFC 9112, 3.2): without spaces or control characters.
pub fn encode_head(out: &mut Vec<u8>, method: &Method, target: &str, headers: &HeaderMap, framing: Framing) {
    out.reserve(target.len() + USUAL_FIELD_BYTES * (headers.len() + 2));
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            encode_field(out, name.as_str(), value.as_bytes());
        }
    }
    match framing {
        Framing::Length(bytes) => {
            encode_field(out, header::CONTENT_LENGTH.as_str(), HeaderValue::from(bytes).as_bytes());
        }
        Framing::Chunked => encode_field(out, header::TRANSFER_ENCODING.as_str(), b"chunked"),
        // A server may wait for the body of a method that usually has one (RFC 9110, 8.6).
        Framing::None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            encode_field(out, header::CONTENT_LENGTH.as_str(), b"0");
        }
        Framing::None => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what stands before a chunk of so many bytes. After the chunk comes a line end, then the next.
pub fn encode_chunk_size(out: &mut Vec<u8>, bytes: usize) {
    // A buffer that grows takes everything.
    let _always_written = write!(out, "{bytes:x}\r\n");
}

/// The names that `Trailer` announces (RFC 9110, 6.6.2).
#[must_use]
pub fn announced_trailers(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok()).collect()
}

/// Whether a trailer may be sent: not what a head is read for, nor what a proxy says of the client, which a backend
/// might take for the proxy's word.
fn may_trail(name: &HeaderName) -> bool {
    let text = name.as_str();
    !NEVER_TRAILERS.contains(name)
        && !["x-forwarded-", "x-pointsman-", "proxy-"].iter().any(|prefix| text.starts_with(prefix))
        && !["forwarded", "keep-alive", "via", "x-real-ip", "x-request-id"].contains(&text)
}

/// Appends the last chunk, the trailers that were announced and may be sent as such, and the end.
pub fn encode_trailers(out: &mut Vec<u8>, trailers: &HeaderMap, announced: &[HeaderName]) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if announced.contains(name) && may_trail(name) {
            encode_field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn encode_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
