//! Snapshots: directory, row and record against each other, files against their digest.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use bake_oci::SnapshotId;

use super::{FsckOptions, FsckReport, name_of};
use crate::StoreError;
use crate::error::AtPath;
use crate::lease::{Held, held_by_anyone};
use crate::lock::GcLock;
use crate::snapshots::{
    RecordFile, SnapshotRecord, SnapshotRow, all_rows, read_record, row_from_directory, row_of, write_record,
};
use crate::store::Store;

impl Store {
    pub(super) fn check_snapshots(&self, options: &FsckOptions<'_>, report: &mut FsckReport) -> Result<(), StoreError> {
        self.remove_nameless_rows(options.repair, report)?;
        let mut known = HashSet::new();
        for row in self.index().read("list snapshots", all_rows)? {
            let id = row.record.id.clone();
            known.insert(id.clone());
            report.snapshots += 1;
            if !self.layout().snapshot(&id).join("fs").is_dir() {
                self.report_snapshot(&id, "has no layer directory", options.repair, report)?;
            } else if self.agree(&row, options.repair, report)? {
                self.check_files(&id, options, report)?;
            }
        }
        for directory in self.snapshot_directories()? {
            let id = name_of(&directory).and_then(|name| SnapshotId::new(name).ok());
            if id.as_ref().is_some_and(|id| known.contains(id)) {
                continue;
            }
            // Seen again under the lock: it may have been published since the rows were read.
            let alone = GcLock::exclusive(self.layout())?;
            let listed = match &id {
                Some(id) => self.index().read("look up a snapshot", |connection| row_of(connection, id))?.is_some(),
                None => false,
            };
            if listed {
                continue;
            }
            let row = row_from_directory(&directory)?;
            let row = row.filter(|row| row.is_trusted(self.boot_id()) && Some(&row.record.id) == id.as_ref());
            let text = format!("`{}` is not in the index", directory.display());
            match row {
                Some(row) if options.repair => {
                    self.index().write("add a snapshot", |connection| row.insert(connection))?;
                    drop(alone);
                    report.problem(text, true);
                    report.snapshots += 1;
                    self.check_files(&row.record.id, options, report)?;
                }
                _ => {
                    let repaired = options.repair && self.layout().move_to_trash(&directory)?;
                    report.problem(text, repaired);
                }
            }
        }
        Ok(())
    }

    /// Rows that lost their name cannot be found by anybody.
    fn remove_nameless_rows(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let names = self.index().read("list snapshots", |connection| {
            let mut statement = connection.prepare("SELECT CAST(id AS TEXT) FROM snapshot")?;
            let names =
                statement.query_map([], |row| Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned()))?;
            names.collect::<Result<Vec<_>, _>>()
        })?;
        for name in names.iter().filter(|name| SnapshotId::new(name).is_err()) {
            if repair {
                self.index().write("remove a snapshot", |connection| {
                    connection.execute("DELETE FROM snapshot WHERE CAST(id AS TEXT) = ?1", [name]).map(|_| ())
                })?;
            }
            report.problem(format!("the index names a snapshot `{name}`"), repair);
        }
        Ok(())
    }

    /// Compares row and record; each is made anew from the other if only one of them is sound. Says whether the snapshot
    /// can be relied on as far as that goes.
    fn agree(&self, row: &SnapshotRow, repair: bool, report: &mut FsckReport) -> Result<bool, StoreError> {
        let id = &row.record.id;
        let directory = self.layout().snapshot(id);
        let file = read_record(&directory)?.filter(|file| file.record.id == *id);
        match file {
            Some(_) if !row.sound => {
                let row = row_from_directory(&directory)?;
                if let Some(row) = row.filter(|_| repair) {
                    self.index().write("add a snapshot", |connection| row.insert(connection))?;
                }
                report.problem(format!("the row of snapshot {id} in the index is damaged"), repair);
                Ok(repair)
            }
            // Its process was killed before it had written down the diff ID: no damage, and only a rebuild would miss it.
            Some(file)
                if row.is_trusted(self.boot_id())
                    && file.record.diff_id.is_none()
                    && file.record
                        == (SnapshotRecord { diff_id: None, tar_size_bytes: None, ..row.record.clone() }) =>
            {
                if repair && row.record.diff_id.is_some() {
                    self.rewrite_record(row, file.content)?;
                }
                Ok(true)
            }
            Some(file) if file.record != row.record && row.is_trusted(self.boot_id()) => {
                // The row is what builds go by, and it has a checksum of its own.
                if repair {
                    self.rewrite_record(row, file.content)?;
                }
                report.problem(format!("the record of snapshot {id} does not say what the index says"), repair);
                Ok(true)
            }
            None if row.is_trusted(self.boot_id()) => {
                if repair {
                    self.rewrite_record(row, None)?;
                }
                report.problem(format!("the record of snapshot {id} is damaged"), repair);
                Ok(true)
            }
            Some(_) if row.is_trusted(self.boot_id()) => Ok(true),
            Some(_) => {
                self.report_snapshot(id, "was not completely written before a crash", repair, report)?;
                Ok(false)
            }
            None => {
                self.report_snapshot(id, "has neither a sound row nor a sound record", repair, report)?;
                Ok(false)
            }
        }
    }

    fn rewrite_record(&self, row: &SnapshotRow, content: Option<bake_oci::TreeDigest>) -> Result<(), StoreError> {
        let _no_removal = GcLock::shared(self.layout())?;
        let file = RecordFile {
            record: row.record.clone(),
            boot_id: row.boot_id.clone(),
            created_unix_s: row.created_unix_s,
            content,
            checksum: None,
        };
        write_record(self.layout(), &self.layout().snapshot(&row.record.id), &file)
    }

    fn check_files(
        &self,
        id: &SnapshotId,
        options: &FsckOptions<'_>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let Some(check) = options.check_snapshot else { return Ok(()) };
        // A lease of its own: what was checked is not in use afterwards.
        let held = self.with_new_lease();
        let Some(snapshot) = held.snapshot(id)? else { return Ok(()) };
        let content = read_record(&self.layout().snapshot(id))?.and_then(|file| file.content);
        let problem = check(&snapshot, content).err();
        drop(held);
        match problem {
            Some(problem) => self.report_snapshot(id, &problem, options.repair, report),
            None => Ok(()),
        }
    }

    fn report_snapshot(
        &self,
        id: &SnapshotId,
        problem: &str,
        repair: bool,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        let repaired = repair && self.remove_snapshot(id)?;
        report.problem(format!("snapshot {id} {problem}"), repaired);
        Ok(())
    }

    /// Takes a damaged snapshot out of the store. Refuses one that is in use.
    fn remove_snapshot(&self, id: &SnapshotId) -> Result<bool, StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        let held = held_by_anyone(self.layout(), &alone)?;
        if held.contains(&Held::Snapshot(id.clone())) {
            return Ok(false);
        }
        self.layout().move_to_trash(&self.layout().snapshot(id))?;
        self.index().write("remove a snapshot", |connection| {
            connection.execute("DELETE FROM snapshot WHERE id = ?1", [id.as_str()])?;
            Ok(())
        })?;
        Ok(true)
    }

    pub(super) fn snapshot_directories(&self) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.layout().directory("snapshots");
        let entries = fs::read_dir(&directory).at("list", &directory)?;
        let mut paths =
            entries.map(|entry| Ok(entry.at("list", &directory)?.path())).collect::<Result<Vec<_>, StoreError>>()?;
        paths.sort();
        Ok(paths)
    }
}
