//! What every engine must do: the same checks for all of them.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};

use super::memory::Memory;
use super::sqlite::Sqlite;
use super::*;
use crate::domain::Arm;

/// An engine, with the folder that lives as long as it.
type Engine = (Arc<dyn Store>, tempfile::TempDir);

async fn engines() -> Vec<Engine> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&folder.path().join("pointsman.db")).await.unwrap();
    vec![(Arc::new(sqlite), folder), (Arc::new(Memory::default()), tempfile::tempdir().unwrap())]
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap() + second.seconds()
}

pub(super) fn event(id: &str, second: i64) -> Event {
    Event {
        id: id.into(),
        name: "chatbot.message.sent".into(),
        at: at(second),
        received_at: at(second + 1),
        user: Some(UserHash([7; 16])),
        attribution: Some(Attribution {
            route: "answers".into(),
            arm: Arm::Candidate,
            phase: 3,
            rule: Some(2),
            randomised: Some(12.5),
            bucket: 1023,
            sample: u64::MAX,
        }),
        value: Some(0.25),
        data: r#"{"cost":0.25,"text":"naïve ' \" \u0000"}"#.into(),
    }
}

pub(super) fn sample(id: &str, second: i64) -> Sample {
    Sample {
        id: id.into(),
        at: at(second),
        user: Some(UserHash([7; 16])),
        route: "answers".into(),
        assigned: Arm::Candidate,
        served: Arm::Control,
        phase: 3,
        reason: "fallback".into(),
        request_id: "r-1".into(),
        method: "POST".into(),
        path: "/query".into(),
        status: 200,
        duration_micros: 1_234,
        request: r#"{"query":"naïve ' \" \u0000"}"#.into(),
        response: "".into(),
    }
}

fn bare(id: &str, second: i64) -> Event {
    Event { name: "other".into(), user: None, attribution: None, value: None, data: "".into(), ..event(id, second) }
}

fn entry(route: &str, second: i64) -> Entry {
    let (kind, actor, detail) = ("promoted".into(), "deploy".into(), r#"{"percent":25}"#.into());
    Entry { at: at(second), route: route.into(), kind, actor, detail }
}

fn everything() -> EventQuery {
    EventQuery { limit: 100, ..EventQuery::default() }
}

fn cell(route: &str, phase: u32, bytes: &[u8]) -> Cell {
    Cell { key: CellKey { route: route.into(), phase, part: "0/control/quality".into() }, bytes: bytes.to_vec() }
}

fn change(expected: StateVersion, text: &str) -> StateChange {
    let history = vec![entry("answers", expected.cast_signed())];
    StateChange { route: "answers".into(), expected, text: text.into(), now: at(9), history }
}

fn ids(page: &Page<Event>) -> Vec<&str> {
    page.rows.iter().map(|(_, event)| &*event.id).collect()
}

#[tokio::test]
async fn events_come_back_as_they_were_and_once() {
    for (store, _folder) in engines().await {
        let appended = store.append_events(vec![event("a", 1), bare("b", 2), event("a", 1)]).await.unwrap();
        assert_eq!(appended, Appended { stored: 2, duplicates: 1, last: 2 }, "{store:?}");
        let again = store.append_events(vec![event("b", 5)]).await.unwrap();
        assert_eq!((again.stored, again.duplicates, again.last), (0, 1, 2), "{store:?}");
        let page = store.events(everything()).await.unwrap();
        assert_eq!(page, Page { rows: vec![(1, event("a", 1)), (2, bare("b", 2))], next: None }, "{store:?}");
        assert_eq!(store.append_events(Vec::new()).await.unwrap().stored, 0, "{store:?}");
    }
}

#[tokio::test]
async fn queries_choose_and_pages_follow_each_other() {
    for (store, _folder) in engines().await {
        let events = (0..5).map(|n| if n % 2 == 0 { event(&n.to_string(), n) } else { bare(&n.to_string(), n) });
        store.append_events(events.collect()).await.unwrap();
        let rows: [(EventQuery, &[&str]); 6] = [
            (EventQuery { name: Some("other".into()), ..everything() }, &["1", "3"]),
            (EventQuery { route: Some("answers".into()), ..everything() }, &["0", "2", "4"]),
            (EventQuery { start: Some(at(1)), end: Some(at(4)), ..everything() }, &["1", "2", "3"]),
            (EventQuery { after: 3, ..everything() }, &["3", "4"]),
            (EventQuery { route: Some("x' OR 1=1 --".into()), ..everything() }, &[]),
            (EventQuery { limit: 0, ..everything() }, &[]),
        ];
        for (query, expected) in rows {
            assert_eq!(ids(&store.events(query.clone()).await.unwrap()), expected, "{store:?} {query:?}");
        }
        let (mut after, mut seen) = (0, Vec::new());
        loop {
            let page = store.events(EventQuery { after, limit: 2, ..everything() }).await.unwrap();
            seen.extend(page.rows.iter().map(|(_, event)| event.id.clone()));
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(seen.concat(), "01234", "{store:?}");
    }
}

#[tokio::test]
async fn what_is_old_and_what_belongs_to_a_user_can_be_removed() {
    for (store, _folder) in engines().await {
        store.append_events(vec![event("old", 1), event("new", 9), bare("nobody", 9)]).await.unwrap();
        store.append_history(vec![entry("answers", 1), entry("answers", 9)]).await.unwrap();
        assert_eq!(store.prune(at(5)).await.unwrap(), 2, "{store:?}");
        assert_eq!(ids(&store.events(everything()).await.unwrap()), ["new", "nobody"], "{store:?}");
        assert_eq!(store.erase_user(UserHash([1; 16])).await.unwrap(), 0, "{store:?}");
        assert_eq!(store.erase_user(UserHash([7; 16])).await.unwrap(), 1, "{store:?}");
        assert_eq!(ids(&store.events(everything()).await.unwrap()), ["nobody"], "{store:?}");
        let last = store.append_events(vec![event("new", 9)]).await.unwrap();
        assert_eq!((last.stored, last.last), (1, 4), "numbers are never given twice: {store:?}");
    }
}

#[tokio::test]
async fn the_oldest_tenth_can_be_dropped_until_nothing_is_left() {
    for (store, _folder) in engines().await {
        store.append_events((0..20).map(|n| event(&n.to_string(), 1)).collect()).await.unwrap();
        let dropped = store.drop_oldest().await.unwrap();
        assert_eq!(dropped, 2, "{store:?}");
        assert_eq!(ids(&store.events(everything()).await.unwrap())[..2], ["2", "3"], "{store:?}");
        let mut left = 18;
        while left > 0 {
            let dropped = store.drop_oldest().await.unwrap();
            assert!(dropped > 0, "{store:?}");
            left -= dropped;
        }
        assert_eq!(store.drop_oldest().await.unwrap(), 0, "{store:?}");
        assert_eq!(store.append_events(vec![event("2", 1)]).await.unwrap().stored, 1, "{store:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_replaces_its_cells_and_no_others() {
    for (store, _folder) in engines().await {
        assert_eq!(store.checkpoint().await.unwrap(), Checkpoint::default(), "{store:?}");
        let first = vec![cell("answers", 1, b"one"), cell("answers", 2, b"two"), cell("other", 1, b"three")];
        store.save_checkpoint(Checkpoint { cells: first, events_up_to: 7 }).await.unwrap();
        let second = vec![cell("answers", 1, b""), cell("answers", 2, b"TWO")];
        store.save_checkpoint(Checkpoint { cells: second, events_up_to: 9 }).await.unwrap();
        let mut found = store.checkpoint().await.unwrap();
        found.cells.sort_by(|a, b| a.key.cmp(&b.key));
        let expected =
            Checkpoint { cells: vec![cell("answers", 2, b"TWO"), cell("other", 1, b"three")], events_up_to: 9 };
        assert_eq!(found, expected, "{store:?}");
    }
}

#[tokio::test]
async fn of_two_writers_of_a_state_the_one_that_read_last_wins() {
    for (store, _folder) in engines().await {
        assert_eq!(store.state("answers").await.unwrap(), None, "{store:?}");
        assert_eq!(store.save_state(change(0, "draft")).await.unwrap(), 1, "{store:?}");
        assert_eq!(store.save_state(change(1, "running")).await.unwrap(), 2, "{store:?}");
        for expected in [0, 1, 3] {
            let refused = store.save_state(change(expected, "lost")).await;
            assert_eq!(refused, Err(Failure::Conflict { found: 2 }), "{store:?} {expected}");
        }
        let state = store.state("answers").await.unwrap().unwrap();
        assert_eq!(state, State { version: 2, text: "running".into(), saved_at: at(9) }, "{store:?}");
        let history = store.history(HistoryQuery { limit: 9, ..HistoryQuery::default() }).await.unwrap();
        assert_eq!(history.rows.len(), 2, "a refused change leaves nothing in the history: {store:?}");
    }
}

#[tokio::test]
async fn many_writers_at_once_lose_nothing_and_one_of_each_version_wins() {
    for (store, _folder) in engines().await {
        let writers = (0..32).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.append_events(vec![event(&format!("e{n}"), n), event("same", 0)]).await.unwrap();
                store.save_state(change(0, &n.to_string())).await.is_ok()
            })
        });
        let mut winners = 0;
        for writer in writers.collect::<Vec<_>>() {
            winners += usize::from(writer.await.unwrap());
        }
        assert_eq!(winners, 1, "{store:?}");
        assert_eq!(store.events(everything()).await.unwrap().rows.len(), 33, "{store:?}");
    }
}

#[tokio::test]
async fn the_history_is_read_from_its_end() {
    for (store, _folder) in engines().await {
        store
            .append_history((0..5).map(|n| entry(if n == 2 { "other" } else { "answers" }, n)).collect())
            .await
            .unwrap();
        let query = HistoryQuery { route: Some("answers".into()), before: 0, limit: 3 };
        let page = store.history(query.clone()).await.unwrap();
        let numbers = |page: &Page<Entry>| page.rows.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!((numbers(&page), page.next), (vec![5, 4, 2], Some(2)), "{store:?}");
        assert_eq!(page.rows[0].1, entry("answers", 4), "{store:?}");
        let rest = store.history(HistoryQuery { before: 2, ..query }).await.unwrap();
        assert_eq!((numbers(&rest), rest.next), (vec![1], None), "{store:?}");
    }
}

#[tokio::test]
async fn a_fact_is_kept_as_it_was_first_written() {
    for (store, _folder) in engines().await {
        assert_eq!(store.keep("user_hash_secret", "one".into()).await.unwrap(), "one", "{store:?}");
        assert_eq!(store.keep("user_hash_secret", "two".into()).await.unwrap(), "one", "{store:?}");
        assert!(store.size().await.unwrap() < 1 << 20, "{store:?}");
    }
}

#[tokio::test]
async fn kept_exchanges_come_back_as_they_were_and_go_by_age_route_and_user() {
    for (store, _folder) in engines().await {
        let other = |id: &str, second| Sample { route: "other".into(), user: None, ..sample(id, second) };
        let kept = store.append_samples(vec![sample("a", 1), other("b", 2), sample("a", 1)]).await.unwrap();
        assert_eq!(kept, Appended { stored: 2, duplicates: 1, last: 2 }, "{store:?}");
        let everything = SampleQuery { limit: 100, ..SampleQuery::default() };
        let page = store.samples(everything.clone()).await.unwrap();
        assert_eq!(page, Page { rows: vec![(1, sample("a", 1)), (2, other("b", 2))], next: None }, "{store:?}");
        assert_eq!(store.append_samples(Vec::new()).await.unwrap().last, 2, "{store:?}");
        store.append_samples((3..9).map(|n| sample(&n.to_string(), n)).collect()).await.unwrap();
        let rows: [(SampleQuery, &[&str]); 4] = [
            (SampleQuery { route: Some("other".into()), ..everything.clone() }, &["b"]),
            (SampleQuery { start: Some(at(2)), end: Some(at(4)), ..everything.clone() }, &["b", "3"]),
            (
                SampleQuery { after: 2, route: Some("answers".into()), ..everything.clone() },
                &["3", "4", "5", "6", "7", "8"],
            ),
            (SampleQuery { limit: 2, ..everything.clone() }, &["a", "b"]),
        ];
        for (query, expected) in rows {
            let page = store.samples(query.clone()).await.unwrap();
            let ids: Vec<&str> = page.rows.iter().map(|(_, sample)| &*sample.id).collect();
            assert_eq!(ids, expected, "{store:?} {query:?}");
            assert_eq!(page.next.is_some(), query.limit == 2, "{store:?} {query:?}");
        }
        assert_eq!(store.forget_samples("answers", at(4)).await.unwrap(), 2, "{store:?}");
        assert_eq!(store.prune(at(5)).await.unwrap(), 2, "what is older than anything kept: {store:?}");
        assert_eq!(store.drop_oldest().await.unwrap(), 1, "{store:?}");
        store.append_events(vec![event("e", 9)]).await.unwrap();
        assert_eq!(store.erase_user(UserHash([7; 16])).await.unwrap(), 4, "{store:?}");
        assert_eq!(store.samples(everything).await.unwrap().rows, [], "{store:?}");
    }
}
