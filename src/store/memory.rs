//! A store that forgets at exit: for trying things out, and for tests of those who use one.
//!
//! Bounded: the oldest events go when there are [`MAX_EVENTS`], the oldest kept exchanges when there are
//! [`MAX_SAMPLES`].

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Appended, Cell, CellKey, Checkpoint, Cursor, Entry, Event, EventId, EventQuery, Failure, HistoryQuery, MAX_PAGE,
    Page, Sample, SampleQuery, State, StateChange, StateVersion, Store, UserHash,
};

/// Events that are kept.
pub const MAX_EVENTS: usize = 100_000;
/// Exchanges that are kept.
pub const MAX_SAMPLES: usize = 1_000;
/// Entries of the history that are kept.
const MAX_HISTORY: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<(Cursor, Event)>,
    ids: HashSet<EventId>,
    last_event: Cursor,
    samples: VecDeque<(Cursor, Sample)>,
    last_sample: Cursor,
    cells: BTreeMap<CellKey, Vec<u8>>,
    events_up_to: Cursor,
    states: BTreeMap<Box<str>, State>,
    history: VecDeque<(Cursor, Entry)>,
    last_entry: Cursor,
    facts: BTreeMap<&'static str, String>,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change is whole before anything in it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn append(&mut self, event: Event) -> bool {
        if !self.ids.insert(event.id.clone()) {
            return false;
        }
        self.last_event += 1;
        self.events.push_back((self.last_event, event));
        if self.events.len() > MAX_EVENTS
            && let Some((_, oldest)) = self.events.pop_front()
        {
            self.ids.remove(&oldest.id);
        }
        true
    }

    fn retain_events(&mut self, wanted: impl Fn(&Event) -> bool) -> u64 {
        let before = self.events.len();
        let Self { events, ids, .. } = self;
        events.retain(|(_, event)| {
            let stays = wanted(event);
            if !stays {
                ids.remove(&event.id);
            }
            stays
        });
        (before - events.len()) as u64
    }

    fn append_sample(&mut self, sample: Sample) -> bool {
        if self.samples.iter().any(|(_, known)| known.id == sample.id) {
            return false;
        }
        self.last_sample += 1;
        self.samples.push_back((self.last_sample, sample));
        let surplus = self.samples.len().saturating_sub(MAX_SAMPLES);
        self.samples.drain(..surplus);
        true
    }

    fn retain_samples(&mut self, wanted: impl Fn(&Sample) -> bool) -> u64 {
        let before = self.samples.len();
        self.samples.retain(|(_, sample)| wanted(sample));
        (before - self.samples.len()) as u64
    }

    fn note(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.last_entry += 1;
            self.history.push_back((self.last_entry, entry));
        }
        let surplus = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..surplus);
    }
}

#[async_trait]
impl Store for Memory {
    async fn append_events(&self, events: Vec<Event>) -> Result<Appended, Failure> {
        let mut kept = self.kept();
        let count = events.len();
        let stored = events.into_iter().filter_map(|event| kept.append(event).then_some(())).count();
        Ok(Appended { stored, duplicates: count - stored, last: kept.last_event })
    }

    async fn events(&self, query: EventQuery) -> Result<Page<Event>, Failure> {
        let kept = self.kept();
        let limit = query.limit.min(MAX_PAGE);
        let wanted = |event: &Event| {
            let route = event.attribution.as_ref().map(|to| &*to.route);
            query.name.as_deref().is_none_or(|name| name == &*event.name)
                && query.route.as_deref().is_none_or(|wanted| route == Some(wanted))
                && query.start.is_none_or(|start| event.at >= start)
                && query.end.is_none_or(|end| event.at < end)
        };
        let found = kept.events.iter().filter(|(number, event)| *number > query.after && wanted(event));
        Ok(page(found.take(limit).cloned().collect(), limit))
    }

    async fn append_samples(&self, samples: Vec<Sample>) -> Result<Appended, Failure> {
        let mut kept = self.kept();
        let count = samples.len();
        let stored = samples.into_iter().filter_map(|sample| kept.append_sample(sample).then_some(())).count();
        Ok(Appended { stored, duplicates: count - stored, last: kept.last_sample })
    }

    async fn samples(&self, query: SampleQuery) -> Result<Page<Sample>, Failure> {
        let kept = self.kept();
        let limit = query.limit.min(MAX_PAGE);
        let wanted = |sample: &Sample| {
            query.route.as_deref().is_none_or(|wanted| wanted == &*sample.route)
                && query.start.is_none_or(|start| sample.at >= start)
                && query.end.is_none_or(|end| sample.at < end)
        };
        let found = kept.samples.iter().filter(|(number, sample)| *number > query.after && wanted(sample));
        Ok(page(found.take(limit).cloned().collect(), limit))
    }

    async fn forget_samples(&self, route: &str, before: Timestamp) -> Result<u64, Failure> {
        Ok(self.kept().retain_samples(|sample| &*sample.route != route || sample.at >= before))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, Failure> {
        let mut kept = self.kept();
        let events = kept.retain_events(|event| event.at >= before);
        let events = events + kept.retain_samples(|sample| sample.at >= before);
        let entries = kept.history.len();
        kept.history.retain(|(_, entry)| entry.at >= before);
        Ok(events + (entries - kept.history.len()) as u64)
    }

    async fn drop_oldest(&self) -> Result<u64, Failure> {
        let mut kept = self.kept();
        let oldest = kept.events.len().div_ceil(10);
        for _ in 0..oldest {
            if let Some((_, event)) = kept.events.pop_front() {
                kept.ids.remove(&event.id);
            }
        }
        let oldest_samples = kept.samples.len().div_ceil(10);
        kept.samples.drain(..oldest_samples);
        Ok((oldest + oldest_samples) as u64)
    }

    async fn erase_user(&self, user: UserHash) -> Result<u64, Failure> {
        let mut kept = self.kept();
        let events = kept.retain_events(|event| event.user != Some(user));
        Ok(events + kept.retain_samples(|sample| sample.user != Some(user)))
    }

    async fn save_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        let mut kept = self.kept();
        for Cell { key, bytes } in checkpoint.cells {
            if bytes.is_empty() {
                kept.cells.remove(&key);
            } else {
                kept.cells.insert(key, bytes);
            }
        }
        kept.events_up_to = checkpoint.events_up_to;
        Ok(())
    }

    async fn checkpoint(&self) -> Result<Checkpoint, Failure> {
        let kept = self.kept();
        let cells = kept.cells.iter().map(|(key, bytes)| Cell { key: key.clone(), bytes: bytes.clone() }).collect();
        Ok(Checkpoint { cells, events_up_to: kept.events_up_to })
    }

    async fn state(&self, route: &str) -> Result<Option<State>, Failure> {
        Ok(self.kept().states.get(route).cloned())
    }

    async fn states(&self) -> Result<Vec<(Box<str>, State)>, Failure> {
        Ok(self.kept().states.iter().map(|(route, state)| (route.clone(), state.clone())).collect())
    }

    async fn save_state(&self, change: StateChange) -> Result<StateVersion, Failure> {
        let mut kept = self.kept();
        let found = kept.states.get(&change.route).map_or(0, |state| state.version);
        if found != change.expected {
            return Err(Failure::Conflict { found });
        }
        let state = State { version: found + 1, text: change.text, saved_at: change.now };
        kept.states.insert(change.route, state);
        kept.note(change.history);
        Ok(found + 1)
    }

    async fn append_history(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        self.kept().note(entries);
        Ok(())
    }

    async fn history(&self, query: HistoryQuery) -> Result<Page<Entry>, Failure> {
        let kept = self.kept();
        let limit = query.limit.min(MAX_PAGE);
        let wanted = |number: Cursor, entry: &Entry| {
            (query.before == 0 || number < query.before)
                && query.route.as_deref().is_none_or(|route| route == &*entry.route)
        };
        let found = kept.history.iter().rev().filter(|(number, entry)| wanted(*number, entry));
        Ok(page(found.take(limit).cloned().collect(), limit))
    }

    async fn keep(&self, name: &'static str, value: String) -> Result<String, Failure> {
        Ok(self.kept().facts.entry(name).or_insert(value).clone())
    }

    async fn back_up(&self, _to: &Path) -> Result<(), Failure> {
        Err(Failure::Unsupported("a store in memory has no file"))
    }

    async fn size(&self) -> Result<u64, Failure> {
        let kept = self.kept();
        let events: usize = kept.events.iter().map(|(_, event)| size_of::<Event>() + event.data.len()).sum();
        let cells: usize = kept.cells.values().map(Vec::len).sum();
        let samples: usize = kept.samples.iter().map(|(_, sample)| sample.weight()).sum();
        Ok((events + samples + cells) as u64)
    }
}

fn page<T>(rows: Vec<(Cursor, T)>, limit: usize) -> Page<T> {
    let next = (rows.len() >= limit).then(|| rows.last().map(|(number, _)| *number)).flatten();
    Page { rows, next }
}
