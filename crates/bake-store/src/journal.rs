//! The journal: what the last builds of this store did, each one document in the caller's own form.

use rusqlite::{OptionalExtension, params};

use crate::StoreError;
use crate::layout::now_unix_s;
use crate::store::Store;

/// Older builds are forgotten.
const BUILDS_MAX: i64 = 50;

/// The largest document: a thousand steps with what each was explained by take less.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// A build of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its number; later builds have higher ones.
    pub number: i64,
    /// When it ended, in seconds since 1970.
    pub ended_unix_s: i64,
    /// What it did, in the caller's own form.
    pub document: Vec<u8>,
}

impl Store {
    /// Writes a build down, in one small transaction that waits for no disk, and returns its number.
    pub fn add_to_journal(&self, document: &[u8]) -> Result<i64, StoreError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: "the journal of a build".into(),
                limit_bytes: u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX),
            });
        }
        self.index()
            .write("write the journal", |connection| {
                connection
                    .prepare_cached("INSERT INTO build (ended, document) VALUES (?1, ?2)")?
                    .execute(params![now_unix_s(), document])?;
                let number = connection.last_insert_rowid();
                connection.prepare_cached("DELETE FROM build WHERE number <= ?1")?.execute([number - BUILDS_MAX])?;
                Ok(number)
            })
            // Numbers are not given twice while their build is known, so of those that are forgotten there is one at most. The
            // number itself is that of an older build where the index was lost.
            .inspect(|number| {
                for number in [number - BUILDS_MAX, *number] {
                    if let Err(error) = self.remove_build_log(number) {
                        tracing::debug!(%error, number, "could not remove the output of an older build");
                    }
                }
            })
    }

    /// The builds that are still known, the newest first.
    pub fn journal(&self) -> Result<Vec<JournalEntry>, StoreError> {
        self.index().read("read the journal", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT number, ended, document FROM build ORDER BY number DESC")?;
            statement.query_map([], entry)?.collect()
        })
    }

    /// The build with this number, or the last one.
    pub fn journal_entry(&self, number: Option<i64>) -> Result<Option<JournalEntry>, StoreError> {
        self.index().read("read the journal", |connection| {
            connection
                .prepare_cached(
                    "SELECT number, ended, document FROM build WHERE ?1 IS NULL OR number = ?1
                     ORDER BY number DESC LIMIT 1",
                )?
                .query_row([number], entry)
                .optional()
        })
    }
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<JournalEntry> {
    Ok(JournalEntry { number: row.get(0)?, ended_unix_s: row.get(1)?, document: row.get(2)? })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn the_last_builds_are_known() {
        let test = TestStore::new();
        assert_eq!(test.store.journal_entry(None).unwrap(), None);
        for number in 1..=BUILDS_MAX + 5 {
            test.store.add_to_journal(number.to_string().as_bytes()).unwrap();
        }
        let journal = test.store.journal().unwrap();
        assert_eq!(journal.len(), usize::try_from(BUILDS_MAX).unwrap());
        assert_eq!((journal[0].number, journal[0].document.as_slice()), (BUILDS_MAX + 5, &b"55"[..]));
        assert_eq!(test.store.journal_entry(None).unwrap().unwrap().number, BUILDS_MAX + 5);
        assert_eq!(test.store.journal_entry(Some(7)).unwrap().unwrap().document, b"7");
        assert_eq!(test.store.journal_entry(Some(2)).unwrap(), None);
    }
}
