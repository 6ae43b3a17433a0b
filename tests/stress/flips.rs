//! Flipped bits in files of the store.

use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use bake_testkit::program::Finished;

use crate::ground::{Content, Golden, Ground, end, fails_cleanly, remove};
use crate::random::Random;
use crate::support::{Environment, Outcome, check, equal, succeed};
use crate::{Effort, Kind, Tally, remains};

pub(crate) const KIND: Kind = Kind { name: "flips", count: 500, run };

const NAME: &str = "app";
const DERIVED: &str = "derived";

/// The kinds of files of a store; what is damaged of a layer is its files' content, their modes, or their names.
const DAMAGES: [&str; 17] = [
    "blob",
    "layer file",
    "layer mode",
    "layer name",
    "record.json",
    "synced",
    "index.sqlite",
    "index.sqlite-wal",
    "index.sqlite-shm",
    "tag",
    "file-hashes",
    "builds",
    "format",
    "lease",
    "cache mount id",
    "cache mount ready",
    "reserve",
];

/// What uses the store afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Build,
    BuildArchive,
    BuildDirectory,
    Save,
    FilesArchive,
    Derived,
}

const USES: [Use; 6] = [Use::Build, Use::BuildArchive, Use::BuildDirectory, Use::Save, Use::FilesArchive, Use::Derived];

struct Attack<'a> {
    ground: Ground<'a>,
    golden: Golden,
    derived: Golden,
    files: Vec<u8>,
    /// A store with layers only, and one with their compressed forms.
    stores: [PathBuf; 2],
}

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let attack = Attack::new(environment)?;
    let mut random = Random::new(effort.seed);
    let store = attack.ground.path("store");
    for number in 0..effort.count {
        let seed = effort.seed;
        let damage = DAMAGES[number % DAMAGES.len()];
        remove(&store)?;
        let from = random.choose(&attack.stores).ok_or("there are two stores")?;
        succeed(Command::new("cp").arg("--archive").arg(from).arg(&store))?;
        let Some(what) = inflict(damage, &store, &mut random)? else {
            tally.count(&format!("nothing to damage of {damage}"));
            continue;
        };
        tally.count(&format!("damaged: {damage}"));
        if let Err(problem) = attack.try_uses(&store, damage, &mut random, tally) {
            tally.fail(format!("trial {number} (seed {seed}), {damage}, {what}: {problem}"), &store);
        }
    }
    Ok(())
}

impl<'a> Attack<'a> {
    fn new(environment: &'a Environment) -> Result<Self, String> {
        let ground = Ground::new(environment)?;
        ground.write_dockerfile(NAME, "")?;
        // A step more, that copies what the layers hold.
        let text = format!(
            "{}COPY --from=files /src /again\nCOPY --from=files /all /again-all\n",
            ground.dockerfile(NAME, "")
        );
        ground.scratch.write(&format!("context/{DERIVED}.Dockerfile"), text)?;
        let golden = ground.golden(NAME)?;
        let derived = ground.golden(DERIVED)?;
        let stores = [ground.path("store-layers"), ground.path("store-blobs")];
        succeed(&mut ground.build(&stores[0], NAME))?;
        succeed(&mut ground.build_archive(&stores[1], NAME, &ground.path("archive.tar")))?;
        let files = succeed(ground.build(&stores[1], NAME).args(["--output", "type=tar,dest=-"]).arg("--quiet"))?;
        let files = files.stdout;
        for store in &stores {
            // Of a process that was killed.
            let name = fs::read_dir(store.join("blobs/sha256")).map_err(|error| error.to_string())?.next();
            let name = name.and_then(Result::ok).map(|entry| entry.file_name()).unwrap_or_default();
            let lease = format!("\nblob sha256:{}\n", name.to_string_lossy());
            fs::write(store.join("leases/0123456789abcdef01234567"), lease).map_err(|error| error.to_string())?;
        }
        Ok(Self { ground, golden, derived, files, stores })
    }

    fn try_uses(&self, store: &Path, damage: &str, random: &mut Random, tally: &mut Tally) -> Outcome {
        let mut uses = USES;
        random.shuffle(&mut uses);
        let mut noticed = false;
        for used in uses {
            let finished = self.use_store(store, used)?;
            if finished.code == Some(0) {
                let golden = self.is_golden(used, &finished);
                // Layers that a new step reads are not verified: that would read all of them whenever a step is carried out.
                if golden.is_err() && used == Use::Derived && damage.starts_with("layer ") {
                    tally.count("damaged layers that a new step copied from");
                    continue;
                }
                golden.map_err(|problem| format!("{used:?} of {uses:?}: {problem}"))?;
            } else {
                noticed = true;
                fails_cleanly(&finished).map_err(|problem| format!("{used:?}: {problem}"))?;
            }
        }
        tally.count(if noticed { "noticed" } else { "harmless" });
        let mut checked = self.run(store, &["fsck"])?;
        if checked.code == Some(1) && checked.text().contains("not repaired: the index") {
            tally.count("healed by making the index anew");
            checked = self.run(store, &["fsck", "--rebuild"])?;
        }
        if checked.code != Some(0) {
            fails_cleanly(&checked).or_else(|problem| {
                check(checked.code == Some(1) && checked.text().contains("not repaired"), || problem)
            })?;
        }
        let healed = self.use_store(store, Use::BuildArchive)?;
        if healed.code != Some(0) && checked.code != Some(0) {
            tally.count(&format!("not healed, and said so: {damage}"));
            return fails_cleanly(&healed);
        }
        equal(&healed.code, &Some(0), "exit code after a check").map_err(|problem| {
            format!("{problem}: {}\nthe check said: {}{}", healed.stderr, checked.text(), checked.stderr)
        })?;
        self.is_golden(Use::BuildArchive, &healed).map_err(|problem| format!("after a check: {problem}"))?;
        tally.count("healed");
        // The check may have tried to fetch what was lost; a transfer that can be continued stays for a day.
        remains::remove_partial_transfers(store);
        self.ground.is_sound(store).map_err(|problem| format!("after a check and a build: {problem}"))
    }

    fn run(&self, store: &Path, arguments: &[&str]) -> Result<Finished, String> {
        let mut command = self.ground.command(store);
        command.args(arguments);
        end(command)
    }

    /// Where a use writes to.
    fn output(&self, used: Use) -> PathBuf {
        self.ground.path(&format!("output-{used:?}"))
    }

    fn use_store(&self, store: &Path, used: Use) -> Result<Finished, String> {
        let output = self.output(used);
        if output.is_dir() {
            remove(&output)?;
        } else if output.exists() {
            fs::remove_file(&output).map_err(|error| error.to_string())?;
        }
        let path = output.display();
        match used {
            Use::Build => end(self.ground.build(store, NAME)),
            Use::BuildArchive => end(self.ground.build_archive(store, NAME, &output)),
            Use::Derived => end(self.ground.build_archive(store, DERIVED, &output)),
            Use::BuildDirectory => {
                let mut command = self.ground.build(store, NAME);
                command.arg("--output").arg(format!("type=oci,tar=false,dest={path}"));
                end(command)
            }
            Use::FilesArchive => {
                let mut command = self.ground.build(store, NAME);
                command.arg("--output").arg(format!("type=tar,dest={path}"));
                end(command)
            }
            Use::Save => self.run(store, &["save", "--output", &path.to_string(), &format!("{NAME}:1")]),
        }
    }

    /// That a use that succeeded gave what the undamaged store gives.
    fn is_golden(&self, used: Use, finished: &Finished) -> Outcome {
        let output = self.output(used);
        let golden = if used == Use::Derived { &self.derived } else { &self.golden };
        match used {
            Use::Save => {}
            Use::Build | Use::FilesArchive => equal(&finished.text(), &golden.stored_digest, "digest")?,
            Use::BuildArchive | Use::BuildDirectory | Use::Derived => {
                equal(&finished.text(), &golden.digest, "digest")?;
            }
        }
        match used {
            Use::Build => Ok(()),
            Use::BuildArchive | Use::Derived | Use::Save => {
                equal(&Content::of_archive(&output)?, &golden.content, "content")
            }
            Use::BuildDirectory => equal(&Content::of_directory(&output)?, &golden.content, "content"),
            Use::FilesArchive => {
                let files = fs::read(&output).map_err(|error| error.to_string())?;
                check(files == self.files, || "other files were exported".to_owned())
            }
        }
    }
}

/// Damages something of a kind, and says what; `None` if there is nothing of it.
fn inflict(damage: &str, store: &Path, random: &mut Random) -> Result<Option<String>, String> {
    let in_layers = |wanted: fn(&fs::Metadata) -> bool| -> Vec<PathBuf> {
        let mut found = Vec::new();
        for layer in children(&store.join("snapshots")) {
            collect(&layer.join("fs"), wanted, &mut found);
        }
        found
    };
    let named = |directory: &str, name: &str| -> Vec<PathBuf> {
        children(&store.join(directory)).into_iter().map(|child| child.join(name)).collect()
    };
    let files = match damage {
        "blob" => children(&store.join("blobs/sha256")),
        "layer file" => in_layers(|metadata| metadata.is_file() && metadata.len() > 0),
        "layer mode" => {
            let found = in_layers(|metadata| metadata.is_file() || metadata.is_dir());
            let bit = 1 << random.below(12);
            return random.choose(&found).map(|path| flip_mode(path, bit)).transpose();
        }
        "layer name" => {
            let found = in_layers(|metadata| metadata.is_file() || metadata.is_symlink());
            return random.choose(&found).map(|path| flip_name(path)).transpose();
        }
        "record.json" => named("snapshots", "record.json"),
        "synced" => {
            // It is empty; all that can be damaged is whether it is there.
            let found = named("snapshots", "synced");
            let Some(path) = random.choose(&found).filter(|path| path.exists()) else { return Ok(None) };
            fs::remove_file(path).map_err(|error| error.to_string())?;
            return Ok(Some(format!("{} is gone", path.display())));
        }
        "tag" => children(&store.join("tags")),
        "file-hashes" => children(&store.join("file-hashes")),
        "builds" => children(&store.join("builds")),
        "lease" => children(&store.join("leases")),
        "cache mount id" => named("cache-mounts", "id"),
        "cache mount ready" => named("cache-mounts", "ready"),
        name => vec![store.join(name)],
    };
    let files: Vec<PathBuf> =
        files.into_iter().filter(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0)).collect();
    random.choose(&files).cloned().map(|path| flip_bit(&path, random)).transpose()
}

fn flip_bit(path: &Path, random: &mut Random) -> Result<String, String> {
    let text = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = fs::OpenOptions::new().read(true).write(true).open(path).map_err(text)?;
    let length = usize::try_from(file.metadata().map_err(text)?.len()).unwrap_or(usize::MAX);
    let (place, bit) = (random.below(length), random.below(8));
    let mut byte = [0];
    file.read_exact_at(&mut byte, place as u64).map_err(text)?;
    file.write_all_at(&[byte[0] ^ (1 << bit)], place as u64).map_err(text)?;
    Ok(format!("bit {bit} of byte {place} of {}", path.display()))
}

fn flip_mode(path: &Path, bit: u32) -> Result<String, String> {
    let text = |error: std::io::Error| format!("{}: {error}", path.display());
    let mode = fs::symlink_metadata(path).map_err(text)?.permissions().mode() & 0o7777;
    fs::set_permissions(path, fs::Permissions::from_mode(mode ^ bit)).map_err(text)?;
    Ok(format!("mode {:o} instead of {mode:o} of {}", mode ^ bit, path.display()))
}

/// The last bit of the last character, which leaves most names names.
fn flip_name(path: &Path) -> Result<String, String> {
    let mut name = path.as_os_str().as_bytes().to_vec();
    if let Some(last) = name.last_mut() {
        *last ^= 1;
    }
    let new = PathBuf::from(std::ffi::OsString::from_vec(name));
    fs::rename(path, &new).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("{} instead of {}", new.display(), path.display()))
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn collect(directory: &Path, wanted: fn(&fs::Metadata) -> bool, found: &mut Vec<PathBuf>) {
    for path in children(directory) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            collect(&path, wanted, found);
        }
        if wanted(&metadata) {
            found.push(path);
        }
    }
}
