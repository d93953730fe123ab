//! The gateway's own log: JSON lines on standard error, with a filter that can be changed while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// What is always quiet: the balancer reports through `log` what `upstream` reports itself.
const QUIET: &str = "pingora_load_balancing=off";

/// Changes the filter of the running log.
#[derive(Clone)]
pub struct LogHandle(Option<Arc<Running>>);

struct Running {
    handle: reload::Handle<EnvFilter, Registry>,
    /// As it was given; also what keeps two changes from crossing.
    filter: Mutex<String>,
}

/// Why a filter was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a filter.
    #[error("`{given}` is not a log filter such as `info` or `warn,pointsman::proxy=debug`")]
    Filter {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// There is no log to change, or it is gone.
    #[error("the log's filter cannot be changed")]
    Gone,
}

/// Starts the log of this process. A second start in one process leaves the first in place and gives a
/// handle that changes nothing.
///
/// # Errors
/// When `filter` is not one.
pub fn start(filter: &str) -> Result<LogHandle, LogError> {
    start_to(filter, std::io::stderr)
}

/// As [`start`], with the lines going elsewhere.
///
/// # Errors
/// When `filter` is not one.
pub fn start_to(
    filter: &str,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Result<LogHandle, LogError> {
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().json().flatten_event(true).with_writer(writer);
    let started = tracing_subscriber::registry().with(layer).with(lines).try_init().is_ok();
    let running = Running { handle, filter: Mutex::new(filter.to_owned()) };
    Ok(LogHandle(started.then(|| Arc::new(running))))
}

impl LogHandle {
    /// A handle for where no log was started.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Changes the filter.
    ///
    /// # Errors
    /// When `filter` is not one, or no log was started.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        let running = self.0.as_ref().ok_or(LogError::Gone)?;
        let mut current = running.filter.lock().unwrap_or_else(PoisonError::into_inner);
        running.handle.reload(parsed).map_err(|_| LogError::Gone)?;
        filter.clone_into(&mut current);
        Ok(())
    }

    /// The filter as it was given last; `None` where no log was started.
    #[must_use]
    pub fn filter(&self) -> Option<String> {
        let running = self.0.as_ref()?;
        Some(running.filter.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let given = || filter.to_owned();
    let directives = if filter.trim().is_empty() { QUIET.to_owned() } else { format!("{filter},{QUIET}") };
    EnvFilter::try_new(directives).map_err(|source| LogError::Filter { given: given(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for good in ["info", "", "warn,pointsman::proxy=debug", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["info,,=", "pointsman=loud"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
