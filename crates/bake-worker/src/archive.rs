//! ADD of an archive: recognised by its content, unpacked into the destination.
//!
//! All decompression is done in-process. Every name is walked from the destination's descriptor, so an archive with `..`
//! or links cannot leave the image's tree.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bake_oci::Timestamp;
use bake_oci::{Entry, EntryKind, LayerReadError, LayerReader, ReadLimits};
use rustix::fs::{FileType, Mode, Timespec, symlinkat};

use crate::destination::{Attributes, Destination, DestinationError, Directory, Target, failed};
use crate::source_tree::{components, shown, split};

/// The most bytes that one archive may unpack to, and the most entries.
const ARCHIVE_LIMITS: ReadLimits = ReadLimits { clamp_parents: true, ..ReadLimits::DEFAULT };
/// Directories that entries imply but no entry describes; `--chown` is not for them.
const IMPLIED: Attributes = Attributes { owner: (0, 0), mode: 0o755, mtime: None };
/// How much of a file is looked at to tell what it is.
const SNIFF_BYTES: usize = 1024;

/// What went wrong while unpacking.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The archive cannot be read.
    #[error("cannot unpack the archive `{name}`: {source}")]
    Read {
        /// Its name.
        name: String,
        /// What lies underneath.
        #[source]
        source: LayerReadError,
    },
    /// The compressed stream is broken or cut short.
    #[error("cannot unpack the archive `{name}`: {source}")]
    Decompress {
        /// Its name.
        name: String,
        /// What lies underneath.
        #[source]
        source: std::io::Error,
    },
    /// An entry could not be made.
    #[error(transparent)]
    Destination(#[from] DestinationError),
}

/// How a stream is compressed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

fn packing(start: &[u8]) -> Packing {
    match start {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [b'B', b'Z', b'h', ..] => Packing::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
        // A frame, or a skippable frame before the first one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

/// Whether `block` is the first block of a tar archive: its checksum is right.
fn is_tar(block: &[u8]) -> bool {
    let Some(block) = block.get(..512) else { return false };
    let field = &block[148..156];
    let field = field.trim_ascii_start().split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
    let stored = std::str::from_utf8(field).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    let sum: u64 =
        block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
    stored == Some(sum) && block.iter().any(|b| *b != 0)
}

fn unpacked<'a>(file: &'a File, packing: Packing) -> std::io::Result<Box<dyn Read + 'a>> {
    let input = BufReader::with_capacity(128 * 1024, file);
    Ok(match packing {
        Packing::Plain => Box::new(input),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Packing::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
    })
}

/// An archive that was recognised, ready to be unpacked.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    packing: Packing,
    name: String,
}

/// Recognises an archive by its content; `None` if `file` is something else.
///
/// What only begins like a compressed stream, or breaks off before the first header of an archive, is a file like any
/// other: `BZh` may begin a text.
pub(crate) fn recognise(file: OwnedFd, name: &[u8]) -> Result<Option<Archive>, ArchiveError> {
    let mut file = File::from(file);
    let name = shown(name);
    let broken = |source| ArchiveError::Decompress { name: name.clone(), source };
    let mut start = [0; SNIFF_BYTES];
    let length = fill(&mut file, &mut start).map_err(broken)?;
    let packing = packing(&start[..length]);
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    let found = if packing == Packing::Plain {
        is_tar(&start[..length])
    } else {
        let mut block = [0; 512];
        let length = unpacked(&file, packing).and_then(|mut stream| fill(&mut stream, &mut block));
        length.is_ok_and(|length| is_tar(&block[..length]))
    };
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    Ok(found.then_some(Archive { file, packing, name }))
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

impl Archive {
    /// Unpacks into the directory `destination` of `into`, which is made where it is missing.
    ///
    /// Links that the archive holds or finds there lead nowhere else: to its entries, that directory is the root.
    pub(crate) fn unpack(
        &self,
        into: &Destination,
        destination: &str,
        owner: Option<(u32, u32)>,
    ) -> Result<(), ArchiveError> {
        let made = Attributes { owner: owner.unwrap_or((0, 0)), ..IMPLIED };
        let top = into.make_directories(destination.as_bytes(), made)?;
        let into = into.confined_to(&top)?;
        let broken = |source| ArchiveError::Decompress { name: self.name.clone(), source };
        let stream = unpacked(&self.file, self.packing).map_err(broken)?;
        let mut reader = LayerReader::with_limits(stream, ARCHIVE_LIMITS);
        let mut times: Vec<(Vec<u8>, Timespec)> = Vec::new();
        loop {
            let next = reader.next_entry().map_err(|source| ArchiveError::Read { name: self.name.clone(), source })?;
            let Some(mut next) = next else { break };
            let entry = next.entry.clone();
            if entry.path.is_empty() {
                continue;
            }
            let time = time_of(entry.mtime);
            let attributes =
                Attributes { owner: owner.unwrap_or((entry.uid, entry.gid)), mode: entry.mode, mtime: Some(time) };
            if entry.kind == EntryKind::Directory {
                let directory = directory_entry(&into, &entry.path)?;
                into.set_attributes(directory.fd(), directory.path(), Attributes { mtime: None, ..attributes })?;
                set_xattrs(&entry, directory.fd(), directory.path())?;
                times.push((entry.path, time));
                continue;
            }
            let (parent_path, name) = split(&entry.path);
            let parent = into.make_directories(parent_path, IMPLIED)?;
            make_room(&into, &parent, name, &entry.path)?;
            self.entry(&into, &parent, name, &entry, &mut next, attributes)?;
        }
        for (path, time) in times.iter().rev() {
            if let Target::Directory(directory) = into.target(path, IMPLIED)? {
                let times = rustix::fs::Timestamps { last_access: *time, last_modification: *time };
                rustix::fs::futimens(directory.fd(), &times).map_err(failed("set the time of", path))?;
            }
        }
        Ok(())
    }

    fn entry(
        &self,
        into: &Destination,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        content: &mut impl Read,
        attributes: Attributes,
    ) -> Result<(), ArchiveError> {
        let path = [parent.path(), name].join(&b'/');
        match &entry.kind {
            EntryKind::File { .. } => {
                let output = parent.create(name)?;
                let duplicate = output.try_clone();
                let result = duplicate.and_then(|file| copy_all(content, &mut File::from(file)));
                result.map_err(|source| ArchiveError::Decompress { name: self.name.clone(), source })?;
                into.set_attributes(&output, &path, attributes)?;
                // After the owner: a change of it takes file capabilities away.
                set_xattrs(entry, output.as_fd(), &path)?;
            }
            EntryKind::HardLink { target } => {
                let parts: Vec<&[u8]> = components(target).collect();
                let Some((leaf, parents)) = parts.split_last() else { return Ok(()) };
                let directory = into.make_directories(&parents.join(&b'/'), IMPLIED)?;
                into.link((&directory, leaf), parent, name)?;
                into.update_attributes(parent, name, attributes)?;
            }
            EntryKind::Symlink { target } => {
                symlinkat(&**target, parent.fd(), name).map_err(failed("make the link", &path))?;
                into.set_link_attributes(parent, name, attributes)?;
            }
            EntryKind::CharacterDevice { major, minor } => {
                make_node(into, parent, name, FileType::CharacterDevice, (*major, *minor), attributes)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                make_node(into, parent, name, FileType::BlockDevice, (*major, *minor), attributes)?;
            }
            EntryKind::Fifo => make_node(into, parent, name, FileType::Fifo, (0, 0), attributes)?,
            EntryKind::Directory => {}
        }
        Ok(())
    }
}

/// Makes room for an entry that is no directory; an archive may put a file where a directory is.
fn make_room(into: &Destination, parent: &Directory, name: &[u8], path: &[u8]) -> Result<(), ArchiveError> {
    match parent.make_room(name) {
        Err(DestinationError::IsDirectory(_)) => {
            into.remove(path)?;
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Makes a device or FIFO.
fn make_node(
    into: &Destination,
    parent: &Directory,
    name: &[u8],
    kind: FileType,
    (major, minor): (u32, u32),
    attributes: Attributes,
) -> Result<(), ArchiveError> {
    let path = [parent.path(), name].join(&b'/');
    // A character device 0:0 is how overlay marks a deletion; as a file of an archive it means nothing.
    if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
        return Err(DestinationError::Io {
            action: "make the device 0:0, which marks a deletion,",
            path: shown(&path),
            source: rustix::io::Errno::INVAL,
        }
        .into());
    }
    let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
    into.make_node(parent, name, kind, (major, minor))?;
    into.set_link_attributes(parent, name, attributes)?;
    rustix::fs::chmodat(parent.fd(), name, mode, rustix::fs::AtFlags::empty())
        .map_err(failed("set the mode of", &path))?;
    Ok(())
}

/// The directory of an entry: the one that is there, or a new one in place of whatever else has its name, links included.
fn directory_entry(into: &Destination, path: &[u8]) -> Result<Directory, ArchiveError> {
    let (parent_path, name) = split(path);
    let parent = into.make_directories(parent_path, IMPLIED)?;
    match parent.child(name) {
        Ok(directory) => Ok(directory),
        Err(DestinationError::NotDirectory(_)) => {
            parent.make_room(name)?;
            Ok(into.make_child(&parent, name)?)
        }
        Err(DestinationError::Io { source: rustix::io::Errno::NOENT, .. }) => Ok(into.make_child(&parent, name)?),
        Err(error) => Err(error.into()),
    }
}

fn set_xattrs(entry: &Entry, file: BorrowedFd<'_>, path: &[u8]) -> Result<(), ArchiveError> {
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| crate::source_tree::is_layer_xattr(key)) {
        bake_sys::xattr::set_open(file, key, value).map_err(failed("set an attribute of", path))?;
    }
    Ok(())
}

/// The time of an entry; one before 1970 counts as none, as it does for the archivers of container tools.
fn time_of(time: Timestamp) -> Timespec {
    if time.seconds < 0 {
        return Timespec { tv_sec: 0, tv_nsec: 0 };
    }
    Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) }
}

fn copy_all(content: &mut impl Read, output: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            count => output.write_all(&buffer[..count])?,
        }
    }
}
