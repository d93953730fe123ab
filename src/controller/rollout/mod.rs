//! Rollouts in the world: what `domain::rollout` decides is published, stored and told.
//!
//! One task walks all routes, once a second, and looks for catastrophes ten times a second where one can happen;
//! commands are obeyed at once, and a new configuration is met at once. It is the only writer of rollouts. Invariants:
//! what lowers exposure is published first and stored with retries, what raises it is stored first; what was refused
//! because the store was late is taken back there; a rollout that cannot be read serves control; nothing waits for a
//! store that hangs for longer than [`STORE_TIMEOUT`].

mod kept;
mod route;
mod traffic;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{RouteSummary, SharedEvidence, SharedWindows};
use crate::clock;
use crate::config::phase;
use crate::domain::Arm;
use crate::domain::breaker::Millis;
use crate::domain::evidence::RouteEvidence;
use crate::domain::percent::Percent;
use crate::domain::rollout::{
    Command, Effect, Event, Exposure, Ground, MAX_ELAPSED, Memory, Observed, Outcome, Plan, Reply, Report, Rollout,
    Verb, catastrophe, check_reason, concerns, step,
};
use crate::live::exposures::is_supervised;
use crate::live::{Exposures, Live, Snapshot};
use crate::store::Attached;
use kept::{ARMS, Kept, Known};
use route::with_place;
pub use route::{GuardView, found};
use traffic::Tracked;
pub use view::{STATE_UNKNOWN, View};

/// How often it is looked for catastrophes.
const TICK: Duration = Duration::from_millis(100);
/// How often everything is looked at.
const LOOK: Millis = 1_000;
/// The longest wait for the store; the task has guards to watch.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Commands that wait.
const MAX_ASKS: usize = 64;
/// Active time is written this often where nothing else changes.
const SAVE_PROGRESS: Millis = 10_000;
/// How long a store that failed is left alone.
const STORE_PAUSE: Millis = 1_000;

/// What somebody wants of a rollout.
#[derive(Debug)]
pub struct Ask {
    /// The route's name.
    pub route: String,
    /// The verb's word.
    pub verb: String,
    /// The stage, for `jump`.
    pub stage: Option<String>,
    /// A token's name.
    pub actor: String,
    /// In words.
    pub reason: String,
    /// The version that the asker has seen; another one is a conflict.
    pub version: Option<u64>,
    /// Whether it is only to be told what would happen.
    pub dry_run: bool,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// What came of it.
#[derive(Debug)]
pub enum Answer {
    /// It was done, or would be.
    Done(Box<View>),
    /// It was so already.
    Already(Box<View>),
    /// It cannot be done, and why.
    Refused(String, Box<View>),
    /// The rollout has another version.
    Conflict(Box<View>),
    /// There is no such route.
    Unknown,
    /// What was asked is not right.
    Invalid(String),
    /// The store cannot keep it, so it was not done.
    Unstored(String),
}

/// How others reach the rollouts.
#[derive(Debug, Clone)]
pub struct Rollouts {
    views: Arc<Mutex<BTreeMap<Arc<str>, View>>>,
    asks: mpsc::Sender<Ask>,
}

impl Rollouts {
    /// Rollouts, and the task that walks them.
    #[must_use]
    pub fn new(
        live: Arc<Live>,
        store: Arc<Attached>,
        windows: SharedWindows,
        evidence: SharedEvidence,
        tell: Tell,
    ) -> (Self, Walker) {
        let (asks, asked) = mpsc::channel(MAX_ASKS);
        let views = Arc::default();
        let rollouts = Self { views: Arc::clone(&views), asks };
        let kept = Kept::new(store);
        let routes = HashMap::new();
        let (looked_at, store_rests, knows_latches) = (clock::now_millis(), 0, false);
        let walker =
            Walker { live, kept, windows, evidence, views, asked, routes, looked_at, store_rests, knows_latches, tell };
        (rollouts, walker)
    }

    /// Rollouts that nobody walks.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        Self { views: Arc::default(), asks: mpsc::channel(1).0 }
    }

    /// Rollouts that stand so, and that nobody walks.
    #[cfg(test)]
    pub(crate) fn showing(view: View) -> Self {
        let rollouts = Self::unheard();
        let name = Arc::from(view.route.as_str());
        rollouts.views.lock().unwrap_or_else(PoisonError::into_inner).insert(name, view);
        rollouts
    }

    /// Where a route's rollout stands; `None` before it was first looked at.
    #[must_use]
    pub fn view(&self, route: &str) -> Option<View> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).get(route).cloned()
    }

    /// All rollouts, of routes that are gone, too, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Arc<str>, View> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for something; `None` when nobody answers, since the process ends.
    pub async fn ask(&self, make: impl FnOnce(oneshot::Sender<Answer>) -> Ask) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(make(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Who is told what happened to a route: the history is written by then.
pub type Tell = Box<dyn Fn(&str, &Effect) + Send + Sync>;

/// Walks all rollouts. See the module.
pub struct Walker {
    live: Arc<Live>,
    kept: Kept,
    windows: SharedWindows,
    evidence: SharedEvidence,
    views: Arc<Mutex<BTreeMap<Arc<str>, View>>>,
    asked: mpsc::Receiver<Ask>,
    routes: HashMap<Arc<str>, Supervised>,
    /// When everything was last looked at.
    looked_at: Millis,
    /// Until when the store is left alone.
    store_rests: Millis,
    /// Whether the latches of routes that the file names no more were read.
    knows_latches: bool,
    tell: Tell,
}

/// A route's rollout and what is remembered of it.
struct Supervised {
    known: Known,
    memory: Memory,
    tracked: Tracked,
    saved_at: Millis,
}

impl Walker {
    /// Reads where all rollouts stand, or finds that the store does not tell.
    pub async fn begin(&mut self) {
        let snapshot = self.live.snapshot();
        self.meet(&snapshot).await;
    }

    /// Runs until `stopping` is told, then writes what is not written.
    pub async fn run(mut self, mut stopping: oneshot::Receiver<()>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut opened = pin!(self.kept.opened());
        let mut is_open = false;
        loop {
            tokio::select! {
                biased;
                _ = &mut stopping => break,
                // Until then users of the candidate are on control.
                () = &mut opened, if !is_open => {
                    is_open = true;
                    self.read_again();
                    ticks.reset_immediately();
                }
                Some(ask) = self.asked.recv() => self.answer(ask).await,
                // Routes that are new may be latched.
                () = self.live.published() => ticks.reset_immediately(),
                _ = ticks.tick() => {
                    let watched = self.look().await;
                    // Where nothing can end in a catastrophe, an idle process is not woken for one.
                    ticks.reset_after(if watched { TICK } else { Duration::from_millis(LOOK) });
                }
            }
        }
        for name in self.routes.keys().cloned().collect::<Vec<_>>() {
            self.save(&name, true).await;
        }
    }

    /// What the store could not tell is asked again at the next look.
    fn read_again(&mut self) {
        self.store_rests = 0;
        let unknown = self.routes.values_mut().filter(|supervised| supervised.known.rollout().is_none());
        unknown.for_each(|supervised| supervised.saved_at = 0);
    }

    /// One look: catastrophes always, everything else once a second. Whether there is a route that one could happen to.
    async fn look(&mut self) -> bool {
        let snapshot = self.live.snapshot();
        self.meet(&snapshot).await;
        let now = clock::now_millis();
        let is_due = now.saturating_sub(self.looked_at) >= LOOK;
        // What is lost by looking late is lost: who slept did not watch.
        let elapsed = Duration::from_millis(now.saturating_sub(self.looked_at)).min(MAX_ELAPSED);
        if is_due {
            self.looked_at = now;
        }
        let mut watched = false;
        for index in 0..snapshot.routes.len() {
            let id = snapshot.routes[index].id;
            let route = &snapshot.config().routes[index];
            let name = Arc::clone(&route.name);
            let failing = if route.rollout.abort_on_failures && is_supervised(route) {
                watched = true;
                catastrophe(&self.windows.lock().recent(id))
            } else {
                None
            };
            if is_due || failing.is_some() {
                self.tick(&snapshot, index, &name, if is_due { elapsed } else { Duration::ZERO }, failing).await;
            }
        }
        if is_due {
            self.show_vanished(&snapshot).await;
        }
        watched
    }

    async fn tick(
        &mut self,
        snapshot: &Snapshot,
        index: usize,
        name: &Arc<str>,
        elapsed: Duration,
        failing: Option<String>,
    ) {
        let Some((supervised, before)) = self.routes.get_mut(name).and_then(|supervised| {
            let before = supervised.known.rollout()?.clone();
            Some((supervised, before))
        }) else {
            return;
        };
        let (time, now) = (clock::timestamp().as_second(), clock::now_millis());
        let totals = is_supervised(&snapshot.config().routes[index]).then(|| snapshot.routes[index].totals());
        let (seen, concerns) = {
            let evidence = self.evidence.lock();
            let empty = RouteEvidence::default();
            let evidence = evidence.route(snapshot.routes[index].id).unwrap_or(&empty);
            let concerns = totals.map(|totals| {
                let traffic = supervised.tracked.traffic(&totals, evidence, snapshot.phases[index], now);
                concerns(&before, before.exposure(plan_of(snapshot, index)).percent, &traffic, time)
            });
            let memory = &mut supervised.memory;
            let seen = with_place(snapshot, index, evidence, now, |place| memory.see(place, &before, elapsed));
            (seen, concerns.unwrap_or_default())
        };
        let concerns = supervised.tracked.news(concerns);
        let mut observed = Observed { catastrophe: failing, ..seen.observed };
        let mut rollout = before.clone();
        rollout.baselines.extend(seen.baselines);
        let (plan, ground) = (plan_of(snapshot, index), ground_of(snapshot, index));
        let mut outcome = step(rollout.clone(), plan, &ground, Event::Tick(&observed), time);
        outcome.effects.extend(concerns.iter().cloned());
        let mut report = outcome.report.clone();
        let mut applied = self.apply(snapshot, index, name, &before, outcome.clone()).await;
        if let Err(why) = &applied {
            // Time passes for guards all the same: a store that fails must not stop a rollback.
            observed.stuck = Some(format!("the store, which has to keep it first: {why}"));
            outcome = step(rollout, plan, &ground, Event::Tick(&observed), time);
            outcome.effects.extend(concerns);
            report.clone_from(&outcome.report);
            applied = self.apply(snapshot, index, name, &before, outcome.clone()).await.and(applied);
        }
        let guards = route::views(&observed, &outcome.rollout);
        if let Some(Supervised { known, .. }) = self.routes.get(name)
            && let Some(rollout) = known.rollout()
        {
            let share = share_seen(&self.windows.summary(snapshot.routes[index].id));
            let stored = applied.is_ok() && !known.has_news();
            let view = View::of(name, rollout, plan, known.version(), guards, report, stored).seen(share);
            self.show(name, view);
        }
    }

    /// Publishes and stores what came of a step, in the order that is safe.
    ///
    /// # Errors
    /// When it had to be stored first and was not: then nothing has happened.
    async fn apply(
        &mut self,
        snapshot: &Snapshot,
        index: usize,
        name: &Arc<str>,
        before: &Rollout,
        outcome: Outcome,
    ) -> Result<(), String> {
        let plan = plan_of(snapshot, index);
        let is = outcome.rollout.exposure(plan);
        let is_touched = is_supervised(&snapshot.config().routes[index]) || is != Exposure::of_file(is.percent);
        let Some(supervised) = self.routes.get_mut(name) else { return Ok(()) };
        let is_repaired = supervised.known.rollout().is_none();
        // Where nobody knew where it stood, control served everybody.
        let was = if is_repaired { Exposure::unknown() } else { before.exposure(plan) };
        let entries = kept::entries(name, &outcome.effects, &snapshot.config().hash);
        let raises = is.raises(&was);
        supervised.known.put(outcome.rollout, entries, raises);
        if raises && let Err(why) = self.store(name).await {
            if let Some(supervised) = self.routes.get_mut(name) {
                supervised.known.take_back();
            }
            return Err(why);
        }
        if is_touched {
            self.live.expose(Exposures::from([(Arc::clone(name), is)]));
        }
        let begins =
            outcome.effects.iter().any(|effect| matches!(effect, Effect::Moved(moved) if moved.kind == "restarted"));
        if begins {
            self.windows.lock().forget_recent(snapshot.routes[index].id);
        }
        let known = is_repaired.then(|| Effect::Resolve { key: STATE_UNKNOWN.to_owned() });
        for effect in outcome.effects.iter().chain(&known) {
            kept::log(name, effect);
            (self.tell)(name, effect);
        }
        // What is not stored now is stored later: it is published already.
        self.save(name, false).await;
        Ok(())
    }

    /// Writes a route's rollout, if there is anything to write and the store is not left alone.
    async fn save(&mut self, name: &Arc<str>, at_the_end: bool) {
        let now = clock::now_millis();
        let Some(supervised) = self.routes.get(name) else { return };
        let is_due = supervised.known.has_news()
            || (supervised.known.has_progress()
                && (at_the_end || now.saturating_sub(supervised.saved_at) >= SAVE_PROGRESS));
        if is_due && now >= self.store_rests {
            // It is told in the view, and the next look tries again.
            let _later = self.store(name).await;
        }
    }

    async fn store(&mut self, name: &Arc<str>) -> Result<(), String> {
        let now = clock::now_millis();
        let Some(supervised) = self.routes.get_mut(name) else { return Ok(()) };
        let outcome = self.kept.save(name, &mut supervised.known).await;
        supervised.saved_at = now;
        if let Err(why) = &outcome {
            self.store_rests = clock::now_millis() + STORE_PAUSE;
            tracing::warn!(route = &**name, why, "the rollout is not stored yet");
        }
        outcome
    }

    /// Reads the rollouts of routes that are new here.
    async fn meet(&mut self, snapshot: &Snapshot) {
        let now = clock::now_millis();
        for index in 0..snapshot.routes.len() {
            let name = Arc::clone(&snapshot.config().routes[index].name);
            let wait = |supervised: &Supervised| {
                supervised.known.rollout().is_some() || now.saturating_sub(supervised.saved_at) < LOOK
            };
            if self.routes.get(&name).is_some_and(wait) {
                continue;
            }
            let (plan, ground) = (plan_of(snapshot, index), ground_of(snapshot, index));
            let resting = now < self.store_rests;
            let found = if resting {
                Err("the store does not answer".to_owned())
            } else {
                self.kept.read(&name, plan, &ground, |other| snapshot.route_named(other).is_some()).await
            };
            if found.is_err() && !resting {
                self.store_rests = clock::now_millis() + STORE_PAUSE;
            }
            let known = found.unwrap_or_else(Known::unread);
            let news = known.rollout().map(|rollout| rollout.exposure(plan));
            let route = &snapshot.config().routes[index];
            let touched = is_supervised(route) || route.policy.stop.is_some();
            self.tell_of_reading(&name, &known, touched);
            if let Some(exposure) = news.filter(|exposure| touched || *exposure != Exposure::of_file(exposure.percent))
            {
                self.live.expose(Exposures::from([(Arc::clone(&name), exposure)]));
            }
            let view = View::unread(&name, &known, plan, touched);
            self.show(&name, view);
            self.routes.insert(
                name,
                Supervised { known, memory: Memory::default(), tracked: Tracked::default(), saved_at: now },
            );
        }
    }

    /// Tells that nobody knows where a rollout stands, the log once and people with every try, and when that is over.
    fn tell_of_reading(&self, name: &Arc<str>, known: &Known, touched: bool) {
        let was_unknown = self.routes.get(name).is_some_and(|supervised| supervised.known.rollout().is_none());
        let key = STATE_UNKNOWN.to_owned();
        if let Some(why) = known.trouble.as_ref().filter(|_| !was_unknown) {
            tracing::error!(route = &**name, why, "where the rollout stands cannot be read");
        }
        match &known.trouble {
            Some(why) if touched && known.rollout().is_none() => {
                let text = format!("control serves everybody, since it cannot be read where the rollout stands: {why}");
                (self.tell)(name, &Effect::Alert { key, critical: true, text });
            }
            Some(_) => {}
            None if was_unknown => (self.tell)(name, &Effect::Resolve { key }),
            None => {}
        }
    }

    /// Answers a command.
    async fn answer(&mut self, ask: Ask) {
        let snapshot = self.live.snapshot();
        self.meet(&snapshot).await;
        let Some(index) = snapshot.route_named(&ask.route) else {
            let _gone = ask.reply.send(Answer::Unknown);
            return;
        };
        let name = Arc::clone(&snapshot.config().routes[index].name);
        let answer = self.obey(&snapshot, index, &name, &ask).await;
        let _gone = ask.reply.send(answer);
    }

    async fn obey(&mut self, snapshot: &Snapshot, index: usize, name: &Arc<str>, ask: &Ask) -> Answer {
        let plan = plan_of(snapshot, index);
        let verb = match Verb::parse(&ask.verb, ask.stage.as_deref(), plan) {
            Ok(verb) => verb,
            Err(help) => return Answer::Invalid(help),
        };
        if let Err(help) = check_reason(&ask.reason) {
            return Answer::Invalid(help);
        }
        let Some(Supervised { known, .. }) = self.routes.get(name) else { return Answer::Unknown };
        let (version, ground, now) = (known.version(), ground_of(snapshot, index), clock::timestamp().as_second());
        let before = match known.rollout() {
            Some(rollout) => rollout.clone(),
            // What cannot be read is replaced, because somebody says so.
            None if matches!(verb, Verb::Rollback | Verb::Restart) => Rollout::new(plan, ground.clone(), now),
            None => return Answer::Unstored("the store has not told yet where the rollout stands".to_owned()),
        };
        let touched = is_supervised(&snapshot.config().routes[index]);
        let view = |rollout: &Rollout, version, stored| {
            Box::new(View::of(name, rollout, plan, version, Vec::new(), Default::default(), stored))
        };
        if ask.version.is_some_and(|seen| seen != version) {
            return Answer::Conflict(Box::new(View::unread(name, known, plan, touched)));
        }
        let command = Command { verb, actor: ask.actor.clone(), reason: ask.reason.trim().to_owned() };
        let outcome = step(before.clone(), plan, &ground, Event::Command(&command), now);
        let (reply, after) = (outcome.reply.clone(), outcome.rollout.clone());
        if ask.dry_run {
            return match reply {
                Reply::Done => Answer::Done(view(&after, version, true)),
                Reply::Already => Answer::Already(view(&after, version, true)),
                Reply::Refused(why) => Answer::Refused(why, view(&after, version, true)),
            };
        }
        if let Err(why) = self.apply(snapshot, index, name, &before, outcome).await {
            return Answer::Unstored(why);
        }
        let known = self.routes.get(name).map(|supervised| &supervised.known);
        let (version, stored) = known.map_or((version, false), |known| (known.version(), !known.has_news()));
        let view = view(&after, version, stored);
        self.show(name, View::clone(&view));
        match reply {
            Reply::Done => Answer::Done(view),
            Reply::Already => Answer::Already(view),
            Reply::Refused(why) => Answer::Refused(why, view),
        }
    }

    fn show(&self, name: &Arc<str>, view: View) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(name), view);
    }

    /// Shows what the file names no more: its latch is kept, also when an earlier process saw it last.
    async fn show_vanished(&mut self, snapshot: &Snapshot) {
        let is_named = |name: &str| snapshot.route_named(name).is_some();
        if !self.knows_latches
            && clock::now_millis() >= self.store_rests
            && let Ok(latched) = self.kept.latched(is_named).await
        {
            self.knows_latches = true;
            for kept::Latch { route, rollout, version } in latched {
                // Whose plan is gone has no stages to tell of.
                let plan = Plan::Fixed(Percent::ZERO);
                let view = View::of(&route, &rollout, &plan, version, Vec::new(), Report::default(), true);
                self.show(&Arc::from(route), view);
            }
        }
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, view) in views.iter_mut() {
            view.vanished = !is_named(name);
        }
    }
}

/// The share of the last minutes' requests that the candidate served, in percent.
fn share_seen(summary: &RouteSummary) -> Option<f64> {
    let (control, candidate) = (summary.control.requests as f64, summary.candidate.requests as f64);
    (control + candidate > 0.0).then(|| candidate / (control + candidate) * 100.0)
}

fn plan_of(snapshot: &Snapshot, index: usize) -> &Plan {
    &snapshot.config().routes[index].rollout.plan
}

fn ground_of(snapshot: &Snapshot, index: usize) -> Ground {
    let (config, route) = (snapshot.config(), &snapshot.config().routes[index]);
    let mut ground = phase::parts(config, route).ground();
    if let [Some(control), Some(candidate)] = Arm::ALL.map(|arm| route.backend(arm)) {
        let [control, candidate] = [&config.backends[control], &config.backends[candidate]];
        let version = candidate.version.as_deref().unwrap_or_default();
        ground.insert(ARMS.to_owned(), format!("{} and {} {version}", control.name, candidate.name));
    }
    ground
}
