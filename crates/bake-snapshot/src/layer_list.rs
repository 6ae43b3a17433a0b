//! What a committed layer directory holds, without reading any file.

use std::collections::HashMap;
use std::path::Path;

use bake_oci::Timestamp;

use crate::error::{At, Result, SnapshotError};
use crate::format::{LayerFormat, Ownership};
use crate::node::{Kind, NodeReader};
use crate::walk::{Event, Walk, open_root};

/// One name in a layer directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerEntry<'a> {
    /// Relative to the layer's root.
    pub path: &'a [u8],
    /// What it is.
    pub kind: LayerEntryKind<'a>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner, as the image sees it.
    pub uid: u32,
    /// Group, as the image sees it.
    pub gid: u32,
    /// When the content changed last.
    pub mtime: Timestamp,
}

/// What a [`LayerEntry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerEntryKind<'a> {
    /// A regular file of that many bytes.
    File(u64),
    /// Another name of a file that was told of before under this path.
    HardLink(&'a [u8]),
    /// A directory.
    Directory {
        /// Nothing of the directory below shows through.
        opaque: bool,
    },
    /// A symbolic link, device, pipe or socket.
    Other,
    /// The name is deleted from the layers below.
    Whiteout,
}

/// Tells `visit` of everything in the layer directory `layer`, directories before what is in them, in byte order of the names.
///
/// # Errors
/// [`SnapshotError::Limit`] beyond `entries_max` names; [`SnapshotError::TooDeep`]; otherwise [`SnapshotError::Io`].
pub fn list_layer(
    layer: &Path,
    format: LayerFormat,
    entries_max: u64,
    visit: &mut dyn FnMut(&LayerEntry<'_>),
) -> Result<()> {
    let plain = NodeReader { with_xattrs: false, ..NodeReader::from(format) };
    let with_marks = NodeReader::from(format);
    // Whether deletions and owners may stand in attributes of files, which take a call for each.
    let files_have_notes = format.ownership == Ownership::Recorded;
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut entries = 0_u64;
    let mut walk = Walk::new(open_root(layer)?)?;
    while let Some(event) = walk.next() {
        if event == Event::Leave {
            continue;
        }
        entries += 1;
        if entries > entries_max {
            return Err(SnapshotError::Limit { what: "entries", limit: entries_max });
        }
        let mut node = plain.read(walk.directory(), walk.name()).at("examine", walk.path())?;
        if node.is_directory() || (node.kind == Kind::File && node.size == 0 && !files_have_notes) {
            node = with_marks.read(walk.directory(), walk.name()).at("examine", walk.path())?;
        }
        let first = (node.kind == Kind::File && node.links > 1)
            .then(|| first_names.entry(node.identity).or_insert_with(|| walk.path().to_vec()).as_slice())
            .filter(|first| *first != walk.path());
        let kind = match (node.kind, first) {
            (Kind::File, Some(first)) => LayerEntryKind::HardLink(first),
            (Kind::File, None) => LayerEntryKind::File(node.size),
            (Kind::Directory, _) => LayerEntryKind::Directory { opaque: node.opaque },
            (Kind::Whiteout, _) => LayerEntryKind::Whiteout,
            _ => LayerEntryKind::Other,
        };
        let (path, mode, uid, gid, mtime) = (walk.path(), node.mode, node.uid, node.gid, node.mtime);
        visit(&LayerEntry { path, kind, mode, uid, gid, mtime });
        if node.is_directory() {
            walk.descend()?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::{Entry, EntryKind, LayerReader, LayerWriter};

    use super::*;
    use crate::unpack::{UnpackLimits, unpack};

    /// The lines of a layer that was unpacked from these entries.
    fn listed(entries: &[(&str, EntryKind)], format: LayerFormat, entries_max: u64) -> Result<Vec<String>> {
        let mut writer = LayerWriter::new(Vec::new());
        for (path, kind) in entries {
            let mut content: &[u8] = b"abc";
            let mut entry = Entry::new(*path, kind.clone(), 0o640);
            (entry.uid, entry.gid, entry.mtime) = (5, 6, Timestamp::from_seconds(7));
            let content: Option<&mut dyn std::io::Read> = (entry.size() > 0).then_some(&mut content);
            writer.append(&entry, content).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let layer = tempfile::tempdir().unwrap();
        unpack(&mut LayerReader::new(bytes.as_slice()), layer.path(), format, UnpackLimits::default()).unwrap();
        let mut lines = Vec::new();
        list_layer(layer.path(), format, entries_max, &mut |entry| {
            let LayerEntry { path, kind, mode, uid, gid, mtime } = entry;
            let kind = match kind {
                LayerEntryKind::HardLink(first) => format!("link to {}", String::from_utf8_lossy(first)),
                other => format!("{other:?}"),
            };
            let status =
                if kind == "Whiteout" { String::new() } else { format!(" {mode:o} {uid}:{gid} {}", mtime.seconds) };
            lines.push(format!("{} {kind}{status}", String::from_utf8_lossy(path)));
        })?;
        Ok(lines)
    }

    #[test]
    fn everything_in_a_layer_is_told() {
        let entries = [
            ("d", EntryKind::Directory),
            ("d/.wh..wh..opq", EntryKind::File { size: 0 }),
            ("d/b", EntryKind::File { size: 3 }),
            ("d/a", EntryKind::HardLink { target: b"d/b".to_vec() }),
            ("e", EntryKind::Directory),
            ("e/.wh.gone", EntryKind::File { size: 0 }),
            ("empty", EntryKind::File { size: 0 }),
            ("l", EntryKind::Symlink { target: b"d".to_vec() }),
        ];
        let lines = listed(&entries, LayerFormat::USER_NAMESPACE, 100).unwrap();
        let expected = [
            "d Directory { opaque: true } 640 5:6 7",
            "d/a File(3) 640 5:6 7",
            "d/b link to d/a 640 5:6 7",
            "e Directory { opaque: false } 640 5:6 7",
            "e/gone Whiteout",
            "empty File(0) 640 5:6 7",
        ];
        assert_eq!(lines[..6], expected);
        assert!(lines[6].starts_with("l Other"), "{lines:?}");
    }

    #[test]
    fn names_have_a_limit() {
        let entries = [("a", EntryKind::Directory), ("b", EntryKind::Directory)];
        assert!(listed(&entries, LayerFormat::USER_NAMESPACE, 2).is_ok());
        assert!(matches!(
            listed(&entries, LayerFormat::USER_NAMESPACE, 1),
            Err(SnapshotError::Limit { what: "entries", limit: 1 })
        ));
    }
}
