//! File systems that are too small, in bytes and in files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ground::{Golden, Ground, end, fails_cleanly, remove};
use crate::support::{Environment, Outcome, check, equal, succeed};
use crate::{Effort, Kind, Tally, remains};

pub(crate) const KIND: Kind = Kind { name: "space", count: 40, run };

const NAME: &str = "app";

/// What there is too little of.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Bytes(u64),
    Files(u64),
}

impl Limit {
    fn option(self) -> String {
        match self {
            Self::Bytes(bytes) => format!("size={bytes}"),
            Self::Files(files) => format!("nr_inodes={files}"),
        }
    }
}

/// A file system in memory; it is unmounted when this is dropped.
struct Memory(PathBuf);

impl Memory {
    fn mount(path: PathBuf, options: &str) -> Result<Self, String> {
        std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path))?;
        Ok(Self(path))
    }

    fn change(&self, options: &str) -> Outcome {
        succeed(Command::new("mount").arg("-o").arg(format!("remount,{options}")).arg(&self.0)).map(drop)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    ground.write_dockerfile(NAME, "")?;
    let golden = ground.golden(NAME)?;
    let (bytes, files) = enough(&ground)?;
    let half = effort.count.div_ceil(2).max(2);
    // Evenly from next to nothing to a bit more than enough; the seed moves them all a little.
    let place = |number: usize, whole: u64| {
        let shift = effort.seed % 97;
        let step = whole * 5 / 4 / (half as u64 - 1);
        (step * number as u64 + shift * step / 200).max(1)
    };
    let by_bytes = (0..half).map(|number| Limit::Bytes(place(number, bytes).max(64 << 10)));
    let by_files = (0..half).map(|number| Limit::Files(place(number, files).max(3)));
    for limit in by_bytes.chain(by_files).take(effort.count) {
        let memory = Memory::mount(ground.path("small"), &format!("mode=0755,{}", limit.option()))?;
        let store = memory.0.join("store");
        if let Err(problem) = attack(&ground, &memory, &store, &golden, limit, tally) {
            tally.fail(format!("{limit:?} of {bytes} bytes, {files} files: {problem}"), &store);
        }
    }
    Ok(())
}

/// What a store takes while it is made, about: what it takes afterwards.
fn enough(ground: &Ground<'_>) -> Result<(u64, u64), String> {
    let memory = Memory::mount(ground.path("large"), "mode=0755")?;
    let store = memory.0.join("store");
    succeed(&mut ground.build_archive(&store, NAME, &ground.path("archive.tar")))?;
    let used = rustix::fs::statvfs(&memory.0).map_err(|error| error.to_string())?;
    let bytes = (used.f_blocks - used.f_bfree) * used.f_frsize;
    Ok((bytes, used.f_files - used.f_ffree))
}

fn attack(
    ground: &Ground<'_>,
    memory: &Memory,
    store: &Path,
    golden: &Golden,
    limit: Limit,
    tally: &mut Tally,
) -> Outcome {
    let archive = ground.path("archive.tar");
    let finished = end(ground.build_archive(store, NAME, &archive))?;
    ground.nothing_runs(store)?;
    let kind = if matches!(limit, Limit::Bytes(_)) { "bytes" } else { "files" };
    if finished.code == Some(0) {
        tally.count(&format!("builds with enough {kind}"));
        equal(&finished.text(), &golden.digest, "digest in little room")?;
    } else {
        tally.count(&format!("builds with too few {kind}"));
        fails_cleanly(&finished)?;
        says_what(&finished.stderr)?;
        // What was thrown away makes room at once, not only with the next success.
        equal(&remains::leftovers(store), &Vec::new(), "what the failed build left")?;
        // A prune can work on the full disk, or says why not.
        let mut prune = ground.command(store);
        prune.args(["prune", "--all", "--force"]);
        let pruned = end(prune)?;
        if pruned.code == Some(0) {
            tally.count("prunes on the full disk");
        } else {
            tally.count("prunes that found no room");
            fails_cleanly(&pruned)?;
        }
    }
    memory.change("size=50%,nr_inodes=1000000")?;
    ground.goes_on(store, NAME, golden)?;
    remove(store)
}

/// Texts that say that there is no room, of the kernel and of the index.
const REASONS: [&str; 2] = ["No space left on device", "disk is full"];

/// One line that names what could not be done before the reason, and another that says what helps.
fn says_what(said: &str) -> Outcome {
    let error = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_default();
    // A command of a step that finds no room says so itself; what it means is its author's affair.
    if error.contains("exit code") && REASONS.iter().any(|reason| said.contains(reason)) {
        return Ok(());
    }
    let what = REASONS.iter().find_map(|reason| error.split_once(reason)).map(|(what, _)| what);
    check(what.is_some(), || format!("the reason is missing: {said}"))?;
    check(what.is_some_and(|what| what.contains(": ")), || format!("what could not be done is missing: {said}"))?;
    check(said.lines().any(|line| line.starts_with("hint") && line.contains("bake prune")), || {
        format!("the hint is missing: {said}")
    })
}
