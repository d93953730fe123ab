//! Arbitrary answers of backends, cut anywhere: no panic, no endless loop, nothing invented, and where they are cut
//! makes no difference.
#![no_main]

use bytes::Bytes;
use http::Method;
use libfuzzer_sys::fuzz_target;
use pointsman::upstream::http1::{Decoded, MAX_HEADERS, parse_head};

/// The body, whether it came whole, and what came behind; `None` for what is refused.
fn read(head: &Bytes, rest: &[u8], step: usize) -> Option<(Vec<u8>, bool)> {
    let (head, length) = parse_head(head, &Method::GET).ok().flatten()?;
    assert!(head.headers.len() <= MAX_HEADERS && length > 0);
    let (mut decoder, mut body) = (head.body, Vec::new());
    for piece in rest.chunks(step) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut input).ok()? {
                Decoded::Piece(piece) => {
                    assert!(!piece.is_empty());
                    body.extend_from_slice(&piece);
                }
                Decoded::Trailers(_) | Decoded::End => return Some((body, true)),
                Decoded::More => break,
            }
        }
    }
    Some((body, decoder.close().is_ok()))
}

fuzz_target!(|data: (Vec<u8>, u8)| {
    let (bytes, step) = data;
    let text = Bytes::from(bytes);
    let Ok(Some((_, length))) = parse_head(&text, &Method::GET) else { return };
    let (head, rest) = text.split_at(length);
    let head = Bytes::copy_from_slice(head);
    // A head ends where it ends, whatever follows.
    assert!(matches!(parse_head(&head, &Method::GET), Ok(Some((_, same))) if same == length));
    let whole = read(&head, rest, rest.len().max(1));
    assert_eq!(read(&head, rest, usize::from(step).max(1)), whole);
    if let Some((body, _)) = whole {
        assert!(body.len() <= rest.len());
    }
});
