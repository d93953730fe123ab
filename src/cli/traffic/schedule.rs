//! When each request is to begin, and what lets it begin then.
//!
//! A schedule is a function of the request's number: nothing is queued, however late answers are. The timer
//! of the runtime counts whole milliseconds, so a thread of its own sleeps until the next one is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock;

/// The shortest sleep: what is due in between begins together.
const STEP: Duration = Duration::from_micros(100);

/// A rate that grows from nothing and then stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Schedule {
    /// Requests a second.
    pub(super) rate: f64,
    /// How long it takes to get there.
    pub(super) ramp: Duration,
}

impl Schedule {
    /// When the request with this number, from 0, is to begin: the inverse of how many have begun by then,
    /// which is `rate * t² / (2 * ramp)` during the ramp, and half the ramp's worth less than `rate * t` after it.
    pub(super) fn due(&self, number: u64) -> Duration {
        let (number, ramp) = (number as f64, self.ramp.as_secs_f64());
        let within = self.rate * ramp / 2.0;
        let seconds = if number < within {
            (2.0 * ramp * number / self.rate).sqrt()
        } else {
            ramp + (number - within) / self.rate
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// How many begin within this time.
    pub(super) fn within(&self, length: Duration) -> u64 {
        let (mut low, mut high) = (0, (self.rate * length.as_secs_f64()).ceil() as u64 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due(middle) < length { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// The thread that lets requests begin when they are due; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Gives `places` one permit for each of so many requests when it is due, then those of `extra` at once.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        schedule: Schedule,
        begin: Instant,
        requests: u64,
        extra: usize,
        places: Arc<Semaphore>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            let mut next = 0;
            while next < requests && !stopping.load(Ordering::Relaxed) {
                let elapsed = clock::now().saturating_duration_since(begin);
                let mut due = 0;
                while next < requests && schedule.due(next) <= elapsed {
                    (next, due) = (next + 1, due + 1);
                }
                if due > 0 {
                    places.add_permits(due);
                }
                if next < requests {
                    let elapsed = clock::now().saturating_duration_since(begin);
                    thread::park_timeout(schedule.due(next).saturating_sub(elapsed).max(STEP));
                }
            }
            places.add_permits(extra);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic; if it did, there is nothing left for it to do.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_a_ramp_grows_evenly() {
        let seconds = Duration::from_secs_f64;
        let steady = Schedule { rate: 10.0, ramp: Duration::ZERO };
        assert_eq!((steady.due(0), steady.due(1), steady.due(25)), (seconds(0.0), seconds(0.1), seconds(2.5)));
        let growing = Schedule { rate: 10.0, ramp: seconds(4.0) };
        // 20 in the ramp: after t of 4 seconds, 20 * (t / 4)².
        assert_eq!((growing.due(0), growing.due(5), growing.due(20)), (seconds(0.0), seconds(2.0), seconds(4.0)));
        assert_eq!(growing.due(30), seconds(5.0));
    }

    #[test]
    fn as_many_begin_within_a_time_as_are_due_in_it() {
        for (rate, ramp, length, expected) in [
            (10.0, 0, 3_000, 30),
            (10.0, 4_000, 4_000, 20),
            (10.0, 4_000, 2_000, 5),
            (0.5, 0, 1_000, 1),
            (1_000_000.0, 1, 1_000, 999_500),
        ] {
            let schedule = Schedule { rate, ramp: Duration::from_millis(ramp) };
            let length = Duration::from_millis(length);
            let found = schedule.within(length);
            assert_eq!(found, expected, "{schedule:?}");
            assert!(schedule.due(found) >= length && schedule.due(found - 1) < length, "{schedule:?}");
        }
    }
}
