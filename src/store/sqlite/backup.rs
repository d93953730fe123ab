//! Copies of a store's file, and a copy in the place of a store: what commands do beside the gateway.
//!
//! It blocks, and opens connections of its own, so that a gateway can go on writing meanwhile.
//! Invariants: what is copied is not changed; a store is replaced only while nobody has it open, and
//! what replaces it was looked through before.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{APPLICATION_ID, LOCK_WAIT, MIGRATIONS, OLDEST_READER, states};

/// Why a copy was not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no such file.
    #[error("there is no store at {0}")]
    Missing(String),
    /// It is a database of something else, or none.
    #[error("{0} is no store of this program")]
    Foreign(String),
    /// A newer program wrote it.
    #[error("{path} was written by a newer version (schema {found}, known {known})")]
    Newer {
        /// Which file.
        path: String,
        /// Its schema.
        found: i64,
        /// The newest that this program can live with.
        known: i64,
    },
    /// It is damaged.
    #[error("{path} is damaged: {found}")]
    Damaged {
        /// Which file.
        path: String,
        /// What SQLite's own check found first.
        found: String,
    },
    /// A gateway, or another program, has it open.
    #[error("{0} is in use: stop the gateway first")]
    InUse(String),
    /// SQLite's word.
    #[error("{path}: {source}")]
    Sqlite {
        /// Which file.
        path: String,
        /// What it says.
        source: rusqlite::Error,
    },
    /// The system's word.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What it says.
        source: std::io::Error,
    },
}

/// Writes a whole, consistent copy of a store to `to`, which must not exist or be empty, and sees it on disk.
/// A gateway that uses the store goes on meanwhile. Returns how many events are in the copy.
///
/// # Errors
/// When there is no store of a known schema, or the copy cannot be written.
pub fn copy(store: &Path, to: &Path) -> Result<u64, CopyError> {
    let connection = open(store)?;
    let target = to.to_str().ok_or_else(|| CopyError::Foreign(shown(to)))?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(|source| CopyError::Sqlite { path: shown(to), source })?;
    // SQLite leaves this to who asked for the copy.
    let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|source| CopyError::Io { path: shown(to), source })?;
    check(to)
}

/// Looks a store through that nobody writes; returns how many events are in it.
///
/// # Errors
/// When it is none, of an unknown schema, or damaged.
pub fn check(store: &Path) -> Result<u64, CopyError> {
    let connection = open(store)?;
    let failed = |source| CopyError::Sqlite { path: shown(store), source };
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(CopyError::Damaged { path: shown(store), found });
    }
    let events = connection.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0));
    events.map(i64::cast_unsigned).map_err(failed)
}

/// Puts a file, which was looked through, in the place of a store that nobody has open, or of none.
///
/// # Errors
/// When the store is in use, or the file cannot be put there; then the store is as it was.
pub fn replace(store: &Path, with: &Path) -> Result<(), CopyError> {
    if store.exists() {
        settle(store)?;
    }
    std::fs::rename(with, store).map_err(|source| CopyError::Io { path: shown(store), source })?;
    for end in ["-wal", "-shm"] {
        // What is left of the old store's log would be laid over the new one; mostly there is nothing.
        let _gone = std::fs::remove_file(beside(store, end));
    }
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| CopyError::Io { path: shown(folder), source })
}

/// Makes sure that nobody has a store open, and brings its log into it.
fn settle(store: &Path) -> Result<(), CopyError> {
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Err(CopyError::InUse(shown(store))),
        // What cannot be read is nothing that could be kept, and cannot be used by anybody.
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(()),
        Some(_) | None => Err(CopyError::Sqlite { path: shown(store), source }),
    };
    let exclusive = || {
        let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Everybody who uses a store in WAL mode holds a shared lock of its file for as long as it is open.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    exclusive().or_else(failed)
}

/// Opens a store of a known schema, to read.
fn open(store: &Path) -> Result<Connection, CopyError> {
    if !store.exists() {
        return Err(CopyError::Missing(shown(store)));
    }
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => CopyError::Foreign(shown(store)),
        Some(_) | None => CopyError::Sqlite { path: shown(store), source },
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(store, flags).map_err(failed)?;
    connection.busy_timeout(LOCK_WAIT).map_err(failed)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let (found, owner) = (pragma("user_version")?, pragma("application_id")?);
    if owner != APPLICATION_ID || found == 0 {
        return Err(CopyError::Foreign(shown(store)));
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let oldest = states::fact(&connection, OLDEST_READER).map_err(failed)?.and_then(|text| text.parse().ok());
    if found > known && oldest.is_none_or(|oldest: i64| oldest > known) {
        return Err(CopyError::Newer { path: shown(store), found, known });
    }
    Ok(connection)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::event;
    use crate::store::sqlite::Sqlite;
    use crate::store::{EventQuery, Store as _};

    #[tokio::test]
    async fn a_copy_is_made_while_the_store_is_in_use_and_put_back_when_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, to) = (folder.path().join("pointsman.db"), folder.path().join("copy.db"));
        let store = Sqlite::open(&path).await.unwrap();
        store.append_events(vec![event("a", 1), event("b", 2)]).await.unwrap();
        assert_eq!(copy(&path, &to).unwrap(), 2);
        assert!(matches!(copy(&path, &to), Err(CopyError::Sqlite { .. })), "nothing is written over");
        store.append_events(vec![event("c", 3)]).await.unwrap();
        assert!(matches!(replace(&path, &to), Err(CopyError::InUse(_))));
        assert!(to.exists() && store.append_events(vec![event("d", 4)]).await.is_ok(), "it is as it was");
        let copied = folder.path().join("again.db");
        std::fs::copy(&to, &copied).unwrap();
        drop(store);
        // Its threads close it after it was dropped.
        while let Err(error) = replace(&path, &to) {
            assert!(matches!(error, CopyError::InUse(_)), "{error}");
            tokio::task::yield_now().await;
        }
        let store = Sqlite::open(&path).await.unwrap();
        let page = store.events(EventQuery { limit: 10, ..EventQuery::default() }).await.unwrap();
        assert_eq!(page.rows, [(1, event("a", 1)), (2, event("b", 2))]);
        assert_eq!(check(&copied).unwrap(), 2);
    }

    #[tokio::test]
    async fn what_is_no_whole_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(matches!(check(&path("none.db")), Err(CopyError::Missing(_))));
        std::fs::write(
            path("text.db"),
            "a text that is longer than the header of a database, which has 100 bytes: it goes on and on",
        )
        .unwrap();
        assert!(matches!(check(&path("text.db")), Err(CopyError::Foreign(_))));
        std::fs::write(path("empty.db"), "").unwrap();
        assert!(matches!(check(&path("empty.db")), Err(CopyError::Foreign(_))));
        Connection::open(path("foreign.db")).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(matches!(check(&path("foreign.db")), Err(CopyError::Foreign(_))));
        let store = Sqlite::open(&path("store.db")).await.unwrap();
        let events = (0..500).map(|n| event(&n.to_string(), n)).collect();
        store.append_events(events).await.unwrap();
        copy(&path("store.db"), &path("whole.db")).unwrap();
        let bytes = std::fs::read(path("whole.db")).unwrap();
        std::fs::write(path("short.db"), &bytes[..bytes.len() / 2]).unwrap();
        assert!(check(&path("short.db")).is_err());
        let newer = Connection::open(path("whole.db")).unwrap();
        newer.pragma_update(None, "user_version", 9).unwrap();
        newer.execute("UPDATE facts SET value = '9' WHERE name = 'oldest_reader'", []).unwrap();
        drop(newer);
        assert!(matches!(check(&path("whole.db")), Err(CopyError::Newer { found: 9, .. })));
    }
}
