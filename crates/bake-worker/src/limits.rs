//! What a step may use, what stops it when that is not enough, and what it used.
//!
//! Flags hold for every step of a build, a comment above a RUN for that one, and defaults for what neither names: they stop
//! a fork bomb, a step that takes all memory and one that fills the disk, and are far above what others need. Where the
//! host cannot keep a default nothing is said; a limit that somebody asked for is an error there.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bake_graph::RunLimits;
use bake_sandbox::{CgroupLimits, CgroupUsage, Killer, StepCgroup};
use bake_solver::StepError;
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process};

/// As many processes and threads as any step has reason to have.
const PIDS_DEFAULT: u64 = 16_384;
/// Hundredths of the memory that was free when the first step started.
const MEMORY_DEFAULT_PERCENT: u64 = 90;
/// How often the watched limits are looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// What a step that ran out of time has to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// What of the store's file system steps may not fill: other builds need room to end, and bake to clean up.
const RESERVE_BYTES_MAX: u64 = 256 << 20;
const RESERVE_FRACTION: u64 = 100;

/// The limits of every step of a build, as asked for. `None` is the default, or no limit where there is none.
#[derive(Debug, Clone, Default)]
pub struct StepLimits {
    /// What cgroups limit.
    pub cgroup: CgroupLimits,
    /// Where cgroups are made, relative to the roots of the hierarchies; `None`: at this process.
    pub cgroup_parent: Option<PathBuf>,
    /// How long a step may take.
    pub timeout: Option<Duration>,
    /// Resource limits of its processes, in place of the defaults of the same kind (`getrlimit(2)`).
    pub resource_limits: Vec<ResourceLimit>,
}

/// A limit of processes themselves (`getrlimit(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit(PosixRlimit);

impl ResourceLimit {
    /// Reads `NAME=SOFT[:HARD]`, as Docker writes it; -1 is unlimited.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, values) = text.split_once('=').ok_or("it has no value")?;
        let kind = PosixRlimitType::from_str(&format!("RLIMIT_{}", name.to_ascii_uppercase()))
            .map_err(|_| "there is no such limit")?;
        let number = |value: &str| match value {
            "-1" | "unlimited" => Ok(u64::MAX),
            value => value.parse().map_err(|_| "its value is not a number"),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err("its soft limit is above its hard limit");
        }
        let limit = PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build();
        limit.map(Self).map_err(|_| "it is not complete")
    }
}

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Flag,
    Comment,
    Default,
}

/// A limit that holds, and who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held<T> {
    value: T,
    origin: Origin,
}

/// The limits of one step.
#[derive(Debug)]
pub(crate) struct Effective {
    cgroup: CgroupLimits,
    memory: Option<Held<u64>>,
    pids: Option<Held<u64>>,
    timeout: Option<Held<Duration>>,
}

/// What stopped a step that was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It took too long.
    Timeout,
    /// It filled the disk.
    Disk,
}

/// Looks at a step while it runs.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    started: Instant,
    timeout: Option<Duration>,
    layer: &'a Path,
    killer: Killer,
    stopped: Option<Stopped>,
}

impl Effective {
    /// The limits of a step with `own` limits in a build with `build`'s.
    ///
    /// # Errors
    /// A limit was asked for that this host cannot keep.
    pub(crate) fn new(build: &StepLimits, own: Option<&RunLimits>) -> Result<Self, StepError> {
        let none = RunLimits::default();
        let own = own.unwrap_or(&none);
        let pick = |comment: Option<u64>, flag: Option<u64>, default: Option<u64>| {
            let held = |origin| move |value| Held { value, origin };
            let asked = comment.map(held(Origin::Comment)).or_else(|| flag.map(held(Origin::Flag)));
            asked.or_else(|| default.map(held(Origin::Default)))
        };
        let mut cgroup = build.cgroup.clone();
        if let Some(thousandths) = own.cpu_thousandths {
            cgroup.cpu_quota = Some(CgroupLimits::quota_of(thousandths));
        }
        let memory = pick(own.memory_bytes, cgroup.memory_bytes, memory_default());
        let pids = pick(own.pids, cgroup.pids, Some(PIDS_DEFAULT));
        cgroup.memory_bytes = memory.map(|held| held.value);
        cgroup.pids = pids.map(|held| held.value);
        if own.memory_bytes.is_some() {
            // The sum of the build belongs to the build's limit.
            cgroup.memory_and_swap_bytes = None;
        }
        let from_comment = own.timeout_ns.map(Duration::from_nanos);
        let timeout = from_comment
            .map(|value| Held { value, origin: Origin::Comment })
            .or_else(|| build.timeout.map(|value| Held { value, origin: Origin::Flag }));
        let mut effective = Self { cgroup, memory, pids, timeout };
        effective.drop_what_cannot_be_kept()?;
        Ok(effective)
    }

    /// Gives up defaults without a controller, and refuses anything else without one.
    fn drop_what_cannot_be_kept(&mut self) -> Result<(), StepError> {
        let memory = CgroupLimits { memory_bytes: self.cgroup.memory_bytes, ..CgroupLimits::default() };
        let pids = CgroupLimits { pids: self.cgroup.pids, ..CgroupLimits::default() };
        for (held, limits) in [(&mut self.memory, memory), (&mut self.pids, pids)] {
            let is_default = held.is_some_and(|held| held.origin == Origin::Default);
            if is_default && !StepCgroup::unavailable(&limits).is_empty() {
                *held = None;
            }
        }
        self.cgroup.memory_bytes = self.memory.map(|held| held.value);
        self.cgroup.pids = self.pids.map(|held| held.value);
        match StepCgroup::unavailable(&self.cgroup).as_slice() {
            [] => Ok(()),
            [controller, ..] => Err(StepError::input(format!(
                "a limit was asked for that cannot be kept: this process cannot use the cgroup controller `{}`",
                controller.name()
            ))
            .hint(
                "as an ordinary user run bake in a cgroup of your own, for example with `systemd-run --user --scope \
                 -p Delegate=yes bake ...`, or leave the limit out",
            )),
        }
    }

    /// The cgroup that keeps them; `None` when there is nothing to keep.
    pub(crate) fn cgroup(&self, parent: Option<&Path>) -> Result<Option<StepCgroup>, StepError> {
        if self.cgroup == CgroupLimits::default() {
            return Ok(None);
        }
        let only_defaults = self.cgroup.cpu_quota.is_none()
            && self.cgroup.cpu_shares.is_none()
            && self.cgroup.cpuset_cpus.is_none()
            && self.cgroup.cpuset_mems.is_none()
            && self.cgroup.memory_and_swap_bytes.is_none()
            && parent.is_none()
            && [self.memory, self.pids].iter().flatten().all(|held| held.origin == Origin::Default);
        match StepCgroup::create(&self.cgroup, parent) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if only_defaults => {
                tracing::debug!(error = &error as &dyn std::error::Error, "steps go without limits");
                Ok(None)
            }
            Err(error) => {
                let message = crate::images::chain_of(&error);
                Err(StepError::input(format!("the limits of the step cannot be set: {message}")))
            }
        }
    }

    /// Begins to watch a step that writes to the directory `layer`.
    pub(crate) fn watch<'a>(&self, layer: &'a Path, killer: Killer) -> Watch<'a> {
        let timeout = self.timeout.map(|held| held.value);
        Watch { started: Instant::now(), timeout, layer, killer, stopped: None }
    }

    /// What a failed step has to be told of its limits: which were reached, where they come from, and how to raise them.
    pub(crate) fn hints(&self, usage: &CgroupUsage) -> Vec<String> {
        let mut hints = Vec::new();
        if let Some(memory) = self.memory.filter(|_| usage.out_of_memory_kills > 0) {
            let which = match memory.origin {
                Origin::Default => format!(" ({MEMORY_DEFAULT_PERCENT}% of what was free, by default)"),
                Origin::Flag => " (`--memory`)".into(),
                Origin::Comment => " (the comment above the instruction)".into(),
            };
            hints.push(format!(
                "the step reached its limit of {} of memory{which}, and the kernel killed processes of it; {}",
                size(memory.value),
                cure(memory.origin, "--memory", "memory", "8g")
            ));
        }
        if let Some(pids) = self.pids.filter(|_| usage.refused_processes > 0) {
            let which = match pids.origin {
                Origin::Default => " (by default)",
                Origin::Flag => " (`--pids-limit`)",
                Origin::Comment => " (the comment above the instruction)",
            };
            hints.push(format!(
                "the step reached its limit of {} processes and threads{which}; {}",
                pids.value,
                cure(pids.origin, "--pids-limit", "pids", "30000")
            ));
        }
        hints
    }

    /// What a step that was stopped failed with.
    pub(crate) fn stopped(&self, command: &str, why: Stopped) -> StepError {
        match (why, self.timeout) {
            (Stopped::Timeout, Some(timeout)) => {
                StepError::input(format!("process {command:?} was stopped: it did not end within {:?}", timeout.value))
                    .hint(cure(timeout.origin, "--timeout", "timeout", "1h"))
            }
            _ => StepError::environment(
                format!("process {command:?} was stopped: the disk of the store is almost full"),
                std::io::Error::from(std::io::ErrorKind::StorageFull),
            )
            .hint("`bake prune` frees space in the store, and `--root` names a store on another disk"),
        }
    }
}

impl Watch<'_> {
    /// Has a look, and ends the step if there is reason to.
    pub(crate) fn look(&mut self) {
        match (self.stopped, self.timeout) {
            (Some(Stopped::Timeout), Some(timeout)) if self.started.elapsed() > timeout + GRACE => self.killer.kill(),
            (None, Some(timeout)) if self.started.elapsed() > timeout => {
                self.stopped = Some(Stopped::Timeout);
                self.killer.terminate();
            }
            (None, _) if self.fills_the_disk() => {
                self.stopped = Some(Stopped::Disk);
                self.killer.kill();
            }
            _ => {}
        }
    }

    /// Why the step was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Whether the reserve of the disk is touched and it is this step that holds the space.
    fn fills_the_disk(&self) -> bool {
        let Ok(disk) = rustix::fs::statvfs(self.layer) else { return false };
        let reserve = (disk.f_blocks * disk.f_frsize / RESERVE_FRACTION).min(RESERVE_BYTES_MAX);
        disk.f_bavail * disk.f_frsize < reserve && allocated_bytes(self.layer) > reserve
    }
}

/// The bytes that a directory takes on disk; what cannot be read counts as nothing.
fn allocated_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, status)| {
            let own = status.blocks() * 512;
            if status.is_dir() { own + allocated_bytes(&path) } else { own }
        })
        .sum()
}

/// Puts the limits of a build in place of the defaults of a process.
pub(crate) fn set_resource_limits(process: &mut Process, limits: &[ResourceLimit]) {
    let mut all = process.rlimits().clone().unwrap_or_default();
    for ResourceLimit(limit) in limits {
        all.retain(|other| other.typ() != limit.typ());
        all.push(*limit);
    }
    process.set_rlimits(Some(all));
}

/// What to do about a limit that was reached.
fn cure(origin: Origin, flag: &str, name: &str, example: &str) -> String {
    let comment = format!("`# bake: {name}={example}` above the instruction");
    match origin {
        Origin::Flag => format!("raise `{flag}`, or for this step alone write {comment}"),
        Origin::Comment => format!("raise it there, for example to `{name}={example}`"),
        Origin::Default => format!("set another with `{flag}`, or for this step alone with {comment}"),
    }
}

fn size(bytes: u64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = if bytes >= 10 << 30 {
        write!(text, "{} GiB", bytes >> 30)
    } else if bytes >= 10 << 20 {
        write!(text, "{} MiB", bytes >> 20)
    } else {
        write!(text, "{} KiB", bytes >> 10)
    };
    text
}

/// The limit on memory where nobody sets one; the same for all steps of a process.
fn memory_default() -> Option<u64> {
    static DEFAULT: OnceLock<Option<u64>> = OnceLock::new();
    *DEFAULT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024 / 100 * MEMORY_DEFAULT_PERCENT)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn effective(memory: Option<Held<u64>>, pids: Option<Held<u64>>) -> Effective {
        Effective { cgroup: CgroupLimits::default(), memory, pids, timeout: None }
    }

    #[test]
    fn a_comment_goes_before_a_flag_and_that_before_a_default() {
        let build = StepLimits { timeout: Some(Duration::from_secs(5)), ..StepLimits::default() };
        let own = RunLimits { timeout_ns: Some(1_000_000_000), ..RunLimits::default() };
        let held = Effective::new(&build, Some(&own)).unwrap().timeout.unwrap();
        assert_eq!(held, Held { value: Duration::from_secs(1), origin: Origin::Comment });
        let held = Effective::new(&build, None).unwrap().timeout.unwrap();
        assert_eq!(held, Held { value: Duration::from_secs(5), origin: Origin::Flag });
        assert_eq!(Effective::new(&StepLimits::default(), None).unwrap().timeout, None);
    }

    #[test]
    fn resource_limits_are_written_as_dockers() {
        let ResourceLimit(limit) = ResourceLimit::parse("nofile=1024:4096").unwrap();
        assert_eq!((limit.typ(), limit.soft(), limit.hard()), (PosixRlimitType::RlimitNofile, 1024, 4096));
        let ResourceLimit(limit) = ResourceLimit::parse("core=-1").unwrap();
        assert_eq!((limit.soft(), limit.hard()), (u64::MAX, u64::MAX));
        for wrong in ["nofile", "files=1", "nofile=x", "nofile=5:4", "nofile=1:2:3"] {
            assert!(ResourceLimit::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_limits_that_were_reached_are_hinted_at() {
        let memory = Some(Held { value: 64 << 20, origin: Origin::Flag });
        let pids = Some(Held { value: PIDS_DEFAULT, origin: Origin::Default });
        let limits = effective(memory, pids);
        assert!(limits.hints(&CgroupUsage::default()).is_empty());
        let usage = CgroupUsage { out_of_memory_kills: 1, ..CgroupUsage::default() };
        let [hint] = limits.hints(&usage).try_into().unwrap();
        assert!(hint.contains("64 MiB of memory (`--memory`)"), "{hint}");
        let usage = CgroupUsage { refused_processes: 9, ..CgroupUsage::default() };
        let [hint] = limits.hints(&usage).try_into().unwrap();
        assert!(hint.contains("16384 processes and threads (by default); set another with `--pids-limit`"), "{hint}");
    }

    #[test]
    fn limits_of_the_build_take_the_place_of_those_of_the_same_kind() {
        let spec = bake_sandbox::default_spec();
        let mut process = spec.process().clone().unwrap();
        let before = process.rlimits().clone().unwrap().len();
        set_resource_limits(&mut process, &[ResourceLimit::parse("nofile=7:8").unwrap()]);
        let all = process.rlimits().clone().unwrap();
        assert_eq!(all.len(), before);
        assert!(all.iter().any(|limit| (limit.soft(), limit.hard()) == (7, 8)));
    }
}
