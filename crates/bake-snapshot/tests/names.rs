//! Every name that a file can have, and everything a file can carry, goes through a layer directory and comes out as it was.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
#![expect(clippy::print_stdout, reason = "skipped tests say so")]

#[expect(dead_code, reason = "every test program uses another part of it")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use bake_oci::{Entry, EntryKind, LayerReader, LayerWriter, Timestamp};
use bake_snapshot::{LayerFormat, UnpackLimits, unpack};
use support::{Layers, archive, is_root};

/// Entries in the order of a layer, by their components.
type Tree = BTreeMap<Vec<Vec<u8>>, (Entry, Vec<u8>)>;

fn put(tree: &mut Tree, path: &[u8], kind: EntryKind, change: impl FnOnce(&mut Entry)) {
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    let content = match &kind {
        EntryKind::File { size } => path.iter().cycle().take(usize::try_from(*size).unwrap()).copied().collect(),
        _ => Vec::new(),
    };
    let mut entry = Entry::new(path, kind, mode);
    entry.mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    change(&mut entry);
    tree.insert(path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect(), (entry, content));
}

/// File capabilities of version 2. Those of version 3 count in the user namespace of the step that set them, and are
/// version 2 in the image.
fn capability() -> Vec<u8> {
    let mut value = vec![1, 0, 0, 2, 0, 32, 0, 0];
    value.resize(20, 0);
    value
}

/// More than 300 odd names, and one of everything that is not a name.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let file = |size| EntryKind::File { size };
    put(&mut tree, b"n", EntryKind::Directory, |_| {});
    for byte in (1..=255_u8).filter(|byte| *byte != b'/' && *byte != b'.') {
        put(&mut tree, &[b"n/", &[byte][..]].concat(), file(u64::from(byte)), |_| {});
    }
    let odd: [&[u8]; 34] = [
        b" leading",
        b"trailing ",
        b"two  spaces",
        b"-rf",
        b"--help",
        b"*",
        b"?[a]",
        b"a\nb",
        b"\x1b[31m",
        b"...",
        b"..a",
        b".a",
        b"a..",
        b"~",
        b"$(id)",
        b"`id`",
        b"a=b",
        b"100%",
        b"#",
        b"!",
        b"\\",
        b"a\\nb",
        b"\"",
        b"'",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xe2\x80\xae",
        b"con",
        b"a:b",
        b"a|b",
        b"wh.a",
        b"PaxHeaders",
    ];
    for name in odd {
        put(&mut tree, &[b"n/odd-", name].concat(), file(3), |_| {});
        put(&mut tree, &[b"n/", name, b"+d"].concat(), EntryKind::Directory, |_| {});
        put(&mut tree, &[b"n/", name, b"+d/inside"].concat(), file(1), |_| {});
    }
    for length in [99, 100, 101, 154, 155, 156, 157, 254, 255] {
        put(&mut tree, &[b"n/".to_vec(), vec![b'l'; length]].concat(), file(0), |_| {});
    }
    // As long as a name can be.
    let mut deep = b"deep".to_vec();
    put(&mut tree, &deep, EntryKind::Directory, |_| {});
    while deep.len() + 256 <= 3900 {
        deep.push(b'/');
        deep.extend_from_slice(&[b'd'; 255]);
        put(&mut tree, &deep, EntryKind::Directory, |_| {});
    }
    let leaf = vec![b'f'; 4096 - deep.len() - 1];
    put(&mut tree, &[&deep, &b"/"[..], &leaf].concat(), file(2), |_| {});
    put(&mut tree, b"s", EntryKind::Directory, |entry| entry.mode = 0o1777);
    put(&mut tree, b"s/setuid", file(10), |entry| (entry.mode, entry.uid, entry.gid) = (0o6755, 1000, 4_000_000_000));
    put(&mut tree, b"s/none", file(10), |entry| entry.mode = 0);
    put(&mut tree, b"s/capable", file(10), |entry| {
        entry.xattrs.insert(b"security.capability".to_vec(), capability());
    });
    put(&mut tree, b"s/xattrs", file(10), |entry| {
        entry.xattrs.insert(b"user.empty".to_vec(), Vec::new());
        entry.xattrs.insert(b"user.binary\xff".to_vec(), (0..=255).collect());
        entry.xattrs.insert("user.caf\u{e9}".into(), b"a\nb=c".to_vec());
        entry.xattrs.insert(b"trusted.kept".to_vec(), b"t".to_vec());
    });
    put(&mut tree, b"s/past", file(1), |entry| entry.mtime = Timestamp { seconds: -3, nanoseconds: 1 });
    put(&mut tree, b"s/future", file(1), |entry| {
        entry.mtime = Timestamp { seconds: 9_000_000_000, nanoseconds: 999_999_999 }
    });
    put(&mut tree, b"s/first", file(5000), |_| {});
    put(&mut tree, b"s/second", EntryKind::HardLink { target: b"s/first".to_vec() }, |_| {});
    put(&mut tree, b"s/link", EntryKind::Symlink { target: b"../../..//n/\xff\n".to_vec() }, |entry| {
        (entry.mode, entry.uid) = (0o777, 77);
    });
    put(&mut tree, b"s/long", EntryKind::Symlink { target: vec![b't'; 4095] }, |entry| entry.mode = 0o777);
    put(&mut tree, b"s/pipe", EntryKind::Fifo, |entry| entry.mode = 0o622);
    put(&mut tree, b"s/disk", EntryKind::BlockDevice { major: 259, minor: 1_000_000 }, |_| {});
    put(&mut tree, b"s/null", EntryKind::CharacterDevice { major: 1, minor: 3 }, |_| {});
    tree
}

fn bytes_of(tree: &Tree) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (entry, content) in tree.values() {
        let mut content = content.as_slice();
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        writer.append(entry, if is_file { Some(&mut content) } else { None }).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_layer_goes_in_and_comes_out_byte_for_byte() {
    if !is_root() {
        return;
    }
    let tree = tree();
    assert!(tree.len() > 300);
    let bytes = bytes_of(&tree);
    let layers = Layers::new(LayerFormat::ROOT);
    let into = layers.fresh("layer");
    let mut reader = LayerReader::new(bytes.as_slice());
    let unpacked = unpack(&mut reader, &into, LayerFormat::ROOT, UnpackLimits::default()).unwrap();
    assert_eq!(unpacked.entries, tree.len() as u64);
    assert_eq!(unpacked.lost_attributes, 0);
    let again = archive(&into, LayerFormat::ROOT);
    if again != bytes {
        let found = support::entries(&again);
        for (found, (entry, content)) in found.iter().zip(tree.values()) {
            assert_eq!(found.0, *entry);
            assert!(found.1 == *content, "{}", entry.display_path());
        }
        panic!("{} entries became {}, or other bytes", tree.len(), found.len());
    }
}

#[test]
fn a_sparse_file_keeps_its_content_and_its_holes() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let bytes = bake_testkit::archive_bytes::archive(&[bake_testkit::archive_bytes::sparse(
        "s",
        "50000000",
        "2\n1000000\n4\n40000000\n2\n",
        b"abcdef",
    )]);
    let into = layers.fresh("layer");
    unpack(&mut LayerReader::new(bytes.as_slice()), &into, LayerFormat::ROOT, UnpackLimits::default()).unwrap();
    let mut expected = vec![0; 50_000_000];
    expected[1_000_000..1_000_004].copy_from_slice(b"abcd");
    expected[40_000_000..40_000_002].copy_from_slice(b"ef");
    assert!(fs::read(into.join("s")).unwrap() == expected);
    assert!(fs::metadata(into.join("s")).unwrap().blocks() < 100);
    assert!(support::entries(&archive(&into, LayerFormat::ROOT))[0].1 == expected);
}

/// GNU tar unpacks the same bytes to the same files, names compared byte for byte.
#[test]
fn gnu_tar_agrees_about_every_name() {
    if !is_root() {
        return;
    }
    let tree = tree();
    let layers = Layers::new(LayerFormat::ROOT);
    let path = layers.directory.path().join("layer.tar");
    fs::write(&path, bytes_of(&tree)).unwrap();
    let out = layers.fresh("out");
    let mut command = Command::new("tar");
    // Its names end at 4095 bytes, and it takes no attributes with bytes that are not text.
    command.args(["--numeric-owner", "--exclude=deep", "-xf"]).arg(&path).arg("-C").arg(&out);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("tar: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (entry, content) in tree.values().filter(|(entry, _)| !entry.path.starts_with(b"deep")) {
        let file = out.join(Path::new(std::ffi::OsStr::from_bytes(&entry.path)));
        let status = fs::symlink_metadata(&file).unwrap_or_else(|error| panic!("{}: {error}", entry.display_path()));
        let EntryKind::HardLink { .. } = entry.kind else {
            assert_eq!((status.uid(), status.gid()), (entry.uid, entry.gid), "{}", entry.display_path());
            let time = (status.mtime(), status.mtime_nsec());
            assert_eq!(time, (entry.mtime.seconds, i64::from(entry.mtime.nanoseconds)), "{}", entry.display_path());
            if status.is_file() {
                assert!(fs::read(&file).unwrap() == *content, "{}", entry.display_path());
            }
            continue;
        };
        assert_eq!(status.nlink(), 2, "{}", entry.display_path());
    }
}
