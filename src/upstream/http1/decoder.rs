//! The body of an answer, taken piece by piece out of what was read.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Malformed;

/// The most that the extensions of all chunks of a body can take, in bytes, zeros before their sizes among them. They
/// mean nothing here.
pub const MAX_CHUNK_EXTENSION_BYTES: usize = 16 * 1_024;

/// The longest trailers, in bytes.
pub const MAX_TRAILER_BYTES: usize = 16 * 1_024;

/// The most fields in trailers.
const MAX_TRAILERS: usize = 100;

/// Where the body of an answer ends.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    /// Nothing more comes, or nothing ever came.
    Over,
    /// So many bytes are left.
    Length(u64),
    /// In chunks; boxed, since most bodies are not.
    Chunked(Box<Chunks>),
    /// All that comes.
    UntilClose,
}

/// What was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body, never empty.
    Piece(Bytes),
    /// The trailers. The body is over.
    Trailers(HeaderMap),
    /// Nothing: more has to be read first.
    More,
    /// The body is over.
    End,
}

impl Decoder {
    /// No body.
    #[must_use]
    pub const fn over() -> Self {
        Self(State::Over)
    }

    /// So many bytes.
    #[must_use]
    pub const fn length(bytes: u64) -> Self {
        Self(if bytes == 0 { State::Over } else { State::Length(bytes) })
    }

    /// In chunks.
    #[must_use]
    pub fn chunked() -> Self {
        Self(State::Chunked(Box::default()))
    }

    /// All that comes until the connection is closed.
    #[must_use]
    pub const fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// Whether all of the body was taken.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.0, State::Over)
    }

    /// How many bytes are left, where that is known.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        match &self.0 {
            State::Over => Some(0),
            State::Length(left) => Some(*left),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Takes what comes next out of what was read.
    ///
    /// # Errors
    /// For chunks that are none, or beyond a limit.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Decoded, Malformed> {
        match &mut self.0 {
            State::Over => Ok(Decoded::End),
            State::UntilClose if input.is_empty() => Ok(Decoded::More),
            State::UntilClose => Ok(Decoded::Piece(std::mem::take(input))),
            State::Length(_) if input.is_empty() => Ok(Decoded::More),
            State::Length(left) => {
                let piece = take(input, left);
                if *left == 0 {
                    self.0 = State::Over;
                }
                Ok(Decoded::Piece(piece))
            }
            State::Chunked(chunks) => {
                let decoded = chunks.decode(input)?;
                if chunks.at == Place::Over {
                    self.0 = State::Over;
                }
                Ok(decoded)
            }
        }
    }

    /// What the end of the connection means: the end of the body, if nothing else tells of it.
    ///
    /// # Errors
    /// When the body is not over.
    pub fn close(&mut self) -> Result<(), Malformed> {
        match self.0 {
            State::Over => Ok(()),
            State::UntilClose => {
                self.0 = State::Over;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(Malformed),
        }
    }
}

/// At most `left` bytes of what was read.
fn take(input: &mut Bytes, left: &mut u64) -> Bytes {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let piece = if input.len() <= most { std::mem::take(input) } else { input.split_to(most) };
    *left -= piece.len() as u64;
    piece
}

/// A body in chunks (RFC 9112, 7.1).
#[derive(Debug, Default)]
struct Chunks {
    at: Place,
    /// What is left of the present chunk; while its size is being read, that.
    left: u64,
    /// Whether a digit of the size was read.
    sized: bool,
    extension_bytes: usize,
    /// Trailers so far, with their line ends.
    trailers: BytesMut,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Place {
    #[default]
    Size,
    /// After the digits: only spaces, an extension or the end of the line.
    AfterSize,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    Trailers,
    Over,
}

impl Chunks {
    fn decode(&mut self, input: &mut Bytes) -> Result<Decoded, Malformed> {
        loop {
            match self.at {
                Place::Over => return Ok(Decoded::End),
                _ if input.is_empty() => return Ok(Decoded::More),
                Place::Data => {
                    let piece = take(input, &mut self.left);
                    if self.left == 0 {
                        self.at = Place::DataReturn;
                        self.skip_to_next(input)?;
                    }
                    return Ok(Decoded::Piece(piece));
                }
                Place::Trailers => return self.trailers(input),
                Place::Size
                | Place::AfterSize
                | Place::Extension
                | Place::SizeEnd
                | Place::DataReturn
                | Place::DataEnd => self.step(input.get_u8())?,
            }
        }
    }

    /// Goes on to the next piece or the end, as far as it was read: the end often comes with the last piece, and
    /// whoever knows at once need not ask again.
    fn skip_to_next(&mut self, input: &mut Bytes) -> Result<(), Malformed> {
        while !matches!(self.at, Place::Data | Place::Trailers | Place::Over) && !input.is_empty() {
            self.step(input.get_u8())?;
        }
        if self.at == Place::Trailers && self.trailers.is_empty() && input.starts_with(b"\r\n") {
            input.advance(2);
            self.at = Place::Over;
        }
        Ok(())
    }

    /// One byte of the framing.
    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.at = match (self.at, byte) {
            (Place::Size, _) if byte.is_ascii_hexdigit() => {
                self.digit(byte)?;
                Place::Size
            }
            (Place::Size, b' ' | b'\t') if self.sized => Place::AfterSize,
            (Place::Size, b';') if self.sized => Place::Extension,
            (Place::Size, b'\r') if self.sized => Place::SizeEnd,
            (Place::AfterSize, b' ' | b'\t') => {
                self.count_extension()?;
                Place::AfterSize
            }
            (Place::AfterSize, b';') => Place::Extension,
            (Place::AfterSize | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, _) if byte != b'\n' => {
                self.count_extension()?;
                Place::Extension
            }
            (Place::SizeEnd, b'\n') => {
                self.sized = false;
                if self.left == 0 { Place::Trailers } else { Place::Data }
            }
            (Place::DataReturn, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => Place::Size,
            (
                Place::Size
                | Place::AfterSize
                | Place::Extension
                | Place::SizeEnd
                | Place::Data
                | Place::DataReturn
                | Place::DataEnd
                | Place::Trailers
                | Place::Over,
                _,
            ) => return Err(Malformed),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Malformed> {
        let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
        if self.left == 0 && digit == 0 {
            // Zeros before a number mean nothing, but do not go on for ever.
            self.count_extension()?;
        }
        self.sized = true;
        self.left = self.left.checked_mul(16).ok_or(Malformed)? | u64::from(digit);
        Ok(())
    }

    const fn count_extension(&mut self) -> Result<(), Malformed> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_CHUNK_EXTENSION_BYTES { Err(Malformed) } else { Ok(()) }
    }

    /// Takes lines until an empty one.
    fn trailers(&mut self, input: &mut Bytes) -> Result<Decoded, Malformed> {
        while !input.is_empty() {
            let end = input.iter().position(|byte| *byte == b'\n').map_or(input.len(), |at| at + 1);
            self.trailers.extend_from_slice(&input.split_to(end));
            if self.trailers.len() > MAX_TRAILER_BYTES {
                return Err(Malformed);
            }
            // A bare line feed ends no line here: what others take for one field would be two.
            if self.trailers.ends_with(b"\n") && !self.trailers.ends_with(b"\r\n") {
                return Err(Malformed);
            }
            if *self.trailers == *b"\r\n" {
                self.at = Place::Over;
                return Ok(Decoded::End);
            }
            if self.trailers.ends_with(b"\n\r\n") {
                self.at = Place::Over;
                return fields(&self.trailers.split().freeze()).map(Decoded::Trailers);
            }
        }
        Ok(Decoded::More)
    }
}

fn fields(text: &Bytes) -> Result<HeaderMap, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let httparse::Status::Complete((_, fields)) = httparse::parse_headers(text, &mut fields).map_err(|_| Malformed)?
    else {
        return Err(Malformed);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        trailers.append(name, HeaderValue::from_maybe_shared(text.slice_ref(field.value)).map_err(|_| Malformed)?);
    }
    Ok(trailers)
}
