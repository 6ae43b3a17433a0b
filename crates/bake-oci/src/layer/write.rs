//! Writes layer archives: ustar with PAX records, the same bytes for the same entries on every machine.
//!
//! One entry is written as
//!
//! ```text
//! [512: ustar header, type x] [PAX records, sorted by key, padded to 512]    only when a field needs it
//! [512: ustar header] [content, padded to 512]
//! ```
//!
//! and the archive ends with two blocks of zeros and no further padding. A PAX record is used for what ustar cannot
//! hold: names that are long or not ASCII, owners above 2,097,151, sizes above 8 GiB, times with a fraction or before
//! 1970, extended attributes. User and group names are never written. GNU's own extensions are never used.
//! Changing any of this changes every diff ID.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use crate::layer::entry::{Entry, EntryKind, MODE_MASK, NameError, check_name, display_path};
use crate::layer::header::{BLOCK_BYTES, OCTAL_7_MAX, OCTAL_11_MAX, padding, put_octal};
use crate::layer::pax::{XATTR_PREFIX, format_time, push_record};
use crate::layer::{PATH_BYTES_MAX, PAX_BYTES_MAX};

/// The piece content is copied in: large enough that calls cost nothing, small enough for the second-level cache.
const COPY_BYTES: usize = 256 << 10;

/// Why an entry could not be written. After an error the archive is unusable.
#[derive(Debug, thiserror::Error)]
pub enum LayerWriteError {
    /// The archive's writer failed.
    #[error("Failed to write `{path}` to the layer")]
    Write {
        /// The entry.
        path: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The content's reader failed.
    #[error("Failed to read the content of `{path}`")]
    Content {
        /// The entry.
        path: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file changed while it was read.
    #[error("`{path}` changed while it was read: it had {expected} bytes, then {}", if *.longer { "more" } else { "fewer" })]
    SizeChanged {
        /// The entry.
        path: String,
        /// The size its entry announced.
        expected: u64,
        /// Whether there was more content than announced.
        longer: bool,
    },
    /// Files need content, everything else must have none.
    #[error("`{path}` is {}", if *.given { "not a file but has content" } else { "a file without content" })]
    ContentMismatch {
        /// The entry.
        path: String,
        /// Whether content was given.
        given: bool,
    },
    /// The name or the target of the hard link cannot stand in a layer.
    #[error("the name `{path}` cannot be written to a layer")]
    Name {
        /// The name.
        path: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// The target of the symbolic link cannot stand in a layer.
    #[error("the target of the symbolic link `{path}` is empty, too long or has a NUL byte")]
    SymlinkTarget {
        /// The link.
        path: String,
    },
    /// A number is beyond what the format can hold.
    #[error("the {field} of `{path}` is out of range")]
    Field {
        /// The entry.
        path: String,
        /// Which number.
        field: &'static str,
    },
    /// Extended attributes that the format cannot hold.
    #[error("an extended attribute of `{path}` cannot be written to a layer: {reason}")]
    Xattr {
        /// The entry.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An earlier error left the archive incomplete.
    #[error("the layer is incomplete because of an earlier error")]
    Poisoned,
}

/// Writes the entries of a layer archive in the order they are given.
///
/// The caller decides the order and what is in; this type decides the bytes.
#[derive(Debug)]
pub struct LayerWriter<W> {
    writer: W,
    buffer: Vec<u8>,
    poisoned: bool,
}

impl<W: Write> LayerWriter<W> {
    /// Starts an archive. Wrap `writer` if small writes are dear: headers are written one block at a time.
    pub fn new(writer: W) -> Self {
        Self { writer, buffer: Vec::new(), poisoned: false }
    }

    /// Writes one entry; `content` must give exactly [`Entry::size`] bytes for a file, and be `None` for anything else
    /// (for an empty file it may be `None` too).
    pub fn append(&mut self, entry: &Entry, content: Option<&mut dyn Read>) -> Result<(), LayerWriteError> {
        if self.poisoned {
            return Err(LayerWriteError::Poisoned);
        }
        let (header, records) = encode(entry)?;
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        if content.is_some() != is_file && !(is_file && entry.size() == 0) {
            return Err(LayerWriteError::ContentMismatch { path: entry.display_path(), given: content.is_some() });
        }
        // From here on a failure leaves half an entry behind.
        self.poisoned = true;
        let written = self.write_headers(entry, &header, &records);
        written.map_err(|source| LayerWriteError::Write { path: entry.display_path(), source })?;
        if let Some(content) = content {
            self.copy_content(entry, content)?;
        }
        self.poisoned = false;
        Ok(())
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(mut self) -> Result<W, LayerWriteError> {
        if self.poisoned {
            return Err(LayerWriteError::Poisoned);
        }
        let end = |source| LayerWriteError::Write { path: "the end of the archive".to_owned(), source };
        self.writer.write_all(&[0; 2 * BLOCK_BYTES]).map_err(end)?;
        Ok(self.writer)
    }

    /// The writer, to flush or to ask; writing to it would break the archive.
    pub fn get_ref(&self) -> &W {
        &self.writer
    }

    fn write_headers(&mut self, entry: &Entry, header: &Header, records: &[u8]) -> io::Result<()> {
        if !records.is_empty() {
            let size = records.len() as u64;
            self.writer.write_all(pax_header(entry, size).as_bytes())?;
            self.writer.write_all(records)?;
            self.write_padding(size)?;
        }
        self.writer.write_all(header.as_bytes())
    }

    fn copy_content(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), LayerWriteError> {
        let size = entry.size();
        let changed = |longer| LayerWriteError::SizeChanged { path: entry.display_path(), expected: size, longer };
        let read_failed = |source| LayerWriteError::Content { path: entry.display_path(), source };
        let mut buffer = std::mem::take(&mut self.buffer);
        let piece = usize::try_from(size.saturating_add(1)).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        if buffer.len() < piece {
            buffer.resize(piece, 0);
        }
        let mut left = size;
        let result = loop {
            // Asking for one byte more than is left shows a file that grew, and its end, in the same call.
            let wanted = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
            let count = match content.read(&mut buffer[..wanted]) {
                Ok(0) if left == 0 => break Ok(()),
                Ok(0) => break Err(changed(false)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Err(read_failed(error)),
            };
            if count as u64 > left {
                break Err(changed(true));
            }
            left -= count as u64;
            if let Err(source) = self.writer.write_all(&buffer[..count]) {
                break Err(LayerWriteError::Write { path: entry.display_path(), source });
            }
        };
        self.buffer = buffer;
        result?;
        self.write_padding(size).map_err(|source| LayerWriteError::Write { path: entry.display_path(), source })
    }

    fn write_padding(&mut self, size: u64) -> io::Result<()> {
        let count = usize::try_from(padding(size)).unwrap_or_default();
        self.writer.write_all(&[0; BLOCK_BYTES][..count])
    }
}

/// The header of an entry, and its PAX records (empty if it needs none).
fn encode(entry: &Entry) -> Result<(Header, Vec<u8>), LayerWriteError> {
    check(entry)?;
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut header = Header::new_ustar();
    put_name(&mut header, entry, &mut records);
    let fields = header.as_ustar_mut().expect("the header was made as ustar");
    put_octal(&mut fields.mode, u64::from(entry.mode));
    for (field, key, value) in [(&mut fields.uid, b"uid", entry.uid), (&mut fields.gid, b"gid", entry.gid)] {
        put_octal(field, u64::from(value));
        if u64::from(value) > OCTAL_7_MAX {
            records.insert(key.to_vec(), value.to_string().into_bytes());
        }
    }
    put_octal(&mut fields.size, entry.size());
    if entry.size() > OCTAL_11_MAX {
        records.insert(b"size".to_vec(), entry.size().to_string().into_bytes());
    }
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(0);
    put_octal(&mut fields.mtime, seconds);
    let whole = entry.mtime.nanoseconds == 0 && entry.mtime.seconds >= 0 && seconds <= OCTAL_11_MAX;
    if !whole {
        records.insert(b"mtime".to_vec(), format_time(entry.mtime).into_bytes());
    }
    let (major, minor) = match entry.kind {
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    put_octal(&mut fields.dev_major, u64::from(major));
    put_octal(&mut fields.dev_minor, u64::from(minor));
    if let EntryKind::HardLink { target } | EntryKind::Symlink { target } = &entry.kind {
        if target.is_ascii() && target.len() <= fields.linkname.len() {
            fields.linkname[..target.len()].copy_from_slice(target);
        } else {
            put_ascii(&mut fields.linkname, target);
            records.insert(b"linkpath".to_vec(), target.clone());
        }
    }
    for (name, value) in &entry.xattrs {
        records.insert([XATTR_PREFIX, name].concat(), value.clone());
    }
    header.set_entry_type(match entry.kind {
        EntryKind::File { .. } => EntryType::Regular,
        EntryKind::HardLink { .. } => EntryType::Link,
        EntryKind::Symlink { .. } => EntryType::Symlink,
        EntryKind::Directory => EntryType::Directory,
        EntryKind::CharacterDevice { .. } => EntryType::Char,
        EntryKind::BlockDevice { .. } => EntryType::Block,
        EntryKind::Fifo => EntryType::Fifo,
    });
    header.set_cksum();
    let mut encoded = Vec::new();
    for (key, value) in &records {
        push_record(&mut encoded, key, value);
    }
    if encoded.len() > PAX_BYTES_MAX {
        return Err(LayerWriteError::Xattr {
            path: entry.display_path(),
            reason: "together they are longer than 1 MiB",
        });
    }
    Ok((header, encoded))
}

/// Refuses what the format cannot hold, before anything is written.
fn check(entry: &Entry) -> Result<(), LayerWriteError> {
    let path = || entry.display_path();
    check_name(&entry.path).map_err(|source| LayerWriteError::Name { path: path(), source })?;
    if entry.path.is_empty() && entry.kind != EntryKind::Directory {
        return Err(LayerWriteError::Name { path: path(), source: NameError::Empty });
    }
    match &entry.kind {
        EntryKind::HardLink { target } => {
            let checked = check_name(target).and(if target.is_empty() { Err(NameError::Empty) } else { Ok(()) });
            checked.map_err(|source| LayerWriteError::Name { path: display_path(target), source })?;
        }
        EntryKind::Symlink { target } => {
            if target.is_empty() || target.contains(&0) || target.len() > PATH_BYTES_MAX {
                return Err(LayerWriteError::SymlinkTarget { path: path() });
            }
        }
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            if u64::from(*major.max(minor)) > OCTAL_7_MAX {
                return Err(LayerWriteError::Field { path: path(), field: "device number" });
            }
        }
        EntryKind::File { .. } | EntryKind::Directory | EntryKind::Fifo => {}
    }
    if i64::try_from(entry.size()).is_err() {
        return Err(LayerWriteError::Field { path: path(), field: "size" });
    }
    if entry.mode & !MODE_MASK != 0 {
        return Err(LayerWriteError::Field { path: path(), field: "mode" });
    }
    // The smallest second is left out because its absolute value has no 64-bit form on the way back.
    if entry.mtime.nanoseconds >= 1_000_000_000 || entry.mtime.seconds == i64::MIN {
        return Err(LayerWriteError::Field { path: path(), field: "modification time" });
    }
    for name in entry.xattrs.keys() {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            let reason = "its name is empty or has a `=` or NUL byte";
            return Err(LayerWriteError::Xattr { path: path(), reason });
        }
    }
    Ok(())
}

/// Writes the name into the header: as it is, split at a slash (ustar), or as a PAX record.
fn put_name(header: &mut Header, entry: &Entry, records: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut name = entry.path.clone();
    if entry.kind == EntryKind::Directory {
        if name.is_empty() {
            name.push(b'.');
        }
        name.push(b'/');
    }
    let fields = header.as_ustar_mut().expect("the header was made as ustar");
    if name.is_ascii() {
        if name.len() <= fields.name.len() {
            fields.name[..name.len()].copy_from_slice(&name);
            return;
        }
        if let Some(slash) = split_place(&name, fields.name.len(), fields.prefix.len()) {
            fields.prefix[..slash].copy_from_slice(&name[..slash]);
            fields.name[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
            return;
        }
    }
    put_ascii(&mut fields.name, &name);
    records.insert(b"path".to_vec(), name);
}

/// The slash at which a long name is split, such that the part before fits the prefix and the part after the name.
fn split_place(name: &[u8], name_max: usize, prefix_max: usize) -> Option<usize> {
    let last = prefix_max.min(name.len().checked_sub(2)?);
    let slash = name[..=last].iter().rposition(|byte| *byte == b'/')?;
    (slash > 0 && name.len() - slash - 1 <= name_max).then_some(slash)
}

/// A stand-in for readers that do not know PAX: the ASCII characters that fit.
fn put_ascii(field: &mut [u8], text: &[u8]) {
    for (place, byte) in field.iter_mut().zip(text) {
        *place = if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'_' };
    }
}

/// The header in front of the PAX records. Its fields depend on the entry's name alone.
fn pax_header(entry: &Entry, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let fields = header.as_ustar_mut().expect("the header was made as ustar");
    put_ascii(&mut fields.name, &[b"PaxHeaders.0/", entry.file_name()].concat());
    put_octal(&mut fields.mode, 0o644);
    put_octal(&mut fields.uid, 0);
    put_octal(&mut fields.gid, 0);
    put_octal(&mut fields.size, size);
    put_octal(&mut fields.mtime, 0);
    put_octal(&mut fields.dev_major, 0);
    put_octal(&mut fields.dev_minor, 0);
    header.set_entry_type(EntryType::XHeader);
    header.set_cksum();
    header
}
