//! Cells and samples as bytes, for the store: little-endian, a version first, only what is not zero.
//!
//! What is read is checked like anything from outside: it becomes a whole cell, or an error. There is one
//! way of writing each: what is read would be written the same.

use bytes::{Buf, BufMut as _};

use super::super::sketch::Sketch;
use super::cell::{COARSE_BUCKETS, Cell, STATISTICAL_BUCKETS, Sums};
use super::sample::{MAX_SAMPLE, UserSample};

/// Version of what is written.
const VERSION: u8 = 1;
const CELL: u8 = b'c';
const USERS: u8 = b'u';

/// What was kept is not what this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("evidence that cannot be read")]
pub struct CodecError;

/// What is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// A cell.
    Cell(Cell),
    /// The users of a phase.
    Users(UserSample),
}

/// Writes a cell or a sample.
#[must_use]
pub fn encode(kept: &Kept) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    match kept {
        Kept::Cell(cell) => {
            bytes.put_u8(CELL);
            put_sums(&mut bytes, &cell.total);
            let used = cell.buckets.iter().enumerate().filter(|(_, sums)| **sums != Sums::default());
            bytes.put_u16_le(used.clone().count() as u16);
            for (bucket, sums) in used {
                bytes.put_u16_le(bucket as u16);
                put_sums(&mut bytes, sums);
            }
            bytes.put_u8(cell.times.len() as u8);
            for sketch in &cell.times {
                bytes.put_u16_le(sketch.counts().count() as u16);
                for (index, count) in sketch.counts() {
                    bytes.put_u16_le(index);
                    bytes.put_u32_le(count);
                }
            }
        }
        Kept::Users(users) => {
            bytes.put_u8(USERS);
            let (threshold, list) = users.parts();
            bytes.put_u64_le(threshold);
            for (sample, arms) in list {
                bytes.put_u64_le(sample);
                bytes.put_u8(arms);
            }
        }
    }
    bytes
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// When it is anything else.
pub fn decode(mut bytes: &[u8]) -> Result<Kept, CodecError> {
    let (version, what) = (bytes.try_get_u8().or(Err(CodecError))?, bytes.try_get_u8().or(Err(CodecError))?);
    match (version, what) {
        (VERSION, CELL) => cell(bytes).map(Kept::Cell),
        (VERSION, USERS) => users(bytes).map(Kept::Users),
        _ => Err(CodecError),
    }
}

fn cell(mut bytes: &[u8]) -> Result<Cell, CodecError> {
    let total = sums(&mut bytes)?;
    let mut buckets = Vec::new();
    let mut last = None;
    for _ in 0..bytes.try_get_u16_le().or(Err(CodecError))? {
        let bucket = usize::from(ascending(&mut last, bytes.try_get_u16_le().or(Err(CodecError))?)?);
        if buckets.is_empty() {
            buckets = vec![Sums::default(); STATISTICAL_BUCKETS];
        }
        let sums =
            sums(&mut bytes).and_then(|sums| if sums == Sums::default() { Err(CodecError) } else { Ok(sums) })?;
        *buckets.get_mut(bucket).ok_or(CodecError)? = sums;
    }
    let count = usize::from(bytes.try_get_u8().or(Err(CodecError))?);
    if !matches!(count, 0 | 1 | COARSE_BUCKETS) {
        return Err(CodecError);
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let mut sketch = Sketch::default();
        let mut last = None;
        for _ in 0..bytes.try_get_u16_le().or(Err(CodecError))? {
            let index = ascending(&mut last, bytes.try_get_u16_le().or(Err(CodecError))?)?;
            let count = bytes.try_get_u32_le().ok().filter(|count| *count > 0).ok_or(CodecError)?;
            sketch.put(index, count).ok_or(CodecError)?;
        }
        times.push(sketch);
    }
    if bytes.has_remaining() { Err(CodecError) } else { Ok(Cell::of(total, buckets, times)) }
}

fn users(mut bytes: &[u8]) -> Result<UserSample, CodecError> {
    let threshold = bytes.try_get_u64_le().or(Err(CodecError))?;
    let mut users = Vec::new();
    let mut last = None;
    while bytes.has_remaining() && users.len() <= MAX_SAMPLE {
        let sample = ascending(&mut last, bytes.try_get_u64_le().or(Err(CodecError))?)?;
        users.push((sample, bytes.try_get_u8().or(Err(CodecError))?));
    }
    UserSample::of(threshold, users).ok_or(CodecError)
}

/// The next of a list that is written in order, each once.
fn ascending<T: Copy + PartialOrd>(last: &mut Option<T>, next: T) -> Result<T, CodecError> {
    if last.replace(next).is_some_and(|last| last >= next) { Err(CodecError) } else { Ok(next) }
}

fn put_sums(bytes: &mut Vec<u8>, sums: &Sums) {
    [sums.count, sums.sum, sums.squares].into_iter().for_each(|number| bytes.put_f64_le(number));
}

fn sums(bytes: &mut &[u8]) -> Result<Sums, CodecError> {
    let mut number = || bytes.try_get_f64_le().ok().filter(|number| number.is_finite()).ok_or(CodecError);
    let sums = Sums { count: number()?, sum: number()?, squares: number()? };
    // Counts are whole: what is nearly zero would be a mean without bounds.
    let is_sound = sums.count >= 0.0 && sums.count.fract() == 0.0 && sums.squares >= 0.0;
    if is_sound { Ok(sums) } else { Err(CodecError) }
}
