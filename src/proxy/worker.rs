//! What one worker thread owns: its snapshot, its upstream connections, its counts, its ring.
//!
//! Nothing here is shared with another worker except through atomics that are read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::attributes::Attributes;
use super::claims::Tokens;
use super::connection::ReadBuffer;
use super::pool::Pool;
use super::upload::ReplayMemory;
use crate::events::Intake;
use crate::live::{Live, Snapshot};
use crate::measure::Record;
use crate::measure::counters::WorkerCounters;
use crate::sampling::Sampling;
use crate::telemetry::access::AccessLog;

/// See the module.
pub(crate) struct Worker {
    index: usize,
    live: Arc<Live>,
    current: RefCell<Current>,
    pool: Pool,
    read_buffer: Rc<ReadBuffer>,
    tokens: Tokens,
    ring: RefCell<rtrb::Producer<Record>>,
    access: AccessLog,
    intake: Arc<Intake>,
    sampling: Arc<Sampling>,
    replay_memory: Arc<ReplayMemory>,
    stopping: Cell<bool>,
    stop: Notify,
}

/// A worker's snapshot. Requests count their references in the worker, not in a word that all workers
/// write to.
pub(crate) type Current = Rc<Arc<Snapshot>>;

/// What a worker is given at its start.
pub(crate) struct WorkerParts {
    pub(crate) index: usize,
    pub(crate) live: Arc<Live>,
    pub(crate) ring: rtrb::Producer<Record>,
    pub(crate) access: AccessLog,
    pub(crate) intake: Arc<Intake>,
    pub(crate) sampling: Arc<Sampling>,
    pub(crate) replay_memory: Arc<ReplayMemory>,
}

impl Worker {
    pub(crate) fn new(parts: WorkerParts) -> Rc<Self> {
        let current = RefCell::new(Rc::new(parts.live.snapshot()));
        Rc::new(Self {
            index: parts.index,
            live: parts.live,
            current,
            pool: Pool::default(),
            read_buffer: Rc::default(),
            tokens: Tokens::default(),
            ring: RefCell::new(parts.ring),
            access: parts.access,
            intake: parts.intake,
            sampling: parts.sampling,
            replay_memory: parts.replay_memory,
            stopping: Cell::new(false),
            stop: Notify::new(),
        })
    }

    /// The running snapshot. The shared pointer is read only when the generation has changed.
    pub(crate) fn snapshot(&self) -> Current {
        let mut current = self.current.borrow_mut();
        if current.generation != self.live.generation() {
            *current = Rc::new(self.live.snapshot());
        }
        Rc::clone(&current)
    }

    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    pub(crate) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What upstream connections read into.
    pub(crate) const fn read_buffer(&self) -> &Rc<ReadBuffer> {
        &self.read_buffer
    }

    pub(crate) const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(crate) const fn access(&self) -> &AccessLog {
        &self.access
    }

    /// Where events go.
    pub(crate) const fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Where sampled exchanges go.
    pub(crate) const fn sampling(&self) -> &Arc<Sampling> {
        &self.sampling
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.live.workers[self.index]
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    pub(crate) const fn replay_memory(&self) -> &Arc<ReplayMemory> {
        &self.replay_memory
    }

    /// Hands a record to the controller, or drops and counts it.
    pub(crate) fn push(&self, record: Record) {
        if self.ring.borrow_mut().push(record).is_err() {
            self.counters().records_dropped.add(1);
        }
    }

    /// Counts an identity header that does not count, and warns of the first.
    pub(crate) fn note_untrusted(&self) {
        let count = &self.counters().untrusted_identity;
        if count.get() == 0 {
            tracing::warn!("an identity header came from a peer outside listen.trusted_proxies and was ignored");
        }
        count.add(1);
    }

    /// Counts what of a request's attributes did not count.
    pub(crate) fn note_attributes(&self, attributes: &Attributes<'_>) {
        for _ in 0..attributes.untrusted {
            self.note_untrusted();
        }
        if attributes.unreadable > 0 {
            self.counters().unreadable_attributes.add(attributes.unreadable);
        }
    }

    /// Whether connections should end after the request they are at.
    pub(crate) const fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Wakes every connection that waits in [`Worker::stopped`].
    pub(crate) fn begin_stopping(&self) {
        self.stopping.set(true);
        self.stop.notify_waiters();
    }

    /// Ready once stopping has begun, if it begins after the first poll.
    pub(crate) fn stopped(&self) -> tokio::sync::futures::Notified<'_> {
        self.stop.notified()
    }
}
