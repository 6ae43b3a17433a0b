//! What explains why a step runs: records of the past, those that were removed among them, and the paths that they
//! selected.
//!
//! ```text
//! record     a result that can be used; its columns `step`, `inputs` and `selections` are for here
//! evicted    what is left of a record that was removed: everything but the result
//! selection  the paths of a selection with their digests, once for all records that name it
//! ```
//!
//! None of it is needed to build. All of it is limited in number, size and age.

use bake_oci::{DefinitionDigest, TreeDigest};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::index::{delete_surplus, to_sql};
use crate::layout::now_unix_s;
use crate::store::Store;

/// Records that were removed, beyond which the oldest are forgotten: some 10 MB.
const EVICTED_MAX: i64 = 10_000;

/// A record that was removed explains nothing any more after this time.
const EVICTED_KEEP_S: i64 = 90 * 24 * 3600;

/// The paths of one selection, packed: 100,000 paths take about 1 MB.
const SELECTION_BYTES_MAX: usize = 8 << 20;

/// All selections together, beyond which those that were of no use for the longest time are forgotten.
const SELECTIONS_BYTES_MAX: i64 = 64 << 20;

/// How many records a step is compared with.
const NEAREST_MAX: usize = 4;

/// How many records of other steps are considered when none is of this step, those of the build's own steps not counted.
const CONSIDERED_MAX: usize = 200;

/// How many records are looked at for that: a build of a thousand steps has as many of its own, in some versions.
const LOOKED_AT_MAX: usize = 5000;

/// Which share of their words two steps must have in common to count as versions of one step.
const SIMILAR_MIN: f64 = 0.5;

/// What is kept beside a cache record to explain a later miss.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordNotes {
    /// The step's text without what changes when other steps come or go.
    pub step: String,
    /// What is known of the inputs, in the caller's own form.
    pub inputs: Vec<u8>,
    /// The selections that the key holds, with their paths in the caller's own form.
    pub selections: Vec<(TreeDigest, Vec<u8>)>,
}

/// A record to compare a miss with. Its result may be unusable, or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRecord {
    /// The identity of the step's definition.
    pub definition: DefinitionDigest,
    /// The step's text, for people.
    pub description: String,
    /// The key by component in the caller's own form.
    pub components: Vec<u8>,
    /// What was known of the inputs, in the caller's own form.
    pub inputs: Vec<u8>,
    /// When the step was carried out, in seconds since 1970.
    pub created_unix_s: i64,
    /// When the record was removed, and by what; `None` if it is still there.
    pub evicted: Option<Evicted>,
}

/// How a record went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    /// When, in seconds since 1970.
    pub at_unix_s: i64,
    /// By what, such as `bake prune`.
    pub by: String,
}

impl Store {
    /// The records nearest to a step: the newest ones of its definition and of its text, or, if there are none, of the
    /// steps of its kind (`kind` is what their texts begin with) those whose text is the most similar, except for what
    /// `is_other` says to be another step.
    pub fn past_records(
        &self,
        definition: &DefinitionDigest,
        step: &str,
        kind: &str,
        is_other: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<PastRecord>, StoreError> {
        self.index().read("look for similar cache records", |connection| {
            let mut found = Vec::new();
            for table in TABLES {
                found.extend(table.newest(connection, "definition = ?1", &definition.0.as_slice())?);
                found.extend(table.newest(connection, "step = ?1 AND step <> ''", &step)?);
            }
            found.sort_by_key(|(place, _)| *place);
            found.dedup_by_key(|(place, _)| *place);
            if found.is_empty() {
                found = similar(connection, step, kind, is_other)?;
            }
            // Of one second, the one that was added last is the newest.
            found.sort_by_key(|(place, record)| std::cmp::Reverse((record.created_unix_s, *place)));
            Ok(found.into_iter().map(|(_, record)| record).collect())
        })
    }

    /// The paths of a selection in the form in which they were recorded, if they are still known.
    pub fn selection(&self, digest: &TreeDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.index().read("read the paths of a selection", |connection| {
            connection
                .prepare_cached("SELECT paths FROM selection WHERE digest = ?1")?
                .query_row([digest.0], |row| row.get(0))
                .optional()
        })
    }

    /// Forgets what explains nothing any more, or is too much.
    pub(crate) fn tidy_past(&self) -> Result<(), StoreError> {
        self.index().write("forget old records", |connection| {
            connection.execute("DELETE FROM evicted WHERE evicted < ?1", [now_unix_s() - EVICTED_KEEP_S])?;
            connection.execute(
                "DELETE FROM evicted WHERE id NOT IN (SELECT id FROM evicted ORDER BY evicted DESC, id DESC LIMIT ?1)",
                [EVICTED_MAX],
            )?;
            delete_unnamed_selections(connection)
        })
    }
}

/// Where records are.
#[derive(Debug, Clone, Copy)]
struct Table {
    number: u8,
    name: &'static str,
    /// The columns that say how a record went.
    fate: &'static str,
}

const TABLES: [Table; 2] = [
    Table { number: 0, name: "record", fate: "NULL, NULL" },
    Table { number: 1, name: "evicted", fate: "evicted, evicted_by" },
];

/// A table and a row.
type Place = (u8, i64);

impl Table {
    fn newest(
        self,
        connection: &Connection,
        condition: &str,
        value: &dyn rusqlite::ToSql,
    ) -> rusqlite::Result<Vec<(Place, PastRecord)>> {
        let Self { number, name, fate } = self;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT id, definition, description, components, inputs, created, {fate}
             FROM {name} WHERE {condition} ORDER BY created DESC, id DESC LIMIT {NEAREST_MAX}"
        ))?;
        let rows = statement.query_map([value], |row| {
            let (id, record) = past_record(row)?;
            Ok(((number, id), record))
        })?;
        rows.collect()
    }
}

fn past_record(row: &Row<'_>) -> rusqlite::Result<(i64, PastRecord)> {
    let evicted = match row.get::<_, Option<i64>>(6)? {
        Some(at_unix_s) => Some(Evicted { at_unix_s, by: row.get(7)? }),
        None => None,
    };
    let record = PastRecord {
        definition: DefinitionDigest(row.get(1)?),
        description: row.get(2)?,
        components: row.get(3)?,
        inputs: row.get(4)?,
        created_unix_s: row.get(5)?,
        evicted,
    };
    Ok((row.get(0)?, record))
}

/// The records of a kind of step whose text is the most like `step`, if it is like it enough.
fn similar(
    connection: &Connection,
    step: &str,
    kind: &str,
    is_other: &dyn Fn(&str) -> bool,
) -> rusqlite::Result<Vec<(Place, PastRecord)>> {
    let mut end = kind.to_owned();
    // Greater than every text that begins with `kind`.
    end.push(char::MAX);
    let wanted = words(step);
    let mut best: Vec<(f64, i64, Table, i64)> = Vec::new();
    for table in TABLES {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT id, step, created FROM {} WHERE step >= ?1 AND step < ?2 ORDER BY created DESC LIMIT {LOOKED_AT_MAX}",
            table.name
        ))?;
        let mut rows = statement.query([kind, end.as_str()])?;
        let mut considered = 0;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(1)?.as_str()?;
            if is_other(text) {
                continue;
            }
            considered += 1;
            if considered > CONSIDERED_MAX {
                break;
            }
            let likeness = likeness(&wanted, &words(text));
            if likeness >= SIMILAR_MIN {
                best.push((likeness, row.get(2)?, table, row.get(0)?));
            }
        }
    }
    best.sort_by(|one, other| other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)));
    let mut found = Vec::new();
    for (_, _, table, id) in best.into_iter().take(NEAREST_MAX) {
        found.extend(table.newest(connection, "id = ?1", &id)?);
    }
    Ok(found)
}

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words
}

/// Twice the number of common words over the number of all words (Dice's coefficient); both are sorted.
fn likeness(one: &[&str], other: &[&str]) -> f64 {
    let (mut left, mut right, mut common) = (0, 0, 0_u32);
    while let (Some(a), Some(b)) = (one.get(left), other.get(right)) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => left += 1,
            std::cmp::Ordering::Greater => right += 1,
            std::cmp::Ordering::Equal => {
                (left, right, common) = (left + 1, right + 1, common + 1);
            }
        }
    }
    let all = u32::try_from(one.len() + other.len()).unwrap_or(u32::MAX);
    if all == 0 { 1.0 } else { f64::from(2 * common) / f64::from(all) }
}

/// Stores the paths of selections, each once.
pub(crate) fn insert_selections(connection: &Connection, selections: &[(TreeDigest, Vec<u8>)]) -> rusqlite::Result<()> {
    for (digest, paths) in selections.iter().filter(|(_, paths)| paths.len() <= SELECTION_BYTES_MAX) {
        let size = to_sql(u64::try_from(paths.len()).unwrap_or(u64::MAX));
        connection
            .prepare_cached(
                "INSERT INTO selection (digest, paths, size, used) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (digest) DO UPDATE SET used = excluded.used",
            )?
            .execute(params![digest.0, paths, size, now_unix_s()])?;
    }
    if selections.is_empty() {
        return Ok(());
    }
    delete_surplus(connection, "selection", SELECTIONS_BYTES_MAX, |number| {
        connection.prepare_cached("DELETE FROM selection WHERE number = ?1")?.execute([number]).map(|_| ())
    })
}

/// The digests of selections, one after the other.
pub(crate) fn names_of(selections: &[(TreeDigest, Vec<u8>)]) -> Vec<u8> {
    selections.iter().flat_map(|(digest, _)| digest.0).collect()
}

fn delete_unnamed_selections(connection: &Connection) -> rusqlite::Result<()> {
    let mut named = std::collections::HashSet::new();
    for table in TABLES {
        let mut statement =
            connection.prepare(&format!("SELECT selections FROM {} WHERE selections <> x''", table.name))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            named.extend(row.get_ref(0)?.as_blob()?.chunks_exact(32).map(<[u8]>::to_vec));
        }
    }
    let mut statement = connection.prepare("SELECT digest FROM selection")?;
    let known = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<Result<Vec<_>, _>>()?;
    for digest in known.iter().filter(|digest| !named.contains(*digest)) {
        connection.prepare_cached("DELETE FROM selection WHERE digest = ?1")?.execute([digest])?;
    }
    Ok(())
}

/// Removes a record with everything that makes it of use, and keeps what explains that it is gone. `by` is what removes
/// it, as people know it.
pub(crate) fn evict_record(connection: &Connection, id: i64, by: &str) -> rusqlite::Result<()> {
    evict(connection, "WHERE id = ?3", params![now_unix_s(), by, id])?;
    crate::cache::drop_record(connection, id)
}

/// Removes all records as [`evict_record`] does; returns how many there were.
pub(crate) fn evict_all_records(connection: &Connection, by: &str) -> rusqlite::Result<u64> {
    evict(connection, "", params![now_unix_s(), by])?;
    connection.execute("DELETE FROM record_key", [])?;
    connection.execute("DELETE FROM record_snapshot", [])?;
    connection.execute("DELETE FROM record", []).map(|count| u64::try_from(count).unwrap_or(u64::MAX))
}

fn evict(connection: &Connection, condition: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO evicted (definition, components, description, created, step, inputs, selections, evicted, evicted_by)
             SELECT definition, components, description, created, step, inputs, selections, ?1, ?2 FROM record {condition}"
        ))?
        .execute(values)
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_oci::CacheKey;

    use super::*;
    use crate::cache::CacheRecord;
    use crate::prune::PruneOptions;
    use crate::testing::TestStore;

    fn add(test: &TestStore, key: &str, step: &str, selections: &[&str], created_unix_s: i64) {
        let snapshot = test.publish(&format!("of-{key}"), &[]);
        let record = CacheRecord {
            keys: vec![CacheKey::of(key.as_bytes())],
            definition: DefinitionDigest::of(key.as_bytes()),
            result: b"result".to_vec(),
            snapshots: vec![snapshot],
            components: key.as_bytes().to_vec(),
            description: format!("[1/2] {step}"),
            created_unix_s,
            used_unix_s: 1,
        };
        let selection = |text: &&str| (TreeDigest::of(text.as_bytes()), text.as_bytes().to_vec());
        let notes = RecordNotes {
            step: step.to_owned(),
            inputs: Vec::new(),
            selections: selections.iter().map(selection).collect(),
        };
        test.store.cache_record_with(&record, &notes).unwrap();
    }

    fn found(test: &TestStore, definition: &str, step: &str) -> Vec<String> {
        let definition = DefinitionDigest::of(definition.as_bytes());
        let records = test.store.past_records(&definition, step, "RUN ", &|step| step == "RUN make other").unwrap();
        records.into_iter().map(|record| String::from_utf8(record.components).unwrap()).collect()
    }

    #[test]
    fn the_nearest_records_are_those_of_the_step_then_those_of_similar_ones() {
        let test = TestStore::new();
        add(&test, "a", "RUN make all", &[], 1);
        add(&test, "b", "RUN make all", &[], 2);
        add(&test, "c", "RUN make all install", &[], 3);
        add(&test, "d", "COPY make all", &[], 4);
        add(&test, "e", "RUN make other", &[], 5);
        assert_eq!(found(&test, "a", "RUN other"), ["a"]);
        assert_eq!(found(&test, "a", "RUN make all"), ["b", "a"]);
        assert_eq!(found(&test, "x", "RUN make all"), ["b", "a"]);
        assert_eq!(found(&test, "x", "RUN make install"), ["c", "b", "a"]);
        assert_eq!(found(&test, "x", "RUN apt-get update"), Vec::<String>::new());
    }

    #[test]
    fn however_many_other_steps_there_are_an_earlier_version_is_found() {
        let test = TestStore::new();
        add(&test, "a", "RUN make first", &[], 1);
        let columns = "definition, result, components, description, created, used, step, inputs, selections";
        test.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO record ({columns})
             SELECT zeroblob(32), x'', x'', '', 2, 2, 'RUN make other', x'', x'' FROM n"
        ));
        assert_eq!(found(&test, "x", "RUN make second"), ["a"]);
    }

    #[test]
    fn what_is_left_of_a_pruned_record_explains_and_is_not_found_as_a_result() {
        let test = TestStore::new();
        add(&test, "a", "RUN a", &["paths of a", "paths of both"], 1);
        add(&test, "b", "RUN b", &["paths of both"], 2);
        test.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!(test.store.cache_lookup(&CacheKey::of(b"a")).unwrap(), None);
        let records = test.store.past_records(&DefinitionDigest::of(b"a"), "RUN a", "RUN ", &|_| false).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].evicted.as_ref().unwrap().by, "bake prune");
        assert_eq!(test.store.selection(&TreeDigest::of(b"paths of a")).unwrap().unwrap(), b"paths of a");

        // Once nothing names them they go.
        test.sql("DELETE FROM evicted WHERE step = 'RUN a'");
        test.store.tidy_past().unwrap();
        assert_eq!(test.store.selection(&TreeDigest::of(b"paths of a")).unwrap(), None);
        assert!(test.store.selection(&TreeDigest::of(b"paths of both")).unwrap().is_some());
    }

    #[test]
    fn old_and_surplus_remains_are_forgotten() {
        let test = TestStore::new();
        test.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10010)
             INSERT INTO evicted (definition, components, description, created, step, inputs, selections, evicted, evicted_by)
             SELECT zeroblob(32), x'', '', 0, 'RUN x', x'', x'', {} + i, 'test' FROM n",
            now_unix_s() - 20_000
        ));
        test.sql(&format!("UPDATE evicted SET evicted = {} WHERE id > 10000", now_unix_s() - EVICTED_KEEP_S - 10));
        test.store.tidy_past().unwrap();
        let count = |test: &TestStore| {
            let read = test.store.index().read("count", |connection| {
                connection.query_row("SELECT count(*) FROM evicted", [], |row| row.get::<_, i64>(0))
            });
            read.unwrap()
        };
        assert_eq!(count(&test), 10_000);
        test.sql("INSERT INTO evicted SELECT id + 100000, definition, components, description, created, step, inputs, selections, evicted, evicted_by FROM evicted LIMIT 5");
        test.store.tidy_past().unwrap();
        assert_eq!(count(&test), EVICTED_MAX);
    }

    #[test]
    fn selections_are_kept_once_and_up_to_a_size() {
        let test = TestStore::new();
        let large = |number: u8| (TreeDigest::of(&[number]), vec![number; 7 << 20]);
        for number in 0..12 {
            let selections = [large(number)];
            test.store.index().write("test", |connection| insert_selections(connection, &selections)).unwrap();
        }
        let kept = (0..12).filter(|number| test.store.selection(&large(*number).0).unwrap().is_some()).count();
        assert_eq!(kept, 9);
        assert!(test.store.selection(&large(11).0).unwrap().is_some());
        let too_large = [(TreeDigest::of(b"x"), vec![0; SELECTION_BYTES_MAX + 1])];
        test.store.index().write("test", |connection| insert_selections(connection, &too_large)).unwrap();
        assert_eq!(test.store.selection(&too_large[0].0).unwrap(), None);
    }
}
