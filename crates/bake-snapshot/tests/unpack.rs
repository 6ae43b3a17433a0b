//! Layer archives as the world makes them, friendly and hostile.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
#![expect(clippy::print_stdout, reason = "skipped tests say so")]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bake_oci::{Entry, EntryKind, LayerReader, LayerWriter, Timestamp};
use bake_snapshot::{
    Contents, LayerFormat, MergedView, OverlaySnapshotter, Pending, PendingLink, Result, UnpackLimits, Unpacked,
    Unpacker, complete, digest_layer, unpack,
};
use support::{Layers, archive, is_root, names};

/// An entry with its content.
type Part = (Entry, Vec<u8>);

fn file(path: &str, content: &str) -> Part {
    let size = content.len() as u64;
    let mut entry = Entry::new(path, EntryKind::File { size }, 0o644);
    entry.mtime = Timestamp { seconds: 1000, nanoseconds: 5 };
    (entry, content.into())
}

fn directory(path: &str) -> Part {
    (Entry::new(path, EntryKind::Directory, 0o755), Vec::new())
}

fn symlink(path: &str, target: &str) -> Part {
    (Entry::new(path, EntryKind::Symlink { target: target.into() }, 0o777), Vec::new())
}

fn hard_link(path: &str, target: &str) -> Part {
    (Entry::new(path, EntryKind::HardLink { target: target.into() }, 0o644), Vec::new())
}

/// Applies entries to a fresh layer directory, past the reader's checks.
fn apply(layers: &Layers, name: &str, entries: &[Part]) -> (PathBuf, Result<Unpacked>) {
    let into = layers.fresh(name);
    let mut unpacker = Unpacker::new(&into, layers.format, UnpackLimits::default()).unwrap();
    for (entry, content) in entries {
        if let Err(error) = unpacker.apply(entry, &mut content.as_slice()) {
            return (into, Err(error));
        }
    }
    (into, unpacker.finish())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn nothing_leaves_the_layer() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let outside = layers.fresh("outside");
    std::fs::write(outside.join("canary"), "alive").unwrap();
    std::fs::set_permissions(outside.join("canary"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let outside_text = outside.to_str().unwrap();
    let canary = format!("{outside_text}/canary");
    let relative = "../outside";
    let cases: Vec<(&str, Vec<Part>, bool)> = vec![
        ("absolute-link", vec![symlink("a", outside_text), file("a/canary", "x"), file("a/new", "x")], true),
        ("relative-link", vec![symlink("a", relative), file("a/canary", "x"), file("a/new", "x")], true),
        ("link-leaf", vec![symlink("a", &canary), file("a", "x")], true),
        ("link-chain", vec![symlink("a", "b"), symlink("b", outside_text), directory("a/d"), file("a/d/x", "x")], true),
        ("directory-over-link", vec![symlink("a", outside_text), directory("a"), file("a/canary", "x")], true),
        (
            "mode-through-link",
            vec![symlink("a", &canary), (Entry::new("a", EntryKind::Directory, 0o777), vec![])],
            true,
        ),
        ("hard-link-out", vec![symlink("a", outside_text), hard_link("b", "a/canary")], true),
        ("hard-link-absolute", vec![hard_link("b", &canary), file("b", "x")], true),
        ("whiteout-through-link", vec![symlink("a", outside_text), file("a/.wh.canary", "")], true),
        ("opaque-through-link", vec![symlink("a", outside_text), file("a/.wh..wh..opq", "")], true),
        ("parent-in-name", vec![file("../outside/canary", "x")], false),
        ("parent-in-the-middle", vec![directory("a"), file("a/../../outside/canary", "x")], false),
        ("parent-in-hard-link", vec![hard_link("b", "../outside/canary")], false),
        ("absolute-name", vec![file(&canary, "x")], true),
        ("dots", vec![file("./a/./b", "x"), directory("."), directory("")], true),
        ("root-as-link", vec![symlink(".", outside_text)], false),
        ("root-as-file", vec![file("", "x")], false),
        ("loop", vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "x")], false),
        ("self", vec![symlink("a", "a"), file("a/x", "x")], false),
        ("below-a-file", vec![file("a", "x"), file("a/b", "x")], false),
        ("deletion-of-parent", vec![file("a/.wh...", ""), file("a/.wh..", ""), file(".wh.", "")], true),
        ("below-a-deletion", vec![file(".wh.a/b", "x")], false),
        (
            "smuggled-deletion",
            vec![(Entry::new("a", EntryKind::CharacterDevice { major: 0, minor: 0 }, 0o600), vec![])],
            false,
        ),
        ("hard-link-to-directory", vec![directory("a"), hard_link("b", "a")], false),
        ("proc-link", vec![symlink("a", "/proc/self/root"), file("a/x", "x")], true),
    ];
    for (name, entries, fine) in cases {
        let (_, result) = apply(&layers, name, &entries);
        assert_eq!(result.is_ok(), fine, "{name}: {result:?}");
        assert_eq!(read(&outside.join("canary")), "alive", "{name}");
        assert_eq!(std::fs::metadata(outside.join("canary")).unwrap().mode() & 0o777, 0o600, "{name}");
        assert_eq!(std::fs::metadata(outside.join("canary")).unwrap().nlink(), 1, "{name}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{name}");
    }
    let inside = layers.directory.path().join("absolute-link");
    assert_eq!(read(&inside.join(outside_text.trim_start_matches('/')).join("new")), "x");
    assert_eq!(read(&layers.directory.path().join("relative-link/outside/new")), "x");
    assert_eq!(read(&layers.directory.path().join("directory-over-link/a/canary")), "x");
}

#[test]
fn overlay_s_own_attributes_do_not_come_in() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let mut entry = directory("d");
    for name in
        ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "user.bake.root", "user.fine"]
    {
        entry.0.xattrs.insert(name.into(), b"y".to_vec());
    }
    let (layer, unpacked) =
        apply(&layers, "layer", &[entry.clone(), (Entry { path: Vec::new(), ..entry.0 }, Vec::new())]);
    unpacked.unwrap();
    for path in [layer.join("d"), layer] {
        let names = bake_sys::xattr::list(&path).unwrap();
        let names: Vec<_> = names.into_iter().filter(|name| name != b"user.bake.root").collect();
        assert_eq!(names, [b"user.fine".to_vec()]);
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let mut described = directory("d");
    described.0.mode = 0o700;
    described.0.mtime = Timestamp { seconds: -5, nanoseconds: 25 };
    let entries = [
        file("a", "first"),
        file("a", "second"),
        directory("b"),
        file("b/x", "x"),
        file("b", "file now"),
        file("c", "file"),
        directory("c"),
        file("c/y", "y"),
        file("d/z", "implied"),
        described,
        symlink("e", "c"),
        file("e/through", "link"),
        hard_link("f", "a"),
        file("a", "third"),
        file("g", "stays"),
        file(".wh.g", ""),
        file(".wh.h", ""),
        file("h", "stays too"),
        directory("i"),
        file(".wh.i", ""),
        file(".wh.j", ""),
        file("j/k", "x"),
    ];
    let (layer, unpacked) = apply(&layers, "layer", &entries);
    let unpacked = unpacked.unwrap();
    assert_eq!(unpacked.pending, Pending::default());
    assert_eq!(read(&layer.join("a")), "third");
    assert_eq!(read(&layer.join("f")), "second");
    assert_eq!(read(&layer.join("b")), "file now");
    assert_eq!(read(&layer.join("c/y")), "y");
    assert_eq!(read(&layer.join("c/through")), "link");
    assert_eq!(read(&layer.join("g")), "stays");
    assert_eq!(read(&layer.join("h")), "stays too");
    let status = std::fs::metadata(layer.join("d")).unwrap();
    assert_eq!((status.mode() & 0o7777, status.mtime(), status.mtime_nsec()), (0o700, -5, 25));
    assert_eq!(std::fs::metadata(layer.join("a")).unwrap().mtime_nsec(), 5);
    for path in ["i", "j"] {
        let value = bake_sys::xattr::get(&layer.join(path), b"trusted.overlay.opaque").unwrap();
        assert_eq!(value.as_deref(), Some(&b"y"[..]), "{path}");
    }
    let tar = archive(&layer, LayerFormat::ROOT);
    assert_eq!(
        names(&tar),
        [
            "a",
            "b",
            "c/",
            "c/through",
            "c/y",
            "d/",
            "d/z",
            "e",
            "f",
            "g",
            "h",
            "i/",
            "i/.wh..wh..opq",
            "j/",
            "j/.wh..wh..opq",
            "j/k"
        ]
    );
}

#[test]
fn hashes_taken_while_unpacking_are_those_of_the_files() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let zeros = |name: &str, size: usize, at: Option<usize>| {
        let mut content = vec![0; size];
        if let Some(at) = at {
            content[at] = 1;
        }
        (Entry::new(name, EntryKind::File { size: size as u64 }, 0o600), content)
    };
    let (layer, unpacked) = apply(
        &layers,
        "layer",
        &[
            file("a", "first"),
            file("a", "second"),
            hard_link("0-sorted-first", "a"),
            file("a", "third"),
            file("d/x", "x"),
            file("d/y", "y"),
            file("d", "file now"),
            file("e", "file"),
            directory("e"),
            symlink("link", "e"),
            file("link/through", "through"),
            file("g", "gone"),
            symlink("g", "e"),
            file("empty", ""),
            zeros("hole", 3 << 20, None),
            zeros("start", 1 << 20, Some(0)),
            zeros("end", (1 << 20) + 5, Some((1 << 20) + 4)),
            zeros("large", 1_000_001, Some(500_000)),
        ],
    );
    let unpacked = unpacked.unwrap();
    let read = digest_layer(&layer, LayerFormat::ROOT, &Contents::new()).unwrap();
    assert_eq!(digest_layer(&layer, LayerFormat::ROOT, &unpacked.contents).unwrap(), read);
    for (path, hash) in &unpacked.contents {
        // `a` is a second name of what sorts before it at first, and then a file of its own.
        let content = std::fs::read(layer.join(std::str::from_utf8(path).unwrap())).unwrap();
        assert_eq!(*blake3::hash(&content).as_bytes(), *hash, "{}", String::from_utf8_lossy(path));
    }
    assert!(unpacked.contents.contains_key(&b"e/through"[..]) && !unpacked.contents.contains_key(&b"g"[..]));
    // The same through the reader, whose sparse files come without their holes.
    let bytes = bake_testkit::archive_bytes::archive(&[
        bake_testkit::archive_bytes::sparse("s", "700000", "2\n3\n4\n600000\n2\n", b"abcdef"),
        bake_testkit::archive_bytes::sparse("holes", "1000000", "0\n", b""),
        bake_testkit::archive_bytes::sparse("whole", "4", "1\n0\n4\n", b"abcd"),
    ]);
    let into = layers.fresh("sparse");
    let unpacked =
        unpack(&mut LayerReader::new(bytes.as_slice()), &into, LayerFormat::ROOT, UnpackLimits::default()).unwrap();
    assert_eq!(unpacked.contents.len(), 3);
    let read = digest_layer(&into, LayerFormat::ROOT, &Contents::new()).unwrap();
    assert_eq!(digest_layer(&into, LayerFormat::ROOT, &unpacked.contents).unwrap(), read);
    assert_eq!(std::fs::metadata(into.join("s")).unwrap().len(), 700_000);
}

#[test]
fn what_the_lower_layers_know_is_completed() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let script = "mkdir -p usr/lib/x86 etc opt/app run; chmod 750 etc; chown 3:4 etc; ln -s usr/lib lib
        echo shared >etc/shared; chmod 640 etc/shared; setcap cap_net_raw+ep etc/shared; ln -s /run var-run
        chmod 711 usr/lib/x86; echo lower >usr/lib/lower; ln -s ../dangling opt/app/data; echo f >plain
        touch -d @77 etc";
    let (base, _) = layers.step(&overlay, &[], "base", script);
    let entries = [
        file("etc/new", "x"),
        hard_link("etc/link", "etc/shared"),
        hard_link("through", "lib/lower"),
        hard_link("own", "lib/own-file"),
        file("lib/x86/so", "so"),
        file("lib/own-file", "own"),
        file("var-run/pid", "1"),
        file("opt/app/data/file", "d"),
        file("plain/now-a-directory", "p"),
        file("unknown/path/file", "u"),
        hard_link("late", "etc/shared"),
        file("late", "a later entry"),
        directory("usr"),
    ];
    let (layer, unpacked) = apply(&layers, "layer", &entries);
    let pending = unpacked.unwrap().pending;
    assert!(!pending.is_empty());
    complete(&pending, &layer, &[&base], LayerFormat::ROOT).unwrap();
    assert!(!layer.join("lib").exists() && !layer.join("var-run").exists());
    let status = std::fs::metadata(layer.join("etc")).unwrap();
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid(), status.mtime()), (0o750, 3, 4, 77));
    assert_eq!(std::fs::metadata(layer.join("usr/lib/x86")).unwrap().mode() & 0o7777, 0o711);
    let view = MergedView::open(&overlay, &[&base, &layer]).unwrap();
    for (path, content) in [
        ("etc/new", "x"),
        ("etc/link", "shared\n"),
        ("through", "lower\n"),
        ("own", "own"),
        ("lib/x86/so", "so"),
        ("usr/lib/x86/so", "so"),
        ("usr/lib/lower", "lower\n"),
        ("run/pid", "1"),
        ("opt/app/data/file", "d"),
        ("opt/dangling/file", "d"),
        ("plain/now-a-directory", "p"),
        ("unknown/path/file", "u"),
        ("late", "a later entry"),
    ] {
        assert_eq!(view.read_to_string(path.as_bytes(), 100).unwrap().as_deref(), Some(content), "{path}");
    }
    let copied = std::fs::metadata(layer.join("etc/link")).unwrap();
    assert_eq!(copied.mode() & 0o7777, 0o640);
    assert!(bake_sys::xattr::get(&layer.join("etc/link"), b"security.capability").unwrap().is_some());
    let missing =
        Pending { links: vec![PendingLink { path: b"x".into(), target: b"no/file".into() }], ..Pending::default() };
    let error = complete(&missing, &layer, &[&base], LayerFormat::ROOT).unwrap_err();
    assert!(error.to_string().contains("`x` is a hard link to `no/file`"), "{error}");
}

#[test]
fn a_layer_can_hide_everything_below() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", "mkdir a b; touch a/x b/y c");
    let (layer, unpacked) = apply(&layers, "layer", &[directory("a"), file("a/z", ""), file(".wh..wh..opq", "")]);
    complete(&unpacked.unwrap().pending, &layer, &[&base], LayerFormat::ROOT).unwrap();
    let view = MergedView::open(&overlay, &[&base, &layer]).unwrap();
    assert_eq!(view.read_directory(b"/").unwrap().unwrap(), [b"a".to_vec()]);
    assert_eq!(view.read_directory(b"/a").unwrap().unwrap(), [b"z".to_vec()]);
    // A layer of deletions alone shows none of them.
    let (only, unpacked) = apply(
        &layers,
        "only",
        &[
            file(".wh.x", ""),
            file("d/.wh.y", ""),
            file("d/z", ""),
            file("o/e/.wh.y", ""),
            file("o/e/f", ""),
            file("o/.wh..wh..opq", ""),
        ],
    );
    complete(&unpacked.unwrap().pending, &only, &[], LayerFormat::ROOT).unwrap();
    let view = MergedView::open(&overlay, &[&only]).unwrap();
    assert_eq!(view.read_directory(b"/").unwrap().unwrap(), [b"d".to_vec(), b"o".to_vec()]);
    assert_eq!(view.read_directory(b"o/e").unwrap().unwrap(), [b"f".to_vec()]);
    assert_eq!(view.read_directory(b"d").unwrap().unwrap(), [b"z".to_vec()]);
}

#[test]
fn limits_are_kept() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let mut tar = Vec::new();
    let mut writer = LayerWriter::new(&mut tar);
    for name in ["a", "b", "c"] {
        let (entry, content) = file(name, "12345");
        writer.append(&entry, Some(&mut content.as_slice())).unwrap();
    }
    writer.finish().unwrap();
    for (name, entries_max, bytes_max, text) in
        [("entries", 2, 100, "more than 2 entries"), ("bytes", 10, 14, "more than 14 bytes of file content")]
    {
        let limits = UnpackLimits { entries_max, bytes_max };
        let error =
            unpack(&mut LayerReader::new(tar.as_slice()), &layers.fresh(name), layers.format, limits).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    let limits = UnpackLimits { entries_max: 3, bytes_max: 15 };
    unpack(&mut LayerReader::new(tar.as_slice()), &layers.fresh("exact"), layers.format, limits).unwrap();
    let full = layers.fresh("full");
    std::fs::write(full.join("x"), "").unwrap();
    assert!(Unpacker::new(&full, layers.format, limits).is_err());
    let deep = vec!["d"; 2000].join("/");
    let (_, result) = apply(&layers, "deep", &[file(&deep, "x")]);
    assert!(result.unwrap_err().to_string().contains("nested deeper"));
    let mut nobody = file("x", "");
    nobody.0.uid = u32::MAX;
    assert!(apply(&layers, "nobody", &[nobody]).1.is_err());
}

#[test]
fn holes_stay_holes_and_special_files_stay_special() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let size = 8 << 20;
    let mut sparse = (Entry::new("sparse", EntryKind::File { size }, 0o600), vec![0; 8 << 20]);
    sparse.1[100] = 1;
    let mut setuid = file("setuid", "x");
    (setuid.0.mode, setuid.0.uid, setuid.0.gid) = (0o6755, 1000, u32::MAX - 1);
    setuid.0.xattrs.insert(b"security.capability".to_vec(), {
        let mut value = vec![1, 0, 0, 2, 0, 32, 0, 0];
        value.resize(20, 0);
        value
    });
    let mut link = symlink("link", "any where\n");
    (link.0.uid, link.0.mtime) = (77, Timestamp { seconds: 3, nanoseconds: 4 });
    let device = (Entry::new("disk", EntryKind::BlockDevice { major: 250, minor: 3 }, 0o660), Vec::new());
    let fifo = (Entry::new("fifo", EntryKind::Fifo, 0o622), Vec::new());
    let (layer, unpacked) = apply(&layers, "layer", &[sparse, setuid, link, device, fifo]);
    assert_eq!(unpacked.unwrap().size_bytes, size + 1);
    let status = std::fs::metadata(layer.join("sparse")).unwrap();
    assert!(status.len() == size && status.blocks() * 512 < size / 2);
    let status = std::fs::metadata(layer.join("setuid")).unwrap();
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid()), (0o6755, 1000, u32::MAX - 1));
    assert!(bake_sys::xattr::get(&layer.join("setuid"), b"security.capability").unwrap().is_some());
    let status = std::fs::symlink_metadata(layer.join("link")).unwrap();
    assert_eq!((status.uid(), status.mtime(), status.mtime_nsec()), (77, 3, 4));
    let status = std::fs::metadata(layer.join("disk")).unwrap();
    assert!(status.file_type().is_block_device() && status.mode() & 0o7777 == 0o660);
    assert_eq!(status.rdev(), rustix::fs::makedev(250, 3));
    assert_eq!(std::fs::metadata(layer.join("fifo")).unwrap().mode() & 0o7777, 0o622);
}
