//! Kept exchanges as rows.

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params, params};

use super::{Trouble, micros, next, timestamp};
use crate::domain::Arm;
use crate::store::{Appended, Page, Sample, SampleQuery, UserHash};

pub(super) fn append(connection: &Connection, samples: &[Sample]) -> Result<Appended, Trouble> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO samples (id, at, user, route, assigned, served, phase, reason, request_id, method, path, status,
                              duration, request, response)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let mut stored = 0;
    for sample in samples {
        stored += insert.execute(params![
            &*sample.id,
            micros(sample.at),
            sample.user.map(|user| user.0),
            &*sample.route,
            sample.assigned == Arm::Candidate,
            sample.served == Arm::Candidate,
            sample.phase,
            &*sample.reason,
            &*sample.request_id,
            &*sample.method,
            &*sample.path,
            sample.status,
            i64::try_from(sample.duration_micros).unwrap_or(i64::MAX),
            &*sample.request,
            &*sample.response,
        ])?;
    }
    let last: Option<i64> =
        connection.prepare_cached("SELECT max(number) FROM samples")?.query_row([], |row| row.get(0))?;
    Ok(Appended { stored, duplicates: samples.len() - stored, last: last.unwrap_or(0).cast_unsigned() })
}

pub(super) fn page(connection: &Connection, query: &SampleQuery) -> Result<Page<Sample>, Trouble> {
    let mut select = connection.prepare_cached(
        "SELECT number, id, at, user, route, assigned, served, phase, reason, request_id, method, path, status,
                duration, request, response
         FROM samples
         WHERE number > :after AND (:route IS NULL OR route = :route)
           AND (:start IS NULL OR at >= :start) AND (:end IS NULL OR at < :end)
         ORDER BY number LIMIT :limit",
    )?;
    let limit = query.limit.min(crate::store::MAX_PAGE);
    let mut found = select.query(named_params! {
        ":after": query.after.cast_signed(),
        ":route": query.route,
        ":start": query.start.map(micros),
        ":end": query.end.map(micros),
        ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
    })?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push((row.get::<_, i64>(0)?.cast_unsigned(), sample(row)?));
    }
    Ok(Page { next: next(&rows, limit), rows })
}

fn sample(row: &Row<'_>) -> Result<Sample, Trouble> {
    Ok(Sample {
        id: row.get(1)?,
        at: timestamp(row.get(2)?)?,
        user: row.get::<_, Option<[u8; 16]>>(3)?.map(UserHash),
        route: row.get(4)?,
        assigned: arm(row.get(5)?)?,
        served: arm(row.get(6)?)?,
        phase: row.get(7)?,
        reason: row.get(8)?,
        request_id: row.get(9)?,
        method: row.get(10)?,
        path: row.get(11)?,
        status: row.get(12)?,
        duration_micros: row.get::<_, i64>(13)?.cast_unsigned(),
        request: row.get(14)?,
        response: row.get(15)?,
    })
}

fn arm(number: u8) -> Result<Arm, Trouble> {
    Arm::ALL.get(usize::from(number)).copied().ok_or_else(|| Trouble::Row(format!("an arm {number}")))
}

pub(super) fn forget(connection: &Connection, route: &str, before: Timestamp) -> Result<u64, Trouble> {
    let mut delete = connection.prepare_cached("DELETE FROM samples WHERE route = ?1 AND at < ?2")?;
    Ok(delete.execute(params![route, micros(before)])? as u64)
}
