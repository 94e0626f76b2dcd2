//! Tells one task that there is something to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// Remembers that it was rung until the task has heard it; ringing it again before that costs next to nothing.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// The task, if it waits, goes on; otherwise it will not wait the next time.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }

    /// Whether it was rung since this last said so. Only one task may ask.
    pub(super) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.hear() {
            return Poll::Ready(());
        }
        self.task.register(cx.waker());
        // It may have been rung before the task was known.
        if self.hear() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn hear(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_rings_before_or_while_the_task_waits_is_heard_once() {
        let (bell, wakes) = (Bell::default(), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = &mut Context::from_waker(&waker);
        bell.ring();
        assert_eq!([bell.poll_rung(cx), bell.poll_rung(cx)], [Poll::Ready(()), Poll::Pending]);
        bell.ring();
        bell.ring();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!([bell.poll_rung(cx), bell.poll_rung(cx)], [Poll::Ready(()), Poll::Pending]);
    }
}
