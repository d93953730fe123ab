//! Plans that people have, walked in the operator's words: `tests/scenarios/NAME.txt` is what is done and
//! `NAME.out` what comes of it, so that a change of behaviour is a change of a text.
//!
//! `POINTSMAN_BLESS=1 cargo test --test scenarios` writes the latter anew. Only the domain is asked: plan, guards and
//! gates of a real file, `judge` and `step`; what the arms did is told by the script, and time is passed in.
//!
//! ```text
//! load FILE ROUTE [NAME=VALUE ...]      the file, with these variables
//! edit `OLD` `NEW`                      in the file
//! say VERB [STAGE] "REASON"             an operator's command
//! pass TIME                             `5m`, `2h`, `7d`
//! candidate FIGURE QUANTITY of SAMPLES  as a condition calls it: `candidate error_rate 7% of 200`
//! control FIGURE QUANTITY of SAMPLES
//! forget [control]                      no figures, of either arm or of control
//! finds "CONDITION" VERDICT             of a condition that is tested: `holds`, `fails`, `unknown`
//! traffic N requests M users            of the candidate, each hour
//! breaker open|closed, gate shut|open
//! catastrophe "FIGURES"                 at the next moment
//! show
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what broke")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman::config::model::{Asks, Baseline, Condition, Config, Figure, Guard, MetricRef, Test};
use pointsman::config::{load_text, phase};
use pointsman::domain::Arm;
use pointsman::domain::guard::{
    self, Against, Comparator, Expression, Figures, Finding, Reading, Unit, Verdict, judge,
};
use pointsman::domain::rollout::{
    Command, Effect, Event, Ground, MAX_ELAPSED, Observed, Plan, Reply, Report, Rollout, State, Verb, Watched,
    describe, step,
};

/// Values that a gate needs; the gateway's own number.
const GATE_SAMPLES: f64 = 20.0;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn check(name: &str) {
    let script = folder().join(name).with_extension("txt");
    let out = play(&std::fs::read_to_string(&script).unwrap());
    let stored = script.with_extension("out");
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        std::fs::write(&stored, &out).unwrap();
    }
    let expected = std::fs::read_to_string(&stored).unwrap_or_default();
    assert!(out == expected, "{} differs:\n{}", stored.display(), difference(&expected, &out));
}

#[test]
fn chatbot() {
    check("chatbot");
}

#[test]
fn keyword_extraction() {
    check("keyword-extraction");
}

#[test]
fn lightrag() {
    check("lightrag");
}

#[test]
fn session_builder() {
    check("session-builder");
}

#[test]
fn every_script_is_played() {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut scripts: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned())).collect();
    scripts.sort();
    assert_eq!(scripts, ["chatbot", "keyword-extraction", "lightrag", "session-builder"]);
}

fn difference(stored: &str, found: &str) -> String {
    similar::TextDiff::from_lines(stored, found).unified_diff().context_radius(3).to_string()
}

fn play(script: &str) -> String {
    let mut scene: Option<Scene> = None;
    let mut out = String::new();
    for (number, line) in (1..).zip(script.lines()) {
        let words = words(line);
        out += &if words.is_empty() { format!("{line}\n") } else { format!("> {line}\n") };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (words.as_slice(), &mut scene) {
            ([], _) => {}
            (["load", file, route, variables @ ..], _) => scene = Some(Scene::load(file, route, variables, &mut out)),
            (words, Some(scene)) => {
                assert!(scene.obey(words), "line {number}: {line:?} is not understood");
                out += &std::mem::take(&mut scene.out);
            }
            (_, None) => panic!("line {number}: `load` comes first"),
        }
    }
    out
}

/// Words of a line; those in quotes hold spaces. A `#` begins a line that is a comment.
fn words(line: &str) -> Vec<String> {
    if line.starts_with('#') {
        return Vec::new();
    }
    // What is edited may hold quotes itself.
    let quote = if line.starts_with("edit ") { '`' } else { '"' };
    let quoted = line.split(quote).enumerate();
    let parts = quoted.flat_map(|(index, part)| {
        let is_quoted = index % 2 == 1;
        let split: Vec<&str> = if is_quoted { vec![part] } else { part.split_whitespace().collect() };
        split.into_iter().map(str::to_owned).collect::<Vec<_>>()
    });
    parts.collect()
}

/// A route, its rollout, and what the script says of the arms.
struct Scene {
    text: String,
    variables: BTreeMap<String, String>,
    route: String,
    config: Config,
    index: usize,
    ground: Ground,
    rollout: Rollout,
    report: Report,
    findings: Vec<Watched>,
    /// Since the file was loaded.
    now: Duration,
    /// When the present stretch began, and its number.
    stretch: (Duration, u32),
    figures: HashMap<(Arm, String), Reading>,
    verdicts: HashMap<String, Verdict>,
    traffic: (f64, f64),
    breaker_open: bool,
    gate_shut: bool,
    catastrophe: Option<String>,
    out: String,
}

impl Scene {
    fn load(file: &str, route: &str, variables: &[&str], out: &mut String) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let variables = variables.iter().map(|pair| pair.split_once('=').unwrap());
        let variables: BTreeMap<String, String> = variables.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        let config = read(&text, &variables);
        let index = config.routes.iter().position(|known| *known.name == *route).unwrap();
        let ground = phase::parts(&config, &config.routes[index]).ground();
        let rollout = Rollout::new(&config.routes[index].rollout.plan, ground.clone(), 0);
        if !config.routes[index].policy.enabled {
            *out += "  the file has switched the candidate off\n";
        }
        Self {
            text,
            variables,
            route: route.to_owned(),
            config,
            index,
            ground,
            rollout,
            report: Report::default(),
            findings: Vec::new(),
            now: Duration::ZERO,
            stretch: (Duration::ZERO, 0),
            figures: HashMap::new(),
            verdicts: HashMap::new(),
            traffic: (0.0, 0.0),
            breaker_open: false,
            gate_shut: false,
            catastrophe: None,
            out: String::new(),
        }
    }

    /// Whether it understands.
    fn obey(&mut self, words: &[&str]) -> bool {
        match words {
            ["edit", old, new] => self.edit(old, new),
            ["say", verb, reason] => self.say(verb, None, reason),
            ["say", verb, stage, reason] => self.say(verb, Some(stage), reason),
            ["pass", time] => self.pass(duration(time)),
            ["candidate", figure, quantity, "of", samples] => self.tell(Arm::Candidate, figure, quantity, samples),
            ["control", figure, quantity, "of", samples] => self.tell(Arm::Control, figure, quantity, samples),
            ["forget"] => self.figures.clear(),
            ["forget", "control"] => self.figures.retain(|(arm, _), _| *arm == Arm::Candidate),
            ["finds", condition, verdict] => self.find(condition, verdict),
            ["traffic", requests, "requests", users, "users"] => {
                self.traffic = (requests.parse().unwrap(), users.parse().unwrap());
            }
            ["breaker", position] => self.breaker_open = *position == "open",
            ["gate", position] => self.gate_shut = *position == "shut",
            ["catastrophe", figures] => self.catastrophe = Some((*figures).to_owned()),
            ["show"] => self.show(),
            _ => return false,
        }
        true
    }

    fn plan(&self) -> Plan {
        self.config.routes[self.index].rollout.plan.clone()
    }

    fn edit(&mut self, old: &str, new: &str) {
        assert!(self.text.contains(old), "the file has no {old:?}");
        self.text = self.text.replace(old, new);
        self.config = read(&self.text, &self.variables);
        self.index = self.config.routes.iter().position(|known| *known.name == *self.route).unwrap();
        self.ground = phase::parts(&self.config, &self.config.routes[self.index]).ground();
        let (plan, observed) = (self.plan(), self.look());
        self.step(&plan, Event::Tick(&observed));
    }

    fn say(&mut self, verb: &str, stage: Option<&str>, reason: &str) {
        let plan = self.plan();
        let verb = match Verb::parse(verb, stage, &plan) {
            Ok(verb) => verb,
            Err(help) => return self.line(&format!("not understood: {help}")),
        };
        let command = Command { verb, actor: "operator".to_owned(), reason: reason.to_owned() };
        let reply = self.step(&plan, Event::Command(&command));
        match reply {
            Reply::Done => {}
            Reply::Already => self.line("it was so already"),
            Reply::Refused(why) => self.line(&format!("refused: {why}")),
        }
    }

    fn pass(&mut self, time: Duration) {
        let (end, plan) = (self.now + time, self.plan());
        // What the arms did changes with the script alone, and what is asked with the stretch.
        let mut seen: Option<(u32, Observed)> = None;
        while self.now < end {
            self.leap(&plan, end);
            let elapsed = MAX_ELAPSED.min(end - self.now);
            self.now += elapsed;
            let (entry, mut observed) = seen
                .take()
                .filter(|(entry, _)| *entry == self.rollout.entry)
                .unwrap_or_else(|| (self.rollout.entry, self.look()));
            (observed.elapsed, observed.catastrophe) = (elapsed, self.catastrophe.take());
            (observed.requests, observed.users) = self.drawn(elapsed);
            self.step(&plan, Event::Tick(&observed));
            seen = Some((entry, observed));
        }
    }

    /// Days pass in a minute's steps while no guard counts, up to what its stage waits for: what a step would do to
    /// the time is done here, since a debug build takes half a minute for three weeks of five-second steps.
    fn leap(&mut self, plan: &Plan, end: Duration) {
        const STEP: Duration = Duration::from_secs(60);
        if !self.rollout.clocks.is_empty() || self.catastrophe.is_some() {
            return;
        }
        let (at, borders) = match &mut self.rollout.state {
            State::Running(at) => {
                let Some(stage) = plan.stage(at.stage) else { return };
                (at, vec![stage.hold.max(stage.settle), stage.settle, stage.deadline.unwrap_or_default()])
            }
            State::Watching(at) => (at, vec![plan.stages().unwrap().watch]),
            State::Draft
            | State::Held { .. }
            | State::AwaitingApproval(_)
            | State::RolledBack { .. }
            | State::Completed(_) => return,
        };
        let next =
            borders.into_iter().filter_map(|border| border.checked_sub(at.active())).filter(|left| !left.is_zero());
        let whole = next.chain([STEP, end - self.now]).min().unwrap();
        let leap = whole.saturating_sub(MAX_ELAPSED);
        at.active_ms += leap.as_millis() as u64;
        self.now += leap;
    }

    /// Requests and users of the candidate since the present stretch began.
    fn drawn(&mut self, elapsed: Duration) -> (f64, f64) {
        if self.stretch.1 != self.rollout.entry {
            self.stretch = (self.now.saturating_sub(elapsed), self.rollout.entry);
        }
        let hours = (self.now - self.stretch.0).as_secs_f64() / 3_600.0;
        (self.traffic.0 * hours, self.traffic.1 * hours)
    }

    fn tell(&mut self, arm: Arm, figure: &str, quantity: &str, samples: &str) {
        let Ok(Expression::Comparison(told)) = guard::parse(&format!("{figure} > {quantity}")) else {
            panic!("no figure: {figure} {quantity}");
        };
        let Against::Number(quantity) = told.against else { panic!("no quantity: {quantity}") };
        let asked = self.conditions().into_iter().find(|condition| left_side(&condition.text) == figure);
        let asked = asked.unwrap_or_else(|| panic!("no condition asks for {figure}"));
        let metric = asked.figure().unwrap().metric;
        let in_seconds = matches!(metric, MetricRef::Own(index) if &*self.config.metrics[index].unit == "s");
        let scale = if quantity.unit == Unit::Time && in_seconds { 1e-3 } else { 1.0 };
        let reading = Reading { value: quantity.number * scale, samples: samples.parse().unwrap() };
        self.figures.insert((arm, figure.to_owned()), reading);
    }

    fn find(&mut self, condition: &str, verdict: &str) {
        let verdict = match verdict {
            "holds" => Verdict::Holds,
            "fails" => Verdict::Fails,
            "unknown" => Verdict::NotEnoughData,
            other => panic!("no verdict: {other}"),
        };
        assert!(self.conditions().iter().any(|known| *known.text == *condition), "no condition {condition:?}");
        self.verdicts.insert(condition.to_owned(), verdict);
    }

    fn conditions(&self) -> Vec<Condition> {
        let route = &self.config.routes[self.index];
        let guards = route.guards.iter().map(|guard| &guard.condition);
        guards.chain(route.rollout.gates.iter().flatten()).cloned().collect()
    }

    /// What guards and gates see now.
    fn look(&mut self) -> Observed {
        let route = self.config.routes[self.index].clone();
        let guards: Vec<Watched> = route.guards.iter().map(|guard| self.watch(guard)).collect();
        let stage = self.rollout.state.standing().map_or(0, |at| at.stage);
        let gates = route.rollout.gates.get(stage).into_iter().flatten();
        let gates = gates.map(|gate| (gate.text.to_string(), self.judged(gate, GATE_SAMPLES, None, false))).collect();
        self.findings.clone_from(&guards);
        Observed { gates, guards, ..Observed::default() }
    }

    fn watch(&mut self, guard: &Guard) -> Watched {
        let control = left_side(&guard.condition.text);
        let control = self.figures.get(&(Arm::Control, control.to_owned())).copied();
        let frozen = match (guard.baseline, control) {
            (Baseline::Live, _) => None,
            (Baseline::Frozen, Some(own)) => {
                self.rollout.baselines.insert(guard.name.to_string(), own);
                None
            }
            (Baseline::Frozen, None) => self.rollout.baselines.get(&*guard.name).copied(),
        };
        let is_tested = matches!(guard.test, Test::Sequential { .. });
        Watched {
            name: guard.name.to_string(),
            action: guard.action,
            hold_for: guard.hold_for,
            min_samples: f64::from(guard.min_samples),
            alert_after: Some(guard.on_no_data),
            condition: guard.condition.text.to_string(),
            finding: self.judged(&guard.condition, f64::from(guard.min_samples), frozen, is_tested),
        }
    }

    fn judged(&self, condition: &Condition, least: f64, frozen: Option<Reading>, is_tested: bool) -> Finding {
        let figure = match &condition.asks {
            Asks::BreakerOpen => return Finding::of_truth(self.breaker_open),
            Asks::QualityGateShut => return Finding::of_truth(self.gate_shut),
            Asks::Figure(figure) => figure,
        };
        let Figure { statistic, comparator, limit, confidence, .. } = *figure;
        if is_tested || confidence.is_some() {
            let verdict = self.verdicts.get(&*condition.text).copied().unwrap_or(Verdict::NotEnoughData);
            return Finding { verdict, samples: least, ..Finding::UNKNOWN };
        }
        let of = |arm| self.figures.get(&(arm, left_side(&condition.text).to_owned())).copied();
        let (mut candidate, control) = (of(Arm::Candidate), of(Arm::Control).or(frozen));
        if statistic.accumulates() && comparator == Comparator::Above {
            candidate = candidate.or(Some(Reading { value: 0.0, samples: 0.0 }));
        }
        let least = if statistic.accumulates() { 0.0 } else { least };
        judge(comparator, limit, &Figures { candidate, control, is_partial: false }, least)
    }

    fn step(&mut self, plan: &Plan, event: Event<'_>) -> Reply {
        let outcome = step(self.rollout.clone(), plan, &self.ground, event, self.now.as_secs() as i64);
        self.rollout = outcome.rollout;
        self.report = outcome.report;
        for effect in outcome.effects {
            let text = match effect {
                Effect::Moved(moved) => {
                    let from = stand(&moved.from.state, moved.from.stage.as_deref(), moved.from.percent);
                    let to = stand(&moved.to.state, moved.to.stage.as_deref(), moved.to.percent);
                    format!("{}: {from} -> {to} ({}: {})", moved.kind, moved.note.actor, moved.note.reason)
                }
                Effect::Alert { key, critical, text } => {
                    format!("{} {key}: {text}", if critical { "CRITICAL" } else { "warning" })
                }
                Effect::Resolve { key } => format!("resolved {key}"),
            };
            self.line(&text);
        }
        outcome.reply
    }

    fn show(&mut self) {
        let described = describe(&self.rollout, &self.plan());
        let mut line = stand(&described.state, described.stage.as_deref(), described.percent);
        if self.rollout.disabled {
            line += ", disabled";
        }
        self.line(&line);
        for wait in self.report.waits.clone() {
            let about = wait.about.map(|seconds| format!(", about {}", clock(Duration::from_secs(seconds))));
            self.line(&format!("waits for {}{}", wait.what, about.unwrap_or_default()));
        }
        for guard in self.findings.clone() {
            let verdict = match guard.finding.verdict {
                Verdict::Holds => "holds",
                Verdict::Fails => "fine",
                Verdict::NotEnoughData => "not enough data",
            };
            self.line(&format!("{}: {verdict}", guard.words()));
        }
    }

    fn line(&mut self, text: &str) {
        writeln!(self.out, "  {}  {text}", clock(self.now)).unwrap();
    }
}

fn read(text: &str, variables: &BTreeMap<String, String>) -> Config {
    load_text(text, "gateway.toml", variables).unwrap_or_else(|report| panic!("{report}")).config
}

fn stand(state: &str, stage: Option<&str>, percent: f64) -> String {
    let stage = stage.map(|stage| format!(" in {stage:?}")).unwrap_or_default();
    format!("{state}{stage} at {percent} %")
}

/// `error_rate` of `error_rate > 5%`.
fn left_side(condition: &str) -> &str {
    condition.split_whitespace().next().unwrap_or_default()
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => panic!("no time: {text}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * scale)
}

/// `2d 03:04:05`
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let days = if seconds >= 86_400 { format!("{}d ", seconds / 86_400) } else { String::new() };
    format!("{days}{:02}:{:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}
