//! Group commit: jobs that wait when a transaction begins go into it together.
//!
//! Each job runs in a savepoint of its own, so that one that fails takes nothing with it. Bounded by
//! jobs and by bytes; who comes beyond is told to try again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::TransactionBehavior;
use tokio::sync::{mpsc, oneshot};
use tokio_rusqlite::Connection;

use super::Trouble;
use crate::store::Failure;

/// Jobs that wait or run.
const MAX_JOBS: usize = 1_024;
/// Bytes of jobs that wait or run.
const MAX_BYTES: usize = 64 << 20;
/// Jobs in one transaction.
const MAX_GROUP: usize = 128;
/// When to try again after the queue was full: it empties within a few transactions.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Tells whoever waits, once it is known whether the transaction stands.
type Tell = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// Runs within a transaction, or learns why there is none.
type Job = Box<dyn FnOnce(Result<&rusqlite::Connection, Failure>) -> Tell + Send>;

/// The way to the writing connection.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
}

struct Waiting {
    job: Job,
    held: Held,
}

/// Bytes that are given back when a job is done with.
struct Held(Arc<AtomicUsize>, usize);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Writer {
    /// Takes a connection over; it is closed when the writer is dropped.
    pub(super) fn spawn(connection: Connection) -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_JOBS);
        tokio::spawn(run(connection, waiting));
        Self { jobs, bytes: Arc::default() }
    }

    /// Runs a job in a transaction and waits until that is committed.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        job: impl FnOnce(&rusqlite::Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Failure> {
        let held = Held(Arc::clone(&self.bytes), bytes);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) > MAX_BYTES {
            return Err(Failure::Busy(TRY_AGAIN));
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = connection.and_then(|connection| in_savepoint(connection, job).map_err(Failure::from));
            Box::new(move |committed| {
                let outcome = done.and_then(|done| committed.map(|()| done));
                // Whoever asked may be gone.
                let _gone = answer.send(outcome);
            })
        });
        match self.jobs.try_send(Waiting { job, held }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Failure::Busy(TRY_AGAIN)),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
        }
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Failure {
    Failure::Unavailable("it is closed".to_owned())
}

async fn run(connection: Connection, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        let jobs = std::mem::take(&mut group);
        // An error here is the end of the connection's thread; then every answer is lost, and told as such.
        let _told = connection.call(move |connection| commit(connection, jobs)).await;
    }
    let _closed = connection.close().await;
}

fn commit(connection: &mut rusqlite::Connection, jobs: Vec<Waiting>) -> rusqlite::Result<()> {
    let (mut tells, mut held) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    let mut run = |connection: Result<&rusqlite::Connection, Failure>, waiting: Waiting| {
        tells.push((waiting.job)(connection));
        held.push(waiting.held);
    };
    let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => {
            for waiting in jobs {
                // A full disk takes the whole transaction back at once; what came after would stand alone.
                let gone = transaction.is_autocommit().then(|| Failure::Unavailable(TAKEN_BACK.to_owned()));
                run(gone.map_or(Ok(&transaction), Err), waiting);
            }
            transaction.commit()
        }
        Err(error) => {
            let failure = unavailable(&error);
            jobs.into_iter().for_each(|waiting| run(Err(failure.clone()), waiting));
            Err(error)
        }
    };
    // Who is told must find the room that it has left.
    drop(held);
    for tell in tells {
        tell(committed.as_ref().copied().map_err(unavailable));
    }
    committed
}

/// What the jobs of a transaction are told that another job's failure has undone.
const TAKEN_BACK: &str = "the transaction was taken back";

fn unavailable(error: &rusqlite::Error) -> Failure {
    Failure::Unavailable(error.to_string())
}

fn in_savepoint<T>(
    connection: &rusqlite::Connection,
    job: impl FnOnce(&rusqlite::Connection) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    connection.execute_batch("SAVEPOINT job")?;
    match job(connection) {
        Ok(done) => {
            connection.execute_batch("RELEASE job")?;
            Ok(done)
        }
        Err(trouble) => {
            // A full disk rolls the whole transaction back by itself; then there is no savepoint any more.
            let _gone = connection.execute_batch("ROLLBACK TO job; RELEASE job");
            Err(trouble)
        }
    }
}
