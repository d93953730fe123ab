//! Rollouts on their way to the store and back: versions, retries, and what the history says.

use std::sync::Arc;

use serde_json::json;

use super::STORE_TIMEOUT;
use crate::clock;
use crate::domain::rollout::{Effect, Ground, Plan, Rollout};
use crate::store::{Attached, Entry, Failure, State, StateChange, StateVersion, Store as _};

/// The part of the ground that names the arms.
pub(super) const ARMS: &str = "arms";
/// Entries that wait for a store that fails; the oldest go first.
const MAX_WAITING: usize = 256;

/// The store, as far as rollouts use it.
pub(super) struct Kept {
    store: Arc<Attached>,
}

/// A rollout that was rolled back, and under which name.
pub(super) struct Latch {
    pub(super) route: String,
    pub(super) rollout: Rollout,
    pub(super) version: u64,
}

/// A write that nobody waited for any longer: it may be stored yet.
struct Late {
    text: String,
    /// How many of the entries that wait it takes along.
    entries: usize,
    /// Whether the change was taken back meanwhile.
    refused: bool,
}

/// What is known of one rollout.
pub(super) struct Known {
    /// `None` until the store has told.
    rollout: Option<Rollout>,
    /// As it was before the last change, and why it was not known then, to take that back.
    before: Option<(Option<Rollout>, Option<String>)>,
    /// The version that is stored.
    version: u64,
    /// What the history is to say.
    waiting: Vec<Entry>,
    /// Entries of the last change.
    added: usize,
    /// What is stored, as text.
    stored: String,
    late: Option<Late>,
    /// Why it is not known.
    pub(super) trouble: Option<String>,
}

impl Known {
    /// The store could not tell.
    pub(super) fn unread(why: String) -> Self {
        Self {
            rollout: None,
            before: None,
            version: 0,
            waiting: Vec::new(),
            added: 0,
            stored: String::new(),
            late: None,
            trouble: Some(why),
        }
    }

    pub(super) const fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Takes a change over, which may be taken back. It replaces what could not be read.
    pub(super) fn put(&mut self, rollout: Rollout, entries: Vec<Entry>, reversible: bool) {
        self.added = entries.len();
        self.waiting.extend(entries);
        let surplus = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..surplus);
        if let Some(late) = &mut self.late {
            late.entries = late.entries.saturating_sub(surplus);
        }
        let before = (self.rollout.replace(rollout), self.trouble.take());
        self.before = reversible.then_some(before);
    }

    /// As if the last change had not been.
    pub(super) fn take_back(&mut self) {
        if let Some((rollout, trouble)) = self.before.take() {
            let kept = self.waiting.len().saturating_sub(self.added);
            self.waiting.truncate(kept);
            let text = self.rollout.as_ref().map(Rollout::to_text);
            if let Some(late) = self.late.as_mut().filter(|late| text.as_ref() == Some(&late.text)) {
                (late.refused, late.entries) = (true, late.entries.min(kept));
            }
            (self.rollout, self.trouble) = (rollout, trouble);
        }
    }

    /// Looks whether what is stored is what was late, so that its entries are not written again. Whether it is.
    fn arrived(&mut self, route: &str, state: &State) -> bool {
        let Some(late) = self.late.take_if(|late| late.text == state.text) else { return false };
        self.waiting.drain(..late.entries.min(self.waiting.len()));
        if late.refused {
            self.waiting.insert(0, taken_back(route, state.version));
        }
        true
    }

    /// Whether something is to be written that cannot wait.
    pub(super) fn has_news(&self) -> bool {
        !self.waiting.is_empty() || self.late.is_some()
    }

    /// Whether it is not as it is stored.
    pub(super) fn has_progress(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| {
            let untouched = self.version == 0 && rollout.entry == 0 && !rollout.staged && !rollout.disabled;
            !untouched && rollout.to_text() != self.stored
        })
    }
}

impl Kept {
    pub(super) const fn new(store: Arc<Attached>) -> Self {
        Self { store }
    }

    /// Ends once the store is open.
    pub(super) fn opened(&self) -> impl Future<Output = ()> + use<> {
        let store = Arc::clone(&self.store);
        async move { store.attached().await }
    }

    /// Reads the rollout of a route; a new one begins where nothing is stored.
    pub(super) async fn read(
        &self,
        name: &str,
        plan: &Plan,
        ground: &Ground,
        is_named: impl Fn(&str) -> bool,
    ) -> Result<Known, String> {
        let found = bounded(self.store.state(name)).await.map_err(|failure| failure.to_string())?;
        let mut known = Known::unread(String::new());
        known.trouble = None;
        match found {
            None => {
                let rollout = Rollout::new(plan, ground.clone(), clock::timestamp().as_second());
                known.rollout = Some(match self.latch_of(name, ground, is_named).await? {
                    Some(other) => rollout.latched_as(&other),
                    None => rollout,
                });
            }
            Some(state) => {
                known.version = state.version;
                match Rollout::of_text(&state.text) {
                    Ok(rollout) => known.rollout = Some(rollout),
                    Err(error) => known.trouble = Some(error.to_string()),
                }
                known.stored = state.text;
            }
        }
        Ok(known)
    }

    /// The route under whose name these arms were rolled back, if the file names it no more: a latch outlives
    /// a new name.
    async fn latch_of(
        &self,
        name: &str,
        ground: &Ground,
        is_named: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, String> {
        let Some(arms) = ground.get(ARMS) else { return Ok(None) };
        let mut latched = self.latched(|other| other == name || is_named(other)).await?.into_iter();
        Ok(latched.find(|latch| latch.rollout.ground.get(ARMS) == Some(arms)).map(|latch| latch.route))
    }

    /// Rollouts that were rolled back, of routes that the file does not name. States that are none are left out.
    pub(super) async fn latched(&self, is_named: impl Fn(&str) -> bool) -> Result<Vec<Latch>, String> {
        let states = bounded(self.store.states()).await.map_err(|failure| failure.to_string())?;
        let latch = |(route, state): (Box<str>, State)| {
            let rollout = Rollout::of_text(&state.text).ok().filter(Rollout::is_rolled_back)?;
            Some(Latch { route: route.into(), rollout, version: state.version })
        };
        Ok(states.into_iter().filter(|(route, _)| !is_named(route)).filter_map(latch).collect())
    }

    /// Writes a rollout and what the history says of it.
    pub(super) async fn save(&self, name: &str, known: &mut Known) -> Result<(), String> {
        let Some(rollout) = &known.rollout else { return Ok(()) };
        let text = rollout.to_text();
        let change = StateChange {
            route: name.into(),
            expected: known.version,
            text: text.clone(),
            now: clock::timestamp(),
            history: known.waiting.clone(),
        };
        match bounded(self.store.save_state(change)).await {
            Ok(version) => known.settled(version, text),
            Err(Undone::Failed(Failure::Conflict { found })) => {
                // Either an earlier write of ours arrived although nobody waited for it, or somebody else wrote.
                let stored = bounded(self.store.state(name)).await.map_err(|failure| failure.to_string())?;
                match stored {
                    Some(state) => {
                        let was_late = known.arrived(name, &state);
                        if state.text == text && (known.waiting.is_empty() || !was_late) {
                            known.settled(state.version, text);
                        } else {
                            known.version = state.version;
                            return Err(format!("the state was changed meanwhile (version {found})"));
                        }
                    }
                    None => {
                        known.version = 0;
                        return Err("the state is gone".to_owned());
                    }
                }
            }
            Err(undone) => {
                if matches!(undone, Undone::Late) {
                    // The first one: those after it expect the same version, and would be refused.
                    let entries = known.waiting.len();
                    known.late.get_or_insert(Late { text, entries, refused: false });
                }
                return Err(undone.to_string());
            }
        }
        Ok(())
    }
}

impl Known {
    fn settled(&mut self, version: u64, text: String) {
        (self.version, self.stored) = (version, text);
        self.waiting.clear();
        (self.before, self.late) = (None, None);
    }
}

/// Why the store has not done it.
#[derive(Debug, thiserror::Error)]
enum Undone {
    /// It may still be done.
    #[error("the store does not answer within {} s", STORE_TIMEOUT.as_secs())]
    Late,
    /// It will not be done.
    #[error(transparent)]
    Failed(#[from] Failure),
}

async fn bounded<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Undone> {
    Ok(tokio::time::timeout(STORE_TIMEOUT, work).await.map_err(|_| Undone::Late)??)
}

/// What the history says where a write arrived after whoever asked for it had been refused.
fn taken_back(route: &str, version: StateVersion) -> Entry {
    let reason = "it was stored after it had been refused, because the store did not answer in time";
    Entry {
        at: clock::timestamp(),
        route: route.into(),
        kind: "taken_back".into(),
        actor: "store".into(),
        detail: json!({ "reason": reason, "version": version }).to_string().into(),
    }
}

/// What the history says: numbers, thresholds, the configuration's hash, who and why.
pub(super) fn entries(route: &str, effects: &[Effect], hash: &str) -> Vec<Entry> {
    let of = |effect: &Effect| match effect {
        Effect::Moved(moved) => {
            let detail = json!({
                "from": moved.from,
                "to": moved.to,
                "reason": moved.note.reason,
                "figures": figures(&moved.figures),
                "config": hash,
            });
            Some((moved.kind, moved.note.actor.clone(), detail))
        }
        Effect::Alert { key, critical, text } => {
            let detail = json!({ "key": key, "critical": critical, "text": text, "config": hash });
            Some(("alert", "guard".to_owned(), detail))
        }
        Effect::Resolve { key } => Some(("resolved", "guard".to_owned(), json!({ "key": key }))),
    };
    let entry = |(kind, actor, detail): (&str, String, serde_json::Value)| Entry {
        at: clock::timestamp(),
        route: route.into(),
        kind: kind.into(),
        actor: actor.into(),
        detail: detail.to_string().into(),
    };
    effects.iter().filter_map(of).map(entry).collect()
}

fn figures(figures: &[(String, crate::domain::guard::Finding)]) -> serde_json::Value {
    figures.iter().map(|(name, finding)| (name.clone(), json!(finding))).collect::<serde_json::Map<_, _>>().into()
}

/// Tells the log.
pub(super) fn log(route: &str, effect: &Effect) {
    match effect {
        Effect::Moved(moved) => {
            let (from, to) = (&moved.from, &moved.to);
            tracing::warn!(
                route,
                kind = moved.kind,
                actor = moved.note.actor,
                reason = moved.note.reason,
                from = from.state,
                to = to.state,
                stage = to.stage,
                percent = to.percent,
                "the rollout moved"
            );
        }
        Effect::Alert { key, critical, text } => tracing::warn!(route, key, critical, text, "alert"),
        Effect::Resolve { key } => tracing::info!(route, key, "resolved"),
    }
}
