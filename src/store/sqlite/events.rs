//! Events as rows.

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params, params};

use super::{Trouble, micros, next, timestamp};
use crate::domain::Arm;
use crate::store::record::Attribution;
use crate::store::{Appended, Event, EventQuery, Page, UserHash};

/// Bytes of an event in the queue, roughly.
pub(super) fn weight(event: &Event) -> usize {
    size_of::<Event>() + event.id.len() + event.name.len() + event.data.len()
}

pub(super) fn append(connection: &Connection, events: &[Event]) -> Result<Appended, Trouble> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (id, name, at, received_at, user, route, arm, phase, rule, randomised, bucket, sample,
                             value, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let mut stored = 0;
    for event in events {
        let to = event.attribution.as_ref();
        stored += insert.execute(params![
            &*event.id,
            &*event.name,
            micros(event.at),
            micros(event.received_at),
            event.user.map(|user| user.0),
            to.map(|to| &*to.route),
            to.map(|to| to.arm == Arm::Candidate),
            to.map(|to| to.phase),
            to.and_then(|to| to.rule),
            to.and_then(|to| to.randomised),
            to.map(|to| to.bucket),
            to.map(|to| to.sample.cast_signed()),
            event.value,
            &*event.data,
        ])?;
    }
    let last: Option<i64> =
        connection.prepare_cached("SELECT max(number) FROM events")?.query_row([], |row| row.get(0))?;
    Ok(Appended { stored, duplicates: events.len() - stored, last: last.unwrap_or(0).cast_unsigned() })
}

pub(super) fn page(connection: &Connection, query: &EventQuery) -> Result<Page<Event>, Trouble> {
    let mut select = connection.prepare_cached(
        "SELECT number, id, name, at, received_at, user, route, arm, phase, rule, randomised, bucket, sample, value,
                data
         FROM events
         WHERE number > :after AND (:name IS NULL OR name = :name) AND (:route IS NULL OR route = :route)
           AND (:start IS NULL OR at >= :start) AND (:end IS NULL OR at < :end)
         ORDER BY number LIMIT :limit",
    )?;
    let limit = query.limit.min(crate::store::MAX_PAGE);
    let mut found = select.query(named_params! {
        ":after": query.after.cast_signed(),
        ":name": query.name,
        ":route": query.route,
        ":start": query.start.map(micros),
        ":end": query.end.map(micros),
        ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
    })?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push((row.get::<_, i64>(0)?.cast_unsigned(), event(row)?));
    }
    Ok(Page { next: next(&rows, limit), rows })
}

fn event(row: &Row<'_>) -> Result<Event, Trouble> {
    Ok(Event {
        id: row.get(1)?,
        name: row.get(2)?,
        at: timestamp(row.get(3)?)?,
        received_at: timestamp(row.get(4)?)?,
        user: row.get::<_, Option<[u8; 16]>>(5)?.map(UserHash),
        attribution: attribution(row)?,
        value: row.get(13)?,
        data: row.get(14)?,
    })
}

fn attribution(row: &Row<'_>) -> Result<Option<Attribution>, Trouble> {
    let Some(route) = row.get(6)? else { return Ok(None) };
    let number: u8 = row.get(7)?;
    let arm = Arm::ALL.get(usize::from(number)).copied().ok_or_else(|| Trouble::Row(format!("an arm {number}")))?;
    Ok(Some(Attribution {
        route,
        arm,
        phase: row.get(8)?,
        rule: row.get(9)?,
        randomised: row.get(10)?,
        bucket: row.get(11)?,
        sample: row.get::<_, i64>(12)?.cast_unsigned(),
    }))
}

/// Removes what happened before, the history among it.
pub(super) fn prune(connection: &Connection, before: Timestamp) -> Result<u64, Trouble> {
    let events = connection.execute("DELETE FROM events WHERE at < ?1", [micros(before)])?;
    let samples = connection.execute("DELETE FROM samples WHERE at < ?1", [micros(before)])?;
    let entries = connection.execute("DELETE FROM history WHERE at < ?1", [micros(before)])?;
    Ok((events + samples + entries) as u64)
}

/// Removes the oldest tenth of each by number; numbers that are gone already count among it.
pub(super) fn drop_oldest(connection: &Connection) -> Result<u64, Trouble> {
    let mut removed = 0;
    for table in ["events", "samples"] {
        let oldest = format!("SELECT min(number) + (max(number) - min(number)) / 10 FROM {table}");
        removed += connection.execute(&format!("DELETE FROM {table} WHERE number <= ({oldest})"), [])?;
    }
    Ok(removed as u64)
}

pub(super) fn erase_user(connection: &Connection, user: UserHash) -> Result<u64, Trouble> {
    let events = connection.execute("DELETE FROM events WHERE user = ?1", [user.0])?;
    Ok((events + connection.execute("DELETE FROM samples WHERE user = ?1", [user.0])?) as u64)
}
