//! Tables of an `SQLite` database (<https://www.sqlite.org/fileformat2.html>), read-only, with what its write-ahead log adds.
//!
//! A reader of our own, because the library takes paths instead of bytes, and what it reads here comes from strangers.

use std::collections::HashMap;

use super::HEADER_BYTES_MAX;
use crate::scan::{Input, Problem};

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const SCHEMA_PAGE: u32 = 1;

const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
/// The longest log that is read. rpm writes it back to the database when it ends.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// The log's magic; its last bit says that sums are made of big-endian numbers.
const LOG_MAGIC: u32 = 0x377f_0682;

/// An open database.
pub(super) struct Database<'a> {
    input: &'a Input,
    page_bytes: u64,
    /// How much of a page is in use: the rest is for extensions.
    usable_bytes: usize,
    pages: u64,
    log: Option<&'a Input>,
    /// Where in the log the newest state of a page is.
    logged: HashMap<u32, u64>,
}

impl<'a> Database<'a> {
    /// Opens a database with its write-ahead log, if it has one.
    pub(super) fn open(input: &'a Input, log: Option<&'a Input>) -> Result<Self, Problem> {
        let none = || Problem::damaged("it is no SQLite database");
        let header =
            input.read(0, HEADER_BYTES as u64).map_err(|problem| if problem.ends_scan() { problem } else { none() })?;
        let page_bytes = match u64::from(half(&header, 16)) {
            1 => 65536,
            bytes => bytes,
        };
        if !header.starts_with(MAGIC) || !page_bytes.is_power_of_two() || page_bytes < 512 {
            return Err(none());
        }
        let reserved = usize::from(header[20]);
        let usable_bytes = usize::try_from(page_bytes).unwrap_or(0).saturating_sub(reserved);
        // By the specification; less makes no sense of the sizes below.
        if usable_bytes < 480 {
            return Err(none());
        }
        let logged = log.map(|log| read_log(log, page_bytes)).transpose()?.unwrap_or_default();
        let pages = input.size_bytes() / page_bytes + logged.len() as u64;
        Ok(Self { input, page_bytes, usable_bytes, pages, log, logged })
    }

    /// Hands out the rows of a table: for each column its bytes, empty for what is neither text nor bytes.
    pub(super) fn rows(
        &self,
        table: &str,
        take: &mut dyn FnMut(Vec<Vec<u8>>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut root = None;
        self.walk(SCHEMA_PAGE, &mut |payload| {
            // type, name, table, root page, text
            let columns = record(&payload)?;
            let texts: Vec<&[u8]> = columns.iter().map(|column| column.bytes).collect();
            if let [kind, name, ..] = texts.as_slice()
                && *kind == b"table"
                && *name == table.as_bytes()
            {
                root = columns.get(3).and_then(|column| u32::try_from(column.number).ok());
            }
            Ok(())
        })?;
        let root = root.ok_or_else(|| Problem::damaged(format!("it has no table `{table}`")))?;
        self.walk(root, &mut |payload| {
            take(record(&payload)?.into_iter().map(|column| column.bytes.to_vec()).collect())
        })
    }

    /// Hands out the payloads of a table's leaves, in the order of their keys.
    fn walk(&self, root: u32, take: &mut dyn FnMut(Vec<u8>) -> Result<(), Problem>) -> Result<(), Problem> {
        let mut next = vec![root];
        let mut visited = 0_u64;
        while let Some(number) = next.pop() {
            // In a tree, every page is there once.
            visited += 1;
            if visited > self.pages {
                return Err(Problem::damaged("its pages go in a circle"));
            }
            let page = self.page(number)?;
            let start = if number == SCHEMA_PAGE { HEADER_BYTES } else { 0 };
            // Not more cells than there is room for.
            let cells = usize::from(half(&page, start + 3)).min(page.len() / 4);
            let kind = page.get(start).copied();
            let first = start + if kind == Some(INTERIOR) { 12 } else { 8 };
            let places = (0..cells).map(|index| usize::from(half(&page, first + 2 * index)));
            match kind {
                Some(INTERIOR) => {
                    next.push(word(&page, start + 8));
                    next.extend(places.rev().map(|place| word(&page, place)));
                }
                Some(LEAF) => {
                    for place in places {
                        take(self.payload(&page, place)?)?;
                    }
                }
                _ => return Err(Problem::damaged("a page of it is none of a table")),
            }
        }
        Ok(())
    }

    /// The payload of a cell of a leaf, with what is on overflow pages.
    fn payload(&self, page: &[u8], place: usize) -> Result<Vec<u8>, Problem> {
        let damaged = || Problem::damaged("a row of it leads out of its page");
        let (length, after) = number(page, place).ok_or_else(damaged)?;
        let (_, start) = number(page, after).ok_or_else(damaged)?;
        if length > HEADER_BYTES_MAX {
            return Err(Problem::damaged("a row of it is too long"));
        }
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let usable = self.usable_bytes;
        let (local_max, local_min) = (usable - 35, (usable - 12) * 32 / 255 - 23);
        let local = if length <= local_max {
            length
        } else {
            let fitting = local_min + (length - local_min) % (usable - 4);
            if fitting <= local_max { fitting } else { local_min }
        };
        let mut bytes = page.get(start..start + local).ok_or_else(damaged)?.to_vec();
        let mut next = if local < length { word(page, start + local) } else { 0 };
        while bytes.len() < length {
            if next == 0 {
                return Err(Problem::damaged("a row of it goes on at a page that is not there"));
            }
            let overflow = self.page(next)?;
            let rest = overflow.get(4..usable).ok_or_else(damaged)?;
            bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
            next = word(&overflow, 0);
        }
        Ok(bytes)
    }

    fn page(&self, number: u32) -> Result<Vec<u8>, Problem> {
        if let (Some(log), Some(offset)) = (self.log, self.logged.get(&number)) {
            return log.read(*offset, self.page_bytes);
        }
        let index = number.checked_sub(1).ok_or_else(|| Problem::damaged("it refers to a page that is not there"))?;
        self.input.read(u64::from(index) * self.page_bytes, self.page_bytes)
    }
}

/// Where the pages of a write-ahead log are that were committed. What follows the last commit, or does not have the sum that it
/// says, was never written for the database's readers.
fn read_log(log: &Input, page_bytes: u64) -> Result<HashMap<u32, u64>, Problem> {
    let mut committed = HashMap::new();
    if log.size_bytes() < LOG_HEADER_BYTES + FRAME_HEADER_BYTES + page_bytes {
        return Ok(committed);
    }
    if log.size_bytes() > LOG_BYTES_MAX {
        return Err(Problem::damaged("its write-ahead log is too long"));
    }
    let header = log.read(0, LOG_HEADER_BYTES)?;
    let magic = word(&header, 0);
    if magic & !1 != LOG_MAGIC || u64::from(word(&header, 8)) != page_bytes {
        return Ok(committed);
    }
    let big_endian = magic & 1 == 1;
    let mut sums = sum(big_endian, (0, 0), &header[..24]);
    if sums != (word(&header, 24), word(&header, 28)) {
        return Ok(committed);
    }
    let mut pending = Vec::new();
    let mut offset = LOG_HEADER_BYTES;
    while offset + FRAME_HEADER_BYTES + page_bytes <= log.size_bytes() {
        let frame = log.read(offset, FRAME_HEADER_BYTES + page_bytes)?;
        let (frame_header, page) = frame.split_at(24);
        sums = sum(big_endian, sum(big_endian, sums, &frame_header[..8]), page);
        let is_of_this_log = frame_header[8..16] == header[16..24];
        if !is_of_this_log || sums != (word(frame_header, 16), word(frame_header, 20)) {
            break;
        }
        pending.push((word(frame_header, 0), offset + FRAME_HEADER_BYTES));
        let is_commit = word(frame_header, 4) != 0;
        if is_commit {
            committed.extend(pending.drain(..));
        }
        offset += FRAME_HEADER_BYTES + page_bytes;
    }
    Ok(committed)
}

/// The running sum of a log over a multiple of eight bytes.
fn sum(big_endian: bool, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let number = |bytes: &[u8]| {
        let number = word(bytes, 0);
        if big_endian { number } else { number.swap_bytes() }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(number(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(number(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}

/// A column of a row.
struct Column<'a> {
    /// Text or bytes.
    bytes: &'a [u8],
    /// An integer.
    number: i64,
}

/// The columns of a row: a header of types, then the values.
fn record(payload: &[u8]) -> Result<Vec<Column<'_>>, Problem> {
    let damaged = || Problem::damaged("a row of it is damaged");
    let (header_bytes, mut at) = number(payload, 0).ok_or_else(damaged)?;
    let header_bytes = usize::try_from(header_bytes).map_err(|_| damaged())?;
    let mut rest = payload.get(header_bytes..).ok_or_else(damaged)?;
    let mut columns = Vec::new();
    while at < header_bytes {
        let (kind, next) = number(payload, at).ok_or_else(damaged)?;
        at = next;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(damaged()),
            _ => (kind - 12) / 2,
        };
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let (value, after) = rest.split_at_checked(length).ok_or_else(damaged)?;
        rest = after;
        columns.push(match kind {
            1..=6 => {
                let negative = value.first().is_some_and(|byte| byte & 0x80 != 0);
                let start = if negative { -1 } else { 0 };
                Column { bytes: &[], number: value.iter().fold(start, |number, byte| number << 8 | i64::from(*byte)) }
            }
            9 => Column { bytes: &[], number: 1 },
            12.. => Column { bytes: value, number: 0 },
            _ => Column { bytes: &[], number: 0 },
        });
    }
    Ok(columns)
}

/// A number of one to nine bytes, and where it ends.
fn number(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for index in 0..8 {
        let byte = *bytes.get(at + index)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(at + 8)?), at + 9))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use rusqlite::Connection;

    use super::super::header::{self, tests::sample};
    use crate::testing::{inventory, survives_damage};

    const PATH: &str = "var/lib/rpm/rpmdb.sqlite";
    const LOG: &str = "var/lib/rpm/rpmdb.sqlite-wal";

    fn header(index: usize, summary_bytes: usize) -> Vec<u8> {
        let (name, summary) = (format!("package-{index:04}"), "x".repeat(summary_bytes));
        sample(&[
            (header::NAME, name.as_str()),
            (header::VERSION, "1"),
            (header::RELEASE, "1"),
            (header::SUMMARY, summary.as_str()),
        ])
    }

    fn create(directory: &std::path::Path, page_bytes: u32) -> Connection {
        let connection = Connection::open(directory.join("rpmdb.sqlite")).unwrap();
        connection.pragma_update(None, "page_size", page_bytes).unwrap();
        let tables = "CREATE TABLE 'Name' (key TEXT NOT NULL, hnum INTEGER NOT NULL);
            CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);
            CREATE INDEX Name_index ON Name(key ASC);";
        connection.execute_batch(tables).unwrap();
        connection
    }

    fn insert(connection: &Connection, header: &[u8]) {
        connection.execute("INSERT INTO Packages(blob) VALUES (?1)", [header]).unwrap();
    }

    fn names(files: &[(&str, &[u8])]) -> Vec<String> {
        let found = inventory(files);
        assert_eq!(found.warnings, []);
        found.packages().map(|package| package.name.clone()).collect()
    }

    #[test]
    fn rows_of_all_sizes_are_read() {
        for page_bytes in [512, 4096, 65536] {
            let directory = tempfile::tempdir().unwrap();
            let mut connection = create(directory.path(), page_bytes);
            let transaction = connection.transaction().unwrap();
            for index in 0..300 {
                // Around every limit between a page and its overflow.
                insert(&transaction, &header(index, index * 37));
            }
            transaction.commit().unwrap();
            connection.execute("DELETE FROM Packages WHERE hnum = 3", []).unwrap();
            drop(connection);
            let bytes = std::fs::read(directory.path().join("rpmdb.sqlite")).unwrap();
            let expected: Vec<String> =
                (0..300).filter(|index| *index != 2).map(|index| format!("package-{index:04}")).collect();
            assert_eq!(names(&[(PATH, &bytes)]), expected, "pages of {page_bytes} bytes");
        }
    }

    #[test]
    fn what_is_in_the_log_counts_when_it_was_committed() {
        let directory = tempfile::tempdir().unwrap();
        let connection = create(directory.path(), 4096);
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        insert(&connection, &header(1, 10_000));
        insert(&connection, &header(2, 10));
        // While the connection is open, all is in the log only.
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        let (database, log) = (read("rpmdb.sqlite"), read("rpmdb.sqlite-wal"));
        let both = ["package-0001", "package-0002"];
        assert_eq!(names(&[(PATH, &database), (LOG, &log)]), both);
        assert_eq!(names(&[(PATH, &database)]), [""; 0]);
        let mut cut = log.clone();
        cut.truncate(log.len() - 1);
        assert_eq!(names(&[(PATH, &database), (LOG, &cut)]), ["package-0001"], "the last commit is not whole");
        let mut damaged = log;
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert_eq!(names(&[(PATH, &database), (LOG, &damaged)]), ["package-0001"], "the last sum is wrong");
        assert_eq!(names(&[(PATH, &database), (LOG, b"")]), [""; 0]);
    }

    #[test]
    fn damage_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let connection = create(directory.path(), 512);
        for index in 0..20 {
            insert(&connection, &header(index, 600));
        }
        drop(connection);
        let bytes = std::fs::read(directory.path().join("rpmdb.sqlite")).unwrap();
        assert_eq!(inventory(&[(PATH, &bytes)]).packages().len(), 20);
        assert_eq!(inventory(&[(PATH, &bytes[..bytes.len() / 2])]).warnings.len(), 1);
        assert_eq!(inventory(&[(PATH, b"SQLite")]).warnings.len(), 1);
        survives_damage(PATH, &bytes);
    }
}
