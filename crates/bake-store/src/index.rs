//! The index: one `SQLite` database in WAL mode that all processes share.
//!
//! It is opened when first needed (about 0.4 ms). Write transactions are `IMMEDIATE` and short, so that processes queue
//! for the write lock at once instead of failing half-way. `synchronous=NORMAL` keeps the file consistent after a power
//! loss but may lose the last commits, which costs a cache hit and never an image: tags are files of their own.
//!
//! Changing the tables breaks stores on disk: raise [`SCHEMA_VERSION`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::StoreError;
use crate::layout::{FORMAT_VERSION, Layout};
use crate::lock::{lock, open_lock_file};
use crate::snapshots::rows_of_directories;

/// The version of the tables below (`PRAGMA user_version`). A store of an older version is brought up to date when it is opened.
const SCHEMA_VERSION: i64 = 3;

/// How long a process waits for another one's write transaction before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// A log longer than this is copied into the index when a process that wrote leaves.
///
/// The first process to open the index reads the whole log (0.5 ms per MiB measured), which every run of bake would
/// pay; copying costs about 8 ms, mostly for syncing, so it is not done for a few pages. Nor is it left to `SQLite`,
/// which does it whenever the last process leaves.
const LOG_SIZE_MAX: u64 = 256 << 10;

/// The tables of version 1.
///
/// Instants are seconds since 1970; tree digests, keys and definitions are 32 bytes; other digests are text.
const SCHEMA_1: &str = "
CREATE TABLE snapshot (
    id TEXT PRIMARY KEY, tree BLOB NOT NULL, diff_id TEXT, tar_size INTEGER,
    size INTEGER NOT NULL, entries INTEGER NOT NULL, origin TEXT NOT NULL,
    boot_id TEXT NOT NULL, synced INTEGER NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX snapshot_by_diff_id ON snapshot (diff_id) WHERE diff_id IS NOT NULL;
CREATE INDEX snapshot_by_tree ON snapshot (tree);
CREATE INDEX snapshot_unsynced ON snapshot (boot_id) WHERE synced = 0;
CREATE TABLE record (
    id INTEGER PRIMARY KEY, definition BLOB NOT NULL, result BLOB NOT NULL, components BLOB NOT NULL,
    description TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX record_by_definition ON record (definition, created);
CREATE INDEX record_by_description ON record (description, created);
CREATE TABLE record_key (key BLOB PRIMARY KEY, record INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX record_key_by_record ON record_key (record);
CREATE TABLE record_snapshot (
    record INTEGER NOT NULL, position INTEGER NOT NULL, snapshot TEXT NOT NULL, PRIMARY KEY (record, position)
) WITHOUT ROWID;
CREATE INDEX record_snapshot_by_snapshot ON record_snapshot (snapshot);
CREATE TABLE compressed (
    diff_id TEXT NOT NULL, compression TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    media_type TEXT NOT NULL, PRIMARY KEY (diff_id, compression)
) WITHOUT ROWID;
CREATE INDEX compressed_by_digest ON compressed (digest);
CREATE TABLE remembered (
    space TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (space, name)
) WITHOUT ROWID;
";

/// What version 2 adds: what explains a miss, and the journal.
const SCHEMA_2: &str = "
DROP INDEX record_by_description;
ALTER TABLE record ADD COLUMN step TEXT NOT NULL DEFAULT '';
ALTER TABLE record ADD COLUMN inputs BLOB NOT NULL DEFAULT x'';
ALTER TABLE record ADD COLUMN selections BLOB NOT NULL DEFAULT x'';
CREATE INDEX record_by_step ON record (step, created);
CREATE TABLE evicted (
    id INTEGER PRIMARY KEY, definition BLOB NOT NULL, components BLOB NOT NULL, description TEXT NOT NULL,
    created INTEGER NOT NULL, step TEXT NOT NULL, inputs BLOB NOT NULL, selections BLOB NOT NULL,
    evicted INTEGER NOT NULL, evicted_by TEXT NOT NULL
);
CREATE INDEX evicted_by_definition ON evicted (definition, created);
CREATE INDEX evicted_by_step ON evicted (step, created);
CREATE INDEX evicted_by_time ON evicted (evicted);
CREATE TABLE selection (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, used INTEGER NOT NULL,
    paths BLOB NOT NULL
);
CREATE INDEX selection_by_use ON selection (used, size);
CREATE TABLE build (number INTEGER PRIMARY KEY AUTOINCREMENT, ended INTEGER NOT NULL, document BLOB NOT NULL);
";

/// What version 3 adds: what steps asked of their inputs.
const SCHEMA_3: &str = "
CREATE TABLE trace (
    number INTEGER PRIMARY KEY, outer_key BLOB NOT NULL, questions BLOB NOT NULL, size INTEGER NOT NULL,
    made INTEGER NOT NULL, used INTEGER NOT NULL, document BLOB NOT NULL, UNIQUE (outer_key, questions)
);
CREATE INDEX trace_by_use ON trace (used, size);
CREATE TABLE trace_key (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, trace INTEGER NOT NULL);
CREATE INDEX trace_key_by_trace ON trace_key (trace, number);
CREATE TABLE heavy (
    number INTEGER PRIMARY KEY, outer_key BLOB NOT NULL UNIQUE, noted INTEGER NOT NULL, seal BLOB NOT NULL
);
";

/// What each version adds to the one before, from version 1.
const SCHEMAS: [&str; 3] = [SCHEMA_1, SCHEMA_2, SCHEMA_3];

/// The lazily opened connection of this process.
pub(crate) struct Index {
    path: PathBuf,
    lock_path: PathBuf,
    snapshots: PathBuf,
    connection: Mutex<Option<Connection>>,
    written: AtomicBool,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Index {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            path: layout.index(),
            lock_path: layout.root().join("locks/index"),
            snapshots: layout.directory("snapshots"),
            connection: Mutex::new(None),
            written: AtomicBool::new(false),
        }
    }

    /// Runs reading statements. A single statement sees one state; several may see a newer state each.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = self.connect(&mut slot)?;
        work(connection).map_err(|error| self.error(action, error))
    }

    /// Runs statements in one write transaction: all of them happen, or none.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = self.connect(&mut slot)?;
        self.written.store(true, Ordering::Relaxed);
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error| self.error(action, error))
    }

    /// Whether this process has the index open.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Moves the content of the write-ahead log into the index and empties the log, as far as other readers allow.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.read("check-point", |connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    /// Shortens the log if it has become long enough to slow the next process down, unless somebody is in the way.
    pub(crate) fn tidy(&self) {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = slot.as_mut().filter(|_| self.written.load(Ordering::Relaxed)) else { return };
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_SIZE_MAX) {
            let shortened = connection
                .busy_timeout(Duration::ZERO)
                .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
                .and_then(|()| connection.busy_timeout(BUSY_TIMEOUT));
            if let Err(error) = shortened {
                tracing::debug!(%error, "could not shorten the index's log");
            }
        }
    }

    /// `SQLite`'s own check of the file; the problems it found, at most 20.
    pub(crate) fn integrity_problems(&self) -> Result<Vec<String>, StoreError> {
        self.read("check", |connection| {
            let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// Replaces the index with a new one; `discard` is given each old file.
    ///
    /// Whenever this is cut short, the next process finds either the old index, or none and makes the new one.
    pub(crate) fn replace(
        &self,
        mut discard: impl FnMut(&std::path::Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // What is only in the log would be missing in an old index that lost its log and is used once more. Where it cannot be
        // moved, the index is damaged anyway.
        let moved = self.connect(&mut slot).and_then(|connection| {
            let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            moved.map_err(|error| self.error("check-point", error))
        });
        if let Err(error) = moved {
            tracing::debug!(%error, "could not move the log into the index that is being replaced");
        }
        *slot = None;
        let file = open_lock_file(&self.lock_path)?;
        lock(&file, &self.lock_path, true)?;
        for suffix in ["-wal", "-shm", ""] {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            discard(std::path::Path::new(&name))?;
        }
        drop(file);
        self.connect(&mut slot).map(|_| ())
    }

    fn connect<'a>(&self, slot: &'a mut Option<Connection>) -> Result<&'a mut Connection, StoreError> {
        match slot {
            Some(connection) => Ok(connection),
            None => Ok(slot.insert(self.open()?)),
        }
    }

    fn open(&self) -> Result<Connection, StoreError> {
        const ACTION: &str = "open the tables";
        let fail = |error| self.error(ACTION, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match Connection::open_with_flags(&self.path, flags) {
            Ok(connection) => connection,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => self.create()?,
            Err(error) => return Err(fail(error)),
        };
        connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
        let mut version = schema_version(&connection).map_err(fail)?;
        if version == 0 {
            // Another process is creating it, or died while doing so.
            connection = self.create()?;
            version = schema_version(&connection).map_err(fail)?;
        }
        if (1..SCHEMA_VERSION).contains(&version) {
            version =
                Self::migrate(&mut connection).map_err(|error| self.error("bring the tables up to date", error))?;
        }
        if version != SCHEMA_VERSION {
            return Err(StoreError::UnknownVersion {
                path: self.path.clone(),
                found: format!("{FORMAT_VERSION} with index version {version}"),
                supported: FORMAT_VERSION,
            });
        }
        connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(fail)?;
        // See `LOG_SIZE_MAX`.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        Ok(connection)
    }

    /// Creates the tables, one process at a time (changing to WAL mode does not wait for a busy file by itself).
    ///
    /// The layers that are there already (when an index got lost) are entered in the same transaction.
    fn create(&self) -> Result<Connection, StoreError> {
        const ACTION: &str = "create the tables";
        let fail = |error| self.error(ACTION, error);
        let file = open_lock_file(&self.lock_path)?;
        lock(&file, &self.lock_path, true)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
        if schema_version(&connection).map_err(fail)? == 0 {
            // WAL needs memory shared between the processes, which network file systems cannot give.
            let mode = if is_network_file_system(&self.path) { "DELETE" } else { "WAL" };
            connection
                .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get::<_, String>(0))
                .map_err(fail)?;
            connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(fail)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
            SCHEMAS.iter().try_for_each(|schema| transaction.execute_batch(schema)).map_err(fail)?;
            for row in rows_of_directories(&self.snapshots)? {
                row.insert(&transaction).map_err(fail)?;
            }
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(fail)?;
            transaction.commit().map_err(fail)?;
        }
        Ok(connection)
    }

    /// Brings the tables of an older version up to date, in one transaction; returns the version they have then.
    fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        let version = schema_version(&transaction)?;
        let Some(known) = usize::try_from(version).ok().filter(|version| (1..SCHEMAS.len()).contains(version)) else {
            return Ok(version);
        };
        SCHEMAS.iter().skip(known).try_for_each(|schema| transaction.execute_batch(schema))?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        Ok(SCHEMA_VERSION)
    }

    fn error(&self, action: &'static str, error: rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        // The memory shared between the processes is a file too; `SQLite` has no word for a full disk there.
        let no_room_to_share =
            error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        match error.sqlite_error_code() {
            _ if no_room_to_share => StoreError::DiskFull { action, path, source: Box::new(error) },
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { action, path, source: Box::new(error) },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::IndexBusy { path, waited_s: BUSY_TIMEOUT.as_secs() }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::IndexDamaged { path, source: Box::new(error) }
            }
            _ => StoreError::Index { action, path, source: Box::new(error) },
        }
    }
}

fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn is_network_file_system(path: &std::path::Path) -> bool {
    // statfs(2): NFS, SMB, SMB2, CIFS, 9P, AFS, Ceph.
    const NETWORK: [u32; 7] = [0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x0102_1997, 0x5346_414F, 0x00C3_6400];
    let directory = path.parent().unwrap_or(path);
    rustix::fs::statfs(directory).is_ok_and(|file_system| {
        NETWORK.iter().any(|magic| i128::from(file_system.f_type) & 0xFFFF_FFFF == i128::from(*magic))
    })
}

/// Deletes the rows of `table` that were of no use for the longest time, as far as all together have more than `limit_bytes`.
/// `delete` deletes the row of a number.
pub(crate) fn delete_surplus(
    connection: &Connection,
    table: &str,
    limit_bytes: i64,
    delete: impl Fn(i64) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sum = format!("SELECT coalesce(sum(size), 0) FROM {table}");
    let size: i64 = connection.prepare_cached(&sum)?.query_row([], |row| row.get(0))?;
    let mut excess = size - limit_bytes;
    let mut oldest =
        connection.prepare_cached(&format!("SELECT number, size FROM {table} ORDER BY used, number LIMIT 1"))?;
    while excess > 0 {
        let row: Option<(i64, i64)> = oldest.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((number, size)) = row else { break };
        delete(number)?;
        excess -= size.max(1);
    }
    Ok(())
}

/// An unsigned number as `SQLite` stores it; sizes never reach 2^63.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The number that [`to_sql`] stored.
pub(crate) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The text of a column as a value that has a text form; a row that does not hold one is damaged.
pub(crate) fn parse_column<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::{OPTIONS, TestStore};

    fn tables(store: &crate::Store) -> Vec<String> {
        let read = store.index().read("test", |connection| {
            let mut statement =
                connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?;
            statement.query_map([], |row| row.get(0))?.collect()
        });
        read.unwrap()
    }

    #[test]
    fn stores_of_earlier_versions_are_brought_up_to_date() {
        for version in 1..SCHEMA_VERSION {
            brought_up_to_date(version);
        }
    }

    fn brought_up_to_date(version: i64) {
        let fresh = tables(&TestStore::new().store);
        let test = TestStore::new();
        let (root, path) = (test.store.root().to_owned(), test.store.layout().index());
        drop(test.store);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        let old = Connection::open(&path).unwrap();
        old.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)).unwrap();
        old.execute_batch(SCHEMA_1).unwrap();
        old.execute_batch("INSERT INTO record VALUES (1, zeroblob(32), x'7b7d', x'5b5d', 'RUN x', 5, 5)").unwrap();
        old.execute_batch("INSERT INTO record_key VALUES (zeroblob(32), 1)").unwrap();
        for schema in SCHEMAS.iter().take(usize::try_from(version).unwrap()).skip(1) {
            old.execute_batch(schema).unwrap();
        }
        old.pragma_update(None, "user_version", version).unwrap();
        drop(old);
        // Several processes find it old at the same time.
        let stores: Vec<_> = (0..4).map(|_| crate::Store::open(&root, OPTIONS).unwrap()).collect();
        std::thread::scope(|scope| {
            for store in &stores {
                scope.spawn(|| assert_eq!(store.journal().unwrap(), []));
            }
        });
        assert_eq!(tables(&stores[0]), fresh);
        let record = stores[1].cache_lookup(&bake_oci::CacheKey([0; 32])).unwrap().unwrap();
        assert_eq!((record.result.as_slice(), record.created_unix_s), (&b"{}"[..], 5));
        let past = stores[2].past_records(&bake_oci::DefinitionDigest([0; 32]), "RUN x", "RUN ", &|_| false).unwrap();
        assert_eq!(past[0].components, b"[]");
    }
}
