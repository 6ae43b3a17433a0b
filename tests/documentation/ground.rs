//! Where the commands of a page run: a directory, a home, a store and registries of their own.
//!
//! All registries are one that runs in this process, reached as a proxy, so that pages can speak of `registry.example.com` and of
//! `debian:12` as people do. It wants a login for pushes to `registry.example.com`; the home has one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bake_testkit::host;
use bake_testkit::program::{self, Finished};
use bake_testkit::registry::{Auth, Config, FakeRegistry};

use super::support::{Environment, Outcome, Scratch};

/// The registries of the documentation, without TLS here.
const REGISTRIES: [&str; 5] =
    ["docker.io", "registry.example.com", "mirror.example.com", "ghcr.io", "registry.gitlab.example.com"];
/// The one with a login.
const LOGIN: (&str, &str, &str) = ("registry.example.com", "ci", "correct horse");
/// What can be pulled from Docker Hub: all the same image, of which pages see a shell, busybox, and stand-ins for package managers.
const BASES: [(&str, &[&str]); 8] = [
    ("library/alpine", &["latest", "3", "3.20"]),
    ("library/busybox", &["latest", "1"]),
    ("library/debian", &["latest", "12", "12-slim"]),
    ("library/golang", &["latest", "1", "1.24"]),
    ("library/nginx", &["latest", "1"]),
    ("library/node", &["latest", "22", "22-slim"]),
    ("library/python", &["latest", "3.12", "3.12-slim", "3.13-slim"]),
    ("library/ubuntu", &["latest", "24.04"]),
];
/// What every page's directory holds at first.
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/documentation/project");
/// What makes the base image.
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/documentation/base");

/// Blobs of the base image and its manifest, built once for all pages.
#[derive(Debug)]
pub(crate) struct Base {
    directory: PathBuf,
    _scratch: Scratch,
}

impl Base {
    /// Builds it.
    pub(crate) fn build(environment: &Environment) -> Result<Self, String> {
        let scratch = environment.scratch()?;
        let directory = scratch.path().join("base");
        let mut command = environment.build(&scratch.store());
        command.arg("--output").arg(format!("type=oci,tar=false,dest={}", directory.display())).arg(BASE);
        super::support::succeed(&mut command)?;
        Ok(Self { directory, _scratch: scratch })
    }

    fn publish(&self, registry: &FakeRegistry) -> Outcome {
        let read = |path: PathBuf| fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
        let index = read(self.directory.join("index.json"))?;
        let index: serde_json::Value = serde_json::from_slice(&index).map_err(|error| error.to_string())?;
        let entry = &index["manifests"][0];
        let digest = entry["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).unwrap_or_default();
        let kind = entry["mediaType"].as_str().unwrap_or_default();
        let blobs = self.directory.join("blobs/sha256");
        let manifest = read(blobs.join(digest))?;
        for (repository, tags) in BASES {
            for blob in fs::read_dir(&blobs).map_err(|error| error.to_string())?.flatten() {
                registry.put_blob(repository, &read(blob.path())?);
            }
            for tag in tags {
                registry.put_manifest(repository, tag, kind, &manifest);
            }
        }
        Ok(())
    }
}

/// The ground of one page.
pub(crate) struct Ground {
    scratch: Scratch,
    registry: FakeRegistry,
}

impl Ground {
    /// Makes it.
    pub(crate) fn new(environment: &Environment, base: &Base) -> Result<Self, String> {
        let scratch = environment.scratch()?;
        let (host, user, password) = LOGIN;
        let auth = Auth::BasicAt { host: host.to_owned(), user: user.to_owned(), password: password.to_owned() };
        let registry = FakeRegistry::start(Config { auth, ..Config::default() }).map_err(|error| error.to_string())?;
        base.publish(&registry)?;
        copy(Path::new(PROJECT), &scratch.path().join("project"))?;
        let plain = REGISTRIES.map(|host| format!("[registry.\"{host}\"]\nhttp = true\n")).join("");
        scratch.write("configuration.toml", plain)?;
        super::support::debian_registry::log_in_as(&scratch, host, user, password)?;
        fs::create_dir_all(scratch.path().join("home/.docker")).map_err(|error| error.to_string())?;
        fs::rename(scratch.path().join("config.json"), scratch.path().join("home/.docker/config.json"))
            .map_err(|error| error.to_string())?;
        scratch.write("state/environment", "")?;
        scratch.write("state/directory", scratch.at("project"))?;
        fs::create_dir(scratch.path().join("bin")).map_err(|error| error.to_string())?;
        symlink(&environment.bake, scratch.path().join("bin/bake")).map_err(|error| error.to_string())?;
        Ok(Self { scratch, registry })
    }

    /// Writes a file that the page shows.
    pub(crate) fn write(&self, name: &str, content: &str) -> Outcome {
        let directory = self.scratch.read("state/directory")?;
        let path = Path::new(directory.trim()).join(name);
        let parent = path.parent().ok_or("a file is in a directory")?;
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Runs a script where the one before it ended, with its variables: one shell for the page, as far as a reader can tell.
    pub(crate) fn run(&self, script: &str) -> Result<Ran, String> {
        self.scratch.write("script", script)?;
        let state = self.scratch.at("state");
        // Both streams go to one file, in the order in which a reader would see them.
        let wrapper = format!(
            "exec 9>'{state}/trace'; BASH_XTRACEFD=9; PS4=\n\
             cd \"$(cat '{state}/directory')\"; . '{state}/environment'\n\
             trap 'code=$?; set +x; pwd > \"{state}/directory\"; export -p > \"{state}/environment\"; exit $code' EXIT\n\
             set -e -o pipefail -x\n. '{}' 2>&1\n",
            self.scratch.at("script")
        );
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noprofile", "-c", &wrapper])
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.scratch.at("bin")),
            )
            .env("HOME", self.scratch.at("home"))
            .env("BAKE_ROOT", self.scratch.store())
            .env("BAKE_CONFIG", self.scratch.at("configuration.toml"))
            .env("HTTP_PROXY", format!("http://{}", self.registry.addr))
            .env("COSIGN_PASSWORD", "");
        let finished = program::run(&mut command).map_err(|error| error.to_string())?;
        let trace = self.scratch.read("state/trace").unwrap_or_default();
        let last = trace.lines().rfind(|line| !line.starts_with("code=") && *line != "set +x").unwrap_or_default();
        Ok(Ran { last: last.to_owned(), finished })
    }
}

/// What a script came to.
pub(crate) struct Ran {
    /// The last command that was begun.
    pub(crate) last: String,
    finished: Finished,
}

impl Ran {
    /// Its exit code.
    pub(crate) fn code(&self) -> Option<i32> {
        self.finished.code
    }

    /// All that was written.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.finished.stdout).into_owned() + &self.finished.stderr
    }
}

/// Whether a program is there.
pub(crate) fn lacks(programs: &[String]) -> Option<String> {
    programs.iter().find_map(|program| host::missing(program))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    for entry in fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(|error| format!("{}: {error}", source.display()))?;
        }
    }
    Ok(())
}
