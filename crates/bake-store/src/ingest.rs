//! Writing into the store: temporary files that become visible only when they are complete and on the disk.

use std::fs::{self, File, OpenOptions as FileOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bake_oci::digest::Algorithm;
use bake_oci::{Digest, Digester};

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::{Layout, sync_directory};
use crate::lease::Held;
use crate::lock::{GcLock, lock, try_lock};
use crate::store::Store;

/// No registry serves larger blobs; a source that never ends must not fill the disk for hours.
pub const BLOB_SIZE_MAX: u64 = 1 << 40;

/// How much is read at once when bytes are hashed.
pub(crate) const READ_SIZE: usize = 256 << 10;

/// How often a waiter looks whether another process has finished the same blob.
const WAIT: Duration = Duration::from_millis(20);

/// A locked file in `ingest/`; removed when dropped unless it was published or is to be kept.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    remove_on_drop: bool,
}

impl Temporary {
    pub(crate) fn create(layout: &Layout) -> Result<Self, StoreError> {
        // Nobody may clean up between the creation and the lock that says it is in use.
        let _no_removal = GcLock::shared(layout)?;
        let path = layout.random("ingest", "new-")?;
        let file =
            FileOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).at("create", &path)?;
        lock(&file, &path, true)?;
        Ok(Self { file, path, remove_on_drop: true })
    }

    /// Renames the file to `destination`, replacing what is there. Neither is synced here.
    pub(crate) fn publish(mut self, destination: &Path) -> Result<(), StoreError> {
        fs::rename(&self.path, destination).at("publish", destination)?;
        self.remove_on_drop = false;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.remove_on_drop
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "could not remove a temporary file");
        }
    }
}

/// A blob being written: hashed as it is written, visible only after [`Ingest::finish`].
///
/// Dropping it discards the bytes, except those of [`Store::resume_ingest`], which stay for the next attempt.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    temporary: Temporary,
    algorithm: Algorithm,
    digester: Digester,
    written_bytes: u64,
    limit_bytes: u64,
    resumable: Option<Digest>,
}

/// What [`Store::try_resume_ingest`] found.
#[derive(Debug)]
pub enum Resume {
    /// The blob is already complete; its size in bytes.
    Present(u64),
    /// The blob is to be written from [`Ingest::offset`] on.
    Ingest(Box<Ingest>),
    /// Another process or thread is writing it.
    Busy,
}

impl Store {
    /// Starts writing a blob of at most [`BLOB_SIZE_MAX`] bytes, to be named by its SHA-256 digest.
    pub fn ingest(&self) -> Result<Ingest, StoreError> {
        self.ingest_as(Algorithm::Sha256)
    }

    /// As [`Store::ingest`], for a blob that is to be named by a digest of this algorithm.
    pub fn ingest_as(&self, algorithm: Algorithm) -> Result<Ingest, StoreError> {
        Ok(Ingest {
            store: self.clone(),
            temporary: Temporary::create(self.layout())?,
            algorithm,
            digester: Digester::for_algorithm(algorithm),
            written_bytes: 0,
            limit_bytes: BLOB_SIZE_MAX,
            resumable: None,
        })
    }

    /// Continues (or starts) writing the blob `digest`, keeping what arrived if it is interrupted.
    ///
    /// The bytes of an earlier attempt are read once to continue their digest. While another process writes the same
    /// blob the answer is [`Resume::Busy`].
    pub fn try_resume_ingest(&self, digest: &Digest) -> Result<Resume, StoreError> {
        let path = self.layout().partial_blob(digest);
        loop {
            if let Some((_, size_bytes)) = self.open_blob(digest)? {
                return Ok(Resume::Present(size_bytes));
            }
            let no_removal = GcLock::shared(self.layout())?;
            let mut options = FileOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&path).at("open", &path)?;
            if !try_lock(&file, &path, true)? {
                return Ok(Resume::Busy);
            }
            drop(no_removal);
            // The last writer may have published this very file while we opened it.
            let current = fs::symlink_metadata(&path).ok();
            let ours = file.metadata().at("inspect", &path)?;
            if current.is_none_or(|current| current.ino() != ours.ino()) {
                continue;
            }
            let mut ingest = Ingest {
                store: self.clone(),
                temporary: Temporary { file, path, remove_on_drop: false },
                algorithm: digest.algorithm(),
                digester: Digester::for_algorithm(digest.algorithm()),
                written_bytes: 0,
                limit_bytes: BLOB_SIZE_MAX,
                resumable: Some(digest.clone()),
            };
            ingest.hash_what_is_there()?;
            return Ok(Resume::Ingest(Box::new(ingest)));
        }
    }

    /// As [`Store::try_resume_ingest`], but waits while another process writes the blob; never answers
    /// [`Resume::Busy`].
    pub fn resume_ingest(&self, digest: &Digest) -> Result<Resume, StoreError> {
        loop {
            match self.try_resume_ingest(digest)? {
                Resume::Busy => std::thread::sleep(WAIT),
                found => return Ok(found),
            }
        }
    }
}

impl Ingest {
    /// Refuses content longer than `limit_bytes`, such as the size a descriptor promises.
    #[must_use]
    pub fn with_limit(mut self, limit_bytes: u64) -> Self {
        self.limit_bytes = limit_bytes.min(BLOB_SIZE_MAX);
        self
    }

    /// How many bytes are there: where to continue.
    pub fn offset(&self) -> u64 {
        self.written_bytes
    }

    /// What has been written, for somebody who reads along. Nothing of it is verified.
    pub fn reopen(&self) -> Result<File, StoreError> {
        File::open(&self.temporary.path).at("open", &self.temporary.path)
    }

    /// Forgets what is there, for a source that cannot continue in the middle.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let Temporary { file, path, .. } = &mut self.temporary;
        file.set_len(0).at("truncate", &*path)?;
        file.rewind().at("rewind", &*path)?;
        self.digester = Digester::for_algorithm(self.algorithm);
        self.written_bytes = 0;
        Ok(())
    }

    /// Adds bytes to the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let after = self.written_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if after > self.limit_bytes {
            self.temporary.remove_on_drop = true;
            return Err(StoreError::TooLarge { what: self.name(), limit_bytes: self.limit_bytes });
        }
        if let Err(error) = self.temporary.file.write_all(bytes).at("write", &self.temporary.path) {
            // A full disk needs the space back more than a later attempt needs these bytes.
            self.temporary.remove_on_drop |= error.is_disk_full() || self.resumable.is_none();
            return Err(error);
        }
        self.digester.update(bytes);
        self.written_bytes = after;
        Ok(())
    }

    /// Checks the digest, syncs, and makes the blob visible under its digest. Returns the digest and the size in bytes.
    ///
    /// Bytes that are not `expected` are discarded, also those of a resumable ingest: they are of no use to anybody.
    pub fn finish(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        let actual = std::mem::take(&mut self.digester).finish();
        for expected in expected.into_iter().chain(self.resumable.as_ref()) {
            if *expected != actual {
                self.temporary.remove_on_drop = true;
                return Err(StoreError::DigestMismatch { expected: expected.clone(), actual });
            }
        }
        let Self { store, temporary, algorithm, written_bytes, .. } = self;
        let destination = store.layout().blob(&actual);
        temporary.file.set_permissions(Permissions::from_mode(0o444)).at("seal", &temporary.path)?;
        temporary.file.sync_all().at("sync", &temporary.path)?;
        let no_removal = GcLock::shared(store.layout())?;
        store.lease_ref().take(&no_removal, [Held::Blob(actual.clone())])?;
        temporary.publish(&destination)?;
        drop(no_removal);
        sync_directory(&store.layout().blobs(algorithm))?;
        Ok((actual, written_bytes))
    }

    fn hash_what_is_there(&mut self) -> Result<(), StoreError> {
        let Temporary { file, path, .. } = &mut self.temporary;
        self.written_bytes = hash_into(&mut self.digester, file).at("read", &*path)?;
        Ok(())
    }

    fn name(&self) -> String {
        self.resumable.as_ref().map_or_else(|| "a new blob".to_owned(), |digest| format!("blob {digest}"))
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let kind = match &error {
                    StoreError::DiskFull { .. } => io::ErrorKind::StorageFull,
                    StoreError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
                    StoreError::Io { source, .. } => source.kind(),
                    _ => io::ErrorKind::Other,
                };
                Err(io::Error::new(kind, error))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds everything that is left in `content` to `digester`; returns the number of bytes.
pub(crate) fn hash_into(digester: &mut Digester, content: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; READ_SIZE];
    let mut total = 0;
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                digester.update(&buffer[..count]);
                total += u64::try_from(count).unwrap_or(0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
