//! What the store keeps, for reading: events and history by pages, everything as one file, and removal.
//!
//! | file | what |
//! |---|---|
//! | `export` | all events, or all kept exchanges, as one answer of any length |
//! | `samples` | a kept exchange as it is shown |
//! | `removal` | events that are forgotten on request |
//!
//! It interprets nothing. Invariant: an answer holds a bounded part of the store, or is made piece by piece.

pub(super) mod export;
pub(super) mod removal;
mod samples;

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Console;
use super::parameters::{self, Given, Kind, Parameter};
use super::problem::Problem;
use crate::domain::Arm;
use crate::store::{Cursor, Entry, Event, EventQuery, Failure, HistoryQuery, Store as _};

/// Rows of a page where nobody asks for another number.
const PAGE: u64 = 100;
/// Most rows of a page.
const MAX_PAGE: u64 = 1_000;
/// The highest number that a row can have.
const MAX_CURSOR: Cursor = i64::MAX.cast_unsigned();

const TYPE: Parameter = Parameter::new("type", Kind::Text, "Events of this name.");
const ROUTE: Parameter = Parameter::new("route", Kind::Text, "What belongs to this route.");
const START: Parameter = Parameter::new("start", Kind::Time, "Events that happened at this time or later.");
const END: Parameter = Parameter::new("end", Kind::Time, "Events that happened before this time.");
const LIMIT: Parameter =
    Parameter::new("limit", Kind::Number { least: 1, most: MAX_PAGE, default: Some(PAGE) }, "Rows of a page.");

/// What may be asked of the events.
pub(super) const OF_EVENTS: [Parameter; 6] = [
    TYPE,
    ROUTE,
    START,
    END,
    LIMIT,
    Parameter::new(
        "cursor",
        Kind::Number { least: 0, most: MAX_CURSOR, default: Some(0) },
        "The page behind this number: `next` of the page before.",
    ),
];

/// What may be asked of the history.
pub(super) const OF_HISTORY: [Parameter; 3] = [
    ROUTE,
    Parameter::new(
        "before",
        Kind::Number { least: 1, most: MAX_CURSOR, default: None },
        "The page before this number: `next` of the page before.",
    ),
    LIMIT,
];

/// An event as it is shown.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "StoredEvent")]
pub(super) struct Row<'a> {
    number: Cursor,
    name: &'a str,
    id: &'a str,
    at: Timestamp,
    received_at: Timestamp,
    /// 32 hex digits.
    user: Option<String>,
    route: Option<&'a str>,
    arm: Option<Arm>,
    /// 8 hex digits.
    phase: Option<String>,
    rule: Option<u16>,
    randomised: Option<f64>,
    bucket: Option<u16>,
    value: Option<f64>,
    data: Option<Value>,
}

impl<'a> Row<'a> {
    fn of(number: Cursor, event: &'a Event) -> Self {
        let to = event.attribution.as_ref();
        Self {
            number,
            name: &event.name,
            id: &event.id,
            at: event.at,
            received_at: event.received_at,
            user: event.user.map(|user| user.to_string()),
            route: to.map(|to| &*to.route),
            arm: to.map(|to| to.arm),
            phase: to.map(|to| format!("{:08x}", to.phase)),
            rule: to.and_then(|to| to.rule),
            randomised: to.and_then(|to| to.randomised),
            bucket: to.map(|to| to.bucket),
            value: event.value,
            data: (!event.data.is_empty()).then(|| json(&event.data)),
        }
    }
}

/// What was stored as JSON; as a text, should it be none.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct HistoryPage<'a> {
    history: Vec<HistoryRow<'a>>,
    /// Where older entries begin: `before` of the next question.
    next: Option<Cursor>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "HistoryEntry")]
struct HistoryRow<'a> {
    number: Cursor,
    at: Timestamp,
    /// `null` for the process as a whole.
    route: Option<&'a str>,
    kind: &'a str,
    actor: &'a str,
    detail: Value,
}

impl<'a> HistoryRow<'a> {
    fn of(number: Cursor, entry: &'a Entry) -> Self {
        let route = Some(&*entry.route).filter(|route| !route.is_empty());
        Self { number, at: entry.at, route, kind: &entry.kind, actor: &entry.actor, detail: json(&entry.detail) }
    }
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct EventPage<'a> {
    events: Vec<Row<'a>>,
    /// Where the next page begins: `cursor` of the next question; `null` after the last page.
    next: Option<Cursor>,
    /// The number of the last event that was stored when this was asked, of whatever kind: who has read the
    /// last page goes on from here when more may have come.
    last: Cursor,
}

/// A page of events, oldest first.
pub(super) async fn events(State(console): State<Arc<Console>>, query: RawQuery) -> Result<Json<Value>, Problem> {
    let given = parameters::read(&query, &OF_EVENTS)?;
    let mut query = wanted(&given, given.number("limit").unwrap_or(PAGE) as usize);
    query.after = given.number("cursor").unwrap_or(0);
    let store = console.intake.store();
    let last = *store.stored().borrow();
    let page = store.events(query).await.map_err(refused)?;
    let events = page.rows.iter().map(|(number, event)| Row::of(*number, event)).collect();
    shown(&EventPage { events, next: page.next, last })
}

/// A page of the history, newest first.
pub(super) async fn history(State(console): State<Arc<Console>>, query: RawQuery) -> Result<Json<Value>, Problem> {
    let given = parameters::read(&query, &OF_HISTORY)?;
    let query = HistoryQuery {
        route: given.text("route").map(str::to_owned),
        before: given.number("before").unwrap_or(0),
        limit: given.number("limit").unwrap_or(PAGE) as usize,
    };
    let page = console.intake.store().history(query).await.map_err(refused)?;
    let history = page.rows.iter().map(|(number, entry)| HistoryRow::of(*number, entry)).collect();
    shown(&HistoryPage { history, next: page.next })
}

/// Which events are wanted: `type`, `route`, `start` and `end`.
fn wanted(given: &Given, limit: usize) -> EventQuery {
    EventQuery {
        name: given.text("type").map(str::to_owned),
        route: given.text("route").map(str::to_owned),
        start: given.time("start"),
        end: given.time("end"),
        after: 0,
        limit,
    }
}

fn shown(page: &impl Serialize) -> Result<Json<Value>, Problem> {
    serde_json::to_value(page).map(Json).map_err(|error| {
        tracing::error!(%error, "a page cannot be written");
        Problem::Internal
    })
}

/// What a store's failure is told as; it has logged what matters itself.
fn refused(failure: Failure) -> Problem {
    match failure {
        Failure::Busy(wait) => Problem::StoreBusy(wait),
        Failure::Unavailable(_) | Failure::Corrupt(_) | Failure::Conflict { .. } | Failure::Unsupported(_) => {
            Problem::StoreUnavailable
        }
    }
}
