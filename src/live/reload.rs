//! The one path by which a configuration is replaced while the process runs.
//!
//! Whoever asks (an event, the poll, a signal, the API), the steps are the same and under one lock:
//! read, compare with what was last attempted, load, publish, tell. It does not notice changes by
//! itself, which is `watch`'s part, and does not touch what belongs to names.
//!
//! Invariant: what runs is a whole configuration that loaded without a mistake; an attempt that fails
//! changes nothing but [`ReloadStatus`].

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Live, ReloadStatus, lock};
use crate::clock;
use crate::config::node::Origin;
use crate::config::report::{Style, render};
use crate::config::{self, Config, Diagnostic, Fingerprint, Loaded, Report, Severity, Sources};
use crate::upstream::BuildError;

/// How long a writer is given to finish before what was read counts as broken.
pub const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The variable that wins over `[log] level`.
pub const LEVEL_VARIABLE: &str = "LOG_LEVEL";

/// Who asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// An event of the file system.
    Watch,
    /// The regular look at the content.
    Poll,
    /// SIGHUP.
    Signal,
    /// `POST /-/reload`.
    Api,
}

impl Trigger {
    /// `watch`, `poll`, `signal` or `api`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Poll => "poll",
            Self::Signal => "signal",
            Self::Api => "api",
        }
    }

    /// Whether somebody waits for an answer, even when there is nothing new.
    const fn is_explicit(self) -> bool {
        matches!(self, Self::Signal | Self::Api)
    }
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// It runs.
    Applied {
        /// The generation that it runs as.
        generation: u64,
        /// What is doubtful. An entry of [`Severity::Error`] belongs to a file of `routes.d` whose
        /// changes were left out.
        warnings: Vec<Diagnostic>,
    },
    /// What would be read is what was last attempted, and that runs.
    Unchanged,
    /// What ran before goes on.
    Failed {
        /// Why.
        report: Report,
    },
}

impl ReloadOutcome {
    /// `applied`, `unchanged` or `failed`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Unchanged => "unchanged",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether anything that was typed does not run.
    fn is_wanting(&self) -> bool {
        match self {
            Self::Applied { warnings, .. } => warnings.iter().any(is_error),
            Self::Unchanged => false,
            Self::Failed { .. } => true,
        }
    }
}

/// What a reload came to, for whoever keeps a history.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// Why it was looked.
    pub trigger: Trigger,
    /// Whose token it was, where one was shown.
    pub actor: Option<&'a str>,
    /// What came of it: [`ReloadOutcome::Applied`] or [`ReloadOutcome::Failed`].
    pub outcome: &'a ReloadOutcome,
    /// The hash of what was read; `None` if it changed meanwhile.
    pub hash: Option<&'a str>,
}

/// Hears of every attempt that came to something; must not wait.
pub type Tell = Box<dyn Fn(&Attempted<'_>) + Send + Sync>;

/// Takes a new filter for the log.
pub type SetLogFilter = Box<dyn Fn(&str) + Send + Sync>;

/// Replaces the running configuration by what its sources say now.
pub struct Reloader {
    live: Arc<Live>,
    sources: Sources,
    set_log_filter: SetLogFilter,
    tell: Tell,
    /// Waits for a writer to finish.
    pause: Box<dyn Fn() + Send + Sync>,
    /// What the process started with, and what keys that need a restart still run with.
    started: Config,
    last: Mutex<Last>,
}

/// The last attempt.
#[derive(Debug)]
struct Last {
    /// What was read; `None` if it changed meanwhile, so that nothing can be equal to it.
    fingerprint: Option<Fingerprint>,
    /// [`ReloadOutcome::Applied`] or [`ReloadOutcome::Failed`].
    outcome: ReloadOutcome,
}

impl Reloader {
    /// What the process started with.
    #[must_use]
    pub const fn started(&self) -> &Config {
        &self.started
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("path", &self.sources.path).finish_non_exhaustive()
    }
}

impl Reloader {
    /// A reloader of what runs now, which was loaded from `sources` at the start of the process.
    /// Changes of `[log] level` go to `set_log_filter`.
    #[must_use]
    pub fn new(live: Arc<Live>, sources: Sources, set_log_filter: SetLogFilter) -> Self {
        let running = live.snapshot();
        let started = running.config().clone();
        let warnings = running.loaded.warnings.clone();
        // If the files changed after the start has read them, the first look finds another fingerprint.
        let fingerprint = Some(Fingerprint(started.hash.clone()));
        let outcome = ReloadOutcome::Applied { generation: running.generation, warnings };
        note_failure(&mut live.reloads(), &outcome);
        let pause = Box::new(|| std::thread::sleep(RETRY_AFTER));
        let (tell, last): (Tell, _) = (Box::new(|_| ()), Mutex::new(Last { fingerprint, outcome }));
        Self { live, sources, set_log_filter, tell, pause, started, last }
    }

    /// The same, telling of what comes of attempts.
    #[must_use]
    pub fn telling(self, tell: Tell) -> Self {
        Self { tell, ..self }
    }

    /// What runs.
    #[must_use]
    pub const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Where the configuration comes from.
    #[must_use]
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Reloads if what would be read is not what was last attempted. Reads files and may wait for
    /// [`RETRY_AFTER`], so it must not be called from a thread that serves requests.
    ///
    /// When nothing is new, [`Trigger::Signal`] and [`Trigger::Api`] hear again what is wrong with the
    /// last attempt, if anything is.
    pub fn reload(&self, trigger: Trigger) -> ReloadOutcome {
        self.reload_for(trigger, None)
    }

    /// As [`Reloader::reload`], for somebody with a token of this name.
    pub fn reload_for(&self, trigger: Trigger, actor: Option<&str>) -> ReloadOutcome {
        let mut last = lock(&self.last);
        let known = last.fingerprint.as_ref() == Some(&config::fingerprint(&self.sources));
        let outcome = if known {
            let outcome = last.again(trigger);
            count(&mut self.live.reloads(), trigger, &outcome);
            outcome
        } else {
            let outcome = self.attempt(&mut last, trigger);
            let hash = last.fingerprint.as_ref().map(|fingerprint| &*fingerprint.0);
            match &outcome {
                ReloadOutcome::Applied { .. } | ReloadOutcome::Failed { .. } => {
                    (self.tell)(&Attempted { trigger, actor, outcome: &outcome, hash });
                }
                ReloadOutcome::Unchanged => {}
            }
            outcome
        };
        self.log(trigger, &outcome);
        outcome
    }

    fn attempt(&self, last: &mut Last, trigger: Trigger) -> ReloadOutcome {
        if trigger == Trigger::Poll {
            // Events are debounced; the poll may have come in the middle of a write.
            (self.pause)();
        }
        let recovering = matches!(last.outcome, ReloadOutcome::Failed { .. });
        let (fingerprint, outcome) = self.load(trigger, recovering, true);
        last.fingerprint = fingerprint;
        match outcome {
            // Told together with its publication.
            ReloadOutcome::Applied { .. } => last.outcome = outcome.clone(),
            ReloadOutcome::Unchanged => count(&mut self.live.reloads(), trigger, &outcome),
            ReloadOutcome::Failed { .. } => {
                last.outcome = outcome.clone();
                let mut status = self.live.reloads();
                count(&mut status, trigger, &outcome);
                note_failure(&mut status, &outcome);
            }
        }
        outcome
    }

    /// Loads and publishes; once more after a while if what was read is broken or still changing.
    fn load(&self, trigger: Trigger, recovering: bool, retry: bool) -> (Option<Fingerprint>, ReloadOutcome) {
        let before = config::fingerprint(&self.sources);
        let running = self.live.snapshot();
        let loaded = config::load(&self.sources, Some(&running.loaded.last_good));
        let settled = config::fingerprint(&self.sources) == before;
        let whole = settled && loaded.as_ref().is_ok_and(|loaded| !loaded.warnings.iter().any(is_error));
        let outcome = match loaded {
            _ if retry && !whole => None,
            Ok(loaded) if !recovering && loaded.config.hash == running.config().hash => Some(ReloadOutcome::Unchanged),
            Ok(loaded) => Some(self.publish(loaded, trigger, &running.config().log.level)),
            Err(report) => Some(ReloadOutcome::Failed { report }),
        };
        match outcome {
            Some(outcome) if !retry || !matches!(outcome, ReloadOutcome::Failed { .. }) => {
                (settled.then_some(before), outcome)
            }
            Some(_) | None => {
                (self.pause)();
                self.load(trigger, recovering, false)
            }
        }
    }

    fn publish(&self, loaded: Loaded, trigger: Trigger, old_level: &str) -> ReloadOutcome {
        let warnings = loaded.warnings.clone();
        let level = loaded.config.log.level.clone();
        let waiting = config::restart_required(&self.started, &loaded.config);
        // Held over the publication: who sees the new snapshot finds it told in the status.
        let mut status = self.live.reloads();
        let generation = match self.live.publish(loaded) {
            Ok(generation) => generation,
            Err(error) => return ReloadOutcome::Failed { report: unbuildable(&error) },
        };
        let outcome = ReloadOutcome::Applied { generation, warnings };
        count(&mut status, trigger, &outcome);
        note_failure(&mut status, &outcome);
        status.succeeded_at = Some(clock::timestamp());
        status.restart_required = waiting;
        drop(status);
        if level != old_level && !self.sources.environment.contains_key(LEVEL_VARIABLE) {
            (self.set_log_filter)(&level);
        }
        outcome
    }

    fn log(&self, trigger: Trigger, outcome: &ReloadOutcome) {
        let (path, trigger_name) = (self.sources.path.display(), trigger.name());
        match outcome {
            ReloadOutcome::Applied { generation, warnings } => {
                tracing::info!(%path, generation, trigger = trigger_name, "configuration applied");
                for warning in warnings {
                    let (place, key) = (warning.place_text(), &warning.path);
                    match warning.severity {
                        Severity::Error => tracing::error!(place, key, "left out: {}", warning.found),
                        Severity::Warning => tracing::warn!(place, key, "{}", warning.found),
                    }
                }
                let waiting = self.live.reloads().restart_required.clone();
                for key in waiting {
                    tracing::warn!(key, "the new value takes effect with the next start only");
                }
            }
            ReloadOutcome::Unchanged if trigger.is_explicit() => {
                tracing::info!(%path, trigger = trigger_name, "configuration unchanged");
            }
            ReloadOutcome::Unchanged => {}
            ReloadOutcome::Failed { report } => {
                let report = report.to_string();
                tracing::error!(%path, trigger = trigger_name, report, "configuration refused; the old one goes on");
            }
        }
    }
}

impl Last {
    /// What to answer when there is nothing new.
    fn again(&self, trigger: Trigger) -> ReloadOutcome {
        if trigger.is_explicit() && self.outcome.is_wanting() { self.outcome.clone() } else { ReloadOutcome::Unchanged }
    }
}

fn count(status: &mut ReloadStatus, trigger: Trigger, outcome: &ReloadOutcome) {
    *status.counts.entry((outcome.name(), trigger.name())).or_default() += 1;
}

/// Tells, for as long as it lasts, that something typed does not run.
fn note_failure(status: &mut ReloadStatus, outcome: &ReloadOutcome) {
    let error = match outcome {
        ReloadOutcome::Applied { warnings, .. } => {
            let left_out: Vec<Diagnostic> = warnings.iter().filter(|warning| is_error(warning)).cloned().collect();
            (!left_out.is_empty()).then(|| render(&left_out, Style::Plain))
        }
        ReloadOutcome::Unchanged => None,
        ReloadOutcome::Failed { report } => Some(report.to_string()),
    };
    status.failed = error.is_some();
    status.error = error;
}

fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error
}

/// A backend that cannot be built, in the form of a mistake in the configuration.
fn unbuildable(error: &BuildError) -> Report {
    let found = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let found = found.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        origin: Origin::Default,
        path: "backends".to_owned(),
        found,
        help: String::new(),
        hidden: Vec::new(),
    };
    Report { diagnostics: vec![diagnostic] }
}

#[cfg(test)]
mod tests;
