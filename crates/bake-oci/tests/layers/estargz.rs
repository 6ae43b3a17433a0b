//! eStargz: what a runtime reads of it, as stargz-snapshotter's `docs/estargz.md` says.

use std::io::{Read, Write};
use std::num::NonZeroUsize;

use bake_oci::layer::estargz::{Estargz, write_estargz};
use bake_oci::{Digest, Entry, EntryKind, ExpansionLimits, LayerReader, LayerWriter, decompress};
use flate2::read::GzDecoder;
use serde_json::Value;

const CHUNK: usize = 4 << 20;

/// Content of a file by its name: the same every time, and other for each file.
fn content(name: &str) -> Vec<u8> {
    let length = match name {
        "dir/big" => 2 * CHUNK + 1000,
        "dir/exact" => CHUNK,
        "empty" => 0,
        _ => 700,
    };
    (0..length).map(|n| name.as_bytes()[n % name.len()].wrapping_add(u8::try_from(n / 5000 % 251).unwrap())).collect()
}

const FILES: [&str; 5] = ["dir/big", "dir/exact", "empty", "small", "z"];

fn archive() -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    writer.append(&Entry::new("dir", EntryKind::Directory, 0o1777), None).unwrap();
    for name in FILES {
        let content = content(name);
        let mut entry = Entry::new(name, EntryKind::File { size: content.len() as u64 }, 0o4750);
        (entry.uid, entry.gid) = (7, 8);
        entry.mtime = bake_oci::Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
        entry.xattrs.insert(b"user.a".to_vec(), vec![0, 255]);
        writer.append(&entry, Some(&mut content.as_slice())).unwrap();
        if name == "small" {
            let link = EntryKind::HardLink { target: b"small".to_vec() };
            writer.append(&Entry::new("hard", link, 0o644), None).unwrap();
            let link = EntryKind::Symlink { target: b"../away".to_vec() };
            writer.append(&Entry::new("link", link, 0o777), None).unwrap();
            let device = EntryKind::CharacterDevice { major: 1, minor: 3 };
            writer.append(&Entry::new("null", device, 0o666), None).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn made(archive: &[u8], level: u32, threads: usize) -> (Estargz, Vec<u8>) {
    write_estargz(archive, level, NonZeroUsize::new(threads).unwrap(), Vec::new()).unwrap()
}

/// One gzip member from `offset` on.
fn member(blob: &[u8], offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(&blob[usize::try_from(offset).unwrap()..]).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The offset of the table's member, from the footer.
fn toc_offset(blob: &[u8]) -> u64 {
    let footer = &blob[blob.len() - 51..];
    let mut decoder = GzDecoder::new(footer);
    assert_eq!(decoder.read_to_end(&mut Vec::new()).unwrap(), 0);
    let extra = decoder.header().unwrap().extra().unwrap();
    assert_eq!((&extra[..4], extra.len()), (&[b'S', b'G', 22, 0][..], 26));
    let text = std::str::from_utf8(&extra[4..]).unwrap();
    u64::from_str_radix(text.strip_suffix("STARGZ").unwrap(), 16).unwrap()
}

fn toc(blob: &[u8]) -> (Vec<u8>, Value) {
    let table = member(blob, toc_offset(blob));
    let mut reader = LayerReader::new(table.as_slice());
    let mut next = reader.next_entry().unwrap().unwrap();
    assert_eq!(next.entry.path, b"stargz.index.json");
    let mut json = Vec::new();
    next.read_to_end(&mut json).unwrap();
    drop(next);
    assert!(reader.next_entry().unwrap().is_none(), "the table is the last entry");
    let value = serde_json::from_slice(&json).unwrap();
    (json, value)
}

#[test]
fn files_are_found_by_the_table_alone() {
    let (layer, blob) = made(&archive(), 4, 2);
    assert_eq!((layer.digest.clone(), layer.size_bytes), (Digest::of(&blob), blob.len() as u64));
    let (json, toc) = toc(&blob);
    assert_eq!(layer.toc_digest, Digest::of(&json));
    assert_eq!(layer.annotations()["containerd.io/snapshot/stargz/toc.digest"], layer.toc_digest.to_string());
    assert_eq!(toc["version"], 1);
    let entries = toc["entries"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    let expected = [
        ".no.prefetch.landmark",
        "dir/",
        "dir/big",
        "dir/big",
        "dir/big",
        "dir/exact",
        "empty",
        "small",
        "hard",
        "link",
        "null",
        "z",
    ];
    assert_eq!(names, expected);
    for name in FILES {
        let pieces: Vec<&Value> = entries.iter().filter(|entry| entry["name"] == name).collect();
        let mut whole = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            assert_eq!(piece["type"], if number == 0 { "reg" } else { "chunk" });
            let size = pieces[0]["size"].as_u64().unwrap_or(0);
            if size == 0 {
                continue;
            }
            assert_eq!(piece["chunkOffset"].as_u64().unwrap_or(0), whole.len() as u64);
            let length = match piece["chunkSize"].as_u64().unwrap_or(0) {
                0 => size - whole.len() as u64,
                length => length,
            };
            let bytes = member(&blob, piece["offset"].as_u64().unwrap());
            let bytes = &bytes[..usize::try_from(length).unwrap()];
            assert_eq!(piece["chunkDigest"], Digest::of(bytes).to_string());
            whole.extend_from_slice(bytes);
        }
        assert!(whole == content(name), "{name}");
        assert_eq!(pieces[0]["digest"], Digest::of(&whole).to_string());
        assert_eq!(
            (pieces[0]["mode"].as_u64(), pieces[0]["uid"].as_u64(), pieces[0]["gid"].as_u64()),
            (Some(0o4750), Some(7), Some(8))
        );
        assert_eq!(
            (&pieces[0]["modtime"], &pieces[0]["xattrs"]["user.a"]),
            (&"2023-11-14T22:13:20Z".into(), &"AP8=".into())
        );
    }
    let of = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!((&of("hard")["type"], &of("hard")["linkName"]), (&"hardlink".into(), &"small".into()));
    assert_eq!((&of("link")["type"], &of("link")["linkName"]), (&"symlink".into(), &"../away".into()));
    assert_eq!((&of("null")["type"], &of("null")["devMinor"]), (&"char".into(), &3.into()));
    assert_eq!(member(&blob, of(".no.prefetch.landmark")["offset"].as_u64().unwrap())[0], 0xf);
    assert_eq!(of("dir/")["mode"], 0o1777);
}

#[test]
fn everyone_else_reads_a_gzip_layer() {
    let (layer, blob) = made(&archive(), 4, 2);
    let mut unpacked = Vec::new();
    decompress(blob.as_slice(), ExpansionLimits::default()).unwrap().read_to_end(&mut unpacked).unwrap();
    assert_eq!(layer.diff_id.0, Digest::of(&unpacked));
    assert_eq!(layer.uncompressed_bytes, unpacked.len() as u64);
    let mut reader = LayerReader::new(unpacked.as_slice());
    let mut names = Vec::new();
    while let Some(mut next) = reader.next_entry().unwrap() {
        let name = String::from_utf8(next.entry.path.clone()).unwrap();
        let mut bytes = Vec::new();
        next.read_to_end(&mut bytes).unwrap();
        if FILES.contains(&name.as_str()) {
            assert!(bytes == content(&name), "{name}");
        }
        names.push(name);
    }
    assert_eq!((names.len(), names[0].as_str()), (11, ".no.prefetch.landmark"));
    assert_eq!(names.last().unwrap(), "stargz.index.json");
}

#[test]
fn the_bytes_depend_on_the_archive_and_the_level_alone() {
    let archive = archive();
    let first = made(&archive, 4, 1);
    for threads in [2, 8] {
        assert!(made(&archive, 4, threads) == first, "{threads} threads");
    }
    assert!(made(&archive, 9, 2).0.digest != first.0.digest);
    // A layer that is one already is made the same again.
    let mut unpacked = Vec::new();
    decompress(first.1.as_slice(), ExpansionLimits::default()).unwrap().read_to_end(&mut unpacked).unwrap();
    assert!(made(&unpacked, 4, 2) == first);
}

/// Takes nothing.
#[derive(Debug)]
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_and_a_broken_archive_are_errors() {
    let archive = archive();
    assert!(write_estargz(archive.as_slice(), 4, NonZeroUsize::MIN, Full).is_err());
    assert!(write_estargz(&archive[..archive.len() / 2], 4, NonZeroUsize::MIN, Vec::new()).is_err());
    // An empty layer is one too.
    let empty = LayerWriter::new(Vec::new()).finish().unwrap();
    assert_eq!(toc(&made(&empty, 4, 1).1).1["entries"].as_array().unwrap().len(), 1);
}
