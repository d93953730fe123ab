//! Worker threads, their listeners, and the life of a client connection.
//!
//! Every worker listens on the same address (`SO_REUSEPORT`) and the kernel spreads connections. The
//! address is bound once without it first: with it, a port that another process of the same user
//! holds would be shared silently.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::arrival;
use super::client_io::ClientIo;
use super::headers::Peer;
use super::timer::Timer;
use super::upload::ReplayMemory;
use super::worker::{Worker, WorkerParts};
use crate::clock;
use crate::config::model::Limits;
use crate::events::Intake;
use crate::live::Live;
use crate::measure::Record;
use crate::measure::counters::WorkerCounters;
use crate::measure::record::RING_CAPACITY;
use crate::sampling::Sampling;
use crate::telemetry::access::AccessLog;

/// Connections the kernel keeps for a worker that has not accepted them yet.
const BACKLOG: i32 = 4_096;

/// How often a worker closes upstream connections that have lain too long.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// How often a stopping worker looks whether its connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How long a worker waits after accepting failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address of `listen.address`.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A worker could not be made.
    #[error("cannot start worker {index}")]
    Worker {
        /// Its number.
        index: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// What the workers are told to do; each step includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serve,
    /// Accept no more, end connections after the request they are at, wait for these.
    Drain,
    /// End now.
    End,
}

/// The running workers.
#[derive(Debug)]
pub struct DataPlane {
    /// Where clients connect; the port that the system chose if the file says 0.
    pub address: SocketAddr,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
}

impl DataPlane {
    /// Binds the address and starts one worker for each of `live.workers`. The consumers of their
    /// records are for the controller.
    ///
    /// # Errors
    /// When the address is taken or a thread cannot be made.
    pub fn start(
        live: &Arc<Live>,
        access: &AccessLog,
        intake: &Arc<Intake>,
        sampling: &Arc<Sampling>,
    ) -> Result<(Self, Vec<rtrb::Consumer<Record>>), StartError> {
        let wanted = live.snapshot().config().listen.address;
        let listeners =
            bind_all(wanted, live.workers.len()).map_err(|source| StartError::Listen { address: wanted, source })?;
        let address = listeners
            .first()
            .map_or(Ok(wanted), StdListener::local_addr)
            .map_err(|source| StartError::Listen { address: wanted, source })?;
        let (phase, _) = watch::channel(Phase::Serve);
        let replay_memory = Arc::new(ReplayMemory::default());
        let mut threads = Vec::new();
        let mut consumers = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let (ring, consumer) = rtrb::RingBuffer::new(RING_CAPACITY);
            consumers.push(consumer);
            let (live, access, intake) = (Arc::clone(live), access.clone(), Arc::clone(intake));
            let replay_memory = Arc::clone(&replay_memory);
            let sampling = Arc::clone(sampling);
            let parts = WorkerParts { index, live, ring, access, intake, sampling, replay_memory };
            let phase = phase.subscribe();
            let thread = start_worker(parts, listener, phase).map_err(|source| StartError::Worker { index, source })?;
            threads.push(thread);
        }
        Ok((Self { address, phase, threads }, consumers))
    }

    /// Goes on as before for `delay`, or until [`Stopper::end_now`]. Blocks.
    pub fn linger(&self, delay: Duration) {
        let until = clock::now() + delay;
        while *self.phase.borrow() < Phase::End {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(DRAIN_POLL));
        }
    }

    /// Accepts no more, lets what is in flight end for at most `timeout`, then ends. Blocks until
    /// all workers have ended; [`Stopper::end_now`] shortens it.
    pub fn drain(self, timeout: Duration) {
        self.phase.send_if_modified(|phase| {
            let sooner = *phase < Phase::Drain;
            if sooner {
                *phase = Phase::Drain;
            }
            sooner
        });
        let deadline = clock::now() + timeout;
        while clock::now() < deadline && !self.threads.iter().all(JoinHandle::is_finished) {
            if *self.phase.borrow() == Phase::End {
                break;
            }
            std::thread::sleep(DRAIN_POLL);
        }
        self.phase.send_replace(Phase::End);
        for thread in self.threads {
            // A worker's panic was reported by its own thread.
            let _panicked = thread.join();
        }
    }

    /// A handle that ends the workers at once, whatever they are at.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.phase.clone())
    }
}

/// Ends the workers at once.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<Phase>);

impl Stopper {
    /// Ends them.
    pub fn end_now(&self) {
        self.0.send_replace(Phase::End);
    }
}

fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    // With port 0 nothing can be taken, and the first listener decides the port.
    if address.port() != 0 {
        drop(bind(address, false)?);
    }
    let first = bind(address, true)?;
    let address = first.local_addr()?;
    let rest = (1..count).map(|_| bind(address, true));
    std::iter::once(Ok(first)).chain(rest).collect()
}

fn bind(address: SocketAddr, share: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if share {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Starts a worker's thread; returns once its runtime stands, which must be made where it runs.
fn start_worker(
    parts: WorkerParts,
    listener: StdListener,
    phase: watch::Receiver<Phase>,
) -> io::Result<JoinHandle<()>> {
    let (standing, stands) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{}", parts.index)).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        // Who started this waits for the word, so it is always heard.
        let (Ok(runtime), _) = (match runtime {
            Ok(runtime) => (Ok(runtime), standing.send(Ok(()))),
            Err(error) => (Err(()), standing.send(Err(error))),
        }) else {
            return;
        };
        runtime.block_on(async move {
            let worker = Worker::new(parts);
            match TcpListener::from_std(listener) {
                Ok(listener) => run_worker(worker, listener, phase).await,
                Err(error) => tracing::error!(%error, "a worker's listener does not work"),
            }
        });
    })?;
    match stands.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the worker ended before it began")),
    }
}

async fn run_worker(worker: Rc<Worker>, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
    tokio::task::spawn_local(reap(Rc::clone(&worker)));
    tokio::select! {
        () = accept(&worker, &listener) => {}
        _ = phase.wait_for(|phase| *phase >= Phase::Drain) => {}
    }
    drop(listener);
    worker.begin_stopping();
    worker.pool().clear();
    tokio::select! {
        () = drained(&worker) => {}
        _ = phase.wait_for(|phase| *phase >= Phase::End) => {}
    }
}

async fn reap(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(REAP_EVERY);
    loop {
        ticks.tick().await;
        worker.pool().reap(clock::now());
    }
}

/// Ends when no connection is open and no request in flight (tunnels are requests without a connection).
async fn drained(worker: &Worker) {
    let counters = worker.counters();
    while counters.connections.get() != counters.disconnections.get()
        || counters.started.get() != counters.finished.get()
    {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

async fn accept(worker: &Rc<Worker>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => admit(worker, socket, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn server(limits: &Limits) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.max_header_size(limits.max_head).max_buf_size(limits.max_head.max(MIN_BUFFER_BYTES));
    // hyper keeps fields on the stack only for its own default number of them.
    if limits.max_headers != HYPER_MAX_HEADERS {
        server.max_headers(limits.max_headers);
    }
    server
}

/// Smaller read buffers would make more reads of a body than the kernel needs; larger ones cost memory (BENCHMARKS.md).
const MIN_BUFFER_BYTES: usize = 64 * 1024;
const HYPER_MAX_HEADERS: usize = 100;

fn admit(worker: &Rc<Worker>, socket: TcpStream, peer: SocketAddr) {
    let counters = worker.counters();
    let open: u64 = worker.live().workers.iter().map(WorkerCounters::open_connections).sum();
    let limits = worker.snapshot().config().limits.clone();
    if open >= limits.max_connections as u64 {
        counters.connections_refused.add(1);
        return;
    }
    counters.connections.add(1);
    // Without it small answers wait for acknowledgements; should it fail, they are only slower.
    let _slower = socket.set_nodelay(true);
    tokio::task::spawn_local(serve(Rc::clone(worker), server(&limits), limits.header_timeout, socket, peer));
}

/// Counts the end of a connection, however it ends: a panic in it must cost only itself.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        let counters = self.0.counters();
        counters.disconnections.add(1);
        if std::thread::panicking() {
            counters.panics.add(1);
        }
    }
}

async fn serve(
    worker: Rc<Worker>,
    server: http1::Builder,
    head_timeout: Duration,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let open = Open(Rc::clone(&worker));
    let peer = Rc::new(Peer::new(peer.ip(), clock::now()));
    let service = {
        let (worker, peer) = (Rc::clone(&worker), Rc::clone(&peer));
        service_fn(move |request| arrival::serve(Rc::clone(&worker), Rc::clone(&peer), request))
    };
    let connection = server.serve_connection(TokioIo::new(ClientIo::new(socket)), service).with_upgrades();
    let mut connection = pin!(connection);
    let mut stopped = pin!(worker.stopped());
    let (mut listening, mut stopping) = (false, false);
    let mut timer = Timer::default();
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if !std::mem::replace(&mut listening, true) {
            // Once is enough for it to wake this task; whether it did is asked of the worker.
            let _woken = stopped.as_mut().poll(cx);
        }
        if !stopping && worker.is_stopping() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(cx);
        }
        // hyper has a timer for heads too, but makes a new one for every request; and it does not ask an answer's body
        // for more, which looks at the deadline itself, before the client has taken what came.
        match peer.resting_since().map(|since| since + head_timeout).or(peer.answered_by()) {
            Some(until) => timer.poll_until(cx, until).map(Ok),
            None => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        // What cannot be read as a request reaches no service: hyper answers it, or closes.
        if error.is_parse() {
            worker.counters().rejected.add(1);
        }
        tracing::trace!(%error, "a client connection ended early");
    }
    drop(open);
}
