//! Reads layer archives strictly: ustar, PAX, GNU, star and V7 headers, with limits on everything.
//!
//! Where tar readers are known to disagree about where an entry ends or what it is called, this one refuses the
//! archive instead of picking a side, so nothing can be hidden from it that another reader would unpack:
//!
//! - the size of a header that carries an extension (`x`, `g`, `L`, `K`) is always its own, never one from a PAX record;
//! - a PAX size always replaces a file's own size (RUSTSEC-2025-0110, CVE-2026-33055);
//! - directories, symbolic links and devices must not announce content;
//! - a bad PAX record, a repeated extension header, an extension without an entry, a GNU name that contradicts a PAX
//!   name, an unknown type: errors.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::Header;

use crate::layer::decompress::ExpansionLimits;
use crate::layer::entry::{Entry, EntryKind, MODE_MASK, NameError, clean_name, display_path};
use crate::layer::header::{self, BLOCK_BYTES, checksum_is_right, number, padding};
use crate::layer::pax::{self, PaxError, XATTR_PREFIX};
use crate::layer::sparse::{Fragment, SparseError, SparseMap, SparseRecords, read_old_map};
use crate::layer::{PATH_BYTES_MAX, PAX_BYTES_MAX, XATTR_BYTES_MAX};
use crate::time::Timestamp;

/// The most headers of extensions in a row, global ones included; more are a way to keep a reader busy.
const EXTENSIONS_MAX: u32 = 64;

/// What an archive may ask of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// The most entries.
    pub entries: u64,
    /// The most bytes of content of all entries, with the holes of sparse files.
    pub content_bytes: u64,
    /// The most bytes of content for each byte of the archive, besides [`ExpansionLimits::FREE_BYTES`]: a sparse file
    /// announces any number of them in a few bytes, and whoever reads it later reads them all.
    pub content_ratio: u64,
    /// Whether `..` in a name goes up, at most to the archive's own root, instead of being refused. For archives that a
    /// user adds to an image, which other builders unpack that way; a layer's names must be refused.
    pub clamp_parents: bool,
}

impl ReadLimits {
    /// 8 Mi entries and 1 TiB: an order of magnitude above the largest layers seen (full SDKs, model weights). The ratio
    /// is that of compressed blobs.
    pub const DEFAULT: Self =
        Self { entries: 8 << 20, content_bytes: 1 << 40, content_ratio: ExpansionLimits::RATIO, clamp_parents: false };
}

impl Default for ReadLimits {
    /// [`ReadLimits::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayerReadError {
    /// The reader below failed.
    #[error("Failed to read the layer archive at byte {position}")]
    Read {
        /// Bytes of the archive read before.
        position: u64,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The archive ends in the middle of something.
    #[error("the layer archive is cut off at byte {position}")]
    CutOff {
        /// Where it ends.
        position: u64,
    },
    /// A block that should be a header is none.
    #[error("the layer archive has a bad header at byte {position}: {reason}")]
    Header {
        /// Where the block begins.
        position: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The records of an extended header.
    #[error("the layer archive has a bad PAX header before byte {position}")]
    Pax {
        /// Where the header ends.
        position: u64,
        /// What is wrong with it.
        #[source]
        source: PaxError,
    },
    /// A number of an entry is beyond what a file system holds.
    #[error("the {field} of `{path}` is not valid")]
    Field {
        /// The entry.
        path: String,
        /// Which number.
        field: &'static str,
    },
    /// A name, or the target of a hard link.
    #[error("the {what} `{path}` in the layer archive is refused")]
    Name {
        /// `name` or `hard link target`.
        what: &'static str,
        /// The name as it stands in the archive.
        path: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// The target of a symbolic link.
    #[error("the target of the symbolic link `{path}` is empty, too long or has a NUL byte")]
    SymlinkTarget {
        /// The link.
        path: String,
    },
    /// A type that layers do not have.
    #[error("`{path}` has type `{kind}`, which a layer cannot have")]
    Kind {
        /// The entry.
        path: String,
        /// The type's letter.
        kind: String,
    },
    /// Something that is no file announces content.
    #[error("`{path}` is not a file but announces {size_bytes} bytes of content")]
    UnexpectedContent {
        /// The entry.
        path: String,
        /// What it announces.
        size_bytes: u64,
    },
    /// A sparse file.
    #[error("the sparse file `{path}` is refused")]
    Sparse {
        /// The entry.
        path: String,
        /// What is wrong with it.
        #[source]
        source: SparseError,
    },
    /// Holes of sparse files that make the content many times as large as the archive.
    #[error("with the sparse file `{path}` the content is more than {ratio} times as large as the archive up to there")]
    Holes {
        /// The entry.
        path: String,
        /// The limit.
        ratio: u64,
    },
    /// More than the limits allow.
    #[error("the layer archive has {what}, more than the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// Reads the entries of a layer archive one after the other.
///
/// After an error the archive is given up: every later call gives `None`.
#[derive(Debug)]
pub struct LayerReader<R> {
    source: Source<R>,
    limits: ReadLimits,
    entries: u64,
    content_bytes: u64,
    /// Bytes of content and padding in the archive before the next header.
    unread: u64,
    globals: Records,
    ended: bool,
}

/// An entry, and its content as a reader of exactly [`Entry::size`] bytes. What is not read is skipped.
#[derive(Debug)]
pub struct ReadEntry<'a, R> {
    /// The entry.
    pub entry: Entry,
    content: Content,
    source: &'a mut Source<R>,
    unread: &'a mut u64,
}

/// The reader below, and how far it is.
#[derive(Debug)]
struct Source<R> {
    reader: R,
    position: u64,
}

/// What is left of an entry's content.
#[derive(Debug)]
struct Content {
    /// Bytes of the file still to give, with holes.
    left: u64,
    /// Where in the file the next byte lies; counts for sparse files only.
    offset: u64,
    /// The pieces of data of a sparse file that are not used up, last first; `None` for plain files.
    fragments: Option<Vec<Fragment>>,
}

/// The PAX records that count, by what they say; from `x` or `g` headers.
#[derive(Debug, Default)]
struct Records {
    path: Option<Vec<u8>>,
    link_path: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
    uid: Option<Vec<u8>>,
    gid: Option<Vec<u8>>,
    mtime: Option<Vec<u8>>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: SparseRecords,
}

/// The extension headers in front of an entry.
#[derive(Debug, Default)]
struct Extensions {
    records: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> LayerReader<R> {
    /// Reads the archive from `reader` within the default limits. Wrap `reader` if small reads are dear.
    pub fn new(reader: R) -> Self {
        Self::with_limits(reader, ReadLimits::default())
    }

    /// Reads the archive from `reader` within `limits`.
    pub fn with_limits(reader: R, limits: ReadLimits) -> Self {
        Self {
            source: Source { reader, position: 0 },
            limits,
            entries: 0,
            content_bytes: 0,
            unread: 0,
            globals: Records::default(),
            ended: false,
        }
    }

    /// The next entry, or `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<ReadEntry<'_, R>>, LayerReadError> {
        if self.ended {
            return Ok(None);
        }
        // Set until the entry is complete, so that an error ends the archive.
        self.ended = true;
        self.source.skip(self.unread)?;
        self.unread = 0;
        let Some((header, extensions)) = self.read_headers()? else { return Ok(None) };
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(LayerReadError::Limit { what: "too many entries", limit: self.limits.entries });
        }
        let (entry, content, unread) = self.interpret(&header, extensions)?;
        self.content_bytes = self.content_bytes.saturating_add(entry.size());
        if self.content_bytes > self.limits.content_bytes {
            return Err(LayerReadError::Limit { what: "too much content", limit: self.limits.content_bytes });
        }
        let archive_bytes = self.source.position.saturating_add(unread);
        let allowed = archive_bytes.saturating_mul(self.limits.content_ratio);
        if self.content_bytes > allowed.saturating_add(ExpansionLimits::FREE_BYTES) {
            return Err(LayerReadError::Holes { path: entry.display_path(), ratio: self.limits.content_ratio });
        }
        self.unread = unread;
        self.ended = false;
        Ok(Some(ReadEntry { entry, content, source: &mut self.source, unread: &mut self.unread }))
    }

    /// A name in its shortest form; what `..` means is for the limits to say.
    fn clean(&self, raw: &[u8]) -> Result<Vec<u8>, NameError> {
        if !self.limits.clamp_parents {
            return clean_name(raw);
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        clean_name(&parts.join(&b'/'))
    }

    /// Reads what follows the end of the archive, so that a digest of the reader below covers every byte, and gives
    /// that reader back.
    pub fn finish(mut self) -> Result<R, LayerReadError> {
        let position = self.source.position;
        io::copy(&mut self.source.reader, &mut io::sink())
            .map_err(|source| LayerReadError::Read { position, source })?;
        Ok(self.source.reader)
    }

    /// The header of the next entry and the extensions in front of it.
    fn read_headers(&mut self) -> Result<Option<(Header, Extensions)>, LayerReadError> {
        let mut extensions = Extensions::default();
        for _ in 0..EXTENSIONS_MAX {
            let position = self.source.position;
            let bad = |reason| LayerReadError::Header { position, reason };
            let pending =
                extensions.records.is_some() || extensions.long_name.is_some() || extensions.long_link.is_some();
            let Some(header) = self.source.read_header()? else {
                return if pending { Err(bad("an extension header has no entry")) } else { Ok(None) };
            };
            let kind = header.as_old().linkflag[0];
            if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
                return Ok(Some((header, extensions)));
            }
            let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| bad("its size is not a number"))?;
            if size > PAX_BYTES_MAX as u64 {
                return Err(LayerReadError::Limit { what: "a longer extension header", limit: PAX_BYTES_MAX as u64 });
            }
            let (bytes, rest_is_zero) = self.source.read_padded(size)?;
            let end = self.source.position;
            let pax = |source| LayerReadError::Pax { position: end, source };
            let slot = match kind {
                b'x' => {
                    if extensions.records.is_some() {
                        return Err(bad("two PAX headers for one entry"));
                    }
                    extensions.records = Some(Records::parse(&bytes).map_err(pax)?);
                    continue;
                }
                b'g' => {
                    self.globals.merge_globals(Records::parse(&bytes).map_err(pax)?).map_err(bad)?;
                    continue;
                }
                b'L' => &mut extensions.long_name,
                _ => &mut extensions.long_link,
            };
            // Other readers look for the end of a name that has none in what follows it.
            if !bytes.contains(&0) && !rest_is_zero {
                return Err(bad("a long name has no end"));
            }
            let text = header::until_nul(&bytes);
            if text.len() > PATH_BYTES_MAX {
                return Err(bad("a long name is longer than 4096 bytes"));
            }
            if slot.replace(text.to_vec()).is_some() {
                return Err(bad("two long names for one entry"));
            }
        }
        Err(LayerReadError::Limit { what: "more extension headers in a row", limit: u64::from(EXTENSIONS_MAX) })
    }

    /// Turns a header and its extensions into an entry, a plan for its content, and the number of bytes it takes.
    fn interpret(&mut self, header: &Header, extensions: Extensions) -> Result<(Entry, Content, u64), LayerReadError> {
        let old = header.as_old();
        let mut records = extensions.records.unwrap_or_default();
        let raw_name = if let Some(name) = records.sparse.name.take() {
            name
        } else {
            one_name(records.path.take(), extensions.long_name, || header::name(header))
                .map_err(|reason| LayerReadError::Header { position: self.source.position, reason })?
        };
        let path = || display_path(&raw_name);
        let field = |field| LayerReadError::Field { path: path(), field };
        let name_error =
            |what: &'static str, raw: &[u8], source| LayerReadError::Name { what, path: display_path(raw), source };
        let clean = self.clean(&raw_name).map_err(|source| name_error("name", &raw_name, source))?;

        let own_size = number(&old.size).and_then(|size| u64::try_from(size).ok()).ok_or_else(|| field("size"))?;
        let size = match &records.size {
            Some(text) => pax::decimal(text).ok_or_else(|| field("size"))?,
            None => own_size,
        };
        let globals = &self.globals;
        let owner = |record: Option<&Vec<u8>>, old: &[u8], name| -> Result<u32, LayerReadError> {
            match record {
                Some(text) => pax::decimal(text).and_then(|id| u32::try_from(id).ok()),
                None => number(old).and_then(|id| u32::try_from(id).ok()),
            }
            .ok_or_else(|| field(name))
        };
        let uid = owner(records.uid.as_ref().or(globals.uid.as_ref()), &old.uid, "owner")?;
        let gid = owner(records.gid.as_ref().or(globals.gid.as_ref()), &old.gid, "group")?;
        let mtime = match records.mtime.as_ref().or(globals.mtime.as_ref()) {
            Some(text) => pax::parse_time(text),
            None => number(&old.mtime).map(Timestamp::from_seconds),
        };
        let mtime = mtime.ok_or_else(|| field("modification time"))?;
        let mode =
            number(&old.mode).and_then(|mode| u32::try_from(mode).ok()).ok_or_else(|| field("mode"))? & MODE_MASK;

        let mut link_target = || {
            one_name(records.link_path.take(), extensions.long_link.clone(), || header::link_name(header))
                .map_err(|reason| LayerReadError::Header { position: self.source.position, reason })
        };
        let device = |field_bytes: Option<&[u8]>| -> Result<u32, LayerReadError> {
            number(field_bytes.unwrap_or_default())
                .and_then(|value| u32::try_from(value).ok())
                .ok_or_else(|| field("device number"))
        };
        // Device numbers lie at the same place in all formats but V7, which has none.
        let device_fields = header
            .as_ustar()
            .map(|fields| (&fields.dev_major[..], &fields.dev_minor[..]))
            .or_else(|| header.as_gnu().map(|fields| (&fields.dev_major[..], &fields.dev_minor[..])));
        let (major, minor) = (device_fields.map(|fields| fields.0), device_fields.map(|fields| fields.1));

        let is_directory_name = raw_name.ends_with(b"/");
        let mut content = Content { left: 0, offset: 0, fragments: None };
        let mut unread = 0;
        let kind = match old.linkflag[0] {
            // V7 archives have no type for directories, only the slash.
            b'0' | b'\0' if is_directory_name => EntryKind::Directory,
            b'0' | b'\0' | b'7' => {
                let mut data_bytes = size;
                let content_reader = (&mut self.source).take(size);
                let map = records
                    .sparse
                    .into_map(content_reader, &mut data_bytes)
                    .map_err(|source| LayerReadError::Sparse { path: path(), source })?;
                records.sparse = SparseRecords::default();
                (content, unread) = Content::plan(map, data_bytes).ok_or_else(|| field("size"))?;
                EntryKind::File { size: content.left }
            }
            b'S' => {
                let source = &mut self.source;
                let map = read_old_map(header, size, |block| source.read_block(block))?
                    .map_err(|source| LayerReadError::Sparse { path: path(), source })?;
                (content, unread) = Content::plan(Some(map), size).ok_or_else(|| field("size"))?;
                EntryKind::File { size: content.left }
            }
            b'1' => {
                let raw = link_target()?;
                let target = self.clean(&raw).map_err(|source| name_error("hard link target", &raw, source))?;
                if target.is_empty() {
                    return Err(name_error("hard link target", &raw, NameError::Empty));
                }
                // Some writers repeat the file's size here; every reader agrees that no content follows.
                EntryKind::HardLink { target }
            }
            b'2' => {
                let target = link_target()?;
                if target.is_empty() || target.contains(&0) || target.len() > PATH_BYTES_MAX {
                    return Err(LayerReadError::SymlinkTarget { path: path() });
                }
                EntryKind::Symlink { target }
            }
            b'3' => EntryKind::CharacterDevice { major: device(major)?, minor: device(minor)? },
            b'4' => EntryKind::BlockDevice { major: device(major)?, minor: device(minor)? },
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let kind = char::from(other).escape_default().to_string();
                return Err(LayerReadError::Kind { path: path(), kind });
            }
        };
        if !matches!(kind, EntryKind::File { .. } | EntryKind::HardLink { .. }) && size != 0 {
            return Err(LayerReadError::UnexpectedContent { path: path(), size_bytes: size });
        }
        if clean.is_empty() && kind != EntryKind::Directory {
            return Err(name_error("name", &raw_name, NameError::Empty));
        }
        let xattrs = std::mem::take(&mut records.xattrs);
        if xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > XATTR_BYTES_MAX {
            return Err(LayerReadError::Limit { what: "more extended attributes", limit: XATTR_BYTES_MAX as u64 });
        }
        Ok((Entry { path: clean, kind, mode, uid, gid, mtime, xattrs }, content, unread))
    }
}

impl<R> ReadEntry<'_, R> {
    /// The pieces of data of a sparse file that has not been read yet; `None` for any other entry. From now on reading
    /// gives these pieces one after the other, without the holes between them.
    pub fn take_sparse_map(&mut self) -> Option<Vec<Fragment>> {
        let mut fragments = self.content.fragments.take()?;
        fragments.reverse();
        // The map has been checked: this is no more than the archive holds.
        self.content.left = fragments.iter().map(|fragment| fragment.length).sum();
        Some(fragments)
    }
}

/// One name out of a PAX record, a GNU header and the entry's own header. Readers disagree about which of the first
/// two counts, so they must not differ.
fn one_name(
    record: Option<Vec<u8>>,
    gnu: Option<Vec<u8>>,
    own: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, &'static str> {
    match (record, gnu) {
        (Some(record), Some(gnu)) if record != gnu => Err("a PAX record and a GNU header give it different names"),
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(own()),
    }
}

impl Records {
    fn parse(bytes: &[u8]) -> Result<Self, PaxError> {
        let mut records = Self::default();
        for (key, value) in pax::parse(bytes)? {
            // An empty value takes back a record that came before (pax, "pax Extended Header").
            let owned = Some(value.to_vec()).filter(|value| !value.is_empty());
            let no_nul = |name: &'static str| if value.contains(&0) { Err(PaxError::Value(name)) } else { Ok(()) };
            match key {
                b"path" => {
                    no_nul("path")?;
                    records.path = owned;
                }
                b"linkpath" => {
                    no_nul("linkpath")?;
                    records.link_path = owned;
                }
                b"size" => records.size = owned,
                b"uid" => records.uid = owned,
                b"gid" => records.gid = owned,
                b"mtime" => records.mtime = owned,
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                        if name.is_empty() {
                            return Err(PaxError::Key);
                        }
                        records.xattrs.insert(name.to_vec(), value.to_vec());
                    } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        records.sparse.take(key, value);
                    }
                    // Others (atime, ctime, comment, uname, LIBARCHIVE.*) say nothing a layer keeps.
                }
            }
        }
        Ok(records)
    }

    /// Adds records of a global header. Ones that would give every entry the same name, size or content are refused:
    /// readers disagree about them and no writer makes them.
    fn merge_globals(&mut self, new: Self) -> Result<(), &'static str> {
        let per_entry = new.path.is_some() || new.link_path.is_some() || new.size.is_some() || !new.xattrs.is_empty();
        if per_entry || new.sparse.name.is_some() {
            return Err("a global PAX header has records of a single entry");
        }
        self.uid = new.uid.or(self.uid.take());
        self.gid = new.gid.or(self.gid.take());
        self.mtime = new.mtime.or(self.mtime.take());
        Ok(())
    }
}

impl Content {
    /// The content of a file with `data_bytes` in the archive, and what it takes there with padding; `None` when that
    /// is more than 63 bits.
    fn plan(map: Option<SparseMap>, data_bytes: u64) -> Option<(Self, u64)> {
        let taken = data_bytes.checked_add(padding(data_bytes)).filter(|taken| i64::try_from(*taken).is_ok())?;
        let content = match map {
            None => Self { left: data_bytes, offset: 0, fragments: None },
            Some(map) => {
                let fragments = map.fragments.into_iter().rev().collect();
                Self { left: map.real_size, offset: 0, fragments: Some(fragments) }
            }
        };
        Some((content, taken))
    }
}

impl<R: Read> Read for ReadEntry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let content = &mut self.content;
        let mut wanted = usize::try_from(content.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let in_hole = match &mut content.fragments {
            None => false,
            Some(fragments) => {
                while fragments.last().is_some_and(|fragment| fragment.offset + fragment.length <= content.offset) {
                    fragments.pop();
                }
                let (hole, until) = match fragments.last() {
                    None => (true, u64::MAX),
                    Some(fragment) if content.offset < fragment.offset => (true, fragment.offset),
                    Some(fragment) => (false, fragment.offset + fragment.length),
                };
                wanted = usize::try_from(until - content.offset).unwrap_or(usize::MAX).min(wanted);
                hole
            }
        };
        let count = if in_hole {
            buffer[..wanted].fill(0);
            wanted
        } else {
            let count = self.source.read(&mut buffer[..wanted])?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer archive is cut off"));
            }
            *self.unread -= count as u64;
            count
        };
        content.left -= count as u64;
        content.offset += count as u64;
        Ok(count)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: Read> Source<R> {
    /// The next header block; `None` at the end of the archive: two blocks of zeros, or no more bytes at all.
    fn read_header(&mut self) -> Result<Option<Header>, LayerReadError> {
        let position = self.position;
        let mut block = [0_u8; BLOCK_BYTES];
        if !self.read_block_or_end(&mut block)? {
            return Ok(None);
        }
        if block == [0; BLOCK_BYTES] {
            if self.read_block_or_end(&mut block)? && block != [0; BLOCK_BYTES] {
                return Err(LayerReadError::Header { position, reason: "it is a lone block of zeros" });
            }
            return Ok(None);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        if !checksum_is_right(&header) {
            return Err(LayerReadError::Header { position, reason: "its checksum is wrong" });
        }
        Ok(Some(header))
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<(), LayerReadError> {
        if self.read_block_or_end(block)? { Ok(()) } else { Err(LayerReadError::CutOff { position: self.position }) }
    }

    /// Fills a block, or gives `false` when there is not a single byte left.
    fn read_block_or_end(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, LayerReadError> {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(LayerReadError::CutOff { position: self.position }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LayerReadError::Read { position: self.position, source }),
            }
        }
        Ok(true)
    }

    /// Reads `size` bytes and the padding behind them, and says whether that is all zeros. `size` has been checked against
    /// a limit.
    fn read_padded(&mut self, size: u64) -> Result<(Vec<u8>, bool), LayerReadError> {
        let mut bytes = Vec::new();
        let whole = size + padding(size);
        let result = self.by_ref().take(whole).read_to_end(&mut bytes);
        result.map_err(|source| LayerReadError::Read { position: self.position, source })?;
        if (bytes.len() as u64) < whole {
            return Err(LayerReadError::CutOff { position: self.position });
        }
        let rest = bytes.split_off(usize::try_from(size).unwrap_or(bytes.len()).min(bytes.len()));
        Ok((bytes, rest.iter().all(|byte| *byte == 0)))
    }

    fn skip(&mut self, count: u64) -> Result<(), LayerReadError> {
        let copied = io::copy(&mut self.by_ref().take(count), &mut io::sink())
            .map_err(|source| LayerReadError::Read { position: self.position, source })?;
        if copied < count {
            return Err(LayerReadError::CutOff { position: self.position });
        }
        Ok(())
    }
}
