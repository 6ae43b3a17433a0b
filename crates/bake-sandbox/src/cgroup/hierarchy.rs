//! Where cgroups can be made: the mounted hierarchies and the place of this process in them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::CgroupError;

/// A kind of resource that cgroups limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Memory and swap.
    Memory,
    /// The number of processes.
    Pids,
    /// Processor time.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuset];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
        }
    }
}

/// The versions of cgroups (`cgroups(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A hierarchy for each controller, or a few of them.
    One,
    /// One hierarchy for all.
    Two,
}

/// A hierarchy in which this process can make cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    root: PathBuf,
    /// The directory in which cgroups of steps are made.
    pub(super) place: PathBuf,
    controllers: Vec<Controller>,
}

/// All of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Looks at what is mounted, once.
    pub(super) fn of_this_process() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self::from_text(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// From `/proc/PID/mountinfo` and `/proc/PID/cgroup`.
    fn from_text(mounts: &str, cgroups: &str) -> Self {
        let found = mounts.lines().filter_map(Mount::parse).filter_map(|mount| mount.hierarchy(cgroups));
        Self(found.collect())
    }

    /// The one to limit `controller` in.
    pub(super) fn with(&self, controller: Controller) -> Option<&Hierarchy> {
        self.0.iter().find(|hierarchy| hierarchy.controllers.contains(&controller))
    }
}

impl Hierarchy {
    /// The directory `parent`, relative to the root of the hierarchy; made if it is not there.
    pub(super) fn made_parent(&self, parent: &Path) -> Result<PathBuf, CgroupError> {
        let mut path = self.root.clone();
        for component in parent.components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => {
                    let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
                    return Err(CgroupError::Directory { path: parent.to_owned(), source });
                }
            }
            if self.version == Version::Two {
                // What is not given on to children cannot be limited in them.
                let above = path.parent().unwrap_or(&self.root);
                let _ = enable(above, &self.controllers);
            }
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError::Directory { path, source: error });
                }
                _ => {}
            }
        }
        if self.version == Version::Two {
            let _ = enable(&path, &self.controllers);
        }
        Ok(path)
    }
}

/// A line of `mountinfo` that mounts cgroups.
struct Mount<'a> {
    /// The directory of the hierarchy that is mounted.
    root: &'a str,
    target: PathBuf,
    version: Version,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, target) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => return None,
        };
        let target = PathBuf::from(OsStr::from_bytes(&unescaped(target)));
        Some(Self { root, target, version, options: after.nth(1).unwrap_or_default() })
    }

    /// The hierarchy, with the controllers that can be used at the place of the process.
    fn hierarchy(self, cgroups: &str) -> Option<Hierarchy> {
        let own = cgroups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            let this = match self.version {
                Version::Two => names.is_empty(),
                Version::One => !names.is_empty() && names.split(',').all(|name| self.is_option(name)),
            };
            this.then_some(path)
        })?;
        // Of a container with the machine's hierarchy, only a part is mounted.
        let own = Path::new(own);
        let own = own.strip_prefix(self.root).or_else(|_| own.strip_prefix("/")).ok()?;
        let own = self.target.join(own);
        let (place, controllers) = match self.version {
            Version::One => {
                let listed = Controller::ALL.into_iter().filter(|controller| self.is_option(controller.name()));
                (own, listed.collect::<Vec<_>>())
            }
            Version::Two => place_in_two(&self.target, &own)?,
        };
        let usable = !controllers.is_empty() && is_writable(&place);
        usable.then_some(Hierarchy { version: self.version, root: self.target, place, controllers })
    }

    fn is_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }
}

/// Where in version 2 children with controllers can be made. A cgroup with processes, as that of this process, cannot have
/// such children, unless it is the root; one beside it can.
fn place_in_two(root: &Path, own: &Path) -> Option<(PathBuf, Vec<Controller>)> {
    let beside = own.parent().filter(|parent| parent.starts_with(root) && own != root);
    beside.into_iter().chain([own]).filter(|place| is_writable(place)).find_map(|place| {
        let _ = enable(place, &Controller::ALL);
        let given_on = std::fs::read_to_string(place.join("cgroup.subtree_control")).ok()?;
        let given_on: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|controller| given_on.split_ascii_whitespace().any(|name| name == controller.name()))
            .collect();
        (!given_on.is_empty()).then(|| (place.to_owned(), given_on))
    })
}

/// Lets the children of `place` use the controllers, as far as it has them itself.
fn enable(place: &Path, controllers: &[Controller]) -> std::io::Result<()> {
    let file = place.join("cgroup.subtree_control");
    let enabled = std::fs::read_to_string(&file)?;
    let there = std::fs::read_to_string(place.join("cgroup.controllers"))?;
    let has = |text: &str, name: &str| text.split_ascii_whitespace().any(|word| word == name);
    for controller in controllers {
        let name = controller.name();
        if has(&there, name) && !has(&enabled, name) {
            std::fs::write(&file, format!("+{name}"))?;
        }
    }
    Ok(())
}

fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

/// Undoes the octal escapes of `mountinfo` (`proc_pid_mountinfo(5)`).
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut result = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        result.push(octal.unwrap_or(*byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    result
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn legacy_hierarchies_are_found_by_their_controllers() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap().to_owned();
        for path in ["memory/job", "cpu,cpuacct/", "unified/"] {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let mounts = format!(
            "20 1 0:1 / / rw - ext4 /dev/a rw\n\
             30 20 0:2 / {root}/memory rw - cgroup cgroup rw,memory\n\
             31 20 0:3 / {root}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 20 0:4 / {root}/unified rw - cgroup2 cgroup2 rw\n"
        );
        let hierarchies = Hierarchies::from_text(&mounts, "5:memory:/job\n3:cpu,cpuacct:/\n0::/\n");
        let memory = hierarchies.with(Controller::Memory).unwrap();
        assert_eq!((memory.version, memory.place.clone()), (Version::One, directory.path().join("memory/job")));
        assert_eq!(hierarchies.with(Controller::Cpu).unwrap().place, directory.path().join("cpu,cpuacct"));
        assert_eq!(hierarchies.with(Controller::Pids), None);
    }

    #[test]
    fn in_version_two_the_place_is_beside_this_process() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap().to_owned();
        std::fs::create_dir_all(directory.path().join("slice/scope")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("slice/cgroup.controllers", "memory pids\n");
        write("slice/cgroup.subtree_control", "memory pids\n");
        let mounts = format!("30 20 0:2 /part {root} rw shared:1 - cgroup2 cgroup2 rw,nsdelegate\n");
        let hierarchies = Hierarchies::from_text(&mounts, "0::/part/slice/scope\n");
        let memory = hierarchies.with(Controller::Memory).unwrap();
        assert_eq!((memory.version, memory.place.clone()), (Version::Two, directory.path().join("slice")));
        assert_eq!(hierarchies.with(Controller::Cpu), None);
    }

    #[test]
    fn escapes_of_mounts_are_undone() {
        assert_eq!(unescaped("/a\\040b\\134"), b"/a b\\");
        assert_eq!(unescaped("/a\\9"), b"/a\\9");
    }
}
