//! Running a command in an image to try it: isolated as a RUN is, and nothing of it is kept.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bake_graph::{ExecOp, NetworkMode, SecurityMode};
use bake_sandbox::{
    Exit, Killer, MountAccess, MountSource, PublishedPort, SandboxError, SetIdFiles, Stdin, Step, StepCgroup,
    StepMount, Stream, WindowSize,
};
use bake_snapshot::{Active, MergedView};
use bake_solver::{StepError, StepErrorKind};
use bake_sys::mount::{AttributeChange, MountAttrFlags, Recursion, clone_tree, set_attributes, set_id_map};
use rustix::fs::{FileType, Mode, OFlags};

use super::privileges::{self, Privileges, SystemCalls};
use super::{cgroup_directories, new_step, sandbox_failed, spec};
use crate::destination::{Attributes, Destination, DestinationError};
use crate::images::chain_of;
use crate::limits::{Effective, LOOK_INTERVAL};
use crate::mounts::Prepared;
use crate::mounts::shared_memory;
use crate::step_network::HostNames;
use crate::worker::{LinuxWorker, snapshot_failed, store_failed};

/// What is to be run, and what it sees.
#[derive(Debug, Clone)]
pub struct ImageRun {
    /// The directories of the image's layers, base first.
    pub layers: Vec<PathBuf>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// Working directory, absolute; made where the image lacks it.
    pub cwd: String,
    /// The network.
    pub network: NetworkMode,
    /// Ports of this machine that lead inside; only with a network of its own.
    pub published: Vec<PublishedPort>,
    /// Names in `/etc/hosts` and their addresses, or [`crate::HOST_GATEWAY`].
    pub extra_hosts: Vec<(String, String)>,
    /// The host name; `None` is that of every step.
    pub hostname: Option<String>,
    /// Whether the image's files cannot be written.
    pub read_only: bool,
    /// Directories and files of this machine.
    pub binds: Vec<Bind>,
    /// File systems in memory.
    pub tmpfs: Vec<TmpfsMount>,
    /// What it may do.
    pub privileges: Privileges,
    /// The platform of the image, `os/architecture[/variant]`.
    pub platform: String,
}

/// An empty file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Its path inside, absolute.
    pub target: String,
    /// The most that fits into it, in bytes; `None` for half of the memory.
    pub size_bytes: Option<u64>,
    /// Permission bits of its root directory.
    pub mode: u32,
    /// Whether it cannot be written inside.
    pub read_only: bool,
}

/// What a command reads and writes.
#[derive(Debug, Default)]
pub struct Streams {
    /// The reading end of a pipe with its standard input; without one, and without a terminal, there is nothing to read.
    pub stdin: Option<OwnedFd>,
    /// Its terminal, in place of the standard streams.
    pub terminal: Option<WindowSize>,
}

/// A command that was started.
#[derive(Debug)]
pub struct Started {
    /// Ends it early.
    pub killer: Killer,
    /// The master of its terminal, if it has one: what is written there is typed.
    pub terminal: Option<OwnedFd>,
}

/// A directory or file of this machine that is seen inside.
#[derive(Debug, Clone)]
pub struct Bind {
    /// Its path here.
    pub source: PathBuf,
    /// Its path inside, absolute.
    pub target: String,
    /// Whether it cannot be written inside.
    pub read_only: bool,
}

impl LinuxWorker {
    /// Runs a command in an image and passes its output on. `notice` is told what the user has to
    /// know, `started` gets what ends it early.
    ///
    /// # Errors
    /// Of kind [`StepErrorKind::Exit`] when the command could not be executed, with the code that shells give; of another
    /// kind when there was no way to start anything.
    pub fn run_image(
        &self,
        run: &ImageRun,
        notice: &dyn Fn(String),
        streams: Streams,
        started: impl FnOnce(Started),
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, StepError> {
        let op = operation(run);
        let lowers: Vec<&Path> = run.layers.iter().map(PathBuf::as_path).collect();
        // Thrown away with everything written to it.
        let snapshot = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let active = Active { upper: snapshot.fs(), work: snapshot.work() };
        let identity = self.working_directory(&op, &lowers, active)?;
        let binds = run.binds.iter().map(|bind| self.open_bind(bind)).collect::<Result<Vec<_>, _>>()?;
        if run.read_only {
            self.make_targets(run, &binds, &lowers, active)?;
        }
        let isolation = self.options.isolation.steps()?;
        let mut network = self.step_networks.lease(run.network, &isolation.id_map, &run.published, notice)?;
        if !run.published.is_empty() && !network.takes_published() {
            return Err(StepError::input("ports cannot be published: the command has no network of its own")
                .hint("leave `--network` out, and install `pasta` (Debian's package `passt`) where it is missing"));
        }
        let root = isolation.snapshotter.mount(&lowers, active).map_err(|error| snapshot_failed(&error))?;
        if run.read_only {
            let change = AttributeChange::setting(MountAttrFlags::MOUNT_ATTR_RDONLY);
            set_attributes(&root, c"", Recursion::Single, change).map_err(|errno| {
                StepError::environment("cannot make the root file system read-only", std::io::Error::from(errno))
            })?;
        }
        let mut prepared = Prepared::default();
        prepared.mounts.extend(shared_memory(self.grants(0)));
        let mut process = spec(&op, &identity, &prepared, &self.grants(0).limits);
        privileges::apply(&run.privileges, &mut process);
        let names = HostNames { own: run.hostname.as_deref(), extra: &run.extra_hosts };
        let ready = network.ready(&names, notice)?;
        let mut step = new_step(&op, process, root, isolation, ready, &mut prepared);
        step.runtime.clone_from(&self.options.runtime);
        step.filtered = run.privileges.system_calls == SystemCalls::Usual;
        if run.privileges.insecure {
            step.security = bake_sandbox::SecurityMode::Insecure;
        }
        step.mounts.extend(run.binds.iter().zip(binds).map(|(bind, tree)| StepMount {
            target: bind.target.clone().into_bytes(),
            source: MountSource::Tree(tree),
            access: if bind.read_only { MountAccess::ReadOnly } else { MountAccess::ReadWrite },
            set_id: SetIdFiles::Ignored,
        }));
        step.mounts.extend(run.tmpfs.iter().map(|tmpfs| StepMount {
            target: tmpfs.target.clone().into_bytes(),
            source: MountSource::Tmpfs { size_bytes: tmpfs.size_bytes, mode: tmpfs.mode },
            access: if tmpfs.read_only { MountAccess::ReadOnly } else { MountAccess::ReadWrite },
            set_id: SetIdFiles::Ignored,
        }));
        run_to_end(self, step, streams, &Watched { op: &op, layer: active.upper }, notice, started, output)
    }

    /// A detached mount of what is bound, with what is mounted below it where that can be had, through the step's ID map.
    fn open_bind(&self, bind: &Bind) -> Result<OwnedFd, StepError> {
        let shown = bind.source.display();
        let source = rustix::fs::open(&bind.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| StepError::input(format!("cannot open `{shown}`: {}", std::io::Error::from(errno))))?;
        let namespace = self.options.isolation.steps()?.user_namespace.as_ref();
        let mount = |recursion| {
            let tree = clone_tree(&source, c"", recursion)?;
            if let Some(namespace) = namespace {
                set_id_map(&tree, namespace.as_fd(), recursion)?;
            }
            Ok::<_, rustix::io::Errno>(tree)
        };
        // One file system below that cannot map IDs must not hide the others' parent.
        mount(Recursion::Recursive).or_else(|_| mount(Recursion::Single)).map_err(|errno| {
            let failed = StepError::environment(format!("cannot mount `{shown}`"), std::io::Error::from(errno));
            match errno {
                rustix::io::Errno::INVAL if namespace.is_some() => {
                    failed.hint("its file system cannot map the IDs of files; a directory on another one may work")
                }
                _ => failed,
            }
        })
    }

    /// Makes what is mounted on, since that is impossible once the root is read-only.
    fn make_targets(
        &self,
        run: &ImageRun,
        binds: &[OwnedFd],
        lowers: &[&Path],
        active: Active<'_>,
    ) -> Result<(), StepError> {
        let mut targets = vec![("/proc", true), ("/sys", true), ("/dev", true)];
        targets.extend([("/etc/resolv.conf", false), ("/etc/hosts", false)]);
        for (bind, tree) in run.binds.iter().zip(binds) {
            let status = rustix::fs::fstat(tree).map_err(|errno| {
                StepError::environment(
                    format!("cannot inspect `{}`", bind.source.display()),
                    std::io::Error::from(errno),
                )
            })?;
            targets.push((&bind.target, FileType::from_raw_mode(status.st_mode) == FileType::Directory));
        }
        targets.extend(run.tmpfs.iter().map(|tmpfs| (tmpfs.target.as_str(), true)));
        let files = &self.options.isolation.files;
        let view = MergedView::open(&**files, lowers).map_err(|error| snapshot_failed(&error))?;
        let destination = self.prepared_layer(active, lowers, "work-of-targets")?;
        for (target, is_directory) in targets {
            let relative = target.trim_matches('/');
            if view.stat(relative.as_bytes()).map_err(|error| snapshot_failed(&error))?.is_none() {
                make_target(&destination, relative, is_directory)
                    .map_err(|error| StepError::input(format!("cannot make `{target}`: {}", chain_of(&error))))?;
            }
        }
        Ok(())
    }
}

/// A step that somebody looks at, for the messages, and the directory it writes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched<'a> {
    pub(super) op: &'a ExecOp,
    pub(super) layer: &'a Path,
}

/// Runs a step that somebody looks at, and passes its output on.
pub(super) fn run_to_end(
    worker: &LinuxWorker,
    mut step: Step,
    streams: Streams,
    what: &Watched<'_>,
    notice: &dyn Fn(String),
    started: impl FnOnce(Started),
    output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Exit, StepError> {
    let Watched { op, layer } = *what;
    step.terminal = streams.terminal;
    if let (Some(pipe), None) = (streams.stdin, streams.terminal) {
        step.stdin = Stdin::Pipe(pipe);
    }
    let options = &worker.grants(0).limits;
    let limits = Effective::new(options, op.limits.as_deref())?;
    // Removed after everything of the command has ended.
    let cgroup = limits.cgroup(options.cgroup_parent.as_deref())?;
    step.cgroups = cgroup_directories(cgroup.as_ref())?;
    let running = bake_sandbox::spawn(step).map_err(|error| not_run(&error, op))?;
    let killer = running.killer();
    let terminal = running.terminal().map(|master| crate::worker::duplicate(&master)).transpose()?;
    started(Started { killer: killer.clone(), terminal });
    let mut watch = limits.watch(layer, killer.clone());
    let report = worker
        .while_running(&killer, || running.wait_and_look(output, Some((LOOK_INTERVAL, &mut || watch.look()))))
        .map_err(|error| not_run(&error, op))?;
    if let Some(why) = watch.stopped() {
        return Err(limits.stopped(&op.args.join(" "), why));
    }
    limits.hints(&cgroup.as_ref().map(StepCgroup::usage).unwrap_or_default()).into_iter().for_each(notice);
    Ok(report.exit)
}

fn make_target(destination: &Destination, path: &str, is_directory: bool) -> Result<(), DestinationError> {
    let made = Attributes { owner: (0, 0), mode: 0o755, mtime: None };
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if is_directory {
        destination.make_directories(path.as_bytes(), made)?;
    } else {
        let parent = destination.make_directories(parent.as_bytes(), made)?;
        parent.create(name.as_bytes())?;
    }
    Ok(())
}

/// The command as the RUN it is isolated like.
fn operation(run: &ImageRun) -> ExecOp {
    ExecOp {
        args: run.args.clone(),
        env: run.env.clone(),
        build_args: Vec::new(),
        proxy_env: Vec::new(),
        cwd: run.cwd.clone(),
        user: run.user.clone(),
        mounts: Vec::new(),
        secret_env: Vec::new(),
        network: run.network,
        security: SecurityMode::Sandbox,
        extra_hosts: Vec::new(),
        hostname: run.hostname.clone(),
        platform: run.platform.clone(),
        limits: None,
    }
}

fn not_run(error: &SandboxError, op: &ExecOp) -> StepError {
    let mut failed = sandbox_failed(error, op);
    if let SandboxError::Execute(failure) = error {
        failed.kind = StepErrorKind::Exit(failure.exit_code());
    }
    failed
}
