//! How two layers differ, file by file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use bake_oci::layer::entry::display_path;
use bake_oci::{Digest, Digester, Entry, EntryKind, LayerReader, Timestamp};

use crate::error::ExportError;
use crate::image::{ExportLayer, Exporter, LayerContent};

const BUFFER_BYTES: usize = 256 << 10;

/// A file that is not the same in both layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDifference {
    /// Its path, for display.
    pub path: String,
    /// What differs; never empty.
    pub aspects: Vec<Aspect>,
}

impl FileDifference {
    /// Whether nothing but the time differs.
    pub fn is_time_alone(&self) -> bool {
        matches!(self.aspects.as_slice(), [Aspect::Time(..)])
    }
}

/// Something in which a file of one layer differs from that of the other. Pairs are of the first and the second layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aspect {
    /// Only the first layer has it.
    OnlyFirst,
    /// Only the second layer has it.
    OnlySecond,
    /// What it is, such as a file or a link.
    Kind(&'static str, &'static str),
    /// What is in it.
    Content {
        /// The sizes in bytes.
        sizes: (u64, u64),
        /// The first byte that differs, counted from 0; `None` where only the digests are known.
        offset: Option<u64>,
    },
    /// What a link points to, or which device it is.
    Target(String, String),
    /// The permission bits.
    Mode(u32, u32),
    /// User and group.
    Owner((u32, u32), (u32, u32)),
    /// The modification time.
    Time(Timestamp, Timestamp),
    /// An extended attribute.
    Attribute(String),
}

/// An entry and the digest of its content.
struct Found {
    entry: Entry,
    content: Digest,
}

impl Exporter {
    /// The files in which two layers differ, by path; none if they have the same diff ID. Layers of steps must be in the
    /// store. Takes memory for the names in both layers.
    pub fn compare_layers(
        &self,
        first: &ExportLayer,
        second: &ExportLayer,
    ) -> Result<Vec<FileDifference>, ExportError> {
        if first.diff_id == second.diff_id {
            return Ok(Vec::new());
        }
        let (in_first, mut in_second) = (self.entries(first)?, self.entries(second)?);
        let mut differences = BTreeMap::new();
        for (path, one) in in_first {
            let aspects = match in_second.remove(&path) {
                None => vec![Aspect::OnlyFirst],
                Some(other) => {
                    let mut aspects = aspects(&one, &other);
                    for aspect in &mut aspects {
                        if let Aspect::Content { offset, .. } = aspect {
                            *offset = self.first_difference(first, second, &path)?;
                        }
                    }
                    aspects
                }
            };
            if !aspects.is_empty() {
                differences.insert(path, aspects);
            }
        }
        differences.extend(in_second.into_keys().map(|path| (path, vec![Aspect::OnlySecond])));
        let shown = |(path, aspects): (Vec<u8>, _)| FileDifference { path: display_path(&path), aspects };
        Ok(differences.into_iter().map(shown).collect())
    }

    fn entries(&self, layer: &ExportLayer) -> Result<BTreeMap<Vec<u8>, Found>, ExportError> {
        let (reader, writer) = io::pipe().map_err(ExportError::Write)?;
        std::thread::scope(|scope| {
            let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, writer);
            let archive = scope.spawn(move || self.write_archive(layer, &mut buffered));
            let read = entries_of(BufReader::with_capacity(BUFFER_BYTES, reader));
            let written = archive.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written.and(read)
        })
    }

    /// Where the contents of a file begin to differ, where both layers are directories.
    fn first_difference(
        &self,
        first: &ExportLayer,
        second: &ExportLayer,
        path: &[u8],
    ) -> Result<Option<u64>, ExportError> {
        let (Some(first), Some(second)) = (self.on_disk(first, path)?, self.on_disk(second, path)?) else {
            return Ok(None);
        };
        let open = |path: PathBuf| match File::open(&path) {
            Ok(file) => Ok(BufReader::with_capacity(BUFFER_BYTES, file)),
            Err(source) => Err(crate::error::io("open", path)(source)),
        };
        equal_bytes(open(first)?, open(second)?).map(Some).map_err(ExportError::Write)
    }

    fn on_disk(&self, layer: &ExportLayer, path: &[u8]) -> Result<Option<PathBuf>, ExportError> {
        let id = match &layer.content {
            LayerContent::Snapshot(id)
            | LayerContent::Elsewhere { snapshot: id, .. }
            | LayerContent::Rewritten { snapshot: id, .. } => id,
            LayerContent::Blob(_) => return Ok(None),
        };
        let snapshot = self.store.snapshot(id)?.ok_or_else(|| ExportError::MissingLayer(id.to_string()))?;
        Ok(Some(snapshot.path.join(OsStr::from_bytes(path))))
    }
}

fn entries_of(mut archive: impl Read) -> Result<BTreeMap<Vec<u8>, Found>, ExportError> {
    let mut entries = BTreeMap::new();
    let mut reader = LayerReader::new(&mut archive);
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(mut next) = reader.next_entry().map_err(|error| ExportError::Write(io::Error::other(error)))? {
        let mut digester = Digester::new();
        loop {
            let count = next.read(&mut buffer).map_err(ExportError::Write)?;
            if count == 0 {
                break;
            }
            digester.update(&buffer[..count]);
        }
        let entry = next.entry.clone();
        entries.insert(entry.path.clone(), Found { entry, content: digester.finish() });
    }
    drop(reader);
    // What comes behind the end of the archive would make its writer fail.
    io::copy(&mut archive, &mut io::sink()).map_err(ExportError::Write)?;
    Ok(entries)
}

fn aspects(first: &Found, second: &Found) -> Vec<Aspect> {
    let (one, other) = (&first.entry, &second.entry);
    let mut aspects = Vec::new();
    let (kind, other_kind) = (kind_name(&one.kind), kind_name(&other.kind));
    if kind != other_kind {
        aspects.push(Aspect::Kind(kind, other_kind));
    } else if first.content != second.content {
        aspects.push(Aspect::Content { sizes: (one.size(), other.size()), offset: None });
    } else if let (Some(target), Some(other_target)) = (target(&one.kind), target(&other.kind))
        && target != other_target
    {
        aspects.push(Aspect::Target(target, other_target));
    }
    if one.mode != other.mode {
        aspects.push(Aspect::Mode(one.mode, other.mode));
    }
    if (one.uid, one.gid) != (other.uid, other.gid) {
        aspects.push(Aspect::Owner((one.uid, one.gid), (other.uid, other.gid)));
    }
    if one.mtime != other.mtime {
        aspects.push(Aspect::Time(one.mtime, other.mtime));
    }
    let names = one.xattrs.keys().chain(other.xattrs.keys().filter(|name| !one.xattrs.contains_key(*name)));
    let differing = names.filter(|name| one.xattrs.get(*name) != other.xattrs.get(*name));
    aspects.extend(differing.map(|name| Aspect::Attribute(display_path(name))));
    aspects
}

fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::HardLink { .. } => "hard link",
        EntryKind::Symlink { .. } => "symbolic link",
        EntryKind::Directory => "directory",
        EntryKind::CharacterDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Fifo => "FIFO",
    }
}

fn target(kind: &EntryKind) -> Option<String> {
    match kind {
        EntryKind::HardLink { target } | EntryKind::Symlink { target } => Some(display_path(target)),
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            Some(format!("{major}:{minor}"))
        }
        EntryKind::File { .. } | EntryKind::Directory | EntryKind::Fifo => None,
    }
}

/// How many bytes at the beginning are the same.
fn equal_bytes(mut first: impl BufRead, mut second: impl BufRead) -> io::Result<u64> {
    let mut equal = 0;
    loop {
        let (one, other) = (first.fill_buf()?, second.fill_buf()?);
        let length = one.len().min(other.len());
        let same = one[..length].iter().zip(&other[..length]).take_while(|(one, other)| one == other).count();
        equal += same as u64;
        if same < length || length == 0 {
            return Ok(equal);
        }
        first.consume(same);
        second.consume(same);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn found(kind: EntryKind, content: &[u8]) -> Found {
        Found { entry: Entry::new("a", kind, 0o644), content: Digest::of(content) }
    }

    fn file(content: &[u8]) -> Found {
        found(EntryKind::File { size: content.len() as u64 }, content)
    }

    #[test]
    fn every_aspect_is_told() {
        assert_eq!(aspects(&file(b"a"), &file(b"a")), []);
        assert_eq!(aspects(&file(b"a"), &file(b"ab")), [Aspect::Content { sizes: (1, 2), offset: None }]);
        let link = |target: &str| found(EntryKind::Symlink { target: target.into() }, b"");
        assert_eq!(aspects(&link("x"), &link("y")), [Aspect::Target("x".into(), "y".into())]);
        assert_eq!(aspects(&file(b""), &link("y")), [Aspect::Kind("file", "symbolic link")]);
        let mut other = file(b"a");
        other.entry.mode = 0o600;
        other.entry.gid = 5;
        other.entry.mtime = Timestamp::from_seconds(7);
        other.entry.xattrs.insert(b"user.a".to_vec(), b"1".to_vec());
        let expected = [
            Aspect::Mode(0o644, 0o600),
            Aspect::Owner((0, 0), (0, 5)),
            Aspect::Time(Timestamp::default(), Timestamp::from_seconds(7)),
            Aspect::Attribute("user.a".into()),
        ];
        assert_eq!(aspects(&file(b"a"), &other), expected);
        assert_eq!(aspects(&other, &file(b"a")).len(), 4);
    }

    #[test]
    fn the_first_byte_that_differs() {
        let long = vec![1; 600_000];
        let mut other = long.clone();
        other[500_000] = 2;
        let at = |one: &[u8], other: &[u8]| {
            equal_bytes(BufReader::with_capacity(1000, one), BufReader::with_capacity(777, other)).unwrap()
        };
        assert_eq!(at(&long, &other), 500_000);
        assert_eq!(at(b"abc", b"abcd"), 3);
        assert_eq!(at(b"", b"x"), 0);
    }
}
