//! Small remembered values with an age, such as the digest that a registry last gave for a tag.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use crate::StoreError;
use crate::layout::now_unix_s;
use crate::seal::{seal, unseal};
use crate::store::Store;

/// Values are digests, descriptors, small documents.
const VALUE_SIZE_MAX: usize = 1 << 20;

const NAME_SIZE_MAX: usize = 4096;

/// A remembered value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The value as it was given.
    pub value: Vec<u8>,
    /// When it was remembered, in seconds since 1970.
    pub seen_unix_s: i64,
}

impl Store {
    /// Remembers `value` under `name`. `space` keeps the names of different users apart (`"reference"`, `"git"`).
    pub fn remember(&self, space: &str, name: &str, value: &[u8]) -> Result<(), StoreError> {
        if name.len() > NAME_SIZE_MAX || space.len() > NAME_SIZE_MAX {
            return Err(StoreError::invalid_text(name, "a remembered name", "it is too long"));
        }
        if value.len() > VALUE_SIZE_MAX {
            let limit_bytes = u64::try_from(VALUE_SIZE_MAX).unwrap_or(u64::MAX);
            return Err(StoreError::TooLarge { what: format!("the value of `{name}`"), limit_bytes });
        }
        self.index().write("remember a value", |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO remembered (space, name, value, seen) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![space, name, seal(&[space.as_bytes(), name.as_bytes()], value), now_unix_s()])
                .map(|_| ())
        })
    }

    /// The value remembered under `name`, if it is not older than `age_max`, nor damaged. A value from the future counts as too old:
    /// the clock was wrong then, or is now.
    pub fn recall(&self, space: &str, name: &str, age_max: Duration) -> Result<Option<Remembered>, StoreError> {
        let found = self.index().read("recall a value", |connection| {
            connection
                .prepare_cached("SELECT value, seen FROM remembered WHERE space = ?1 AND name = ?2")?
                .query_row(params![space, name], |row| Ok(Remembered { value: row.get(0)?, seen_unix_s: row.get(1)? }))
                .optional()
        })?;
        let found = found.and_then(|Remembered { value, seen_unix_s }| {
            let value = unseal(&[space.as_bytes(), name.as_bytes()], value)?;
            Some(Remembered { value, seen_unix_s })
        });
        let now = now_unix_s();
        let age_max_s = i64::try_from(age_max.as_secs()).unwrap_or(i64::MAX);
        Ok(found.filter(|found| (0..=age_max_s).contains(&(now - found.seen_unix_s))))
    }

    /// Forgets a value.
    pub fn forget(&self, space: &str, name: &str) -> Result<(), StoreError> {
        self.index().write("forget a value", |connection| {
            connection
                .prepare_cached("DELETE FROM remembered WHERE space = ?1 AND name = ?2")?
                .execute(params![space, name])
                .map(|_| ())
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn values_are_recalled_until_they_are_too_old() {
        let test = TestStore::new();
        let hour = Duration::from_hours(1);
        test.store.remember("reference", "alpine:3", b"sha256:1").unwrap();
        test.store.remember("reference", "alpine:3", b"sha256:2").unwrap();
        assert_eq!(test.store.recall("reference", "alpine:3", hour).unwrap().unwrap().value, b"sha256:2");
        assert_eq!(test.store.recall("git", "alpine:3", hour).unwrap(), None);
        test.sql("UPDATE remembered SET seen = seen - 4000");
        assert_eq!(test.store.recall("reference", "alpine:3", hour).unwrap(), None);
        assert!(test.store.recall("reference", "alpine:3", hour * 2).unwrap().is_some());
        test.sql("UPDATE remembered SET seen = seen + 100000");
        assert_eq!(test.store.recall("reference", "alpine:3", hour * 2).unwrap(), None);
        test.store.forget("reference", "alpine:3").unwrap();
        assert_eq!(test.store.recall("reference", "alpine:3", Duration::MAX).unwrap(), None);
    }
}
