//! The access log: one JSON object a line, sampled, never waited for.
//!
//! Errors, fallbacks and refusals always get a line; of the rest a share does. Lines go to a bounded queue that
//! a thread of its own looks into from time to time, so that no request has to wake it; when the queue
//! is full a line is dropped and counted. The same thread keeps the last lines ([`super::recent`]).

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Method};
use schemars::{Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::recent::Recent;
use crate::config::model::Log;
use crate::domain::Arm;
use crate::domain::decision::Reason;
use crate::domain::fallback::Cause;
use crate::measure::{Attempt, Record};

/// Lines that wait to be written.
const QUEUE_LINES: usize = 32_768;

/// How often the queue is written out while there is little in it, or nothing. Every line may be needed from one moment
/// to the next, when backends begin to fail: the queue has room for 300,000 lines a second.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// How soon after one another it is written out at most, however full it is.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// How many lines are written out at a time, about: far fewer than the queue has room for.
const USUAL_LINES: usize = QUEUE_LINES / 8;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// How long the end waits for a reader that takes nothing.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The way into the access log; one clone a worker.
#[derive(Clone)]
pub struct AccessLog {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicUsize>,
}

/// Keeps the writing thread; dropping it writes out what waits.
pub struct AccessLogGuard {
    /// The thread ends when this does.
    stop: Option<Sender<()>>,
    /// Disconnected once the thread has ended.
    ended: Mutex<Receiver<()>>,
    dropped: Arc<AtomicUsize>,
    recent: Arc<Recent>,
}

impl AccessLogGuard {
    /// Lines lost because the queue was full, or writing failed.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The lines that were written last.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It has ended, or nobody reads what it writes.
        let _ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(FLUSH_TIMEOUT);
    }
}

/// The thread's work: from the queue to the sink, until it is told to stop and the queue is empty.
fn write_out(
    mut sink: impl Write,
    queue: &Receiver<Vec<u8>>,
    stop: &Receiver<()>,
    dropped: &AtomicUsize,
    recent: &Recent,
) {
    let (mut batch, mut kept) = (Vec::new(), Vec::new());
    let mut pause = MAX_PAUSE;
    loop {
        let stopping = stop.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected);
        let (mut lines, mut taken) = (0, 0);
        loop {
            let next = queue.try_recv();
            let ended = next.is_err();
            if let Ok(line) = next {
                batch.extend_from_slice(&line);
                kept.push(line);
                lines += 1;
                taken += 1;
            }
            if lines > 0 && (ended || batch.len() >= WRITE_BYTES) {
                if sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
                    dropped.fetch_add(lines, Ordering::Relaxed);
                }
                recent.keep(kept.drain(..));
                batch.clear();
                lines = 0;
            }
            if ended {
                break;
            }
        }
        if stopping {
            return;
        }
        pause = next_pause(pause, taken);
    }
}

/// Shorter the more lines there were: a queue that fills up faster than it is looked at loses lines.
fn next_pause(pause: Duration, taken: usize) -> Duration {
    if taken > USUAL_LINES {
        (pause / 4).max(MIN_PAUSE)
    } else if taken < USUAL_LINES / 8 {
        (pause * 2).min(MAX_PAUSE)
    } else {
        pause
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
    pub(crate) rule: Option<&'a str>,
    pub(crate) generation: u64,
    pub(crate) response_bytes: u64,
    pub(crate) own_micros: u64,
    /// What was measured, by the names of the metrics.
    pub(crate) metrics: Vec<(&'a str, f64)>,
    pub(crate) at: jiff::Timestamp,
}

/// A line as it is written. Times are in microseconds.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "AccessLine")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
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
    #[serde(serialize_with = "by_name", skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "BTreeMap<String, f64>")]
    metrics: &'a [(&'a str, f64)],
    generation: u64,
}

/// The shape of a line.
pub(crate) fn shape(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Written<'_>>()
}

fn by_name<S: Serializer>(values: &[(&str, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().copied())
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "AccessLineAttempt")]
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
        let (queue, waiting) = sync_channel(QUEUE_LINES);
        let (stop, stopped) = channel();
        let (ending, ended) = channel::<()>();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&dropped);
        let recent = Arc::new(Recent::default());
        let kept = Arc::clone(&recent);
        let started = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            write_out(sink, &waiting, &stopped, &counted, &kept);
            drop(ending);
        });
        if let Err(error) = started {
            // Every line then counts as lost.
            tracing::error!(%error, "the access log cannot be written");
        }
        let guard =
            AccessLogGuard { stop: Some(stop), ended: Mutex::new(ended), dropped: Arc::clone(&dropped), recent };
        (Self { queue, dropped }, Arc::new(guard))
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
            rule: line.rule,
            served: record.served,
            reason: record.reason,
            percentage: record.randomised.map(|percent| percent.get()),
            fallback: line.fallback,
            user: line.user.as_deref(),
            attempts: record.attempts.iter().flatten().map(WrittenAttempt::from).collect(),
            duration_us: record.duration_micros,
            overhead_us: line.own_micros,
            response_bytes: line.response_bytes,
            metrics: &line.metrics,
            generation: line.generation,
        };
        let Ok(mut text) = serde_json::to_vec(&written) else { return };
        text.push(b'\n');
        if self.queue.try_send(text).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Result;

    /// Takes everything, or nothing while the lock is held, or fails.
    #[derive(Clone, Default)]
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        fails: bool,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.written.lock().unwrap().extend_from_slice(bytes);
            if self.fails { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn send(log: &AccessLog, lines: usize) {
        for line in 0..lines {
            if log.queue.try_send(format!("{line}\n").into_bytes()).is_err() {
                log.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn the_more_lines_the_sooner_the_queue_is_written_out() {
        let taken = |pause: Duration, per_second: usize| pause.as_millis() as usize * per_second / 1_000;
        let settle = |per_second| (0..32).fold(MAX_PAUSE, |pause, _| next_pause(pause, taken(pause, per_second)));
        for per_second in [0, 100, 10_000, 100_000, 1_000_000] {
            let pause = settle(per_second);
            assert!(taken(pause, per_second) < QUEUE_LINES, "{per_second} lines a second, {pause:?}");
        }
        assert_eq!((settle(0), settle(1_000)), (MAX_PAUSE, MAX_PAUSE));
        assert!(settle(100_000) < MAX_PAUSE);
        assert!(taken(MAX_PAUSE, 300_000) < QUEUE_LINES, "all at once after a time with few");
    }

    #[test]
    fn the_end_writes_what_waits() {
        let sink = Sink::default();
        let (log, guard) = AccessLog::new(sink.clone());
        send(&log, 10_000);
        drop(guard);
        let written = sink.written.lock().unwrap();
        let expected: String = (0..10_000).map(|line| format!("{line}\n")).collect();
        assert!(*written == expected.as_bytes(), "{} bytes", written.len());
    }

    #[test]
    fn every_lost_line_is_counted() {
        let sink = Sink::default();
        let held = sink.written.lock().unwrap();
        let (log, guard) = AccessLog::new(sink.clone());
        let sent = 3 * QUEUE_LINES;
        send(&log, sent);
        assert!(guard.dropped() >= QUEUE_LINES, "{}", guard.dropped());
        drop(held);
        let dropped = Arc::clone(&guard.dropped);
        drop(guard);
        let written = sink.written.lock().unwrap().iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(written + dropped.load(Ordering::Relaxed), sent);

        let sink = Sink { fails: true, ..Sink::default() };
        let (log, guard) = AccessLog::new(sink);
        send(&log, 7);
        let dropped = Arc::clone(&guard.dropped);
        drop(guard);
        assert_eq!(dropped.load(Ordering::Relaxed), 7);
    }
}
