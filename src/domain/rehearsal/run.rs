//! One made-up rollout, look by look, with the time passed in.

use std::time::Duration;

use super::chance::Chance;
use super::recording::Recording;
use super::world::{User, World};
use crate::domain::Arm;
use crate::domain::assignment::Share;
use crate::domain::evidence::{CellKey, Drawn, Measured, Observation, RouteEvidence, Stratum};
use crate::domain::guard::{Condition, Guard, Metrics};
use crate::domain::metric::BuiltIn;
use crate::domain::phase::Phase;
use crate::domain::rollout::{
    CATASTROPHE, Command, Effect, Event, Exposure, Ground, MAX_ELAPSED, Memory, Place, Plan, Recent, Rollout, State,
    Verb, catastrophe, step,
};

/// What is rehearsed.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What must hold before a stage ends, by stage.
    pub gates: &'a [Vec<Condition>],
    /// The guards.
    pub guards: &'a [Guard],
    /// What sequential guards may spend, all together.
    pub error_budget: f64,
    /// Whether many failed attempts in few roll back at once.
    pub abort_on_failures: bool,
    /// Where metrics are in the evidence.
    pub metrics: &'a dyn Metrics,
}

/// What requests there are, and what they measure.
#[derive(Debug, Clone, Copy)]
pub enum Traffic<'a> {
    /// Made up.
    World(&'a World),
    /// Recorded; users are drawn anew for every run.
    Recording(&'a Recording),
}

/// How time goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// From one look to the next, at least a second.
    pub look: Duration,
    /// When it is left alone.
    pub horizon: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The plan came to its end.
    Completed,
    /// It waits for somebody.
    Held,
    /// Control for everybody.
    RolledBack,
    /// The time was up.
    Unfinished,
}

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Since the beginning.
    pub at: Duration,
    /// Requests that the candidate had had.
    pub requests: u64,
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// How it ended.
    pub end: End,
    /// When.
    pub ended: Moment,
    /// When each guard acted, in their order; the last is the one that looks for catastrophes.
    pub acted: Vec<Option<Moment>>,
    /// Looks at everything.
    pub looks: u64,
}

/// Rehearses one rollout.
#[must_use]
pub fn run(subject: &Subject<'_>, traffic: Traffic<'_>, pace: Pace, seed: u64) -> Course {
    let mut under_way = Rehearsed::new(subject, traffic, seed);
    let end = loop {
        if let Some(end) = under_way.end(pace.horizon) {
            break end;
        }
        under_way.look(pace.look);
    };
    Course { end, ended: under_way.moment(), acted: under_way.acted, looks: under_way.looks }
}

/// A rollout under way.
struct Rehearsed<'a> {
    subject: &'a Subject<'a>,
    traffic: Traffic<'a>,
    seed: u64,
    chance: Chance,
    /// Since the beginning.
    now: Duration,
    rollout: Rollout,
    ground: Ground,
    memory: Memory,
    evidence: RouteEvidence,
    recent: [Recent; 2],
    /// Requests, by arm.
    requests: [u64; 2],
    /// The next event of a recording.
    next: usize,
    acted: Vec<Option<Moment>>,
    looks: u64,
}

/// What requests are subject to.
struct Stretch {
    exposure: Exposure,
    share: Share,
    phase: Phase,
    settling: bool,
}

impl<'a> Rehearsed<'a> {
    fn new(subject: &'a Subject<'a>, traffic: Traffic<'a>, seed: u64) -> Self {
        let ground = Ground::new();
        let mut all = Self {
            subject,
            traffic,
            seed,
            chance: Chance::new(seed, 0),
            now: Duration::ZERO,
            rollout: Rollout::new(subject.plan, ground.clone(), 0),
            ground,
            memory: Memory::default(),
            evidence: RouteEvidence::default(),
            recent: Default::default(),
            requests: [0; 2],
            next: 0,
            acted: vec![None; subject.guards.len() + 1],
            looks: 0,
        };
        all.say(Verb::Start);
        all
    }

    fn say(&mut self, verb: Verb) {
        let command = Command { verb, actor: "rehearsal".to_owned(), reason: "rehearsed".to_owned() };
        self.event(Event::Command(&command));
    }

    fn event(&mut self, event: Event<'_>) {
        let (plan, now) = (self.subject.plan, self.now.as_secs() as i64);
        let outcome = step(self.rollout.clone(), plan, &self.ground, event, now);
        self.rollout = outcome.rollout;
        for effect in outcome.effects {
            let Effect::Alert { key, .. } = effect else { continue };
            let guards = self.subject.guards;
            let place = guards.iter().position(|guard| *guard.name == *key);
            let place = place.or((key == CATASTROPHE).then_some(guards.len()));
            let moment = self.moment();
            if let Some(acted) = place.and_then(|place| self.acted.get_mut(place)) {
                acted.get_or_insert(moment);
            }
        }
    }

    const fn moment(&self) -> Moment {
        Moment { at: self.now, requests: self.requests[Arm::Candidate.index()] }
    }

    fn end(&self, horizon: Duration) -> Option<End> {
        match &self.rollout.state {
            State::Completed(_) => Some(End::Completed),
            State::Held { .. } => Some(End::Held),
            State::RolledBack { .. } => Some(End::RolledBack),
            State::Draft | State::Running(_) | State::AwaitingApproval(_) | State::Watching(_) => {
                (self.now >= horizon).then_some(End::Unfinished)
            }
        }
    }

    fn stretch(&self) -> Stretch {
        let exposure = self.rollout.exposure(self.subject.plan);
        let settling = exposure.mark.ends_with("settling");
        let phase = Phase(self.rollout.entry * 2 + u32::from(settling));
        Stretch { share: Share::new(exposure.percent), exposure, phase, settling }
    }

    /// Lets time go by, then looks at everything.
    fn look(&mut self, elapsed: Duration) {
        let stretch = self.stretch();
        self.now += elapsed;
        let failing = self.traffic(&stretch, elapsed);
        let Subject { guards, gates, error_budget, metrics, .. } = *self.subject;
        let place = Place {
            evidence: &self.evidence,
            metrics,
            phase: stretch.phase,
            settling: stretch.settling,
            now: self.now.as_millis() as u64,
            guards,
            gates,
            error_budget,
            breaker_open: false,
            gate_shut: false,
        };
        let seen = self.memory.see(&place, &self.rollout, elapsed);
        self.looks += 1;
        self.rollout.baselines.extend(seen.baselines);
        let mut observed = seen.observed;
        observed.catastrophe = failing;
        let entry = self.rollout.entry;
        let mut left = elapsed;
        // The longest stretch that one step takes is short; what was seen is the same for all of them.
        while left > Duration::ZERO && self.rollout.entry == entry {
            observed.elapsed = left.min(MAX_ELAPSED);
            left -= observed.elapsed;
            self.event(Event::Tick(&observed));
        }
        if matches!(self.rollout.state, State::AwaitingApproval(_)) {
            self.say(Verb::Approve);
        }
    }

    /// Requests of a stretch of time; tells of a catastrophe, after which nobody asks any more.
    fn traffic(&mut self, stretch: &Stretch, elapsed: Duration) -> Option<String> {
        match self.traffic {
            Traffic::World(world) => {
                let count = self.chance.poisson(world.rate * elapsed.as_secs_f64());
                for _ in 0..count {
                    self.request(world, stretch);
                    if self.subject.abort_on_failures
                        && let Some(failing) = catastrophe(&self.recent)
                    {
                        return Some(failing);
                    }
                }
            }
            Traffic::Recording(recording) => self.replay(recording, stretch),
        }
        None
    }

    fn request(&mut self, world: &World, stretch: &Stretch) {
        let number = self.requests.iter().sum();
        let user = User::new(self.seed, world.crowd.pick(number, &mut self.chance));
        let arm = self.arrive(&user, stretch);
        for (place, made) in world.metrics.iter().enumerate() {
            let value = world.value(place, &user, arm, &mut self.chance);
            self.observe(&user, arm, stretch, made.metric, value, made.timed);
            if world.failures == Some(place) {
                self.recent[arm.index()].note(value > 0.0);
            }
        }
    }

    /// Events up to now; each is taken for a request.
    fn replay(&mut self, recording: &Recording, stretch: &Stretch) {
        let seconds = self.now.as_secs();
        while let Some(event) = recording.events.get(self.next).filter(|event| event.at <= seconds) {
            self.next += 1;
            let user = User::new(self.seed, event.user);
            let arm = self.arrive(&user, stretch);
            for (place, value) in &event.values {
                let value = recording.value(*place, *value, arm, &mut self.chance);
                if let Some(made) = recording.metrics.get(*place) {
                    self.observe(&user, arm, stretch, made.metric, value, made.timed);
                }
            }
        }
    }

    /// A user's request comes, and is drawn an arm.
    fn arrive(&mut self, user: &User, stretch: &Stretch) -> Arm {
        let arm = if stretch.share.contains(user.bucket) { Arm::Candidate } else { Arm::Control };
        self.requests[arm.index()] += 1;
        let (percent, at) = (stretch.exposure.percent.get(), self.now.as_secs() as i64);
        let drawn = Drawn { percent, at, user: Some(user.sample), arm, measured: true };
        self.evidence.draw(stretch.phase, Stratum::Rollout, drawn);
        self.observe(user, arm, stretch, Measured::BuiltIn(BuiltIn::Requests), 1.0, false);
        arm
    }

    fn observe(&mut self, user: &User, arm: Arm, stretch: &Stretch, metric: Measured, value: f64, timed: bool) {
        let key = CellKey { phase: stretch.phase, stratum: Stratum::Rollout, arm, metric };
        let day = (self.now.as_secs() / 86_400) as i32;
        self.evidence.observe(key, Observation { bucket: Some(user.statistical), value, day }, timed);
    }
}

/// How runs of the same ended, and when.
#[derive(Debug, Clone, Default)]
pub struct Courses {
    all: Vec<Course>,
}

impl Courses {
    /// Adds one.
    pub fn add(&mut self, course: Course) {
        self.all.push(course);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.all.len()
    }

    /// How many ended so.
    #[must_use]
    pub fn ended(&self, end: End) -> usize {
        self.all.iter().filter(|course| course.end == end).count()
    }

    /// The median time of those that ended so.
    #[must_use]
    pub fn duration(&self, end: End) -> Option<Duration> {
        median(self.all.iter().filter(|course| course.end == end).map(|course| course.ended.at))
    }

    /// When the guard in this place acted, in the runs in which it did.
    pub fn acted(&self, place: usize) -> impl Iterator<Item = Moment> + '_ {
        self.all.iter().filter_map(move |course| *course.acted.get(place)?)
    }

    /// The least looks of a run.
    #[must_use]
    pub fn fewest_looks(&self, end: End) -> Option<u64> {
        self.all.iter().filter(|course| course.end == end).map(|course| course.looks).min()
    }
}

/// The middle one.
#[must_use]
pub fn median<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let middle = values.len().checked_sub(1)? / 2;
    values.into_iter().nth(middle)
}
