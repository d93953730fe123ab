//! The loop that keeps the name of one endpoint resolved.
//!
//! It asks the system's resolver, so `/etc/hosts` and search domains count. Invariant: it never gives
//! up; after a failure it waits one second, and twice as long each time, up to the ordinary interval.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::directory::Directory;
use crate::clock;

/// Wait after the first failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Resolves `name` at once and then every `every`, for as long as it is polled.
pub(super) async fn keep_resolved(
    directory: Arc<Directory>,
    endpoint: usize,
    name: String,
    port: u16,
    every: Duration,
) {
    let mut failures = 0_u32;
    loop {
        let outcome = look_up(&name, port).await;
        let resolved = directory.resolved(endpoint, outcome, clock::timestamp());
        failures = if resolved { 0 } else { failures.saturating_add(1) };
        tokio::time::sleep(wait_after(failures, every)).await;
    }
}

/// How long to wait after so many failures in a row.
fn wait_after(failures: u32, every: Duration) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return every };
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(every)
}

async fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_double_the_wait_up_to_the_interval() {
        for (failures, every, expected) in
            [(0, 30, 30), (1, 30, 1), (2, 30, 2), (5, 30, 16), (6, 30, 30), (u32::MAX, 30, 30), (1, 0, 0)]
        {
            let wait = wait_after(failures, Duration::from_secs(every));
            assert_eq!(wait, Duration::from_secs(expected), "{failures} failures, every {every} s");
        }
    }
}
