//! A client that sends exactly these bytes and tells exactly what came back.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::BOUND;
use super::message::{Ending, Head, Wire};

/// A connection to the gateway.
pub(crate) struct Client {
    pub(crate) wire: Wire,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Head,
    pub(crate) ending: Ending,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The code of a problem document.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.get("content-type"), Some("application/problem+json"), "{self:?}");
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["status"], self.status, "{document}");
        document["code"].as_str().unwrap().to_owned()
    }

    /// It is whole, has this status and this body.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text().as_str(), self.ending), (status, body, Ending::Whole), "{self:?}");
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        socket.set_write_timeout(Some(BOUND)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { wire: Wire::new(socket) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the other side may refuse to take.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.socket.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends no more, and goes on reading.
    pub(crate) fn finish_sending(&self) {
        self.wire.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// The head of the next response, interim ones (1xx but 101) among them.
    #[track_caller]
    pub(crate) fn head(&mut self) -> (u16, Head) {
        let head = self.wire.head().unwrap().expect("the connection was closed before an answer");
        let status = head.start.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.unwrap_or_else(|| panic!("not a status line: {:?}", head.start)), head)
    }

    /// The response to a request with this method.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let (status, head) = self.head();
        let bodiless = method == "HEAD" || matches!(status, 100..=199 | 204 | 304);
        let (body, trailers, ending) =
            if bodiless { (Vec::new(), Head::default(), Ending::Whole) } else { self.wire.body(&head, true).unwrap() };
        Answer { status, head, body, trailers, ending }
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// One request on this connection. `fields` without `Host` get one.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            bytes.push_str("host: gateway.example\r\n");
        }
        for (name, value) in fields {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            bytes.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        bytes.push_str("\r\n");
        self.send([bytes.as_bytes(), body].concat());
        self.answer_to(method)
    }

    #[track_caller]
    pub(crate) fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.request("GET", target, fields, b"")
    }

    /// Whether the gateway closes this connection, and nothing more comes.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert!(self.wire.is_closed().unwrap(), "the connection should be closed, and something came");
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.wire.socket.set_read_timeout(Some(patience)).unwrap();
    }

    /// Goes away without a goodbye.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.wire.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
