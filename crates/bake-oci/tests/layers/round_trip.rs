//! What is written is read back, byte for byte and field for field.

use std::collections::BTreeMap;

use bake_oci::{Entry, EntryKind, LayerWriteError, LayerWriter, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::support::{file, menagerie, read, write};

#[test]
fn everything_round_trips() {
    let entries = menagerie();
    let archive = write(&entries);
    assert_eq!(archive, write(&entries), "equal entries give equal bytes");
    let listing = read(&archive).unwrap();
    assert_eq!(listing.len(), entries.len());
    for (read, written) in listing.iter().zip(&entries) {
        assert_eq!(read, written, "{}", written.0.display_path());
    }
}

#[test]
fn the_bytes_are_fixed() {
    // A change of these digests is a change of every diff ID: it must be meant, and told in the changelog.
    let empty = write(&[]);
    assert_eq!(
        bake_oci::Digest::of(&empty).to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        "the empty layer is the one every builder writes"
    );
    assert_eq!(
        bake_oci::Digest::of(&write(&menagerie())).to_string(),
        "sha256:10b008b0d88db7c8fafd4aa8aa8a2d1fc50e8dc75b7a34656cb6125999b44f40",
        "the layer with one of everything"
    );
}

#[test]
fn a_file_larger_than_8_gib_has_its_size_in_a_record() {
    // Only the headers are looked at: the size is announced, then the archive breaks off.
    let entry = Entry::new("huge", EntryKind::File { size: 9 << 30 }, 0o644);
    let mut writer = LayerWriter::new(Vec::new());
    let error = writer.append(&entry, Some(&mut b"short".as_slice())).unwrap_err();
    assert!(matches!(error, LayerWriteError::SizeChanged { longer: false, .. }), "{error}");
    let bytes = writer.get_ref();
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains("size=9663676416\n"), "{text}");
    let mut reader = bake_oci::LayerReader::new(bytes.as_slice());
    assert_eq!(reader.next_entry().unwrap().unwrap().entry, entry);
}

#[test]
fn changed_files_are_errors_that_name_them() {
    for (content, longer) in [(b"12".as_slice(), false), (b"1234", true)] {
        let mut writer = LayerWriter::new(Vec::new());
        let entry = Entry::new("dir/name", EntryKind::File { size: 3 }, 0o644);
        let mut reader = content;
        let error = writer.append(&entry, Some(&mut reader)).unwrap_err();
        assert!(matches!(&error, LayerWriteError::SizeChanged { longer: l, .. } if *l == longer));
        assert!(error.to_string().contains("`dir/name`"), "{error}");
        assert!(matches!(writer.append(&entry, None), Err(LayerWriteError::Poisoned)));
        assert!(matches!(writer.finish(), Err(LayerWriteError::Poisoned)));
    }
}

#[test]
fn what_a_layer_cannot_hold_is_refused_before_anything_is_written() {
    let symlink = |target: &[u8]| Entry::new("a", EntryKind::Symlink { target: target.to_vec() }, 0o777);
    let with = |change: fn(&mut Entry)| {
        let mut entry = Entry::new("a", EntryKind::Directory, 0o755);
        change(&mut entry);
        entry
    };
    for bad in [
        Entry::new("/a", EntryKind::Directory, 0o755),
        Entry::new("a/", EntryKind::Directory, 0o755),
        Entry::new("a/../b", EntryKind::Directory, 0o755),
        Entry::new("a//b", EntryKind::Directory, 0o755),
        Entry::new("", EntryKind::Fifo, 0o755),
        Entry::new("a\0b", EntryKind::Directory, 0o755),
        Entry::new("a", EntryKind::HardLink { target: b"/b".to_vec() }, 0o644),
        Entry::new("a", EntryKind::HardLink { target: b"../b".to_vec() }, 0o644),
        Entry::new("a", EntryKind::HardLink { target: Vec::new() }, 0o644),
        symlink(b""),
        symlink(b"a\0b"),
        symlink(&[b'a'; 5000]),
        Entry::new("a", EntryKind::CharacterDevice { major: 1, minor: u32::MAX }, 0o644),
        with(|entry| entry.mode = 0o100_644),
        with(|entry| entry.mtime.nanoseconds = 1_000_000_000),
        with(|entry| entry.xattrs = BTreeMap::from([(b"user.a=b".to_vec(), Vec::new())])),
        with(|entry| entry.xattrs = BTreeMap::from([(Vec::new(), Vec::new())])),
        with(|entry| entry.xattrs = BTreeMap::from([(b"user.big".to_vec(), vec![0; 2 << 20])])),
    ] {
        let mut writer = LayerWriter::new(Vec::new());
        assert!(writer.append(&bad, None).is_err(), "{bad:?}");
        assert!(writer.get_ref().is_empty());
        writer.append(&Entry::new("fine", EntryKind::Directory, 0o755), None).unwrap();
    }
    let mut writer = LayerWriter::new(Vec::new());
    let (file, _) = file("f", b"content");
    assert!(matches!(writer.append(&file, None), Err(LayerWriteError::ContentMismatch { given: false, .. })));
    let directory = Entry::new("d", EntryKind::Directory, 0o755);
    let error = writer.append(&directory, Some(&mut b"".as_slice())).unwrap_err();
    assert!(matches!(error, LayerWriteError::ContentMismatch { given: true, .. }));
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        8 => proptest::char::range('a', 'z').prop_map(|c| u8::try_from(c).unwrap_or(b'a')),
        1 => any::<u8>(),
    ];
    let component = vec(byte, 1..=255).prop_map(|mut bytes| {
        bytes.retain(|byte| !matches!(byte, 0 | b'/'));
        if bytes.is_empty() || bytes == b"." || bytes == b".." {
            bytes = b"x".to_vec();
        }
        bytes
    });
    vec(component, 1..=8).prop_map(|components| components.join(&b'/'))
}

fn entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let target = vec(1..=255_u8, 1..300);
    let device = (0..=0o777_7777_u32, 0..=0o777_7777_u32);
    let kind = prop_oneof![
        4 => vec(any::<u8>(), 0..2000).prop_map(|content| (EntryKind::File { size: content.len() as u64 }, content)),
        1 => name().prop_map(|target| (EntryKind::HardLink { target }, Vec::new())),
        1 => target.prop_map(|target| (EntryKind::Symlink { target }, Vec::new())),
        2 => Just((EntryKind::Directory, Vec::new())),
        1 => device.clone().prop_map(|(major, minor)| (EntryKind::CharacterDevice { major, minor }, Vec::new())),
        1 => device.prop_map(|(major, minor)| (EntryKind::BlockDevice { major, minor }, Vec::new())),
        1 => Just((EntryKind::Fifo, Vec::new())),
    ];
    let seconds = prop_oneof![0..=4_000_000_000_i64, (i64::MIN + 2)..=i64::MAX, -100..100_i64];
    let nanoseconds = prop_oneof![Just(0), 0..1_000_000_000_u32];
    let xattr_name = "[a-z]{1,10}\\.[ -<>-~]{1,40}".prop_map(String::into_bytes);
    let xattrs = option::weighted(0.3, btree_map(xattr_name, vec(any::<u8>(), 0..300), 0..5));
    (name(), kind, 0..=0o7777_u32, any::<u32>(), any::<u32>(), seconds, nanoseconds, xattrs).prop_map(
        |(path, (kind, content), mode, uid, gid, seconds, nanoseconds, xattrs)| {
            let mtime = Timestamp { seconds, nanoseconds };
            (Entry { path, kind, mode, uid, gid, mtime, xattrs: xattrs.unwrap_or_default() }, content)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_entries_round_trip(entries in vec(entry(), 0..12)) {
        let archive = write(&entries);
        prop_assert_eq!(archive.len() % 512, 0);
        prop_assert_eq!(read(&archive).unwrap(), entries);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        entries in vec(entry(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = write(&entries);
        for (place, byte) in damage {
            let place = place.index(archive.len());
            archive[place] = byte;
            // With a right checksum the damage gets past the first check.
            let block = place / 512 * 512;
            super::support::seal(&mut archive[block..block + 512]);
        }
        let length = cut.index(archive.len() + 1);
        let mut reader = bake_oci::LayerReader::new(&archive[..length]);
        while let Ok(Some(mut entry)) = reader.next_entry() {
            drop(std::io::copy(&mut std::io::Read::by_ref(&mut entry), &mut std::io::sink()));
        }
    }
}
