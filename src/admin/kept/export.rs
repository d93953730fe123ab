//! All events, or all kept exchanges, as one answer: JSON, CSV (RFC 4180) or one JSON object a line, made page by page.
//!
//! It ends with the row that was the last one when it began, so that what keeps coming does not keep it
//! going. Invariants: at most [`MAX_EXPORTS`] at a time, each with a few pages in memory; what
//! could not be read to its end breaks the connection off, so that no part looks like the whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use serde::Serialize;
use serde_json::{Number, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::samples::{self, SampleRow};
use super::{END, ROUTE, Row, START, TYPE, refused, wanted};
use crate::admin::Console;
use crate::admin::parameters::{self, Given, Kind, Parameter, wrong};
use crate::admin::problem::Problem;
use crate::clock;
use crate::store::{Attached, Cursor, EventQuery, Failure, SampleQuery, Store as _};

/// Exports at the same time.
pub(in crate::admin) const MAX_EXPORTS: usize = 4;
/// Events that are read at once.
const PAGE: usize = 500;
/// Kept exchanges that are read at once; each may have two bodies.
const SAMPLES_PAGE: usize = 8;
/// For one page to be read, and for a client to take what waits for it; there is no bound on the whole.
const IDLE: Duration = Duration::from_secs(60);

const EVENTS: &str = "events";
const SAMPLES: &str = "samples";

/// What may be asked of an export.
pub(in crate::admin) const OF_EXPORT: [Parameter; 6] = [
    Parameter::new("what", Kind::Word(&[EVENTS, SAMPLES]), "What is exported; kept exchanges are for operators."),
    Parameter::new("format", Kind::Word(&["json", "csv", "ndjson"]), "The shape of the file."),
    TYPE,
    ROUTE,
    START,
    END,
];

const COLUMNS: [&str; 14] = [
    "number",
    "name",
    "id",
    "at",
    "received_at",
    "user",
    "route",
    "arm",
    "phase",
    "rule",
    "randomised",
    "bucket",
    "value",
    "data",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Format {
    Json,
    Csv,
    Ndjson,
}

impl Format {
    /// The first is what a word that is none of theirs would mean; the list of parameters lets none pass.
    fn of(word: &str) -> Self {
        let all = [Self::Json, Self::Csv, Self::Ndjson];
        all.into_iter().find(|format| format.extension() == word).unwrap_or(Self::Json)
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    pub(in crate::admin) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// What is exported.
#[derive(Debug)]
enum What {
    Events(EventQuery),
    Samples(SampleQuery),
}

impl What {
    fn of(given: &Given) -> Result<Self, Problem> {
        if given.text("what") != Some(SAMPLES) {
            return Ok(Self::Events(wanted(given, PAGE)));
        }
        if given.text("type").is_some() {
            return Err(wrong("type", "kept exchanges have none"));
        }
        let EventQuery { route, start, end, after, .. } = wanted(given, SAMPLES_PAGE);
        Ok(Self::Samples(SampleQuery { route, start, end, after, limit: SAMPLES_PAGE }))
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Self::Events(_) => EVENTS,
            Self::Samples(_) => SAMPLES,
        }
    }

    fn columns(&self) -> &'static [&'static str] {
        match self {
            Self::Events(_) => &COLUMNS,
            Self::Samples(_) => &samples::COLUMNS,
        }
    }

    /// The number of the last row there is.
    async fn last(&self, store: &Attached) -> Result<Cursor, Failure> {
        match self {
            Self::Events(_) => {
                // What cannot be read at all is told by the status.
                store.events(EventQuery { limit: 1, ..EventQuery::default() }).await?;
                Ok(*store.stored().borrow())
            }
            Self::Samples(_) => {
                store.samples(SampleQuery { limit: 1, ..SampleQuery::default() }).await?;
                Ok(store.append_samples(Vec::new()).await?.last)
            }
        }
    }

    /// Writes the next page, up to a row. Returns whether there is more.
    async fn page(
        &mut self,
        store: &Attached,
        last: Cursor,
        encoder: &mut Encoder,
        text: &mut Vec<u8>,
    ) -> Result<bool, String> {
        let told = |failure: Failure| failure.to_string();
        let (next, after) = match self {
            Self::Events(query) => {
                let page = store.events(query.clone()).await.map_err(told)?;
                for (number, event) in page.rows.iter().take_while(|(number, _)| *number <= last) {
                    let row = Row::of(*number, event);
                    encoder.row(text, &row, || cells(&row).to_vec()).map_err(|error| error.to_string())?;
                }
                (page.next, &mut query.after)
            }
            Self::Samples(query) => {
                let page = store.samples(query.clone()).await.map_err(told)?;
                for (number, sample) in page.rows.iter().take_while(|(number, _)| *number <= last) {
                    let row = SampleRow::of(*number, sample);
                    encoder.row(text, &row, || row.cells(plain)).map_err(|error| error.to_string())?;
                }
                (page.next, &mut query.after)
            }
        };
        let next = next.filter(|next| *next < last);
        *after = next.unwrap_or(*after);
        Ok(next.is_some())
    }
}

/// Begins an export.
pub(in crate::admin) async fn begin(
    places: Arc<Semaphore>,
    State(console): State<Arc<Console>>,
    version: Version,
    query: RawQuery,
) -> Result<Response, Problem> {
    let given = parameters::read(&query, &OF_EXPORT)?;
    let format = given.text("format").map_or(Format::Json, Format::of);
    let what = What::of(&given)?;
    if version < Version::HTTP_11 {
        return Err(Problem::Invalid("an export takes HTTP/1.1: before, a part cannot be told from the whole".into()));
    }
    let place = places.try_acquire_owned().map_err(|_| Problem::TooManyExports)?;
    let store = Arc::clone(console.intake.store());
    let last = what.last(&store).await.map_err(refused)?;
    let (pieces, body) = mpsc::channel(1);
    let at = clock::timestamp().strftime("%Y%m%dT%H%M%SZ").to_string();
    let disposition = format!("attachment; filename=\"pointsman-{}-{at}.{}\"", what.as_str(), format.extension());
    tokio::spawn(feed(store, what, last, Encoder { format, rows: 0 }, pieces, place));
    let mut response = Response::new(Body::new(Pieces { pieces: body, ended: false }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// What goes to the client.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// All of it was sent.
    End,
}

async fn feed(
    store: Arc<Attached>,
    what: What,
    last: Cursor,
    encoder: Encoder,
    pieces: mpsc::Sender<Piece>,
    _place: OwnedSemaphorePermit,
) {
    if let Err(reason) = send(&store, what, last, encoder, &pieces).await {
        tracing::warn!(reason, "an export broke off");
    }
}

async fn send(
    store: &Attached,
    mut what: What,
    last: Cursor,
    mut encoder: Encoder,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), String> {
    let give = async |piece: Piece| match timeout(IDLE, pieces.send(piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the client went away".to_owned()),
        Err(_) => Err("the client took nothing".to_owned()),
    };
    give(Piece::Bytes(encoder.begin(what.columns()).map_err(|error| error.to_string())?)).await?;
    loop {
        let mut text = Vec::new();
        let read = timeout(IDLE, what.page(store, last, &mut encoder, &mut text)).await;
        let more = read.unwrap_or_else(|_| Err("the store took too long".to_owned()))?;
        if !text.is_empty() {
            give(Piece::Bytes(text)).await?;
        }
        if !more {
            break;
        }
    }
    give(Piece::Bytes(encoder.end().to_vec())).await?;
    give(Piece::End).await
}

/// The body: an end that was not told is an error.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
struct BrokenOff;

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes.into()))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(BrokenOff)),
        })
    }
}

/// Writes rows in a format.
#[derive(Debug)]
struct Encoder {
    format: Format,
    rows: u64,
}

impl Encoder {
    fn begin(&self, columns: &[&str]) -> Result<Vec<u8>, csv::Error> {
        match self.format {
            Format::Json => Ok(b"[".to_vec()),
            Format::Ndjson => Ok(Vec::new()),
            Format::Csv => {
                let mut text = Vec::new();
                record(&mut text, columns)?;
                Ok(text)
            }
        }
    }

    fn row(
        &mut self,
        text: &mut Vec<u8>,
        row: &impl Serialize,
        cells: impl FnOnce() -> Vec<String>,
    ) -> Result<(), std::io::Error> {
        match self.format {
            Format::Json => text.extend_from_slice(if self.rows == 0 { b"\n" } else { b",\n" }),
            Format::Csv | Format::Ndjson => {}
        }
        self.rows += 1;
        match self.format {
            Format::Json => serde_json::to_writer(text, row)?,
            Format::Ndjson => {
                serde_json::to_writer(&mut *text, row)?;
                text.push(b'\n');
            }
            Format::Csv => record(text, cells())?,
        }
        Ok(())
    }

    const fn end(&self) -> &'static [u8] {
        match self.format {
            Format::Json => b"\n]\n",
            Format::Csv | Format::Ndjson => b"",
        }
    }
}

fn record<T: AsRef<[u8]>>(text: &mut Vec<u8>, cells: impl IntoIterator<Item = T>) -> Result<(), csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(text);
    writer.write_record(cells)?;
    writer.flush().map_err(Into::into)
}

/// In the order of [`COLUMNS`]; what is missing is empty.
fn cells(row: &Row<'_>) -> [String; COLUMNS.len()] {
    let or_empty = |value: Option<String>| value.unwrap_or_default();
    let number = |value: Option<f64>| or_empty(value.and_then(Number::from_f64).map(|number| number.to_string()));
    let data = match &row.data {
        None => String::new(),
        Some(Value::Number(number)) => number.to_string(),
        Some(data @ (Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_))) => {
            plain(&data.to_string())
        }
    };
    [
        row.number.to_string(),
        plain(row.name),
        plain(row.id),
        row.at.to_string(),
        row.received_at.to_string(),
        or_empty(row.user.clone()),
        or_empty(row.route.map(plain)),
        or_empty(row.arm.map(|arm| arm.as_str().to_owned())),
        or_empty(row.phase.clone()),
        or_empty(row.rule.map(|rule| rule.to_string())),
        number(row.randomised),
        or_empty(row.bucket.map(|bucket| bucket.to_string())),
        number(row.value),
        data,
    ]
}

/// A text that no spreadsheet takes for a formula (OWASP, "CSV Injection").
fn plain(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
