//! Archives made to be read differently by different readers, to fill memory or disks, or to leave the root.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bake_oci::{EntryKind, LayerReadError, LayerReader, ReadLimits};

use super::support::{GNU, USTAR, archive, header, padded, pax, read, seal, ustar, write};

fn names(bytes: &[u8]) -> Vec<String> {
    read(bytes).unwrap().iter().map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn refused(bytes: &[u8]) -> LayerReadError {
    let begin = Instant::now();
    let mut reader = LayerReader::with_limits(bytes, ReadLimits { content_bytes: 1 << 30, ..ReadLimits::default() });
    let error = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                assert!(entry.entry.size() <= 1 << 30);
            }
            Ok(None) => panic!("the archive was accepted"),
            Err(error) => break error,
        }
    };
    assert!(matches!(reader.next_entry(), Ok(None)), "after an error there is nothing more");
    assert!(begin.elapsed() < Duration::from_secs(5));
    error
}

/// An inner archive that must stay content.
fn smuggled() -> Vec<u8> {
    [ustar("smuggled", b'0', 4), padded(b"evil")].concat()
}

#[test]
fn a_pax_size_counts_whatever_the_header_says() {
    // Size 0 in the header, the true size in the record, and the other way round.
    let inner = smuggled();
    let size = inner.len().to_string();
    for own in [0, 512, 99_999] {
        let bytes = archive(&[pax(b'x', &[("size", &size)]), ustar("outer", b'0', own), inner.clone()]);
        assert_eq!(names(&bytes), ["outer"], "{own}");
        assert_eq!(read(&bytes).unwrap()[0].1, inner);
    }
}

#[test]
fn a_pax_size_never_counts_for_extension_headers() {
    let name = padded(b"long-name\0");
    let bytes = archive(&[
        pax(b'x', &[("size", "4")]),
        header("././@LongLink", b'L', b"00000000012\0", GNU),
        name,
        ustar("short", b'0', 0),
        padded(b"data"),
    ]);
    assert_eq!(names(&bytes), ["long-name"]);
    assert_eq!(read(&bytes).unwrap()[0].1, b"data");
}

#[test]
fn contradictions_are_refused() {
    let long = |kind, text: &[u8]| {
        let size = format!("{:011o}\0", text.len());
        [header("././@LongLink", kind, size.as_bytes(), GNU), padded(text)].concat()
    };
    for (what, bytes) in [
        ("two names", archive(&[pax(b'x', &[("path", "a")]), long(b'L', b"b\0"), ustar("c", b'0', 0)])),
        ("two PAX headers", archive(&[pax(b'x', &[("path", "a")]), pax(b'x', &[("uid", "1")]), ustar("c", b'0', 0)])),
        ("two long names", archive(&[long(b'L', b"a\0"), long(b'L', b"b\0"), ustar("c", b'0', 0)])),
        ("an extension without an entry", archive(&[pax(b'x', &[("path", "a")])])),
        ("a global name", archive(&[pax(b'g', &[("path", "a")]), ustar("c", b'0', 0)])),
        ("a global size", archive(&[pax(b'g', &[("size", "0")]), ustar("c", b'0', 0)])),
        ("a directory with content", archive(&[ustar("d/", b'5', 512), smuggled()])),
        ("a symbolic link with content", archive(&[ustar("l", b'2', 512), smuggled()])),
        ("a device with content", archive(&[ustar("l", b'3', 512), smuggled()])),
        ("a lone block of zeros", [ustar("a", b'0', 0), vec![0; 512], ustar("b", b'0', 0)].concat()),
        ("a signed size in a record", archive(&[pax(b'x', &[("size", "+4")]), ustar("c", b'0', 4), padded(b"data")])),
        ("a negative size in a record", archive(&[pax(b'x', &[("size", "-1")]), ustar("c", b'0', 0)])),
        ("a huge size in a record", archive(&[pax(b'x', &[("size", "18446744073709551616")]), ustar("c", b'0', 0)])),
        ("a signed octal size", archive(&[header("c", b'0', b"+0000000004\0", USTAR), padded(b"data")])),
        ("a size that is not octal", archive(&[header("c", b'0', b"0000000000x\0", USTAR)])),
        ("a negative size", archive(&[header("c", b'0', &[0xff; 12], USTAR)])),
        ("an owner beyond 32 bits", archive(&[pax(b'x', &[("uid", "4294967296")]), ustar("c", b'0', 0)])),
        ("an owner that is a name", archive(&[pax(b'x', &[("uid", "root")]), ustar("c", b'0', 0)])),
        ("a NUL in a name", archive(&[pax(b'x', &[("path", "a\0b")]), ustar("c", b'0', 0)])),
        ("an unknown type", archive(&[ustar("c", b'M', 0)])),
        ("a volume label", archive(&[ustar("c", b'V', 0)])),
        ("a file whose end is missing", [ustar("c", b'0', 1024), vec![1; 600]].concat()),
        ("a header whose end is missing", ustar("c", b'0', 0)[..100].to_vec()),
    ] {
        let result = std::panic::catch_unwind(|| refused(&bytes));
        assert!(result.is_ok(), "{what}");
    }
    let mut wrong = ustar("c", b'0', 0);
    wrong[0] = b'd';
    assert!(matches!(refused(&archive(&[wrong])), LayerReadError::Header { position: 0, .. }));
}

#[test]
fn names_cannot_leave_the_root() {
    for name in ["..", "../x", "a/../../x", "a/..", "/../x", "./.."] {
        assert!(matches!(refused(&archive(&[ustar(name, b'0', 0)])), LayerReadError::Name { .. }), "{name}");
    }
    let link = |kind, target: &str| {
        let mut block = ustar("link", kind, 0);
        block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        seal(&mut block);
        archive(&[block])
    };
    for target in ["../x", "", "/", "a/../b"] {
        assert!(matches!(refused(&link(b'1', target)), LayerReadError::Name { .. }), "{target}");
    }
    // What a symbolic link says is its own business; following it inside the root is the unpacker's.
    let listing = read(&link(b'2', "../../../../etc/passwd")).unwrap();
    assert_eq!(listing[0].0.kind, EntryKind::Symlink { target: b"../../../../etc/passwd".to_vec() });
    // The root itself can only be a directory.
    for (name, kind) in [(".", b'0'), ("/", b'6'), ("./", b'3')] {
        assert!(read(&archive(&[ustar(name, kind, 0)])).is_err() || kind == b'0' && name.ends_with('/'), "{name}");
    }
    assert_eq!(names(&archive(&[ustar("/abs/x", b'0', 0), ustar("./rel", b'0', 0)])), ["abs/x", "rel"]);
}

#[test]
fn parents_are_clamped_when_asked_for() {
    let limits = ReadLimits { clamp_parents: true, ..ReadLimits::default() };
    for (raw, clean) in [
        ("../x", "x"),
        ("a/../b", "b"),
        ("a/./../b", "b"),
        ("a//../b", "b"),
        ("a/b/../../../../c", "c"),
        ("a/b/..", "a"),
    ] {
        let bytes = archive(&[ustar(raw, b'0', 0)]);
        let mut reader = LayerReader::with_limits(bytes.as_slice(), limits);
        assert_eq!(reader.next_entry().unwrap().unwrap().entry.path, clean.as_bytes(), "{raw}");
    }
}

#[test]
fn limits_hold() {
    let long = format!("{}\0", "n".repeat(5000));
    let size = format!("{:011o}\0", long.len());
    let bytes = archive(&[header("L", b'L', size.as_bytes(), GNU), padded(long.as_bytes()), ustar("c", b'0', 0)]);
    refused(&bytes);
    let bytes = archive(&[pax(b'x', &[("path", &"n/".repeat(3000))]), ustar("c", b'0', 0)]);
    assert!(matches!(refused(&bytes), LayerReadError::Name { .. }));
    let bytes = archive(&[pax(b'x', &[("comment", &"c".repeat(2 << 20))]), ustar("c", b'0', 0)]);
    assert!(matches!(refused(&bytes), LayerReadError::Limit { .. }));
    // The announced size alone must not reserve memory.
    let bytes = [header("x", b'x', b"77777777777\0", USTAR), vec![0; 512]].concat();
    assert!(matches!(refused(&bytes), LayerReadError::Limit { .. }));
    let globals = pax(b'g', &[("comment", "again")]).repeat(1000);
    assert!(matches!(refused(&globals), LayerReadError::Limit { .. }));
    let many = archive(&vec![ustar("c", b'0', 0); 100]);
    let mut reader = LayerReader::with_limits(many.as_slice(), ReadLimits { entries: 10, ..ReadLimits::default() });
    let count = std::iter::from_fn(|| reader.next_entry().ok().flatten().map(|_| ())).count();
    assert_eq!(count, 10);
    let big = [header("big", b'0', b"77777777777\0", USTAR), vec![0; 512]].concat();
    assert!(matches!(refused(&big), LayerReadError::Limit { .. }));
    let base_256 = header("big", b'0', b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", USTAR);
    refused(&archive(&[base_256]));
}

/// A PAX 1.0 sparse file with this map and `real_size`.
fn sparse_1_0(real_size: &str, map: &str, data: &[u8]) -> Vec<u8> {
    let content = [padded(map.as_bytes()), data.to_vec()].concat();
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", real_size),
    ];
    archive(&[pax(b'x', &records), ustar("GNUSparseFile.0/s", b'0', content.len() as u64), padded(&content)])
}

#[test]
fn sparse_maps_cannot_lie() {
    let listing = read(&sparse_1_0("20", "2\n3\n4\n10\n2\n", b"abcdef")).unwrap();
    assert_eq!(listing[0].0.path, b"s");
    assert_eq!(listing[0].1, b"\0\0\0abcd\0\0\0ef\0\0\0\0\0\0\0\0");
    for (what, bytes) in [
        ("8 EiB of holes", sparse_1_0("9223372036854775807", "0\n", b"")),
        ("16 EiB of holes", sparse_1_0("18446744073709551615", "1\n18446744073709551614\n1\n", b"a")),
        ("an overflow", sparse_1_0("20", "1\n18446744073709551615\n2\n", b"ab")),
        ("an overlap", sparse_1_0("20", "2\n0\n4\n2\n4\n", b"abcdefgh")),
        ("out of order", sparse_1_0("20", "2\n8\n4\n0\n4\n", b"abcdefgh")),
        ("beyond the end", sparse_1_0("5", "1\n4\n4\n", b"abcd")),
        ("less data than the map", sparse_1_0("20", "1\n0\n9\n", b"abcd")),
        ("more data than the map", sparse_1_0("20", "1\n0\n2\n", b"abcd")),
        ("too many pieces", sparse_1_0("20", "99999999999\n", b"")),
        ("a map without an end", sparse_1_0("20", &"9".repeat(512), b"")),
        ("a map of words", sparse_1_0("20", "x\n", b"")),
        ("a map cut off", sparse_1_0("20", "500\n0\n0\n", b"")),
        (
            "no size",
            archive(&[pax(b'x', &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]), ustar("s", b'0', 0)]),
        ),
        (
            "another version",
            archive(&[
                pax(b'x', &[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.size", "1")]),
                ustar("s", b'0', 0),
            ]),
        ),
        (
            "an odd map",
            archive(&[
                pax(b'x', &[("GNU.sparse.map", "0,1,2"), ("GNU.sparse.size", "5")]),
                ustar("s", b'0', 1),
                padded(b"a"),
            ]),
        ),
        (
            "lengths before offsets",
            archive(&[
                pax(b'x', &[("GNU.sparse.numbytes", "1"), ("GNU.sparse.offset", "0"), ("GNU.sparse.size", "5")]),
                ustar("s", b'0', 1),
                padded(b"a"),
            ]),
        ),
    ] {
        let result = std::panic::catch_unwind(|| refused(&bytes));
        assert!(result.is_ok(), "{what}");
    }
}

#[test]
fn old_sparse_headers_cannot_lie() {
    let old = |offset: &str, length: &str, real: &str, extended: u8, data: &[u8]| {
        let size = format!("{:011o}\0", data.len());
        let mut block = header("s", b'S', size.as_bytes(), GNU);
        block[386..386 + offset.len()].copy_from_slice(offset.as_bytes());
        block[398..398 + length.len()].copy_from_slice(length.as_bytes());
        block[482] = extended;
        block[483..483 + real.len()].copy_from_slice(real.as_bytes());
        seal(&mut block);
        archive(&[block, padded(data)])
    };
    let good = old("00000000002\0", "00000000003\0", "00000000010\0", 0, b"abc");
    assert_eq!(read(&good).unwrap()[0].1, b"\0\0abc\0\0\0");
    refused(&old("00000000002\0", "00000000003\0", "77777777777\0", 0, b"abc"));
    refused(&old("00000000002\0", "00000000009\0", "00000000010\0", 0, b"abc"));
    refused(&old("00000000002\0", "00000000003\0", "00000000001\0", 0, b"abc"));
    // Extension blocks that never end: every block says that another follows.
    let mut endless = old("00000000002\0", "00000000003\0", "00000000010\0", 1, b"");
    endless.truncate(512);
    let mut extension = vec![0_u8; 512];
    for piece in 0..21 {
        extension[piece * 24..piece * 24 + 12].copy_from_slice(b"00000000010\0");
        extension[piece * 24 + 12..piece * 24 + 24].copy_from_slice(b"00000000000\0");
    }
    extension[504] = 1;
    let bytes = [endless.clone(), extension.repeat(5000)].concat();
    refused(&bytes);
    // Empty ones too: they add no pieces but must not go on for ever either.
    let mut empty = vec![0_u8; 512];
    empty[504] = 1;
    let mut reader = LayerReader::new(endless.as_slice().chain(Endless(empty)));
    assert!(reader.next_entry().is_err());
}

/// The same block again and again, without end.
struct Endless(Vec<u8>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        Ok(count)
    }
}

#[test]
fn harmless_oddities_are_read() {
    // A hard link that repeats its file's size, as some writers do.
    let mut link = ustar("link", b'1', 512);
    link[157..161].copy_from_slice(b"file");
    seal(&mut link);
    let bytes = archive(&[ustar("file", b'0', 0), link, ustar("after", b'0', 0)]);
    assert_eq!(names(&bytes), ["file", "link", "after"]);
    // V7: no magic, directories by their slash.
    let v7 = header("dir/", b'\0', b"00000000000\0", [0; 8]);
    let listing = read(&archive(&[v7, header("dir/f", b'\0', b"00000000003\0", [0; 8]), padded(b"abc")])).unwrap();
    assert_eq!(listing[0].0.kind, EntryKind::Directory);
    assert_eq!(listing[1].1, b"abc");
    // No end marker at all, and an empty stream.
    assert_eq!(names(&ustar("a", b'0', 0)), ["a"]);
    assert!(names(b"").is_empty());
    // Global records hold for what follows, and give way to an entry's own.
    let bytes = archive(&[
        pax(b'g', &[("uid", "7"), ("comment", "by git archive")]),
        ustar("a", b'0', 0),
        pax(b'x', &[("uid", "8")]),
        ustar("b", b'0', 0),
    ]);
    let owners: Vec<u32> = read(&bytes).unwrap().iter().map(|(entry, _)| entry.uid).collect();
    assert_eq!(owners, [7, 8]);
    // Content that is not read is skipped.
    let entries = [super::support::file("a", &[1; 3000]), super::support::file("b", b"b")];
    let bytes = write(&entries);
    let mut reader = LayerReader::new(bytes.as_slice());
    let mut first = reader.next_entry().unwrap().unwrap();
    first.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().entry.path, b"b");
}
