//! Active health checks against a server whose answer is switched.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

pub(super) fn every_few_milliseconds(path: Option<&str>) -> HealthCheck {
    HealthCheck {
        path: path.map(str::to_owned),
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(200),
        healthy_after: 2,
        unhealthy_after: 2,
    }
}

/// Answers everything with one status; 0 is silence.
struct Server {
    at: SocketAddr,
    status: Arc<AtomicU16>,
    last_head: Arc<Mutex<String>>,
}

impl Server {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (status, last_head) = (Arc::new(AtomicU16::new(status)), Arc::new(Mutex::default()));
        let server = Self { at, status: Arc::clone(&status), last_head: Arc::clone(&last_head) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (status, last_head) = (Arc::clone(&status), Arc::clone(&last_head));
                tokio::spawn(async move {
                    let mut head = vec![0; 4096];
                    let length = stream.read(&mut head).await.unwrap();
                    *last_head.lock().unwrap() = String::from_utf8_lossy(&head[..length]).into_owned();
                    match status.load(Ordering::Relaxed) {
                        0 => std::future::pending().await,
                        code => {
                            let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                            stream.write_all(answer.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        server
    }

    fn endpoint(&self) -> Endpoint {
        endpoint("127.0.0.1", self.at.port(), 1)
    }
}

fn checked(endpoints: Vec<Endpoint>, check: HealthCheck) -> Arc<Upstream> {
    let upstream = Upstream::new(&Backend { health_check: Some(check), ..backend(endpoints) }).unwrap();
    upstream.spawn_background(&Handle::current());
    upstream
}

fn healthy(upstream: &Upstream) -> Vec<bool> {
    upstream.status().iter().map(|endpoint| endpoint.healthy).collect()
}

#[tokio::test]
async fn an_unhealthy_endpoint_leaves_and_comes_back() {
    let (well, sick) = (Server::start(200).await, Server::start(302).await);
    let upstream = checked(vec![well.endpoint(), sick.endpoint()], every_few_milliseconds(Some("/health?deep=1")));
    let head = |server: &Server| server.last_head.lock().unwrap().clone();
    eventually("both were asked", || !head(&well).is_empty() && !head(&sick).is_empty()).await;
    assert_eq!(healthy(&upstream), [true, true]);
    let asked = head(&well);
    assert!(asked.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nhost: {}\r\n", well.at)), "{asked}");

    for (status, reason) in
        [(503, "answered 503 Service Unavailable"), (404, "answered 404 Not Found"), (0, "no answer in time")]
    {
        sick.status.store(status, Ordering::Relaxed);
        eventually("it leaves", || healthy(&upstream) == [true, false]).await;
        assert!((0..10).all(|_| upstream.pick(None).unwrap().socket == well.at));
        eventually("the status says why", || upstream.status()[1].check_error.as_deref() == Some(reason)).await;

        sick.status.store(200, Ordering::Relaxed);
        eventually("it comes back", || healthy(&upstream) == [true, true]).await;
        assert!((0..10).any(|_| upstream.pick(None).unwrap().socket == sick.at));
        assert_eq!(upstream.status()[1].check_error, None);
    }
}

#[tokio::test]
async fn when_all_are_unhealthy_requests_still_go_out() {
    let servers = [Server::start(500).await, Server::start(500).await];
    let upstream = checked(servers.iter().map(Server::endpoint).collect(), every_few_milliseconds(Some("/")));
    eventually("both leave", || healthy(&upstream) == [false, false]).await;
    for server in &servers {
        assert!((0..10).any(|_| upstream.pick(None).unwrap().socket == server.at));
    }
}

#[tokio::test]
async fn a_connect_alone_is_a_check_too() {
    let server = Server::start(500).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoints = vec![server.endpoint(), endpoint("127.0.0.1", closed.port(), 1)];
    let upstream = checked(endpoints, every_few_milliseconds(None));
    eventually("the closed port leaves", || healthy(&upstream) == [true, false]).await;
    let error = upstream.status()[1].check_error.clone().unwrap();
    assert!(error.starts_with("cannot connect: "), "{error}");
}

#[tokio::test]
async fn the_host_field_is_the_one_of_traffic() {
    let server = Server::start(200).await;
    let mut settings = backend(vec![server.endpoint()]);
    settings.host = HostHeader::Fixed(HeaderValue::from_static("tenant.test"));
    settings.health_check = Some(every_few_milliseconds(Some("/")));
    let upstream = Upstream::new(&settings).unwrap();
    upstream.spawn_background(&Handle::current());
    eventually("the fixed host is sent", || server.last_head.lock().unwrap().contains("\r\nhost: tenant.test\r\n"))
        .await;
}
