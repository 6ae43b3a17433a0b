//! What is measured: Dockerfiles and contexts that need no registry, so that every builder starts from the same bytes.

// The same bytes as in the benchmarks of functions.
#[path = "../../../../benches/common/half_random.rs"]
mod half_random;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use half_random::half_random;

use super::once;
use super::peer::{Peer, Task};
use crate::workspace::failed;

/// All of them, in the order of the table.
pub(super) const ALL: [Workload; 8] = [
    Workload::Startup,
    Workload::Lint,
    Workload::Noop,
    Workload::Change,
    Workload::Cold,
    Workload::Copy,
    Workload::Export,
    Workload::Push,
];

/// Bytes of the layer that is exported.
const LAYER_BYTES: usize = 500_000_000;

/// Bytes of the layer that is pushed.
const PUSHED_BYTES: usize = 50_000_000;

/// How long the registry gets to start.
const REGISTRY_START_MAX: Duration = Duration::from_secs(10);

/// Places of busybox.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Something that builders do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// The program says its version.
    Startup,
    /// A Dockerfile of 1,000 lines is checked.
    Lint,
    /// A build in which everything is cached.
    Noop,
    /// The same with one changed file in its last COPY.
    Change,
    /// Two stages with ten RUN, without the cache.
    Cold,
    /// COPY of 10,000 files, without the cache.
    Copy,
    /// A built image with a layer of 500 MB is written as an OCI archive.
    Export,
    /// A built image with a layer of 50 MB is pushed to a registry on this machine.
    Push,
}

/// The files of a workload, and the registry if it needs one.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// A file that changes from round to round.
    changing: Option<PathBuf>,
    registry: Option<Registry>,
}

impl Workload {
    /// As the table says it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Startup => "start-up (`--version`)",
            Self::Lint => "check 1,000 lines",
            Self::Noop => "rebuild, nothing changed",
            Self::Change => "rebuild, one of 1,000 files changed",
            Self::Cold => "two stages, ten RUN, no cache",
            Self::Copy => "COPY of 10,000 files, no cache",
            Self::Export => "a layer of 500 MB to an OCI archive",
            Self::Push => "a layer of 50 MB to a registry",
        }
    }

    /// As names of images say it.
    pub(super) fn id(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Makes its files.
    pub(super) fn prepare(self, directory: &Path) -> Result<Files, String> {
        let directory = directory.join(self.id());
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(failed("remove", &directory))?;
        }
        fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        let mut files = Files { directory, changing: None, registry: None };
        match self {
            Self::Startup => {}
            Self::Lint => files.write("Dockerfile", long_dockerfile(1_000))?,
            Self::Noop | Self::Change => {
                files.root()?;
                files.many(1_000)?;
                let mut text = "FROM scratch\nCOPY root/ /\n".to_owned();
                steps(&mut text, 10);
                files.write("Dockerfile", text + "COPY many/ /many/\n")?;
                files.changing = (self == Self::Change).then(|| files.directory.join("many/0/0"));
            }
            Self::Cold => {
                files.root()?;
                let mut text = "FROM scratch AS build\nCOPY root/ /\n".to_owned();
                steps(&mut text, 5);
                text.push_str("FROM scratch\nCOPY root/ /\nCOPY --from=build /step-4 /built\n");
                steps(&mut text, 5);
                files.write("Dockerfile", text)?;
            }
            Self::Copy => {
                files.many(10_000)?;
                files.write("Dockerfile", "FROM scratch\nCOPY many/ /many/\n")?;
            }
            Self::Export | Self::Push => {
                let bytes = if self == Self::Export { LAYER_BYTES } else { PUSHED_BYTES };
                if self == Self::Push {
                    files.registry = Some(Registry::start(&files.directory)?);
                }
                files.write("context/data", half_random(bytes))?;
                files.write("context/Dockerfile", "FROM scratch\nCOPY data change /\n")?;
                files.changing = Some(files.directory.join("context/change"));
            }
        }
        Ok(files)
    }
}

impl Files {
    /// What is measured.
    pub(super) fn task(&self, workload: Workload, peer: &Peer, round: u32) -> Task {
        let tag = Task::tag(workload, peer, if workload == Workload::Noop { 0 } else { round });
        let context = self.directory.clone();
        match workload {
            Workload::Startup => Task::Version,
            Workload::Lint => Task::Lint { dockerfile: self.directory.join("Dockerfile") },
            Workload::Noop | Workload::Change => Task::Build { context, tag, no_cache: false },
            Workload::Cold | Workload::Copy => Task::Build { context, tag, no_cache: true },
            Workload::Export => {
                Task::Export { context: context.join("context"), tag, archive: self.directory.join("image.tar") }
            }
            Workload::Push => {
                let registry = self.registry.as_ref().map(|registry| registry.host.clone()).unwrap_or_default();
                let name = tag.trim_start_matches("localhost/");
                Task::Push { destination: format!("{registry}/{name}"), tag, registry }
            }
        }
    }

    /// What has to be done before, and is not measured: a change that nobody has seen, and building what is exported or pushed.
    pub(super) fn before(&self, workload: Workload, peer: &Peer, round: u32) -> Result<(), String> {
        if let Some(path) = &self.changing {
            // By builder too: a registry that has a layer of one would not take it from another.
            let text = format!("round {round} of {} in process {}\n", peer.name, std::process::id());
            fs::write(path, text).map_err(failed("write", path))?;
        }
        let archive = self.directory.join("image.tar");
        if archive.exists() {
            fs::remove_file(&archive).map_err(failed("remove", &archive))?;
        }
        if !matches!(workload, Workload::Export | Workload::Push) {
            return Ok(());
        }
        let tag = Task::tag(workload, peer, round);
        let task = Task::Build { context: self.directory.join("context"), tag, no_cache: false };
        peer.command(&task).map_or(Ok(()), |command| once(command).map(drop))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<(), String> {
        let path = self.directory.join(name);
        let parent = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
        fs::write(&path, content).map_err(failed("write", &path))
    }

    /// A root file system with busybox.
    fn root(&self) -> Result<(), String> {
        let busybox = BUSYBOX.iter().find(|path| Path::new(path).is_file());
        let busybox = busybox.ok_or("it takes busybox: apt-get install busybox-static")?;
        let bin = self.directory.join("root/bin");
        fs::create_dir_all(&bin).map_err(failed("make", &bin))?;
        fs::copy(busybox, bin.join("busybox")).map_err(failed("write", &bin))?;
        for applet in ["sh", "cat", "echo"] {
            symlink("busybox", bin.join(applet)).map_err(failed("write", &bin))?;
        }
        Ok(())
    }

    /// So many small files, a hundred in a directory.
    fn many(&self, count: u32) -> Result<(), String> {
        (0..count).try_for_each(|number| {
            let content =
                format!("{number} {}\n", "of many ".repeat(usize::try_from(number % 200).unwrap_or_default()));
            self.write(&format!("many/{}/{}", number / 100, number % 100), content)
        })
    }
}

/// Steps that each do next to nothing.
fn steps(text: &mut String, count: u32) {
    for number in 0..count {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "RUN echo {number} > /step-{number}");
    }
}

/// A Dockerfile as people write them, only longer.
fn long_dockerfile(lines: usize) -> String {
    const ROTATION: [&str; 6] = [
        "ARG VERSION_@=1.@",
        "RUN apt-get update && apt-get install -y curl=7.@ wget && rm -rf /var/lib/apt/lists/*",
        "ENV HOME_@=/opt/@",
        "COPY src/@ /opt/@/",
        "RUN set -eux; for f in a b; do echo \"$f\" >> /etc/@; done",
        "LABEL org.example.@=\"@\"",
    ];
    let mut text = "FROM debian:12-slim\n".to_owned();
    for (number, line) in ROTATION.iter().cycle().take(lines.saturating_sub(1)).enumerate() {
        let _ = writeln!(text, "{}", line.replace('@', &number.to_string()));
    }
    text
}

/// Debian's registry on a port of its own; it ends with this value.
#[derive(Debug)]
struct Registry {
    child: Child,
    host: String,
}

impl Registry {
    fn start(directory: &Path) -> Result<Self, String> {
        let listener =
            std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no port is free: {error}"))?;
        let host = listener.local_addr().map_err(|error| format!("no port is free: {error}"))?.to_string();
        drop(listener);
        let configuration = directory.join("registry.yml");
        let data = directory.join("registry");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\nlog:\n  level: error\n",
            data.display()
        );
        fs::write(&configuration, text).map_err(failed("write", &configuration))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| "it takes a registry: apt-get install docker-registry".to_owned())?;
        let registry = Self { child, host };
        let start = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            if start.elapsed() > REGISTRY_START_MAX {
                return Err(format!("docker-registry does not answer at {}", registry.host));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
