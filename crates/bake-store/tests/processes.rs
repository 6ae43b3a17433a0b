//! Several processes, killed processes and full disks.
//!
//! The tests start this test binary again: `child` is the entry point of the other processes, and does nothing when the
//! test runner calls it.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bake_oci::{CacheKey, DefinitionDigest, DiffId, Digest, SnapshotId, TreeDigest};
use bake_store::{
    BlobDescriptor, CacheRecord, FsckOptions, Need, OpenOptions, Ownership, PruneOptions, SnapshotRecord, Store,
    StoreError, TryLock,
};

const ROLE: &str = "BAKE_STORE_TEST_ROLE";
const ROOT: &str = "BAKE_STORE_TEST_ROOT";
const OPTIONS: OpenOptions = OpenOptions { ownership: Ownership::Native, create: true };

/// Starts this binary again in a role.
fn start(role: &str, root: &Path) -> Child {
    command(role, root).stdout(Stdio::piped()).spawn().unwrap()
}

fn command(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role).env(ROOT, root);
    command
}

/// Waits for a child that must succeed.
fn finish(mut child: Child) {
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
}

fn say(text: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{text}").unwrap();
    stdout.flush().unwrap();
}

#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    match role.as_str() {
        "create" => create(&root),
        "publish" => publish_all(&root),
        "endless" => publish_endlessly(&root),
        "build" => build_for_a_while(&root),
        "hold-key" => hold_key(&root),
        "full" => fill_the_disk(&root),
        other => panic!("unknown role {other}"),
    }
}

fn record(name: &str) -> SnapshotRecord {
    SnapshotRecord {
        id: SnapshotId::new(name).unwrap(),
        tree: TreeDigest::of(name.as_bytes()),
        diff_id: Some(DiffId(Digest::of(name.as_bytes()))),
        tar_size_bytes: Some(10_240),
        size_bytes: 3,
        entries: 1,
        origin: format!("RUN {name}"),
    }
}

/// One step of a build: a snapshot with one file, its cache record, and a blob.
fn step(store: &Store, name: &str) -> Result<(), StoreError> {
    let active = store.begin_snapshot()?;
    fs::write(active.fs().join("file"), name).map_err(|source| StoreError::DiskFull {
        action: "write",
        path: active.fs().join("file"),
        source: Box::new(source),
    })?;
    let published = store.publish_snapshot(active, record(name))?;
    assert_eq!(fs::read_to_string(published.snapshot.path.join("file")).unwrap(), name);
    store.put_bytes(format!("blob of {name}").as_bytes())?;
    store.cache_record(&CacheRecord {
        keys: vec![CacheKey::of(name.as_bytes())],
        definition: DefinitionDigest::of(b"definition"),
        result: name.into(),
        snapshots: vec![published.snapshot.record.id],
        components: Vec::new(),
        description: format!("RUN {name}"),
        created_unix_s: 1,
        used_unix_s: 0,
    })
}

/// Everything a step acknowledged must be there.
fn check_step(store: &Store, name: &str) {
    let found = store.cache_lookup(&CacheKey::of(name.as_bytes())).unwrap();
    let found = found.unwrap_or_else(|| panic!("the record of {name} is gone"));
    assert_eq!(found.result, name.as_bytes());
    let snapshot = store.snapshot(&found.snapshots[0]).unwrap().unwrap();
    assert_eq!(fs::read_to_string(snapshot.path.join("file")).unwrap(), name);
    let blob = Digest::of(format!("blob of {name}").as_bytes());
    assert!(store.read_small_blob(&blob, 1000).unwrap().is_some());
}

fn assert_tidy(store: &Store) {
    store.empty_trash().unwrap();
    for name in ["active", "ingest", "trash"] {
        let left: Vec<_> = fs::read_dir(store.root().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let report = store.fsck(FsckOptions::default()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn many_processes_create_one_store() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let root = directory.path().join(format!("store-{round}"));
        let children: Vec<_> = (0..8).map(|_| start("create", &root)).collect();
        children.into_iter().for_each(finish);
        assert_tidy(&Store::open(&root, OPTIONS).unwrap());
    }
}

fn create(root: &Path) {
    let store = Store::open(root, OPTIONS).unwrap();
    store.remember("test", &std::process::id().to_string(), b"here").unwrap();
}

#[test]
fn many_processes_publish_the_same_things() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let children: Vec<_> = (0..4).map(|_| start("publish", &root)).collect();
    children.into_iter().for_each(finish);
    let store = Store::open(&root, OPTIONS).unwrap();
    for number in 0..30 {
        check_step(&store, &format!("step-{number}"));
    }
    assert_eq!(store.list_blobs().unwrap().len(), 30);
    assert_eq!(store.usage().unwrap().records, 30);
    assert_tidy(&store);
}

fn publish_all(root: &Path) {
    let store = Store::open(root, OPTIONS).unwrap();
    for number in 0..30 {
        step(&store, &format!("step-{number}")).unwrap();
    }
}

#[test]
fn a_process_killed_at_any_instant_loses_at_most_the_running_step() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let mut done = Vec::new();
    for round in 0_u64..12 {
        let mut child = start("endless", &root);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Wait until it works, so that the kill hits a step; then a different instant each round.
        let first = lines.by_ref().map_while(Result::ok).find(|line| line.contains("done ")).unwrap();
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        let acknowledged = std::iter::once(first).chain(lines.map_while(Result::ok));
        // A line cut short by the kill is no acknowledgement.
        done.extend(acknowledged.filter_map(|line| line.split_once("done ")?.1.strip_suffix(" .").map(str::to_owned)));
        child.wait().unwrap();
        let store = Store::open(&root, OPTIONS).unwrap();
        for name in &done {
            check_step(&store, name);
        }
        drop(store);
    }
    let store = Store::open(&root, OPTIONS).unwrap();
    // A directory whose row the killed process did not come to write is not an error, but is cleaned by a prune.
    let lost: Vec<_> = store
        .usage()
        .unwrap()
        .items
        .into_iter()
        .filter(|item| item.need == Need::Cache && item.description.starts_with("(interrupted"))
        .collect();
    store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
    assert_tidy(&store);
    assert!(lost.len() <= 12);
    for name in &done {
        check_step(&store, name);
    }
    assert_eq!(fs::read_dir(root.join("leases")).unwrap().count(), 1);
}

fn publish_endlessly(root: &Path) {
    let store = Store::open(root, OPTIONS).unwrap();
    for number in 0.. {
        let name = format!("process-{}-step-{number}", std::process::id());
        step(&store, &name).unwrap();
        say(&format!("done {name} ."));
    }
}

#[test]
fn a_prune_never_takes_what_a_build_uses() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let store = Store::open(&root, OPTIONS).unwrap();
    let children: Vec<_> = (0..3).map(|_| start("build", &root)).collect();
    let started = Instant::now();
    let mut removed = 0;
    // On a busy machine three seconds are not enough for anything to happen.
    while started.elapsed() < Duration::from_secs(if removed > 10 { 3 } else { 60 }) {
        let report = store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        removed += report.removed.len();
    }
    fs::write(root.with_file_name("enough"), "").unwrap();
    children.into_iter().for_each(finish);
    assert!(removed > 10, "the race did not take place: {removed} removed");
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert_tidy(&store);
}

/// Short builds over and over: look up or make ten steps, and check at the end that all of them are still there.
fn build_for_a_while(root: &Path) {
    let store = Store::open(root, OPTIONS).unwrap();
    let enough = root.with_file_name("enough");
    let started = Instant::now();
    let (mut builds, mut hits) = (0, 0);
    while builds <= 3 || !enough.exists() {
        assert!(started.elapsed() < Duration::from_mins(2), "{builds} builds, and nobody has enough");
        let build = store.with_new_lease();
        let mut paths = Vec::new();
        for number in 0..10 {
            let name = format!("shared-{number}");
            if build.cache_lookup(&CacheKey::of(name.as_bytes())).unwrap().is_some() {
                hits += 1;
            } else {
                // Another process may remove the record (not what is held) between our steps; only ours count here.
                step(&build, &name).unwrap();
            }
            let snapshot = build.snapshot(&SnapshotId::new(&name).unwrap()).unwrap();
            paths.push((name, snapshot.expect("what was looked up or made is held").path));
        }
        for (name, path) in paths {
            assert_eq!(fs::read_to_string(path.join("file")).unwrap(), name);
        }
        builds += 1;
    }
    say(&format!("{builds} builds, {hits} hits"));
}

#[test]
fn the_key_lock_of_a_killed_process_is_free_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store"), OPTIONS).unwrap();
    let mut child = start("hold-key", store.root());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().map_while(Result::ok).find(|line| line.contains("locked")).unwrap();
    let key = CacheKey::of(b"key");
    let TryLock::HeldBy(holder) = store.try_lock_key(&key).unwrap() else { panic!("not held") };
    assert_eq!(holder.process_id, Some(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(store.try_lock_key(&key).unwrap(), TryLock::Acquired(_)));
}

fn hold_key(root: &Path) {
    let store = Store::open(root, OPTIONS).unwrap();
    let _lock = store.lock_key(&CacheKey::of(b"key")).unwrap();
    say("locked");
    std::thread::sleep(Duration::from_mins(1));
}

#[test]
fn a_full_disk_is_named_and_harms_nothing() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let inner = command("full", directory.path());
    // The small file system lives in a mount namespace of its own and ends with it.
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "--propagation", "private", "--"]).arg(inner.get_program()).args(inner.get_args());
    outer.env(ROLE, "full").env(ROOT, directory.path()).stdout(Stdio::piped());
    finish(outer.spawn().unwrap());
}

fn fill_the_disk(directory: &Path) {
    use rustix::mount::{MountFlags, mount};
    mount("tmpfs", directory, "tmpfs", MountFlags::empty(), Some(c"size=4m")).unwrap();
    let root = directory.join("store");
    let store = Store::open(&root, OPTIONS).unwrap();
    for number in 0..5 {
        step(&store, &format!("before-{number}")).unwrap();
    }
    let free = |root: &Path| {
        let status = rustix::fs::statvfs(root).unwrap();
        status.f_bavail * status.f_frsize
    };
    let before = free(&root);

    // A blob that does not fit: one error, no bytes left behind, resumable or not.
    let mut endless = std::io::repeat(7).take(8 << 20);
    let error = store.put_blob(None, &mut endless).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    assert!(error.to_string().starts_with("no space left to write `"), "{error}");
    let digest = Digest::of(b"something else");
    let bake_store::Resume::Ingest(mut pull) = store.resume_ingest(&digest).unwrap() else { panic!("not new") };
    let error = pull.write_all(&vec![7; 8 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(pull);
    assert!(free(&root) + 65_536 > before, "{} of {before} bytes are free", free(&root));

    // The rest of the disk is taken by others; every operation either works or says why not.
    let mut filler = fs::File::create(directory.join("filler")).unwrap();
    while filler.write(&[1; 4096]).is_ok() {}
    let mut failures = 0;
    for number in 0..40 {
        match step(&store, &format!("during-{number}")) {
            Ok(()) => {}
            Err(error) => {
                assert!(error.is_disk_full(), "{error:?}");
                failures += 1;
            }
        }
    }
    assert!(failures > 0, "the disk was not full");
    (0..5).for_each(|number| check_step(&store, &format!("before-{number}")));
    drop(store);

    // A prune works on the full disk, to the last byte of it, and makes room.
    while filler.write(&[1; 4096]).is_ok() {}
    assert!(free(&root) < 4096);
    let store = Store::open(&root, OPTIONS).unwrap();
    let report = store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert!(report.removed.len() >= 10, "{report:?}");
    assert!(root.join("reserve").exists(), "the next prune has a reserve again");
    drop(filler);
    fs::remove_file(directory.join("filler")).unwrap();
    step(&store, "after").unwrap();
    check_step(&store, "after");
    let image = BlobDescriptor { media_type: "m".into(), digest: Digest::of(b"blob of after"), size_bytes: 13 };
    store.tag("app:1", &image, 0).unwrap();
    store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
}
