//! A root file system for tests, and running a shell script in it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bake_sandbox::{
    Exit, ExitReport, FakeIds, IdMap, IdRange, MountSource, Network, SandboxError, SecurityMode, Stdin, Step,
    StepMount, Stream, default_spec, spawn,
};
use bake_sys::mount::{FsContext, MountAttrFlags, Recursion, clone_tree, set_id_map};
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags};
use tempfile::TempDir;

/// The host's ids that ids 0 to 65535 of the steps are.
pub(crate) const OUTSIDE: u32 = 100_000;

/// A directory tree that is the root of the steps of one test.
pub(crate) struct Rootfs {
    pub(crate) directory: TempDir,
    pub(crate) id_map: IdMap,
    id_mapped: bool,
}

/// What a step did.
pub(crate) struct Outcome {
    pub(crate) report: ExitReport,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn code(&self) -> i32 {
        match self.report.exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => panic!("killed by signal {signal}: {}", self.stderr),
        }
    }

    /// The trimmed output of a script that must have succeeded.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.code(), 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout.trim()
    }
}

impl Rootfs {
    /// For steps started by root: the ids of the tree are mapped.
    pub(crate) fn new() -> Self {
        Self::with(IdMap::range(OUTSIDE, 65536), true)
    }

    /// For steps whose ids are those of the tree.
    pub(crate) fn with(id_map: IdMap, id_mapped: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc", "root", "tmp", "usr", "work", "var"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        fs::set_permissions(path.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), path.join(name)).unwrap();
        }
        Self { directory, id_map, id_mapped }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A detached mount of the tree.
    pub(crate) fn mount(&self) -> OwnedFd {
        tree(self.directory.path(), self.id_mapped.then_some(&self.id_map))
    }

    /// A detached overlay over the tree, whose changes go to the directory `upper` beside it, as builders make them.
    pub(crate) fn overlay(&self, work: &Path) -> OwnedFd {
        // Overlay makes its own files as the user who mounts, so that user needs a place in the map too.
        let mut mounter = self.id_map.clone();
        mounter.users.push(IdRange { inside: 0xffff_fffd, outside: 0, count: 1 });
        mounter.groups.push(IdRange { inside: 0xffff_fffd, outside: 0, count: 1 });
        let id_map = self.id_mapped.then_some(&mounter);
        for name in ["upper", "work"] {
            fs::create_dir(work.join(name)).unwrap();
        }
        // Upper and work directory have to be on the same mount, so that is mapped as a whole.
        let changes = tree(work, id_map);
        let open =
            |name: &str| rustix::fs::openat(&changes, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let context = FsContext::open(c"overlay").unwrap();
        context.set_string(c"source", c"overlay").unwrap();
        if !self.id_mapped {
            context.set_flag(c"userxattr").unwrap();
        }
        // Detached mounts go with their last descriptor, so this one is kept until overlay has its own.
        let lower = self.mount();
        context.set_fd(c"lowerdir+", &lower).unwrap();
        context.set_fd(c"upperdir", open("upper")).unwrap();
        context.set_fd(c"workdir", open("work")).unwrap();
        context.create().unwrap_or_else(|errno| panic!("{errno}: {}", context.messages()));
        context.mount(MountAttrFlags::empty()).unwrap()
    }

    /// A step that runs `script` with `/bin/sh`.
    pub(crate) fn step(&self, script: &str) -> Step {
        let mut step = Step::new(spec(&["/bin/sh", "-c", script]), self.mount(), self.id_map.clone());
        step.mounts.push(StepMount::read_only(*b"/usr", MountSource::Tree(host_tree("/usr"))));
        step
    }

    /// Runs `script` with the default profile.
    pub(crate) fn run(&self, script: &str) -> Outcome {
        run(self.step(script)).unwrap()
    }
}

/// The default profile with these arguments.
pub(crate) fn spec(arguments: &[&str]) -> Spec {
    let mut spec = default_spec();
    let mut process = spec.process().clone().unwrap();
    process.set_args(Some(arguments.iter().map(|argument| (*argument).to_owned()).collect()));
    spec.set_process(Some(process));
    spec
}

/// Changes the process of a step.
pub(crate) fn change(step: &mut Step, change: impl FnOnce(&mut oci_spec::runtime::Process)) {
    let mut process = step.spec.process().clone().unwrap();
    change(&mut process);
    step.spec.set_process(Some(process));
}

/// Makes a step run as this user and group.
pub(crate) fn run_as(step: &mut Step, uid: u32, gid: u32, additional: &[u32]) {
    change(step, |process| {
        let user = process.user_mut();
        user.set_uid(uid);
        user.set_gid(gid);
        user.set_additional_gids(Some(additional.to_vec()));
    });
}

/// A detached clone of the host's directory, with what is mounted in it.
pub(crate) fn host_tree(path: &str) -> OwnedFd {
    clone_tree(CWD, path, Recursion::Recursive).unwrap()
}

/// A detached clone of a directory or file, id-mapped if asked.
pub(crate) fn tree(path: &Path, id_map: Option<&IdMap>) -> OwnedFd {
    let mount = clone_tree(CWD, path, Recursion::Single).unwrap();
    if let Some(map) = id_map {
        let namespace = bake_sandbox::userns::namespace_for(map).unwrap();
        set_id_map(&mount, namespace.as_fd(), Recursion::Single).unwrap();
    }
    mount
}

/// Runs a step to its end.
pub(crate) fn run(step: Step) -> Result<Outcome, SandboxError> {
    let running = spawn(step)?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let report = running.wait(&mut |stream, bytes| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    })?;
    Ok(Outcome {
        report,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// A file in memory.
pub(crate) fn memory_file(content: &[u8]) -> MountSource {
    MountSource::File { content: content.to_vec(), mode: 0o644, uid: 0, gid: 0 }
}

/// Settings of the step that few tests change.
pub(crate) fn with_network(mut step: Step, network: Network) -> Step {
    step.network = network;
    step
}

pub(crate) fn insecure(mut step: Step) -> Step {
    step.security = SecurityMode::Insecure;
    step
}

pub(crate) fn with_fake_ids(mut step: Step) -> Step {
    step.fake_ids = FakeIds::On;
    step
}

pub(crate) fn with_stdin(mut step: Step, bytes: &[u8]) -> Step {
    step.stdin = Stdin::Bytes(bytes.to_vec());
    step
}
