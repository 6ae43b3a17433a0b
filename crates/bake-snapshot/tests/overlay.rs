//! Steps in mounted stacks, their layers, and the archives of those.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
#![expect(clippy::print_stdout, reason = "skipped tests say so")]

mod support;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bake_oci::{Entry, EntryKind, LayerReader};
use bake_snapshot::{
    Contents, CopySnapshotter, LayerFormat, MOUNTER_ID_ON_DISK, MergedView, OverlaySnapshotter, Snapshotter,
    UnpackLimits, WriteOptions, digest_layer, squash, unpack, write_layer,
};
use support::{Layers, archive, entries, is_root, names};

const BASE: &str = "mkdir -p etc dir d/s empty ro; echo root >etc/passwd; echo a >dir/a; echo b >dir/b; echo keep >keep
    echo 1 >d/s/one; echo 2 >d/s/two; mkdir d/s/sub; echo 3 >d/s/sub/three; ln -s etc/passwd link; chmod 700 ro
    echo x >tool; setcap cap_net_raw+ep tool; mkfifo pipe; mknod null c 1 3; chown 12345678:87654321 dir/b";

/// The entries of an archive by name.
fn by_name(archive: &[u8]) -> BTreeMap<String, (Entry, Vec<u8>)> {
    entries(archive)
        .into_iter()
        .map(|(entry, content)| (String::from_utf8_lossy(&entry.path).into_owned(), (entry, content)))
        .collect()
}

#[test]
fn a_step_becomes_a_layer() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", BASE);
    let script = "rm keep; rm -r dir; echo now a file >dir; echo more >>etc/passwd; rm -r empty; mkdir -p new/deep
        echo n >new/deep/file; ln new/deep/file new/hard; ln -sf /elsewhere link; touch -d @1234567890.123456789 tool2
        truncate -s 10M sparse; printf end >>sparse
        chmod 4755 tool2";
    let (upper, committed) = layers.step(&overlay, &[&base], "step", script);
    let tar = archive(&upper, LayerFormat::ROOT);
    // In the order of the names; a deletion stands where the deleted name would.
    assert_eq!(
        names(&tar),
        [
            "dir",
            ".wh.empty",
            "etc/",
            "etc/passwd",
            ".wh.keep",
            "link",
            "new/",
            "new/deep/",
            "new/deep/file",
            "new/hard",
            "sparse",
            "tool2"
        ]
    );
    let entries = by_name(&tar);
    assert_eq!(entries["new/hard"].0.kind, EntryKind::HardLink { target: b"new/deep/file".to_vec() });
    assert_eq!(entries["link"].0.kind, EntryKind::Symlink { target: b"/elsewhere".to_vec() });
    assert_eq!(entries["etc/passwd"].1, b"root\nmore\n");
    assert_eq!(entries["tool2"].0.mode, 0o4755);
    assert_eq!((entries["tool2"].0.mtime.seconds, entries["tool2"].0.mtime.nanoseconds), (1_234_567_890, 123_456_789));
    assert_eq!(entries["sparse"].1.len(), 10 * 1024 * 1024 + 3);
    assert_eq!(entries[".wh.keep"].0.mode, 0);
    assert_eq!(committed, digest_layer(&upper, LayerFormat::ROOT, &Contents::new()).unwrap());
    assert_eq!(committed.entries, entries.len() as u64);
    round_trip(&layers, &upper, "again");
}

/// Unpacks the archive of a layer and expects the same layer.
fn round_trip(layers: &Layers, layer: &Path, name: &str) {
    let tar = archive(layer, layers.format);
    let copy = layers.fresh(name);
    let unpacked =
        unpack(&mut LayerReader::new(tar.as_slice()), &copy, layers.format, UnpackLimits::default()).unwrap();
    assert!(unpacked.pending.is_empty(), "{:?}", unpacked.pending);
    assert_eq!(unpacked.lost_attributes, 0);
    assert_eq!(
        digest_layer(layer, layers.format, &Contents::new()).unwrap(),
        digest_layer(&copy, layers.format, &Contents::new()).unwrap()
    );
    assert_eq!(archive(&copy, layers.format), tar);
}

#[test]
fn everything_a_file_can_be_survives() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", BASE);
    round_trip(&layers, &base, "copy");
    let entries = by_name(&archive(&base, LayerFormat::ROOT));
    let capability = &entries["tool"].0.xattrs[b"security.capability".as_slice()];
    assert_eq!((capability.len(), capability[3]), (20, 2));
    assert_eq!((entries["dir/b"].0.uid, entries["dir/b"].0.gid), (12_345_678, 87_654_321));
    assert_eq!(entries["null"].0.kind, EntryKind::CharacterDevice { major: 1, minor: 3 });
    assert_eq!(entries["pipe"].0.kind, EntryKind::Fifo);
    let script = r#"touch "$(printf 'a\nb')" "$(printf '\377\376')" '..x' ' ' '*' "$(printf 'e\033[31m')"
        touch -d '1950-01-01 00:00:00.5 UTC' old; i=0; d=deep; while [ $i -lt 60 ]; do d=$d/0123456789; i=$((i+1)); done
        mkdir -p $d; echo x >$d/file; setfattr -n user.note -v hello old 2>/dev/null || true; mkdir -m 1777 tmp"#;
    let (odd, _) = layers.step(&overlay, &[&base], "odd", script);
    round_trip(&layers, &odd, "odd-copy");
    assert_eq!(by_name(&archive(&odd, LayerFormat::ROOT))["old"].0.mtime.seconds, -631_152_000);
    // The archive is one that other programs understand.
    let path = layers.directory.path().join("odd.tar");
    std::fs::write(&path, archive(&odd, LayerFormat::ROOT)).unwrap();
    let listed = Command::new("tar").arg("tvf").arg(&path).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), names(&archive(&odd, LayerFormat::ROOT)).len());
}

#[test]
fn what_did_not_change_is_dropped() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", BASE);
    // Copied up by opening for writing, by changing to what it was, by creating and removing, by a new inode.
    let script = "exec 3>>etc/passwd; exec 3>&-; chmod 644 dir/a; touch ro/x; rm ro/x; cp -a keep keep2; mv keep2 keep
        chmod 755 d; ln -sf etc/passwd link; perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"sock\", Listen => 1) or die'; [ -S sock ]";
    let (upper, committed) = layers.step(&overlay, &[&base], "step", script);
    assert_eq!(names(&archive(&upper, LayerFormat::ROOT)), Vec::<String>::new());
    assert_eq!(committed.entries, 0);
    // Touched, though not changed, is a change; a directory is not.
    let (upper, _) = layers.step(&overlay, &[&base], "touched", "touch keep d/s/one; touch dir; chmod 711 ro");
    assert_eq!(names(&archive(&upper, LayerFormat::ROOT)), ["d/", "d/s/", "d/s/one", "keep", "ro/"]);
}

#[test]
fn replaced_directories_are_written_as_deletions() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", BASE);
    let script = "cp -a d/s/one saved; rm -r d/s; mkdir -p d/s/sub; cp -a saved d/s/one; rm saved; echo 4 >d/s/sub/four
        rm -r etc; mkdir etc; rm -r empty; mkdir empty; touch -d @5 d/s";
    let (upper, _) = layers.step(&overlay, &[&base], "step", script);
    let tar = archive(&upper, LayerFormat::ROOT);
    assert_eq!(
        names(&tar),
        ["d/", "d/s/", "d/s/sub/", "d/s/sub/four", "d/s/sub/.wh.three", "d/s/.wh.two", "etc/", "etc/.wh.passwd"]
    );
    assert_eq!(by_name(&tar)["d/s"].0.mtime.seconds, 5);
    let view = MergedView::open(&overlay, &[&base, &upper]).unwrap();
    assert_eq!(view.read_directory(b"/d/s").unwrap().unwrap(), [b"one".to_vec(), b"sub".to_vec()]);
    assert_eq!(view.read_directory(b"d/s/sub").unwrap().unwrap(), [b"four".to_vec()]);
    assert_eq!(view.lstat(b"etc/passwd").unwrap(), None);
    assert_eq!(view.read_to_string(b"d/s/one", 10).unwrap().unwrap(), "1\n");
}

#[test]
fn the_root_directory_keeps_its_metadata() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", "touch file");
    assert_eq!(names(&archive(&base, LayerFormat::ROOT)), ["file"]);
    let (second, _) = layers.step(&overlay, &[&base], "second", "chmod 711 .; chown 7:8 .");
    assert_eq!(names(&archive(&second, LayerFormat::ROOT)), ["/"]);
    round_trip(&layers, &second, "copy");
    let script = "[ \"$(stat -c %a:%u:%g .)\" = 711:7:8 ]; touch other";
    let (third, _) = layers.step(&overlay, &[&base, &second], "third", script);
    assert_eq!(names(&archive(&third, LayerFormat::ROOT)), ["other"]);
}

#[test]
fn copying_gives_the_layers_that_overlay_gives() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let copy = CopySnapshotter::new(LayerFormat::ROOT, layers.fresh("scratch"));
    let (base, base_committed) = layers.step(&overlay, &[], "base", BASE);
    let (_, base_copied) = layers.step(&copy, &[], "base-copied", BASE);
    assert_eq!(base_committed, base_copied);
    let first =
        "rm -r d/s; mkdir d/s; echo 9 >d/s/nine; rm keep; ln tool tool3; chmod 600 tool; echo z >dir/c; chmod 750 .
        rm null; rm -r ro; echo file >ro";
    let second = "echo again >keep; rm dir/a; mkdir -p d/s/sub; rm -r etc; ln -s nowhere etc; echo y >d/s/one";
    let (one, one_committed) = layers.step(&overlay, &[&base], "one", first);
    let (_, one_copied) = layers.step(&copy, &[&base], "one-copied", first);
    assert_eq!(one_committed, one_copied);
    let (two, two_committed) = layers.step(&overlay, &[&base, &one], "two", second);
    let (_, two_copied) = layers.step(&copy, &[&base, &one], "two-copied", second);
    assert_eq!(two_committed, two_copied);
    let views = [&overlay as &dyn Snapshotter, &copy].map(|snapshotter| {
        let view = MergedView::open(snapshotter, &[&base, &one, &two]).unwrap();
        let mut names = view.read_directory(b"").unwrap().unwrap();
        names.extend(view.read_directory(b"d/s").unwrap().unwrap());
        names
    });
    assert_eq!(views[0], views[1]);
}

#[test]
fn archives_are_the_same_every_time() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let script = "i=0; while [ $i -lt 300 ]; do echo $i >f$i; i=$((i+1)); done; for f in f1*; do ln $f l$f; done
        find . -exec touch -h -d @100.5 {} +";
    let reversed =
        "i=300; while [ $i -gt 0 ]; do i=$((i-1)); echo $i >f$i; done; for f in f1*; do mv $f l$f; ln l$f $f; done
        find . -exec touch -h -d @100.5 {} +";
    let (one, committed) = layers.step(&overlay, &[], "one", script);
    let (other, again) = layers.step(&overlay, &[], "other", reversed);
    assert_eq!(committed, again);
    assert_eq!(archive(&one, LayerFormat::ROOT), archive(&other, LayerFormat::ROOT));
    let mut clamped = Vec::new();
    let epoch = bake_oci::Timestamp { seconds: 50, nanoseconds: 0 };
    write_layer(
        &one,
        LayerFormat::ROOT,
        WriteOptions { mtime_max: Some(epoch), ..WriteOptions::default() },
        &mut clamped,
    )
    .unwrap();
    assert!(by_name(&clamped).values().all(|(entry, _)| entry.mtime == epoch));
}

/// A process in a user namespace with the map that [`OverlaySnapshotter::id_map`] asks for.
struct Namespace(Child);

impl Namespace {
    fn new(map: &str) -> Self {
        let child = Command::new("unshare").args(["-U", "sleep", "60"]).stdin(Stdio::null()).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/user").unwrap();
        // The namespace exists when the child is in another one than this process.
        while std::fs::read_link(format!("/proc/{}/ns/user", child.id())).unwrap() == own {
            std::thread::yield_now();
        }
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{file}", child.id()), map).unwrap();
        }
        Self(child)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/user", self.0.id())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn mapped_ids_are_the_image_s_own_on_disk() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let plain = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&plain, &[], "base", BASE);
    let extent = "0 2147483648 2147418112\n";
    let layer_map = Namespace::new(&format!("{extent}{MOUNTER_ID_ON_DISK} 0 1\n"));
    let step_map = Namespace::new(extent);
    let mapped = OverlaySnapshotter {
        format: LayerFormat::ROOT,
        id_map: Some(std::fs::File::open(layer_map.path()).unwrap().into()),
    };
    for lowers in [&[base.as_path()][..], &[]] {
        let parent = layers.fresh(if lowers.is_empty() { "scratch" } else { "step" });
        let (upper, work) = (parent.join("fs"), parent.join("work"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        let active = bake_snapshot::Active { upper: &upper, work: &work };
        let mount = mapped.mount(lowers, active).unwrap();
        let script = "[ $(id -u) = 0 ]; echo new >new; mkdir d2; touch d2/owned; chown 33:34 d2/owned; chmod 4755 new
            mknod sda b 8 0 2>/dev/null && exit 9; mkfifo f2; cp /bin/true cap; setcap cap_net_raw+ep cap
            [ ! -e keep ] || { rm keep; echo more >>etc/passwd; chown 5:6 dir/a; rm -r d/s; [ $(stat -c %u tool) = 0 ]; }
            [ ! -e null ] || { ! echo x >null; }";
        let user = format!("--user={}", step_map.path());
        support::run_in(&mount, &["nsenter", &user, "sh", "-ec", script]);
        drop(mount);
        for name in ["new", "d2", "f2"] {
            let status = std::fs::symlink_metadata(upper.join(name)).unwrap();
            assert_eq!((status.uid(), status.gid()), (0, 0), "{name}");
        }
        let owned = std::fs::metadata(upper.join("d2/owned")).unwrap();
        assert_eq!((owned.uid(), owned.gid()), (33, 34));
        mapped.commit(lowers, active, &Contents::new()).unwrap();
        let entries = by_name(&archive(&upper, LayerFormat::ROOT));
        let capability = &entries["cap"].0.xattrs[b"security.capability".as_slice()];
        assert_eq!((capability.len(), capability[3]), (20, 2));
        assert_eq!(entries["new"].0.mode, 0o4755);
        if !lowers.is_empty() {
            assert_eq!((entries["dir/a"].0.uid, entries["dir/a"].0.gid), (5, 6));
            assert!(entries.contains_key(".wh.keep") && entries.contains_key("d/.wh.s"));
            assert_eq!((entries["etc/passwd"].0.uid, entries["etc/passwd"].1.as_slice()), (0, &b"root\nmore\n"[..]));
        }
    }
}

#[test]
fn a_stale_work_directory_is_an_error_not_a_read_only_mount() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let (base, _) = layers.step(&overlay, &[], "base", "touch file");
    let parent = layers.fresh("step");
    let (upper, work) = (parent.join("fs"), parent.join("work"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::create_dir_all(work.join("work/incompat/volatile")).unwrap();
    let active = bake_snapshot::Active { upper: &upper, work: &work };
    let error = overlay.mount(&[&base], active).unwrap_err();
    assert!(error.to_string().contains("overlay"), "{error}");
    let many: Vec<&Path> = vec![&base; 501];
    assert!(overlay.view(&many).unwrap_err().to_string().contains("501"));
    let elsewhere = layers.fresh("elsewhere");
    let error = overlay.mount(&[&base], bake_snapshot::Active { upper: &upper, work: &elsewhere }).unwrap_err();
    assert!(error.to_string().contains("not two directories of one parent"), "{error}");
}

#[test]
fn views_resolve_inside_the_tree() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let script = "mkdir etc dir; echo inside >etc/passwd; ln -s /etc/passwd absolute; ln -s ../../../etc/passwd dir/up
        ln -s loop loop; mkfifo etc/group; mknod zero c 1 5; ln -s /proc/self/root/etc/passwd magic; printf '\\377' >bad";
    let (base, _) = layers.step(&overlay, &[], "base", script);
    let (top, _) = layers.step(&overlay, &[&base], "top", "echo 12345678901 >long");
    for lowers in [&[base.as_path()][..], &[&base, &top]] {
        let view = MergedView::open(&overlay, lowers).unwrap();
        for path in ["/etc/passwd", "absolute", "dir/up", "../../etc/passwd", "dir/../etc//./passwd"] {
            assert_eq!(view.read_to_string(path.as_bytes(), 100).unwrap().unwrap(), "inside\n", "{path}");
        }
        assert_eq!(view.read_to_string(b"missing", 100).unwrap(), None);
        assert_eq!(view.read_to_string(b"etc/passwd/x", 100).unwrap(), None);
        assert!(view.read_to_string(b"loop", 100).is_err());
        for special in [&b"etc/group"[..], b"zero", b"etc"] {
            assert!(view.read_to_string(special, 100).unwrap_err().to_string().contains("not a regular file"));
        }
        assert_eq!(view.read_to_string(b"magic", 100).unwrap(), None);
        assert!(view.read_to_string(b"bad", 100).is_err());
        assert_eq!(view.read_link(b"absolute").unwrap().unwrap(), b"/etc/passwd");
        assert_eq!(view.lstat(b"/").unwrap().unwrap().mode, 0o755);
        assert_eq!(view.lstat(b"dir/..").unwrap().unwrap().kind, bake_snapshot::FileKind::Directory);
        assert_eq!(view.stat(b"absolute").unwrap().unwrap().size_bytes, 7);
    }
    let view = MergedView::open(&overlay, &[&base, &top]).unwrap();
    assert!(view.read(b"long", 11).unwrap_err().to_string().contains("larger than 11 bytes"));
    assert_eq!(MergedView::open(&overlay, &[]).unwrap().read(b"x", 1).unwrap(), None);
}

#[test]
fn a_user_namespace_needs_no_privilege() {
    // The inner test runs as the only user of a namespace of its own, as an ordinary user would see it.
    let output = Command::new("unshare")
        .args(["-Urm"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside_a_user_namespace", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        println!("skipped: user namespaces are not available");
        return;
    }
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

#[test]
#[ignore = "runs inside the namespace that a_user_namespace_needs_no_privilege makes"]
fn inside_a_user_namespace() {
    let format = LayerFormat::USER_NAMESPACE;
    let rooted = Layers::new(format);
    let overlay = OverlaySnapshotter::new(format);
    // A layer from an image: owners that this namespace does not have, devices, capabilities.
    let mut tar = Vec::new();
    let mut writer = bake_oci::LayerWriter::new(&mut tar);
    let mut entry = bake_oci::Entry::new("dev", EntryKind::Directory, 0o755);
    (entry.uid, entry.gid) = (0, 5);
    writer.append(&entry, None).unwrap();
    let mut entry = bake_oci::Entry::new("dev/null", EntryKind::CharacterDevice { major: 1, minor: 3 }, 0o666);
    entry.uid = 9;
    writer.append(&entry, None).unwrap();
    let mut entry = bake_oci::Entry::new("shadow", EntryKind::File { size: 2 }, 0o640);
    entry.gid = 42;
    entry.xattrs.insert(b"trusted.note".to_vec(), b"value".to_vec());
    entry.xattrs.insert(b"user.overlay.whiteout".to_vec(), b"y".to_vec());
    writer.append(&entry, Some(&mut &b"x\n"[..])).unwrap();
    writer.append(&bake_oci::Entry::new("old/gone", EntryKind::File { size: 0 }, 0o644), None).unwrap();
    writer.append(&bake_oci::Entry::new("old", EntryKind::Directory, 0o755), None).unwrap();
    writer.finish().unwrap();
    let base = rooted.fresh("base");
    let unpacked = unpack(&mut LayerReader::new(tar.as_slice()), &base, format, UnpackLimits::default()).unwrap();
    assert!(unpacked.pending.is_empty());
    let entries = by_name(&archive(&base, format));
    assert_eq!(
        (entries["dev/null"].0.uid, &entries["dev/null"].0.kind),
        (9, &EntryKind::CharacterDevice { major: 1, minor: 3 })
    );
    assert_eq!((entries["shadow"].0.gid, entries["shadow"].0.mode), (42, 0o640));
    assert_eq!(entries["shadow"].0.xattrs, [(b"trusted.note".to_vec(), b"value".to_vec())].into());
    assert_eq!(entries["dev"].0.gid, 5);
    let script = "echo more >>shadow; rm -r old; mkdir old; echo new >old/new; echo x >file; rm dev/null";
    let (upper, committed) = rooted.step(&overlay, &[&base], "step", script);
    let tar = archive(&upper, format);
    assert_eq!(names(&tar), ["dev/", "dev/.wh.null", "file", "old/", "old/.wh.gone", "old/new", "shadow"]);
    assert_eq!(by_name(&tar)["shadow"].0.gid, 42);
    assert_eq!(by_name(&tar)["dev"].0.gid, 5);
    let copy = rooted.fresh("copy");
    unpack(&mut LayerReader::new(tar.as_slice()), &copy, format, UnpackLimits::default()).unwrap();
    assert_eq!(digest_layer(&copy, format, &Contents::new()).unwrap(), committed);
    // A real owner and a recorded one are the same to a digest.
    let view = MergedView::open(&overlay, &[&base, &upper]).unwrap();
    assert_eq!(view.lstat(b"shadow").unwrap().unwrap().gid, 42);
}

/// Everything that a stack shows, through overlay itself.
fn shown(overlay: &OverlaySnapshotter, lowers: &[&Path]) -> Vec<bake_snapshot::TreeEntry> {
    let options = bake_snapshot::TreeOptions {
        ownership: bake_snapshot::Ownership::Native,
        xattrs: true,
        entries_max: bake_snapshot::TREE_ENTRIES_MAX,
    };
    let view = overlay.view(lowers).unwrap();
    let mut everything = |_: &[u8], _: bool| bake_snapshot::Selection::Include;
    bake_snapshot::digest_tree(view.as_fd(), b"/", options, &mut everything, &mut bake_snapshot::NoMemory)
        .unwrap()
        .unwrap()
}

#[test]
fn squashed_layers_show_what_the_stack_shows() {
    if !is_root() {
        return;
    }
    let layers = Layers::new(LayerFormat::ROOT);
    let overlay = OverlaySnapshotter::new(LayerFormat::ROOT);
    let scripts = [
        BASE,
        "rm -r d/s; mkdir d/s; echo 9 >d/s/nine; rm keep; chmod 700 .; echo file >ro.new; rm -r ro; mv ro.new ro",
        "echo again >keep; rm dir/a; mkdir -p d/s/sub; rm -r etc; ln -s nowhere etc; echo y >d/s/one; ln keep keep2",
        "rm ro; mkdir ro; echo in >ro/in; rm etc; mkdir etc; echo user >etc/passwd; chown 7:8 dir; touch -d @99 dir",
        "rm -r d; echo d >d; rm keep; setfattr -n user.a -v b dir/b 2>/dev/null || echo x >>dir/b; mkfifo pipe2",
        "rm d; mkdir -p d/s; echo last >d/s/last; rm -r ro; mkdir -m 711 ro; rm pipe pipe2",
    ];
    let mut stack: Vec<PathBuf> = Vec::new();
    for (number, script) in scripts.iter().enumerate() {
        let below: Vec<&Path> = stack.iter().map(PathBuf::as_path).collect();
        let (layer, _) = layers.step(&overlay, &below, &format!("layer{number}"), script);
        stack.push(layer);
    }
    let stack: Vec<&Path> = stack.iter().map(PathBuf::as_path).collect();
    let expected = shown(&overlay, &stack);
    for first in 0..stack.len() {
        for last in first + 1..=stack.len() {
            let squashed = layers.fresh(&format!("squashed-{first}-{last}"));
            squash(&stack[..first], &stack[first..last], &squashed, LayerFormat::ROOT).unwrap();
            let shorter: Vec<&Path> = [&stack[..first], &[&squashed], &stack[last..]].concat();
            assert_eq!(shown(&overlay, &shorter), expected, "layers {first} to {last}");
            // And squashed once more, together with what is above it.
            let again = layers.fresh(&format!("again-{first}-{last}"));
            squash(&stack[..first], &[&[&*squashed], &stack[last..]].concat(), &again, LayerFormat::ROOT).unwrap();
            let shortest: Vec<&Path> = [&stack[..first], &[&again]].concat();
            assert_eq!(shown(&overlay, &shortest), expected, "layers {first} to {last}, and the rest");
        }
    }
}
