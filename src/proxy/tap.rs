//! Reads an arm's answer as it passes, for the metrics, tokens and costs that are in it.
//!
//! It only looks: pieces, their framing and the gaps between them are the stream's own. What it holds counts
//! in `limits.replay_memory`. Invariant: an answer that was not read to its end leaves no value, and is counted.

use std::rc::Rc;
use std::time::Instant;

use http::{HeaderMap, StatusCode, header};

use super::document;
use super::ledger::Ledger;
use super::rewriting::Held;
use crate::clock;
use crate::config::model::Backend;
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::metric::{Usage, Values};
use crate::domain::reading::{Format, Read, Reading, Tokens, Unread};
use crate::live::BackendState;

/// An answer that is being read.
pub(crate) struct Tap {
    arm: Arm,
    success: bool,
    sent: Instant,
    /// `None` once there was no memory left for it.
    reading: Option<Reading>,
    held: Held,
}

impl Tap {
    /// For the answer of the present attempt, if something is to be read in it and can be.
    pub(crate) fn on(ledger: &mut Ledger, arm: Arm, status: StatusCode, headers: &HeaderMap) -> Option<Box<Self>> {
        if ledger.snapshot().reads_answers(arm, ledger.arms().backend(arm)) {
            Self::open(ledger, arm, status, headers)
        } else {
            None
        }
    }

    fn open(ledger: &mut Ledger, arm: Arm, status: StatusCode, headers: &HeaderMap) -> Option<Box<Self>> {
        match format(status, headers) {
            Ok(format) => {
                let held = Held::new(ledger.worker(), ledger.snapshot().config().limits.replay_memory);
                let sent = ledger.begin_reading()?;
                let reading = Some(Reading::new(format));
                Some(Box::new(Self { arm, success: status.is_success(), sent, reading, held }))
            }
            // Pages of errors are no JSON, and nothing is expected of them.
            Err(Unread::ContentType) if !status.is_success() => None,
            Err(why) => {
                ledger.unread(arm, why);
                None
            }
        }
    }

    /// A piece passes.
    pub(crate) fn see(&mut self, piece: &[u8], ledger: &Ledger) {
        let Some(reading) = &mut self.reading else { return };
        let at = clock::now().saturating_duration_since(self.sent);
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        reading.see(piece, at, &ledger.snapshot().meters.of(self.arm).json);
        if !self.held.at_least(reading.held() as u64) {
            self.reading = None;
        }
    }

    /// The answer has passed whole. The ledger gets what it told.
    pub(crate) fn finish(self, ledger: &mut Ledger) {
        let Self { arm, success, reading, .. } = self;
        let snapshot = Rc::clone(ledger.snapshot());
        let (meters, index) = (snapshot.meters.of(arm), ledger.arms().backend(arm));
        let Some(reading) = reading else {
            ledger.has_read(&Values::default());
            return ledger.unread(arm, Unread::NoMemory);
        };
        let read = reading.finish(&meters.json);
        let backend = &snapshot.config().backends[index];
        let prices = backend.pricing.as_ref().map(|pricing| pricing.prices);
        let mut values = read.values.clone();
        for (metric, kind, usage) in &meters.usage {
            if let Some(value) = read.usage(*usage, prices).and_then(|value| kind.accept(value)) {
                values.put(*metric, value);
            }
        }
        ledger.has_read(&values);
        let counts_usage = snapshot.reads_usage(arm, index);
        if counts_usage {
            count(ledger, arm, &read);
            if let Some(cost) = read.usage(Usage::Cost, prices) {
                ledger.counters().read[arm.index()].cost.add(cost);
                spend(&snapshot.backends[index].state, backend, cost);
            }
        }
        let silent = counts_usage && success && read.tokens == Tokens::default();
        if let Some(why) = read.unread.or(silent.then_some(Unread::NoUsage)) {
            ledger.unread(arm, why);
        }
    }
}

/// How the answer holds documents, or why nothing can be read of it.
fn format(status: StatusCode, headers: &HeaderMap) -> Result<Format, Unread> {
    if status == StatusCode::PARTIAL_CONTENT {
        return Err(Unread::Truncated);
    }
    if document::is_encoded(headers) {
        return Err(Unread::Encoded);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(Format::of).ok_or(Unread::ContentType)
}

fn count(ledger: &Ledger, arm: Arm, read: &Read) {
    let counters = &ledger.counters().read[arm.index()];
    counters.tokens(read.tokens);
    if let Some(micros) = read.first_token {
        counters.first_token.record(std::time::Duration::from_micros(micros));
    }
}

/// Counts what an answer cost; says so, once, when that was the last of the day's budget.
fn spend(state: &BackendState, backend: &Backend, cost: f64) {
    // Without a budget, too: one may come with a reload, and is for the whole day.
    let (before, after) = state.spend(clock::utc_day(), cost);
    let Some(most) = backend.cost_per_day else { return };
    if before < most && after >= most {
        let (backend, currency) = (&*state.name, backend.pricing.as_ref().map(|pricing| pricing.currency.as_str()));
        tracing::warn!(backend, spent = after, cost_per_day = most, currency, "the daily budget is spent");
    }
}

/// Why an answer was not read to its end, by how its attempt ended.
pub(super) const fn unread_by(outcome: Outcome) -> Unread {
    match outcome {
        Outcome::Timeout => Unread::Timeout,
        Outcome::ClientGone => Unread::ClientGone,
        Outcome::Success
        | Outcome::Connect
        | Outcome::Reset
        | Outcome::Status
        | Outcome::TooMany
        | Outcome::Truncated
        | Outcome::Rewrite => Unread::Truncated,
    }
}
