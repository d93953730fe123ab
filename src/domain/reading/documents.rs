//! Cuts a body into documents: the whole of a JSON answer, the data of each event of a stream
//! (text/event-stream, WHATWG HTML 9.2; lines end in LF or CRLF), each line of newline-delimited JSON.

use bytes::BytesMut;
use sseer::parser::{RawEventLine, parse_line};

/// Longest document in bytes: of a longer one nothing is known.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Longest line in bytes, with its end.
const MAX_LINE_BYTES: usize = MAX_DOCUMENT_BYTES + 1;

/// How an answer holds documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One document.
    Json,
    /// Events with documents as their data.
    EventStream,
    /// A document a line.
    JsonLines,
}

impl Format {
    /// The format that a `content-type` means; `None` for one without documents.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Some(Self::Json),
            "text/event-stream" => Some(Self::EventStream),
            "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => Some(Self::JsonLines),
            other if other.starts_with("application/") && other.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Documents {
    format: Format,
    /// What has come of the present line, or of the one document.
    pending: BytesMut,
    /// The data of the present event.
    data: BytesMut,
    /// The present document, or line, is too long; what comes of it is passed over.
    too_long: bool,
    /// A part of the present event was too long.
    event_too_long: bool,
    /// A document was passed over because it was too long.
    passed_over: bool,
}

impl Documents {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            pending: BytesMut::new(),
            data: BytesMut::new(),
            too_long: false,
            event_too_long: false,
            passed_over: false,
        }
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.pending.len() + self.data.len()
    }

    /// Whether a document was passed over because it was too long.
    pub(super) const fn has_passed_over(&self) -> bool {
        self.passed_over
    }

    /// A piece came in; `tell` is given each document that it completes.
    pub(super) fn see(&mut self, mut piece: &[u8], tell: &mut impl FnMut(&[u8])) {
        if self.format == Format::Json {
            return self.hold(piece);
        }
        // The line that began before this piece is completed first; then lines are read where they are.
        while !self.pending.is_empty() || self.too_long {
            let Some(end) = memchr::memchr(b'\n', piece) else { return self.hold(piece) };
            let (line_end, rest) = piece.split_at(end + 1);
            self.hold(line_end);
            piece = rest;
            let line = self.pending.split();
            if std::mem::take(&mut self.too_long) {
                self.pass_over_event();
            } else {
                self.lines(&line, tell);
            }
        }
        let whole = memchr::memrchr(b'\n', piece).map_or(0, |end| end + 1);
        let (lines, rest) = piece.split_at(whole);
        if lines.len() <= MAX_DOCUMENT_BYTES {
            self.lines(lines, tell);
        } else {
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                if line.len() > MAX_LINE_BYTES { self.pass_over_event() } else { self.lines(line, tell) }
            }
        }
        self.hold(rest);
    }

    /// The body is whole.
    pub(super) fn finish(&mut self, tell: &mut impl FnMut(&[u8])) {
        let rest = self.pending.split();
        if self.too_long || rest.len() > MAX_DOCUMENT_BYTES {
            return;
        }
        match self.format {
            // An event without its empty line was cut off.
            Format::EventStream => {}
            Format::Json | Format::JsonLines if rest.trim_ascii().is_empty() => {}
            Format::Json | Format::JsonLines => tell(&rest),
        }
    }

    fn lines(&mut self, mut lines: &[u8], tell: &mut impl FnMut(&[u8])) {
        if self.format == Format::JsonLines {
            lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).for_each(tell);
            return;
        }
        while let Some((line, rest)) = parse_line(lines) {
            lines = rest;
            match line {
                RawEventLine::Empty => {
                    if !std::mem::take(&mut self.event_too_long) && !self.data.is_empty() {
                        tell(&self.data);
                    }
                    self.data.clear();
                }
                RawEventLine::Field { field_name: b"data", field_value } => {
                    let value = field_value.unwrap_or_default();
                    if self.data.len() + value.len() >= MAX_DOCUMENT_BYTES {
                        self.pass_over_event();
                    }
                    if !self.event_too_long {
                        if !self.data.is_empty() {
                            self.data.extend_from_slice(b"\n");
                        }
                        self.data.extend_from_slice(value);
                    }
                }
                RawEventLine::Field { .. } | RawEventLine::Comment => {}
            }
        }
    }

    fn pass_over_event(&mut self) {
        self.data = BytesMut::new();
        self.event_too_long = self.format == Format::EventStream;
        self.passed_over = true;
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.too_long || self.pending.len() + piece.len() > MAX_LINE_BYTES {
            self.too_long = true;
            self.passed_over = true;
            self.pending = BytesMut::new();
        } else {
            self.pending.extend_from_slice(piece);
        }
    }
}
