//! What a build may not leave behind: processes, mounts, cgroups, files in the store.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the kernel may take to end the processes of a killed build.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked whether they have ended.
const PAUSE: Duration = Duration::from_millis(5);

/// How deep control groups are looked for.
const CGROUP_DEPTH: usize = 3;

/// The directories of a store that hold nothing between builds.
const EMPTY: [&str; 4] = ["active", "ingest", "leases", "trash"];

/// Everything else that is in a store.
const LASTING: [&str; 14] = [
    "blobs",
    "builds",
    "cache-mounts",
    "failed",
    "file-hashes",
    "format",
    "index.sqlite",
    "index.sqlite-shm",
    "index.sqlite-wal",
    "locks",
    "referrers",
    "reserve",
    "snapshots",
    "tags",
];

/// The lock files that stay.
const LOCKS: [&str; 3] = ["collect", "gc", "index"];

/// The processes whose environment holds `marker`, each with its arguments.
fn processes(marker: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| *id != own)
        .filter_map(|id| {
            let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
            if !environment.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                return None;
            }
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            Some(format!("{id}: {}", String::from_utf8_lossy(&arguments).replace('\0', " ")))
        })
        .collect()
}

/// The processes that have not ended when they should have.
pub(crate) fn lasting_processes(marker: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = processes(marker);
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

/// What is mounted below `directory`, or from there.
pub(crate) fn mounts(directory: &Path) -> Vec<String> {
    let directory = format!("{}/", directory.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter(|line| line.contains(&directory)).map(str::to_owned).collect()
}

/// The control groups of the machine whose names say that they are of this program, and of a process that is gone: other
/// tests run beside this one.
pub(crate) fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_cgroups(Path::new("/sys/fs/cgroup"), CGROUP_DEPTH, &mut found);
    found
}

fn collect_cgroups(directory: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("bake") {
            let maker = name.split('-').nth(1).unwrap_or_default();
            if maker.is_empty() || !Path::new("/proc").join(maker).exists() {
                found.insert(entry.path().display().to_string());
            }
        } else if depth > 0 {
            collect_cgroups(&entry.path(), depth - 1, found);
        }
    }
}

/// What is in a store that nobody uses and should not be.
pub(crate) fn leftovers(store: &Path) -> Vec<String> {
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(store.join(directory)).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    };
    let in_root =
        names("").into_iter().filter(|name| !EMPTY.contains(&name.as_str()) && !LASTING.contains(&name.as_str()));
    let locks = names("locks").into_iter().filter(|name| !LOCKS.contains(&name.as_str()));
    let passing =
        EMPTY.iter().flat_map(|directory| names(directory).into_iter().map(move |name| format!("{directory}/{name}")));
    // The root of a step that failed is kept on purpose, one that is not complete is not.
    let unfinished =
        names("failed").into_iter().filter(|name| !store.join("failed").join(name).join("kept.json").exists());
    let passing = passing.chain(unfinished.map(|name| format!("failed/{name}")));
    in_root.chain(locks.map(|name| format!("locks/{name}"))).chain(passing).collect()
}

/// Removes what was received of blobs whose transfer did not come to its end.
pub(crate) fn remove_partial_transfers(store: &Path) {
    for entry in fs::read_dir(store.join("ingest")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("partial-") {
            // Where it stays, the one who looks for leftovers finds it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// How many files, directories and links are below `directory`.
pub(crate) fn entries(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| {
            1 + if entry.file_type().is_ok_and(|kind| kind.is_dir()) { self::entries(&entry.path()) } else { 0 }
        })
        .sum()
}
