//! Archives that lead out of the layer by links, and what must not be mistaken for them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bake_oci::LayerReader;
use bake_snapshot::{LayerFormat, MergedView, OverlaySnapshotter, UnpackLimits, complete, unpack};
use bake_testkit::archive_bytes::{USTAR, archive, file, header, link, pax, seal, ustar, with_mode};

use super::{Range, chain_of, read};
use crate::support::is_root;

#[test]
fn a05_a_symlink_and_then_a_directory_of_its_name() {
    // RUSTSEC-2026-0067, CVE-2021-32760: the mode of what the link leads to was changed.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    for (name, target) in [
        ("absolute", outside.clone()),
        ("relative", "../outside".to_owned()),
        ("deeper", format!("{outside}/directory")),
        ("a-file", format!("{outside}/canary")),
    ] {
        let bytes = archive(&[
            link("a", b'2', &target),
            with_mode(ustar("a/", b'5', 0), 0o777),
            with_mode(file("a/canary", b"mine"), 0o666),
        ]);
        assert_eq!(range.accept_like_gnu_tar(name, &bytes), ["a", "a/canary"]);
        let layer = range.layers.directory.path().join(name);
        assert!(std::fs::symlink_metadata(layer.join("a")).unwrap().is_dir());
        assert_eq!(read(&layer.join("a/canary")), "mine");
    }
    // The same with the mode alone, the root as the link's target, and a link to nothing.
    let bytes = archive(&[link("a", b'2', "/"), with_mode(ustar("a/", b'5', 0), 0o7777), link("b", b'2', "nowhere")]);
    range.accept_like_gnu_tar("root", &bytes);
}

#[test]
fn a06_links_that_would_make_directories_outside() {
    // RUSTSEC-2021-0080.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    for (name, target) in [("absolute", outside.as_str()), ("relative", "../outside")] {
        let bytes = archive(&[
            link("a", b'2', target),
            ustar("a/new/", b'5', 0),
            ustar("a/deep/er/", b'5', 0),
            file("a/implied/file", b"x"),
            ustar("a/pipe", b'6', 0),
            link("a/hard", b'1', "a/implied/file"),
            link("a/soft", b'2', "new"),
        ]);
        let (layer, result) = range.unpack(name, &bytes);
        result.unwrap();
        // The links lead there inside of the layer.
        let inside = layer.join(outside.trim_start_matches('/'));
        let inside = if name == "absolute" { inside } else { layer.join("outside") };
        assert!(inside.join("deep/er").is_dir() && inside.join("new").is_dir(), "{name}");
        assert_eq!(std::fs::metadata(inside.join("hard")).unwrap().nlink(), 2, "{name}");
    }
}

#[test]
fn a07_links_of_the_layer_that_lead_out_of_it() {
    // CVE-2026-46703 and the like.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    let canary = format!("{outside}/canary");
    for (name, bytes) in [
        ("leaf", archive(&[link("a", b'2', &canary), file("a", b"x")])),
        ("through", archive(&[link("a", b'2', &outside), file("a/canary", b"x")])),
        (
            "chain",
            archive(&[link("a", b'2', "b/c"), link("b", b'2', "/"), link("c", b'2', &outside), file("a/canary", b"x")]),
        ),
        (
            "upwards",
            archive(&[
                ustar("d/", b'5', 0),
                link("d/a", b'2', "../../../../../.."),
                file(&format!("d/a{canary}"), b"x"),
            ]),
        ),
        ("deletion", archive(&[link("a", b'2', &outside), file("a/.wh.canary", b"")])),
        ("opaque", archive(&[link("a", b'2', &outside), file("a/.wh..wh..opq", b"")])),
        ("proc", archive(&[link("a", b'2', "/proc/self/root"), file(&format!("a{canary}"), b"x")])),
        ("descriptor", archive(&[link("a", b'2', "/proc/self/cwd"), file("a/x", b"x")])),
    ] {
        let (layer, result) = range.unpack(name, &bytes);
        result.unwrap_or_else(|error| panic!("{name}: {}", chain_of(&error)));
        assert!(std::fs::read_dir(&layer).unwrap().count() > 0, "{name}");
    }
}

#[test]
fn a08_links_of_a_lower_layer_that_lead_out_of_it() {
    // CVE-2026-17106: an upper layer wrote through a link of a lower one.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    let lower = archive(&[link("a", b'2', &outside), link("b", b'2', "../../../outside"), file("file", b"lower")]);
    let (lower, result) = range.unpack("lower", &lower);
    result.unwrap();
    let upper = archive(&[
        file("a/canary", b"x"),
        file("a/new/file", b"x"),
        file("b/canary", b"x"),
        link("hard", b'1', "a/canary"),
        link("other", b'1', "file"),
        file("a/.wh.gone", b""),
    ]);
    let into = range.layers.fresh("upper");
    let before = range.canary();
    let unpacked =
        unpack(&mut LayerReader::new(upper.as_slice()), &into, LayerFormat::ROOT, UnpackLimits::default()).unwrap();
    complete(&unpacked.pending, &into, &[&lower], LayerFormat::ROOT).unwrap();
    assert_eq!(range.canary(), before);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let view = MergedView::open(&overlay, &[&lower, &into]).unwrap();
    let inside = format!("{}/canary", outside.trim_start_matches('/'));
    assert_eq!(view.read_to_string(inside.as_bytes(), 10).unwrap().as_deref(), Some("x"));
    assert_eq!(view.read_to_string(b"other", 10).unwrap().as_deref(), Some("lower"));
}

#[test]
fn a09_parents_that_are_swapped_while_the_archive_is_applied() {
    // CVE-2025-47290. The store is private, but a check and a use must not be two steps even so.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    let mut parts = vec![ustar("d/", b'5', 0), ustar("d/e/", b'5', 0)];
    for number in 0..1000 {
        parts.push(file(&format!("d/e/{number}"), b"x"));
        // Names of elsewhere make the unpacker look the directory up again.
        parts.push(ustar(&format!("other/{number}/"), b'5', 0));
    }
    let bytes = archive(&parts);
    // On a busy machine the other thread may not get its turn in a round.
    let mut swaps = 0;
    for round in 0..ROUNDS_MAX {
        swaps += swaps_beside_unpacking(&range, &format!("layer-{round}"), &bytes);
        assert_eq!(std::fs::read_dir(Path::new(&outside)).unwrap().count(), 2);
        if swaps > 10 {
            return;
        }
    }
    panic!("only {swaps} swaps: nothing was tried");
}

/// How often the race is started anew.
const ROUNDS_MAX: usize = 50;

/// Unpacks beside a thread that puts a link in the place of a directory of the layer, and back; how often it did.
fn swaps_beside_unpacking(range: &Range, name: &str, bytes: &[u8]) -> u64 {
    let layers = range.layers.directory.path();
    let (here, away) = (layers.join(name).join("d"), layers.join(format!("{name}-away")));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                if std::fs::rename(&here, &away).is_ok() {
                    let _ = std::os::unix::fs::symlink(range.outside(), &here);
                    let _ = std::fs::remove_file(&here);
                    let _ = std::fs::rename(&away, &here);
                    swaps += 1;
                }
            }
            swaps
        });
        let unpacking = Ends(&ended);
        // Whether it fails depends on who was faster.
        drop(range.unpack(name, bytes));
        drop(unpacking);
        swapper.join().unwrap()
    })
}

/// Ends the other thread, also when this one panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a10_the_root_as_something_else() {
    // CVE-2021-29136: an entry `.` that is a link replaced the root file system.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let outside = range.outside().to_owned();
    for (index, name) in [".", "./", "/", "./."].iter().enumerate() {
        for (kind, what) in [(b'2', "link"), (b'1', "hard"), (b'6', "pipe"), (b'3', "device")] {
            let bytes = archive(&[link(name, kind, &outside), file("canary", b"x")]);
            range.refuse(&format!("{what}-{index}"), &bytes, "");
        }
        let bytes = archive(&[with_mode(ustar(name, b'5', 0), 0o711), file("canary", b"x")]);
        assert!(range.accept(&format!("directory-{index}"), &bytes).contains(&"canary".to_owned()));
    }
    range.refuse("file", &archive(&[file(".", b"x")]), "empty");
}

#[test]
fn a13_hard_links_to_files_of_the_process() {
    // CVE-2026-42496 and others: targets were looked up in the working directory, or not checked at all.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let here = std::env::current_dir().unwrap();
    let own =
        std::fs::read_dir(&here).unwrap().filter_map(std::result::Result::ok).find(|entry| entry.path().is_file());
    let own = own.expect("a crate has files").file_name().into_string().unwrap();
    let links = |path: &Path| std::fs::metadata(path).unwrap().nlink();
    let before = links(&here.join(&own));
    let canary = format!("{}/canary", range.outside());
    for (name, target) in [("own", own.as_str()), ("absolute", &canary), ("dots", "./outside/canary")] {
        let (layer, result) = range.unpack(name, &archive(&[link("a", b'1', target)]));
        // It may be a file of a lower layer; nothing is linked until one is looked for there.
        let pending = result.unwrap().pending;
        assert_eq!(pending.links.len(), 1, "{name}");
        assert!(!layer.join("a").exists(), "{name}");
        let error = complete(&pending, &layer, &[], LayerFormat::ROOT).unwrap_err();
        assert!(chain_of(&error).contains("hard link"), "{name}: {error}");
    }
    assert_eq!(links(&here.join(&own)), before);
    for (name, target) in [("parent", "../outside/canary"), ("middle", "a/../../outside/canary"), ("empty", "")] {
        range.refuse(name, &archive(&[link("a", b'1', target)]), "hard link target");
    }
    let through = archive(&[link("a", b'2', range.outside()), link("b", b'1', "a/canary"), file("b", b"x")]);
    assert_eq!(range.accept("through", &through).last().map(String::as_str), Some("b"));
    range.refuse("directory", &archive(&[ustar("d/", b'5', 0), link("a", b'1', "d")]), "a directory");
    range.refuse("root", &archive(&[link("a", b'1', "/")]), "hard link target");
}

#[test]
fn a16_deletions_and_attributes_of_overlay() {
    if !is_root() {
        return;
    }
    let range = Range::new();
    let attributes = [
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ("SCHILY.xattr.trusted.overlay.metacopy", "y"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.user.overlay.whiteout", "y"),
        ("SCHILY.xattr.user.bake.owner", "1:1"),
        ("SCHILY.xattr.user.kept", "yes"),
    ];
    let bytes = archive(&[
        pax(b'x', &attributes),
        ustar("d/", b'5', 0),
        pax(b'x', &attributes),
        file("d/f", b"x"),
        pax(b'x', &attributes),
        ustar("./", b'5', 0),
    ]);
    let (layer, result) = range.unpack("attributes", &bytes);
    result.unwrap();
    for path in [layer.join("d"), layer.join("d/f"), layer.clone()] {
        let kept: Vec<_> = bake_sys::xattr::list(&path).unwrap();
        let kept: Vec<_> = kept.into_iter().filter(|name| path != layer || name != b"user.bake.root").collect();
        assert_eq!(kept, [b"user.kept".to_vec()], "{}", path.display());
    }
    // A character device 0:0 is a deletion to overlay, which archives say by names.
    let device = |major: &str, minor: &str| {
        let mut block = header("d", b'3', b"00000000000\0", USTAR);
        block[329..329 + major.len()].copy_from_slice(major.as_bytes());
        block[337..337 + minor.len()].copy_from_slice(minor.as_bytes());
        seal(&mut block);
        block
    };
    range.refuse("deletion", &archive(&[device("0000000\0", "0000000\0")]), "0:0 means a deletion");
    range.refuse("without-numbers", &archive(&[device("", "")]), "0:0 means a deletion");
    range.refuse("below", &archive(&[file(".wh.a/b", b"x")]), "below the name of a deletion");
    let (layer, result) = range.unpack("device", &archive(&[device("0000001\0", "0000003\0")]));
    result.unwrap();
    assert!(std::fs::symlink_metadata(layer.join("d")).unwrap().file_type().is_char_device());
}

#[test]
fn a17_honest_links_with_many_parents() {
    // Images of Java have links with more `..` than there are directories above; the kernel stops at the root.
    if !is_root() {
        return;
    }
    let range = Range::new();
    let targets = [
        "../../../../../../../etc/pki/java/cacerts",
        "../..",
        "../../usr/./lib//../lib/jvm",
        "..",
        "/../../etc",
        "a/../../b",
        "//etc//ssl/",
        ".",
        "/",
        "../outside/canary",
    ];
    let parts: Vec<Vec<u8>> =
        targets.iter().enumerate().map(|(index, target)| link(&format!("usr/lib/l{index}"), b'2', target)).collect();
    let bytes = archive(&[parts.concat(), file("usr/lib/l1/through", b"x"), file("usr/lib/l4/ssl/cert", b"x")]);
    let (layer, result) = range.unpack("layer", &bytes);
    result.unwrap();
    for (index, target) in targets.iter().enumerate() {
        let found = std::fs::read_link(layer.join(format!("usr/lib/l{index}"))).unwrap();
        assert_eq!(found.to_str().unwrap(), *target, "the text of a link is kept");
    }
    assert_eq!(read(&layer.join("through")), "x");
    assert_eq!(read(&layer.join("etc/ssl/cert")), "x");
}
