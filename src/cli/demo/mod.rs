//! `pointsman demo`: sample backends, a judge, the gateway before them, traffic from many users, and a tour.
//!
//! Everything runs in this process, over real sockets, with a configuration file that can be edited.
//! Nothing that is shown is scripted: see [`tour`] and [`state`].

mod backends;
mod files;
mod judge;
mod rollouts;
mod screen;
mod serving;
mod state;
mod tour;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::Gateway;
use crate::clock;
use crate::config::{self, Sources};
use crate::telemetry::log;
use backends::Backends;
use files::{Addresses, Files};
use screen::{Screen, clock_text};
use state::State;
use tour::STEPS;
use traffic::Traffic;

/// Threads for sample backends and clients together.
const THREADS: usize = 2;

/// Exit code of a process that was interrupted twice, as shells have it for SIGINT.
const INTERRUPTED: i32 = 130;

/// How often the demo looks at the gateway.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a step waits at most for the gateway to look at the file that the one before it wrote.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

/// Options of `pointsman demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Port of the gateway.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Port of probes and metrics.
    #[arg(long, default_value_t = 9902)]
    pub observe_port: u16,
    /// Port of the administrative API.
    #[arg(long, default_value_t = 9901)]
    pub admin_port: u16,
    /// Requests a second.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// Folder for gateway.toml and the logs; a new temporary one without.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// End after so many seconds. Without: at Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// How many times as fast the tour goes.
    #[arg(long, hide = true, default_value_t = 1.0, value_parser = positive)]
    pub tour_speed: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| "must be a number above 0".to_owned())
}

/// Runs the demo. Exit code 1: clients saw errors.
///
/// # Errors
/// When a port is taken, or the system refuses what the demo needs.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let state = Demo::start(args)?.run()?;
    Ok(if state.seen.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A running demo.
struct Demo {
    args: Args,
    files: Files,
    gateway: Gateway,
    backends: Backends,
    traffic: Traffic,
    screen: Screen,
    began: Instant,
    last: State,
    runtime: Runtime,
}

/// Where the tour is.
#[derive(Default)]
struct Progress {
    /// Index of the next step.
    next: usize,
    /// The state at the begin of the current step.
    begin: Option<State>,
}

impl Demo {
    fn start(args: &Args) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("demo")
            .enable_all()
            .build()?;
        let backends = Backends::start(runtime.handle())?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses = Addresses {
            listen: loopback(args.port),
            observe: loopback(args.observe_port),
            admin: loopback(args.admin_port),
            legacy: backends.legacy.address(),
            llm: backends.llm.address(),
            reranker: backends.reranker.address(),
            distilled: backends.distilled.address(),
            judge: judge::start(runtime.handle())?,
        };
        let files = Files::create(args.dir.as_deref(), &addresses, args.tour_speed)?;
        let gateway = start_gateway(&files)
            .context("the demo's gateway did not start; --port, --observe-port and --admin-port choose other ports")?;
        let traffic = Traffic::start(gateway.address(), args.rate, runtime.handle());
        let last = State::read(&gateway, traffic.seen(), Duration::ZERO).context("the demo has lost its route")?;
        Ok(Self {
            args: args.clone(),
            files,
            gateway,
            backends,
            traffic,
            screen: Screen::new(),
            began: clock::now(),
            last,
            runtime,
        })
    }

    fn run(mut self) -> anyhow::Result<State> {
        self.screen.say(&self.greeting())?;
        let interrupted = self.interrupted()?;
        let mut progress = Progress::default();
        loop {
            self.round(&mut progress)?;
            let over = self.args.seconds.is_some_and(|seconds| self.last.uptime >= Duration::from_secs(seconds));
            if over || interrupted.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.end()
    }

    /// Looks, does what is due, and shows.
    fn round(&mut self, progress: &mut Progress) -> anyhow::Result<()> {
        let now = clock::now();
        self.look(now)?;
        self.tour(progress)?;
        Ok(self.screen.show(&self.last, now)?)
    }

    /// Becomes true with the first SIGINT or SIGTERM; the second ends the process at once.
    fn interrupted(&self) -> anyhow::Result<Arc<AtomicBool>> {
        let _inside = self.runtime.enter();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
        Ok(interrupted)
    }

    /// Reads the state, and says what moved.
    fn look(&mut self, now: Instant) -> anyhow::Result<()> {
        let uptime = now.saturating_duration_since(self.began);
        let Some(state) = State::read(&self.gateway, self.traffic.seen(), uptime) else {
            self.last.uptime = uptime;
            return Ok(());
        };
        for change in state.moves_since(&self.last) {
            self.say_at(uptime, &change)?;
        }
        self.last = state;
        Ok(())
    }

    /// Begins the next step of the tour if it is due, and tells what came of the one before.
    fn tour(&mut self, progress: &mut Progress) -> anyhow::Result<()> {
        let due = STEPS.get(progress.next).map_or(tour::END, |step| step.at);
        let (uptime, begins) = (self.last.uptime, tour::time(due, self.args.tour_speed));
        let last = progress.next.checked_sub(1).and_then(|last| STEPS.get(last));
        // On a busy machine the file may be looked at late; written over before, it would never have been.
        let waits = last.zip(progress.begin.as_ref()).is_some_and(|(step, begin)| !step.is_noticed(begin, &self.last));
        if uptime < begins || progress.next > STEPS.len() || waits && uptime < begins + NOTICED_WITHIN {
            return Ok(());
        }
        if let Some(begin) = progress.begin.take()
            && let Some(step) = last
        {
            let [measure, clients] = tour::outcome(step, &begin, &self.last);
            self.screen.say(&format!("      -> {measure}\n         {clients}"))?;
        }
        if let Some(step) = STEPS.get(progress.next) {
            self.say_at(uptime, step.sentence)?;
            step.action.run(&mut self.backends, &self.files)?;
            progress.begin = Some(self.last.clone());
        } else {
            let path = self.files.config();
            self.say_at(
                uptime,
                &format!("The tour is over; Ctrl-C ends. Edit the file and watch:\n      {}", path.display()),
            )?;
        }
        progress.next += 1;
        Ok(())
    }

    fn say_at(&mut self, uptime: Duration, text: &str) -> anyhow::Result<()> {
        Ok(self.screen.say(&format!("{:>5} {text}", clock_text(uptime)))?)
    }

    /// Lets what is under way end, tells the sums, and stops the gateway.
    fn end(mut self) -> anyhow::Result<State> {
        let seen = self.runtime.block_on(self.traffic.stop());
        let uptime = clock::now().saturating_duration_since(self.began);
        let state = State::read(&self.gateway, seen.clone(), uptime).unwrap_or(State { seen, uptime, ..self.last });
        self.screen.say(&format!("\nIn all:\n{}", screen::render(&state, None)))?;
        let (config, access, log) =
            (self.files.config(), self.files.log_path(ACCESS_LOG), self.files.log_path(GATEWAY_LOG));
        self.screen.say(&format!(
            "  {}  the configuration\n  {}  errors, fallbacks and 1 % of the rest\n  {}  what the gateway said\n\n\
             Next: write a gateway.toml with your own two backends, then `pointsman run -c gateway.toml`.",
            config.display(),
            access.display(),
            log.display(),
        ))?;
        self.gateway.stop();
        Ok(state)
    }

    fn greeting(&self) -> String {
        format!(
            "Pointsman demo: {users} users, {rate} requests a second.\n\
             \x20 gateway   curl -i -H 'x-user-id: me' http://{gateway}/search\n\
             \x20 observe   http://{observe}/metrics\n\
             \x20 admin     http://{admin}/api/v1/routes\n\
             \x20 file      {file}\n",
            users = traffic::USERS,
            rate = self.args.rate,
            gateway = self.gateway.address(),
            observe = self.gateway.observe,
            admin = self.gateway.admin,
            file = self.files.config().display(),
        )
    }
}

/// One JSON object a request.
const ACCESS_LOG: &str = "access.log";

/// The gateway's own log.
const GATEWAY_LOG: &str = "gateway.log";

/// Starts the gateway with the file alone: variables of this shell are not for the demo.
fn start_gateway(files: &Files) -> anyhow::Result<Gateway> {
    let sources = Sources { path: files.config(), ..Sources::default() };
    let loaded = config::load(&sources, None)?;
    let log = log::start_to(&loaded.config.log.level, std::sync::Mutex::new(files.log(GATEWAY_LOG)?))?;
    Ok(Gateway::start(loaded, files.log(ACCESS_LOG)?, Some(sources), log)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Arm;

    /// Longer than any machine takes.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// Whether the tour is over and both rollouts stand where they go by themselves.
    fn is_over(progress: &Progress, state: &State) -> bool {
        let state_of = |route| state.rollout(route).map(|rollout| &*rollout.view.state);
        progress.next > STEPS.len()
            && state_of("better") == Some("completed")
            && state_of("worse") == Some("rolled_back")
    }

    #[test]
    fn a_fast_tour_without_an_error_for_any_client() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args {
            port: 0,
            observe_port: 0,
            admin_port: 0,
            rate: 300,
            dir: Some(folder.path().to_owned()),
            seconds: None,
            tour_speed: 8.0,
        };
        let (mut demo, mut progress) = (Demo::start(&args).unwrap(), Progress::default());
        while !is_over(&progress, &demo.last) {
            demo.round(&mut progress).unwrap();
            assert!(demo.last.uptime < PATIENCE, "{:?}", demo.last);
            std::thread::sleep(LOOK_EVERY);
        }
        let state = demo.end().unwrap();
        assert_eq!((state.seen.errors, &state.seen.last_error), (0, &None));
        assert!(state.seen.answers > 1_000, "{state:?}");
        assert!(Arm::ALL.into_iter().all(|arm| state.arm(arm).requests > 0), "{state:?}");
        let others = state.rollouts.iter().flat_map(|rollout| rollout.served).sum::<u64>();
        assert_eq!(state.arms.iter().map(|arm| arm.requests).sum::<u64>() + others, state.seen.answers);
        assert!(state.fallbacks > 0 && state.kept_by_breaker > 0, "{state:?}");
        assert_eq!((state.refusals, state.taken_over, state.percent), (1, 2, 50.0), "{state:?}");
        assert!(state.seen.to_candidate > 0 && state.seen.to_control == 0, "{state:?}");
        let better = state.rollout("better").unwrap();
        assert_eq!((better.view.percent, better.view.stage.as_deref()), (100.0, Some("everybody")), "{better:?}");
        assert!(better.win_rate().is_some() && better.pairs.wins > better.pairs.losses, "{better:?}");
        let worse = state.rollout("worse").unwrap();
        let why = worse.view.why.as_deref().unwrap();
        assert_eq!(worse.view.percent, 0.0);
        assert!(
            why.starts_with("guard quality (quality < 0.7): 0.") && why.contains(" against 0.7000, from "),
            "{why}"
        );
    }
}
