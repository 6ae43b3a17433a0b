//! Cgroups of steps: limits that the kernel keeps, and what was used.
//!
//! A step's cgroup is a directory of its own in each hierarchy that has a controller it needs: one in cgroup v2, or one
//! for each controller in v1, also where both are mounted. It is made beside or in the cgroup of this process, so that
//! limits of a session, a container or a CI job go on to hold; never where this process may not write.
//!
//! Names say which process made them (`bake-PID-START-NUMBER`, with the start time of `proc_pid_stat(5)`), so that what a
//! killed process left behind is found and removed by the next one. The kernel refuses to remove a cgroup with processes in it.

mod hierarchy;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

pub use hierarchy::Controller;
use hierarchy::{Hierarchies, Hierarchy, Version};

use crate::step::CgroupDirectory;

/// The period over which processor time is shared out, in microseconds; the kernel's and Docker's default.
const CPU_PERIOD_US: u64 = 100_000;
/// What the names of cgroups of steps begin with.
const PREFIX: &str = "bake-";
/// How long a cgroup is kept trying to be removed: killed processes leave it a moment after they are reaped.
const REMOVE_ATTEMPTS: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// As a limit of processes, or of memory and swap together: as much as there is, where not saying so means a default.
pub const UNLIMITED: u64 = u64::MAX;

/// What a step may use. `None` is: as much as there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Memory, in bytes, that of files cached for it included.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes; at least `memory_bytes`.
    pub memory_and_swap_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processor time: microseconds in each period of so many microseconds.
    pub cpu_quota: Option<(u64, u64)>,
    /// Its part of the processors where they are short, relative to 1024 of others; 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// The processors it may run on, for example `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it may use.
    pub cpuset_mems: Option<String>,
}

impl CgroupLimits {
    /// The quota of so many thousandths of a processor.
    pub fn quota_of(thousandths: u64) -> (u64, u64) {
        (thousandths.saturating_mul(CPU_PERIOD_US / 1000), CPU_PERIOD_US)
    }

    /// The controllers that are needed to keep the limits.
    fn controllers(&self) -> Vec<Controller> {
        let needed = [
            (Controller::Memory, self.memory_bytes.is_some() || self.memory_and_swap_bytes.is_some()),
            (Controller::Pids, self.pids.is_some()),
            (Controller::Cpu, self.cpu_quota.is_some() || self.cpu_shares.is_some()),
            (Controller::Cpuset, self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()),
        ];
        needed.into_iter().filter(|(_, needed)| *needed).map(|(controller, _)| controller).collect()
    }
}

/// A cgroup cannot be made or set.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// This host, or this user on it, has no place where the controller can be used.
    #[error("this process cannot use the cgroup controller `{}`", controller.name())]
    Unavailable {
        /// Which.
        controller: Controller,
    },
    /// A limit was refused.
    #[error("failed to write `{value}` to `{}`", path.display())]
    Limit {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why it was refused.
        #[source]
        source: io::Error,
    },
    /// A directory could not be made or opened.
    #[error("failed to make the cgroup `{}`", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the processes of a cgroup used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CgroupUsage {
    /// The largest amount of memory at one time, in bytes, where it was counted.
    pub memory_peak_bytes: Option<u64>,
    /// Processes that the kernel killed because the limit on memory was reached.
    pub out_of_memory_kills: u64,
    /// Processes that were not made because there were as many as allowed.
    pub refused_processes: u64,
}

/// The cgroup of a step. Dropping it removes it; its processes must have ended by then.
#[derive(Debug)]
pub struct StepCgroup {
    directories: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

impl StepCgroup {
    /// Makes a cgroup with `limits`. `parent` is where, relative to the roots of the hierarchies, instead of at this process.
    ///
    /// # Errors
    /// [`CgroupError::Unavailable`] when a controller that a limit needs cannot be used, [`CgroupError::Limit`] when the
    /// kernel refuses a value, [`CgroupError::Directory`].
    pub fn create(limits: &CgroupLimits, parent: Option<&Path>) -> Result<Self, CgroupError> {
        let hierarchies = hierarchies();
        let mut cgroup = Self { directories: Vec::new() };
        for controller in limits.controllers() {
            let hierarchy = hierarchies.with(controller).ok_or(CgroupError::Unavailable { controller })?;
            cgroup.add(hierarchy, controller, parent)?;
        }
        for directory in &cgroup.directories {
            directory.set(limits)?;
        }
        Ok(cgroup)
    }

    /// Which of the controllers that `limits` need cannot be used here.
    pub fn unavailable(limits: &CgroupLimits) -> Vec<Controller> {
        limits.controllers().into_iter().filter(|controller| hierarchies().with(*controller).is_none()).collect()
    }

    fn add(&mut self, hierarchy: &Hierarchy, controller: Controller, parent: Option<&Path>) -> Result<(), CgroupError> {
        let place = match parent {
            Some(parent) => hierarchy.made_parent(parent)?,
            None => hierarchy.place.clone(),
        };
        let known = self.directories.iter_mut().find(|directory| directory.path.starts_with(&place));
        if let Some(directory) = known {
            directory.controllers.push(controller);
            return Ok(());
        }
        let path = place.join(own_name());
        std::fs::create_dir(&path).map_err(|source| CgroupError::Directory { path: path.clone(), source })?;
        self.directories.push(Directory { path, version: hierarchy.version, controllers: vec![controller] });
        Ok(())
    }

    /// The directories, for [`crate::Step::cgroups`].
    ///
    /// # Errors
    /// [`CgroupError::Directory`].
    pub fn directories(&self) -> Result<Vec<CgroupDirectory>, CgroupError> {
        self.directories
            .iter()
            .map(|directory| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened: OwnedFd = rustix::fs::open(&directory.path, flags, Mode::empty())
                    .map_err(|errno| CgroupError::Directory { path: directory.path.clone(), source: errno.into() })?;
                Ok(match directory.version {
                    Version::Two => CgroupDirectory::Unified(opened),
                    Version::One => CgroupDirectory::Legacy(opened),
                })
            })
            .collect()
    }

    /// What was used so far.
    pub fn usage(&self) -> CgroupUsage {
        let mut usage = CgroupUsage::default();
        for directory in &self.directories {
            directory.read(&mut usage);
        }
        usage
    }
}

impl Drop for StepCgroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            for _ in 0..REMOVE_ATTEMPTS {
                match std::fs::remove_dir(&directory.path) {
                    // Busy as long as a killed process is on its way out. What stays is removed by the next process.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(REMOVE_PAUSE),
                    _ => break,
                }
            }
        }
    }
}

impl Directory {
    fn set(&self, limits: &CgroupLimits) -> Result<(), CgroupError> {
        for controller in &self.controllers {
            match (controller, self.version) {
                (Controller::Memory, Version::Two) => self.set_memory(limits)?,
                (Controller::Memory, Version::One) => self.set_legacy_memory(limits)?,
                (Controller::Pids, _) => self.write_number("pids.max", limits.pids)?,
                (Controller::Cpu, Version::Two) => {
                    if let Some((quota, period)) = limits.cpu_quota {
                        self.write("cpu.max", &format!("{quota} {period}"))?;
                    }
                    self.write_number("cpu.weight", limits.cpu_shares.map(weight))?;
                }
                (Controller::Cpu, Version::One) => {
                    if let Some((quota, period)) = limits.cpu_quota {
                        self.write("cpu.cfs_period_us", &period.to_string())?;
                        self.write("cpu.cfs_quota_us", &quota.to_string())?;
                    }
                    self.write_number("cpu.shares", limits.cpu_shares)?;
                }
                (Controller::Cpuset, version) => self.set_cpuset(limits, version)?,
            }
        }
        Ok(())
    }

    fn set_memory(&self, limits: &CgroupLimits) -> Result<(), CgroupError> {
        self.write_number("memory.max", limits.memory_bytes)?;
        if let Some(both) = limits.memory_and_swap_bytes {
            // Version 2 counts swap by itself; a kernel without swap accounting has no such file and no swap to limit.
            let swap = match both {
                UNLIMITED => UNLIMITED,
                both => both.saturating_sub(limits.memory_bytes.unwrap_or(both)),
            };
            if self.path.join("memory.swap.max").exists() {
                self.write_number("memory.swap.max", Some(swap))?;
            }
        }
        // The step fails as a whole: a compiler that lost one process would otherwise go on to a result that nobody expects.
        self.write("memory.oom.group", "1")
    }

    fn set_legacy_memory(&self, limits: &CgroupLimits) -> Result<(), CgroupError> {
        self.write_number("memory.limit_in_bytes", limits.memory_bytes)?;
        match limits.memory_and_swap_bytes {
            Some(both) if self.path.join("memory.memsw.limit_in_bytes").exists() => {
                let value = if both == UNLIMITED { "-1".to_owned() } else { both.to_string() };
                self.write("memory.memsw.limit_in_bytes", &value)
            }
            _ => Ok(()),
        }
    }

    /// Version 1 wants both values before a process may enter; what is not limited is taken from the parent.
    fn set_cpuset(&self, limits: &CgroupLimits, version: Version) -> Result<(), CgroupError> {
        for (name, value) in [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)] {
            let inherited = || self.path.parent().and_then(|parent| std::fs::read_to_string(parent.join(name)).ok());
            match (value, version) {
                (Some(value), _) => self.write(name, value)?,
                (None, Version::One) => self.write(name, inherited().unwrap_or_default().trim())?,
                (None, Version::Two) => {}
            }
        }
        Ok(())
    }

    fn write_number(&self, name: &str, value: Option<u64>) -> Result<(), CgroupError> {
        match value {
            None => Ok(()),
            Some(UNLIMITED) => self.write(name, "max"),
            Some(value) => self.write(name, &value.to_string()),
        }
    }

    fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        let path = self.path.join(name);
        std::fs::write(&path, value).map_err(|source| CgroupError::Limit { path, value: value.to_owned(), source })
    }

    fn read(&self, usage: &mut CgroupUsage) {
        let text = |name: &str| std::fs::read_to_string(self.path.join(name)).unwrap_or_default();
        for controller in &self.controllers {
            match (controller, self.version) {
                (Controller::Memory, Version::Two) => {
                    usage.memory_peak_bytes = text("memory.peak").trim().parse().ok();
                    usage.out_of_memory_kills = field(&text("memory.events"), "oom_kill");
                }
                (Controller::Memory, Version::One) => {
                    usage.memory_peak_bytes = text("memory.max_usage_in_bytes").trim().parse().ok();
                    usage.out_of_memory_kills = field(&text("memory.oom_control"), "oom_kill");
                }
                (Controller::Pids, _) => usage.refused_processes = field(&text("pids.events"), "max"),
                (Controller::Cpu | Controller::Cpuset, _) => {}
            }
        }
    }
}

/// The number after `name` in a file of names and numbers.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Shares of version 1 (2 to 262144) as a weight of version 2 (1 to 10000), as the OCI runtimes convert them.
fn weight(shares: u64) -> u64 {
    1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142
}

fn hierarchies() -> &'static Hierarchies {
    static HIERARCHIES: OnceLock<Hierarchies> = OnceLock::new();
    HIERARCHIES.get_or_init(Hierarchies::of_this_process)
}

/// A name that no other process and no other step of this one has.
fn own_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{pid}-{}-{number}", start_time(pid).unwrap_or(0))
}

/// When a process was started, in ticks since the machine was; `None` when there is none.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the start time is the 22nd field, the 20th after it.
    stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Removes the cgroups that bake processes left which were killed, where this process makes its own. Call it when the work
/// is done: a moment after such a process was killed, what it ran may still be on its way out.
pub fn remove_left_cgroups() {
    for controller in Controller::ALL {
        if let Some(hierarchy) = hierarchies().with(controller) {
            remove_leftovers(&hierarchy.place);
        }
    }
}

fn remove_leftovers(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_left_over) {
            // One with processes in it is refused by the kernel.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Whether a name is that of a step whose bake process is gone.
fn is_left_over(name: &str) -> bool {
    let mut fields = name.strip_prefix(PREFIX).unwrap_or_default().split('-').map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(started)), Some(Ok(_)), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    u32::try_from(pid).is_ok_and(|pid| start_time(pid) != Some(started))
}

#[cfg(test)]
mod tests;
