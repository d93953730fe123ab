//! What is kept, exposure tokens, and events, as the gateway runs with them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use secrecy::SecretString;

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where it is kept. Needs a restart.
    pub store: StorePlace,
    /// What is older is forgotten.
    pub keep_events: Duration,
    /// Bytes of the store; beyond it the oldest events go.
    pub max_size: u64,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In the process; it forgets at exit.
    Memory,
    /// In a SQLite file.
    Sqlite(PathBuf),
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// `[exposure]`.
#[derive(Debug, Clone)]
pub struct Exposure {
    /// The first signs, all verify; at least one.
    pub keys: Vec<SecretString>,
    /// The field that holds the token.
    pub header: HeaderName,
    /// The beginning of the name of the cookie that holds it, too.
    pub cookie: Option<String>,
    /// Older tokens count no more.
    pub max_age: Duration,
}

/// Where events are sent, on the administrative address and, if the file allows it, on the data listener.
pub const EVENTS_PATH: &str = "/v1/events";

/// `[events]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// Whether the data listener takes events.
    pub public: bool,
    /// Origins whose pages may send events: `scheme://host[:port]` in lower case.
    pub origins: Vec<String>,
    /// Events of one client address in the long run.
    pub events_per_second: f64,
    /// How many of them may come at once.
    pub burst: u32,
}
