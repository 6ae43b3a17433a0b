//! The builders: what each calls the tasks that are measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A builder.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// What it is called in the table.
    pub(crate) name: String,
    /// What it says of its version.
    pub(super) version: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Ours, with its store.
    Bake { program: PathBuf, store: PathBuf },
    /// A running buildkitd, by buildctl.
    Buildkit,
    /// A running docker with buildx.
    Docker,
    /// buildah or podman, which differ in names only, each with a store of its own.
    Containers { program: &'static str, store: PathBuf },
    /// A linter.
    Hadolint,
    /// A command for the shell.
    Custom { command: String },
}

/// What is asked of a builder.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// To say its version.
    Version,
    /// To check a Dockerfile.
    Lint { dockerfile: PathBuf },
    /// To build an image into wherever it keeps images.
    Build { context: PathBuf, tag: String, no_cache: bool },
    /// To write an image that it has built as an OCI archive.
    Export { context: PathBuf, tag: String, archive: PathBuf },
    /// To push an image that it has built to a registry of this machine.
    Push { tag: String, destination: String, registry: String },
}

/// Reads `NAME=COMMAND`.
pub(super) fn custom(text: &str) -> Result<Peer, String> {
    let (name, command) = text.split_once('=').ok_or("it has the form NAME=COMMAND")?;
    let kind = Kind::Custom { command: command.to_owned() };
    Ok(Peer { name: name.to_owned(), version: command.to_owned(), kind })
}

/// The builders of this machine, and why others are none.
pub(super) fn find(program: &Path, directory: &Path) -> (Vec<Peer>, Vec<String>) {
    let candidates = [
        ("bake", Kind::Bake { program: program.to_owned(), store: directory.join("store") }),
        ("buildkit", Kind::Buildkit),
        ("docker", Kind::Docker),
        ("buildah", Kind::Containers { program: "buildah", store: directory.join("buildah") }),
        ("podman", Kind::Containers { program: "podman", store: directory.join("podman") }),
        ("hadolint", Kind::Hadolint),
    ];
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for (name, kind) in candidates {
        let asked = kind.alive().iter_mut().try_for_each(|command| said(command).map(drop));
        let mut peer = Peer { name: name.to_owned(), version: String::new(), kind };
        let version = asked.and_then(|()| match peer.command(&Task::Version) {
            Some(mut command) => said(&mut command),
            None => Ok(String::new()),
        });
        match version {
            Ok(version) => {
                version.lines().next().unwrap_or_default().clone_into(&mut peer.version);
                found.push(peer);
            }
            Err(problem) => absent.push(format!("{name}: {problem}")),
        }
    }
    // It replaces the root file system of the machine it runs on.
    absent.push("kaniko: it builds only inside of a container; give it by --peer".to_owned());
    (found, absent)
}

/// What a command wrote, if it succeeded.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|_| format!("`{name}` is not installed"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{name}` does not work: {}", said.trim().lines().next().unwrap_or_default()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

impl Kind {
    /// Commands that succeed where it can work.
    fn alive(&self) -> Vec<Command> {
        match self {
            Self::Buildkit => vec![command("buildctl", &["debug", "workers"])],
            Self::Docker => vec![command("docker", &["buildx", "version"]), command("docker", &["info"])],
            _ => Vec::new(),
        }
    }
}

impl Peer {
    /// Whether its processor time is that of the processes we start: not where a daemon does the work.
    pub(super) fn works_itself(&self) -> bool {
        !matches!(self.kind, Kind::Buildkit | Kind::Docker)
    }

    /// The command for a task; `None` where it cannot do that, or nothing comparable.
    pub(super) fn command(&self, task: &Task) -> Option<Command> {
        match &self.kind {
            Kind::Bake { program, store } => Some(bake(program, store, task)),
            Kind::Buildkit => buildkit(task),
            Kind::Docker => docker(task),
            Kind::Containers { program, store } => containers(program, store, task),
            Kind::Hadolint => match task {
                Task::Version => Some(command("hadolint", &["--version"])),
                Task::Lint { dockerfile } => {
                    let mut command = Command::new("hadolint");
                    command.arg(dockerfile);
                    Some(command)
                }
                _ => None,
            },
            Kind::Custom { command } => shell(command, task),
        }
    }
}

fn bake(program: &Path, store: &Path, task: &Task) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(store);
    match task {
        Task::Version => command.arg("--version"),
        Task::Lint { dockerfile } => command.arg("lint").arg(dockerfile),
        Task::Build { context, tag, no_cache } => {
            command.args(["build", "--tag", tag]).args(no_cache.then_some("--no-cache")).arg(context)
        }
        Task::Export { context, archive, .. } => {
            command.args(["build", "--output", &format!("type=oci,dest={}", archive.display())]).arg(context)
        }
        Task::Push { tag, destination, registry } => {
            // What is pushed is what was built; the name is a matter of the store alone.
            let push = "\"$0\" --root \"$1\" tag \"$2\" \"$3\" && exec \"$0\" --root \"$1\" --insecure-registry \"$4\" push \"$3\"";
            command = Command::new("sh");
            command.args(["-c", push]).arg(program).arg(store).args([tag, destination, registry])
        }
    };
    command
}

fn buildkit(task: &Task) -> Option<Command> {
    let build = |context: &Path| {
        let local = |name: &str| format!("{name}={}", context.display());
        let mut command = command("buildctl", &["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
        command.args(["--local", &local("context"), "--local", &local("dockerfile")]);
        command
    };
    match task {
        Task::Version => Some(command("buildctl", &["--version"])),
        Task::Build { context, tag, no_cache } => {
            let mut command = build(context);
            command.args(no_cache.then_some("--no-cache")).args(["--output", &format!("type=image,name={tag}")]);
            Some(command)
        }
        Task::Export { context, archive, .. } => {
            let mut command = build(context);
            command.args(["--output", &format!("type=oci,dest={}", archive.display())]);
            Some(command)
        }
        // It pushes what it builds in the same command; pushing alone is nothing it can do.
        Task::Lint { .. } | Task::Push { .. } => None,
    }
}

fn docker(task: &Task) -> Option<Command> {
    match task {
        Task::Version => Some(command("docker", &["--version"])),
        Task::Build { context, tag, no_cache } => {
            let mut command = command("docker", &["buildx", "build", "--load", "--tag", tag]);
            command.args(no_cache.then_some("--no-cache")).arg(context);
            Some(command)
        }
        Task::Push { tag, destination, .. } => Some(command(
            "sh",
            &["-c", "docker tag \"$0\" \"$1\" && exec docker push --quiet \"$1\"", tag, destination],
        )),
        // Its archive holds layers that are not compressed.
        Task::Lint { .. } | Task::Export { .. } => None,
    }
}

fn containers(program: &str, store: &Path, task: &Task) -> Option<Command> {
    let mut command = Command::new(program);
    if !matches!(task, Task::Version) {
        command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
    }
    match task {
        Task::Version => command.arg("--version"),
        Task::Build { context, tag, no_cache } => {
            command.args(["build", "--layers", "--tag", tag]).args(no_cache.then_some("--no-cache")).arg(context)
        }
        Task::Export { tag, archive, .. } => {
            command.args(["push", "--quiet", tag, &format!("oci-archive:{}", archive.display())])
        }
        Task::Push { tag, destination, .. } => {
            command.args(["push", "--quiet", "--tls-verify=false", tag, destination])
        }
        Task::Lint { .. } => return None,
    };
    Some(command)
}

/// A command of the user's, which is told what to do by variables.
fn shell(text: &str, task: &Task) -> Option<Command> {
    let (context, tag, no_cache, archive) = match task {
        Task::Build { context, tag, no_cache } => (context, tag, *no_cache, None),
        Task::Export { context, tag, archive } => (context, tag, false, Some(archive)),
        Task::Version | Task::Lint { .. } | Task::Push { .. } => return None,
    };
    let mut command = command("sh", &["-c", text]);
    command
        .env("DOCKERFILE", context.join("Dockerfile"))
        .env("CONTEXT", context)
        .env("TAG", tag)
        .env("NO_CACHE", if no_cache { "--no-cache" } else { "" })
        .env("ARCHIVE", archive.map(|path| path.as_os_str()).unwrap_or_default());
    Some(command)
}
