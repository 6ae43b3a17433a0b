//! What all kinds share: the build that is attacked, what it makes undisturbed, and how a store is examined afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use bake_testkit::program::{self, Finished};
use bake_testkit::tree::{Listing, describe_archive};

use crate::remains;
use crate::support::{Environment, Outcome, Scratch, check, equal, finish, succeed};

/// Files of the context of every reference build.
const CONTEXT_FILES: usize = 8;

/// The exit code that says "our bug".
const BUG: i32 = 70;

/// What came of the attacks.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How often each thing happened.
    pub(crate) numbers: BTreeMap<String, usize>,
    /// What should not have happened.
    pub(crate) failures: Vec<String>,
    /// Whether failures are also printed at once.
    pub(crate) spoken: bool,
    /// Where stores that failures left are kept.
    pub(crate) keep: Option<PathBuf>,
}

impl Tally {
    /// Counts something that happened.
    pub(crate) fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Counts something that happened several times.
    pub(crate) fn add(&mut self, what: &str, times: usize) {
        *self.numbers.entry(what.to_owned()).or_default() += times;
    }

    /// Notes a failure, and keeps the store that shows it.
    #[expect(clippy::print_stdout, reason = "a long run says early what is wrong")]
    pub(crate) fn fail(&mut self, what: String, store: &Path) {
        if self.spoken {
            println!("FAILED {what}");
        }
        if let Some(keep) = &self.keep {
            let kept = keep.join(self.failures.len().to_string());
            // Only a help for the one who looks into the failure.
            let _ = fs::create_dir_all(&kept);
            let _ = fs::write(kept.join("failure"), &what);
            let _ = Command::new("cp").arg("--archive").arg(store).arg(kept.join("store")).status();
        }
        self.failures.push(what);
    }
}

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    diff_ids: Vec<String>,
    text: String,
}

impl Content {
    /// Of the only image of an archive, every byte of which is checked.
    pub(crate) fn of_archive(path: &Path) -> Result<Self, String> {
        let archive = fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let image = describe_archive(archive, Listing { digests: true })
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let diff_ids = image.config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
        Ok(Self { diff_ids, text: image.text })
    }

    /// Of the only image of a layout in a directory.
    pub(crate) fn of_directory(path: &Path) -> Result<Self, String> {
        let archive = path.with_extension("packed.tar");
        let _ = succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(path).arg("."))?;
        Self::of_archive(&archive)
    }
}

/// What an undisturbed build makes.
#[derive(Debug, Clone)]
pub(crate) struct Golden {
    /// The digest that is printed when there is an archive, with compressed layers.
    pub(crate) digest: String,
    /// The digest that is printed when there is none.
    pub(crate) stored_digest: String,
    /// What the exported archive holds.
    pub(crate) content: Content,
}

/// A context with Dockerfiles, and a place for stores.
pub(crate) struct Ground<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) scratch: Scratch,
    marker: String,
}

impl<'a> Ground<'a> {
    /// Makes the context of the reference build.
    pub(crate) fn new(environment: &'a Environment) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let marker = format!("STRESS_MARKER=stress-{}-{number}", std::process::id());
        let ground = Self { environment, scratch: environment.scratch()?, marker };
        for number in 0..CONTEXT_FILES {
            let line = format!("{:x}\n", 0x9e37_79b9_u64 * (number as u64 + 1));
            ground.scratch.write(&format!("context/files/{number}"), line.repeat(300))?;
        }
        let archive = ground.scratch.path().join("context/archive.tar.gz");
        let files = ground.scratch.path().join("context/files");
        succeed(
            Command::new("tar").args(["-czf"]).arg(&archive).arg("--mtime=@1600000000").arg("-C").arg(&files).arg("."),
        )?;
        Ok(ground)
    }

    /// A variable that every process of the builds has, as `NAME=VALUE`.
    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    /// The path of something in the ground.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Several stages, every kind of step. Times are set because they are part of layers; nothing is piped, so that no part of a
    /// step can fail unnoticed. `name` makes the last step of one Dockerfile differ from that of another, `shared` all of them.
    pub(crate) fn dockerfile(&self, name: &str, shared: &str) -> String {
        let marker = &self.marker;
        format!(
            "FROM busybox AS files\n\
             ENV {marker}\n\
             WORKDIR /src\n\
             COPY files/ /src/\n\
             RUN set -e; cat /src/* > /all{shared}; mkdir /out; ln -s /all{shared} /out/link; ln /all{shared} /out/hard; \
                 touch -hd @1600000000 /all{shared} /out/link /out /src /; echo written\n\
             FROM busybox AS archive\n\
             ENV {marker}\n\
             ADD archive.tar.gz /unpacked/\n\
             RUN --mount=type=cache,target=/cache,id=stress set -e; echo run >> /cache/log; ls /unpacked > /list{shared}; \
                 touch -d @1600000000 /list{shared} /\n\
             FROM busybox\n\
             ENV {marker}\n\
             COPY --from=files /out /out\n\
             COPY --from=archive /list{shared} /list\n\
             COPY --from=files /src/3 /three\n\
             RUN set -e; test -s /list; rm /bin/od; echo {name} > /done; touch -d @1600000000 /bin /done /\n\
             CMD [\"cat\", \"/list\"]\n"
        )
    }

    /// Writes the reference Dockerfile under a name; it is then built by that name.
    pub(crate) fn write_dockerfile(&self, name: &str, shared: &str) -> Outcome {
        self.scratch.write(&format!("context/{name}.Dockerfile"), self.dockerfile(name, shared))
    }

    /// The program on a store.
    pub(crate) fn command(&self, store: &Path) -> Command {
        self.marked(self.environment.command(store))
    }

    fn marked(&self, mut command: Command) -> Command {
        if let Some((name, value)) = self.marker.split_once('=') {
            command.env(name, value);
        }
        command
    }

    /// `bake build` of a Dockerfile into the local store, as `NAME:1`.
    pub(crate) fn build(&self, store: &Path, name: &str) -> Command {
        let mut command = self.command(store);
        command.args(["build", "--progress", "plain"]).args(self.environment.base_flags());
        command.arg("--file").arg(self.path(&format!("context/{name}.Dockerfile")));
        command.args(["--tag", &format!("{name}:1"), "--load"]).arg(self.path("context"));
        command
    }

    /// `bake build` of a Dockerfile into the local store and into an archive.
    pub(crate) fn build_archive(&self, store: &Path, name: &str, archive: &Path) -> Command {
        let mut command = self.build(store, name);
        command.arg("--output").arg(format!("type=oci,dest={}", archive.display()));
        command
    }

    /// What an undisturbed build makes.
    pub(crate) fn golden(&self, name: &str) -> Result<Golden, String> {
        let store = self.path("golden-store");
        remove(&store)?;
        let archive = self.path(&format!("golden-{name}.tar"));
        let digest = succeed(&mut self.build_archive(&store, name, &archive))?.text();
        let stored_digest = succeed(&mut self.build(&store, name))?.text();
        let golden = Golden { digest, stored_digest, content: Content::of_archive(&archive)? };
        // A second one, in a store of its own: what differs by itself cannot show damage.
        remove(&store)?;
        equal(&succeed(&mut self.build_archive(&store, name, &archive))?.text(), &golden.digest, "digest")?;
        remove(&store)?;
        Ok(golden)
    }

    /// That nothing of builds is left in the machine.
    pub(crate) fn nothing_runs(&self, store: &Path) -> Outcome {
        equal(&remains::lasting_processes(&self.marker), &Vec::new(), "processes that are left")?;
        equal(&remains::mounts(store), &Vec::new(), "mounts that are left")
    }

    /// That the next build succeeds with what the undisturbed one made, and that the store is sound then: a check finds nothing
    /// at all, and there is nothing in it that only a running build has.
    pub(crate) fn goes_on(&self, store: &Path, name: &str, golden: &Golden) -> Outcome {
        let archive = self.path("after.tar");
        let digest = succeed(&mut self.build_archive(store, name, &archive))?.text();
        equal(&digest, &golden.digest, "digest of the next build")?;
        equal(&Content::of_archive(&archive)?, &golden.content, "content of the next build")?;
        self.is_sound(store)
    }

    /// That a check of the store finds nothing, and that it holds nothing that only a running build has.
    pub(crate) fn is_sound(&self, store: &Path) -> Outcome {
        let checked = succeed(self.command(store).arg("fsck"))?;
        check(checked.stdout.is_empty() && checked.stderr.contains("nothing is wrong"), || {
            format!("fsck: {}{}", checked.text(), checked.stderr)
        })?;
        equal(&remains::leftovers(store), &Vec::new(), "what is left in the store")
    }

    /// Forgets images and all that was built, as far as commands can.
    pub(crate) fn reset(&self, store: &Path, name: &str) -> Outcome {
        succeed(self.command(store).args(["rmi", &format!("{name}:1")]))?;
        succeed(self.command(store).args(["prune", "--all", "--force"])).map(drop)
    }
}

/// That a command that could not do its work says so in one line, and is not broken itself.
pub(crate) fn fails_cleanly(finished: &Finished) -> Outcome {
    let said = &finished.stderr;
    check(matches!(finished.code, Some(code) if code != 0 && code != BUG && code < 126), || {
        format!("exit code {:?}: {said}", finished.code)
    })?;
    check(!said.contains("panicked"), || said.clone())?;
    let errors = said.lines().filter(|line| line.starts_with("error:")).count();
    check(errors == 1, || format!("{errors} errors: {said}"))
}

/// Removes a directory with all it holds, if it is there.
pub(crate) fn remove(directory: &Path) -> Outcome {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", directory.display())),
        _ => Ok(()),
    }
}

/// Starts a command; it runs on.
pub(crate) fn start(mut command: Command) -> Result<program::Running, String> {
    program::start(&mut command).map_err(|error| error.to_string())
}

/// Runs a command to its end, however it ends.
pub(crate) fn end(mut command: Command) -> Result<Finished, String> {
    finish(&mut command)
}
