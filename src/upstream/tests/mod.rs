//! The whole module over real sockets on 127.0.0.1.

mod balancing;
mod checks;
mod fetch;
mod names;
mod trust;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::Handle;

use super::{Upstream, tls};
use crate::config::model::{
    Backend, Balance, Endpoint, FixedAnswer, HealthCheck, HostHeader, Keepalive, Pass, Target, Timeouts, Tls,
};

/// Longer than any of these tests should need, so that reaching it is a failure.
const DEADLINE: Duration = Duration::from_secs(5);

fn endpoint(host: &str, port: u16, weight: usize) -> Endpoint {
    let authority = HeaderValue::try_from(format!("{host}:{port}")).unwrap();
    Endpoint { tls: false, host: host.to_owned(), port, authority, base_path: String::new(), weight }
}

fn backend(endpoints: Vec<Endpoint>) -> Backend {
    Backend {
        name: Arc::from("answers"),
        target: Target::Endpoints(endpoints),
        version: None,
        balance: Balance::RoundRobin,
        resolve_every: Duration::from_secs(30),
        health_check: None,
        tls: Tls::default(),
        host: HostHeader::Backend,
        headers: Vec::new(),
        pass: Pass::default(),
        max_in_flight: None,
        timeouts: Timeouts { connect: DEADLINE, first_byte: DEADLINE, idle: DEADLINE },
        keepalive: Keepalive { idle: DEADLINE, max_idle: 1 },
        breaker: crate::domain::breaker::Settings::default(),
        breaker_for_control: false,
        failure_status: Vec::new(),
        pricing: None,
        cost_per_day: None,
    }
}

/// `count` endpoints at literal addresses, all of weight 1.
fn literals(count: u8) -> Vec<Endpoint> {
    (1..=count).map(|last| endpoint(&format!("10.0.0.{last}"), 80, 1)).collect()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, polled).await.is_ok(), "never came true: {what}");
}

#[test]
fn serves_only_what_it_was_built_from() {
    let original = || backend(literals(2));
    let upstream = Upstream::new(&original()).unwrap();
    let check = HealthCheck { path: None, interval: DEADLINE, timeout: DEADLINE, healthy_after: 1, unhealthy_after: 1 };
    let host = HostHeader::Fixed(HeaderValue::from_static("a.test"));
    let answer = FixedAnswer { status: http::StatusCode::OK, headers: Vec::new(), body: bytes::Bytes::new() };
    let rows: Vec<(&str, bool, Backend)> = vec![
        ("the same", true, original()),
        ("another version", true, Backend { version: Some("2".to_owned()), ..original() }),
        ("another limit", true, Backend { max_in_flight: Some(1), ..original() }),
        ("fewer endpoints", false, backend(literals(1))),
        ("another weight", false, backend(vec![endpoint("10.0.0.1", 80, 1), endpoint("10.0.0.2", 80, 2)])),
        ("another balance", false, Backend { balance: Balance::Consistent, ..original() }),
        ("another interval", false, Backend { resolve_every: DEADLINE, ..original() }),
        ("another check", false, Backend { health_check: Some(check), ..original() }),
        ("another trust", false, Backend { tls: Tls { insecure: true, ..Tls::default() }, ..original() }),
        ("another host", false, Backend { host, ..original() }),
        ("a fixed answer", false, Backend { target: Target::Respond(answer), ..original() }),
        ("off", false, Backend { target: Target::Off, ..original() }),
    ];
    for (what, expected, changed) in rows {
        assert_eq!(upstream.serves(&changed), expected, "{what}");
    }
}

#[tokio::test]
async fn dropping_ends_the_background_loops() {
    let mut settings = backend(vec![endpoint("localhost", 80, 1)]);
    settings.health_check = Some(checks::every_few_milliseconds(None));
    let upstream = Upstream::new(&settings).unwrap();
    upstream.spawn_background(&Handle::current());
    upstream.spawn_background(&Handle::current());
    let directory = Arc::downgrade(&upstream.directory);
    assert_eq!(upstream.tasks.lock().unwrap().len(), 2);
    drop(upstream);
    eventually("the loops let go of the directory", || directory.strong_count() == 0).await;
}
