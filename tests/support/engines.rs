//! Other programs that build, run and move images, each with all of its state in a scratch directory.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bake_testkit::{host, program};
use rustix::process::{Pid, Signal, kill_process};

use super::{Outcome, Scratch, check, finish, succeed};

/// How long docker's daemon may take to start, or to end.
const DAEMON_LIMIT: Duration = Duration::from_mins(1);
/// What containers may have: engines ask for more files and processes than a test's own limits allow.
const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

/// The credentials of a scratch directory for programs of the containers project, if somebody has logged in there.
pub(crate) fn credentials(command: &mut Command, scratch: &Scratch) {
    let path = scratch.path().join("config.json");
    if path.exists() {
        command.env("REGISTRY_AUTH_FILE", path);
    }
}

/// Podman.
pub(crate) struct Podman<'a>(pub(crate) &'a Scratch);

impl Podman<'_> {
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(["--root", &self.0.at("podman"), "--runroot", &self.0.at("podman-run")]);
        command.args(["--tmpdir", &self.0.at("podman-tmp"), "--storage-driver", "vfs"]);
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        command.args(words).current_dir(self.0.path());
        credentials(&mut command, self.0);
        command
    }

    /// Loads an archive or layout; the image's name or ID.
    pub(crate) fn load(&self, words: &[&str]) -> Result<String, String> {
        let said = succeed(&mut self.command(words))?.text();
        let last = said.lines().last().unwrap_or_default();
        Ok(last.trim_start_matches("Loaded image: ").trim_start_matches("Loaded image(s): ").to_owned())
    }

    /// What a container of the image says.
    pub(crate) fn run(&self, image: &str) -> Result<String, String> {
        let words = [&["run", "--rm", "--network", "none"], &LIMITS[..], &[image]].concat();
        succeed(&mut self.command(&words)).map(|finished| finished.text())
    }
}

/// Buildah.
pub(crate) struct Buildah<'a>(pub(crate) &'a Scratch);

impl Buildah<'_> {
    /// What it says when it succeeds.
    pub(crate) fn said(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("buildah");
        command.args(["--root", &self.0.at("buildah"), "--runroot", &self.0.at("buildah-run")]);
        command.args(["--storage-driver", "vfs"]).args(words).current_dir(self.0.path());
        command.env("BUILDAH_ISOLATION", "chroot");
        credentials(&mut command, self.0);
        succeed(&mut command).map(|finished| finished.text())
    }
}

/// Docker's daemon. It ends when this is dropped.
pub(crate) struct Docker<'a> {
    scratch: &'a Scratch,
    daemon: program::Running,
    client: PathBuf,
}

/// Why there is no docker with its BuildKit here: newer clients need a plug-in for it.
pub(crate) fn no_docker() -> Option<String> {
    let needs = ["root", "dockerd", "containerd", "runc", "docker"];
    needs.iter().find_map(|need| host::missing(need)).or_else(|| {
        client().is_none().then(|| "`docker` has no BuildKit; the plug-in `docker-buildx` is not installed".to_owned())
    })
}

/// A client that builds with BuildKit.
fn client() -> Option<PathBuf> {
    let found = [PathBuf::from("/usr/bin/docker")].into_iter().chain(host::program("docker"));
    found.filter(|path| path.exists()).find(|path| {
        let help = finish(Command::new(path).args(["build", "--help"]).env("DOCKER_BUILDKIT", "1"));
        help.is_ok_and(|finished| finished.code == Some(0))
    })
}

impl<'a> Docker<'a> {
    pub(crate) fn start(scratch: &'a Scratch) -> Result<Self, String> {
        let mut command = Command::new("dockerd");
        command.arg("--host").arg(format!("unix://{}", scratch.at("docker.sock")));
        command.args(["--data-root", &scratch.at("docker"), "--exec-root", &scratch.at("docker-run")]);
        command.args(["--pidfile", &scratch.at("docker.pid"), "--storage-driver", "vfs"]);
        command.args(["--iptables=false", "--ip6tables=false", "--bridge", "none"]);
        // Where the machine's own containerd runs it is used, and must not see these containers as others'.
        let namespace = format!("bake-test-{}", std::process::id());
        command.args(["--containerd-namespace", &namespace]);
        command.args(["--containerd-plugins-namespace", &format!("{namespace}-plugins")]);
        let daemon = program::start(&mut command).map_err(|error| error.to_string())?;
        let client = client().ok_or("there is no client")?;
        let mut docker = Self { scratch, daemon, client };
        let begun = Instant::now();
        while docker.said(&["version"]).is_err() {
            check(docker.daemon.is_running(), || format!("dockerd ended: {}", docker.daemon.said()))?;
            check(begun.elapsed() < DAEMON_LIMIT, || format!("dockerd does not answer: {}", docker.daemon.said()))?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    /// What it says when it succeeds.
    pub(crate) fn said(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.client);
        command.arg("--host").arg(format!("unix://{}", self.scratch.at("docker.sock"))).args(words);
        command.current_dir(self.scratch.path()).env("DOCKER_BUILDKIT", "1").env("DOCKER_CONFIG", self.scratch.path());
        succeed(&mut command).map(|finished| finished.text())
    }

    /// What a container of the image says.
    pub(crate) fn run(&self, image: &str) -> Result<String, String> {
        self.said(&["run", "--rm", "--network", "none", image])
    }

    fn end(&mut self) -> Outcome {
        let id = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw).ok_or("dockerd has no process ID")?;
        kill_process(id, Signal::TERM).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        // It ends containerd, and takes its mounts away.
        while self.daemon.is_running() && begun.elapsed() < DAEMON_LIMIT {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // One that has ended already needs nothing.
        let _ = self.end();
    }
}
