//! One timer for all deadlines of an exchange.
//!
//! Deadlines move with every piece of a body, but nearly never pass. So the timer is armed once, for
//! the earliest deadline seen, and is moved forward only when it rings too early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// See the module.
#[derive(Default)]
pub(crate) struct Timer {
    armed: Option<(Pin<Box<Sleep>>, Instant)>,
}

impl Timer {
    /// Ready once `deadline` has passed.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let (sleep, rings_at) =
            self.armed.get_or_insert_with(|| (Box::pin(tokio::time::sleep_until(deadline.into())), deadline));
        if deadline < *rings_at {
            sleep.as_mut().reset(deadline.into());
            *rings_at = deadline;
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if *rings_at >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
            *rings_at = deadline;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test]
    async fn a_deadline_that_moved_back_is_kept_and_one_that_moved_forward_too() {
        let mut timer = Timer::default();
        let start = clock::now();
        let far = start + Duration::from_secs(60);
        let near = start + Duration::from_millis(20);
        let later = start + Duration::from_millis(60);
        poll_fn(|cx| Poll::Ready(timer.poll_until(cx, far))).await.is_pending().then_some(()).expect("far away");
        poll_fn(|cx| timer.poll_until(cx, near)).await;
        assert!(clock::now() >= near);
        poll_fn(|cx| timer.poll_until(cx, later)).await;
        assert!(clock::now() >= later);
    }
}
