//! The head of an answer, and how its body ends (RFC 9112, 6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::{Decoder, Malformed};

/// The longest head of an answer, in bytes.
pub const MAX_HEAD_BYTES: usize = 256 * 1_024;

/// The most fields in the head of an answer.
pub const MAX_HEADERS: usize = 256;

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// The status code, 100 to 999.
    pub status: StatusCode,
    /// What the backend calls the status, where that is not its usual name.
    pub reason: Option<Bytes>,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields, but for those that only frame: `Transfer-Encoding`, a length that is void or repeated, and a
    /// `Connection` that names no others.
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
    if let Some(field) = framing.length_field() {
        headers.insert(header::CONTENT_LENGTH, field);
    }
    let reason = parsed.reason.filter(|reason| !reason.is_empty() && Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| input.slice_ref(reason.as_bytes()));
    let (body, keep_alive) = framing.finish(status, method)?;
    Ok(Some((Head { status, reason, version, headers, body, keep_alive }, length)))
}

/// Whether a head may end within the last `new` bytes: only then is it worth reading again.
#[must_use]
pub fn ends_head(text: &[u8], new: usize) -> bool {
    let from = text.len().saturating_sub(new + END.len() - 1);
    let is_end = |rest: &[u8]| rest.starts_with(END) || rest.starts_with(b"\n\n");
    (from..text.len()).any(|at| is_end(&text[at..]))
}

/// What ends a head: an empty line. Bare line ends are read, too.
const END: &[u8] = b"\n\r\n";

/// Fields that a gateway adds to an answer, about.
const ROOM_TO_ADD: usize = 6;

/// What the fields say of the body and the connection.
struct Framing {
    version: Version,
    length: Option<u64>,
    /// As it stands, if it is a plain number.
    plain: Option<HeaderValue>,
    /// Whether a length is none, or one of two.
    is_length_void: bool,
    chunked: bool,
    close: bool,
}

impl Framing {
    const fn new(version: Version) -> Self {
        Self { version, length: None, plain: None, is_length_void: false, chunked: false, close: false }
    }

    /// Whether the field is to be kept.
    fn see(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Malformed> {
        if *name == header::CONTENT_LENGTH {
            self.see_length(value);
            return Ok(false);
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

    /// A length, which may be repeated, also in a list (RFC 9110, 8.6). Only where it frames is a wrong one a fault.
    fn see_length(&mut self, value: &HeaderValue) {
        let value_bytes = value.as_bytes();
        self.plain = digits(value_bytes).map(|_| value.clone());
        for length in value_bytes.split(|byte| *byte == b',').map(|item| digits(item.trim_ascii())) {
            self.is_length_void |= length.is_none() || self.length.is_some_and(|before| length != Some(before));
            self.length = length;
        }
    }

    /// The one length, where it is true.
    fn length_field(&mut self) -> Option<HeaderValue> {
        let length = self.length.filter(|_| !self.chunked && !self.is_length_void)?;
        Some(self.plain.take().unwrap_or_else(|| HeaderValue::from(length)))
    }

    /// Whether other fields are named.
    fn see_connection(&mut self, value: &[u8]) -> bool {
        let mut names = false;
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let (close, keep_alive) = (token.eq_ignore_ascii_case(b"close"), token.eq_ignore_ascii_case(b"keep-alive"));
            self.close |= close;
            names |= !close && !keep_alive;
        }
        names
    }

    fn finish(self, status: StatusCode, method: &Method) -> Result<(Decoder, bool), Malformed> {
        // HTTP/1.0 has its own word for it, which would have to be said in the next request.
        let lasting = !self.close && self.version == Version::HTTP_11;
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || *method == Method::HEAD;
        if bodiless {
            return Ok((Decoder::over(), lasting));
        }
        if self.is_length_void {
            return Err(Malformed);
        }
        Ok(match (self.chunked, self.length) {
            // The coding wins, but whoever sent both may be someone else than who frames the connection.
            (true, length) => (Decoder::chunked(), lasting && length.is_none()),
            (false, Some(length)) => (Decoder::length(length), lasting),
            (false, None) => (Decoder::until_close(), false),
        })
    }
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
