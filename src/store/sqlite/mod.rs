//! The embedded store: one SQLite file in WAL mode.
//!
//! One connection writes, in groups: everything that waits when a transaction begins goes into it, so
//! that one `fsync` serves many writers. Another reads. Both live on threads of their own
//! (tokio-rusqlite). It decides nothing about what is kept.
//!
//! Invariant: a write is answered after its transaction has been committed with `synchronous = FULL`.

pub mod backup;
mod events;
mod samples;
mod states;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::OpenFlags;
use rusqlite_migration::{M, Migrations};
use tokio_rusqlite::Connection;

use super::{
    Appended, Checkpoint, Entry, Event, EventQuery, Failure, HistoryQuery, OpenError, Page, Sample, SampleQuery, State,
    StateChange, StateVersion, Store, UserHash,
};
use writer::Writer;

/// How long a statement waits for another process, such as a backup, to let go of the file.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Pages of the write-ahead log after which it is copied into the file (4 MiB).
const CHECKPOINT_PAGES: i64 = 1_000;

/// Every schema so far; the program can also live with files that newer versions have only added to.
static MIGRATIONS: &[M<'static>] = &[M::up(include_str!("schema.sql")), M::up(include_str!("samples.sql"))];

/// See the module.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    reader: Connection,
}

impl Sqlite {
    /// Opens a file, or creates it, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is no database of ours, or a version too new has written it.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |reason: String| OpenError::Unusable { path: path.display().to_string(), reason };
        let connection = Connection::open(path).await.map_err(|error| unusable(error.to_string()))?;
        connection.call(prepare).await.map_err(|error| {
            if let tokio_rusqlite::Error::Error(Unprepared::Newer { found, known }) = error {
                OpenError::Newer { path: path.display().to_string(), found, known }
            } else {
                unusable(error.to_string())
            }
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(path, flags).await.map_err(|error| unusable(error.to_string()))?;
        let waits = reader.call(|connection| connection.busy_timeout(LOCK_WAIT)).await;
        waits.map_err(|error| unusable(error.to_string()))?;
        Ok(Self { path: path.to_owned(), writer: Writer::spawn(connection), reader })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&rusqlite::Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Failure> {
        let read = self.reader.call(move |connection| {
            // One transaction, so that all statements of a job see one moment.
            let transaction = connection.transaction()?;
            job(&transaction)
        });
        read.await.map_err(|error| {
            if let tokio_rusqlite::Error::Error(trouble) = error {
                trouble.into()
            } else {
                Failure::Unavailable(error.to_string())
            }
        })
    }
}

/// What goes wrong on a connection's own thread.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// SQLite's word.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this program would not have written.
    #[error("{0}")]
    Row(String),
    /// Another version than the expected one.
    #[error("version {0}")]
    Version(StateVersion),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Sqlite(error) => Self::Unavailable(error.to_string()),
            Trouble::Row(found) => Self::Corrupt(found),
            Trouble::Version(found) => Self::Conflict { found },
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Unprepared {
    #[error("schema {found}")]
    Newer { found: i64, known: i64 },
    #[error("it is the database of another program")]
    Foreign,
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Migration(#[from] rusqlite_migration::Error),
}

/// Sets a writing connection up and migrates. `user_version` counts migrations, and a fact tells the
/// oldest count that can live with the file, so that the version before may go on after additions.
fn prepare(connection: &mut rusqlite::Connection) -> Result<(), Unprepared> {
    connection.busy_timeout(LOCK_WAIT)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (found, owner) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && owner != APPLICATION_ID {
        return Err(Unprepared::Foreign);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        let oldest = states::fact(connection, OLDEST_READER)?.and_then(|text| text.parse().ok());
        return if oldest.is_some_and(|oldest: i64| oldest <= known) {
            Ok(())
        } else {
            Err(Unprepared::Newer { found, known })
        };
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    Migrations::from_slice(MIGRATIONS).to_latest(connection)?;
    Ok(states::set_fact(connection, OLDEST_READER, "1")?)
}

/// Marks the file as ours: "PTSM".
const APPLICATION_ID: i64 = 0x5054_534D;
/// The fact that holds how many migrations a program must know to live with the file.
const OLDEST_READER: &str = "oldest_reader";

#[async_trait]
impl Store for Sqlite {
    async fn append_events(&self, events: Vec<Event>) -> Result<Appended, Failure> {
        let bytes = events.iter().map(events::weight).sum();
        self.writer.write(bytes, move |connection| events::append(connection, &events)).await
    }

    async fn events(&self, query: EventQuery) -> Result<Page<Event>, Failure> {
        self.read(move |connection| events::page(connection, &query)).await
    }

    async fn append_samples(&self, samples: Vec<Sample>) -> Result<Appended, Failure> {
        let bytes = samples.iter().map(Sample::weight).sum();
        self.writer.write(bytes, move |connection| samples::append(connection, &samples)).await
    }

    async fn samples(&self, query: SampleQuery) -> Result<Page<Sample>, Failure> {
        self.read(move |connection| samples::page(connection, &query)).await
    }

    async fn forget_samples(&self, route: &str, before: Timestamp) -> Result<u64, Failure> {
        let route = route.to_owned();
        self.writer.write(0, move |connection| samples::forget(connection, &route, before)).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, Failure> {
        self.writer.write(0, move |connection| events::prune(connection, before)).await
    }

    async fn drop_oldest(&self) -> Result<u64, Failure> {
        self.writer.write(0, events::drop_oldest).await
    }

    async fn erase_user(&self, user: UserHash) -> Result<u64, Failure> {
        self.writer.write(0, move |connection| events::erase_user(connection, user)).await
    }

    async fn save_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        let bytes = checkpoint.cells.iter().map(|cell| cell.bytes.len()).sum();
        self.writer.write(bytes, move |connection| states::save_checkpoint(connection, &checkpoint)).await
    }

    async fn checkpoint(&self) -> Result<Checkpoint, Failure> {
        self.read(states::checkpoint).await
    }

    async fn state(&self, route: &str) -> Result<Option<State>, Failure> {
        let route = route.to_owned();
        self.read(move |connection| states::state(connection, &route)).await
    }

    async fn states(&self) -> Result<Vec<(Box<str>, State)>, Failure> {
        self.read(states::all).await
    }

    async fn save_state(&self, change: StateChange) -> Result<StateVersion, Failure> {
        let bytes = change.text.len();
        self.writer.write(bytes, move |connection| states::save(connection, &change)).await
    }

    async fn append_history(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        let bytes = entries.iter().map(|entry| entry.detail.len()).sum();
        self.writer.write(bytes, move |connection| Ok(states::append_history(connection, &entries)?)).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<Page<Entry>, Failure> {
        self.read(move |connection| states::history(connection, &query)).await
    }

    async fn keep(&self, name: &'static str, value: String) -> Result<String, Failure> {
        self.writer.write(value.len(), move |connection| Ok(states::keep(connection, name, &value)?)).await
    }

    async fn back_up(&self, to: &Path) -> Result<(), Failure> {
        let to = to.to_str().ok_or(Failure::Unsupported("a path that is not Unicode"))?.to_owned();
        let copied = self.reader.call(move |connection| connection.execute("VACUUM INTO ?1", [to]).map(drop));
        copied.await.map_err(|error| Failure::Unavailable(error.to_string()))
    }

    async fn size(&self) -> Result<u64, Failure> {
        self.read(|connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            let bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            Ok(u64::try_from((pages - free) * bytes).unwrap_or(0))
        })
        .await
    }
}

/// Microseconds since 1970, as times stand in the file.
fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn timestamp(micros: i64) -> Result<Timestamp, Trouble> {
    Timestamp::from_microsecond(micros).map_err(|_| Trouble::Row(format!("{micros} is no time")))
}

/// Where a page goes on: after its last row, if there may be more.
fn next<T>(rows: &[(u64, T)], limit: usize) -> Option<u64> {
    (rows.len() >= limit).then(|| rows.last().map(|(number, _)| *number)).flatten()
}

#[cfg(test)]
mod tests;
