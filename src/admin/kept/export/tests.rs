use http_body_util::BodyExt as _;

use super::*;
use crate::store::Event;
use crate::store::memory::Memory;

fn event(id: &str, name: &str, value: Option<f64>, data: &str) -> Event {
    let at = "2026-11-20T08:00:00Z".parse().unwrap();
    let (id, name, data) = (id.into(), name.into(), data.into());
    Event { id, name, at, received_at: at, user: None, attribution: None, value, data }
}

async fn attached(events: Vec<Event>) -> Arc<Attached> {
    let (store, memory) = (Attached::default(), Memory::default());
    let last = memory.append_events(events).await.unwrap().last;
    store.attach(Arc::new(memory), last);
    Arc::new(store)
}

/// The whole body, or that it broke off.
async fn exported(store: Arc<Attached>, format: Format, last: Option<Cursor>) -> Result<String, ()> {
    let (pieces, body) = mpsc::channel(1);
    let last = last.unwrap_or_else(|| *store.stored().borrow());
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let query = EventQuery { limit: 2, ..EventQuery::default() };
    tokio::spawn(feed(store, What::Events(query), last, Encoder { format, rows: 0 }, pieces, place));
    let body = Pieces { pieces: body, ended: false }.collect().await.map_err(|BrokenOff| ())?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn every_format_has_every_event_also_none() {
    for count in [0, 1, 2, 5] {
        let events = (0..count).map(|n| event(&n.to_string(), "n", Some(-0.5), "{\"a\":[1,\"x,\\\"y\"]}")).collect();
        let store = attached(events).await;
        let json: Value =
            serde_json::from_str(&exported(Arc::clone(&store), Format::Json, None).await.unwrap()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), count);
        let lines = exported(Arc::clone(&store), Format::Ndjson, None).await.unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(Value::from(lines), json);
        let text = exported(store, Format::Csv, None).await.unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), count);
        for (index, row) in rows.iter().enumerate() {
            assert_eq!((&row[0], &row[2], &row[12]), (&*(index + 1).to_string(), &*index.to_string(), "-0.5"));
            assert_eq!(&row[13], r#"{"a":[1,"x,\"y"]}"#);
        }
    }
}

#[tokio::test]
async fn what_came_after_the_beginning_is_left_out() {
    let store = attached((0..6).map(|n| event(&n.to_string(), "n", None, "")).collect()).await;
    for last in 0..=6 {
        let lines = exported(Arc::clone(&store), Format::Ndjson, Some(last)).await.unwrap();
        assert_eq!(lines.lines().count() as u64, last);
    }
}

#[tokio::test]
async fn a_store_that_fails_breaks_the_body_off() {
    for format in [Format::Json, Format::Csv, Format::Ndjson] {
        assert!(exported(Arc::default(), format, Some(1)).await.is_err(), "{format:?}");
    }
}

#[test]
fn no_text_is_a_formula_and_numbers_stay_numbers() {
    let rows = [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\nx", "'\nx"),
        ("＝1", "'＝1"),
        ("a=1", "a=1"),
        ("'; DROP TABLE events; --", "'; DROP TABLE events; --"),
        ("", ""),
    ];
    for (text, expected) in rows {
        assert_eq!(plain(text), expected);
    }
    for (data, expected) in [("-5", "-5"), ("\"=1\"", "\"=1\""), ("=broken", "\"=broken\""), ("null", "null")] {
        let event = event("-7", "=n", Some(-1e300), data);
        let cells = cells(&Row::of(1, &event));
        assert_eq!((&*cells[1], &*cells[2], &*cells[12], &*cells[13]), ("'=n", "'-7", "-1e+300", expected));
    }
}
