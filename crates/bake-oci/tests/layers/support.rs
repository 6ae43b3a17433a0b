//! Archives as vectors, and headers made by hand.

use std::collections::BTreeMap;
use std::io::Read;

pub(crate) use bake_testkit::archive_bytes::{GNU, USTAR, archive, header, padded, pax, seal, ustar};

use bake_oci::{Entry, EntryKind, LayerReadError, LayerReader, LayerWriter, Timestamp};

/// Every entry with its content.
pub(crate) type Listing = Vec<(Entry, Vec<u8>)>;

pub(crate) fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (entry, content) in entries {
        let mut reader = content.as_slice();
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        writer.append(entry, if is_file { Some(&mut reader) } else { None }).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn read(archive: &[u8]) -> Result<Listing, LayerReadError> {
    let mut reader = LayerReader::new(archive);
    let mut listing = Vec::new();
    while let Some(mut entry) = reader.next_entry()? {
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        listing.push((entry.entry, content));
    }
    reader.finish()?;
    Ok(listing)
}

pub(crate) fn file(path: &str, content: &[u8]) -> (Entry, Vec<u8>) {
    (Entry::new(path, EntryKind::File { size: content.len() as u64 }, 0o644), content.to_vec())
}

/// One of everything.
pub(crate) fn menagerie() -> Listing {
    let long = format!("deep/{}/{}", "d".repeat(120), "n".repeat(130));
    let longer = format!("deep/{}", ["x".repeat(200), "y".repeat(200)].join("/"));
    let mut special = file("bin/su", b"elf");
    special.0.mode = 0o4755;
    special.0.xattrs = BTreeMap::from([
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, b'\n', 0, 0x20, b'=', 0xff]),
        (b"user.comment".to_vec(), b"two\nlines".to_vec()),
        (b"user.empty".to_vec(), Vec::new()),
    ]);
    let mut owner = file("big-owner", b"x");
    (owner.0.uid, owner.0.gid) = (3_000_000, u32::MAX);
    let at = |path: &str, seconds, nanoseconds| {
        let mut entry = file(path, b"time");
        entry.0.mtime = Timestamp { seconds, nanoseconds };
        entry
    };
    let plain = |path: &str, kind, mode| (Entry::new(path, kind, mode), Vec::new());
    vec![
        plain("", EntryKind::Directory, 0o755),
        plain("bin", EntryKind::Directory, 0o1777),
        special,
        plain("bin/alias", EntryKind::HardLink { target: b"bin/su".to_vec() }, 0o644),
        owner,
        plain("char", EntryKind::CharacterDevice { major: 1, minor: 3 }, 0o666),
        plain("block", EntryKind::BlockDevice { major: 259, minor: 1_048_575 }, 0o660),
        file(&long, b"ustar prefix"),
        file(&longer, b"pax"),
        plain(&format!("dir/{}", "e".repeat(140)), EntryKind::Directory, 0o700),
        file("empty", b""),
        plain("pipe", EntryKind::Fifo, 0o600),
        plain("link", EntryKind::Symlink { target: b"/usr/../lib/./x".to_vec() }, 0o777),
        plain("long-link", EntryKind::Symlink { target: "t/".repeat(300).into_bytes() }, 0o777),
        plain("long-hard", EntryKind::HardLink { target: longer.clone().into_bytes() }, 0o644),
        at("time/negative", -5, 0),
        at("time/fraction", 1_700_000_000, 123_456_789),
        at("time/negative-fraction", -2, 750_000_000),
        at("time/far", 9_000_000_000, 0),
        file("unicode/caf\u{e9} \u{1f980}", b"crab"),
        (Entry::new(b"bytes/\xff\xfe".to_vec(), EntryKind::File { size: 3 }, 0o600), b"raw".to_vec()),
        file("blocks", &[7; 1024]),
        file("almost", &[8; 1023]),
        file(".wh.gone", b""),
        file("dir/.wh..wh..opq", b""),
    ]
}
