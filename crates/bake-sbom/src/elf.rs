//! ELF files, as far as it takes to find what compilers left in them about packages.

use crate::scan::{Input, Problem};

/// More sections or segments than any linker writes for a program.
const TABLE_ENTRIES_MAX: u64 = 20_000;
/// The longest table of section names.
const NAMES_BYTES_MAX: u64 = 4 << 20;
/// A segment that is loaded (`PT_LOAD`).
const LOADED: u32 = 1;
/// A segment that may be written to (`PF_W`).
const WRITABLE: u32 = 2;

/// An ELF file whose tables are read.
pub(crate) struct Elf<'a> {
    input: &'a Input,
    order: Order,
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

/// How numbers in it are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) big_endian: bool,
    /// 4 or 8.
    pub(crate) word_bytes: usize,
}

struct Section {
    name: Vec<u8>,
    offset: u64,
    size: u64,
}

struct Segment {
    address: u64,
    offset: u64,
    size: u64,
    writable: bool,
}

impl<'a> Elf<'a> {
    /// Reads the tables. `None` when the file is no ELF file, or one of an unusual form; nothing is wrong with that.
    pub(crate) fn read(input: &'a Input) -> Result<Option<Self>, Problem> {
        if input.size_bytes() < 64 {
            return Ok(None);
        }
        let header = input.read(0, 64)?;
        if !header.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let order = Order { big_endian: header[5] == 2, word_bytes: if header[4] == 2 { 8 } else { 4 } };
        let wide = order.word_bytes == 8;
        let half = |at: usize| u64::from(order.half(&header, at).unwrap_or(0));
        let word = |at: usize| order.word(&header, at).unwrap_or(0);
        let (segments_at, sections_at) = if wide { (word(32), word(40)) } else { (word(28), word(32)) };
        let counts = if wide { 54 } else { 42 };
        let (segment_bytes, segment_count) = (half(counts), half(counts + 2));
        let (section_bytes, section_count, names_index) = (half(counts + 4), half(counts + 6), half(counts + 8));
        let segments = table(input, segments_at, segment_bytes, segment_count)?;
        let segments = segments.iter().filter_map(|entry| segment(order, entry)).collect();
        let entries = table(input, sections_at, section_bytes, section_count)?;
        let place = |entry: &[u8]| -> Option<(u64, u64)> {
            Some(if wide {
                (order.word(entry, 24)?, order.word(entry, 32)?)
            } else {
                (order.word(entry, 16)?, order.word(entry, 20)?)
            })
        };
        let names =
            usize::try_from(names_index).ok().and_then(|index| entries.get(index)).and_then(|entry| place(entry));
        let names = match names {
            Some((offset, size)) if size <= NAMES_BYTES_MAX => input.read(offset, size)?,
            _ => Vec::new(),
        };
        let section = |entry: &Vec<u8>| {
            let start = usize::try_from(order.quad(entry, 0)?).ok()?;
            let name = names.get(start..)?.split(|byte| *byte == 0).next()?.to_vec();
            let (offset, size) = place(entry)?;
            Some(Section { name, offset, size })
        };
        let sections = entries.iter().filter_map(section).collect();
        Ok(Some(Self { input, order, sections, segments }))
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Where a section's bytes are: offset and length.
    pub(crate) fn section(&self, name: &[u8]) -> Option<(u64, u64)> {
        let section = self.sections.iter().find(|section| section.name == name)?;
        Some((section.offset, section.size))
    }

    /// Where the bytes of the first segment are that may be written to: offset and length.
    pub(crate) fn writable_segment(&self) -> Option<(u64, u64)> {
        let segment = self.segments.iter().find(|segment| segment.writable)?;
        Some((segment.offset, segment.size))
    }

    /// Bytes at an address of the running program. The caller bounds `length`.
    pub(crate) fn read_at_address(&self, address: u64, length: u64) -> Result<Vec<u8>, Problem> {
        let found = self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            let fits = inside.checked_add(length)? <= segment.size;
            fits.then(|| segment.offset.checked_add(inside)).flatten()
        });
        let offset = found.ok_or_else(|| Problem::damaged("an address in it leads out of the program"))?;
        self.input.read(offset, length)
    }
}

impl Order {
    fn half(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) })
    }

    /// A number of four bytes.
    fn quad(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) })
    }

    /// A number as long as an address.
    pub(crate) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        if self.word_bytes == 4 {
            return self.quad(bytes, at).map(u64::from);
        }
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u64::from_be_bytes(*bytes) } else { u64::from_le_bytes(*bytes) })
    }
}

/// The entries of a table.
fn table(input: &Input, offset: u64, entry_bytes: u64, count: u64) -> Result<Vec<Vec<u8>>, Problem> {
    if count == 0 || entry_bytes == 0 {
        return Ok(Vec::new());
    }
    if count > TABLE_ENTRIES_MAX || entry_bytes > 1024 {
        return Err(Problem::damaged("its tables are larger than those of any program"));
    }
    let bytes = input.read(offset, entry_bytes * count)?;
    let entry_bytes = usize::try_from(entry_bytes).unwrap_or(usize::MAX);
    Ok(bytes.chunks_exact(entry_bytes).map(<[u8]>::to_vec).collect())
}

fn segment(order: Order, entry: &[u8]) -> Option<Segment> {
    let kind = order.quad(entry, 0)?;
    let (flags, offset, address, size) = if order.word_bytes == 8 {
        (order.quad(entry, 4)?, order.word(entry, 8)?, order.word(entry, 16)?, order.word(entry, 32)?)
    } else {
        (order.quad(entry, 24)?, order.word(entry, 4)?, order.word(entry, 8)?, order.word(entry, 16)?)
    };
    (kind == LOADED).then_some(Segment { address, offset, size, writable: flags & WRITABLE != 0 })
}

/// Programs for tests.
#[cfg(test)]
pub(crate) mod tests {
    /// A program for 64 bits, little-endian, of one section, which is also the segment that is loaded, at `ADDRESS`.
    pub(crate) fn program(section: &str, content: &[u8]) -> Vec<u8> {
        program_of(section, content, true)
    }

    /// Where the content of a program's section is when it runs.
    pub(crate) const ADDRESS: u64 = 0x40_0000;

    pub(crate) fn program_of(section: &str, content: &[u8], with_sections: bool) -> Vec<u8> {
        let names = format!("\0{section}\0.shstrtab\0");
        let content_at = 64 + 56_u64;
        let names_at = content_at + content.len() as u64;
        let sections_at = names_at + names.len() as u64;
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let mut push = |value: u64, length: usize| bytes.extend_from_slice(&value.to_le_bytes()[..length]);
        let section_count = if with_sections { 3 } else { 0 };
        for (value, length) in [(2, 2), (62, 2), (1, 4), (ADDRESS, 8), (64, 8), (sections_at, 8), (0, 4)] {
            push(value, length);
        }
        for value in [64, 56, 1, 64, section_count, if with_sections { 2 } else { 0 }] {
            push(value, 2);
        }
        // The segment.
        let size = content.len() as u64;
        for (value, length) in
            [(1, 4), (6, 4), (content_at, 8), (ADDRESS, 8), (ADDRESS, 8), (size, 8), (size, 8), (16, 8)]
        {
            push(value, length);
        }
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(names.as_bytes());
        for (name, offset, size) in
            [(0, 0, 0), (1, content_at, size), (2 + section.len() as u64, names_at, names.len() as u64)]
        {
            let mut entry = [0_u8; 64];
            entry[..4].copy_from_slice(&name.to_le_bytes()[..4]);
            entry[24..32].copy_from_slice(&offset.to_le_bytes());
            entry[32..40].copy_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&entry);
        }
        bytes
    }
}
