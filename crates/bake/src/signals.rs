//! Ctrl-C and its relatives: the first ends the build in order if that can be done soon, the second at once.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bake_sys::signal::{SignalDescriptor, block_all};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often the thread looks whether it is still wanted.
const PAUSE: Duration = Duration::from_millis(100);

/// How long an orderly end may take. After that, whatever keeps the build (a long system call, a server that does not answer,
/// a layer that is compressed) is broken off: the store is safe against that.
const GRACE: Duration = Duration::from_millis(1500);

/// The number of SIGWINCH.
const WINDOW_CHANGED: i32 = 28;

/// Blocks all signals, so that they can be waited for; must be called before there is a second thread.
pub(crate) fn block() {
    // It cannot fail, and without it signals end the process as they always do.
    let _ = block_all();
}

/// Waits for signals until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        // Joining would wait out the pause for nothing.
        drop(self.thread.take());
    }
}

/// Calls `interrupted` at the first SIGINT, SIGTERM or SIGHUP; the second one ends the process, as does the end of the time
/// that an orderly end may take.
pub(crate) fn on_interrupt(interrupted: impl FnOnce() + Send + 'static) -> Option<Watch> {
    on_interrupt_or_resize(interrupted, || {})
}

/// The same, and calls `resized` whenever the size of the terminal changed.
pub(crate) fn on_interrupt_or_resize(
    interrupted: impl FnOnce() + Send + 'static,
    resized: impl Fn() + Send + 'static,
) -> Option<Watch> {
    let signals = SignalDescriptor::open().ok()?;
    let done = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&done);
    let thread = std::thread::spawn(move || watch(&signals, &watched, interrupted, &resized));
    Some(Watch { done, thread: Some(thread) })
}

/// Ends the process at once; the store is safe against that.
#[expect(clippy::exit, reason = "Ctrl-C means now where nothing has to be ended in order")]
pub(crate) fn exit_interrupted() -> ! {
    bake::ui::terminal::restore();
    std::process::exit(130)
}

fn watch(signals: &SignalDescriptor, done: &AtomicBool, interrupted: impl FnOnce(), resized: &dyn Fn()) {
    let mut interrupted = Some(interrupted);
    let mut deadline: Option<Instant> = None;
    let pause = Timespec { tv_sec: 0, tv_nsec: i64::try_from(PAUSE.as_nanos()).unwrap_or(0) };
    while !done.load(Ordering::SeqCst) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            exit_interrupted();
        }
        let mut descriptors = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if poll(&mut descriptors, Some(&pause)).is_err() {
            continue;
        }
        while let Ok(Some(number)) = signals.next() {
            if number == WINDOW_CHANGED {
                resized();
                continue;
            }
            // SIGHUP, SIGINT, SIGQUIT, SIGTERM.
            if !matches!(number, 1 | 2 | 3 | 15) {
                continue;
            }
            match interrupted.take() {
                Some(interrupted) => {
                    deadline = Some(Instant::now() + GRACE);
                    interrupted();
                }
                None => exit_interrupted(),
            }
        }
    }
}
