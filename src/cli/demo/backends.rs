//! Two sample backends on loopback ports: a fast one of middling quality, and a better, slower one
//! that fails now and then.
//!
//! Each can be killed and brought back. While it is dead its port stays reserved, so that connecting
//! is refused and nobody else gets it.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// How a sample backend behaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Character {
    /// Stands in its answers.
    name: &'static str,
    /// How long an answer takes, in milliseconds; uniform.
    millis: Range<u64>,
    /// What `x-quality-score` says; uniform.
    quality: Range<f64>,
    /// Share of requests that are answered 503, 0 to 1.
    failures: f64,
}

/// The fast one.
pub(super) const LEGACY: Character = Character { name: "legacy", millis: 5..15, quality: 0.70..0.80, failures: 0.0 };

/// The better one.
pub(super) const LLM: Character = Character { name: "llm", millis: 60..200, quality: 0.85..0.95, failures: 0.03 };

/// A sample backend.
#[derive(Debug)]
pub(super) struct SampleBackend {
    character: Character,
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
        let mut backend =
            Self { character, address, runtime: runtime.clone(), _reservation: reservation, serving: None };
        backend.revive()?;
        Ok(backend)
    }

    /// Where it is, dead or alive.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
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
        self.serving = Some(self.runtime.spawn(accept(listener, self.character.clone())));
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

/// Serves until it is aborted, which drops the connections too: they are in its set.
async fn accept(listener: TcpListener, character: Character) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, character.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, character: Character) {
    let service = service_fn(|request| answer(request, &character));
    // A connection that breaks is the gateway's to notice: it counts what it could not use.
    let _broken = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, character: &Character) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    // What was sent is read to its end, so that the connection can be used again.
    let _question = request.into_body().collect().await;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(character.millis.clone()))).await;
    let failed = fastrand::f64() < character.failures;
    let body = serde_json::json!({ "backend": character.name, "path": path, "failed": failed });
    let mut response = Response::new(Full::from(format!("{body}\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if failed {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    }
    let width = character.quality.end - character.quality.start;
    let quality = character.quality.start + fastrand::f64() * width;
    if let Ok(quality) = HeaderValue::try_from(format!("{quality:.3}")) {
        response.headers_mut().insert("x-quality-score", quality);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as StdStream;

    fn ask(address: SocketAddr) -> io::Result<String> {
        let mut stream = StdStream::connect(address)?;
        stream.write_all(b"GET /search HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n")?;
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
    }
}
