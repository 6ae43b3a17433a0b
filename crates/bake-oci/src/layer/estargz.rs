//! eStargz layers: gzip layers from which a runtime can fetch single files (stargz-snapshotter, `docs/estargz.md`).
//!
//! ```text
//! gzip member   headers of the entries before the first file with content
//! gzip member   content of a file, or 4 MiB of it, and what follows: padding, headers of the entries up to the next file
//! ...
//! gzip member   `stargz.index.json`, the table of contents, and the end of the archive
//! footer        an empty gzip member of 51 bytes, whose extra field has the offset of the table's member
//! ```
//!
//! All members together are an ordinary gzip layer, whose archive has two more files: the table, and
//! `.no.prefetch.landmark`, which says that no file is to be fetched in advance. So its diff ID is not that of the layer it
//! was made from. The bytes depend on the archive and the level alone. Changing them has to change [`form`].

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Crc;
use serde::{Deserialize, Serialize};

use crate::digest::{DiffId, Digest, Digester};
use crate::layer::entry::{Entry, EntryKind};
use crate::layer::gzip::{self, BlockCompressor};
use crate::layer::header::{BLOCK_BYTES, padding};
use crate::layer::read::{LayerReadError, LayerReader};
use crate::layer::write::{LayerWriteError, LayerWriter};
use crate::time::Timestamp;

/// The annotation with the digest of the table of contents, which has to be on the layer's descriptor.
pub const TOC_DIGEST_ANNOTATION: &str = "containerd.io/snapshot/stargz/toc.digest";

/// The annotation with the size of the archive in bytes.
pub const UNCOMPRESSED_SIZE_ANNOTATION: &str = "io.containers.estargz.uncompressed-size";

/// The file with the table of contents.
pub const TOC_FILE: &str = "stargz.index.json";

/// The file that says that nothing is to be fetched in advance.
const NO_PREFETCH_LANDMARK: &str = ".no.prefetch.landmark";
/// The file between those that are to be fetched in advance and the others. Nothing is known here about which these are.
const PREFETCH_LANDMARK: &str = ".prefetch.landmark";

/// The most bytes of a file in one member, which a runtime fetches as a whole.
const CHUNK_BYTES: u64 = 4 << 20;

/// Members are compressed together until they have this size: a thread for each small file would cost more than it saves.
const BATCH_BYTES: usize = 1 << 20;

/// The name of what this version writes at a level of deflate, for what is remembered of it.
pub fn form(level: u32) -> String {
    format!("estargz-{level}-zlib-rs-4m-1")
}

/// An eStargz layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estargz {
    /// The digest of its archive, table and landmark included.
    pub diff_id: DiffId,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size_bytes: u64,
    /// The size of the archive in bytes.
    pub uncompressed_bytes: u64,
    /// The digest of the table of contents.
    pub toc_digest: Digest,
}

impl Estargz {
    /// The annotations of the layer's descriptor.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (TOC_DIGEST_ANNOTATION.to_owned(), self.toc_digest.to_string()),
            (UNCOMPRESSED_SIZE_ANNOTATION.to_owned(), self.uncompressed_bytes.to_string()),
        ])
    }
}

/// Why an eStargz layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EstargzError {
    /// The archive it is made of.
    #[error("Failed to read the layer's archive")]
    Read(#[from] LayerReadError),
    /// An entry.
    #[error("Failed to write the layer")]
    Entry(#[from] LayerWriteError),
    /// The blob.
    #[error("Failed to write the blob")]
    Write(#[from] io::Error),
}

/// Makes an eStargz layer of a layer's uncompressed archive, on up to `threads` threads, and gives the writer back.
///
/// A table and landmarks that the archive has already are left out. Takes memory for the names of all entries.
pub fn write_estargz<W: Write>(
    archive: impl Read,
    level: u32,
    threads: NonZeroUsize,
    out: W,
) -> Result<(Estargz, W), EstargzError> {
    let members = Rc::new(RefCell::new(Members::new(out, level, threads)));
    let mut writer = LayerWriter::new(Shared(Rc::clone(&members)));
    let mut entries: Vec<TocEntry> = Vec::new();
    let landmark = Entry::new(NO_PREFETCH_LANDMARK, EntryKind::File { size: 1 }, 0o644);
    append(&members, &mut writer, &landmark, &mut [0xf].as_slice(), &mut entries)?;
    let mut reader = LayerReader::new(archive);
    while let Some(mut next) = reader.next_entry()? {
        let entry = next.entry.clone();
        let own = [TOC_FILE, NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK];
        if own.iter().any(|name| name.as_bytes() == entry.path) {
            continue;
        }
        append(&members, &mut writer, &entry, &mut next, &mut entries)?;
    }
    drop(writer);
    let members = Rc::into_inner(members).expect("the writer that shared it is gone").into_inner();
    members.finish(entries)
}

fn append<W: Write>(
    members: &Rc<RefCell<Members<W>>>,
    writer: &mut LayerWriter<Shared<W>>,
    entry: &Entry,
    content: &mut dyn Read,
    entries: &mut Vec<TocEntry>,
) -> Result<(), EstargzError> {
    let mut row = TocEntry::of(entry);
    let EntryKind::File { size } = entry.kind else {
        writer.append(entry, None)?;
        entries.push(row);
        return Ok(());
    };
    let mut chunks =
        Chunks { members, content, size, position: 0, whole: Digester::new(), current: None, done: Vec::new() };
    writer.append(entry, Some(&mut chunks))?;
    chunks.close();
    let (whole, done) = (chunks.whole.finish(), chunks.done);
    row.digest = Some(whole.to_string());
    let count = done.len();
    if count == 0 {
        entries.push(row);
        return Ok(());
    }
    for (number, chunk) in done.into_iter().enumerate() {
        let first = number == 0;
        let mut row = if first { row.clone() } else { TocEntry::chunk(&row.name) };
        row.member = Some(chunk.member);
        row.chunk_offset = chunk.begin;
        // The size of the last one follows from that of the file.
        row.chunk_size = if number + 1 < count { CHUNK_BYTES } else { 0 };
        row.chunk_digest = Some(chunk.digest.to_string());
        entries.push(row);
    }
    Ok(())
}

/// The table of contents.
#[derive(Debug, Serialize)]
struct Toc {
    version: u32,
    entries: Vec<TocEntry>,
}

/// A line of it: an entry of the archive, or a further piece of a file.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    modtime: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    mode: u32,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
    /// The member that holds it; its offset is known when everything before it is compressed.
    #[serde(skip)]
    member: Option<usize>,
}

impl TocEntry {
    fn of(entry: &Entry) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut row = Self {
            name: text(&entry.path),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size(),
            modtime: modification_time(entry.mtime),
            xattrs: entry.xattrs.iter().map(|(name, value)| (text(name), STANDARD.encode(value))).collect(),
            ..Self::default()
        };
        row.r#type = match &entry.kind {
            EntryKind::File { .. } => "reg",
            EntryKind::Directory => {
                row.name = if entry.path.is_empty() { "./".to_owned() } else { format!("{}/", row.name) };
                "dir"
            }
            EntryKind::HardLink { target } => {
                row.link_name = text(target);
                "hardlink"
            }
            EntryKind::Symlink { target } => {
                row.link_name = text(target);
                "symlink"
            }
            EntryKind::CharacterDevice { major, minor } => {
                (row.dev_major, row.dev_minor) = (u64::from(*major), u64::from(*minor));
                "char"
            }
            EntryKind::BlockDevice { major, minor } => {
                (row.dev_major, row.dev_minor) = (u64::from(*major), u64::from(*minor));
                "block"
            }
            EntryKind::Fifo => "fifo",
        };
        row
    }

    fn chunk(name: &str) -> Self {
        Self { name: name.to_owned(), r#type: "chunk", ..Self::default() }
    }
}

/// In whole seconds; nothing for the epoch, as the specification has it.
fn modification_time(time: Timestamp) -> String {
    if time.seconds == 0 { String::new() } else { Timestamp::from_seconds(time.seconds).to_rfc3339() }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Gives the content of a file to the archive's writer. It is asked for content just when everything before it has been
/// written, so this is where a member ends and the next begins.
struct Chunks<'a, W> {
    members: &'a RefCell<Members<W>>,
    content: &'a mut dyn Read,
    size: u64,
    position: u64,
    whole: Digester,
    current: Option<(usize, u64, Digester)>,
    done: Vec<Chunk>,
}

/// A piece of a file.
struct Chunk {
    member: usize,
    /// Where in the file it begins.
    begin: u64,
    digest: Digest,
}

impl<W: Write> Chunks<'_, W> {
    fn close(&mut self) {
        if let Some((member, begin, digester)) = self.current.take() {
            self.done.push(Chunk { member, begin, digest: digester.finish() });
        }
    }
}

impl<W: Write> Read for Chunks<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position < self.size && self.position.is_multiple_of(CHUNK_BYTES) && !buffer.is_empty() {
            self.close();
            let member = self.members.borrow_mut().cut()?;
            self.current = Some((member, self.position, Digester::new()));
        }
        let left = usize::try_from(CHUNK_BYTES - self.position % CHUNK_BYTES).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.content.read(&mut buffer[..wanted])?;
        self.whole.update(&buffer[..count]);
        if let Some((_, _, digester)) = &mut self.current {
            digester.update(&buffer[..count]);
        }
        self.position += count as u64;
        Ok(count)
    }
}

/// The members, as a writer of the archive.
struct Shared<W>(Rc<RefCell<Members<W>>>);

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut members = self.0.borrow_mut();
        members.archive.update(bytes);
        members.uncompressed_bytes += bytes.len() as u64;
        members.current.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses members on other threads and writes them in order.
struct Members<W> {
    out: W,
    level: u32,
    threads: usize,
    blob: Digester,
    size_bytes: u64,
    archive: Digester,
    uncompressed_bytes: u64,
    /// The member that is being filled.
    current: Vec<u8>,
    /// Members that are full, to be compressed together.
    batch: Vec<Vec<u8>>,
    batch_bytes: usize,
    underway: VecDeque<JoinHandle<io::Result<Vec<Vec<u8>>>>>,
    /// Where each member begins in the blob, as far as they are written.
    offsets: Vec<u64>,
    /// How many members there are before the current one.
    count: usize,
}

impl<W: Write> Members<W> {
    fn new(out: W, level: u32, threads: NonZeroUsize) -> Self {
        Self {
            out,
            level,
            threads: threads.get().min(64),
            blob: Digester::new(),
            size_bytes: 0,
            archive: Digester::new(),
            uncompressed_bytes: 0,
            current: Vec::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            underway: VecDeque::new(),
            offsets: Vec::new(),
            count: 0,
        }
    }

    /// Ends the member; the number of the next one. There is always one before, as a header comes before all content.
    fn cut(&mut self) -> io::Result<usize> {
        let member = std::mem::take(&mut self.current);
        self.batch_bytes += member.len();
        self.batch.push(member);
        self.count += 1;
        if self.batch_bytes >= BATCH_BYTES {
            self.compress_batch()?;
        }
        Ok(self.count)
    }

    fn compress_batch(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        while self.underway.len() >= self.threads {
            self.write_oldest()?;
        }
        let level = self.level;
        let thread = std::thread::Builder::new().name("layer-estargz".to_owned());
        self.underway.push_back(thread.spawn(move || {
            let mut compressor = BlockCompressor::new(level);
            batch.iter().map(|member| compress_member(&mut compressor, member)).collect()
        })?);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(thread) = self.underway.pop_front() else { return Ok(()) };
        let compressed =
            thread.join().map_err(|_| io::Error::other("a thread that compresses the layer panicked"))??;
        for member in compressed {
            self.offsets.push(self.size_bytes);
            self.write(&member)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.blob.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the table of contents and the footer.
    fn finish(mut self, mut entries: Vec<TocEntry>) -> Result<(Estargz, W), EstargzError> {
        self.cut()?;
        self.compress_batch()?;
        while !self.underway.is_empty() {
            self.write_oldest()?;
        }
        for entry in &mut entries {
            if let Some(member) = entry.member {
                entry.offset =
                    self.offsets.get(member).copied().ok_or_else(|| io::Error::other("a member is missing"))?;
            }
        }
        let toc = serde_json::to_vec(&Toc { version: 1, entries }).map_err(io::Error::other)?;
        let toc_digest = Digest::of(&toc);
        let entry = Entry::new(TOC_FILE, EntryKind::File { size: toc.len() as u64 }, 0o444);
        let mut writer = LayerWriter::new(Vec::with_capacity(toc.len() + 4 * BLOCK_BYTES));
        writer.append(&entry, Some(&mut toc.as_slice()))?;
        let end = writer.finish()?;
        debug_assert_eq!(end.len() as u64, toc.len() as u64 + padding(toc.len() as u64) + 3 * BLOCK_BYTES as u64);
        self.archive.update(&end);
        self.uncompressed_bytes += end.len() as u64;
        let toc_offset = self.size_bytes;
        let member = compress_member(&mut BlockCompressor::new(self.level), &end)?;
        self.write(&member)?;
        self.write(&footer(toc_offset))?;
        self.out.flush()?;
        let layer = Estargz {
            diff_id: DiffId(self.archive.finish()),
            digest: self.blob.finish(),
            size_bytes: self.size_bytes,
            uncompressed_bytes: self.uncompressed_bytes,
            toc_digest,
        };
        Ok((layer, self.out))
    }
}

fn compress_member(compressor: &mut BlockCompressor, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let block = compressor.compress(None, bytes, true)?;
    Ok([gzip::HEADER.as_slice(), &block.bytes, &gzip::trailer(&block.crc, bytes.len() as u64)].concat())
}

/// The footer: an empty gzip member with an extra field (RFC 1952, section 2.3.1.1).
fn footer(toc_offset: u64) -> Vec<u8> {
    const FEXTRA: u8 = 4;
    let field = format!("{toc_offset:016x}STARGZ");
    let length = u16::try_from(field.len()).expect("22 bytes");
    let mut bytes = gzip::HEADER.to_vec();
    bytes[3] = FEXTRA;
    bytes.extend_from_slice(&(length + 4).to_le_bytes());
    bytes.extend_from_slice(b"SG");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(field.as_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    bytes.extend_from_slice(&gzip::trailer(&Crc::new(), 0));
    bytes
}
