//! One timer for all deadlines of an exchange.
//!
//! Deadlines move with every piece of a body, but nearly never pass. So the timer is armed once, for
//! the earliest deadline seen, and is moved forward only when it rings too early.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// See the module.
#[derive(Default)]
pub(crate) struct Timer {
    armed: Option<Armed>,
}

struct Armed {
    sleep: Pin<Box<Sleep>>,
    rings_at: Instant,
    /// Who will be woken when it rings.
    waker: Option<Waker>,
}

impl Timer {
    /// Ready once `deadline` has passed.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let armed = self.armed.get_or_insert_with(|| Armed {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            rings_at: deadline,
            waker: None,
        });
        armed.poll_until(cx, deadline)
    }
}

impl Armed {
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline < self.rings_at {
            self.reset(deadline);
        } else if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) && !self.sleep.is_elapsed() {
            // It rings early enough, and for this task: asking it to costs as much as all the rest of this.
            return Poll::Pending;
        }
        loop {
            // Else it could be pending for want of budget, without a word to the clock.
            if pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if self.rings_at >= deadline {
                return Poll::Ready(());
            }
            self.reset(deadline);
        }
    }

    fn reset(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline.into());
        self.rings_at = deadline;
        self.waker = None;
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

    #[tokio::test]
    async fn a_timer_that_is_handed_from_one_task_to_another_wakes_the_new_one() {
        let mut timer = Timer::default();
        let soon = clock::now() + Duration::from_millis(20);
        let noop = &mut Context::from_waker(Waker::noop());
        assert!(timer.poll_until(noop, soon).is_pending());
        assert!(timer.poll_until(noop, soon + Duration::from_secs(1)).is_pending(), "the same task needs no word");
        let task = tokio::spawn(async move { poll_fn(|cx| timer.poll_until(cx, soon)).await });
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("woken").expect("no panic");
    }

    #[tokio::test]
    async fn a_task_without_budget_is_woken_nevertheless() {
        let mut timer = Timer::default();
        let soon = clock::now() + Duration::from_millis(20);
        let spent = async {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
                if !tokio::task::coop::has_budget_remaining() {
                    break;
                }
            }
            poll_fn(|cx| timer.poll_until(cx, soon)).await;
        };
        tokio::time::timeout(Duration::from_secs(10), spent).await.expect("woken");
    }
}
