//! Noticing that the files of the configuration may have changed: events of the file system, and a
//! poll of the content beside them that never stops.
//!
//! An event only says "look": names and kinds are not judged, since a ConfigMap's update never names
//! the file. What is watched are directories, never the file's inode, and they are found anew before
//! every wait, because any link on the way may lead elsewhere now.
//!
//! Invariant: without any event a change is seen within [`POLL_EVERY`]; a watcher that fails costs
//! speed and nothing else.

mod mounts;
mod places;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};

use super::reload::{Reloader, Trigger};
use crate::clock;

/// How often the content is looked at, events or not.
pub const POLL_EVERY: Duration = Duration::from_secs(2);
/// How long the debouncer holds an event back.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// No batch for this long means that the writer has paused: a tick of the debouncer and some.
const QUIET: Duration = Duration::from_millis(300);
/// The longest that events which keep coming put a look off.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(2);

/// Both ways at work.
const WATCHING: &str = "inotify+poll";
/// The poll alone.
const POLLING: &str = "poll";

/// The watching thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Watching(Sender<Wake>);

impl Drop for Watching {
    fn drop(&mut self) {
        // The thread is not waited for: a file system that hangs must not hold up the end of the process.
        // It cannot be told to stop only if it has stopped.
        let _ = self.0.send(Wake::Stop);
    }
}

impl Watching {
    /// Starts watching what the running configuration was read from. Warns of files that cannot be
    /// replaced from outside.
    ///
    /// # Errors
    /// When the system refuses the thread. A watcher that cannot be started is no error: the poll goes on.
    pub fn start(reloader: Arc<Reloader>) -> io::Result<Self> {
        start_with(reloader, POLL_EVERY, Watch::open)
    }
}

/// What the watching thread wakes up for.
#[derive(Debug)]
enum Wake {
    /// Something happened in a directory.
    Changed,
    /// Events were lost.
    Rescan,
    /// The watcher fails.
    Broken(notify::Error),
    /// The process ends.
    Stop,
}

/// As [`Watching::start`], polling every `poll_every`, with events from what `open` opens.
fn start_with(
    reloader: Arc<Reloader>,
    poll_every: Duration,
    open: impl FnOnce(Sender<Wake>) -> notify::Result<Watch>,
) -> io::Result<Watching> {
    let (sender, wakes) = mpsc::channel();
    let opened = open(sender.clone());
    let mounted = mounts::mounted_files(&reloader.live().snapshot().config().watched);
    for path in &mounted {
        tracing::warn!(
            path = %path.display(),
            "this file is mounted by itself (a single-file bind mount, or a Kubernetes subPath): when it is replaced \
             outside, the change is not seen here; mount its directory instead"
        );
    }
    let mut watcher = Watcher { reloader, wakes, poll_every, mounted, watch: None };
    match opened {
        Ok(watch) => {
            watcher.watch = Some(watch);
            watcher.reloader.live().reloads().watching = WATCHING;
        }
        Err(error) => watcher.fall_back(&error),
    }
    // Before the start is over, so that no change after it goes unseen until the poll.
    let moved = watcher.follow();
    std::thread::Builder::new().name("reload".to_owned()).spawn(move || watcher.run(moved))?;
    Ok(Watching(sender))
}

/// The state of the watching thread.
struct Watcher {
    reloader: Arc<Reloader>,
    wakes: Receiver<Wake>,
    poll_every: Duration,
    /// Files to watch themselves: a write through their mount is no event in any directory seen here.
    mounted: Vec<PathBuf>,
    watch: Option<Watch>,
}

impl Watcher {
    /// `moved`: whether places are watched that were not when the files were read. What happened there
    /// in between was no event, so they are looked at once more.
    fn run(mut self, mut moved: bool) {
        while let Some(trigger) = if moved { self.settle() } else { self.next() } {
            self.reloader.reload(trigger);
            moved = self.follow();
        }
    }

    /// Waits for a reason to look; `None` means stop.
    fn next(&mut self) -> Option<Trigger> {
        match self.wakes.recv_timeout(self.poll_every) {
            Err(RecvTimeoutError::Timeout) => Some(Trigger::Poll),
            Ok(Wake::Changed) => self.settle(),
            Ok(Wake::Rescan) => Some(Trigger::Watch),
            Ok(Wake::Broken(error)) => {
                self.fall_back(&error);
                Some(Trigger::Poll)
            }
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Waits until events pause, but not for ever.
    fn settle(&mut self) -> Option<Trigger> {
        let since = clock::now();
        loop {
            let left = LONGEST_DEBOUNCE.saturating_sub(clock::now().saturating_duration_since(since));
            if left.is_zero() {
                return Some(Trigger::Watch);
            }
            match self.wakes.recv_timeout(QUIET.min(left)) {
                Ok(Wake::Changed) => {}
                Err(RecvTimeoutError::Timeout) | Ok(Wake::Rescan) => return Some(Trigger::Watch),
                Ok(Wake::Broken(error)) => self.fall_back(&error),
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Watches the directories that count now; whether there are new ones among them.
    fn follow(&mut self) -> bool {
        let Some(watch) = &mut self.watch else { return false };
        let mut places = places::directories(&self.reloader.live().snapshot().config().watched);
        places.extend(self.mounted.iter().cloned());
        match watch.follow(places) {
            Ok(moved) => moved,
            Err(error) => {
                self.fall_back(&error);
                false
            }
        }
    }

    fn fall_back(&mut self, error: &notify::Error) {
        self.watch = None;
        self.reloader.live().reloads().watching = POLLING;
        let every = self.poll_every;
        tracing::warn!(%error, ?every, "files cannot be watched; changes are found by polling alone");
    }
}

/// Which directory it is, whatever its path.
type Identity = (u64, u64);

/// The watched directories.
struct Watch {
    debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
    watched: BTreeMap<PathBuf, Identity>,
}

impl Watch {
    /// A watcher of nothing yet.
    fn open(wakes: Sender<Wake>) -> notify::Result<Self> {
        let tell = move |batch: DebounceEventResult| {
            if let Some(wake) = wake(batch) {
                // Nobody is left to tell once the watching thread has ended.
                let _ = wakes.send(wake);
            }
        };
        // It ticks also while nothing happens, by itself four times as often.
        Ok(Self { debouncer: new_debouncer(DEBOUNCE, Some(DEBOUNCE), tell)?, watched: BTreeMap::new() })
    }

    /// Watches these places and no others; whether there are new ones among them. What has vanished
    /// meanwhile is left to the poll.
    fn follow(&mut self, places: impl IntoIterator<Item = PathBuf>) -> notify::Result<bool> {
        let mut before = std::mem::take(&mut self.watched);
        let mut moved = false;
        for place in places {
            let Some(identity) = identity(&place) else { continue };
            let known = before.remove(&place);
            if known.is_some_and(|known| known != identity) {
                self.forget(&place);
            }
            // Also what is watched already: the kernel drops a watch with its directory, and one of the
            // same path and number may stand in its place.
            match self.debouncer.watch(&place, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    moved |= known != Some(identity);
                    self.watched.insert(place, identity);
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for place in before.into_keys() {
            self.forget(&place);
        }
        Ok(moved)
    }

    fn forget(&mut self, place: &Path) {
        // It fails only where the directory has gone, and its watch with it.
        let _ = self.debouncer.unwatch(place);
    }
}

fn identity(place: &Path) -> Option<Identity> {
    std::fs::metadata(place).ok().map(|found| (found.dev(), found.ino()))
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        ErrorKind::Generic(_) | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) | ErrorKind::MaxFilesWatch => {
            false
        }
    }
}

/// What a batch of events means.
fn wake(batch: DebounceEventResult) -> Option<Wake> {
    match batch {
        Ok(events) if events.iter().any(|event| event.need_rescan()) => Some(Wake::Rescan),
        Ok(events) => events.iter().any(|event| may_change(event.kind)).then_some(Wake::Changed),
        Err(errors) => errors.into_iter().next().map(Wake::Broken),
    }
}

/// Whether it can have changed anything. Opening a file cannot, and this program's own looks would
/// otherwise be followed by another look for ever.
const fn may_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(AccessKind::Read | AccessKind::Open(_) | AccessKind::Close(AccessMode::Read)))
}

#[cfg(test)]
mod tests;
