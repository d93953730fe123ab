//! An upstream that does what a test tells it to, on plain sockets, and remembers what it was sent.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::message::{Ending, Head, Wire};
use super::{BOUND, eventually};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Head,
    pub(crate) ending: Ending,
}

#[derive(Debug, Default)]
struct Memory {
    heads: AtomicUsize,
    connections: AtomicUsize,
    departures: AtomicUsize,
    requests: Mutex<Vec<Seen>>,
}

/// See the module.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    memory: Arc<Memory>,
    stop: Arc<AtomicBool>,
}

/// One connection from the gateway, in the hands of a script.
pub(crate) struct Conversation {
    pub(crate) wire: Wire,
    memory: Arc<Memory>,
}

impl Upstream {
    /// Runs `script` for every connection, each in a thread of its own.
    pub(crate) fn scripted(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same, on a listener that is there already.
    pub(crate) fn on(listener: TcpListener, script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let (memory, stop) = (Arc::new(Memory::default()), Arc::new(AtomicBool::new(false)));
        let (remembering, stopping, script) = (Arc::clone(&memory), Arc::clone(&stop), Arc::new(script));
        thread::spawn(move || {
            for socket in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(Some(BOUND)).unwrap();
                remembering.connections.fetch_add(1, Ordering::SeqCst);
                let (memory, script) = (Arc::clone(&remembering), Arc::clone(&script));
                thread::spawn(move || script(&mut Conversation { wire: Wire::new(socket), memory }));
            }
        });
        Self { address, memory, stop }
    }

    /// Answers every request with what `answer` gives, raw, on connections that stay open.
    pub(crate) fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |conversation| {
            while let Some(seen) = conversation.request() {
                if !conversation.try_write(answer(&seen)) {
                    return;
                }
            }
        })
    }

    /// Answers every request 200 with this body.
    pub(crate) fn saying(body: &'static str) -> Self {
        Self::answering(move |_| ok(body))
    }

    /// Answers every request with the body that it has.
    pub(crate) fn echo() -> Self {
        Self::answering(|seen| {
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seen.body.len()).into_bytes();
            answer.extend_from_slice(&seen.body);
            answer
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request whose body has come, or broken off.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.memory.requests.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn only_request(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// The latest request.
    #[track_caller]
    pub(crate) fn last_request(&self) -> Seen {
        self.requests().pop().expect("no request has come")
    }

    /// How many heads have come.
    pub(crate) fn heads(&self) -> usize {
        self.memory.heads.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.memory.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many heads have come.
    #[track_caller]
    pub(crate) fn await_heads(&self, count: usize) {
        eventually("requests at the upstream", || (self.heads() >= count).then_some(()));
    }

    /// Waits until so many scripts have noticed that the gateway went away.
    #[track_caller]
    pub(crate) fn await_departures(&self, count: usize) {
        let seen = || (self.memory.departures.load(Ordering::SeqCst) >= count).then_some(());
        eventually("departures at the upstream", seen);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends; should it be gone already, all is well.
        let _gone = TcpStream::connect_timeout(&self.address, BOUND);
    }
}

impl Conversation {
    /// The next head; `None` when the gateway has closed the connection.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let head = self.wire.head().ok().flatten();
        match &head {
            Some(_) => self.memory.heads.fetch_add(1, Ordering::SeqCst),
            None => self.memory.departures.fetch_add(1, Ordering::SeqCst),
        };
        head
    }

    /// The next whole request.
    pub(crate) fn request(&mut self) -> Option<Seen> {
        let head = self.head()?;
        self.rest_of(head)
    }

    /// The body that belongs to a head.
    pub(crate) fn rest_of(&mut self, head: Head) -> Option<Seen> {
        let (body, trailers, ending) = self.wire.body(&head, false).ok()?;
        let seen = Seen { head, body, trailers, ending };
        self.memory.requests.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Whether the gateway still took it.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.socket.write_all(bytes.as_ref()).is_ok()
    }

    /// Writes one chunk of a chunked body.
    pub(crate) fn write_chunk(&mut self, data: &[u8]) {
        self.write([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat());
    }

    /// Breaks the connection off with a reset.
    pub(crate) fn reset(&mut self) {
        SockRef::from(&self.wire.socket).set_linger(Some(Duration::ZERO)).unwrap();
        self.wire.socket = unconnected();
    }

    /// Ends the connection in order.
    pub(crate) fn close(&mut self) {
        // The other side may have closed first.
        let _closed = self.wire.socket.shutdown(Shutdown::Both);
    }

    /// Waits until the gateway has closed the connection, and notes it.
    pub(crate) fn await_departure(&mut self) {
        // What still comes is thrown away; an error is a departure too.
        let _rest = self.wire.rest();
        self.memory.departures.fetch_add(1, Ordering::SeqCst);
    }
}

/// A socket to put in the place of one that is to be dropped.
fn unconnected() -> TcpStream {
    Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into()
}

/// A whole answer.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    status(200, "OK", body)
}

/// A whole answer with this status.
pub(crate) fn status(code: u16, phrase: &str, body: &str) -> Vec<u8> {
    with_fields(code, phrase, "", body)
}

/// A whole answer with these field lines.
pub(crate) fn with_fields(code: u16, phrase: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} {phrase}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The address of a port that is held and refuses every connection.
pub(crate) struct Refusing {
    _held: Socket,
    pub(crate) address: SocketAddr,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { _held: socket, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it accepts: the same port with a script behind it.
    pub(crate) fn open(self, script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Upstream {
        let socket = self._held;
        socket.listen(64).unwrap();
        Upstream::on(socket.into(), script)
    }
}

/// A listener whose backlog is full: connecting to it never ends.
pub(crate) struct Blackhole {
    _listener: Socket,
    _waiting: Vec<Socket>,
    pub(crate) address: SocketAddr,
}

impl Blackhole {
    pub(crate) fn new() -> Self {
        let Refusing { _held: listener, address } = Refusing::new();
        listener.listen(0).unwrap();
        let mut waiting = Vec::new();
        // The kernel takes a few more than asked for; one that stays pending shows that it is full.
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let connected = socket.connect_timeout(&address.into(), Duration::from_millis(150)).is_ok();
            waiting.push(socket);
            if !connected {
                return Self { _listener: listener, _waiting: waiting, address };
            }
            assert!(waiting.len() < 32, "the backlog does not fill");
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
