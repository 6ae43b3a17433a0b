//! What is said of images: manifests that name another manifest as their subject, kept as long as that one.
//!
//! ```text
//! referrers/HEX   {"subject": "sha256:...", "referrers": [{mediaType, digest, size}, ...], "checksum": "..."}
//! ```
//!
//! `HEX` are the digits of the subject's digest. A referrer is found from its subject only, so that it costs nothing where
//! there is none, and needs no tag: what the garbage collection keeps of an image includes them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use bake_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::error::AtPath;
use crate::ingest::Temporary;
use crate::layout::{Layout, make_directory, sync_directory};
use crate::lock::{GcLock, lock};
use crate::seal::checksum;
use crate::store::Store;
use crate::tags::BlobDescriptor;

/// More manifests than anybody attaches to one image.
pub const REFERRERS_MAX: usize = 1000;

/// A thousand descriptors of less than 300 bytes.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// `referrers/HEX`.
#[derive(Debug, Serialize, Deserialize)]
struct ReferrersFile {
    subject: Digest,
    referrers: Vec<BlobDescriptor>,
    /// Of everything else.
    checksum: String,
}

/// What the directory of referrers looked like, to see that it changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing(Vec<(std::ffi::OsString, u64, i64, i64)>);

impl Store {
    /// Attaches manifests to the manifest or index `subject`. All have to be in the store. They stay as long as the
    /// subject does; those that are attached already stay too.
    ///
    /// Durable when this returns. At most [`REFERRERS_MAX`] for each subject.
    pub fn attach(&self, subject: &Digest, referrers: &[BlobDescriptor]) -> Result<(), StoreError> {
        for digest in std::iter::once(subject).chain(referrers.iter().map(|referrer| &referrer.digest)) {
            if self.blob_size(digest)?.is_none() {
                return Err(StoreError::NotFound { what: format!("manifest {digest}") });
            }
        }
        let _alone = self.changing_referrers()?;
        let mut all = read(self.layout(), subject)?;
        for referrer in referrers {
            if !all.iter().any(|known| known.digest == referrer.digest) {
                all.push(referrer.clone());
            }
        }
        self.write_referrers(subject, &all)
    }

    /// Takes manifests away from `subject` that [`Store::attach`] attached to it; others stay.
    pub fn detach(&self, subject: &Digest, referrers: &[Digest]) -> Result<(), StoreError> {
        let _alone = self.changing_referrers()?;
        let before = read(self.layout(), subject)?;
        let after: Vec<_> = before.iter().filter(|known| !referrers.contains(&known.digest)).cloned().collect();
        if after.len() == before.len() {
            return Ok(());
        }
        self.write_referrers(subject, &after)
    }

    /// The manifests attached to `subject`, in the order in which they came. None can be removed while this store value
    /// lives.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<BlobDescriptor>, StoreError> {
        let referrers = read(self.layout(), subject)?;
        let mut there = Vec::with_capacity(referrers.len());
        for referrer in referrers {
            // Asking for it takes it into use.
            if self.blob_size(&referrer.digest)?.is_some() {
                there.push(referrer);
            }
        }
        Ok(there)
    }

    /// Keeps others from changing what is attached until the file is closed.
    fn changing_referrers(&self) -> Result<File, StoreError> {
        let path = self.layout().directory("locks").join("referrers");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.at("open", &path)?;
        lock(&file, &path, true)?;
        Ok(file)
    }

    fn write_referrers(&self, subject: &Digest, referrers: &[BlobDescriptor]) -> Result<(), StoreError> {
        if referrers.len() > REFERRERS_MAX {
            return Err(StoreError::invalid_text(&subject.to_string(), "a subject", "too much is attached to it"));
        }
        let directory = self.layout().directory("referrers");
        if !directory.exists() {
            // Stores of earlier versions have none.
            make_directory(&directory)?;
        }
        let path = self.layout().referrers(subject);
        let checksum = sum(subject, referrers);
        let file = ReferrersFile { subject: subject.clone(), referrers: referrers.to_vec(), checksum };
        let text = serde_json::to_vec(&file)
            .map_err(|error| StoreError::Damaged { path: path.clone(), source: Box::new(error) })?;
        let mut temporary = Temporary::create(self.layout())?;
        temporary.file.write_all(&text).at("write", &temporary.path)?;
        temporary.file.sync_all().at("sync", &temporary.path)?;
        let no_removal = GcLock::shared(self.layout())?;
        temporary.publish(&path)?;
        drop(no_removal);
        sync_directory(&directory)
    }

    /// Removes what was attached to manifests that are gone. Damaged files go too: nothing but the names of attachments is
    /// in them.
    pub(crate) fn remove_stale_referrers(&self, _alone: &GcLock) -> Result<(), StoreError> {
        let directory = self.layout().directory("referrers");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("list", directory, error)),
        };
        for entry in entries {
            let path = entry.at("list", &directory)?.path();
            let subject = decode(&fs::read(&path).at("read", &path)?).map(|file| file.subject);
            if !subject.is_ok_and(|subject| self.layout().blob(&subject).exists()) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }
}

/// What is attached to `subject`. A damaged file is an error, so that nothing is removed that it names.
pub(crate) fn read(layout: &Layout, subject: &Digest) -> Result<Vec<BlobDescriptor>, StoreError> {
    let path = layout.referrers(subject);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX).read_to_end(&mut bytes).at("read", &path)?;
    match decode(&bytes) {
        Ok(file) if file.subject == *subject => Ok(file.referrers),
        Ok(_) => Err(StoreError::Damaged { path, source: "it is about another manifest".into() }),
        Err(source) => Err(StoreError::Damaged { path, source }),
    }
}

/// Whether a file of the directory holds what it should.
pub(crate) fn is_sound(layout: &Layout, path: &std::path::Path) -> Result<bool, StoreError> {
    let bytes = fs::read(path).at("read", path)?;
    Ok(decode(&bytes).is_ok_and(|file| layout.referrers(&file.subject) == path))
}

/// What the directory holds; empty where there is none.
pub(crate) fn listing(layout: &Layout) -> Result<Listing, StoreError> {
    let directory = layout.directory("referrers");
    let mut names = Vec::new();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        Err(error) => return Err(StoreError::io("list", directory, error)),
    };
    for entry in entries {
        let entry = entry.at("list", &directory)?;
        match entry.metadata() {
            Ok(found) => names.push((entry.file_name(), found.ino(), found.mtime(), found.mtime_nsec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("inspect", entry.path(), error)),
        }
    }
    names.sort();
    Ok(Listing(names))
}

fn decode(bytes: &[u8]) -> Result<ReferrersFile, Box<dyn std::error::Error + Send + Sync>> {
    let file: ReferrersFile = serde_json::from_slice(bytes)?;
    if file.checksum != sum(&file.subject, &file.referrers) {
        return Err("it does not fit its checksum".into());
    }
    Ok(file)
}

fn sum(subject: &Digest, referrers: &[BlobDescriptor]) -> String {
    let lines = referrers.iter().map(|referrer| {
        let BlobDescriptor { media_type, digest, size_bytes } = referrer;
        format!("\n{media_type} {digest} {size_bytes}")
    });
    let text = std::iter::once(subject.to_string()).chain(lines).collect::<String>();
    bake_oci::digest::to_hex(&checksum(&[text.as_bytes()]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;
    use crate::{FsckOptions, PruneOptions};

    fn everything() -> PruneOptions {
        PruneOptions { all: true, ..PruneOptions::default() }
    }

    #[test]
    fn referrers_stay_as_long_as_their_subject() {
        let test = TestStore::new();
        let image = test.image("one", &["l1"]);
        let statement = test.image("statement", &["said"]);
        let store = test.store.with_new_lease();
        store.tag("a:1", &image, 0).unwrap();
        let before = store.images().unwrap()[0].size_bytes;
        store.attach(&image.digest, std::slice::from_ref(&statement)).unwrap();
        store.attach(&image.digest, std::slice::from_ref(&statement)).unwrap();
        assert_eq!(store.referrers(&image.digest).unwrap(), std::slice::from_ref(&statement));
        // They are not part of the image.
        assert_eq!(store.images().unwrap()[0].size_bytes, before);
        drop(store);
        test.store.with_new_lease().prune(&everything()).unwrap();
        let store = test.store.with_new_lease();
        assert_eq!(store.referrers(&image.digest).unwrap(), std::slice::from_ref(&statement));
        assert!(store.read_small_blob(&Digest::of(b"said"), 100).unwrap().is_some());
        store.untag("a:1").unwrap();
        drop(store);
        test.store.with_new_lease().prune(&everything()).unwrap();
        let store = test.store.with_new_lease();
        assert!(store.blob_size(&statement.digest).unwrap().is_none());
        assert!(store.blob_size(&Digest::of(b"said")).unwrap().is_none());
        assert!(!store.layout().referrers(&image.digest).exists());
    }

    #[test]
    fn what_is_not_there_cannot_be_attached_and_what_is_damaged_is_not_believed() {
        let test = TestStore::new();
        let image = test.image("one", &["l1"]);
        let absent = BlobDescriptor { media_type: "m".into(), digest: Digest::of(b"no"), size_bytes: 2 };
        let refused = test.store.attach(&image.digest, std::slice::from_ref(&absent));
        assert!(matches!(refused, Err(StoreError::NotFound { .. })));
        assert!(matches!(
            test.store.attach(&absent.digest, std::slice::from_ref(&image)),
            Err(StoreError::NotFound { .. })
        ));
        let other = test.image("two", &["l2"]);
        test.store.attach(&image.digest, std::slice::from_ref(&other)).unwrap();
        let path = test.store.layout().referrers(&image.digest);
        let sound = fs::read_to_string(&path).unwrap();
        fs::write(&path, sound.replace(&other.digest.to_string(), &Digest::of(b"evil").to_string())).unwrap();
        assert!(matches!(test.store.referrers(&image.digest), Err(StoreError::Damaged { .. })));
        fs::write(&path, sound).unwrap();
        test.store.detach(&image.digest, &[other.digest]).unwrap();
        assert_eq!(test.store.referrers(&image.digest).unwrap(), []);
    }

    #[test]
    fn a_check_of_the_store_finds_and_removes_what_is_damaged() {
        let test = TestStore::new();
        let (image, other) = (test.image("one", &["l1"]), test.image("two", &["l2"]));
        test.store.attach(&image.digest, std::slice::from_ref(&other)).unwrap();
        let check = |repair| test.store.fsck(FsckOptions { repair, ..FsckOptions::default() }).unwrap();
        assert_eq!(check(false).problems, []);
        fs::write(test.store.layout().referrers(&image.digest), "{").unwrap();
        let report = check(false);
        assert!(report.problems.iter().any(|problem| problem.text.contains("attestations") && !problem.repaired));
        assert!(check(true).is_sound());
        assert_eq!(check(false).problems, []);
        assert_eq!(test.store.referrers(&image.digest).unwrap(), []);
    }
}
