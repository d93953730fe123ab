//! Why nothing is known of an answer that was to be read.

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is compressed.
    Encoded,
    /// Its `content-type` is none that holds JSON.
    ContentType,
    /// It broke off, or is only a part (206).
    Truncated,
    /// It stalled.
    Timeout,
    /// The client went away before its end.
    ClientGone,
    /// It, or a document in it, is longer than what is read.
    TooLong,
    /// There was no memory left for it.
    NoMemory,
    /// It is not JSON.
    NotJson,
    /// It tells no tokens, and these were asked for.
    NoUsage,
}

impl Unread {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Encoded,
        Self::ContentType,
        Self::Truncated,
        Self::Timeout,
        Self::ClientGone,
        Self::TooLong,
        Self::NoMemory,
        Self::NotJson,
        Self::NoUsage,
    ];

    /// The word in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoded => "encoded",
            Self::ContentType => "content_type",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::ClientGone => "client_gone",
            Self::TooLong => "too_long",
            Self::NoMemory => "no_memory",
            Self::NotJson => "not_json",
            Self::NoUsage => "no_usage",
        }
    }

    /// Position in [`Unread::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
