//! The store's directory: its picture, its checks at open, and the path of everything in it.
//!
//! ```text
//! ROOT/                        0700, owned by the user
//!   format                     "bake-store 1\nownership native\n", twice; written last, so a half-made store has none
//!   index.sqlite (-wal, -shm)  snapshots, cache records, compressed forms, remembered values
//!   blobs/sha256/HEX           complete, verified blobs (also blobs/sha512/HEX, for what others made)
//!   ingest/new-RANDOM          a blob being written; deleted when its writer is gone
//!   ingest/partial-sha256-HEX  a blob being pulled; kept so that the pull can be resumed
//!   ingest/publish-RANDOM-ID   a snapshot that is in its place and not yet in the index; there only for that moment
//!   snapshots/ID/fs            a committed layer directory
//!   snapshots/ID/record.json   what the index knows of it, so that the index can be rebuilt
//!   snapshots/ID/contents      hashes of its files, for layers of large copies
//!   snapshots/ID/listing       its names with sizes and owners, once somebody measured it
//!   snapshots/ID/synced        exists once the layer directory is known to be on the disk
//!   active/RANDOM/{fs,work,lock}  a layer directory being made; `lock` is held by its maker
//!   failed/ID/{fs,lock,kept.json}  the root of a failed step
//!   tags/HEX                   a tag, named by the SHA-256 of the reference: the same line of JSON twice
//!   referrers/HEX              manifests attached to a manifest, see `referrers.rs`
//!   cache-mounts/HEX.N/{id,lock,ready,data}  cache mounts, named by the SHA-256 of their ID
//!   builds/NUMBER              what the steps of a build wrote, see `build_logs.rs`
//!   file-hashes/HEX            remembered content hashes of one build context
//!   leases/RANDOM              what one running process uses; held by `flock`
//!   locks/gc                   shared while something is taken into use, exclusive while something is removed
//!   locks/collect              held by the process that collects garbage; its time is that of the last look
//!   locks/referrers            exclusive while something is attached
//!   locks/index                exclusive while the index is created or replaced
//!   locks/key-HEX              one step being executed
//!   trash/RANDOM               removed things, deleted later; locked while somebody deletes it
//!   reserve                    room that a prune gives up on a full disk, so that it can work there
//! ```
//!
//! Changing any of this breaks stores on disk: raise [`FORMAT_VERSION`] and say in the changelog what happens to old
//! stores.

use std::fs::{self, DirBuilder, File, OpenOptions as FileOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bake_oci::digest::Algorithm;
use bake_oci::{CacheKey, Digest, SnapshotId};

use crate::StoreError;
use crate::error::AtPath;

/// The algorithms of blobs that are kept.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The version of the picture above.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The `format` file is two short lines; more than this is not ours.
const FORMAT_SIZE_MAX: u64 = 4096;

/// The index needs about this much to open (its shared memory) and to delete a batch of rows (its log).
pub(crate) const RESERVE_BYTES: u64 = 1 << 20;

/// The directories of an empty store, parents first.
const DIRECTORIES: [&str; 15] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "builds",
    "ingest",
    "snapshots",
    "active",
    "failed",
    "tags",
    "referrers",
    "cache-mounts",
    "file-hashes",
    "leases",
    "locks",
    "trash",
];

/// How the files of layer directories carry their owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Files on disk have the IDs they have in the image.
    Native,
    /// All files belong to the user; the intended owners are recorded beside them.
    Recorded,
}

impl Ownership {
    /// The word in the `format` file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Recorded => "recorded",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "native" => Some(Self::Native),
            "recorded" => Some(Self::Recorded),
            _ => None,
        }
    }
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// The ownership form a new store gets and an existing one must have.
    pub ownership: Ownership,
    /// Whether a missing store is created.
    pub create: bool,
}

/// A checked store directory and the paths in it.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    ownership: Ownership,
}

impl Layout {
    /// Opens or creates the store at `root` after checking owner, mode and version.
    ///
    /// Costs a handful of system calls on an existing store; the index is not touched.
    pub(crate) fn open(root: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).at("resolve", root)?;
        match check_owner(&root) {
            Ok(()) => {}
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if !options.create {
                    return Err(StoreError::Missing { path: root });
                }
                DirBuilder::new().recursive(true).mode(0o700).create(&root).at("create the store", &root)?;
                check_owner(&root)?;
            }
            Err(error) => return Err(error),
        }
        let format = match read_format(&root)? {
            Some(format) => format,
            None if options.create => create(&root, options.ownership)?,
            None => return Err(StoreError::Missing { path: root }),
        };
        let ownership = parse_format(&root, &format)?;
        if ownership != options.ownership {
            let (found, wanted) = (ownership.name(), options.ownership.name());
            return Err(StoreError::OtherOwnership { path: root, found, wanted });
        }
        Ok(Self { root, ownership })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// The directory `name` of the store (one of the picture's first level).
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.sqlite")
    }

    /// The directory of the blobs with digests of one algorithm.
    pub(crate) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    /// The path of the blob `digest`; its digits are checked by the type.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn partial_blob(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!("ingest/partial-{}-{}", digest.algorithm().name(), digest.hex()))
    }

    pub(crate) fn snapshot(&self, id: &SnapshotId) -> PathBuf {
        let mut path = self.root.join("snapshots");
        path.push(id.as_str());
        path
    }

    pub(crate) fn tag(&self, reference: &str) -> PathBuf {
        self.root.join("tags").join(Digest::of(reference.as_bytes()).hex())
    }

    /// What is attached to the manifest `subject`. The digits of a digest are those of one algorithm, as their number says.
    pub(crate) fn referrers(&self, subject: &Digest) -> PathBuf {
        self.root.join("referrers").join(subject.hex())
    }

    pub(crate) fn file_hashes(&self, context: &[u8]) -> PathBuf {
        self.root.join("file-hashes").join(Digest::of(context).hex())
    }

    pub(crate) fn key_lock(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("locks/key-{}", key.hex()))
    }

    pub(crate) fn collect_lock(&self) -> PathBuf {
        self.root.join("locks/collect")
    }

    /// A path with a fresh random name in the directory `directory`.
    pub(crate) fn random(&self, directory: &str, prefix: &str) -> Result<PathBuf, StoreError> {
        let mut bytes = [0_u8; 12];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .at("take a random name in", self.root.join(directory))?;
        Ok(self.root.join(directory).join(format!("{prefix}{}", bake_oci::digest::to_hex(&bytes))))
    }

    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// Whether the `format` file holds exactly what this version writes.
    pub(crate) fn is_format_exact(&self) -> Result<bool, StoreError> {
        let path = self.root.join("format");
        let mut bytes = Vec::new();
        File::open(&path).at("open", &path)?.take(FORMAT_SIZE_MAX).read_to_end(&mut bytes).at("read", &path)?;
        let text = format_text(self.ownership);
        Ok(bytes == text.as_bytes() || bytes == text.repeat(2).as_bytes())
    }

    /// Creates any directory of the picture that is missing.
    pub(crate) fn create_directories(&self) -> Result<(), StoreError> {
        create_directories(&self.root)
    }
}

/// Refuses a directory of another user, or one that others may write.
fn check_owner(root: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(root).at("open the store", root)?;
    if !metadata.is_dir() {
        return Err(StoreError::io("open the store", root, io::ErrorKind::NotADirectory.into()));
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StoreError::ForeignOwner { path: root.to_path_buf(), owner: metadata.uid(), user });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(StoreError::WritableByOthers { path: root.to_path_buf(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

fn read_format(root: &Path) -> Result<Option<String>, StoreError> {
    let path = root.join("format");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let mut bytes = Vec::with_capacity(64);
    file.take(FORMAT_SIZE_MAX).read_to_end(&mut bytes).at("read", &path)?;
    Ok(Some(sound_half(&bytes)))
}

/// The text that stands twice in a `format` file. Of one that is damaged, the half that says what this version writes;
/// stores of earlier versions have one half only.
fn sound_half(bytes: &[u8]) -> String {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let ours = |half: &&[u8]| {
        [Ownership::Native, Ownership::Recorded].iter().any(|ownership| format_text(*ownership).as_bytes() == *half)
    };
    let sound = if first == second { Some(first) } else { [first, second].into_iter().find(ours) };
    String::from_utf8_lossy(sound.unwrap_or(bytes)).into_owned()
}

fn parse_format(root: &Path, text: &str) -> Result<Ownership, StoreError> {
    let unknown = |found: &str| StoreError::UnknownVersion {
        path: root.join("format"),
        found: found.chars().take(40).collect(),
        supported: FORMAT_VERSION,
    };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("bake-store ")).ok_or_else(|| unknown("(none)"))?;
    if version != FORMAT_VERSION.to_string() {
        return Err(unknown(version));
    }
    lines
        .next()
        .and_then(|line| line.strip_prefix("ownership "))
        .and_then(Ownership::parse)
        .ok_or_else(|| unknown("1 without a known ownership"))
}

/// Makes an empty directory a store; several processes may do so at once. Returns the format text that won.
fn create(root: &Path, ownership: Ownership) -> Result<String, StoreError> {
    for entry in fs::read_dir(root).at("list", root)? {
        let name = entry.at("list", root)?.file_name().to_string_lossy().into_owned();
        // The leftovers of an interrupted creation may be completed; anything else is somebody's directory.
        if !DIRECTORIES.contains(&name.as_str()) && name != "format" && name != "reserve" {
            // Another process may have made the store since the caller looked, and be at work in it already.
            return read_format(root)?.ok_or_else(|| StoreError::NotAStore { path: root.to_path_buf(), found: name });
        }
    }
    create_directories(root)?;
    make_reserve(root);
    let text = format_text(ownership).repeat(2);
    let layout = Layout { root: root.to_path_buf(), ownership };
    // What a killed creator leaves there is collected like any other unfinished file; the lock keeps this one's until it is linked.
    let no_removal = crate::lock::GcLock::shared(&layout)?;
    let temporary = layout.random("ingest", "format-")?;
    write_file(&temporary, text.as_bytes())?;
    // `link` never replaces: of several creators the first one decides.
    let linked = fs::hard_link(&temporary, root.join("format"));
    fs::remove_file(&temporary).at("remove", &temporary)?;
    drop(no_removal);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StoreError::io("create", root.join("format"), error)),
    }
    sync_directory(root)?;
    read_format(root)?.ok_or_else(|| StoreError::Missing { path: root.to_path_buf() })
}

fn format_text(ownership: Ownership) -> String {
    format!("bake-store {FORMAT_VERSION}\nownership {}\n", ownership.name())
}

/// Replaces the `format` file of a store that was opened by what was read of it.
pub(crate) fn write_format(layout: &Layout) -> Result<(), StoreError> {
    let _no_removal = crate::lock::GcLock::shared(layout)?;
    let temporary = layout.random("ingest", "format-")?;
    write_file(&temporary, format_text(layout.ownership).repeat(2).as_bytes())?;
    fs::rename(&temporary, layout.root.join("format")).at("replace", &temporary)?;
    sync_directory(&layout.root)
}

fn create_directories(root: &Path) -> Result<(), StoreError> {
    for name in DIRECTORIES {
        make_directory(&root.join(name))?;
    }
    Ok(())
}

/// Sets room aside for a prune on a full disk, where the file system can; otherwise that prune has to do without.
pub(crate) fn make_reserve(root: &Path) {
    let path = root.join("reserve");
    let Ok(file) = File::create_new(&path) else { return };
    if let Err(error) = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES) {
        tracing::debug!(path = %path.display(), %error, "could not set room aside");
        // An empty file would pass for a reserve; if it stays all the same, the prune notices.
        let _ = fs::remove_file(&path);
    }
}

/// Creates one private directory; one that exists already is fine.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("create", path, error)),
        _ => Ok(()),
    }
}

/// Writes a small file and syncs it.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut file =
        FileOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).at("create", path)?;
    file.write_all(content).at("write", path)?;
    file.sync_all().at("sync", path)
}

/// Makes renames and links in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).at("open", path)?.sync_all().at("sync", path)
}

/// Seconds since 1970 by the system's clock; 0 for a clock before that.
pub(crate) fn now_unix_s() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Store;
    use crate::testing::OPTIONS;

    #[test]
    fn a_store_is_created_private_and_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a/b/store");
        let existing = OpenOptions { create: false, ..OPTIONS };
        assert!(matches!(Store::open(&root, existing), Err(StoreError::Missing { path }) if path == root));
        Store::open(&root, OPTIONS).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(Store::open(&root, existing).unwrap().root(), root);
        let recorded = OpenOptions { ownership: Ownership::Recorded, ..OPTIONS };
        assert!(matches!(Store::open(&root, recorded), Err(StoreError::OtherOwnership { found: "native", .. })));
    }

    #[test]
    fn an_interrupted_creation_is_completed_and_a_foreign_directory_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        DirBuilder::new().mode(0o700).create(&root).unwrap();
        fs::create_dir(root.join("blobs")).unwrap();
        fs::create_dir(root.join("ingest")).unwrap();
        fs::write(root.join("ingest/format-dead"), "").unwrap();
        assert!(matches!(
            Store::open(&root, OpenOptions { create: false, ..OPTIONS }),
            Err(StoreError::Missing { .. })
        ));
        let store = Store::open(&root, OPTIONS).unwrap();
        // What the interrupted one left does not stay.
        store.empty_trash().unwrap();
        assert_eq!(fs::read_dir(root.join("ingest")).unwrap().count(), 0);
        let home = directory.path().join("home");
        DirBuilder::new().mode(0o700).create(&home).unwrap();
        fs::write(home.join("thesis.tex"), "").unwrap();
        let error = Store::open(&home, OPTIONS).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { found, .. } if found == "thesis.tex"));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        assert!(Store::open(&home.join("thesis.tex"), OPTIONS).is_err());
    }

    #[test]
    fn a_store_that_another_process_made_meanwhile_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        drop(Store::open(&root, OPTIONS).unwrap());
        fs::write(root.join("index.sqlite-journal"), "").unwrap();
        assert_eq!(create(&root, Ownership::Recorded).unwrap(), format_text(OPTIONS.ownership));
    }

    #[test]
    fn stores_of_others_and_of_later_versions_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        Store::open(&root, OPTIONS).unwrap();
        for (text, version) in [
            ("bake-store 2\nownership native\n", "2"),
            ("bake-store 01\nownership native\n", "01"),
            ("bake-store 1\nownership strange\n", "1 without a known ownership"),
            ("", "(none)"),
        ] {
            fs::write(root.join("format"), text).unwrap();
            let error = Store::open(&root, OPTIONS).unwrap_err();
            assert!(matches!(error, StoreError::UnknownVersion { found, .. } if found == version), "{text:?}");
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Store::open(&root, OPTIONS), Err(StoreError::WritableByOthers { mode: 0o770, .. })));
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        // Only root can give files away; other users cannot make this situation.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&root, Some(65534), Some(65534)).unwrap();
            let error = Store::open(&root, OPTIONS).unwrap_err();
            assert!(matches!(error, StoreError::ForeignOwner { owner: 65534, user: 0, .. }));
        }
    }

    #[test]
    fn a_damaged_format_file_is_read_by_its_sound_half() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        Store::open(&root, OPTIONS).unwrap();
        let sound = fs::read(root.join("format")).unwrap();
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(root.join("format"), damaged).unwrap();
            let store = Store::open(&root, OPTIONS).unwrap();
            assert!(!store.layout().is_format_exact().unwrap());
        }
        // What later versions write is consistent, and refused.
        fs::write(root.join("format"), "bake-store 3\nownership native\n".repeat(2)).unwrap();
        let error = Store::open(&root, OPTIONS).unwrap_err();
        assert!(matches!(error, StoreError::UnknownVersion { found, .. } if found == "3"));
    }

    #[test]
    fn an_index_of_a_later_version_is_refused() {
        let test = crate::testing::TestStore::new();
        test.sql("PRAGMA user_version = 99");
        let store = Store::open(test.store.root(), OPTIONS).unwrap();
        let error = store.remember("a", "b", b"c").unwrap_err();
        assert!(matches!(error, StoreError::UnknownVersion { .. }), "{error}");
    }
}
