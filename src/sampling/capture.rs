//! A copy of a body as it passes, for as long as it is small enough and there is room.
//!
//! It delays nothing and is asked for nothing while the body passes. Invariant: what is held counts in the
//! [`Room`] that all captures share, until it is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::reading::Format;
use crate::domain::sampling::{Document, Fate};

/// Bytes of bodies of sampled exchanges, in all of them together, until they are judged and kept.
pub const MAX_HELD_BYTES: usize = 32 << 20;

/// How many bytes are held.
#[derive(Debug, Default)]
pub struct Room(AtomicUsize);

impl Room {
    fn reserve(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= MAX_HELD_BYTES;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Capture {
    bytes: Vec<u8>,
    limit: usize,
    /// How the body holds documents, or why it is of no use should there be one.
    format: Result<Format, Fate>,
    lost: Option<Fate>,
    room: Arc<Room>,
}

impl Capture {
    /// For a body of this format, up to so many bytes.
    #[must_use]
    pub const fn new(room: Arc<Room>, limit: usize, format: Result<Format, Fate>) -> Self {
        Self { bytes: Vec::new(), limit, format, lost: None, room }
    }

    /// A piece passes.
    pub fn see(&mut self, piece: &[u8]) {
        if self.lost.is_some() || piece.is_empty() {
            return;
        }
        if let Err(fate) = self.format {
            return self.lose(fate);
        }
        if self.bytes.len() + piece.len() > self.limit {
            return self.lose(Fate::TooLarge);
        }
        if !self.room.reserve(piece.len()) {
            return self.lose(Fate::NoMemory);
        }
        self.bytes.extend_from_slice(piece);
    }

    /// It is of no use any more.
    pub fn lose(&mut self, fate: Fate) {
        self.lost.get_or_insert(fate);
        self.room.release(self.bytes.len());
        self.bytes = Vec::new();
    }

    /// Why it is of no use to who takes at most so many bytes; `None` if it is.
    #[must_use]
    pub fn is_lost(&self, limit: usize) -> Option<Fate> {
        self.lost.or_else(|| (self.bytes.len() > limit).then_some(Fate::TooLarge))
    }

    /// What was captured.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn document(&self, limit: usize) -> Result<Document, Fate> {
        match (self.is_lost(limit), self.format) {
            (Some(fate), _) => Err(fate),
            (None, _) if self.bytes.is_empty() => Ok(Document::Empty),
            (None, Err(fate)) => Err(fate),
            (None, Ok(format)) => Document::read(format, &self.bytes).ok_or(Fate::NotJson),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.room.release(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Row = (Result<Format, Fate>, &'static [&'static [u8]], Result<Document, Fate>);

    #[test]
    fn what_was_captured_and_why_not() {
        let room = Arc::new(Room::default());
        let json = Ok(Format::Json);
        let rows: [Row; 8] = [
            (json, &[], Ok(Document::Empty)),
            (json, &[b"{\"a\"", b"", b":1}"], Ok(Document::One(json!({"a": 1})))),
            (json, &[b"{\"a\""], Err(Fate::NotJson)),
            (json, &[b"12345678", b"90", b"1"], Err(Fate::TooLarge)),
            (json, &[b"12345678", b"90"], Ok(Document::One(json!(1_234_567_890)))),
            (Err(Fate::Encoded), &[], Ok(Document::Empty)),
            (Err(Fate::Encoded), &[b"x"], Err(Fate::Encoded)),
            (Err(Fate::ContentType), &[b"", b"x"], Err(Fate::ContentType)),
        ];
        for (format, pieces, expected) in rows {
            let mut capture = Capture::new(Arc::clone(&room), 10, format);
            pieces.iter().for_each(|piece| capture.see(piece));
            assert_eq!(capture.document(10), expected, "{pieces:?}");
        }
        let mut large = Capture::new(Arc::clone(&room), 10, json);
        large.see(b"123456");
        assert_eq!((large.document(5), large.document(6)), (Err(Fate::TooLarge), Ok(Document::One(json!(123_456)))));
        drop(large);
        assert_eq!(room.0.load(Ordering::Relaxed), 0, "everything was let go");
    }

    #[test]
    fn all_together_have_a_bound() {
        let room = Arc::new(Room::default());
        let capture = || Capture::new(Arc::clone(&room), MAX_HELD_BYTES, Ok(Format::Json));
        let (mut first, mut second) = (capture(), capture());
        first.see(&vec![b' '; MAX_HELD_BYTES - 1]);
        second.see(b"12");
        assert_eq!(second.is_lost(usize::MAX), Some(Fate::NoMemory));
        first.lose(Fate::Truncated);
        assert_eq!(first.document(usize::MAX), Err(Fate::Truncated));
        let mut third = capture();
        third.see(b"12");
        assert_eq!(third.document(usize::MAX), Ok(Document::One(json!(12))));
    }
}
