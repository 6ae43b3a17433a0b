//! The CPU time of this process, which neighbours on the machine disturb little.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What `work` takes, the median of `iterations`.
pub(crate) fn median<T>(iterations: usize, work: impl Fn() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..iterations).map(|_| once(&work)).collect();
    times.sort_unstable();
    times[iterations / 2]
}

/// What `work` takes this time.
pub(crate) fn once<T>(work: impl FnOnce() -> T) -> Duration {
    let before = now();
    black_box(work());
    now().saturating_sub(before)
}

fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap()
}
