//! Traces: what steps asked of their inputs when they ran, so that a later build can ask the same of other inputs.
//!
//! ```text
//! trace      by outer key (all that counts but the answers) and list of questions: the list, in the caller's own form
//! trace_key  the keys that answers to a list have led to, so that what a result was found by is known
//! heavy      outer keys of steps that ask nearly everything: a trace of them gains nothing
//! ```
//!
//! A trace leads to a key at most, never to a result, and every one can be lost: its step then runs again. All of it is
//! limited in number, size and age. A row that does not fit its seal counts as absent.

use bake_oci::CacheKey;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::index::{delete_surplus, to_sql};
use crate::layout::now_unix_s;
use crate::seal::{seal, unseal_always};
use crate::store::Store;

/// The largest document: the questions of 10,000 paths take some 100 KB, packed.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// All traces together, beyond which those that were of no use for the longest time are forgotten.
const TRACES_BYTES_MAX: i64 = 64 << 20;

/// How many traces one outer key has: each is a way that the step can go, and each is evaluated when a step misses.
const OF_OUTER_KEY_MAX: i64 = 16;

/// How many keys of one trace are known, beyond which the oldest are forgotten; as many as a result has.
const KEYS_OF_TRACE_MAX: i64 = 64;

/// How many steps are known to ask nearly everything, beyond which the oldest are forgotten.
const HEAVY_MAX: i64 = 10_000;

/// What was of no use for this long is forgotten.
const KEEP_S: i64 = 90 * 24 * 3600;

/// What a step asked when it ran, kept under its outer key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTrace {
    /// All that counts for the step but the answers.
    pub outer: CacheKey,
    /// The digest of the list of questions.
    pub questions: [u8; 32],
    /// The list in the caller's own form, at most 4 MiB.
    pub document: Vec<u8>,
    /// When the step was traced, in seconds since 1970.
    pub made_unix_s: i64,
}

/// The columns of a trace, as [`row_of`] reads them.
const COLUMNS: &str = "number, outer_key, questions, made, document, used";

impl Store {
    /// Keeps a trace, in place of the one that asks the same under the same outer key. Of an outer key the newest 16 stay.
    /// `keys` are those that its answers led to, and others of the same result.
    pub fn add_trace(&self, trace: &StoredTrace, keys: &[CacheKey]) -> Result<(), StoreError> {
        if trace.document.len() > DOCUMENT_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: "the trace of a step".into(),
                limit_bytes: u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX),
            });
        }
        let StoredTrace { outer, questions, document, made_unix_s } = trace;
        let size = to_sql(u64::try_from(document.len()).unwrap_or(u64::MAX));
        let sealed = seal(&place(outer, questions, &made_unix_s.to_le_bytes()), document);
        self.index().write("keep a trace", |connection| {
            let number: i64 = connection
                .prepare_cached(
                    "INSERT INTO trace (outer_key, questions, size, made, used, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (outer_key, questions) DO UPDATE
                     SET size = excluded.size, made = excluded.made, used = excluded.used, document = excluded.document
                     RETURNING number",
                )?
                .query_row(params![outer.0, questions, size, made_unix_s, now_unix_s(), sealed], |row| row.get(0))?;
            for key in keys {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO trace_key (key, trace) VALUES (?1, ?2)")?
                    .execute(params![key.0, number])?;
            }
            connection
                .prepare_cached(
                    "DELETE FROM trace_key WHERE trace = ?1 AND number NOT IN
                     (SELECT number FROM trace_key WHERE trace = ?1 ORDER BY number DESC LIMIT ?2)",
                )?
                .execute(params![number, KEYS_OF_TRACE_MAX])?;
            delete(
                connection,
                "outer_key = ?1 AND number NOT IN
                 (SELECT number FROM trace WHERE outer_key = ?1 ORDER BY made DESC, number DESC LIMIT ?2)",
                params![outer.0, OF_OUTER_KEY_MAX],
            )?;
            delete_surplus(connection, "trace", TRACES_BYTES_MAX, |number| delete(connection, "number = ?1", &[&number]))
        })
    }

    /// What the step of an outer key asked when it ran, newest first, at most 16.
    pub fn traces(&self, outer: &CacheKey) -> Result<Vec<StoredTrace>, StoreError> {
        let rows = self.index().read("look up traces", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM trace WHERE outer_key = ?1 ORDER BY made DESC, number DESC LIMIT {OF_OUTER_KEY_MAX}"
            ))?;
            statement.query_map([outer.0], row_of)?.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(rows.into_iter().filter_map(|row| self.note_use(row)).collect())
    }

    /// What the step of an outer key asked, by the digest of the list of questions.
    pub fn trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<Option<StoredTrace>, StoreError> {
        let row = self.index().read("look up a trace", |connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM trace WHERE outer_key = ?1 AND questions = ?2"))?
                .query_row(params![outer.0, questions], row_of)
                .optional()
        })?;
        Ok(row.and_then(|row| self.note_use(row)))
    }

    /// The traces whose answers have led to one of these keys of a result, as far as they are still known; each once.
    pub fn traces_of(&self, keys: &[CacheKey]) -> Result<Vec<StoredTrace>, StoreError> {
        let rows = self.index().read("look up the traces of a result", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM trace WHERE number = (SELECT trace FROM trace_key WHERE key = ?1)"
            ))?;
            let mut rows: Vec<TraceRow> = Vec::new();
            for key in keys {
                let row = statement.query_row([key.0], row_of).optional()?;
                rows.extend(row.filter(|row| rows.iter().all(|known| known.number != row.number)));
            }
            Ok(rows)
        })?;
        Ok(rows.into_iter().filter_map(|row| self.note_use(row)).collect())
    }

    /// Forgets a trace, such as one that led to another result than the step makes.
    pub fn forget_trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<(), StoreError> {
        self.index().write("forget a trace", |connection| {
            delete(connection, "outer_key = ?1 AND questions = ?2", params![outer.0, questions])
        })
    }

    /// Notes that the step of an outer key asks nearly everything, so that tracing it again gains nothing.
    pub fn note_heavy(&self, outer: &CacheKey) -> Result<(), StoreError> {
        self.index().write("note a step that asks nearly everything", |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO heavy (outer_key, noted, seal) VALUES (?1, ?2, ?3)")?
                .execute(params![outer.0, now_unix_s(), heavy_seal(outer)])?;
            connection
                .prepare_cached(
                    "DELETE FROM heavy WHERE number NOT IN (SELECT number FROM heavy ORDER BY number DESC LIMIT ?1)",
                )?
                .execute([HEAVY_MAX])
                .map(|_| ())
        })
    }

    /// Whether [`Store::note_heavy`] was called for this outer key.
    pub fn is_heavy(&self, outer: &CacheKey) -> Result<bool, StoreError> {
        self.index().read("look up a step that asks nearly everything", |connection| {
            let seal = connection
                .prepare_cached("SELECT seal FROM heavy WHERE outer_key = ?1")?
                .query_row([outer.0], |row| row.get::<_, Vec<u8>>(0))
                .optional()?;
            Ok(seal.is_some_and(|seal| seal == heavy_seal(outer)))
        })
    }

    /// Forgets the traces that were of no use for a long time.
    pub(crate) fn tidy_traces(&self) -> Result<(), StoreError> {
        let oldest = now_unix_s() - KEEP_S;
        self.index().write("forget old traces", |connection| {
            delete(connection, "used < ?1", &[&oldest])?;
            connection.execute("DELETE FROM heavy WHERE noted < ?1", [oldest])?;
            Ok(())
        })
    }

    /// How many traces and notes are damaged; with `remove` they are not there any more.
    pub(crate) fn damaged_traces(&self, remove: bool) -> Result<usize, StoreError> {
        let (traces, heavy) = self.index().read("check traces", |connection| {
            let mut traces = Vec::new();
            let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM trace"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if row_of(row)?.trace.is_none() {
                    traces.push(row.get::<_, i64>(0)?);
                }
            }
            let mut heavy = Vec::new();
            let mut statement = connection.prepare("SELECT number, outer_key, seal FROM heavy")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let key = row.get_ref(1)?.as_blob().ok().and_then(|key| key.try_into().ok()).map(CacheKey);
                if key.is_none_or(|key| {
                    row.get_ref(2).ok().and_then(|seal| seal.as_blob().ok()) != Some(&*heavy_seal(&key))
                }) {
                    heavy.push(row.get::<_, i64>(0)?);
                }
            }
            Ok((traces, heavy))
        })?;
        let count = traces.len() + heavy.len();
        if remove && count > 0 {
            self.index().write("remove damaged traces", |connection| {
                traces.iter().try_for_each(|number| delete(connection, "number = ?1", &[number]))?;
                let mut statement = connection.prepare("DELETE FROM heavy WHERE number = ?1")?;
                heavy.iter().try_for_each(|number| statement.execute([number]).map(|_| ()))
            })?;
        }
        Ok(count)
    }

    fn note_use(&self, row: TraceRow) -> Option<StoredTrace> {
        if row.trace.is_some() {
            self.note_trace_use(row.number, row.used_unix_s);
        }
        row.trace
    }
}

/// A row of the table.
struct TraceRow {
    number: i64,
    used_unix_s: i64,
    /// `None` if it is damaged.
    trace: Option<StoredTrace>,
}

/// Reads number, outer key, questions, time, document and use. A damaged column of any type spoils only its own row.
fn row_of(row: &Row<'_>) -> rusqlite::Result<TraceRow> {
    let trace = || {
        let outer = CacheKey(row.get_ref(1).ok()?.as_blob().ok()?.try_into().ok()?);
        let questions: [u8; 32] = row.get_ref(2).ok()?.as_blob().ok()?.try_into().ok()?;
        let made_unix_s = row.get_ref(3).ok()?.as_i64().ok()?;
        let sealed = row.get_ref(4).ok()?.as_blob().ok()?;
        let document = unseal_always(&place(&outer, &questions, &made_unix_s.to_le_bytes()), sealed)?;
        Some(StoredTrace { outer, questions, document, made_unix_s })
    };
    Ok(TraceRow { number: row.get(0)?, used_unix_s: row.get_ref(5)?.as_i64().unwrap_or(0), trace: trace() })
}

/// What a document is sealed with.
fn place<'a>(outer: &'a CacheKey, questions: &'a [u8; 32], made: &'a [u8]) -> [&'a [u8]; 4] {
    [b"trace", &outer.0, questions, made]
}

fn heavy_seal(outer: &CacheKey) -> Vec<u8> {
    seal(&[b"heavy", &outer.0], b"")
}

/// Forgets the traces for which `condition` holds, and by which keys they were known.
fn delete(connection: &Connection, condition: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&format!("DELETE FROM trace WHERE {condition} RETURNING number"))?;
    let numbers = statement.query_map(values, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let mut keys = connection.prepare_cached("DELETE FROM trace_key WHERE trace = ?1")?;
    numbers.into_iter().try_for_each(|number| keys.execute([number]).map(|_| ()))
}

/// Forgets all traces: without results they lead nowhere.
pub(crate) fn forget_all_traces(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM trace", [])?;
    connection.execute("DELETE FROM trace_key", [])?;
    connection.execute("DELETE FROM heavy", [])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::fsck::FsckOptions;
    use crate::prune::PruneOptions;
    use crate::testing::TestStore;

    fn trace(outer: &str, questions: u8, made_unix_s: i64) -> StoredTrace {
        let document = format!("what {outer} asked, {questions}").into_bytes();
        StoredTrace { outer: CacheKey::of(outer.as_bytes()), questions: [questions; 32], document, made_unix_s }
    }

    fn add(test: &TestStore, trace: &StoredTrace) {
        test.store.add_trace(trace, &[CacheKey::of(&trace.document)]).unwrap();
    }

    fn asked(test: &TestStore, outer: &str) -> Vec<u8> {
        let traces = test.store.traces(&CacheKey::of(outer.as_bytes())).unwrap();
        traces.into_iter().map(|trace| trace.questions[0]).collect()
    }

    #[test]
    fn the_newest_traces_of_an_outer_key_are_kept() {
        let test = TestStore::new();
        for number in 0..20 {
            add(&test, &trace("a", number, 100 + i64::from(number)));
        }
        add(&test, &trace("b", 7, 1));
        assert_eq!(asked(&test, "a"), (4..20).rev().collect::<Vec<_>>());
        assert_eq!(asked(&test, "b"), [7]);
        // The same questions again: the newer answers are kept, and are the newest.
        let again = StoredTrace { document: b"again".to_vec(), ..trace("a", 9, 500) };
        add(&test, &again);
        assert_eq!(asked(&test, "a")[..3], [9, 19, 18]);
        assert_eq!(test.store.trace(&again.outer, &again.questions).unwrap(), Some(again.clone()));
        assert_eq!(test.store.trace(&again.outer, &[99; 32]).unwrap(), None);
        test.store.forget_trace(&again.outer, &again.questions).unwrap();
        assert_eq!(test.store.trace(&again.outer, &again.questions).unwrap(), None);
        assert_eq!(asked(&test, "a").len(), 15);
        // Of one second, the one that was added last is the newest.
        for number in [3, 2, 5] {
            add(&test, &trace("c", number, 1));
        }
        assert_eq!(asked(&test, "c"), [5, 2, 3]);
    }

    #[test]
    fn traces_are_kept_up_to_a_size_the_ones_of_use_longest() {
        let test = TestStore::new();
        let large = |number: u8| StoredTrace { document: vec![number; 4 << 20], ..trace("a", number, 1) };
        let outer = |number: u8| CacheKey::of(&[number]);
        for number in 0..16 {
            add(&test, &StoredTrace { outer: outer(number), ..large(number) });
        }
        test.sql("UPDATE trace SET used = 1000 + number");
        assert_eq!(test.store.traces(&outer(0)).unwrap().len(), 1);
        test.store.flush_uses().unwrap();
        add(&test, &StoredTrace { outer: outer(16), ..large(16) });
        let kept: Vec<u8> = (0..17).filter(|number| !test.store.traces(&outer(*number)).unwrap().is_empty()).collect();
        assert_eq!(kept.len(), 16);
        assert!(kept.contains(&0) && !kept.contains(&1), "{kept:?}");
        let too_large = StoredTrace { document: vec![0; DOCUMENT_BYTES_MAX + 1], ..trace("x", 1, 1) };
        assert!(matches!(test.store.add_trace(&too_large, &[]), Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn a_trace_is_known_by_the_keys_that_its_answers_led_to() {
        let test = TestStore::new();
        let keys = ["one", "two", "other", "unknown"].map(|name| CacheKey::of(name.as_bytes()));
        let (first, other) = (trace("a", 1, 1), trace("a", 2, 2));
        test.store.add_trace(&first, &keys[..1]).unwrap();
        let again = StoredTrace { document: b"other answers".to_vec(), ..first };
        test.store.add_trace(&again, &keys[1..2]).unwrap();
        test.store.add_trace(&other, &keys[2..3]).unwrap();
        // Both answers were given to one list of questions.
        assert_eq!(test.store.traces_of(&keys[..2]).unwrap(), std::slice::from_ref(&again));
        assert_eq!(test.store.traces_of(&keys).unwrap(), [again.clone(), other.clone()]);
        assert_eq!(test.store.traces_of(&keys[3..]).unwrap(), []);
        test.store.forget_trace(&again.outer, &again.questions).unwrap();
        assert_eq!(test.store.traces_of(&keys).unwrap(), std::slice::from_ref(&other));
        for number in 0..100_u32 {
            test.store.add_trace(&other, &[CacheKey::of(&number.to_le_bytes())]).unwrap();
        }
        assert_eq!(test.store.traces_of(&keys).unwrap(), []);
        let count = |table: &str| {
            let read = test.store.index().read("count", |connection| {
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            });
            read.unwrap()
        };
        assert_eq!((count("trace"), count("trace_key")), (1, KEYS_OF_TRACE_MAX));
        test.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!((count("trace"), count("trace_key")), (0, 0));
    }

    #[test]
    fn steps_that_ask_everything_are_known_by_their_outer_key() {
        let test = TestStore::new();
        let (a, b) = (CacheKey::of(b"a"), CacheKey::of(b"b"));
        test.store.note_heavy(&a).unwrap();
        test.store.note_heavy(&a).unwrap();
        assert!(test.store.is_heavy(&a).unwrap());
        assert!(!test.store.is_heavy(&b).unwrap());
        test.sql(&format!("UPDATE heavy SET outer_key = x'{}'", bake_oci::digest::to_hex(&b.0)));
        assert!(!test.store.is_heavy(&b).unwrap(), "it is damaged");
    }

    #[test]
    fn they_go_with_the_results_and_with_time() {
        let test = TestStore::new();
        let outer = CacheKey::of(b"a");
        add(&test, &trace("a", 1, 1));
        test.store.note_heavy(&outer).unwrap();
        test.store.prune(&PruneOptions::default()).unwrap();
        let recent = PruneOptions {
            keep_duration: Some(std::time::Duration::from_mins(1)),
            all: true,
            ..PruneOptions::default()
        };
        test.store.prune(&recent).unwrap();
        assert_eq!((asked(&test, "a"), test.store.is_heavy(&outer).unwrap()), (vec![1], true));
        test.store.prune(&PruneOptions { all: true, dry_run: true, ..PruneOptions::default() }).unwrap();
        assert_eq!(asked(&test, "a"), [1]);
        test.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!((asked(&test, "a"), test.store.is_heavy(&outer).unwrap()), (vec![], false));

        add(&test, &trace("old", 1, 1));
        add(&test, &trace("new", 1, 1));
        let old = now_unix_s() - KEEP_S - 10;
        test.sql(&format!("UPDATE trace SET used = {old} WHERE number = (SELECT min(number) FROM trace)"));
        test.store.prune(&PruneOptions::default()).unwrap();
        assert_eq!((asked(&test, "old"), asked(&test, "new")), (vec![], vec![1]));
    }

    #[test]
    fn damaged_rows_count_as_absent_and_are_taken_out() {
        let hex = |key: &CacheKey| bake_oci::digest::to_hex(&key.0);
        let (a, b) = (CacheKey::of(b"a"), CacheKey::of(b"b"));
        let statements = [
            "UPDATE trace SET document = CAST(replace(CAST(document AS TEXT), 'asked', 'asket') AS BLOB)".to_owned(),
            format!("UPDATE trace SET outer_key = x'{}'", hex(&b)),
            format!("UPDATE trace SET questions = x'{}'", hex(&b)),
            "UPDATE trace SET questions = x'00'".to_owned(),
            "UPDATE trace SET made = made + 1".to_owned(),
            "UPDATE trace SET made = 'yesterday'".to_owned(),
            "UPDATE trace SET document = x''".to_owned(),
            "UPDATE trace SET document = 'text'".to_owned(),
            // A seal that lost its mark must not be taken for a document without one.
            "UPDATE trace SET document = x'28b52ffd'".to_owned(),
            "UPDATE trace SET outer_key = 'text'".to_owned(),
        ];
        for damage in statements {
            let test = TestStore::new();
            add(&test, &trace("a", 1, 5));
            test.sql(&damage);
            for outer in [&a, &b] {
                assert_eq!(test.store.traces(outer).unwrap(), [], "{damage}");
                assert_eq!(test.store.trace(outer, &[1; 32]).unwrap(), None, "{damage}");
            }
            add(&test, &trace("sound", 2, 6));
            test.store.note_heavy(&a).unwrap();
            test.sql("UPDATE heavy SET seal = x'01'");
            let report = test.store.fsck(FsckOptions::default()).unwrap();
            assert_eq!(report.problems.len(), 1, "{damage}: {report:?}");
            assert_eq!(report.problems[0].text, "2 traces of steps are damaged");
            let report = test.store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
            assert!(report.is_sound() && report.problems.len() == 1, "{damage}: {report:?}");
            assert_eq!(test.store.fsck(FsckOptions::default()).unwrap().problems, []);
            assert_eq!(asked(&test, "sound"), [2]);
        }
        // Whatever bit flips in what is sealed.
        let test = TestStore::new();
        add(&test, &trace("a", 1, 5));
        let sealed = seal(&place(&a, &[1; 32], &5_i64.to_le_bytes()), &trace("a", 1, 5).document);
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            test.sql(&format!("UPDATE trace SET document = x'{}'", bake_oci::digest::to_hex(&damaged)));
            assert_eq!(test.store.traces(&a).unwrap(), [], "bit {bit}");
        }
    }

    #[test]
    fn a_rebuilt_index_knows_no_traces() {
        let test = TestStore::new();
        add(&test, &trace("a", 1, 5));
        test.store.fsck(FsckOptions { rebuild: true, ..FsckOptions::default() }).unwrap();
        assert_eq!(asked(&test, "a"), Vec::<u8>::new());
        add(&test, &trace("a", 2, 5));
        assert_eq!(asked(&test, "a"), [2]);
    }
}
