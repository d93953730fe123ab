//! A copy of a body as it passes, for as long as it is small enough and there is room.
//!
//! It delays nothing and is asked for nothing while the body passes. Invariant: what is held counts in the
//! [`Room`] that all captures share, until it is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::sampling::Fate;

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
    /// Why it is of no use, should there be anything to capture.
    refuse: Option<Fate>,
    lost: Option<Fate>,
    room: Arc<Room>,
}

impl Capture {
    /// For a body of up to so many bytes; one that is to be refused is so with its first byte.
    #[must_use]
    pub const fn new(room: Arc<Room>, limit: usize, refuse: Option<Fate>) -> Self {
        Self { bytes: Vec::new(), limit, refuse, lost: None, room }
    }

    /// So many bytes are announced: what will be too large need not be copied until it is.
    pub fn announce(&mut self, bytes: u64) {
        if bytes > self.limit as u64 {
            self.lose(self.refuse.unwrap_or(Fate::TooLarge));
        }
    }

    /// A piece passes.
    pub fn see(&mut self, piece: &[u8]) {
        if self.lost.is_some() || piece.is_empty() {
            return;
        }
        if let Some(fate) = self.refuse {
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
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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

    #[test]
    fn what_was_captured_and_why_not() {
        type Row = (Option<Fate>, &'static [&'static [u8]], Result<&'static [u8], Fate>);
        let room = Arc::new(Room::default());
        let rows: [Row; 6] = [
            (None, &[], Ok(b"")),
            (None, &[b"12345", b"", b"67890"], Ok(b"1234567890")),
            (None, &[b"12345678", b"90", b"1"], Err(Fate::TooLarge)),
            (Some(Fate::Encoded), &[], Ok(b"")),
            (Some(Fate::Encoded), &[b"", b"x"], Err(Fate::Encoded)),
            (None, &[b"x"], Ok(b"x")),
        ];
        for (refuse, pieces, expected) in rows {
            let mut capture = Capture::new(Arc::clone(&room), 10, refuse);
            pieces.iter().for_each(|piece| capture.see(piece));
            assert_eq!(capture.is_lost(10).map_or(Ok(capture.bytes()), Err), expected, "{pieces:?}");
        }
        let mut announced = Capture::new(Arc::clone(&room), 10, None);
        announced.announce(10);
        assert_eq!(announced.is_lost(10), None);
        announced.announce(11);
        assert_eq!(announced.is_lost(10), Some(Fate::TooLarge));
        let mut large = Capture::new(Arc::clone(&room), 10, None);
        large.see(b"123456");
        assert_eq!((large.is_lost(5), large.is_lost(6)), (Some(Fate::TooLarge), None));
        drop(large);
        assert_eq!(room.0.load(Ordering::Relaxed), 0, "everything was let go");
    }

    #[test]
    fn all_together_have_a_bound() {
        let room = Arc::new(Room::default());
        let capture = || Capture::new(Arc::clone(&room), MAX_HELD_BYTES, None);
        let (mut first, mut second) = (capture(), capture());
        first.see(&vec![b' '; MAX_HELD_BYTES - 1]);
        second.see(b"12");
        assert_eq!(second.is_lost(usize::MAX), Some(Fate::NoMemory));
        first.lose(Fate::Truncated);
        assert_eq!((first.is_lost(usize::MAX), first.bytes()), (Some(Fate::Truncated), &b""[..]));
        let mut third = capture();
        third.see(b"12");
        assert_eq!(third.bytes(), b"12");
    }
}
