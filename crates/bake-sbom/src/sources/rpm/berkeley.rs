//! `Packages` as a hash of Berkeley DB (its `dbinc/db_page.h`), read-only and without locks or logs.
//!
//! ```text
//! page 0: u64 log position, u32 page, u32 magic 0x061561, u32 version, u32 page bytes, u8 encryption, u8 type 8, ...,
//!         at 32: u32 last page
//! others: u64 log position, u32 page, u32 previous, u32 next, u16 entries, u16 free, u8 level, u8 type, then
//!         hash (2, 13): u16 offsets of entries, keys and values by turns, each with a type of its own:
//!                       1 bytes up to the entry before, 3 elsewhere (u8 type, 3 unused, u32 page, u32 length)
//!         overflow (7): bytes, `free` of them where it is the last
//! ```
//!
//! Numbers are in the order of the machine that wrote them; the magic tells.

use super::HEADER_BYTES_MAX;
use crate::scan::{Input, Problem};

const MAGIC: u32 = 0x0006_1561;
const PAGE_HEADER_BYTES: usize = 26;
/// The shortest header of a package; the database has a number of its own under the key 0.
const HEADER_BYTES_MIN: usize = 16;

const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;

const ENTRY_INLINE: u8 = 1;
const ENTRY_ELSEWHERE: u8 = 3;

/// Hands out all values that are long enough to be a header.
pub(super) fn values(input: &Input, take: &mut dyn FnMut(Vec<u8>) -> Result<(), Problem>) -> Result<(), Problem> {
    let database = Database::open(input)?;
    for page in 1..=database.last_page {
        let page = database.page(page)?;
        if !matches!(page.kind(), HASH | HASH_UNSORTED) {
            continue;
        }
        for index in (1..page.entries()).step_by(2) {
            let value = database.value(&page, index)?;
            if value.len() >= HEADER_BYTES_MIN {
                take(value)?;
            }
        }
    }
    Ok(())
}

struct Database<'a> {
    input: &'a Input,
    page_bytes: u64,
    last_page: u32,
    big_endian: bool,
}

impl<'a> Database<'a> {
    fn open(input: &'a Input) -> Result<Self, Problem> {
        let none = || Problem::damaged("it is no hash of Berkeley DB");
        let bytes = input.read(0, 72).map_err(|problem| if problem.ends_scan() { problem } else { none() })?;
        let big_endian = match bytes.get(12..).and_then(<[u8]>::first_chunk) {
            Some(magic) if u32::from_le_bytes(*magic) == MAGIC => false,
            Some(magic) if u32::from_be_bytes(*magic) == MAGIC => true,
            _ => return Err(none()),
        };
        let meta = Page { bytes, big_endian };
        let page_bytes = u64::from(meta.word(20));
        if !(512..=65536).contains(&page_bytes) || !page_bytes.is_power_of_two() {
            return Err(none());
        }
        if meta.bytes.get(24) != Some(&0) {
            return Err(Problem::damaged("it is encrypted"));
        }
        // Pages beyond the end of the file would only be refused one after the other.
        let last_page = u64::from(meta.word(32)).min(input.size_bytes() / page_bytes);
        let last_page = u32::try_from(last_page).unwrap_or(u32::MAX);
        Ok(Self { input, page_bytes, last_page, big_endian })
    }

    fn page(&self, number: u32) -> Result<Page, Problem> {
        let start = u64::from(number) * self.page_bytes;
        // The last page may be cut where it is empty.
        if start >= self.input.size_bytes() {
            return Ok(Page { bytes: vec![0; PAGE_HEADER_BYTES], big_endian: self.big_endian });
        }
        Ok(Page { bytes: self.input.read(start, self.page_bytes)?, big_endian: self.big_endian })
    }

    fn value(&self, page: &Page, index: usize) -> Result<Vec<u8>, Problem> {
        let damaged = || Problem::damaged("an entry in it is not where its page says");
        let start = page.offset(index);
        match page.bytes.get(start) {
            Some(&ENTRY_INLINE) => {
                let end = page.offset(index - 1);
                page.bytes.get(start + 1..end).map(<[u8]>::to_vec).ok_or_else(damaged)
            }
            Some(&ENTRY_ELSEWHERE) => self.overflow(page.word(start + 4), u64::from(page.word(start + 8))),
            // Duplicates, which this database does not have.
            _ => Err(damaged()),
        }
    }

    /// The bytes of a chain of overflow pages.
    fn overflow(&self, first: u32, length: u64) -> Result<Vec<u8>, Problem> {
        if length > HEADER_BYTES_MAX || length > self.input.size_bytes() {
            return Err(Problem::damaged("an entry in it is too long"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        let mut next = first;
        while bytes.len() < length {
            let page = self.page(next)?;
            let rest = page.bytes.get(PAGE_HEADER_BYTES..).filter(|rest| !rest.is_empty());
            let Some(rest) = rest.filter(|_| next != 0 && page.kind() == OVERFLOW) else {
                return Err(Problem::damaged("an entry in it goes on at a page that is not there"));
            };
            bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
            next = page.word(16);
        }
        Ok(bytes)
    }
}

struct Page {
    bytes: Vec<u8>,
    big_endian: bool,
}

impl Page {
    fn kind(&self) -> u8 {
        self.bytes.get(25).copied().unwrap_or(0)
    }

    /// How many entries there are; not more than there is room for.
    fn entries(&self) -> usize {
        self.half(20).min(self.bytes.len() / 2)
    }

    /// Where an entry begins in the page.
    fn offset(&self, index: usize) -> usize {
        self.half(PAGE_HEADER_BYTES + 2 * index)
    }

    fn half(&self, at: usize) -> usize {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        usize::from(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{self, tests::sample};
    use super::*;
    use crate::testing::{inventory, survives_damage};

    const PAGE: usize = 512;

    /// A database with one header on overflow pages, one inline, and the number under the key 0.
    fn database(big_endian: bool) -> Vec<u8> {
        let half = |number: usize| {
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            if big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        };
        let word = |number: usize| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        };
        let header = |name: &str, summary: &str| {
            sample(&[(header::NAME, name), (header::VERSION, "1"), (header::RELEASE, "1"), (header::SUMMARY, summary)])
        };
        let page = |next: usize, entries: usize, free: usize, kind: u8| {
            let mut page = vec![0; PAGE];
            page[16..20].copy_from_slice(&word(next));
            page[20..22].copy_from_slice(&half(entries));
            page[22..24].copy_from_slice(&half(free));
            page[25] = kind;
            page
        };
        let mut meta = vec![0; PAGE];
        meta[12..16].copy_from_slice(&word(MAGIC as usize));
        meta[20..24].copy_from_slice(&word(PAGE));
        meta[25] = 8;
        let long = header("long", &"x".repeat(700));
        let short = header("short", "");
        let elsewhere = [&[ENTRY_ELSEWHERE, 0, 0, 0][..], &word(3), &word(long.len())].concat();
        let inline = |bytes: &[u8]| [&[ENTRY_INLINE], bytes].concat();
        let mut hash = vec![page(0, 4, 0, HASH), page(0, 2, 0, HASH_UNSORTED)];
        let entries = [
            vec![inline(&word(0)), inline(&word(9)), inline(&word(2)), elsewhere],
            vec![inline(&word(1)), inline(&short)],
        ];
        for (page, entries) in hash.iter_mut().zip(entries) {
            let mut end = PAGE;
            for (index, entry) in entries.iter().enumerate() {
                end -= entry.len();
                page[end..end + entry.len()].copy_from_slice(entry);
                page[26 + 2 * index..28 + 2 * index].copy_from_slice(&half(end));
            }
        }
        let mut pages = vec![meta];
        pages.extend(hash);
        let room = PAGE - PAGE_HEADER_BYTES;
        let parts: Vec<&[u8]> = long.chunks(room).collect();
        for (index, part) in parts.iter().enumerate() {
            let next = if index + 1 < parts.len() { 4 + index } else { 0 };
            let mut overflow = page(next, 1, part.len(), OVERFLOW);
            overflow[26..26 + part.len()].copy_from_slice(part);
            pages.push(overflow);
        }
        let last = word(pages.len() - 1);
        pages[0][32..36].copy_from_slice(&last);
        pages.concat()
    }

    #[test]
    fn packages_are_listed() {
        for big_endian in [false, true] {
            let database = database(big_endian);
            let found = inventory(&[("var/lib/rpm/Packages", &database)]);
            assert_eq!(found.warnings, []);
            let names: Vec<&str> = found.packages().map(|package| package.name.as_str()).collect();
            assert_eq!(names, ["long", "short"]);
            survives_damage("var/lib/rpm/Packages", &database);
        }
        assert_eq!(inventory(&[("var/lib/rpm/Packages", b"no database")]).warnings.len(), 1);
    }

    #[test]
    fn a_chain_that_goes_in_a_circle_ends() {
        let mut circle = database(false);
        let last = circle.len() - PAGE;
        // The last page goes on at itself, and the entry says that it is as long as the file.
        let number = u32::try_from(last / PAGE).unwrap_or(0).to_le_bytes();
        circle[last + 16..last + 20].copy_from_slice(&number);
        let entry = circle.windows(8).position(|bytes| bytes.starts_with(&[3, 0, 0, 0, 3, 0, 0, 0])).unwrap_or(0);
        let length = u32::try_from(circle.len()).unwrap_or(0).to_le_bytes();
        circle[entry + 8..entry + 12].copy_from_slice(&length);
        assert_eq!(inventory(&[("var/lib/rpm/Packages", &circle)]).packages().len(), 2);
    }
}
