//! Evidence, states, history and facts as rows.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::{Trouble, micros, next, timestamp};
use crate::store::record::{Cell, CellKey, StateChange};
use crate::store::{Checkpoint, Entry, HistoryQuery, MAX_PAGE, Page, State, StateVersion};

/// Up to which event the cells count.
const EVENTS_UP_TO: &str = "events_up_to";

pub(super) fn save_checkpoint(connection: &Connection, checkpoint: &Checkpoint) -> Result<(), Trouble> {
    let mut put =
        connection.prepare_cached("INSERT OR REPLACE INTO cells (route, phase, part, bytes) VALUES (?, ?, ?, ?)")?;
    let mut remove = connection.prepare_cached("DELETE FROM cells WHERE route = ? AND phase = ? AND part = ?")?;
    for Cell { key: CellKey { route, phase, part }, bytes } in &checkpoint.cells {
        if bytes.is_empty() {
            remove.execute(params![&**route, phase, &**part])?;
        } else {
            put.execute(params![&**route, phase, &**part, bytes])?;
        }
    }
    Ok(set_fact(connection, EVENTS_UP_TO, &checkpoint.events_up_to.to_string())?)
}

pub(super) fn checkpoint(connection: &Connection) -> Result<Checkpoint, Trouble> {
    let mut select = connection.prepare_cached("SELECT route, phase, part, bytes FROM cells")?;
    let mut found = select.query([])?;
    let mut cells = Vec::new();
    while let Some(row) = found.next()? {
        let key = CellKey { route: row.get(0)?, phase: row.get(1)?, part: row.get(2)? };
        cells.push(Cell { key, bytes: row.get(3)? });
    }
    let events_up_to = match fact(connection, EVENTS_UP_TO)? {
        Some(text) => text.parse().map_err(|_| Trouble::Row(format!("{EVENTS_UP_TO} {text:?}")))?,
        None => 0,
    };
    Ok(Checkpoint { cells, events_up_to })
}

pub(super) fn state(connection: &Connection, route: &str) -> Result<Option<State>, Trouble> {
    let mut select = connection.prepare_cached("SELECT version, text, saved_at FROM states WHERE route = ?")?;
    let found = select.query_row([route], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))).optional()?;
    found
        .map(|(version, text, saved_at)| {
            Ok(State { version: version.cast_unsigned(), text, saved_at: timestamp(saved_at)? })
        })
        .transpose()
}

pub(super) fn all(connection: &Connection) -> Result<Vec<(Box<str>, State)>, Trouble> {
    let mut select = connection.prepare_cached("SELECT route, version, text, saved_at FROM states ORDER BY route")?;
    let mut found = select.query([])?;
    let mut states = Vec::new();
    while let Some(row) = found.next()? {
        let (version, saved_at): (i64, i64) = (row.get(1)?, row.get(3)?);
        let state = State { version: version.cast_unsigned(), text: row.get(2)?, saved_at: timestamp(saved_at)? };
        states.push((row.get(0)?, state));
    }
    Ok(states)
}

pub(super) fn save(connection: &Connection, change: &StateChange) -> Result<StateVersion, Trouble> {
    let found = state(connection, &change.route)?.map_or(0, |state| state.version);
    if found != change.expected {
        return Err(Trouble::Version(found));
    }
    let version = found + 1;
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO states (route, version, text, saved_at) VALUES (?, ?, ?, ?)")?;
    put.execute(params![&*change.route, version.cast_signed(), change.text, micros(change.now)])?;
    append_history(connection, &change.history)?;
    Ok(version)
}

pub(super) fn append_history(connection: &Connection, entries: &[Entry]) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO history (at, route, kind, actor, detail) VALUES (?, ?, ?, ?, ?)")?;
    for entry in entries {
        insert.execute(params![micros(entry.at), &*entry.route, &*entry.kind, &*entry.actor, &*entry.detail])?;
    }
    Ok(())
}

pub(super) fn history(connection: &Connection, query: &HistoryQuery) -> Result<Page<Entry>, Trouble> {
    let mut select = connection.prepare_cached(
        "SELECT number, at, route, kind, actor, detail FROM history
         WHERE (:before = 0 OR number < :before) AND (:route IS NULL OR route = :route)
         ORDER BY number DESC LIMIT :limit",
    )?;
    let limit = query.limit.min(MAX_PAGE);
    let mut found = select.query(named_params! {
        ":before": query.before.cast_signed(),
        ":route": query.route,
        ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
    })?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push((row.get::<_, i64>(0)?.cast_unsigned(), entry(row)?));
    }
    Ok(Page { next: next(&rows, limit), rows })
}

fn entry(row: &Row<'_>) -> Result<Entry, Trouble> {
    let at = timestamp(row.get(1)?)?;
    Ok(Entry { at, route: row.get(2)?, kind: row.get(3)?, actor: row.get(4)?, detail: row.get(5)? })
}

pub(super) fn keep(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<String> {
    connection
        .execute("INSERT INTO facts (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING", [name, value])?;
    Ok(fact(connection, name)?.unwrap_or_default())
}

pub(super) fn set_fact(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)")?;
    put.execute([name, value]).map(drop)
}

pub(super) fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let mut select = connection.prepare_cached("SELECT value FROM facts WHERE name = ?")?;
    select.query_row([name], |row| row.get(0)).optional()
}
