//! Archives that are made for readers to disagree about: sizes, names and link targets that are said twice.

use bake_testkit::archive_bytes::{GNU, archive, file, header, link, long, padded, pax, ustar};

use super::{Range, chain_of, read};
use crate::support::is_root;

/// An archive inside of a file, whose entries must stay content.
fn smuggled() -> Vec<u8> {
    file("smuggled", b"evil")
}

#[test]
fn a01_a_pax_size_beside_a_header_size_of_zero() {
    // CVE-2025-62518: inner headers were taken for entries.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let inner = smuggled();
    let size = inner.len().to_string();
    let bytes = archive(&[pax(b'x', &[("size", &size)]), ustar("outer", b'0', 0), inner.clone(), file("after", b"x")]);
    assert_eq!(range.accept_like_gnu_tar("layer", &bytes), ["after", "outer"]);
    assert_eq!(std::fs::read(range.layers.directory.path().join("layer/outer")).unwrap(), inner);
}

#[test]
fn a02_a_pax_size_beside_another_header_size() {
    // CVE-2026-33055: the header's size was taken when it was not zero.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let inner = smuggled();
    let size = inner.len().to_string();
    for own in [4, 512, 1536, 0o77_777_777_777] {
        let bytes =
            archive(&[pax(b'x', &[("size", &size)]), ustar("outer", b'0', own), inner.clone(), file("after", b"x")]);
        assert_eq!(range.accept_like_gnu_tar(&format!("layer-{own}"), &bytes), ["after", "outer"], "{own}");
    }
}

#[test]
fn a03_further_sizes_that_lead_to_other_entries() {
    // RUSTSEC-2026-0112 and -0145: whatever is said twice or oddly is either read as GNU tar reads it or refused.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let inner = smuggled();
    let size = inner.len().to_string();
    let outer = || [ustar("outer", b'0', 0), inner.clone(), file("after", b"x")].concat();
    let twice = archive(&[pax(b'x', &[("size", "0"), ("size", &size)]), outer()]);
    assert_eq!(range.accept_like_gnu_tar("twice", &twice), ["after", "outer"]);
    let name_between = archive(&[pax(b'x', &[("size", &size)]), long(b'L', b"renamed\0"), outer()]);
    assert_eq!(range.accept_like_gnu_tar("name-between", &name_between), ["after", "renamed"]);
    for (what, bytes, words) in [
        (
            "two-headers",
            archive(&[pax(b'x', &[("size", "0")]), pax(b'x', &[("size", &size)]), outer()]),
            "two PAX headers",
        ),
        ("for-everything", archive(&[pax(b'g', &[("size", &size)]), outer()]), "records of a single entry"),
        ("with-a-sign", archive(&[pax(b'x', &[("size", &format!("+{size}"))]), outer()]), "the size of"),
        ("with-a-blank", archive(&[pax(b'x', &[("size", &format!(" {size}"))]), outer()]), "the size of"),
        ("hexadecimal", archive(&[pax(b'x', &[("size", "0x400")]), outer()]), "the size of"),
        (
            "of-a-directory",
            archive(&[pax(b'x', &[("size", &size)]), ustar("d/", b'5', 0), inner.clone()]),
            "is not a file",
        ),
        ("of-a-link", archive(&[pax(b'x', &[("size", &size)]), link("l", b'2', "x"), inner.clone()]), "is not a file"),
        ("of-a-fifo", archive(&[ustar("p", b'6', 1024), inner.clone()]), "is not a file"),
        (
            "a-record-too-long",
            archive(&[[ustar("x", b'x', 9), padded(b"99 size=1")].concat(), outer()]),
            "record's length",
        ),
        ("nothing-follows", archive(&[file("a", b"x"), pax(b'x', &[("size", &size)])]), "has no entry"),
        (
            "a-sparse-name",
            archive(&[pax(b'x', &[("GNU.sparse.name", "s"), ("GNU.sparse.major", "1")]), outer()]),
            "sparse",
        ),
    ] {
        range.refuse(what, &bytes, words);
    }
}

#[test]
fn a04_a_pax_size_is_not_for_the_long_name_between() {
    // CVE-2026-53655: the size was taken for that of the GNU header.
    if !is_root() {
        return;
    }
    let range = Range::new();
    for (layer, kind) in [("name", b'L'), ("target", b'K')] {
        let text = format!("{}\0", "n".repeat(150));
        let bytes = archive(&[
            pax(b'x', &[("size", "4")]),
            long(kind, text.as_bytes()),
            if kind == b'L' { ustar("short", b'0', 0) } else { ustar("file", b'0', 0) },
            padded(b"data"),
            file("after", b"x"),
        ]);
        let names = range.accept_like_gnu_tar(layer, &bytes);
        let expected = if kind == b'L' { "n".repeat(150) } else { "file".to_owned() };
        assert_eq!(names, ["after".to_owned(), expected.clone()]);
        assert_eq!(read(&range.layers.directory.path().join(layer).join(expected)), "data");
    }
    let wrong = header("././@LongLink", b'L', b"00000000000\0", GNU);
    let bytes = archive(&[pax(b'x', &[("size", "512")]), wrong, padded(b"name\0"), ustar("short", b'0', 0)]);
    let (_, result) = range.unpack("empty", &bytes);
    assert!(chain_of(&result.unwrap_err()).contains("header"));
}

#[test]
fn a14_names_that_lead_elsewhere() {
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    for (index, name) in ["..", "../x", "a/../../outside/canary", "a/..", "/../x", "./../x"].iter().enumerate() {
        range.refuse(&format!("refused-{index}"), &archive(&[ustar(name, b'0', 0)]), "has a `..` component");
        range.refuse(
            &format!("refused-record-{index}"),
            &archive(&[pax(b'x', &[("path", name)]), ustar("fine", b'0', 0)]),
            "has a `..` component",
        );
    }
    let canary = format!("{outside}/canary");
    let bytes = archive(&[file(&canary, b"absolute"), file("//a//./b", b"odd"), file("./c", b"dot")]);
    let names = range.accept("inside", &bytes);
    assert!(names.contains(&canary.trim_start_matches('/').to_owned()), "{names:?}");
    assert!(["a/b", "c"].iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
    // Opaque markers and deletions are honoured wherever they stand among the entries.
    for (layer, bytes) in [
        ("marker-first", archive(&[file("d/.wh..wh..opq", b""), file("d/new", b"x"), file(".wh.gone", b"")])),
        ("marker-last", archive(&[file(".wh.gone", b""), file("d/new", b"x"), file("d/.wh..wh..opq", b"")])),
    ] {
        assert_eq!(range.accept(layer, &bytes), ["d", "d/.wh..wh..opq", "d/new", ".wh.gone"], "{layer}");
    }
}
