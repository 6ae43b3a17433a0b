//! Small things: the format file, cache mounts, remembered file hashes, records of results.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use bake_oci::Digest;

use super::{FsckReport, name_of};
use crate::StoreError;
use crate::build_logs::{build_logs, is_sound_log};
use crate::error::AtPath;
use crate::file_hashes::{is_sound_table, tables};
use crate::layout::write_format;
use crate::lease::is_locked;
use crate::lock::GcLock;
use crate::store::Store;

impl Store {
    pub(super) fn check_small(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        if !self.layout().is_format_exact()? {
            if repair {
                write_format(self.layout())?;
            }
            report.problem("the file `format` does not say exactly what it should".to_owned(), repair);
        }
        for (path, _) in tables(self)? {
            if !is_sound_table(&path)? {
                let repaired = repair && self.layout().move_to_trash(&path)?;
                report.problem(format!("the file hashes in `{}` are damaged", path.display()), repaired);
            }
        }
        self.check_build_logs(repair, report)?;
        self.check_cache_mounts(repair, report)
    }

    fn check_build_logs(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let logs = build_logs(self.layout())?;
        // Read after the directory: a build is in the journal before its log is there.
        let known: HashSet<i64> = self.journal()?.into_iter().map(|entry| entry.number).collect();
        for log in logs {
            let problem = if log.number.is_none_or(|number| !known.contains(&number)) {
                "is of no build"
            } else if !is_sound_log(&log.path)? {
                "is damaged"
            } else {
                continue;
            };
            // One that has gone since went with its build.
            if log.path.exists() {
                let repaired = repair && self.layout().move_to_trash(&log.path)?;
                report.problem(format!("the output of a build in `{}` {problem}", log.path.display()), repaired);
            }
        }
        Ok(())
    }

    fn check_cache_mounts(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let parent = self.layout().directory("cache-mounts");
        for entry in fs::read_dir(&parent).at("list", &parent)? {
            let directory = entry.at("list", &parent)?.path();
            let _alone = GcLock::exclusive(self.layout())?;
            if is_locked(&directory.join("lock"))? {
                continue;
            }
            let whole = directory.join("lock").is_file()
                && directory.join("ready").is_file()
                && directory.join("data").is_dir();
            if !whole {
                let repaired = repair && self.layout().move_to_trash(&directory)?;
                report.problem(format!("the cache mount `{}` was never finished", directory.display()), repaired);
            } else if !is_named_by_its_id(&directory) {
                if repair {
                    // What it holds is found by the name of its directory; the ID is for people.
                    fs::write(directory.join("id"), "").at("write", directory.join("id"))?;
                }
                report.problem(format!("the ID of the cache mount `{}` is damaged", directory.display()), repair);
            }
        }
        Ok(())
    }

    /// Results whose snapshots are gone, keys of results that are gone, and what steps asked.
    pub(super) fn check_records(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let dangling = self.index().read("list cache records", |connection| {
            let mut statement = connection.prepare(
                "SELECT r.id, r.description, rs.snapshot FROM record r JOIN record_snapshot rs ON rs.record = r.id
                 LEFT JOIN snapshot s ON s.id = rs.snapshot WHERE s.id IS NULL GROUP BY r.id",
            )?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        })?;
        for (id, description, snapshot) in dangling {
            if repair {
                self.index().write("remove a cache record", |connection| {
                    crate::past::evict_record(connection, id, "bake fsck")
                })?;
            }
            report.problem(
                format!("the cache record of `{description}` needs snapshot {snapshot}, which is gone"),
                repair,
            );
        }
        let keys: i64 = self.index().read("list cache keys", |connection| {
            let text = "SELECT count(*) FROM record_key WHERE record NOT IN (SELECT id FROM record)";
            connection.query_row(text, [], |row| row.get(0))
        })?;
        if keys > 0 {
            if repair {
                self.index().write("remove cache keys", |connection| {
                    let text = "DELETE FROM record_key WHERE record NOT IN (SELECT id FROM record)";
                    connection.execute(text, []).map(|_| ())
                })?;
            }
            report.problem(format!("{keys} cache keys have no record"), repair);
        }
        let traces = self.damaged_traces(repair)?;
        if traces > 0 {
            let text = if traces == 1 {
                "a trace of a step is damaged".to_owned()
            } else {
                format!("{traces} traces of steps are damaged")
            };
            report.problem(text, repair);
        }
        Ok(())
    }
}

/// An empty ID is one that was lost.
fn is_named_by_its_id(directory: &Path) -> bool {
    let Ok(id) = fs::read(directory.join("id")) else { return false };
    let name = name_of(directory).and_then(|name| name.split_once('.'));
    id.is_empty() || name.is_some_and(|(hex, slot)| hex == Digest::of(&id).hex() && slot.parse::<u32>().is_ok())
}
