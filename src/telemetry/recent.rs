//! The last access lines, for who asks why one request went where it did.
//!
//! The thread that writes the log fills it, so no request waits for it. Invariant: at most [`MAX_LINES`]
//! lines with at most [`MAX_BYTES`] bytes; the oldest go first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memchr::memmem;

/// Lines that are kept.
pub const MAX_LINES: usize = 10_000;
/// Bytes of lines that are kept.
pub const MAX_BYTES: usize = 8 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Recent {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Bytes that are counted wrongly would cost lines and nothing else.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps lines.
    pub(super) fn keep(&self, lines: impl Iterator<Item = Vec<u8>>) {
        let mut kept = self.kept();
        for line in lines {
            kept.bytes += line.len();
            kept.lines.push_back(line.into_boxed_slice());
            while kept.lines.len() > MAX_LINES || kept.bytes > MAX_BYTES {
                let Some(oldest) = kept.lines.pop_front() else { break };
                kept.bytes -= oldest.len();
            }
        }
    }

    /// The newest line of the request with this id, as JSON with a line end.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Option<Vec<u8>> {
        // Within a text the quotes would be escaped, so this is found at the field alone.
        let field = format!("\"request_id\":{},", serde_json::Value::from(request_id));
        let field = memmem::Finder::new(&field);
        let kept = self.kept();
        kept.lines.iter().rev().find(|line| field.find(line).is_some()).map(|line| line.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, path: &str) -> Vec<u8> {
        let value = serde_json::json!({"category": "decision", "request_id": id, "path": path});
        format!("{value}\n").into_bytes()
    }

    #[test]
    fn the_newest_line_with_an_id_is_found_and_nothing_that_only_looks_like_it() {
        let recent = Recent::default();
        let lines = [("a", "/first"), ("b", "\"request_id\":\"c\","), ("a", "/second"), ("q\"uote", "/")];
        recent.keep(lines.into_iter().map(|(id, path)| line(id, path)));
        assert_eq!(recent.find("a").unwrap(), line("a", "/second"));
        assert_eq!(recent.find("q\"uote").unwrap(), line("q\"uote", "/"));
        for missing in ["c", "", "a\",", "\"a\""] {
            assert!(recent.find(missing).is_none(), "{missing}");
        }
    }

    #[test]
    fn lines_and_bytes_are_bounded() {
        let recent = Recent::default();
        recent.keep((0..MAX_LINES + 5).map(|n| line(&n.to_string(), "/")));
        assert!(recent.find("4").is_none() && recent.find("5").is_some());
        recent.keep((0..100).map(|n| line(&format!("long-{n}"), &"x".repeat(MAX_BYTES / 50))));
        assert!(recent.kept().bytes <= MAX_BYTES);
        assert!(recent.find("long-40").is_none() && recent.find("long-99").is_some());
    }
}
