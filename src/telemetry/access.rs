//! The access log: one JSON object a line, sampled, never waited for.
//!
//! Errors and fallbacks always get a line; of the rest a share does. Lines go to a bounded queue that
//! a thread of its own writes out; when it is full a line is dropped and counted.

use std::io::Write as _;
use std::sync::Arc;

use http::{HeaderValue, Method};
use serde::Serialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};

use crate::config::model::Log;
use crate::domain::Arm;
use crate::domain::decision::Reason;
use crate::domain::fallback::Cause;
use crate::measure::{Attempt, Record};

/// Lines that wait to be written.
const QUEUE_LINES: usize = 16_384;

/// The way into the access log; one clone a worker.
#[derive(Clone)]
pub struct AccessLog {
    writer: NonBlocking,
}

/// Keeps the writing thread; dropping it writes out what waits.
pub struct AccessLogGuard {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
}

impl AccessLogGuard {
    /// Lines dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// What a line is made of.
pub(crate) struct Line<'a> {
    pub(crate) record: &'a Record,
    pub(crate) route: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a HeaderValue,
    /// What stands for the user.
    pub(crate) user: Option<String>,
    pub(crate) fallback: Option<Cause>,
    pub(crate) assigned_by: Reason,
    pub(crate) generation: u64,
    pub(crate) response_bytes: u64,
    pub(crate) own_micros: u64,
    pub(crate) at: jiff::Timestamp,
}

/// A line as it is written. Times are in microseconds.
#[derive(Serialize)]
struct Written<'a> {
    timestamp: String,
    category: &'static str,
    request_id: &'a str,
    route: &'a str,
    method: &'a str,
    path: &'a str,
    status: Option<u16>,
    assigned: Arm,
    assigned_by: Reason,
    served: Arm,
    reason: Reason,
    percentage: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<Cause>,
    user: Option<&'a str>,
    attempts: Vec<WrittenAttempt>,
    duration_us: u64,
    overhead_us: u64,
    response_bytes: u64,
    generation: u64,
}

#[derive(Serialize)]
struct WrittenAttempt {
    arm: Arm,
    outcome: &'static str,
    first_byte_us: Option<u64>,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
}

impl AccessLog {
    /// An access log that writes to `sink` from a thread of its own.
    #[must_use]
    pub fn new(sink: impl std::io::Write + Send + 'static) -> (Self, Arc<AccessLogGuard>) {
        let (writer, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUE_LINES)
            .lossy(true)
            .thread_name("access-log")
            .finish(sink);
        let dropped = writer.error_counter();
        (Self { writer }, Arc::new(AccessLogGuard { _guard: guard, dropped }))
    }

    /// Whether a request gets a line.
    pub(crate) fn wants(&self, log: &Log, noteworthy: bool) -> bool {
        log.access && (noteworthy || (log.access_sample > 0.0 && fastrand::f64() < log.access_sample))
    }

    /// Writes a line.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let record = line.record;
        let written = Written {
            timestamp: line.at.to_string(),
            category: "decision",
            request_id: line.request_id.to_str().unwrap_or_default(),
            route: line.route,
            method: line.method.as_str(),
            path: line.path,
            status: (record.status != 0).then_some(record.status),
            assigned: record.assigned,
            assigned_by: line.assigned_by,
            served: record.served,
            reason: record.reason,
            percentage: record.randomised.map(|percent| percent.get()),
            fallback: line.fallback,
            user: line.user.as_deref(),
            attempts: record.attempts.iter().flatten().map(WrittenAttempt::from).collect(),
            duration_us: record.duration_micros,
            overhead_us: line.own_micros,
            response_bytes: line.response_bytes,
            generation: line.generation,
        };
        let Ok(mut text) = serde_json::to_vec(&written) else { return };
        text.push(b'\n');
        // A full queue is counted by the writer itself and never reported here.
        let _lossy = self.writer.clone().write_all(&text);
    }
}

impl From<&Attempt> for WrittenAttempt {
    fn from(attempt: &Attempt) -> Self {
        Self {
            arm: attempt.arm,
            outcome: attempt.outcome.as_str(),
            first_byte_us: attempt.first_byte_micros,
            duration_us: attempt.duration_micros,
            score: attempt.score,
        }
    }
}
