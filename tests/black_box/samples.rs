//! Exchanges that are kept: which, without what, for how long, for whom, and that clients notice nothing.

use serde_json::{Value, json};

use crate::keeping::pointsman;
use crate::reading::{ask, setup as reading_setup};
use crate::support::message::Ending;
use crate::support::upstream::with_fields;
use crate::support::{Gateway, Setup, Upstream, eventually};

fn setup(upstream: &Upstream, samples: &str) -> Setup {
    reading_setup().with(&format!(
        "[backends.asked]\nurl = {:?}\n[routes.asked]\npath = \"/asked\"\ncontrol = \"old\"\ncandidate = \"asked\"\n\
         rollout.percent = 100\nfallback.replay = \"connect\"\n{samples}",
        upstream.url()
    ))
}

const EVERYTHING: &str = "[routes.asked.samples]\npercent = 100\nmax_body = \"1KiB\"\nredact = [\"/user/mail\", \"/choices/0/text\"]\n\
                          redact_fields = [\"password\"]\n";

fn count(gateway: &Gateway, result: &str) -> f64 {
    gateway.count(&format!("pointsman_sampled_total{{route=\"asked\",purpose=\"samples\",result=\"{result}\"}}"))
}

fn await_count(gateway: &Gateway, result: &str, wanted: f64) {
    eventually(&format!("{wanted} {result}"), || (count(gateway, result) >= wanted).then_some(()));
}

fn export(gateway: &Gateway, query: &str) -> String {
    let answer = ask(gateway, "deploy", "GET", &format!("/api/v1/export?what=samples{query}"), "");
    assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{}", answer.text());
    answer.text()
}

fn post(gateway: &Gateway, user: &str, body: &Value) {
    let fields = [("x-user-id", user), ("content-type", "application/json"), ("x-request-id", "r-1")];
    assert_eq!(gateway.request("POST", "/asked/it?key=secret", &fields, body.to_string().as_bytes()).status, 200);
}

#[test]
fn exchanges_are_kept_without_what_the_file_redacts() {
    let answer =
        json!({"choices": [{"text": "secret answer"}], "model": "m", "deep": [{"password": "secret"}]}).to_string();
    let upstream = Upstream::answering(move |_| with_fields(200, "OK", "content-type: application/json\r\n", &answer));
    let mut gateway = setup(&upstream, EVERYTHING).hashed_users().start();
    post(&gateway, "alice", &json!({"query": "why?", "user": {"mail": "secret@example.com", "password": "secret"}}));
    await_count(&gateway, "done", 1.0);
    gateway.signal("TERM");
    assert!(gateway.await_exit().success());
    gateway.start_again();
    let exported = eventually("the store is open", || {
        let answer = ask(&gateway, "deploy", "GET", "/api/v1/export?what=samples", "");
        (answer.status == 200).then(|| answer.text())
    });
    assert!(!exported.contains("secret") && !exported.contains("alice"), "{exported}");
    let rows: Value = serde_json::from_str(&exported).unwrap();
    let row = &rows[0];
    assert_eq!(row["request"], json!({"query": "why?", "user": {"mail": "[redacted]", "password": "[redacted]"}}));
    assert_eq!(
        row["response"],
        json!({"choices": [{"text": "[redacted]"}], "model": "m", "deep": [{"password": "[redacted]"}]})
    );
    let shown = ["route", "assigned", "served", "reason", "request_id", "method", "path", "status"]
        .map(|name| row[name].clone());
    assert_eq!(json!(shown), json!(["asked", "candidate", "candidate", "rollout", "r-1", "POST", "/asked/it", 200]));
    let lines = export(&gateway, "&format=ndjson&route=asked");
    assert_eq!(serde_json::from_str::<Value>(lines.trim()).unwrap(), *row);
    assert_eq!(export(&gateway, "&route=all&format=json").trim(), "[\n]");
    let table = export(&gateway, "&format=csv");
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 2 && rows[0].starts_with("number,id,at,user,route,assigned"), "{table}");
    for (token, query, status) in [("board", "", 403), ("deploy", "&type=x", 400), ("deploy", "&what=all", 400)] {
        assert_eq!(
            ask(&gateway, token, "GET", &format!("/api/v1/export?what=samples{query}"), "").status,
            status,
            "{token} {query}"
        );
    }
    let file = gateway.beside("samples.csv");
    let written =
        pointsman(&gateway, "deploy", &["export", "--samples", "--format", "csv", "--output", file.to_str().unwrap()]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert_eq!(std::fs::read_to_string(file).unwrap(), table);
    ask(&gateway, "root", "POST", "/api/v1/erase", "{\"user\": \"alice\"}").expect(200, "{\"removed\":1}");
    assert_eq!(export(&gateway, "&format=ndjson"), "");
}

#[test]
fn what_is_not_json_whole_or_small_is_not_kept_and_goes_to_clients_as_it_is() {
    let large = format!("\"{}\"", "x".repeat(100_000));
    let json = "content-type: application/json\r\n";
    let rows = [
        ("too_large", with_fields(200, "OK", json, &large)),
        ("encoded", with_fields(200, "OK", &format!("{json}content-encoding: br\r\n"), "bytes")),
        ("content_type", with_fields(200, "OK", "content-type: text/html\r\n", "<html>")),
        ("truncated", with_fields(206, "Partial Content", json, "{}")),
        ("not_json", with_fields(418, "Oops", json, "<html>")),
        ("done", with_fields(418, "Oops", json, "{}")),
        ("done", with_fields(204, "No Content", "", "")),
    ];
    for (reason, answer) in rows {
        let told = answer.clone();
        let upstream = Upstream::answering(move |_| answer.clone());
        let whole = setup(&upstream, EVERYTHING).start();
        let plain = setup(&upstream, "").start();
        let [sampled, plain] = [&whole, &plain].map(|gateway| {
            let answer = gateway.get("/asked", &[("x-user-id", "u"), ("x-request-id", "r")]);
            let fields = |name: &str| answer.get(name).map(str::to_owned);
            (answer.status, fields("content-length"), fields("content-type"), answer.body, answer.ending)
        });
        assert_eq!(sampled, plain, "{reason} {}", String::from_utf8_lossy(&told[..told.len().min(80)]));
        await_count(&whole, reason, 1.0);
    }
}

#[test]
fn streams_are_kept_as_lists_and_those_of_other_routes_are_not() {
    let stream = "data: {\"password\":1,\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n";
    let upstream = Upstream::answering(move |_| with_fields(200, "OK", "content-type: text/event-stream\r\n", stream));
    let gateway = setup(&upstream, EVERYTHING).start();
    assert_eq!(gateway.get("/asked", &[("x-user-id", "u")]).text(), stream);
    assert_eq!(gateway.get("/", &[]).status, 200);
    await_count(&gateway, "done", 1.0);
    let rows: Value = serde_json::from_str(&export(&gateway, "")).unwrap();
    assert_eq!(rows[0]["response"], json!([{"password": "[redacted]", "n": 1}, {"n": 2}]));
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["request"]), (1, &Value::Null));
}

#[test]
fn the_candidate_can_have_a_percentage_of_its_own() {
    let upstream = Upstream::answering(|_| with_fields(200, "OK", "content-type: application/json\r\n", "{}"));
    let both = "[routes.asked.samples]\npercent = 0\ncandidate_percent = 100\n";
    let gateway = setup(&upstream, both)
        .replacing(
            "[backends.old]\nrespond = { body = \"old\" }",
            &format!("[backends.old]\nurl = {:?}", upstream.url()),
        )
        .start();
    for fields in [&[("x-user-id", "u")][..], &[]] {
        assert_eq!(gateway.get("/asked", fields).text(), "{}");
    }
    await_count(&gateway, "done", 1.0);
    let rows: Value = serde_json::from_str(&export(&gateway, "")).unwrap();
    assert_eq!(rows.as_array().unwrap().iter().map(|row| row["served"].clone()).collect::<Vec<_>>(), ["candidate"]);
}
