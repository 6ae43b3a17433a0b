//! ADD of an archive: recognised by its content, unpacked into the destination.
//!
//! All decompression is done in-process. Every name is walked from the destination's descriptor, so an archive with `..`
//! or links cannot leave the image's tree.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use bake_oci::Timestamp;
use bake_oci::{Entry, EntryKind, LayerReadError, LayerReader, ReadLimits};
use rustix::fs::{FileType, Mode, Timespec, makedev, mknodat, symlinkat};

use crate::destination::{Attributes, Destination, DestinationError, Directory, Target, failed};
use crate::source_tree::{components, shown, split};

/// The most bytes that one archive may unpack to, and the most entries.
const ARCHIVE_LIMITS: ReadLimits = ReadLimits { entries: 8 << 20, content_bytes: 1 << 40, clamp_parents: true };
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
    /// It was to be unpacked, but is no archive.
    #[error("`{0}` is not an archive that can be unpacked: tar, plain or compressed with gzip, bzip2, xz or zstd")]
    NotAnArchive(String),
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
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

/// Whether `block` is the first block of a tar archive: its checksum is right.
fn is_tar(block: &[u8]) -> bool {
    let Some(block) = block.get(..512) else { return false };
    let field = &block[148..156];
    let digits: String = field.iter().map(|b| char::from(*b)).filter(|c| c.is_digit(8)).collect();
    let Ok(stored) = u64::from_str_radix(&digits, 8) else { return false };
    let sum: u64 =
        block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
    sum == stored && block.iter().any(|b| *b != 0)
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
/// A compressed stream that breaks off before its first block counts as an archive if it is compressed in a known way:
/// it is then an error to unpack it, not a file to be copied.
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
        let length = unpacked(&file, packing).and_then(|mut stream| fill(&mut stream, &mut block)).map_err(broken)?;
        is_tar(&block[..length])
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
    pub(crate) fn unpack(
        &self,
        into: &Destination,
        destination: &str,
        owner: Option<(u32, u32)>,
    ) -> Result<(), ArchiveError> {
        let made = Attributes { owner: owner.unwrap_or((0, 0)), mode: 0o755, mtime: None };
        let top = into.make_directories(destination.as_bytes(), made)?;
        let broken = |source| ArchiveError::Decompress { name: self.name.clone(), source };
        let stream = unpacked(&self.file, self.packing).map_err(broken)?;
        let mut reader = LayerReader::with_limits(stream, ARCHIVE_LIMITS);
        let mut times: Vec<(Vec<u8>, Timestamp)> = Vec::new();
        loop {
            let next = reader.next_entry().map_err(|source| ArchiveError::Read { name: self.name.clone(), source })?;
            let Some(mut next) = next else { break };
            let entry = next.entry.clone();
            if entry.path.is_empty() {
                continue;
            }
            let path = [top.path(), entry.path.as_slice()].join(&b'/');
            let attributes = Attributes {
                owner: owner.unwrap_or((entry.uid, entry.gid)),
                mode: entry.mode,
                mtime: Some(Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanoseconds) }),
            };
            if entry.kind == EntryKind::Directory {
                let directory = directory_entry(into, &path, made)?;
                into.set_attributes(directory.fd(), directory.path(), Attributes { mtime: None, ..attributes })?;
                times.push((path, entry.mtime));
                continue;
            }
            let (parent_path, name) = split(&path);
            let parent = into.make_directories(parent_path, made)?;
            make_room(into, &parent, name, &path)?;
            self.entry(into, &top, &parent, name, &entry, &mut next, attributes)?;
        }
        for (path, time) in times.iter().rev() {
            if let Target::Directory(directory) = into.target(path, made)? {
                let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
                let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(directory.fd(), &times).map_err(failed("set the time of", path))?;
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one entry of an archive and all it is made from")]
    fn entry(
        &self,
        into: &Destination,
        top: &Directory,
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
                for (key, value) in entry.xattrs.iter().filter(|(key, _)| crate::source_tree::is_layer_xattr(key)) {
                    bake_sys::xattr::set_open(&output, key, value).map_err(failed("set an attribute of", &path))?;
                }
                into.set_attributes(&output, &path, attributes)?;
            }
            EntryKind::HardLink { target } => {
                let target = [top.path(), target.as_slice()].join(&b'/');
                let parts: Vec<&[u8]> = components(&target).collect();
                let Some((leaf, parents)) = parts.split_last() else { return Ok(()) };
                let made = Attributes { owner: (0, 0), mode: 0o755, mtime: None };
                let directory = into.make_directories(&parents.join(&b'/'), made)?;
                into.link((&directory, leaf), parent, name)?;
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
    mknodat(parent.fd(), name, kind, mode, makedev(major, minor)).map_err(failed("make the device or FIFO", &path))?;
    into.set_link_attributes(parent, name, attributes)?;
    rustix::fs::chmodat(parent.fd(), name, mode, rustix::fs::AtFlags::empty())
        .map_err(failed("set the mode of", &path))?;
    Ok(())
}

/// The directory of an entry: the one that is there, or a new one in place of whatever else has its name, links included.
fn directory_entry(into: &Destination, path: &[u8], made: Attributes) -> Result<Directory, ArchiveError> {
    let (parent_path, name) = split(path);
    let parent = into.make_directories(parent_path, made)?;
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

fn copy_all(content: &mut impl Read, output: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            count => output.write_all(&buffer[..count])?,
        }
    }
}
