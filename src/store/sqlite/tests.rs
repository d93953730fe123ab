use super::*;
use crate::store::conformance::{at, event};
use crate::store::{MAX_BATCH, record::CellKey};

async fn open(folder: &tempfile::TempDir) -> Sqlite {
    Sqlite::open(&folder.path().join("pointsman.db")).await.unwrap()
}

fn everything() -> EventQuery {
    EventQuery { limit: 10_000, ..EventQuery::default() }
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.append_events(vec![event("a", 1)]).await.unwrap();
    store
        .save_state(StateChange { route: "r".into(), expected: 0, text: "t".into(), now: at(0), history: vec![] })
        .await
        .unwrap();
    assert_eq!(store.keep("secret", "s".into()).await.unwrap(), "s");
    drop(store);
    let store = open(&folder).await;
    assert_eq!(store.events(everything()).await.unwrap().rows, [(1, event("a", 1))]);
    assert_eq!(store.state("r").await.unwrap().unwrap().version, 1);
    assert_eq!(store.keep("secret", "other".into()).await.unwrap(), "s");
}

#[tokio::test]
async fn a_full_disk_refuses_loudly_changes_nothing_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.append_events(vec![event("a", 1)]).await.unwrap();
    let limit = |pages: i64| {
        store.writer.write(0, move |connection| Ok(connection.pragma_update(None, "max_page_count", pages)?))
    };
    limit(1).await.unwrap();
    let many = |from: usize| (from..from + MAX_BATCH).map(|n| event(&n.to_string(), 1)).collect::<Vec<_>>();
    let (full, beside) = tokio::join!(store.append_events(many(0)), store.append_events(vec![event("b", 1)]));
    assert!(matches!(full, Err(Failure::Unavailable(_))), "{full:?}");
    let kept = if beside.is_ok() { 2 } else { 1 };
    assert_eq!(
        store.events(everything()).await.unwrap().rows.len(),
        kept,
        "what was refused has left nothing: {beside:?}"
    );
    limit(1_000_000).await.unwrap();
    assert_eq!(store.append_events(many(0)).await.unwrap().stored, MAX_BATCH);
}

#[tokio::test]
async fn a_newer_schema_is_refused_unless_it_says_that_this_program_may_go_on() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder).await);
    let path = folder.path().join("pointsman.db");
    let set = |version: i64, oldest: i64| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS added_later (a)").unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        connection.execute("UPDATE facts SET value = ? WHERE name = 'oldest_reader'", [oldest.to_string()]).unwrap();
    };
    let known = i64::try_from(MIGRATIONS.len()).unwrap();
    set(known + 1, 1);
    open(&folder).await.append_events(vec![event("a", 1)]).await.unwrap();
    set(known + 2, known + 1);
    let refused = Sqlite::open(&path).await.unwrap_err();
    let told = matches!(refused, OpenError::Newer { found, known: told, .. } if (found, told) == (known + 2, known));
    assert!(told, "{refused}");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pointsman.db");
    std::fs::write(&path, "this is a text, and not a short one: longer than the header of a database, at least")
        .unwrap();
    assert!(matches!(Sqlite::open(&path).await, Err(OpenError::Unusable { .. })));
    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    for path in [foreign, folder.path().join("no/such/folder.db")] {
        assert!(matches!(Sqlite::open(&path).await, Err(OpenError::Unusable { .. })), "{path:?}");
    }
}

#[tokio::test]
async fn rows_that_this_program_would_not_write_are_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.append_events(vec![event("a", 1)]).await.unwrap();
    store.writer.write(0, |connection| Ok(connection.execute_batch("UPDATE events SET arm = 7")?)).await.unwrap();
    let read = store.events(everything()).await;
    assert!(matches!(read, Err(Failure::Corrupt(_))), "{read:?}");
}

#[tokio::test]
async fn a_backup_is_a_whole_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let key = CellKey { route: "r".into(), phase: 1, part: "p".into() };
    let cells = vec![crate::store::Cell { key, bytes: vec![1, 2, 3] }];
    store.save_checkpoint(Checkpoint { cells, events_up_to: 1 }).await.unwrap();
    store.append_events(vec![event("a", 1)]).await.unwrap();
    let copy = folder.path().join("copy.db");
    store.back_up(&copy).await.unwrap();
    assert!(store.back_up(&copy).await.is_err(), "nothing is written over");
    store.append_events(vec![event("b", 1)]).await.unwrap();
    let copy = Sqlite::open(&copy).await.unwrap();
    assert_eq!(copy.events(everything()).await.unwrap().rows, [(1, event("a", 1))]);
    assert_eq!(copy.checkpoint().await.unwrap(), store.checkpoint().await.unwrap());
}

#[tokio::test]
async fn beyond_its_queue_it_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let huge = |id: &str| vec![crate::store::Event { data: "x".repeat(33 << 20).into(), ..event(id, 1) }];
    let (a, b, c) =
        tokio::join!(store.append_events(huge("a")), store.append_events(huge("b")), store.append_events(huge("c")));
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    assert!(matches!(c, Err(Failure::Busy(_))), "{c:?}");
    assert!(store.append_events(vec![event("d", 1)]).await.is_ok());
}
