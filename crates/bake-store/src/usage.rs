//! What is in the store, how large it is, and what keeps it there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bake_oci::{DiffId, Digest, SnapshotId};

use crate::StoreError;
use crate::cache_mounts::slots;
use crate::error::AtPath;
use crate::file_hashes::tables;
use crate::image::Closure;
use crate::layout::Layout;
use crate::lease::{Held, held_by_anyone};
use crate::lock::GcLock;
use crate::snapshots::{SnapshotRow, all_rows};
use crate::store::Store;
use crate::tags::{Tag, read_tags};

/// The kinds of things that take space in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A manifest, config or layer blob.
    Blob,
    /// A layer directory.
    Snapshot,
    /// A cache record without a layer.
    CacheRecord,
    /// The directory of a `RUN --mount=type=cache`.
    CacheMount,
    /// The remembered file hashes of one build context.
    FileHashes,
}

impl ItemKind {
    /// The name as users write it in filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Snapshot => "snapshot",
            Self::CacheRecord => "record",
            Self::CacheMount => "cachemount",
            Self::FileHashes => "filehashes",
        }
    }
}

/// Why something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Nothing needs it; it only saves work.
    Cache,
    /// A tagged image has this layer as a blob too, so it can be unpacked again.
    UnpackedImage,
    /// A tagged image consists of it.
    Image,
    /// A running process uses it.
    InUse,
}

/// One thing that takes space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreItem {
    /// What it is.
    pub kind: ItemKind,
    /// Its digest, snapshot ID, record number, or directory name.
    pub id: String,
    /// What it is for, for people.
    pub description: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: i64,
    /// When it was last of use, in seconds since 1970.
    pub used_unix_s: i64,
    /// Why it stays.
    pub need: Need,
    pub(crate) target: Target,
}

/// Where an item is, for its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Blob(Digest),
    Snapshot(SnapshotId, u64),
    Record(i64),
    Path(PathBuf),
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Everything that takes space, least recently used first.
    pub items: Vec<StoreItem>,
    /// The number of tags.
    pub tags: usize,
    /// The number of cache records, with and without layers.
    pub records: u64,
    /// The sum of the sizes of all items in bytes.
    pub total_bytes: u64,
    /// The part of it that a prune of everything would free, in bytes.
    pub reclaimable_bytes: u64,
}

impl Store {
    /// Lists what takes space in the store. Measures cache mounts by walking them.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let (inventory, _) = self.inventory(true)?;
        let mut usage = Usage { tags: inventory.tags.len(), records: inventory.records, ..Usage::default() };
        for item in &inventory.items {
            usage.total_bytes += item.size_bytes;
            if item.need <= Need::UnpackedImage {
                usage.reclaimable_bytes += item.size_bytes;
            }
        }
        usage.items = inventory.items;
        Ok(usage)
    }

    /// Everything in the store with what needs it, and the roots that said so.
    pub(crate) fn inventory(&self, measure: bool) -> Result<(Inventory, Roots), StoreError> {
        let roots = Roots::read(self.layout())?;
        let mut inventory = Inventory { tags: roots.tags.clone(), items: Vec::new(), records: 0 };
        self.add_snapshots(&roots, &mut inventory)?;
        self.add_blobs(&roots, &mut inventory)?;
        for slot in slots(self.layout(), measure)? {
            inventory.items.push(StoreItem {
                kind: ItemKind::CacheMount,
                id: file_name(&slot.directory),
                description: slot.id,
                size_bytes: slot.size_bytes,
                created_unix_s: slot.used_unix_s,
                used_unix_s: slot.used_unix_s,
                need: if slot.in_use { Need::InUse } else { Need::Cache },
                target: Target::Path(slot.directory),
            });
        }
        for (path, size_bytes, written_unix_s) in tables(self)? {
            inventory.items.push(StoreItem {
                kind: ItemKind::FileHashes,
                id: file_name(&path),
                description: "file hashes of a build context".to_owned(),
                size_bytes,
                created_unix_s: written_unix_s,
                used_unix_s: written_unix_s,
                need: Need::Cache,
                target: Target::Path(path),
            });
        }
        // Of things used at one time, what was made last goes first: it depends on what was made before it.
        inventory.items.sort_by(|a, b| {
            (a.used_unix_s, std::cmp::Reverse(a.created_unix_s), a.kind, &a.id).cmp(&(
                b.used_unix_s,
                std::cmp::Reverse(b.created_unix_s),
                b.kind,
                &b.id,
            ))
        });
        Ok((inventory, roots))
    }

    fn add_snapshots(&self, roots: &Roots, inventory: &mut Inventory) -> Result<(), StoreError> {
        let (rows, uses, plain, records) = self.index().read("list the store's content", |connection| {
            let rows = all_rows(connection)?;
            let mut statement = connection.prepare_cached(
                "SELECT rs.snapshot, r.used, r.description, count(*), max(r.used)
                 FROM record_snapshot rs JOIN record r ON r.id = rs.record GROUP BY rs.snapshot",
            )?;
            // SQLite takes the bare columns from the row that has the maximum.
            let uses = statement
                .query_map([], |row| {
                    let used = SnapshotUse { used_unix_s: row.get(4)?, description: row.get(2)?, records: row.get(3)? };
                    Ok((row.get::<_, String>(0)?, used))
                })?
                .collect::<Result<HashMap<_, _>, _>>()?;
            let mut statement = connection.prepare_cached(
                "SELECT id, length(result) + length(components), description, created, used
                 FROM record WHERE id NOT IN (SELECT record FROM record_snapshot)",
            )?;
            let plain = statement
                .query_map([], |row| {
                    let id: i64 = row.get(0)?;
                    Ok(StoreItem {
                        kind: ItemKind::CacheRecord,
                        id: id.to_string(),
                        size_bytes: crate::index::from_sql(row.get(1)?),
                        description: row.get(2)?,
                        created_unix_s: row.get(3)?,
                        used_unix_s: row.get(4)?,
                        need: Need::Cache,
                        target: Target::Record(id),
                    })
                })?
                .collect::<Result<Vec<_>, _>>()?;
            let records: i64 = connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0))?;
            Ok((rows, uses, plain, records))
        })?;
        inventory.records = crate::index::from_sql(records);
        inventory.items.extend(plain);
        let mut known = HashSet::new();
        for row in rows {
            known.insert(row.record.id.as_str().to_owned());
            inventory.items.push(snapshot_item(&row, uses.get(row.record.id.as_str()), roots));
        }
        // Directories without a row: their publisher was killed, or is about to add the row.
        let directory = self.layout().directory("snapshots");
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let name = entry.at("list", &directory)?.file_name();
            let Some(id) = name.to_str().and_then(|name| SnapshotId::new(name).ok()) else { continue };
            if !known.contains(id.as_str()) {
                inventory.items.push(StoreItem {
                    kind: ItemKind::Snapshot,
                    id: id.to_string(),
                    description: "(interrupted before it was entered into the index)".to_owned(),
                    size_bytes: 0,
                    created_unix_s: 0,
                    used_unix_s: 0,
                    need: if roots.held.contains(&Held::Snapshot(id.clone())) { Need::InUse } else { Need::Cache },
                    target: Target::Snapshot(id, 0),
                });
            }
        }
        Ok(())
    }

    fn add_blobs(&self, roots: &Roots, inventory: &mut Inventory) -> Result<(), StoreError> {
        for digest in self.list_blobs()? {
            let Ok(metadata) = fs::symlink_metadata(self.layout().blob(&digest)) else { continue };
            inventory.items.push(StoreItem {
                kind: ItemKind::Blob,
                id: digest.to_string(),
                description: String::new(),
                size_bytes: metadata.len(),
                created_unix_s: metadata.ctime(),
                used_unix_s: metadata.mtime(),
                need: roots.need_of_blob(&digest),
                target: Target::Blob(digest),
            });
        }
        Ok(())
    }
}

/// The cache records that use one snapshot.
struct SnapshotUse {
    used_unix_s: i64,
    description: String,
    records: i64,
}

fn snapshot_item(row: &SnapshotRow, used: Option<&SnapshotUse>, roots: &Roots) -> StoreItem {
    let id = row.record.id.clone();
    StoreItem {
        kind: ItemKind::Snapshot,
        id: id.to_string(),
        description: used.map_or_else(|| row.record.origin.clone(), |used| used.description.clone()),
        size_bytes: row.record.size_bytes,
        created_unix_s: row.created_unix_s,
        used_unix_s: used.map_or(row.used_unix_s, |used| used.used_unix_s.max(row.used_unix_s)),
        need: roots.need_of_snapshot(&id, row.record.diff_id.as_ref()),
        target: Target::Snapshot(id, used.map_or(0, |used| crate::index::from_sql(used.records))),
    }
}

/// The items of a store.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) tags: Vec<Tag>,
    pub(crate) items: Vec<StoreItem>,
    pub(crate) records: u64,
}

/// What must stay.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) tags: Vec<Tag>,
    closure: Closure,
    held: HashSet<Held>,
}

impl Roots {
    /// Walks all images before it takes the lock: nothing is removed on this reading alone.
    pub(crate) fn read(layout: &Layout) -> Result<Self, StoreError> {
        let mut roots = Self { tags: Vec::new(), closure: Closure::default(), held: HashSet::new() };
        roots.refresh_images(layout)?;
        roots.held = held_by_anyone(layout, &GcLock::exclusive(layout)?)?;
        Ok(roots)
    }

    /// Reads again what may have changed since, under the lock and before a removal; images are walked again only if
    /// the tags changed.
    pub(crate) fn refresh(&mut self, layout: &Layout, alone: &GcLock) -> Result<(), StoreError> {
        self.held = held_by_anyone(layout, alone)?;
        self.refresh_images(layout)
    }

    fn refresh_images(&mut self, layout: &Layout) -> Result<(), StoreError> {
        let tags = read_tags(layout)?;
        if tags != self.tags {
            let mut closure = Closure::default();
            for tag in &tags {
                closure.add(layout, &tag.descriptor.digest)?;
            }
            self.closure = closure;
            self.tags = tags;
        }
        Ok(())
    }

    pub(crate) fn need_of_blob(&self, digest: &Digest) -> Need {
        if self.held.contains(&Held::Blob(digest.clone())) {
            Need::InUse
        } else if self.closure.blobs.contains(digest) || self.closure.absent.contains(digest) {
            Need::Image
        } else {
            Need::Cache
        }
    }

    pub(crate) fn need_of_snapshot(&self, id: &SnapshotId, diff_id: Option<&DiffId>) -> Need {
        if self.held.contains(&Held::Snapshot(id.clone())) {
            return Need::InUse;
        }
        match diff_id {
            Some(diff_id) if self.closure.needed_diff_ids.contains(diff_id) => Need::Image,
            Some(diff_id) if self.closure.unpacked_diff_ids.contains(diff_id) => Need::UnpackedImage,
            _ => Need::Cache,
        }
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
