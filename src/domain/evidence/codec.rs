//! Cells and samples as bytes, for the store: little-endian, a version first, only what is not zero.
//!
//! What is read is checked like anything from outside: it becomes a whole cell, or an error. There is one
//! way of writing each: what is read would be written the same.

use bytes::{Buf, BufMut as _};

use super::super::sketch::Sketch;
use super::cell::{COARSE_BUCKETS, Cell, Day, MAX_DAYS, STATISTICAL_BUCKETS, Sums};
use super::draw::Draw;
use super::sample::{MAX_SAMPLE, UserSample};

/// Version of what is written.
const VERSION: u8 = 1;
const CELL: u8 = b'c';
/// A cell with days.
const CELL_BY_DAY: u8 = b'd';
const DRAW: u8 = b'r';

/// What was kept is not what this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("evidence that cannot be read")]
pub struct CodecError;

/// What is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// A cell.
    Cell(Cell),
    /// What was drawn in a phase and stratum.
    Draw(Draw),
}

/// Writes a cell or a sample.
#[must_use]
pub fn encode(kept: &Kept) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    match kept {
        Kept::Cell(cell) => {
            bytes.put_u8(if cell.days.is_empty() { CELL } else { CELL_BY_DAY });
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
            if !cell.days.is_empty() {
                bytes.put_u8(cell.days.len() as u8);
            }
            for (day, sums) in &cell.days {
                bytes.put_i32_le(*day);
                put_sums(&mut bytes, sums);
            }
        }
        Kept::Draw(draw) => {
            bytes.put_u8(DRAW);
            bytes.put_f64_le(draw.percent);
            bytes.put_u8(u8::from(draw.mixed));
            bytes.put_i64_le(draw.first);
            bytes.put_i64_le(draw.last);
            let (threshold, list) = draw.users.parts();
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
        (VERSION, CELL) => cell(bytes, false).map(Kept::Cell),
        (VERSION, CELL_BY_DAY) => cell(bytes, true).map(Kept::Cell),
        (VERSION, DRAW) => draw(bytes).map(Kept::Draw),
        _ => Err(CodecError),
    }
}

fn cell(mut bytes: &[u8], by_day: bool) -> Result<Cell, CodecError> {
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
    let days = if by_day { days(&mut bytes)? } else { Vec::new() };
    if bytes.has_remaining() { Err(CodecError) } else { Ok(Cell::of(total, buckets, times, days)) }
}

fn days(bytes: &mut &[u8]) -> Result<Vec<(Day, Sums)>, CodecError> {
    let count = usize::from(bytes.try_get_u8().or(Err(CodecError))?);
    if count == 0 || count > MAX_DAYS {
        return Err(CodecError);
    }
    let (mut days, mut last) = (Vec::with_capacity(count), None);
    for _ in 0..count {
        let day = ascending(&mut last, bytes.try_get_i32_le().or(Err(CodecError))?)?;
        days.push((day, sums(bytes)?));
    }
    Ok(days)
}

fn draw(mut bytes: &[u8]) -> Result<Draw, CodecError> {
    let percent = bytes.try_get_f64_le().ok().filter(|percent| (0.0..=100.0).contains(percent)).ok_or(CodecError)?;
    let mixed = match bytes.try_get_u8().or(Err(CodecError))? {
        0 => false,
        1 => true,
        _ => return Err(CodecError),
    };
    let (first, last) = (bytes.try_get_i64_le().or(Err(CodecError))?, bytes.try_get_i64_le().or(Err(CodecError))?);
    let sound = first <= last && !percent.is_sign_negative();
    let users = users(bytes)?;
    if sound { Ok(Draw { percent, mixed, first, last, users, changed: false }) } else { Err(CodecError) }
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
