//! The client's half of HTTP/1.1 (RFC 9112): a request as bytes, and bytes as an answer.
//!
//! | file | what |
//! |---|---|
//! | `request` | the head of a request, the framing of its body |
//! | `response` | the head of an answer, and how its body ends |
//! | `decoder` | the body of an answer, piece by piece |
//!
//! It does no I/O and keeps no connection: that is `proxy`. What a backend sends is not trusted: every part has
//! a limit, and what could be read in two ways is refused, since a client behind could read it in the other.
//!
//! Invariant: pieces of an answer are slices of what was read; nothing of a body is copied here.

mod decoder;
mod request;
mod response;

pub use decoder::{Decoded, Decoder, MAX_CHUNK_EXTENSION_BYTES, MAX_TRAILER_BYTES};
pub use request::{Framing, LAST_CHUNK, announced_trailers, encode_chunk_size, encode_head, encode_trailers};
pub use response::{Head, MAX_HEAD_BYTES, MAX_HEADERS, ends_head, parse_head};

/// What a backend sent is not HTTP/1.1, or is beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not valid HTTP/1.1")]
pub struct Malformed;

#[cfg(test)]
mod tests;
