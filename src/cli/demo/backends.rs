//! Sample backends on loopback ports: a fast one of middling quality, a better, slower one that fails now and then,
//! one that is better and nothing else, and one whose quality falls.
//!
//! Each can be killed and brought back, and change its character. While it is dead its port stays reserved, so that
//! connecting is refused and nobody else gets it. The better the quality, the more of the results in an answer are to
//! the point: whoever compares answers needs not believe what is said of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::serving;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Results in an answer.
const RESULTS: usize = 20;

/// How a sample backend behaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Character {
    /// Stands in its answers.
    name: &'static str,
    /// How long an answer takes, in milliseconds; uniform.
    millis: Range<u64>,
    /// What `x-quality-score` says; uniform.
    pub(super) quality: Range<f64>,
    /// Share of requests that are answered 503, 0 to 1.
    failures: f64,
}

/// The fast one.
pub(super) const LEGACY: Character = Character { name: "legacy", millis: 5..15, quality: 0.70..0.80, failures: 0.0 };

/// The better one.
pub(super) const LLM: Character = Character { name: "llm", millis: 60..200, quality: 0.85..0.95, failures: 0.03 };

/// The one that is better, and nothing else.
const RERANKER: Character = Character { name: "reranker", millis: 15..35, quality: 0.88..0.98, failures: 0.0 };

/// The one whose quality will fall.
pub(super) const DISTILLED: Character =
    Character { name: "distilled", millis: 5..20, quality: 0.80..0.90, failures: 0.0 };

/// After its fall.
pub(super) const FADED: Character = Character { quality: 0.30..0.40, ..DISTILLED };

/// All of the demo's.
#[derive(Debug)]
pub(super) struct Backends {
    /// Control of every route.
    pub(super) legacy: SampleBackend,
    /// Candidate of the route that is toured first.
    pub(super) llm: SampleBackend,
    /// Candidate of the route `better`.
    pub(super) reranker: SampleBackend,
    /// Candidate of the route `worse`.
    pub(super) distilled: SampleBackend,
}

impl Backends {
    /// Starts all of them.
    ///
    /// # Errors
    /// When the system gives no port.
    pub(super) fn start(runtime: &Handle) -> io::Result<Self> {
        let start = |character| SampleBackend::start(character, runtime);
        let (legacy, llm) = (start(LEGACY)?, start(LLM)?);
        Ok(Self { legacy, llm, reranker: start(RERANKER)?, distilled: start(DISTILLED)? })
    }
}

/// A sample backend.
#[derive(Debug)]
pub(super) struct SampleBackend {
    character: watch::Sender<Character>,
    address: SocketAddr,
    runtime: Handle,
    /// Bound, and never listened on.
    _reservation: Socket,
    serving: Option<JoinHandle<()>>,
}

impl SampleBackend {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// When the system gives no port.
    pub(super) fn start(character: Character, runtime: &Handle) -> io::Result<Self> {
        let reservation = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reservation.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (character, _) = watch::channel(character);
        let mut backend =
            Self { character, address, runtime: runtime.clone(), _reservation: reservation, serving: None };
        backend.revive()?;
        Ok(backend)
    }

    /// Where it is, dead or alive.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers otherwise from now on.
    pub(super) fn become_another(&self, character: Character) {
        self.character.send_replace(character);
    }

    /// Closes its listener and drops its connections, whatever they are at.
    pub(super) fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }

    /// Brings it back on its port. Nothing happens if it is alive.
    ///
    /// # Errors
    /// When the system refuses the listener.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        if self.serving.is_some() {
            return Ok(());
        }
        let socket = bind(self.address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        let listener = TcpListener::from_std(socket.into())?;
        let character = self.character.subscribe();
        let answer = move |request| {
            let character = character.borrow().clone();
            async move { answer(request, &character).await }
        };
        self.serving = Some(self.runtime.spawn(serving::accept(listener, answer)));
        Ok(())
    }
}

impl Drop for SampleBackend {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A socket that shares its port with the reservation; those that do not listen get no connections.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn answer(request: Request<Incoming>, character: &Character) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // What was sent is read to its end, so that the connection can be used again.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(fastrand::u64(character.millis.clone()))).await;
    let failed = fastrand::f64() < character.failures;
    let width = character.quality.end - character.quality.start;
    let quality = character.quality.start + fastrand::f64() * width;
    let found = if failed { Vec::new() } else { results(&question(head.uri.query(), &body), quality) };
    let body = serde_json::json!({
        "backend": character.name, "path": head.uri.path(), "failed": failed, "results": found
    });
    let mut response = Response::new(Full::from(format!("{body}\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if failed {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    if let Ok(quality) = HeaderValue::try_from(format!("{quality:.3}")) {
        response.headers_mut().insert("x-quality-score", quality);
    }
    response
}

/// What was asked: `q` of the query string, or `query` of a JSON body.
fn question(query: Option<&str>, body: &[u8]) -> String {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    if let Some((_, text)) = pairs.find(|(name, _)| name == "q") {
        return text.into_owned();
    }
    let body: Option<Value> = serde_json::from_slice(body).ok();
    body.and_then(|body| body.get("query")?.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Each is to the point with this probability: then it names what was asked for.
fn results(question: &str, quality: f64) -> Vec<String> {
    let words = question.split(|letter: char| !letter.is_alphanumeric());
    let topic = words.max_by_key(|word| word.chars().count()).unwrap_or_default();
    let result = |number| {
        if fastrand::f64() < quality { format!("About {topic}, {number}") } else { format!("Untitled page {number}") }
    };
    (1..=RESULTS).map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as StdStream;

    fn ask(address: SocketAddr) -> io::Result<String> {
        let mut stream = StdStream::connect(address)?;
        stream.write_all(b"GET /search?q=a+refund HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn it_dies_and_comes_back_on_its_port() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut backend = SampleBackend::start(LEGACY, runtime.handle()).unwrap();
        let before = ask(backend.address()).unwrap();
        assert!(before.starts_with("HTTP/1.1 200") && before.contains("x-quality-score: 0.7"), "{before}");
        let mut idle = StdStream::connect(backend.address()).unwrap();
        backend.kill();
        // The kept connection ends, and afterwards the port refuses.
        assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
        assert_eq!(ask(backend.address()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        backend.revive().unwrap();
        assert!(ask(backend.address()).unwrap().starts_with("HTTP/1.1 200"));
        backend.become_another(Character { quality: 0.2..0.3, ..LEGACY });
        assert!(ask(backend.address()).unwrap().contains("x-quality-score: 0.2"), "also over what listens already");
    }

    #[test]
    fn results_are_to_the_point_as_often_as_the_quality_says() {
        assert_eq!(question(Some("a=1&q=a+refund"), b""), "a refund");
        assert_eq!(question(None, br#"{"query": "a refund"}"#), "a refund");
        assert_eq!(question(None, b"no JSON"), "");
        assert_eq!(results("a refund", 1.0)[9], "About refund, 10");
        assert_eq!(results("a refund", 0.0)[0], "Untitled page 1");
    }
}
