//! Committed layer directories ("snapshots") and those being made.
//!
//! A snapshot is published by renaming its whole directory into `snapshots/ID`, so it is there completely or not at
//! all. Its files are not synced then: a sync per step would cost more than most steps. Instead its row carries the
//! identity of the boot in which it was written; until [`Store::sync_snapshots`] it is trusted in that boot only, and
//! after a crash of the machine it counts as absent.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bake_oci::{DiffId, SnapshotId, TreeDigest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::error::AtPath;
use crate::index::{from_sql, parse_column, to_sql};
use crate::layout::{Layout, make_directory, now_unix_s};
use crate::lease::Held;
use crate::lock::{GcLock, lock, open_lock_file};
use crate::seal::{checksum, seal_text, unseal_text};
use crate::store::Store;

/// `origin` is one line of text for people.
const ORIGIN_SIZE_MAX: usize = 4096;

/// `record.json` holds a dozen short fields.
const RECORD_SIZE_MAX: u64 = 64 << 10;

/// What is known of a committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its name.
    pub id: SnapshotId,
    /// What its layer holds.
    pub tree: TreeDigest,
    /// The digest of its layer's archive, once somebody computed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// The size of its layer's archive in bytes, known together with the diff ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_size_bytes: Option<u64>,
    /// The sum of the sizes of its files in bytes.
    pub size_bytes: u64,
    /// The number of its files, directories and other entries.
    pub entries: u64,
    /// Where it comes from, for people: the step's text or the image's name.
    pub origin: String,
}

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What is known of it.
    pub record: SnapshotRecord,
    /// Its layer directory, in overlay form.
    pub path: PathBuf,
    /// When it was published, in seconds since 1970.
    pub created_unix_s: i64,
}

impl Snapshot {
    /// What the files held when the layer was made, where the record names something else as its tree.
    pub fn noted_content(&self) -> Result<Option<TreeDigest>, StoreError> {
        let Some(directory) = self.path.parent() else { return Ok(None) };
        Ok(read_record(directory)?.and_then(|file| file.content))
    }
}

/// What publishing a snapshot came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The snapshot that is in the store now.
    pub snapshot: Snapshot,
    /// Whether it was there already (made by this or another process); what was to be published is then in the trash.
    pub already_there: bool,
}

/// A layer directory being made, for this process alone; goes to the trash when dropped.
#[derive(Debug)]
pub struct ActiveSnapshot {
    store: Store,
    path: PathBuf,
    fs: PathBuf,
    work: PathBuf,
    _lock: File,
    published: bool,
    /// Whether it is the root of a failed step, which stays when this is dropped.
    kept: bool,
    content: Option<TreeDigest>,
}

impl ActiveSnapshot {
    /// The root of a failed step at `path`, opened again.
    pub(crate) fn of_kept(store: &Store, path: PathBuf, lock: File) -> Self {
        let (fs, work) = (path.join("fs"), path.join("work"));
        Self { store: store.clone(), path, fs, work, _lock: lock, published: false, kept: true, content: None }
    }

    /// Whether it stays when it is dropped.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// The directory that holds everything of it.
    pub(crate) fn directory(&self) -> &Path {
        &self.path
    }

    /// Says that its directory was renamed, and stays when this is dropped.
    pub(crate) fn moved_to(&mut self, path: PathBuf) {
        (self.fs, self.work) = (path.join("fs"), path.join("work"));
        self.path = path;
        self.kept = true;
    }

    /// The directory that becomes the layer (overlay's upper directory); empty at first, mode 0755.
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// Notes what the files hold, for snapshots whose record names something else as their tree. A check of the store then
    /// compares the files with this.
    pub fn set_content(&mut self, content: TreeDigest) {
        self.content = Some(content);
    }

    /// Overlay's work directory; never used for a second mount.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        if !self.published
            && !self.kept
            && let Err(error) = self.store.layout().move_to_trash(&self.path)
        {
            tracing::debug!(%error, "could not discard a layer directory");
        }
    }
}

/// `snapshots/ID/record.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RecordFile {
    #[serde(flatten)]
    pub(crate) record: SnapshotRecord,
    pub(crate) boot_id: String,
    pub(crate) created_unix_s: i64,
    /// What the files hold, where `tree` stands for something else (layers of images).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<TreeDigest>,
    /// Of everything else; absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
}

impl RecordFile {
    fn expected_checksum(&self) -> String {
        let content = self.content.map_or_else(String::new, |content| content.to_string());
        let created = self.created_unix_s.to_string();
        let place = place_of_row(&self.record, self.created_unix_s);
        let parts = [&place, &self.record.origin, &self.boot_id, &content, &created];
        bake_oci::digest::to_hex(&checksum(&parts.map(String::as_bytes)))
    }

    /// Whether the file fits its checksum, if it has one.
    fn is_sound(&self) -> bool {
        self.checksum.as_ref().is_none_or(|checksum| *checksum == self.expected_checksum())
    }
}

/// What the origin of a row is sealed with: everything that decides about images.
fn place_of_row(record: &SnapshotRecord, created_unix_s: i64) -> String {
    let SnapshotRecord { id, tree, diff_id, tar_size_bytes, size_bytes, entries, .. } = record;
    let diff_id = diff_id.as_ref().map_or_else(String::new, ToString::to_string);
    format!("{id} {tree} {diff_id} {tar_size_bytes:?} {size_bytes} {entries} {created_unix_s}")
}

/// A row of the table `snapshot`.
#[derive(Debug)]
pub(crate) struct SnapshotRow {
    pub(crate) record: SnapshotRecord,
    pub(crate) boot_id: String,
    pub(crate) synced: bool,
    pub(crate) created_unix_s: i64,
    pub(crate) used_unix_s: i64,
    /// Whether the row fits its seal.
    pub(crate) sound: bool,
}

/// `origin` carries the seal of the row.
const COLUMNS: &str = "id, tree, diff_id, tar_size, size, entries, origin, boot_id, synced, created, used";

impl SnapshotRow {
    /// Reads a row selected with [`COLUMNS`]. A row that was damaged so much that it has no name is an error.
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let id: String = row.get(0)?;
        let id = SnapshotId::new(&id).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
        })?;
        let mut sound = true;
        let mut or_damaged = |valid: bool| sound &= valid;
        let diff_id = if row.get_ref(2)? == rusqlite::types::ValueRef::Null {
            None
        } else {
            let parsed = parse_column(row, 2);
            or_damaged(parsed.is_ok());
            parsed.ok()
        };
        let tree = row.get(1);
        or_damaged(tree.is_ok());
        let mut record = SnapshotRecord {
            id,
            tree: TreeDigest(tree.unwrap_or_default()),
            diff_id,
            tar_size_bytes: row.get::<_, Option<i64>>(3)?.map(from_sql),
            size_bytes: from_sql(row.get(4)?),
            entries: from_sql(row.get(5)?),
            origin: String::new(),
        };
        let created_unix_s = row.get(9)?;
        // Not text any more: neither is it sealed then.
        let (origin, fits) = match row.get::<_, String>(6) {
            Ok(sealed) => unseal_text(&place_of_row(&record, created_unix_s), &sealed),
            Err(_) => (String::new(), false),
        };
        or_damaged(fits);
        record.origin = origin;
        Ok(Self { record, boot_id: row.get(7)?, synced: row.get(8)?, created_unix_s, used_unix_s: row.get(10)?, sound })
    }

    /// Whether the files behind the row can be relied on.
    pub(crate) fn is_trusted(&self, boot_id: &str) -> bool {
        self.sound && (self.synced || self.boot_id == boot_id)
    }

    /// Adds the row, or replaces the one with its name.
    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let SnapshotRecord { id, tree, diff_id, tar_size_bytes, size_bytes, entries, origin } = &self.record;
        let origin = seal_text(&place_of_row(&self.record, self.created_unix_s), origin);
        connection
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO snapshot ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"
            ))?
            .execute(params![
                id.as_str(),
                tree.0,
                diff_id.as_ref().map(ToString::to_string),
                tar_size_bytes.map(to_sql),
                to_sql(*size_bytes),
                to_sql(*entries),
                origin,
                self.boot_id,
                self.synced,
                self.created_unix_s,
                self.used_unix_s,
            ])
            .map(|_| ())
    }

    fn into_snapshot(self, layout: &Layout) -> Snapshot {
        let path = layout.snapshot(&self.record.id).join("fs");
        Snapshot { record: self.record, path, created_unix_s: self.created_unix_s }
    }
}

/// All rows of the table `snapshot` that have a name, sound or not.
pub(crate) fn all_rows(connection: &Connection) -> rusqlite::Result<Vec<SnapshotRow>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM snapshot"))?;
    let rows = statement.query_map([], |row| Ok(SnapshotRow::from_row(row).ok()))?;
    rows.filter_map(Result::transpose).collect()
}

impl Store {
    /// Makes an empty layer directory with a fresh work directory.
    pub fn begin_snapshot(&self) -> Result<ActiveSnapshot, StoreError> {
        let no_removal = GcLock::shared(self.layout())?;
        let path = self.layout().random("active", "")?;
        let (fs_path, work) = (path.join("fs"), path.join("work"));
        DirBuilder::new().mode(0o700).create(&path).at("create", &path)?;
        let lock_path = path.join("lock");
        let file = open_lock_file(&lock_path)?;
        lock(&file, &lock_path, true)?;
        drop(no_removal);
        let active = ActiveSnapshot {
            store: self.clone(),
            path,
            fs: fs_path,
            work,
            _lock: file,
            published: false,
            kept: false,
            content: None,
        };
        make_directory(&active.fs)?;
        // The mode of an upper directory is the mode of `/` in the container; the umask must not decide it.
        fs::set_permissions(&active.fs, Permissions::from_mode(0o755)).at("set the mode of", &active.fs)?;
        make_directory(&active.work)?;
        Ok(active)
    }

    /// Publishes a layer directory under the record's name.
    ///
    /// Overlay mounts of it must be gone. If a snapshot of that name is there already, that one is the result and the
    /// new directory goes to the trash. Nothing is synced: see [`Store::sync_snapshots`].
    pub fn publish_snapshot(&self, active: ActiveSnapshot, record: SnapshotRecord) -> Result<Published, StoreError> {
        if record.origin.len() > ORIGIN_SIZE_MAX {
            return Err(StoreError::invalid_text(&record.origin, "a snapshot's origin", "it is too long"));
        }
        let mut active = active;
        self.layout().move_to_trash(&active.work)?;
        if std::mem::take(&mut active.kept) {
            crate::kept::unmark(&active.path)?;
        }
        let now = now_unix_s();
        let file = RecordFile {
            record,
            boot_id: self.boot_id().to_owned(),
            created_unix_s: now,
            content: active.content,
            checksum: None,
        };
        let no_removal = GcLock::shared(self.layout())?;
        write_record(self.layout(), &active.path, &file)?;
        drop(no_removal);
        let RecordFile { record, boot_id, .. } = file;
        let row = SnapshotRow { record, boot_id, synced: false, created_unix_s: now, used_unix_s: now, sound: true };
        let destination = self.layout().snapshot(&row.record.id);
        loop {
            let no_removal = GcLock::shared(self.layout())?;
            if let Some(snapshot) = self.existing(&no_removal, &row.record)? {
                return Ok(Published { snapshot, already_there: true });
            }
            let note = Publication::begin(&no_removal, self.layout(), &row.record.id)?;
            match fs::rename(&active.path, &destination) {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) =>
                {
                    note.end(&no_removal)?;
                    drop(no_removal);
                    self.discard_unusable(&row.record.id)?;
                    continue;
                }
                Err(error) => return Err(StoreError::io("publish", destination, error)),
            }
            active.published = true;
            self.lease_ref().take(&no_removal, [Held::Snapshot(row.record.id.clone())])?;
            self.index().write("add a snapshot", |connection| row.insert(connection))?;
            note.end(&no_removal)?;
            drop(no_removal);
            // The name of the lock file would otherwise stay in the snapshot for good.
            let lock_path = destination.join("lock");
            fs::remove_file(&lock_path).at("remove", &lock_path)?;
            return Ok(Published { snapshot: row.into_snapshot(self.layout()), already_there: false });
        }
    }

    /// The committed snapshot `id`; `None` if it is absent or was lost in a crash of the machine.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        let no_removal = GcLock::shared(self.layout())?;
        let row = self.index().read("look up a snapshot", |connection| row_of(connection, id))?;
        self.take_into_use(&no_removal, row)
    }

    /// The committed snapshots whose layer archive has this diff ID.
    pub fn snapshots_by_diff_id(&self, diff_id: &DiffId) -> Result<Vec<Snapshot>, StoreError> {
        let text = diff_id.to_string();
        self.select("diff_id = ?1", &text)
    }

    /// The committed snapshots whose layer holds this tree.
    pub fn snapshots_by_tree(&self, tree: &TreeDigest) -> Result<Vec<Snapshot>, StoreError> {
        self.select("tree = ?1", &tree.0.as_slice())
    }

    /// Notes the diff ID of a snapshot's layer archive and the archive's size in bytes.
    pub fn set_diff_id(&self, id: &SnapshotId, diff_id: &DiffId, tar_size_bytes: u64) -> Result<(), StoreError> {
        let no_removal = GcLock::shared(self.layout())?;
        let row = self.index().write("note a diff ID", |connection| {
            let Some(mut row) = row_of(connection, id)?.filter(|row| row.sound) else { return Ok(None) };
            row.record.diff_id = Some(diff_id.clone());
            row.record.tar_size_bytes = Some(tar_size_bytes);
            row.insert(connection)?;
            Ok(Some(row))
        })?;
        let Some(row) = row else { return Err(StoreError::NotFound { what: format!("snapshot {id}") }) };
        let directory = self.layout().snapshot(id);
        let content = read_record(&directory)?.and_then(|file| file.content);
        let SnapshotRow { record, boot_id, created_unix_s, .. } = row;
        let file = RecordFile { record, boot_id, created_unix_s, content, checksum: None };
        let written = write_record(self.layout(), &directory, &file);
        drop(no_removal);
        written
    }

    /// The usable snapshot that is already published under the record's name.
    fn existing(&self, no_removal: &GcLock, record: &SnapshotRecord) -> Result<Option<Snapshot>, StoreError> {
        let id = &record.id;
        let row = self.index().read("look up a snapshot", |connection| row_of(connection, id))?;
        let row = match row {
            Some(row) => Some(row),
            // Its publisher has renamed it but not added the row yet, or was killed in between.
            None => self.adopt(id)?,
        };
        let snapshot = self.take_into_use(no_removal, row)?;
        if let (Some(snapshot), Some(diff_id), Some(tar_size)) = (&snapshot, &record.diff_id, record.tar_size_bytes)
            && snapshot.record.diff_id.is_none()
        {
            self.set_diff_id(id, diff_id, tar_size)?;
        }
        Ok(snapshot)
    }

    /// Adds the row of a published directory that has none.
    fn adopt(&self, id: &SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        let directory = self.layout().snapshot(id);
        let Some(row) = row_from_directory(&directory)? else { return Ok(None) };
        if row.record.id != *id || !row.is_trusted(self.boot_id()) {
            return Ok(None);
        }
        self.index().write("add a snapshot", |connection| row.insert(connection))?;
        Ok(Some(row))
    }

    /// Moves a directory that lost its claim (written before a crash, never synced) out of the way.
    fn discard_unusable(&self, id: &SnapshotId) -> Result<(), StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        let row = self.index().read("look up a snapshot", |connection| row_of(connection, id))?;
        let row = match row {
            Some(row) => Some(row),
            None => self.adopt(id)?,
        };
        let usable =
            row.is_some_and(|row| row.is_trusted(self.boot_id())) && self.layout().snapshot(id).join("fs").is_dir();
        if !usable {
            self.layout().move_to_trash(&self.layout().snapshot(id))?;
        }
        drop(alone);
        Ok(())
    }

    /// Takes away directories that were published by a process which did not live to add the row: no row will ever come.
    ///
    /// Nobody has such a directory in use, because what is looked up is looked up by its row.
    pub(crate) fn collect_unfinished_publications(&self, _alone: &GcLock) -> Result<(), StoreError> {
        let ingest = self.layout().directory("ingest");
        for entry in fs::read_dir(&ingest).at("list", &ingest)? {
            let entry = entry.at("list", &ingest)?;
            let name = entry.file_name();
            let note = name.to_str().and_then(|name| name.strip_prefix(PUBLICATION)?.split_once('-'));
            let Some((_, id)) = note else { continue };
            if let Ok(id) = SnapshotId::new(id)
                && self.index().read("look up a snapshot", |connection| row_of(connection, &id))?.is_none()
            {
                self.layout().move_to_trash(&self.layout().snapshot(&id))?;
            }
            fs::remove_file(entry.path()).at("remove", entry.path())?;
        }
        Ok(())
    }

    fn select(&self, condition: &str, value: &dyn rusqlite::ToSql) -> Result<Vec<Snapshot>, StoreError> {
        let no_removal = GcLock::shared(self.layout())?;
        let rows = self.index().read("look up snapshots", |connection| {
            let mut statement = connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM snapshot WHERE {condition} ORDER BY created, id"))?;
            let rows = statement.query_map([value], |row| Ok(SnapshotRow::from_row(row).ok()))?;
            rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        })?;
        let mut snapshots = Vec::new();
        for row in rows {
            snapshots.extend(self.take_into_use(&no_removal, Some(row))?);
        }
        Ok(snapshots)
    }

    /// Checks that the row's directory can be relied on and enters it into the lease.
    fn take_into_use(&self, no_removal: &GcLock, row: Option<SnapshotRow>) -> Result<Option<Snapshot>, StoreError> {
        let Some(row) = row.filter(|row| row.is_trusted(self.boot_id())) else { return Ok(None) };
        if !self.layout().snapshot(&row.record.id).join("fs").is_dir() {
            return Ok(None);
        }
        self.lease_ref().take(no_removal, [Held::Snapshot(row.record.id.clone())])?;
        self.note_snapshot_use(&row.record.id, row.used_unix_s);
        Ok(Some(row.into_snapshot(self.layout())))
    }
}

/// What the name of a note that a snapshot is being published begins with; random digits, `-` and the ID follow.
pub(crate) const PUBLICATION: &str = "publish-";

/// The note that a directory was renamed to its final name and has no row yet.
///
/// It is there only while its maker holds the lock against removal, so whoever holds that lock alone and finds one knows that
/// its maker failed or died.
struct Publication {
    path: PathBuf,
}

impl Publication {
    fn begin(_no_removal: &GcLock, layout: &Layout, id: &SnapshotId) -> Result<Self, StoreError> {
        let mut path = layout.random("ingest", PUBLICATION)?.into_os_string();
        path.push(format!("-{id}"));
        let path = PathBuf::from(path);
        File::create_new(&path).at("create", &path)?;
        Ok(Self { path })
    }

    fn end(self, _no_removal: &GcLock) -> Result<(), StoreError> {
        fs::remove_file(&self.path).at("remove", &self.path)
    }
}

pub(crate) fn row_of(connection: &Connection, id: &SnapshotId) -> rusqlite::Result<Option<SnapshotRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM snapshot WHERE id = ?1"))?
        .query_row([id.as_str()], |row| Ok(SnapshotRow::from_row(row).ok()))
        .optional()
        .map(Option::flatten)
}

/// Writes `record.json` by rename, unsynced: it is trusted only together with the layer directory.
///
/// The caller holds the lock against removal, for the temporary file is not locked.
pub(crate) fn write_record(layout: &Layout, directory: &Path, content: &RecordFile) -> Result<(), StoreError> {
    let path = directory.join("record.json");
    let temporary = layout.random("ingest", "record-")?;
    let sealed = RecordFile { checksum: Some(content.expected_checksum()), ..content.clone() };
    let text = serde_json::to_vec(&sealed)
        .map_err(|error| StoreError::Damaged { path: path.clone(), source: Box::new(error) })?;
    fs::write(&temporary, text).at("write", &temporary)?;
    fs::rename(&temporary, &path).at("publish", &path)
}

/// `record.json` of a snapshot; `None` if it is absent, damaged, or says nothing that makes sense.
pub(crate) fn read_record(directory: &Path) -> Result<Option<RecordFile>, StoreError> {
    use std::io::Read;
    let path = directory.join("record.json");
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(RECORD_SIZE_MAX).read_to_end(&mut bytes).at("read", &path)?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    // A crash of the machine may have left it empty or cut short; then the layer cannot be trusted either.
    Ok(serde_json::from_slice(&bytes).ok().filter(RecordFile::is_sound))
}

/// The rows of the directories below `snapshots`, as far as these say what they are.
pub(crate) fn rows_of_directories(snapshots: &Path) -> Result<Vec<SnapshotRow>, StoreError> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(snapshots).at("list", snapshots)? {
        let directory = entry.at("list", snapshots)?.path();
        let row = row_from_directory(&directory)?;
        rows.extend(row.filter(|row| directory.file_name().is_some_and(|name| name == row.record.id.as_str())));
    }
    Ok(rows)
}

/// What a snapshot directory says of itself; `None` if it is absent or says nothing that makes sense.
pub(crate) fn row_from_directory(directory: &Path) -> Result<Option<SnapshotRow>, StoreError> {
    let Some(RecordFile { record, boot_id, created_unix_s, .. }) = read_record(directory)? else { return Ok(None) };
    let synced = directory.join("synced").exists();
    Ok(Some(SnapshotRow { record, boot_id, synced, created_unix_s, used_unix_s: created_unix_s, sound: true }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_oci::Digest;

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn a_snapshot_is_published_found_and_marked_when_synced() {
        let test = TestStore::new();
        let store = &test.store;
        let active = store.begin_snapshot().unwrap();
        assert_eq!(fs::metadata(active.fs()).unwrap().permissions().mode() & 0o7777, 0o755);
        fs::write(active.fs().join("file"), "x").unwrap();
        // Overlay leaves this in the work directory.
        fs::create_dir(active.work().join("work")).unwrap();
        let record = TestStore::record("a");
        let published = store.publish_snapshot(active, record.clone()).unwrap();
        assert!(!published.already_there);
        assert_eq!(published.snapshot.record, record);
        let found = store.snapshot(&record.id).unwrap().unwrap();
        assert_eq!(found, published.snapshot);
        assert_eq!(fs::read_to_string(found.path.join("file")).unwrap(), "x");
        let directory = store.layout().snapshot(&record.id);
        let mut names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["fs", "record.json"]);
        assert_eq!(store.sync_snapshots().unwrap(), 1);
        assert_eq!(store.sync_snapshots().unwrap(), 0);
        assert!(directory.join("synced").exists());
        assert_eq!(store.snapshots_by_diff_id(&record.diff_id.clone().unwrap()).unwrap().len(), 1);
        assert_eq!(store.snapshots_by_tree(&record.tree).unwrap().len(), 1);
    }

    #[test]
    fn the_first_of_two_publishers_wins_and_a_diff_id_is_added_later() {
        let test = TestStore::new();
        let store = &test.store;
        let record = SnapshotRecord { diff_id: None, tar_size_bytes: None, ..TestStore::record("a") };
        let (first, second) = (store.begin_snapshot().unwrap(), store.begin_snapshot().unwrap());
        fs::write(first.fs().join("first"), "").unwrap();
        store.publish_snapshot(first, record.clone()).unwrap();
        let published = store.publish_snapshot(second, TestStore::record("a")).unwrap();
        assert!(published.already_there);
        assert!(published.snapshot.path.join("first").exists());
        let found = store.snapshot(&record.id).unwrap().unwrap();
        assert_eq!(found.record, TestStore::record("a"));
        let other = DiffId(Digest::of(b"other"));
        store.set_diff_id(&record.id, &other, 2048).unwrap();
        assert_eq!(store.snapshots_by_diff_id(&other).unwrap()[0].record.tar_size_bytes, Some(2048));
        let row = row_from_directory(&store.layout().snapshot(&record.id)).unwrap().unwrap();
        assert_eq!(row.record.diff_id, Some(other));
        let unknown = SnapshotId::new("unknown").unwrap();
        assert!(matches!(
            store.set_diff_id(&unknown, &record.diff_id.unwrap_or(DiffId(Digest::of(b""))), 1),
            Err(StoreError::NotFound { .. })
        ));
        store.empty_trash().unwrap();
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn a_directory_whose_publisher_died_before_it_added_the_row_is_collected() {
        let test = TestStore::new();
        let store = &test.store;
        let (dead, live) = (test.publish("dead", &[("file", "")]), test.publish("live", &[("file", "")]));
        test.sql("DELETE FROM snapshot WHERE id = 'dead'");
        for id in [&dead, &live] {
            fs::write(store.layout().directory("ingest").join(format!("publish-00ff-{id}")), "").unwrap();
        }
        store.empty_trash().unwrap();
        assert!(!store.layout().snapshot(&dead).exists());
        assert!(store.layout().snapshot(&live).exists());
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn what_a_crash_left_is_absent_and_replaced() {
        let test = TestStore::new();
        let store = &test.store;
        let id = test.publish("a", &[("torn", "")]);
        test.sql("UPDATE snapshot SET boot_id = 'before the crash'");
        assert_eq!(store.snapshot(&id).unwrap(), None);
        let active = store.begin_snapshot().unwrap();
        fs::write(active.fs().join("whole"), "x").unwrap();
        let published = store.publish_snapshot(active, TestStore::record("a")).unwrap();
        assert!(!published.already_there);
        assert!(published.snapshot.path.join("whole").exists());
        assert!(!published.snapshot.path.join("torn").exists());
    }

    #[test]
    fn a_directory_without_a_row_is_adopted_in_the_same_boot_only() {
        let test = TestStore::new();
        let store = &test.store;
        test.publish("a", &[("file", "")]);
        test.sql("DELETE FROM snapshot");
        let published = store.publish_snapshot(store.begin_snapshot().unwrap(), TestStore::record("a")).unwrap();
        assert!(published.already_there);
        assert!(published.snapshot.path.join("file").exists());
        // Another boot's, never synced; then one whose record is cut short.
        let path = store.layout().snapshot(&published.snapshot.record.id).join("record.json");
        for damage in [fs::read_to_string(&path).unwrap().replace(store.boot_id(), "other"), "{".to_owned()] {
            fs::write(&path, damage).unwrap();
            test.sql("DELETE FROM snapshot");
            let published = store.publish_snapshot(store.begin_snapshot().unwrap(), TestStore::record("a")).unwrap();
            assert!(!published.already_there);
        }
    }
}
