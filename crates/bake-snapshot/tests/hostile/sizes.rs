//! Archives of a few bytes that announce enormous content, or never end.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;

use bake_testkit::archive_bytes::{GNU, USTAR, archive, file, header, padded, pax, seal, sparse, ustar};

use super::Range;
use crate::support::is_root;

#[test]
fn a11_sparse_maps_that_lie() {
    // CVE-2025-58183; a file of 8 EiB of holes made other unpackers fill disks and memory.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let many = {
        let mut map = "60000\n".to_owned();
        for number in 0..60_000_u64 {
            writeln!(map, "{}\n0", number * 2).unwrap();
        }
        map
    };
    for (name, bytes) in [
        ("8-eib", sparse("s", "9223372036854775807", "0\n", b"")),
        ("16-eib", sparse("s", "18446744073709551615", "1\n18446744073709551614\n1\n", b"a")),
        ("beyond-64-bits", sparse("s", "18446744073709551616", "0\n", b"")),
        ("1-tib", sparse("s", "1099511627776", "1\n1099511627775\n1\n", b"a")),
        ("200-gib", sparse("s", "214748364800", "1\n0\n1\n", b"a")),
        (
            "many-of-1-gib",
            (0..300).map(|n| sparse(&format!("s{n}"), "1073741824", "1\n0\n1\n", b"a")).collect::<Vec<_>>().concat(),
        ),
        ("overlap", sparse("s", "20", "2\n0\n4\n2\n4\n", b"abcdefgh")),
        ("overflow", sparse("s", "20", "1\n18446744073709551615\n2\n", b"ab")),
        ("count", sparse("s", "20", "18446744073709551615\n", b"")),
        ("endless-number", sparse("s", "20", &"1".repeat(100_000), b"")),
    ] {
        range.refuse(name, &archive(&[bytes]), "");
    }
    // Many pieces are slow but honest, and so are holes as they occur.
    let names = range.accept_like_gnu_tar("many", &archive(&[sparse("s", "200000", &many, b"")]));
    assert_eq!(names, ["s"]);
    let bytes = archive(&[sparse("s", "1073741824", "1\n1073741823\n1\n", b"a"), file("after", b"x")]);
    let (layer, result) = range.unpack("1-gib", &bytes);
    assert_eq!(result.unwrap().size_bytes, (1 << 30) + 1);
    let status = std::fs::metadata(layer.join("s")).unwrap();
    assert!(status.len() == 1 << 30 && status.blocks() < 1024, "{} blocks", status.blocks());
}

#[test]
fn a12_numbers_that_go_backwards() {
    // CVE-2025-8194: a negative size sent the reader back, for ever.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let minus = |value: i64| {
        let mut field = [0xff_u8; 12];
        field[4..].copy_from_slice(&value.to_be_bytes());
        field
    };
    for (name, bytes) in [
        ("size", header("a", b'0', &minus(-512), USTAR)),
        ("size-of-pax", header("a", b'x', &minus(-1024), USTAR)),
        ("size-of-long-name", header("a", b'L', &minus(-1024), GNU)),
        ("size-of-globals", header("a", b'g', &minus(i64::MIN), USTAR)),
        ("octal", header("a", b'0', b"-0000001000\0", USTAR)),
        ("record", [pax(b'x', &[("size", "-512")]), ustar("a", b'0', 0)].concat()),
        ("sparse-offset", sparse("s", "20", "1\n-4\n4\n", b"abcd")),
        ("sparse-size", sparse("s", "-1", "1\n0\n4\n", b"abcd")),
        ("sparse-records", {
            let records = [("GNU.sparse.size", "10"), ("GNU.sparse.offset", "-1"), ("GNU.sparse.numbytes", "5")];
            [pax(b'x', &records), file("s", b"abcde")].concat()
        }),
        ("record-length", [ustar("x", b'x', 10), padded(b"-10 size=1")].concat()),
        ("record-length-zero", [ustar("x", b'x', 10), padded(b"0 size=11\n")].concat()),
        ("owner", [pax(b'x', &[("uid", "-1")]), ustar("a", b'0', 0)].concat()),
        ("huge", header("a", b'0', &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], USTAR)),
        ("huger", header("a", b'0', &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], USTAR)),
        ("old-sparse", {
            let mut block = header("s", b'S', b"00000000003\0", GNU);
            block[386..398].copy_from_slice(&minus(-4));
            block[398..410].copy_from_slice(b"00000000003\0");
            block[483..495].copy_from_slice(b"00000000010\0");
            seal(&mut block);
            [block, padded(b"abc")].concat()
        }),
        ("old-sparse-without-end", {
            let mut block = header("s", b'S', b"00000000000\0", GNU);
            block[482] = 1;
            seal(&mut block);
            let mut extension = vec![0_u8; 512];
            extension[504] = 1;
            [block, extension.repeat(20_000)].concat()
        }),
    ] {
        range.refuse(name, &archive(&[bytes, file("after", b"x")]), "");
    }
    // Before the epoch is not wrong.
    let mut early = ustar("early", b'0', 0);
    early[136..148].copy_from_slice(&minus(-1));
    seal(&mut early);
    assert_eq!(range.accept_like_gnu_tar("early", &archive(&[early])), ["early"]);
}

#[test]
fn names_records_and_attributes_have_limits() {
    if !is_root() {
        return;
    }
    let range = Range::new();
    let long = "n".repeat(300);
    for (name, bytes, words) in [
        ("component", archive(&[pax(b'x', &[("path", &long)]), ustar("a", b'0', 0)]), "longer than 255"),
        ("path", archive(&[pax(b'x', &[("path", &"n/".repeat(3000))]), ustar("a", b'0', 0)]), "longer than 4096"),
        ("target", archive(&[pax(b'x', &[("linkpath", &"n/".repeat(3000))]), ustar("a", b'2', 0)]), "too long"),
        ("pax", archive(&[pax(b'x', &[("comment", &"c".repeat(2 << 20))]), ustar("a", b'0', 0)]), "limit of 1048576"),
        ("pax-announced", [header("x", b'x', b"77777777777\0", USTAR), vec![0; 512]].concat(), "limit of 1048576"),
        ("globals", pax(b'g', &[("comment", "again")]).repeat(1000), "extension headers in a row"),
        ("depth", archive(&[pax(b'x', &[("path", &"d/".repeat(2000))]), ustar("a", b'5', 0)]), "nested deeper"),
        ("cut-off", [ustar("a", b'0', 1 << 20), vec![1; 600]].concat(), "cut off"),
    ] {
        range.refuse(name, &bytes, words);
    }
}
