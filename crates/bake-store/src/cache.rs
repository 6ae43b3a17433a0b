//! Cache records: which result a cache key had, and why.

use bake_oci::{CacheKey, DefinitionDigest, DiffId, Digest, SnapshotId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::index::{from_sql, parse_column, to_sql};
use crate::layout::now_unix_s;
use crate::lease::Held;
use crate::lock::GcLock;
use crate::past::{RecordNotes, evict_record, insert_selections, names_of};
use crate::seal::{seal_result, seal_text, unseal_result, unseal_text};
use crate::store::Store;
use crate::tags::BlobDescriptor;

/// A step has one key per recorded dependence set; more than this is a bug of the caller.
const KEYS_MAX: usize = 64;

/// An image has at most 4096 layers.
const SNAPSHOTS_MAX: usize = 4096;

/// A result names layers and an image config; a key's components are one line per input path.
const PART_SIZE_MAX: usize = 16 << 20;

/// A step's text may hold a whole heredoc; the description is its first line or so.
const DESCRIPTION_SIZE_MAX: usize = 16 << 10;

/// How many records of one definition are listed.
const OF_DEFINITION_MAX: i64 = 16;

/// The stored result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The keys under which it is found; one per dependence set.
    pub keys: Vec<CacheKey>,
    /// The identity of the step's definition.
    pub definition: DefinitionDigest,
    /// The result in the caller's own form.
    pub result: Vec<u8>,
    /// The snapshots that must exist for the result to be of use, base first.
    pub snapshots: Vec<SnapshotId>,
    /// The key by component in the caller's own form, to explain a miss.
    pub components: Vec<u8>,
    /// The step's text, for people.
    pub description: String,
    /// When the step was executed, in seconds since 1970.
    pub created_unix_s: i64,
    /// When the record was last of use, in seconds since 1970; kept to the hour.
    pub used_unix_s: i64,
}

impl Store {
    /// The record of a cache key; `None` if there is none, or if one of its snapshots is gone.
    ///
    /// Its snapshots cannot be removed while this store value lives.
    pub fn cache_lookup(&self, key: &CacheKey) -> Result<Option<CacheRecord>, StoreError> {
        let no_removal = GcLock::shared(self.layout())?;
        let boot_id = self.boot_id();
        let found = self.index().read("look up a cache key", |connection| {
            let row = connection
                .prepare_cached(
                    "SELECT r.id, definition, result, components, description, created, used
                     FROM record_key k JOIN record r ON r.id = k.record WHERE k.key = ?1",
                )?
                .query_row([key.0], record_from_row)
                .optional()?;
            let Some((id, mut record)) = row else { return Ok(None) };
            // Damage to the index must not lead from one key to the result of another.
            if !record.keys.is_empty() && !record.keys.contains(key) {
                return Ok(None);
            }
            let Some(used) = add_snapshots(connection, id, &mut record, boot_id)? else { return Ok(None) };
            add_keys(connection, id, &mut record)?;
            Ok(Some((id, record, used)))
        })?;
        let Some((id, record, snapshots_used)) = found else { return Ok(None) };
        let gone = |snapshot: &&SnapshotId| !self.layout().snapshot(snapshot).join("fs").is_dir();
        if let Some(snapshot) = record.snapshots.iter().find(gone) {
            tracing::debug!(%key, %snapshot, "a cache record's snapshot is gone");
            return Ok(None);
        }
        self.lease_ref().take(&no_removal, record.snapshots.iter().cloned().map(Held::Snapshot))?;
        self.note_record_use(id, record.used_unix_s);
        for (snapshot, used) in record.snapshots.iter().zip(snapshots_used) {
            self.note_snapshot_use(snapshot, used);
        }
        Ok(Some(record))
    }

    /// Stores a record under all its keys. Keys that had another record have this one now.
    ///
    /// Every snapshot it names must be in the store.
    pub fn cache_record(&self, record: &CacheRecord) -> Result<(), StoreError> {
        self.cache_record_with(record, &RecordNotes::default())
    }

    /// As [`Store::cache_record`], with what explains a later miss.
    pub fn cache_record_with(&self, record: &CacheRecord, notes: &RecordNotes) -> Result<(), StoreError> {
        check(record)?;
        check_notes(record, notes)?;
        let _no_removal = GcLock::shared(self.layout())?;
        let missing = self.index().write("add a cache record", |connection| {
            for snapshot in &record.snapshots {
                let known =
                    connection.prepare_cached("SELECT 1 FROM snapshot WHERE id = ?1")?.exists([snapshot.as_str()])?;
                if !known {
                    return Ok(Some(snapshot.clone()));
                }
            }
            insert(connection, record, notes)?;
            Ok(None)
        })?;
        match missing {
            Some(snapshot) => Err(StoreError::NotFound { what: format!("snapshot {snapshot}") }),
            None => Ok(()),
        }
    }

    /// The newest records of a step's definition, newest first, at most 16.
    ///
    /// They may be unusable: their snapshots are neither checked nor held.
    pub fn cache_records_for_definition(&self, definition: &DefinitionDigest) -> Result<Vec<CacheRecord>, StoreError> {
        self.index().read("list cache records", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT id, definition, result, components, description, created, used
                 FROM record WHERE definition = ?1 ORDER BY created DESC, id DESC LIMIT {OF_DEFINITION_MAX}"
            ))?;
            let rows = statement.query_map([definition.0], record_from_row)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter()
                .map(|(id, mut record)| {
                    add_snapshots(connection, id, &mut record, "")?;
                    add_keys(connection, id, &mut record)?;
                    Ok(record)
                })
                .collect()
        })
    }

    /// Forgets the record of a cache key, such as one whose result turned out to be unusable.
    pub fn forget_cache_key(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.index().write("forget a cache key", |connection| {
            connection.execute("DELETE FROM record_key WHERE key = ?1", [key.0])?;
            delete_keyless(connection)
        })
    }

    /// Notes that the layer `diff_id`, compressed as `compression` says, is the blob of `descriptor`.
    pub fn remember_blob(
        &self,
        diff_id: &DiffId,
        compression: &str,
        descriptor: &BlobDescriptor,
    ) -> Result<(), StoreError> {
        if compression.len() > 64 || descriptor.media_type.len() > 256 {
            return Err(StoreError::invalid_text(compression, "a compression or media type", "it is too long"));
        }
        self.index().write("remember a compressed layer", |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO compressed VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![
                    diff_id.to_string(),
                    compression,
                    descriptor.digest.to_string(),
                    to_sql(descriptor.size_bytes),
                    seal_text(&form(diff_id, compression, descriptor), &descriptor.media_type),
                ])
                .map(|_| ())
        })
    }

    /// The compressed form of a layer, if its blob is in the store (and it then stays there while this value lives).
    pub fn blob_for(&self, diff_id: &DiffId, compression: &str) -> Result<Option<BlobDescriptor>, StoreError> {
        let Some(descriptor) = self.known_blob_for(diff_id, compression)? else { return Ok(None) };
        let size_bytes = self.blob_size(&descriptor.digest)?;
        Ok(size_bytes.filter(|size| *size == descriptor.size_bytes).map(|_| descriptor))
    }

    /// The compressed form of a layer as last seen, even if its blob is not in the store: a registry may have it.
    pub fn known_blob_for(&self, diff_id: &DiffId, compression: &str) -> Result<Option<BlobDescriptor>, StoreError> {
        self.index()
            .read("look up a compressed layer", |connection| {
                connection
                    .prepare_cached(
                        "SELECT digest, size, media_type FROM compressed WHERE diff_id = ?1 AND compression = ?2",
                    )?
                    .query_row(params![diff_id.to_string(), compression], |row| {
                        let Ok(digest) = parse_column(row, 0) else { return Ok(None) };
                        let size_bytes = from_sql(row.get(1)?);
                        let mut descriptor = BlobDescriptor { digest, size_bytes, media_type: String::new() };
                        let (media_type, sound) =
                            unseal_text(&form(diff_id, compression, &descriptor), &row.get::<_, String>(2)?);
                        descriptor.media_type = media_type;
                        // A damaged row counts as absent: the layer is compressed again.
                        Ok(sound.then_some(descriptor))
                    })
                    .optional()
            })
            .map(Option::flatten)
    }

    /// The diff ID of the layer that the compressed blob `digest` holds, if it was remembered.
    pub fn diff_id_of_blob(&self, digest: &Digest) -> Result<Option<DiffId>, StoreError> {
        self.index().read("look up a compressed layer", |connection| {
            connection
                .prepare_cached("SELECT diff_id FROM compressed WHERE digest = ?1 LIMIT 1")?
                .query_row([digest.to_string()], |row| parse_column(row, 0))
                .optional()
        })
    }
}

/// What the media type of a compressed layer is sealed with.
pub(crate) fn form(diff_id: &DiffId, compression: &str, descriptor: &BlobDescriptor) -> String {
    format!("{diff_id} {compression} {} {}", descriptor.digest, descriptor.size_bytes)
}

fn check(record: &CacheRecord) -> Result<(), StoreError> {
    let too_large = |what: &str, limit: usize| StoreError::TooLarge {
        what: format!(
            "the {what} of the cache record of `{}`",
            record.description.chars().take(80).collect::<String>()
        ),
        limit_bytes: u64::try_from(limit).unwrap_or(u64::MAX),
    };
    if record.keys.is_empty() || record.keys.len() > KEYS_MAX {
        return Err(StoreError::invalid_text(&record.description, "a cache record", "it has no key or too many keys"));
    }
    if record.snapshots.len() > SNAPSHOTS_MAX {
        return Err(StoreError::invalid_text(&record.description, "a cache record", "it has too many snapshots"));
    }
    if record.result.len() > PART_SIZE_MAX {
        return Err(too_large("result", PART_SIZE_MAX));
    }
    if record.components.len() > PART_SIZE_MAX {
        return Err(too_large("components", PART_SIZE_MAX));
    }
    if record.description.len() > DESCRIPTION_SIZE_MAX {
        return Err(too_large("description", DESCRIPTION_SIZE_MAX));
    }
    Ok(())
}

fn insert(connection: &Connection, record: &CacheRecord, notes: &RecordNotes) -> rusqlite::Result<()> {
    let used = if record.used_unix_s == 0 { now_unix_s() } else { record.used_unix_s };
    connection
        .prepare_cached(
            "INSERT INTO record
                 (definition, result, components, description, created, used, step, inputs, selections)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            record.definition.0,
            seal_result(&record.keys, &record.result),
            record.components,
            record.description,
            record.created_unix_s,
            used,
            notes.step,
            notes.inputs,
            names_of(&notes.selections),
        ])?;
    let id = connection.last_insert_rowid();
    insert_selections(connection, &notes.selections)?;
    let mut replaced = Vec::new();
    for key in &record.keys {
        let previous: Option<i64> = connection
            .prepare_cached("SELECT record FROM record_key WHERE key = ?1")?
            .query_row([key.0], |row| row.get(0))
            .optional()?;
        replaced.extend(previous);
        connection
            .prepare_cached("INSERT OR REPLACE INTO record_key (key, record) VALUES (?1, ?2)")?
            .execute(params![key.0, id])?;
    }
    let mut statement =
        connection.prepare_cached("INSERT INTO record_snapshot (record, position, snapshot) VALUES (?1, ?2, ?3)")?;
    for (position, snapshot) in record.snapshots.iter().enumerate() {
        statement.execute(params![id, i64::try_from(position).unwrap_or(i64::MAX), snapshot.as_str()])?;
    }
    for previous in replaced {
        let still_found =
            connection.prepare_cached("SELECT 1 FROM record_key WHERE record = ?1")?.exists([previous])?;
        if !still_found {
            drop_record(connection, previous)?;
        }
    }
    Ok(())
}

fn check_notes(record: &CacheRecord, notes: &RecordNotes) -> Result<(), StoreError> {
    let too_large = notes.step.len() > DESCRIPTION_SIZE_MAX
        || notes.inputs.len() > PART_SIZE_MAX
        || notes.selections.len() > KEYS_MAX;
    if too_large {
        return Err(StoreError::invalid_text(&record.description, "the notes of a cache record", "they are too long"));
    }
    Ok(())
}

/// Deletes one record and everything that hangs on it.
pub(crate) fn drop_record(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM record_key WHERE record = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM record_snapshot WHERE record = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM record WHERE id = ?1")?.execute([id])?;
    Ok(())
}

fn delete_keyless(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM record WHERE id NOT IN (SELECT record FROM record_key)")?;
    let ids = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    ids.into_iter().try_for_each(|id| evict_record(connection, id, "a build that could not use it"))
}

fn record_from_row(row: &Row<'_>) -> rusqlite::Result<(i64, CacheRecord)> {
    let (keys, result) = unseal_result(row.get(2)?);
    let record = CacheRecord {
        keys,
        definition: DefinitionDigest(row.get(1)?),
        result,
        snapshots: Vec::new(),
        components: row.get(3)?,
        description: row.get(4)?,
        created_unix_s: row.get(5)?,
        used_unix_s: row.get(6)?,
    };
    Ok((row.get(0)?, record))
}

/// Adds the record's snapshots. The answer is when each was used, or `None` if one of them is not to be trusted.
fn add_snapshots(
    connection: &Connection,
    id: i64,
    record: &mut CacheRecord,
    boot_id: &str,
) -> rusqlite::Result<Option<Vec<i64>>> {
    let mut statement = connection.prepare_cached(
        "SELECT rs.snapshot, s.used, s.synced, s.boot_id
         FROM record_snapshot rs LEFT JOIN snapshot s ON s.id = rs.snapshot WHERE rs.record = ?1 ORDER BY rs.position",
    )?;
    let mut rows = statement.query([id])?;
    let mut used = Some(Vec::new());
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let snapshot = SnapshotId::new(&name).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
        })?;
        record.snapshots.push(snapshot);
        let trusted = match row.get::<_, Option<bool>>(2)? {
            None => false,
            Some(synced) => synced || row.get_ref(3)?.as_str()? == boot_id,
        };
        match &mut used {
            Some(times) if trusted => times.push(row.get(1)?),
            _ => used = None,
        }
    }
    Ok(used)
}

fn add_keys(connection: &Connection, id: i64, record: &mut CacheRecord) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT key FROM record_key WHERE record = ?1 ORDER BY key")?;
    record.keys = statement.query_map([id], |row| row.get(0).map(CacheKey))?.collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    fn record(keys: &[&str], snapshots: &[&SnapshotId], result: &str) -> CacheRecord {
        let mut keys: Vec<_> = keys.iter().map(|key| CacheKey::of(key.as_bytes())).collect();
        keys.sort();
        CacheRecord {
            keys,
            definition: DefinitionDigest::of(b"RUN make"),
            result: result.into(),
            snapshots: snapshots.iter().map(|id| (*id).clone()).collect(),
            components: b"{}".to_vec(),
            description: "RUN make".into(),
            created_unix_s: 1000,
            used_unix_s: now_unix_s(),
        }
    }

    #[test]
    fn a_record_is_found_under_each_key_until_another_takes_it() {
        let test = TestStore::new();
        let a = test.publish("a", &[("file", "a")]);
        let b = test.publish("b", &[("file", "b")]);
        let first = record(&["k1", "k2"], &[&a, &b], "first");
        test.store.cache_record(&first).unwrap();
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"k1")).unwrap(), Some(first.clone()));
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"k2")).unwrap(), Some(first.clone()));
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"k3")).unwrap(), None);
        let second = record(&["k2"], &[], "second");
        test.store.cache_record(&second).unwrap();
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"k2")).unwrap(), Some(second.clone()));
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"k1")).unwrap().unwrap().result, b"first");
        let all = test.store.cache_records_for_definition(&first.definition).unwrap();
        assert_eq!(all.iter().map(|record| record.result.as_slice()).collect::<Vec<_>>(), [&b"second"[..], b"first"]);
        let count = || test.store.past_records(&first.definition, "", "", &|_| false).unwrap().len();
        assert_eq!(count(), 2);
        // With its last key the first record goes altogether.
        test.store.cache_record(&record(&["k1"], &[], "third")).unwrap();
        assert_eq!(count(), 2);
        test.store.forget_cache_key(&CacheKey::of(b"k1")).unwrap();
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"k1")).unwrap(), None);
    }

    #[test]
    fn a_record_whose_snapshot_is_gone_or_unsafe_is_a_miss() {
        let test = TestStore::new();
        let a = test.publish("a", &[("file", "a")]);
        let unknown = SnapshotId::new("unknown").unwrap();
        assert!(matches!(test.store.cache_record(&record(&["k"], &[&unknown], "")), Err(StoreError::NotFound { .. })));
        test.store.cache_record(&record(&["k"], &[&a], "")).unwrap();
        let key = CacheKey::of(b"k");
        assert!(test.store.cache_lookup(&key).unwrap().is_some());
        // As after a power loss: written in another boot, never synced.
        test.sql("UPDATE snapshot SET boot_id = 'other'");
        assert!(test.store.cache_lookup(&key).unwrap().is_none());
        test.sql("UPDATE snapshot SET synced = 1");
        assert!(test.store.cache_lookup(&key).unwrap().is_some());
        std::fs::remove_dir_all(test.store.layout().snapshot(&a)).unwrap();
        assert!(test.store.cache_lookup(&key).unwrap().is_none());
        test.sql("DELETE FROM snapshot");
        assert!(test.store.cache_lookup(&key).unwrap().is_none());
    }

    #[test]
    fn a_hit_holds_the_snapshots_and_counts_as_use() {
        let test = TestStore::new();
        let a = test.publish("a", &[("file", "a")]);
        test.store.cache_record(&record(&["k"], &[&a], "")).unwrap();
        test.sql("UPDATE record SET used = 5; UPDATE snapshot SET used = 5");
        let other = test.store.with_new_lease();
        assert_eq!(other.lease().items(), 0);
        other.cache_lookup(&CacheKey::of(b"k")).unwrap().unwrap();
        assert_eq!(other.lease().items(), 1);
        other.flush_uses().unwrap();
        let used = other.cache_lookup(&CacheKey::of(b"k")).unwrap().unwrap().used_unix_s;
        assert!((now_unix_s() - used) < 100);
    }

    #[test]
    fn damage_to_the_index_is_a_miss() {
        let test = TestStore::new();
        let a = test.publish("a", &[("file", "a")]);
        let b = test.publish("b", &[("file", "b")]);
        test.store.cache_record(&record(&["a"], &[&a], "{\"created\":17}")).unwrap();
        test.store.cache_record(&record(&["b"], &[&b], "b")).unwrap();
        let result = |key: &[u8]| test.store.cache_lookup(&CacheKey::of(key)).unwrap().map(|found| found.result);
        // A key that leads to the result of another.
        test.sql("UPDATE record_key SET record = (SELECT max(id) FROM record)");
        assert_eq!((result(b"a"), result(b"b")), (None, Some(b"b".to_vec())));
        // Another time in the result: nothing that anybody could read is left of it.
        test.sql("UPDATE record_key SET record = (SELECT min(id) FROM record)");
        assert_eq!(result(b"a"), Some(b"{\"created\":17}".to_vec()));
        test.sql("UPDATE record SET result = CAST(replace(CAST(result AS TEXT), '17', '16') AS BLOB)");
        assert_eq!(result(b"a").unwrap_or_default(), b"");
    }

    #[test]
    fn compressed_forms_are_known_by_diff_id() {
        let test = TestStore::new();
        let diff_id = DiffId(Digest::of(b"tar"));
        let (digest, size_bytes) = test.store.put_bytes(b"gzip").unwrap();
        let descriptor = BlobDescriptor { media_type: "layer".into(), digest: digest.clone(), size_bytes };
        test.store.remember_blob(&diff_id, "gzip", &descriptor).unwrap();
        assert_eq!(test.store.blob_for(&diff_id, "gzip").unwrap(), Some(descriptor.clone()));
        assert_eq!(test.store.blob_for(&diff_id, "zstd").unwrap(), None);
        assert_eq!(test.store.diff_id_of_blob(&digest).unwrap(), Some(diff_id.clone()));
        std::fs::remove_file(test.store.layout().blob(&digest)).unwrap();
        assert_eq!(test.store.blob_for(&diff_id, "gzip").unwrap(), None);
        assert_eq!(test.store.known_blob_for(&diff_id, "gzip").unwrap(), Some(descriptor));
    }
}
