//! What is in the store, how large it is, and what keeps it there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bake_oci::{DiffId, Digest, SnapshotId};

use crate::StoreError;
use crate::build_logs;
use crate::cache_mounts::slots;
use crate::disk_use::{Extent, measure};
use crate::error::AtPath;
use crate::file_hashes::tables;
use crate::image::Closure;
use crate::kept;
use crate::layout::{ALGORITHMS, Layout};
use crate::lease::{Held, held_by_anyone, is_locked};
use crate::ledger::Ledger;
use crate::lock::GcLock;
use crate::referrers::{Listing, listing};
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
    /// A cache record without a layer. It takes no space of its own: it is in the index.
    CacheRecord,
    /// The directory of a `RUN --mount=type=cache`.
    CacheMount,
    /// The remembered file hashes of one build context.
    FileHashes,
    /// What a failed step left in its root.
    FailedStep,
    /// What the steps of a past build wrote.
    BuildLog,
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
            Self::FailedStep => "failedstep",
            Self::BuildLog => "buildlog",
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
    /// The disk space of everything in it, in bytes, each file once.
    pub size_bytes: u64,
    /// The part of that which other items have too, by hard links, in bytes.
    pub shared_bytes: u64,
    /// The part that is counted for this item, in bytes: what several have, only the oldest. The sum over all items,
    /// with [`Usage::other_bytes`], is the total.
    pub counted_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: i64,
    /// When it was last of use, in seconds since 1970.
    pub used_unix_s: i64,
    /// Why it stays.
    pub need: Need,
    pub(crate) target: Target,
}

impl StoreItem {
    /// An item of which only the place is known.
    fn unmeasured(target: Target) -> Self {
        Self {
            kind: match &target {
                Target::Blob(_) => ItemKind::Blob,
                Target::Record(_) => ItemKind::CacheRecord,
                Target::Snapshot(..) | Target::Path(_) => ItemKind::Snapshot,
            },
            id: String::new(),
            description: String::new(),
            size_bytes: 0,
            shared_bytes: 0,
            counted_bytes: 0,
            created_unix_s: 0,
            used_unix_s: 0,
            need: Need::Cache,
            target,
        }
    }
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
    /// Everything that takes space and has a name of its own, least recently used first.
    pub items: Vec<StoreItem>,
    /// The number of tags.
    pub tags: usize,
    /// The number of cache records, with and without layers.
    pub records: u64,
    /// What else takes space, in bytes: index, tags, locks, leases, the reserve, what is being written, the trash.
    pub other_bytes: u64,
    /// The part of that which is left over from removals and killed processes, in bytes.
    pub leftover_bytes: u64,
    /// The disk space of the whole store in bytes, as `du` counts it: allocated blocks, every file once.
    pub total_bytes: u64,
    /// The part of it that a prune of everything would free, in bytes.
    pub reclaimable_bytes: u64,
    /// That part by kind. Files that items of several kinds share count where the last of them is removed.
    pub reclaimable_by_kind: HashMap<ItemKind, u64>,
}

impl Store {
    /// Lists what takes space in the store, which walks all of it.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let (mut inventory, _) = self.inventory()?;
        let (other, leftover) = (inventory.items.len(), inventory.leftover());
        let ledger = &mut inventory.ledger;
        let mut usage = Usage {
            tags: inventory.tags.len(),
            records: inventory.records,
            other_bytes: ledger.counted_bytes(other) + ledger.counted_bytes(leftover),
            total_bytes: ledger.total_bytes(),
            ..Usage::default()
        };
        usage.leftover_bytes = ledger.remove(leftover);
        usage.reclaimable_bytes = usage.leftover_bytes;
        for (position, item) in inventory.items.iter().enumerate() {
            if item.need <= Need::UnpackedImage {
                let freed = ledger.remove(position);
                *usage.reclaimable_by_kind.entry(item.kind).or_default() += freed;
                usage.reclaimable_bytes += freed;
            }
        }
        usage.items = inventory.items;
        Ok(usage)
    }

    /// Everything in the store with its size and what needs it, and the roots that said so.
    pub(crate) fn inventory(&self) -> Result<(Inventory, Roots), StoreError> {
        let roots = Roots::read(self.layout())?;
        let mut inventory =
            Inventory { tags: roots.tags.clone(), items: Vec::new(), records: 0, ledger: Ledger::default() };
        self.add_snapshots(&roots, &mut inventory)?;
        self.add_blobs(&roots, &mut inventory)?;
        for slot in slots(self.layout())? {
            inventory.items.push(StoreItem {
                kind: ItemKind::CacheMount,
                id: file_name(&slot.directory),
                description: slot.id,
                created_unix_s: slot.created_unix_s,
                used_unix_s: slot.used_unix_s,
                need: if slot.in_use { Need::InUse } else { Need::Cache },
                ..StoreItem::unmeasured(Target::Path(slot.directory))
            });
        }
        for (path, written_unix_s) in tables(self)? {
            inventory.items.push(StoreItem {
                kind: ItemKind::FileHashes,
                id: file_name(&path),
                description: "file hashes of a build context".to_owned(),
                created_unix_s: written_unix_s,
                used_unix_s: written_unix_s,
                ..StoreItem::unmeasured(Target::Path(path))
            });
        }
        for path in kept::directories(self.layout())? {
            let Some(root) = kept::read(&path)? else { continue };
            inventory.items.push(StoreItem {
                kind: ItemKind::FailedStep,
                id: root.id,
                description: root.description,
                created_unix_s: root.failed_unix_ms.div_euclid(1000),
                used_unix_s: root.failed_unix_ms.div_euclid(1000),
                need: if is_locked(&path.join("lock"))? { Need::InUse } else { Need::Cache },
                ..StoreItem::unmeasured(Target::Path(path))
            });
        }
        for log in build_logs::build_logs(self.layout())? {
            inventory.items.push(StoreItem {
                kind: ItemKind::BuildLog,
                id: file_name(&log.path),
                description: format!("output of build {}", file_name(&log.path)),
                created_unix_s: log.written_unix_s,
                used_unix_s: log.written_unix_s,
                ..StoreItem::unmeasured(Target::Path(log.path))
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
        self.measure(&mut inventory)?;
        Ok((inventory, roots))
    }

    /// Fills in the sizes and opens the ledger. After the items it has one entry for everything else that stays, and one
    /// for what is left over.
    fn measure(&self, inventory: &mut Inventory) -> Result<(), StoreError> {
        let mut things = Vec::with_capacity(inventory.items.len() + 2);
        let mut paths = HashSet::with_capacity(inventory.items.len());
        for item in &inventory.items {
            let path = match &item.target {
                Target::Blob(digest) => self.layout().blob(digest),
                Target::Snapshot(id, _) => self.layout().snapshot(id),
                Target::Path(path) => path.clone(),
                Target::Record(_) => {
                    things.push(Vec::new());
                    continue;
                }
            };
            paths.insert(path.clone());
            things.push(vec![Extent::Tree(path)]);
        }
        let (other, leftover) = self.everything_else(&paths)?;
        things.extend([other, leftover]);
        let items = &mut inventory.items;
        let ledger =
            Ledger::new(measure(&things), |position| items.get(position).map_or(i64::MAX, |item| item.created_unix_s));
        for (position, item) in items.iter_mut().enumerate() {
            item.size_bytes = ledger.size_bytes(position);
            item.shared_bytes = ledger.shared_bytes(position);
            item.counted_bytes = ledger.counted_bytes(position);
        }
        inventory.ledger = ledger;
        Ok(())
    }

    /// What is in the store beside the items at `paths`: what belongs there, and what is left over.
    fn everything_else(&self, paths: &HashSet<PathBuf>) -> Result<(Vec<Extent>, Vec<Extent>), StoreError> {
        let layout = self.layout();
        // Nobody may lock what he has just made while this looks whether it is locked.
        let _alone = GcLock::exclusive(layout)?;
        let mut other = vec![Extent::Entry(layout.root().to_path_buf())];
        let mut leftover = Vec::new();
        let mut holders: Vec<PathBuf> =
            ["snapshots", "cache-mounts", "file-hashes", "blobs", build_logs::DIRECTORY, kept::DIRECTORY]
                .iter()
                .map(|name| layout.directory(name))
                .filter(|directory| directory.exists())
                .chain(ALGORITHMS.iter().map(|algorithm| layout.blobs(*algorithm)))
                .collect();
        for path in list(layout.root())? {
            if !holders.contains(&path) && !["trash", "active", "ingest"].iter().any(|name| path.ends_with(name)) {
                other.push(Extent::Tree(path));
            }
        }
        for holder in &holders {
            let entries = list(holder)?.into_iter().filter(|path| !paths.contains(path) && !holders.contains(path));
            other.extend(entries.map(Extent::Tree));
        }
        for name in ["trash", "active", "ingest"] {
            let directory = layout.directory(name);
            for path in list(&directory)? {
                let in_use = match name {
                    "active" => is_locked(&path.join("lock"))?,
                    "ingest" => is_locked(&path)?,
                    _ => false,
                };
                if in_use { &mut other } else { &mut leftover }.push(Extent::Tree(path));
            }
            holders.push(directory);
        }
        other.extend(holders.into_iter().map(Extent::Entry));
        Ok((other, leftover))
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
                "SELECT id, description, created, used
                 FROM record WHERE id NOT IN (SELECT record FROM record_snapshot)",
            )?;
            let plain = statement
                .query_map([], |row| {
                    let id: i64 = row.get(0)?;
                    Ok(StoreItem {
                        id: id.to_string(),
                        description: row.get(1)?,
                        created_unix_s: row.get(2)?,
                        used_unix_s: row.get(3)?,
                        ..StoreItem::unmeasured(Target::Record(id))
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
                    id: id.to_string(),
                    description: "(interrupted before it was entered into the index)".to_owned(),
                    need: if roots.held.contains(&Held::Snapshot(id.clone())) { Need::InUse } else { Need::Cache },
                    ..StoreItem::unmeasured(Target::Snapshot(id, 0))
                });
            }
        }
        Ok(())
    }

    fn add_blobs(&self, roots: &Roots, inventory: &mut Inventory) -> Result<(), StoreError> {
        for digest in self.list_blobs()? {
            let Ok(metadata) = fs::symlink_metadata(self.layout().blob(&digest)) else { continue };
            inventory.items.push(StoreItem {
                id: digest.to_string(),
                created_unix_s: metadata.ctime(),
                used_unix_s: metadata.mtime(),
                need: roots.need_of_blob(&digest),
                ..StoreItem::unmeasured(Target::Blob(digest))
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
        id: id.to_string(),
        description: used.map_or_else(|| row.record.origin.clone(), |used| used.description.clone()),
        created_unix_s: row.created_unix_s,
        used_unix_s: used.map_or(row.used_unix_s, |used| used.used_unix_s.max(row.used_unix_s)),
        need: roots.need_of_snapshot(&id, row.record.diff_id.as_ref()),
        ..StoreItem::unmeasured(Target::Snapshot(id, used.map_or(0, |used| crate::index::from_sql(used.records))))
    }
}

/// The items of a store.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) tags: Vec<Tag>,
    pub(crate) items: Vec<StoreItem>,
    pub(crate) records: u64,
    /// The sizes of the items by their position.
    pub(crate) ledger: Ledger,
}

impl Inventory {
    /// The position in the ledger of what is left over from removals and killed processes.
    pub(crate) fn leftover(&self) -> usize {
        self.items.len() + 1
    }
}

/// What must stay.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) tags: Vec<Tag>,
    closure: Closure,
    referrers: Listing,
    held: HashSet<Held>,
    /// What the roots of failed steps stand on.
    kept: HashSet<SnapshotId>,
}

impl Roots {
    /// Walks all images before it takes the lock: nothing is removed on this reading alone.
    pub(crate) fn read(layout: &Layout) -> Result<Self, StoreError> {
        let mut roots = Self {
            tags: Vec::new(),
            closure: Closure::default(),
            referrers: Listing::default(),
            held: HashSet::new(),
            kept: HashSet::new(),
        };
        roots.refresh_images(layout)?;
        let alone = GcLock::exclusive(layout)?;
        roots.held = held_by_anyone(layout, &alone)?;
        roots.kept = below_kept_roots(layout)?;
        Ok(roots)
    }

    /// Reads again what may have changed since, under the lock and before a removal; images are walked again only if
    /// the tags or what is attached to images changed.
    pub(crate) fn refresh(&mut self, layout: &Layout, alone: &GcLock) -> Result<(), StoreError> {
        self.held = held_by_anyone(layout, alone)?;
        self.kept = below_kept_roots(layout)?;
        self.refresh_images(layout)
    }

    fn refresh_images(&mut self, layout: &Layout) -> Result<(), StoreError> {
        let (tags, referrers) = (read_tags(layout)?, listing(layout)?);
        if tags != self.tags || referrers != self.referrers {
            let mut closure = Closure::default();
            for tag in &tags {
                closure.add(layout, &tag.descriptor.digest)?;
            }
            self.closure = closure;
            self.tags = tags;
            self.referrers = referrers;
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
        if self.held.contains(&Held::Snapshot(id.clone())) || self.kept.contains(id) {
            return Need::InUse;
        }
        match diff_id {
            Some(diff_id) if self.closure.needed_diff_ids.contains(diff_id) => Need::Image,
            Some(diff_id) if self.closure.unpacked_diff_ids.contains(diff_id) => Need::UnpackedImage,
            _ => Need::Cache,
        }
    }
}

fn below_kept_roots(layout: &Layout) -> Result<HashSet<SnapshotId>, StoreError> {
    let mut below = HashSet::new();
    for path in kept::directories(layout)? {
        below.extend(kept::read(&path)?.into_iter().flat_map(|root| root.layers));
    }
    Ok(below)
}

/// The paths in a directory of the store.
fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(directory).at("list", directory)?;
    entries.map(|entry| Ok(entry.at("list", directory)?.path())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
