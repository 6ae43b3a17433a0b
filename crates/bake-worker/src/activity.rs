//! Whether a step uses a processor, so that others can start while it sleeps.
//!
//! Of a RUN the processor time of all its processes counts: they are the descendants of the sandbox's first process,
//! to which orphans return, and whoever has ended is counted with its parent. A step that waits for a cache mount which
//! somebody has locked, or for a server, uses none. Everything else (copying, hashing, unpacking) counts as busy.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bake_graph::VertexId;

/// The shortest time over which a step is judged: processor times are counted in hundredths of a second.
const WINDOW_MIN: Duration = Duration::from_millis(35);

/// A step with more processes and threads than this is busy, whatever they do: looking at them all would cost more than
/// starting another step a little later.
const TASKS_MAX: usize = 128;

/// The unit of processor times in `/proc` (`USER_HZ`, the same on every Linux that we run on).
const TICK: Duration = Duration::from_millis(10);

/// What the steps that are carried out are doing.
#[derive(Debug, Default)]
pub(crate) struct Activities {
    steps: Mutex<HashMap<VertexId, Activity>>,
}

#[derive(Debug)]
enum Activity {
    Waiting,
    Processes(Processes),
}

#[derive(Debug)]
struct Processes {
    first: u32,
    /// When they were looked at last, and what they had used then.
    looked: Instant,
    used: Duration,
    idle: bool,
}

/// Ends an activity when it is dropped.
#[derive(Debug)]
pub(crate) struct Doing<'a> {
    activities: &'a Activities,
    step: VertexId,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        self.activities.steps().remove(&self.step);
    }
}

impl Activities {
    /// The step waits for something until the answer is dropped.
    pub(crate) fn wait(&self, step: VertexId) -> Doing<'_> {
        self.begin(step, Activity::Waiting)
    }

    /// The step is what the process `first` and its descendants do, until the answer is dropped.
    pub(crate) fn run(&self, step: VertexId, first: u32) -> Doing<'_> {
        let processes = Processes { first, looked: Instant::now(), used: Duration::ZERO, idle: false };
        self.begin(step, Activity::Processes(processes))
    }

    /// How many of `running` have left their processor to others since they were looked at last.
    pub(crate) fn idle(&self, running: &[VertexId]) -> usize {
        let mut steps = self.steps();
        let mut idle = 0;
        for step in running {
            match steps.get_mut(step) {
                Some(Activity::Waiting) => idle += 1,
                Some(Activity::Processes(processes)) => idle += usize::from(processes.is_idle()),
                None => {}
            }
        }
        idle
    }

    fn begin(&self, step: VertexId, activity: Activity) -> Doing<'_> {
        self.steps().insert(step, activity);
        Doing { activities: self, step }
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, HashMap<VertexId, Activity>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes {
    /// Whether they used less than half a processor since the last look.
    fn is_idle(&mut self) -> bool {
        let since = self.looked.elapsed();
        if since >= WINDOW_MIN {
            let used = processor_time(self.first);
            self.idle = used.is_some_and(|used| used.saturating_sub(self.used) * 2 < since);
            self.looked = Instant::now();
            self.used = used.unwrap_or(self.used);
        }
        self.idle
    }
}

/// The processor time of a process and all its descendants; `None` if that cannot be found out (cheaply).
fn processor_time(first: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut open = vec![first];
    let mut tasks = 0;
    while let Some(process) = open.pop() {
        // One that is gone by now is counted with its parent from now on.
        let Some(used) = std::fs::read_to_string(format!("/proc/{process}/stat")).ok().and_then(|text| used(&text))
        else {
            if process == first {
                return None;
            }
            continue;
        };
        total += used;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            tasks += 1;
            if tasks > TASKS_MAX {
                return None;
            }
            match std::fs::read_to_string(thread.path().join("children")) {
                Ok(children) => open.extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && thread.path().exists() => {
                    // The kernel does not tell (`CONFIG_PROC_CHILDREN`).
                    return None;
                }
                Err(_) => {}
            }
        }
    }
    Some(total)
}

/// The times of a line of `/proc/PID/stat`: user, system, and both of the children that were waited for (proc(5)).
fn used(stat: &str) -> Option<Duration> {
    // The second field is the name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u32>().ok()).sum::<Option<u32>>()?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let line = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 7 5 3 1 20 0 1 0 100 0 0";
        assert_eq!(used(line), Some(Duration::from_millis(160)));
        assert_eq!(used("12 (cut off"), None);
        assert_eq!(used("12 (x) S 1 2"), None);
    }

    #[test]
    fn this_process_has_used_a_processor() {
        let before = processor_time(std::process::id()).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        assert!(processor_time(std::process::id()).unwrap() > before);
        // No process has this ID (PID_MAX_LIMIT of the kernel is 2^22).
        assert_eq!(processor_time(1 << 30), None);
    }

    #[test]
    fn a_step_that_waits_is_idle_until_it_goes_on() {
        let activities = Activities::default();
        let (step, other) = (VertexId(1), VertexId(2));
        let waiting = activities.wait(step);
        assert_eq!(activities.idle(&[step, other]), 1);
        drop(waiting);
        assert_eq!(activities.idle(&[step, other]), 0);
    }
}
