//! The threads of a process that is one voter.
//!
//! Two threads hand each other very little for much: to give the log to a disk thread and to hear of it again takes four
//! system calls, and two switches between threads, for each write. So where a voter has a process of its own, one
//! thread does both: it runs all tasks, and when they have nothing left to do, it runs an `Errand`, which may block.
//! Should that take long, another thread stands in for it and runs the tasks meanwhile: a disk that stalls delays what
//! waits for the disk, and silences nobody.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// How long the tasks may stand still before another thread runs them, and how often that one looks.
const PATIENCE: Duration = Duration::from_millis(25);

/// Work that blocks, for a thread that runs tasks as well.
pub(crate) trait Errand: Send + Sync {
    /// Does it, between two turns of the tasks.
    fn run(&self);

    /// Tells tasks what came of it; called where that is cheap. False if it has to be called again.
    fn report(&self) -> bool;
}

/// The thread that runs tasks, as these see it. See [`run`].
#[derive(Clone)]
pub struct Foreground(Arc<Shared>);

struct Shared {
    errand: OnceLock<Arc<dyn Errand>>,
    /// Whether the errand is to be run.
    wanted: AtomicBool,
    waker: AtomicWaker,
    ended: AtomicBool,
    watch: Mutex<Watch>,
    changed: Condvar,
    /// The errand is over.
    back: Notify,
}

#[derive(Default)]
struct Watch {
    /// Since when the errand is being run.
    since: Option<Instant>,
    /// How often it was begun.
    begun: u64,
    /// Whether the other thread waits for the next one, and does not look again by itself.
    asleep: bool,
    /// Whether that stands in.
    stands_in: bool,
}

impl std::fmt::Debug for Foreground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreground").finish_non_exhaustive()
    }
}

impl Foreground {
    fn new() -> Self {
        Self(Arc::new(Shared {
            errand: OnceLock::new(),
            wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            watch: Mutex::default(),
            changed: Condvar::new(),
            back: Notify::new(),
        }))
    }

    /// What [`Self::want`] means: the first that is given.
    pub(crate) fn take(&self, errand: Arc<dyn Errand>) {
        self.0.errand.get_or_init(|| errand);
    }

    /// The errand is to be run, once the tasks have nothing left to do.
    pub(crate) fn want(&self) {
        self.0.wanted.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// Runs a process that is one voter: `main`, to its end, the tasks that it starts, and errands. An errand that is under
/// way then is not waited for.
///
/// # Errors
/// The system refuses a thread.
///
/// # Panics
/// If `main` does.
pub fn run<F>(main: impl FnOnce(Foreground) -> F) -> io::Result<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
    let foreground = Foreground::new();
    let (outcome, shared) = (Arc::new(Mutex::new(None)), foreground.0.clone());
    let (place, ended, main) = (outcome.clone(), shared.clone(), main(foreground));
    runtime.spawn(async move {
        let ending = tokio::spawn(main).await;
        *place.lock() = Some(ending);
        ended.end();
    });
    let (working, tasks) = (shared.clone(), runtime.clone());
    let thread = thread::Builder::new().name("voter".to_owned()).spawn(move || {
        let _end = EndGuard(&working);
        working.serve(&tasks);
    })?;
    shared.stand_by(&runtime);
    // One that is not back will not be waited for: the process ends.
    if !shared.is_away() && thread.join().is_err() {
        tracing::error!("the thread of the tasks panicked");
    }
    let ending = outcome.lock().take();
    match ending {
        Some(Ok(output)) => Ok(output),
        Some(Err(panicked)) if panicked.is_panic() => std::panic::resume_unwind(panicked.into_panic()),
        Some(Err(_)) | None => Err(io::Error::other("the tasks ended")),
    }
}

struct EndGuard<'a>(&'a Shared);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    /// Runs tasks and errands until the end.
    fn serve(&self, runtime: &Runtime) {
        let mut unreported = false;
        while runtime.block_on(poll_fn(|cx| self.poll_wanted(&mut unreported, cx))) {
            let Some(errand) = self.errand.get() else { continue };
            if !self.begin() {
                return;
            }
            errand.run();
            self.over();
            unreported = true;
        }
    }

    /// Whether the errand is to be run; false at the end.
    fn poll_wanted(&self, unreported: &mut bool, cx: &mut Context<'_>) -> Poll<bool> {
        self.waker.register(cx.waker());
        if self.ended.load(Ordering::Acquire) {
            return Poll::Ready(false);
        }
        if *unreported {
            *unreported = !self.errand.get().is_none_or(|errand| errand.report());
            if *unreported {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if self.wanted.swap(false, Ordering::Acquire) { Poll::Ready(true) } else { Poll::Pending }
    }

    /// The errand begins, unless all has ended.
    fn begin(&self) -> bool {
        let mut watch = self.watch.lock();
        watch.since = Some(Instant::now());
        watch.begun += 1;
        if watch.asleep {
            self.changed.notify_one();
        }
        !self.ended.load(Ordering::Acquire)
    }

    fn over(&self) {
        let mut watch = self.watch.lock();
        watch.since = None;
        if watch.stands_in {
            self.back.notify_one();
        }
    }

    fn is_away(&self) -> bool {
        self.watch.lock().since.is_some()
    }

    fn end(&self) {
        let watch = self.watch.lock();
        self.ended.store(true, Ordering::Release);
        drop(watch);
        self.changed.notify_one();
        self.waker.wake();
        self.back.notify_one();
    }

    /// Runs the tasks while an errand takes long, until the end.
    fn stand_by(&self, runtime: &Runtime) {
        let mut seen = 0;
        let mut watch = self.watch.lock();
        while !self.ended.load(Ordering::Acquire) {
            if watch.since.is_none() && watch.begun == seen {
                watch.asleep = true;
                self.changed.wait(&mut watch);
                watch.asleep = false;
                continue;
            }
            seen = watch.begun;
            self.changed.wait_for(&mut watch, PATIENCE);
            if watch.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
                watch.stands_in = true;
                drop(watch);
                runtime.block_on(self.back());
                watch = self.watch.lock();
                watch.stands_in = false;
            }
        }
    }

    /// Waits until the errand is over, or everything is.
    async fn back(&self) {
        loop {
            let mut back = pin!(self.back.notified());
            back.as_mut().enable();
            if !self.is_away() || self.ended.load(Ordering::Acquire) {
                return;
            }
            back.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tokio::sync::mpsc;

    use super::*;

    /// Blocks until somebody lets it go on.
    struct Blocking {
        begun: Sender<()>,
        go_on: Mutex<Receiver<()>>,
        over: mpsc::Sender<()>,
    }

    impl Errand for Blocking {
        fn run(&self) {
            self.begun.send(()).ok();
            self.go_on.lock().recv().ok();
        }

        fn report(&self) -> bool {
            self.over.try_send(()).ok();
            true
        }
    }

    fn blocking(foreground: &Foreground) -> (Receiver<()>, Sender<()>, mpsc::Receiver<()>) {
        let ((begun_in, begun), (go_on, go_on_out)) = (channel(), channel());
        let (over, reported) = mpsc::channel(8);
        foreground.take(Arc::new(Blocking { begun: begun_in, go_on: Mutex::new(go_on_out), over }));
        (begun, go_on, reported)
    }

    #[test]
    fn errands_are_run_as_often_as_they_are_wanted() {
        let times = run(|foreground| async move {
            let (begun, go_on, mut reported) = blocking(&foreground);
            for _ in 0..100 {
                go_on.send(()).unwrap();
                foreground.want();
                reported.recv().await.unwrap();
            }
            begun.try_iter().count()
        });
        assert_eq!(times.unwrap(), 100);
    }

    #[test]
    fn while_an_errand_takes_long_another_thread_runs_the_tasks() {
        let outcome = run(|foreground| async move {
            let (begun, go_on, mut reported) = blocking(&foreground);
            for _ in 0..3 {
                foreground.want();
                // Nobody but a task lets it go on.
                while begun.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
                assert!(reported.try_recv().is_err());
                go_on.send(()).unwrap();
                reported.recv().await.unwrap();
            }
        });
        outcome.unwrap();
    }

    #[test]
    fn the_end_does_not_wait_for_an_errand() {
        let kept = run(|foreground| async move {
            let (begun, go_on, reported) = blocking(&foreground);
            foreground.want();
            while begun.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            (go_on, reported)
        });
        drop(kept.unwrap());
    }

    #[test]
    #[should_panic(expected = "of main")]
    fn a_panic_of_main_is_the_callers() {
        run(|_| async { panic!("of main") }).unwrap();
    }
}
