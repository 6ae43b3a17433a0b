//! Archives: entries in order, owned by root, all of one time, compressed into the same bytes wherever it is done.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::num::NonZeroUsize;

use bake_oci::{BlobWriter, Compression, Entry, EntryKind, LayerWriter, Timestamp};

use super::files::Files;
use super::program::Program;

/// Files and links by their paths; directories come by themselves.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, (EntryKind, u32, Vec<u8>)>,
}

impl Tree {
    /// Adds a file, and the directories above it.
    pub(super) fn add(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            end += slash;
            self.entries.entry(path[..end].to_owned()).or_insert((EntryKind::Directory, 0o755, Vec::new()));
            end += 1;
        }
        let bytes = bytes.into();
        self.entries.insert(path.to_owned(), (EntryKind::File { size: bytes.len() as u64 }, mode, bytes));
    }

    /// What the files take when installed, in KiB, as Debian counts.
    pub(super) fn installed_kib(&self) -> u64 {
        self.entries
            .values()
            .map(|(kind, _, _)| if let EntryKind::File { size } = kind { size.div_ceil(1024) } else { 1 })
            .sum()
    }

    /// The archive, compressed.
    pub(super) fn archive(&self, compression: Compression, time: Timestamp) -> Result<Vec<u8>, String> {
        let mut writer = LayerWriter::new(BlobWriter::new(Vec::new(), compression, threads()));
        for (path, (kind, mode, bytes)) in &self.entries {
            let mut entry = Entry::new(path.as_bytes(), kind.clone(), *mode);
            entry.mtime = time;
            let mut content = bytes.as_slice();
            let is_file = matches!(kind, EntryKind::File { .. });
            let content: Option<&mut dyn std::io::Read> = if is_file { Some(&mut content) } else { None };
            writer.append(&entry, content).map_err(|error| format!("Failed to write {path}: {error}"))?;
        }
        let failed = |error: &dyn std::fmt::Display| format!("Failed to write an archive: {error}");
        let blob = writer.finish().map_err(|error| failed(&error))?;
        Ok(blob.finish().map_err(|error| failed(&error))?.1)
    }
}

/// Bytes compressed by gzip, as well as it can and without a name or time, as Debian asks of documents.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|error| format!("Failed to compress: {error}"))
}

/// The archive for any Linux: one directory with everything.
pub(super) fn archive(name: &str, program: &Program, files: &Files, time: Timestamp) -> Result<Vec<u8>, String> {
    let mut tree = Tree::default();
    let mut add = |path: &str, mode, bytes: &[u8]| tree.add(&format!("{name}/{path}"), mode, bytes);
    add("bake", 0o755, &program.bytes);
    for (file, bytes) in &files.completions {
        add(&format!("completions/{file}"), 0o644, bytes);
    }
    for (file, bytes) in &files.manual {
        add(&format!("man/man1/{file}"), 0o644, bytes);
    }
    for (file, text) in [
        ("CHANGELOG.md", &files.changelog),
        ("LICENSE", &files.licence),
        ("LICENSES-THIRD-PARTY", &files.third_party),
        ("README.md", &files.readme),
    ] {
        add(file, 0o644, text.as_bytes());
    }
    // The highest level that needs no more than the usual memory for unpacking.
    tree.archive(Compression::Zstd { level: 19 }, time)
}

fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::{ExpansionLimits, LayerReader, decompress};

    use super::*;

    #[test]
    fn directories_come_by_themselves_and_in_order() {
        let mut tree = Tree::default();
        tree.add("usr/share/b", 0o644, "b");
        tree.add("usr/bin/a", 0o755, "a");
        assert_eq!(
            tree.entries.keys().collect::<Vec<_>>(),
            ["usr", "usr/bin", "usr/bin/a", "usr/share", "usr/share/b"]
        );
        assert_eq!(tree.installed_kib(), 5);
        let time = Timestamp::from_seconds(1_700_000_000);
        let bytes = tree.archive(Compression::GZIP, time).unwrap();
        assert_eq!(bytes, tree.archive(Compression::GZIP, time).unwrap());
        assert_ne!(bytes, tree.archive(Compression::GZIP, Timestamp::EPOCH).unwrap());
        let expanded = decompress(bytes.as_slice(), ExpansionLimits::default()).unwrap();
        let mut reader = LayerReader::new(expanded);
        let mut seen = 0;
        while let Some(read) = reader.next_entry().unwrap() {
            let entry = &read.entry;
            assert_eq!((entry.uid, entry.gid, entry.mtime), (0, 0, time));
            seen += 1;
        }
        assert_eq!(seen, 5);
    }
}
