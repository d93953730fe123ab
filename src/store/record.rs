//! What a store keeps, as plain values. Made by those who write, checked by those who read.

use std::fmt;

use jiff::Timestamp;

use crate::domain::Arm;

/// Names an event, so that the same one sent twice counts once.
pub type EventId = Box<str>;

/// A user, as a keyed hash: enough to find their events again, not to find out who they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserHash(pub [u8; 16]);

impl fmt::Display for UserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserHash({self})")
    }
}

impl UserHash {
    /// Reads what `Display` writes: 32 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// Something that happened to a user, told by who saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name for idempotency.
    pub id: EventId,
    /// What happened: `chatbot.message.sent`.
    pub name: Box<str>,
    /// When it happened.
    pub at: Timestamp,
    /// When it came in.
    pub received_at: Timestamp,
    /// Who; `None` where nobody was named.
    pub user: Option<UserHash>,
    /// Where it belongs, if it was attributed.
    pub attribution: Option<Attribution>,
    /// A number that goes with it.
    pub value: Option<f64>,
    /// Anything else, as JSON; empty for nothing.
    pub data: Box<str>,
}

/// Which arm of which route an event counts for.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// The route's name.
    pub route: Box<str>,
    /// The arm that the user was assigned.
    pub arm: Arm,
    /// The phase in which it was.
    pub phase: u32,
    /// The rule that drew, if one did: a stratum of its own.
    pub rule: Option<u16>,
    /// The percentage by which the arm was drawn; `None` if it was not drawn.
    pub randomised: Option<f64>,
    /// The user's statistical bucket.
    pub bucket: u16,
    /// The user's sample.
    pub sample: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Kept.
    pub stored: usize,
    /// Known already.
    pub duplicates: usize,
    /// The number of the last event that is kept.
    pub last: Cursor,
}

/// The number of a row; rows are numbered from 1 in the order in which they were kept.
pub type Cursor = u64;

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventQuery {
    /// With this name.
    pub name: Option<String>,
    /// Of this route.
    pub route: Option<String>,
    /// That happened then or later.
    pub start: Option<Timestamp>,
    /// That happened earlier.
    pub end: Option<Timestamp>,
    /// Kept after this one.
    pub after: Cursor,
    /// At most so many.
    pub limit: usize,
}

/// An exchange that was kept, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name, so that it is kept once.
    pub id: EventId,
    /// When it ended.
    pub at: Timestamp,
    /// Who asked; `None` without a key.
    pub user: Option<UserHash>,
    /// The route's name.
    pub route: Box<str>,
    /// The arm that the user was assigned.
    pub assigned: Arm,
    /// The arm that answered.
    pub served: Arm,
    /// The phase in which it was.
    pub phase: u32,
    /// Why that arm answered.
    pub reason: Box<str>,
    /// The request's id.
    pub request_id: Box<str>,
    /// The request's method.
    pub method: Box<str>,
    /// The request's path, without its query.
    pub path: Box<str>,
    /// The status that the client got.
    pub status: u16,
    /// Microseconds from arrival to the last byte.
    pub duration_micros: u64,
    /// The request's body as JSON; empty without one.
    pub request: Box<str>,
    /// The answer's body as JSON; empty without one.
    pub response: Box<str>,
}

impl Sample {
    /// Bytes that it takes, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.path.len() + self.request_id.len() + self.request.len() + self.response.len()
    }
}

/// Which kept exchanges are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleQuery {
    /// Of this route.
    pub route: Option<String>,
    /// That ended then or later.
    pub start: Option<Timestamp>,
    /// That ended earlier.
    pub end: Option<Timestamp>,
    /// Kept after this one.
    pub after: Cursor,
    /// At most so many.
    pub limit: usize,
}

/// Which entries are wanted; the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Of this route.
    pub route: Option<String>,
    /// Older than this one; zero begins with the newest.
    pub before: Cursor,
    /// At most so many.
    pub limit: usize,
}

/// Some rows, with their numbers, and where the next ones begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<(Cursor, T)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Names a cell of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// The route's name.
    pub route: Box<str>,
    /// The phase.
    pub phase: u32,
    /// The cell within the phase, in the words of who wrote it: stratum, arm, metric.
    pub part: Box<str>,
}

/// A cell as its writer encoded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its name.
    pub key: CellKey,
    /// Its content; empty removes the cell.
    pub bytes: Vec<u8>,
}

/// Evidence, and up to which event it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The cells; when saving, those that changed.
    pub cells: Vec<Cell>,
    /// The last event that is counted in them.
    pub events_up_to: Cursor,
}

/// Counts the changes of a state, from 1.
pub type StateVersion = u64;

/// A stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its version.
    pub version: StateVersion,
    /// Its content, as its writer encoded it.
    pub text: String,
    /// When it was written.
    pub saved_at: Timestamp,
}

/// A state to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// The route's name.
    pub route: Box<str>,
    /// The version that was read; zero if none is stored.
    pub expected: StateVersion,
    /// The new content.
    pub text: String,
    /// When it is written.
    pub now: Timestamp,
    /// What the history says of it.
    pub history: Vec<Entry>,
}

/// One thing that happened to a route, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The route's name; empty for the process as a whole.
    pub route: Box<str>,
    /// What: `promoted`, `rolled_back`, `reloaded`.
    pub kind: Box<str>,
    /// Who: a token's name, or a part of the gateway.
    pub actor: Box<str>,
    /// Numbers and reasons, as JSON.
    pub detail: Box<str>,
}
