//! Exec ops: RUN.

mod failed;
mod privileges;
mod run;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bake_graph::{ExecOp, NetworkMode, SecurityMode};
use bake_oci::Platform;
use bake_sandbox::{
    CgroupDirectory, ExecuteFailureKind, Exit, ProcSource, SandboxError, Step, StepCgroup, ThirtyTwoBit,
};
use bake_snapshot::{Active, MergedView};
use bake_solver::{BuildEvent, MemoryOf, Ran, StepError, StepErrorKind, StepUsage, Stream, Task};
use oci_spec::runtime::{Capability, Process, Spec, UserBuilder};
use rustix::fs::Mode;

use crate::destination::{Attributes, Destination};
use crate::images::chain_of;
use crate::limits::{Effective, LOOK_INTERVAL, StepLimits, set_resource_limits};
use crate::mounts::Prepared;
use crate::step_network::{HostNames, Ready};
use crate::users::{Identity, user_failed};
use crate::worker::{LinuxWorker, StepIsolation, accounts, open_directory, snapshot_failed, store_failed};

pub(crate) use failed::Failures;
pub use failed::{Continuation, ContinuedStep, DebugSession, FailedInput, FailedRoot, FailedStep, Missing};
pub use privileges::{CapabilityError, Privileges, SystemCalls, capabilities};
pub use run::{Bind, ImageRun, Started, Streams, TmpfsMount};

/// Output of one step beyond this is dropped with a notice, so that a flood cannot fill memory or logs.
const OUTPUT_BYTES_MAX: u64 = 256 << 20;

impl LinuxWorker {
    pub(crate) fn exec(&self, op: &ExecOp, task: &Task<'_>) -> Result<Ran, StepError> {
        if let Some(layer) = self.layer_from_before(task) {
            return Ok(layer.into());
        }
        let base = task.inputs.first().ok_or_else(|| StepError::input("a process needs a root file system"))?;
        let lowers = self.directories(base, task)?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let beginning = self.beginning(task, base)?;
        let continued = beginning.is_some();
        let snapshot = match beginning {
            None => self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?,
            Some(beginning) if !beginning.accept => beginning.root,
            Some(beginning) => {
                let layer = self.commit(&lowers, beginning.root, None, task)?;
                self.note_continued(task, &layer);
                return Ok(layer.into());
            }
        };
        let active = Active { upper: snapshot.fs(), work: snapshot.work() };
        let identity = self.working_directory(op, &lowers, active)?;
        let mut tracing = None;
        let ran = {
            let isolation = self.options.isolation.steps()?;
            let notice = |message| task.events.send(BuildEvent::Notice { step: task.id, message });
            // It comes to be while the rest is prepared, and goes back when nothing of the step is left.
            let mut network = self.step_networks.lease(op.network, &isolation.id_map, &[], &notice)?;
            if !continued {
                tracing = self.begin_tracing(task, base)?;
            }
            let root = self.mount_root(base, &lowers, active, tracing.as_mut())?;
            let mut prepared = Prepared::default();
            prepared.tracing = tracing.take();
            self.prepare_mounts(op, task, &mut prepared)?;
            let process = spec(op, &identity, &prepared, &self.grants_of(task.vertex).limits);
            let names = HostNames { own: op.hostname.as_deref(), extra: &op.extra_hosts };
            let ready = network.ready(&names, &notice)?;
            let mut step = new_step(op, process, root, isolation, ready, &mut prepared);
            step.runtime.clone_from(&self.options.runtime);
            if isolation.proc == ProcSource::Callers {
                let message =
                    "parts of `/proc` are hidden here, so this step sees the surrounding container's, and the \
                               names of its processes"
                        .to_owned();
                task.events.send(BuildEvent::Notice { step: task.id, message });
            }
            let limits = Effective::new(&self.grants_of(task.vertex).limits, op.limits.as_deref())?;
            let ran = self.run_step(step, &limits, active.upper, op, task);
            tracing = prepared.tracing.take();
            ran
        };
        let usage = match ran {
            Ok(usage) => usage,
            Err(error) => {
                self.set_aside(snapshot, op, task, &error);
                return Err(error);
            }
        };
        let layer = self.commit(&lowers, snapshot, Some(usage), task)?;
        if continued {
            self.note_continued(task, &layer);
        }
        let traced = tracing.and_then(|tracing| self.trace_of(tracing, op, &lowers, task));
        Ok(Ran { layer, traced })
    }

    /// Finds the user, and makes the working directory where the image lacks it.
    fn working_directory(&self, op: &ExecOp, lowers: &[&Path], active: Active<'_>) -> Result<Identity, StepError> {
        let files = &self.options.isolation.files;
        let view = MergedView::open(&**files, lowers).map_err(|error| snapshot_failed(&error))?;
        let accounts = accounts(&view)?;
        let identity = accounts.identity(&op.user).map_err(|error| user_failed(&error))?;
        let relative = op.cwd.trim_start_matches('/');
        let there = relative.is_empty()
            || view
                .stat(relative.as_bytes())
                .map_err(|error| snapshot_failed(&error))?
                .is_some_and(|status| status.kind == bake_snapshot::FileKind::Directory);
        if !there {
            // Made through a mount with the owners of the disk; the step's own mount needs a fresh work directory.
            let destination = self.prepared_layer(active, lowers, "work-of-directories")?;
            let made = Attributes { owner: (identity.uid, identity.gid), mode: 0o755, mtime: None };
            destination.make_directories(op.cwd.as_bytes(), made).map_err(|error| {
                StepError::input(format!("cannot make the working directory: {}", chain_of(&error)))
            })?;
        }
        Ok(identity)
    }

    /// The layer of a step before the step's own mount, which needs a work directory of its own beside `work_name`.
    fn prepared_layer(&self, active: Active<'_>, lowers: &[&Path], work_name: &str) -> Result<Destination, StepError> {
        let work = active.work.with_file_name(work_name);
        rustix::fs::mkdir(&work, Mode::RWXU).map_err(|errno| {
            StepError::environment("cannot make a directory of the store", std::io::Error::from(errno))
        })?;
        let files = &self.options.isolation.files;
        let root = files
            .mount(lowers, Active { upper: active.upper, work: &work })
            .map_err(|error| snapshot_failed(&error))?;
        let upper = open_directory(active.upper, "cannot open the layer's directory")?;
        Ok(Destination::new(root, upper, self.format.ownership))
    }

    fn run_step(
        &self,
        mut step: Step,
        limits: &Effective,
        layer: &Path,
        op: &ExecOp,
        task: &Task<'_>,
    ) -> Result<StepUsage, StepError> {
        // Removed after everything of the step has ended.
        let cgroup = limits.cgroup(self.grants_of(task.vertex).limits.cgroup_parent.as_deref())?;
        step.cgroups = cgroup_directories(cgroup.as_ref())?;
        let running = bake_sandbox::spawn(step).map_err(|error| sandbox_failed(&error, op))?;
        let mut written = 0u64;
        let killer = running.killer();
        let _activity = self.activities.run(task.id, running.pid());
        let mut watch = limits.watch(layer, killer.clone());
        let report = self.while_running(&killer, || {
            let output = &mut |stream, bytes: &[u8]| {
                let before = written;
                written += bytes.len() as u64;
                if written <= OUTPUT_BYTES_MAX {
                    let stream = match stream {
                        bake_sandbox::Stream::Stdout => Stream::Stdout,
                        bake_sandbox::Stream::Stderr => Stream::Stderr,
                    };
                    task.events.send(BuildEvent::Log { step: task.id, stream, bytes: bytes.to_vec() });
                } else if before <= OUTPUT_BYTES_MAX {
                    let message = format!(
                        "the step wrote more than {} MiB of output; the rest is not shown",
                        OUTPUT_BYTES_MAX >> 20
                    );
                    task.events.send(BuildEvent::Notice { step: task.id, message });
                }
            };
            running.wait_and_look(output, Some((LOOK_INTERVAL, &mut || watch.look())))
        });
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(StepError::cancelled());
        }
        let report = report.map_err(|error| sandbox_failed(&error, op))?;
        let command = op.args.join(" ");
        if let Some(why) = watch.stopped() {
            return Err(limits.stopped(&command, why));
        }
        let used = cgroup.as_ref().map(StepCgroup::usage).unwrap_or_default();
        let limited = limits.hints(&used);
        let usage = StepUsage {
            processor: Duration::from_micros(report.usage.user_us + report.usage.system_us),
            memory_peak_bytes: used.memory_peak_bytes.unwrap_or(report.usage.max_rss_bytes),
            memory_of: match used.memory_peak_bytes {
                Some(_) => MemoryOf::AllProcesses,
                None => MemoryOf::LargestProcess,
            },
            disk_read_bytes: report.usage.read_bytes,
            disk_written_bytes: report.usage.written_bytes,
            written_bytes: None,
        };
        if report.exit != Exit::Code(0) {
            task.events.send(BuildEvent::Used { step: task.id, usage });
        }
        match report.exit {
            Exit::Code(0) => {
                for message in limited {
                    task.events.send(BuildEvent::Notice { step: task.id, message });
                }
                Ok(usage)
            }
            Exit::Code(code) => Err(StepError {
                kind: StepErrorKind::Exit(code),
                message: format!("process {command:?} did not complete successfully: exit code: {code}"),
                hints: if limited.is_empty() {
                    exit_hints(code).into_iter().chain(device_hint(&command)).collect()
                } else {
                    limited
                },
                source: None,
            }),
            Exit::Signal(signal) => Err(StepError {
                kind: StepErrorKind::Signal(signal),
                message: format!(
                    "process {command:?} did not complete successfully: exit code: {} (killed by signal {signal})",
                    128 + signal
                ),
                hints: if !limited.is_empty() {
                    limited
                } else if signal == 9 {
                    vec!["the kernel may have killed it for want of memory".into()]
                } else {
                    Vec::new()
                },
                source: None,
            }),
        }
    }

    /// A tree of the host as a step is to see it: mounted through its ID map.
    pub(crate) fn mapped_tree(&self, directory: &impl std::os::fd::AsFd) -> Result<std::os::fd::OwnedFd, StepError> {
        use bake_sys::mount::{Recursion, clone_tree, set_id_map};
        let failed = |errno: rustix::io::Errno| {
            StepError::environment("cannot mount a directory for the step", std::io::Error::from(errno))
        };
        let tree = clone_tree(directory, c"", Recursion::Single).map_err(failed)?;
        if let Some(namespace) = &self.options.isolation.steps()?.user_namespace {
            use std::os::fd::AsFd;
            set_id_map(&tree, namespace.as_fd(), Recursion::Single).map_err(failed)?;
        }
        Ok(tree)
    }
}

/// What the sandbox is asked for, wherever a step's command comes from: with the network, the mounts and the isolation of
/// every step.
fn new_step(
    op: &ExecOp,
    process: Spec,
    root: OwnedFd,
    isolation: &StepIsolation,
    ready: Ready,
    prepared: &mut Prepared,
) -> Step {
    let mut step = Step::new(process, root, isolation.id_map.clone());
    step.network = ready.network;
    step.mounts = ready.files.mounts().into_iter().chain(std::mem::take(&mut prepared.mounts)).collect();
    step.fake_ids = isolation.fake_ids;
    step.proc = isolation.proc;
    step.security = match op.security {
        SecurityMode::Sandbox => bake_sandbox::SecurityMode::Sandbox,
        SecurityMode::Insecure => bake_sandbox::SecurityMode::Insecure,
    };
    if Platform::parse(&op.platform).is_ok_and(|platform| platform.architecture == "386") {
        step.thirty_two_bit = ThirtyTwoBit::Full;
    }
    step
}

/// A step with a network of its own may use raw sockets there (`ping`): nobody else is on it.
fn allow_raw_sockets(process: &mut Process) {
    if let Some(mut capabilities) = process.capabilities().clone() {
        let mut bounding = capabilities.bounding().clone().unwrap_or_default();
        bounding.insert(Capability::NetRaw);
        capabilities.set_bounding(Some(bounding));
        process.set_capabilities(Some(capabilities));
    }
}

/// What the runtime is told of the process of a step.
fn spec(op: &ExecOp, identity: &Identity, prepared: &Prepared, limits: &StepLimits) -> Spec {
    let mut spec = bake_sandbox::default_spec();
    let mut env: Vec<String> = Vec::with_capacity(op.env.len() + 4);
    let has = |env: &[String], name: &str| env.iter().any(|entry| entry.split('=').next() == Some(name));
    env.extend(op.env.iter().map(|(name, value)| format!("{name}={value}")));
    // A proxy that this build is given, and a secret, take the place of a variable of the same name.
    for (name, value) in op.proxy_env.iter().chain(&prepared.env) {
        env.retain(|entry| entry.split('=').next() != Some(name));
        env.push(format!("{name}={value}"));
    }
    if !has(&env, "PATH") {
        env.push(format!("PATH={}", bake_sandbox::DEFAULT_PATH));
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={}", identity.home));
    }
    if let Some(mut process) = spec.process().clone() {
        process.set_args(Some(op.args.clone()));
        process.set_env(Some(env));
        process.set_cwd(PathBuf::from(&op.cwd));
        let user = UserBuilder::default()
            .uid(identity.uid)
            .gid(identity.gid)
            .additional_gids(identity.groups.clone())
            .build()
            .expect("every field has a default");
        process.set_user(user);
        set_resource_limits(&mut process, &limits.resource_limits);
        if op.network == NetworkMode::None {
            allow_raw_sockets(&mut process);
        }
        spec.set_process(Some(process));
    }
    if let Some(hostname) = &op.hostname {
        spec.set_hostname(Some(hostname.clone()));
    }
    spec
}

/// The directories of a step's cgroup.
fn cgroup_directories(cgroup: Option<&StepCgroup>) -> Result<Vec<CgroupDirectory>, StepError> {
    cgroup.map_or(Ok(Vec::new()), |cgroup| {
        cgroup
            .directories()
            .map_err(|error| StepError::environment("cannot open a cgroup", std::io::Error::other(error)))
    })
}

fn exit_hints(code: i32) -> Vec<String> {
    match code {
        126 => vec!["the command was found but could not be executed".into()],
        127 => vec![
            "the command was not found in the image; check its spelling, `PATH`, and whether its package is installed"
                .into(),
        ],
        137 => vec!["the process was killed; it may have needed more memory than there is".into()],
        _ => Vec::new(),
    }
}

/// What to do where a step wanted to make a device, which the kernel allows to the machine's own root only.
fn device_hint(command: &str) -> Option<String> {
    let mut words = command.split(|character: char| character.is_whitespace() || "\"';&|()".contains(character));
    let wants_device = words.any(|word| word.rsplit('/').next() == Some("mknod")) && {
        let is_kind = |word: &str| matches!(word, "b" | "c" | "u");
        words.any(is_kind)
    };
    wants_device.then(|| {
        "a step never has the machine's root, so `mknod` makes no devices in it (FIFOs it does), and no `--allow` changes that; \
         put the device into an archive and ADD that"
            .to_owned()
    })
}

/// What to do where a step is for a platform whose programs this machine cannot run by itself.
fn foreign_platform(op: &ExecOp) -> Option<String> {
    let (wanted, host) = (Platform::parse(&op.platform).ok()?, Platform::host());
    (wanted.architecture != host.architecture).then(|| {
        format!(
            "this step is for {wanted}, and the machine is {host}: let the kernel run such programs in an emulator (Debian's package \
             `qemu-user-binfmt` or `qemu-user-static`, or `docker run --privileged --rm tonistiigi/binfmt --install {}`), or run the step on \
             this machine's platform with `FROM --platform=$BUILDPLATFORM`",
            wanted.architecture
        )
    })
}

/// What to do where it is the shell that is missing, which nobody wrote into the instruction.
fn missing_shell(op: &ExecOp) -> Option<String> {
    let program = op.args.first().filter(|_| op.args.len() > 1)?;
    let name = program.rsplit('/').next().unwrap_or(program);
    matches!(name, "sh" | "ash" | "bash" | "dash" | "ksh" | "zsh").then(|| {
        format!(
            "the image has no shell `{program}` to run the command with; write it as a list, `RUN [\"PROGRAM\", \"ARGUMENT\"]`, name \
             another shell with SHELL, or begin with an image that has one"
        )
    })
}

fn sandbox_failed(error: &SandboxError, op: &ExecOp) -> StepError {
    if let SandboxError::Execute(failure) = error {
        let command = op.args.join(" ");
        let mut failed = StepError {
            kind: StepErrorKind::Exit(127),
            message: format!("process {command:?} could not be started: {failure}"),
            hints: Vec::new(),
            source: None,
        };
        let foreign = foreign_platform(op).filter(|_| failure.kind == ExecuteFailureKind::FormatUnknown);
        let shell = missing_shell(op).filter(|_| failure.kind == ExecuteFailureKind::NotFound);
        failed.hints.extend(foreign.or(shell).or_else(|| error.hint().map(str::to_owned)));
        return failed;
    }
    let mut failed = StepError::environment(chain_of(error), error.to_string());
    failed.hints.extend(error.hint().map(str::to_owned));
    // What the sandbox makes for a step, it makes in the layer that the step writes.
    if error.is_disk_full() {
        failed = failed.hint("`bake prune` frees space in the store");
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::device_hint;

    #[test]
    fn who_makes_devices_is_told_what_to_do() {
        for command in ["/bin/sh -c mknod /dev/x c 1 3", "mknod -m 666 x b 8 0", "sh -c 'set -e;/bin/mknod x u 1 2'"] {
            assert!(device_hint(command).is_some(), "{command}");
        }
        for command in ["mknod pipe p", "gcc -c mknod.c", "echo b; c"] {
            assert_eq!(device_hint(command), None, "{command}");
        }
    }
}
