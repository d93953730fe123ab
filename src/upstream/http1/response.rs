//! The head of an answer, and how its body ends (RFC 9112, 6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::{Decoder, Malformed};

/// The longest head of an answer, in bytes.
pub const MAX_HEAD_BYTES: usize = 128 * 1_024;

/// The most fields in the head of an answer.
pub const MAX_HEADERS: usize = 256;

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// The status code, 100 to 999.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields, but for those that only frame: `Transfer-Encoding`, a length that it makes void or that is repeated,
    /// and a `Connection` that names no others.
    pub headers: HeaderMap,
    /// Takes the body out of what follows.
    pub body: Decoder,
    /// Whether the connection can take another request afterwards, as far as this head tells.
    pub keep_alive: bool,
}

/// The head of the answer to a request with `method`, and its length in bytes; `None` while it has not come whole.
/// Values share the memory of `input`.
///
/// # Errors
/// For what is no head of HTTP/1.0 or 1.1, is beyond a limit, or frames its body in a way that could be read in two
/// ways.
pub fn parse_head(input: &Bytes, method: &Method) -> Result<Option<(Head, usize)>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let result = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, input, &mut fields);
    let length = match result.map_err(|_| Malformed)? {
        httparse::Status::Complete(length) if length <= MAX_HEAD_BYTES => length,
        httparse::Status::Partial if input.len() <= MAX_HEAD_BYTES => return Ok(None),
        httparse::Status::Complete(_) | httparse::Status::Partial => return Err(Malformed),
    };
    let status = StatusCode::from_u16(parsed.code.ok_or(Malformed)?).map_err(|_| Malformed)?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + ROOM_TO_ADD);
    let mut framing = Framing::new(version);
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(input.slice_ref(field.value)).map_err(|_| Malformed)?;
        if framing.see(&name, &value)? {
            headers.append(name, value);
        }
    }
    if framing.chunked {
        headers.remove(header::CONTENT_LENGTH);
    }
    let (body, keep_alive) = framing.finish(status, method);
    Ok(Some((Head { status, version, headers, body, keep_alive }, length)))
}

/// Fields that a gateway adds to an answer, about.
const ROOM_TO_ADD: usize = 6;

/// What the fields say of the body and the connection.
struct Framing {
    version: Version,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Framing {
    const fn new(version: Version) -> Self {
        Self { version, length: None, chunked: false, close: false, keep_alive: false }
    }

    /// Whether the field is to be kept.
    fn see(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Malformed> {
        if *name == header::CONTENT_LENGTH {
            let length = content_length(value)?;
            return match self.length.replace(length) {
                None => Ok(true),
                Some(before) if before == length => Ok(false),
                Some(_) => Err(Malformed),
            };
        }
        if *name == header::TRANSFER_ENCODING {
            // Only exactly one `chunked` can be passed on; HTTP/1.0 knows no codings.
            let known = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            if self.chunked || !known || self.version == Version::HTTP_10 {
                return Err(Malformed);
            }
            self.chunked = true;
            return Ok(false);
        }
        Ok(*name != header::CONNECTION || self.see_connection(value.as_bytes()))
    }

    /// Whether other fields are named.
    fn see_connection(&mut self, value: &[u8]) -> bool {
        let mut names = false;
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let (close, keep_alive) = (token.eq_ignore_ascii_case(b"close"), token.eq_ignore_ascii_case(b"keep-alive"));
            self.close |= close;
            self.keep_alive |= keep_alive;
            names |= !close && !keep_alive;
        }
        names
    }

    fn finish(self, status: StatusCode, method: &Method) -> (Decoder, bool) {
        let lasting = !self.close && (self.version == Version::HTTP_11 || self.keep_alive);
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || *method == Method::HEAD;
        if bodiless {
            return (Decoder::over(), lasting);
        }
        match (self.chunked, self.length) {
            // The coding wins, but whoever sent both may be someone else than who frames the connection.
            (true, length) => (Decoder::chunked(), lasting && length.is_none()),
            (false, Some(length)) => (Decoder::length(length), lasting),
            (false, None) => (Decoder::until_close(), false),
        }
    }
}

/// A length, which may be repeated in a list (RFC 9110, 8.6).
fn content_length(value: &HeaderValue) -> Result<u64, Malformed> {
    let mut lengths = value.as_bytes().split(|byte| *byte == b',').map(|item| digits(item.trim_ascii()));
    let first = lengths.next().flatten().ok_or(Malformed)?;
    if lengths.all(|length| length == Some(first)) { Ok(first) } else { Err(Malformed) }
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
