//! The gateway as its users run it: `pointsman run -c gateway.toml`, a process of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Client, eventually};

/// How often other ports are tried when one is taken.
const TRIES: usize = 10;

/// Ports to listen on lie below those that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// What differs from gateway to gateway.
pub(crate) struct Setup {
    toml: String,
    threads: usize,
    access_sample: f64,
    plain_users: bool,
    environment: Vec<(String, String)>,
    file_limit_kib: Option<u32>,
    awaits_store: bool,
}

impl Setup {
    /// A gateway with this file, to which listeners and log are added. Top-level keys may be dotted.
    pub(crate) fn new(toml: impl Into<String>) -> Self {
        Self {
            toml: toml.into(),
            threads: 1,
            access_sample: 1.0,
            plain_users: true,
            environment: Vec::new(),
            file_limit_kib: None,
            awaits_store: true,
        }
    }

    /// A gateway with one route, `all`, that takes everything, with these keys.
    pub(crate) fn route(control: &str, candidate: &str, keys: &str) -> Self {
        Self::new(format!(
            "[backends.control]\nurl = {control:?}\n[backends.candidate]\nurl = {candidate:?}\n\
             [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\n{keys}\n"
        ))
    }

    /// The same with everybody on the candidate by the hash.
    pub(crate) fn candidate(control: &str, candidate: &str, keys: &str) -> Self {
        Self::route(control, candidate, &format!("rollout.percent = 100\n{keys}"))
    }

    /// The same with a part of the file replaced, which must be there.
    #[track_caller]
    pub(crate) fn replacing(mut self, part: &str, by: &str) -> Self {
        assert!(self.toml.contains(part), "{part}");
        self.toml = self.toml.replace(part, by);
        self
    }

    /// Keys that go before every table.
    pub(crate) fn top(mut self, keys: &str) -> Self {
        self.toml = format!("{keys}\n{}", self.toml);
        self
    }

    /// Tables that go behind everything.
    pub(crate) fn with(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }

    pub(crate) const fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    pub(crate) const fn access_sample(mut self, share: f64) -> Self {
        self.access_sample = share;
        self
    }

    /// User keys are hashed, as they are unless the file says otherwise.
    pub(crate) const fn hashed_users(mut self) -> Self {
        self.plain_users = false;
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// No file of its can grow beyond this, as on a disk that is full; see [`Gateway::limit_files`].
    pub(crate) const fn file_limit_kib(mut self, kib: u32) -> Self {
        self.file_limit_kib = Some(kib);
        self
    }

    /// Whoever starts it does not wait for its store, which cannot be opened.
    pub(crate) const fn without_a_store(mut self) -> Self {
        self.awaits_store = false;
        self
    }

    fn file(&self, ports: &[Port; 3]) -> String {
        let [listen, observe, admin] = ports.each_ref().map(|port| port.number);
        format!(
            "listen.address = \"127.0.0.1:{listen}\"\nlisten.threads = {}\nobserve.address = \"127.0.0.1:{observe}\"\n\
             admin.address = \"127.0.0.1:{admin}\"\nlog.access_sample = {:?}\nlog.plain_user_keys = {}\n{}",
            self.threads, self.access_sample, self.plain_users, self.toml
        )
    }

    /// Runs it on these ports until it ends by itself, which it has to.
    #[track_caller]
    pub(crate) fn run_to_end(self, ports: &[Port; 3]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, self.file(ports)).unwrap();
        let mut child = command(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("the gateway ends", || child.try_wait().unwrap());
        child.wait_with_output().unwrap()
    }

    /// Starts it and waits until clients can connect and the store, where it has one, is open: the
    /// process serves before, and on a slow disk long before.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        for _ in 0..TRIES {
            let ports = [Port::free(), Port::free(), Port::free()];
            if let Some(gateway) = Gateway::try_start(&self, ports) {
                return gateway;
            }
        }
        panic!("no free port in {TRIES} tries");
    }
}

/// A port that no other test uses while this is held.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

impl Port {
    pub(crate) fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = std::env::temp_dir().join("pointsman-test-ports");
        fs::create_dir_all(&folder).unwrap();
        loop {
            // Processes begin at different places, so that they seldom meet.
            let step = NEXT.fetch_add(1, Ordering::SeqCst);
            let offset = (std::process::id() as u16).wrapping_mul(41).wrapping_add(step) % PORTS.len() as u16;
            let number = PORTS.start + offset;
            let lock = File::create(folder.join(number.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
    }
}

/// Access lines as they come in.
type Lines = Arc<Mutex<Vec<Value>>>;
/// A text as it comes in.
type Text = Arc<Mutex<String>>;

/// A running gateway; it is killed when this is dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) file: PathBuf,
    child: Child,
    access: Lines,
    stderr: Text,
    ports: [Port; 3],
    /// Whether a start waits for the store; not where it cannot be opened.
    pub(crate) awaits_store: bool,
    _folder: TempDir,
}

impl Gateway {
    fn try_start(setup: &Setup, ports: [Port; 3]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, setup.file(&ports)).unwrap();
        let mut command = setup.file_limit_kib.map_or_else(|| command(&file), |kib| limited_command(&file, kib));
        let (child, access, stderr) = spawn(command.envs(setup.environment.iter().cloned()));
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0].number));
        // What is kept in memory is there from the beginning.
        let awaits_store = setup.awaits_store && setup.toml.contains("\"sqlite:");
        let mut gateway = Self { address, file, child, access, stderr, ports, awaits_store, _folder: folder };
        gateway.await_start().then_some(gateway)
    }

    /// Whether it has started in the end; see [`Setup::start`] and [`Gateway::await_listening`].
    fn await_start(&mut self) -> bool {
        let listens = self.await_listening();
        if listens && self.awaits_store {
            eventually("the store is open", || (self.count("pointsman_store_up") == 1.0).then_some(()));
        }
        listens
    }

    /// Whether it listens in the end; not so if another process has taken one of its ports.
    fn await_listening(&mut self) -> bool {
        let address = self.address;
        let gateway = self;
        let started = eventually("the gateway accepts", || match gateway.child.try_wait().unwrap() {
            Some(status) => Some(Err(status)),
            None => TcpStream::connect(address).ok().map(Ok),
        });
        match started {
            Ok(_connected) => true,
            Err(_) if gateway.stderr().contains("cannot listen on") => false,
            Err(status) => panic!("the gateway ended with {status}: {}", gateway.stderr()),
        }
    }

    /// The admin address, as commands take it.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[2].number)
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with what its file says now, after it has ended.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        (self.child, self.access, self.stderr) = spawn(&mut command(&self.file));
        assert!(self.await_start(), "{}", self.stderr());
    }

    /// Changes [`Setup::file_limit_kib`], which it must have been started with, or lifts it.
    pub(crate) fn limit_files(&self, kib: Option<u32>) {
        let bytes = kib.map_or_else(|| "unlimited".to_owned(), |kib| (u64::from(kib) * 1024).to_string());
        let id = self.child.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={bytes}:")]).status().unwrap();
        assert!(limited.success(), "prlimit: {limited}");
    }

    /// A file beside its configuration.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.file.with_file_name(name)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Where operators connect.
    pub(crate) fn admin(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[2].number))
    }

    /// A connection to the administrative address.
    pub(crate) fn admin_client(&self) -> Client {
        Client::connect(self.admin())
    }

    /// The value of a sample that is there; see [`Gateway::metric`].
    #[track_caller]
    pub(crate) fn count(&self, sample: &str) -> f64 {
        self.metric(sample).unwrap_or_else(|| panic!("no {sample}"))
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.client().get(target, fields)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        self.client().request(method, target, fields, body)
    }

    /// One POST on a connection of its own, as the user `u`.
    #[track_caller]
    pub(crate) fn post(&self, body: &[u8]) -> Answer {
        self.request("POST", "/", &[("x-user-id", "u")], body)
    }

    /// One GET on a connection of its own, as the user `u`.
    #[track_caller]
    pub(crate) fn ask(&self) -> Answer {
        self.get("/", &[("x-user-id", "u")])
    }

    /// The access lines so far.
    pub(crate) fn access_lines(&self) -> Vec<Value> {
        self.access.lock().unwrap().clone()
    }

    /// Waits for the access lines to be so many.
    #[track_caller]
    pub(crate) fn await_lines(&self, count: usize) -> Vec<Value> {
        eventually("access lines", || Some(self.access_lines()).filter(|lines| lines.len() >= count))
    }

    /// The access line of the request that got this id.
    #[track_caller]
    pub(crate) fn line_of(&self, answer: &Answer) -> Value {
        let id = answer.get("x-request-id").expect("an answer without x-request-id").to_owned();
        self.line_with_id(&id)
    }

    /// The access line of the request with this id.
    #[track_caller]
    pub(crate) fn line_with_id(&self, id: &str) -> Value {
        eventually("the access line", || self.access_lines().into_iter().find(|line| line["request_id"] == id))
    }

    /// The value of a sample in `/metrics`, by its name and labels as they are written there.
    #[track_caller]
    pub(crate) fn metric(&self, sample: &str) -> Option<f64> {
        let observe = SocketAddr::from(([127, 0, 0, 1], self.ports[1].number));
        let answer = Client::connect(observe).get("/metrics", &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text().lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Writes another configuration behind the listeners' lines, as an editor does: a new file, renamed over.
    pub(crate) fn rewrite(&self, setup: &Setup) {
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, setup.file(&self.ports)).unwrap();
        fs::rename(&fresh, &self.file).unwrap();
    }

    /// What a scraper gets.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        let observe = SocketAddr::from(([127, 0, 0, 1], self.ports[1].number));
        Client::connect(observe).get("/metrics", &[]).text()
    }

    /// Sends a signal by its name, for example `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success(), "kill -{name}: {sent}");
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        eventually("the gateway ends", || self.child.try_wait().unwrap())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most resident memory so far, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself, which some tests ask for.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}", self.stderr());
            for line in self.access_lines() {
                eprintln!("{line}");
            }
        }
    }
}

/// `pointsman run` with a file, in an environment of its own.
pub(crate) fn command(file: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "-c"]).arg(file).env_clear();
    command
}

/// The same, with a bound on the size of its files that writing over is an error and no signal.
fn limited_command(file: &std::path::Path, kib: u32) -> Command {
    let script = format!("trap '' XFSZ; ulimit -S -f {kib}; exec \"$0\" run -c \"$1\"");
    let mut command = Command::new("/bin/bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_pointsman")]).arg(file).env_clear();
    command
}

/// A process and what it says.
fn spawn(command: &mut Command) -> (Child, Lines, Text) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let access = collect_access(child.stdout.take().unwrap());
    let stderr = collect_text(child.stderr.take().unwrap());
    (child, access, stderr)
}

fn collect_access(stdout: ChildStdout) -> Lines {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            let value = serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line.clone()));
            collected.lock().unwrap().push(value);
        }
    });
    lines
}

fn collect_text(mut stderr: ChildStderr) -> Text {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&text);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            collected.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    text
}
