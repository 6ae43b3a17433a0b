//! GNU tar, Python's `tarfile` and the `tar` crate read what we write, and we read what they write.
//! A program that is not installed is passed over.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use bake_oci::EntryKind;

use super::support::{file, menagerie, read, write};

/// The output of a program, or `None` if it is not installed.
fn run(command: &mut Command) -> Option<Output> {
    match command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn gnu_tar_lists_and_extracts_what_we_write() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("layer.tar");
    fs::write(&archive, write(&menagerie())).unwrap();
    let mut command = Command::new("tar");
    let Some(output) = run(command.args(["--numeric-owner", "--full-time", "-tvf"]).arg(&archive)) else { return };
    assert_success(&output);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no warnings");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(listing.lines().count(), menagerie().len(), "{listing}");
    for part in [
        "-rwsr-xr-x 0/0",
        "3000000/4294967295",
        "1969-12-31 23:59:55 time/negative",
        "2023-11-14 22:13:20.123456789 time/fraction",
        "2255-03-14 16:00:00           time/far",
        "crw-rw-rw- 0/0",
        "bin/alias link to bin/su",
        "link -> /usr/../lib/./x",
    ] {
        assert!(listing.contains(part), "{part} in {listing}");
    }
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    // Devices and foreign owners need privileges; everything else must come out.
    let output = run(Command::new("tar")
        .args(["--no-same-owner", "--exclude=char", "--exclude=block", "-xf"])
        .arg(&archive)
        .arg("-C")
        .arg(&out))
    .unwrap();
    assert_success(&output);
    for (entry, content) in menagerie() {
        if let EntryKind::File { .. } = entry.kind {
            let path = out.join(Path::new(std::ffi::OsStr::from_bytes(&entry.path)));
            assert_eq!(fs::read(&path).unwrap(), content, "{}", path.display());
            let metadata = fs::metadata(&path).unwrap();
            let time = (metadata.mtime(), metadata.mtime_nsec());
            assert_eq!(time, (entry.mtime.seconds, i64::from(entry.mtime.nanoseconds)), "{}", path.display());
        }
    }
}

#[test]
fn python_reads_what_we_write() {
    let script = r"
import sys, tarfile
for m in tarfile.open(sys.argv[1]):
    x = sorted((k, v) for k, v in m.pax_headers.items() if k.startswith('SCHILY'))
    name = m.name.encode('utf-8', 'surrogateescape').hex()
    print(name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, len(x), m.linkname)
";
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("layer.tar");
    fs::write(&archive, write(&menagerie())).unwrap();
    let Some(output) = run(Command::new("python3").arg("-c").arg(script).arg(&archive)) else { return };
    assert_success(&output);
    let mut expected = String::new();
    for (entry, _) in menagerie() {
        let (kind, link): (u8, &[u8]) = match &entry.kind {
            EntryKind::File { .. } => (0, b""),
            EntryKind::HardLink { target } => (1, target),
            EntryKind::Symlink { target } => (2, target.strip_suffix(b"/").unwrap_or(target)),
            EntryKind::CharacterDevice { .. } => (3, b""),
            EntryKind::BlockDevice { .. } => (4, b""),
            EntryKind::Directory => (5, b""),
            EntryKind::Fifo => (6, b""),
        };
        let name = if entry.path.is_empty() { b".".to_vec() } else { entry.path.clone() };
        let name = bake_oci::digest::to_hex(&name);
        let (mode, uid, gid, size) = (entry.mode, entry.uid, entry.gid, entry.size());
        let link = String::from_utf8_lossy(link);
        writeln!(expected, "{name} {kind} 0o{mode:o} {uid} {gid} {size} {} {link}", entry.xattrs.len()).unwrap();
    }
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    for (line, expected) in listing.lines().zip(expected.lines()) {
        assert_eq!(line.trim_end_matches('/'), expected);
    }
    assert_eq!(listing.lines().count(), expected.lines().count());
}

#[test]
fn the_tar_crate_reads_what_we_write() {
    let entries = menagerie();
    let bytes = write(&entries);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut count = 0;
    for (read, (entry, content)) in archive.entries().unwrap().zip(&entries) {
        let mut read = read.unwrap();
        assert_eq!(read.size(), entry.size());
        let name = read.path_bytes().into_owned();
        let name = name.strip_suffix(b"/").unwrap_or(&name);
        assert_eq!(name, if entry.path.is_empty() { b"." } else { entry.path.as_slice() });
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes, content);
        count += 1;
    }
    assert_eq!(count, entries.len());
}

/// A tree with links, long names, times, a sparse file and odd modes.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), b"content").unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/hard")).unwrap();
    std::os::unix::fs::symlink("../file", root.join("a/b/link")).unwrap();
    let long = root.join("a").join("l".repeat(200));
    fs::create_dir(&long).unwrap();
    fs::write(long.join("n".repeat(200)), b"long").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), root.join("long-link")).unwrap();
    fs::write(root.join("caf\u{e9}"), b"utf-8").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"start", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1 << 20).unwrap();
    for piece in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"piece", (2 << 20) + (piece << 17)).unwrap();
    }
    sparse.set_len(12 << 20).unwrap();
}

#[test]
fn we_read_every_format_of_gnu_tar() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("tree");
    make_tree(&root);
    for arguments in [
        &["--format=gnu"][..],
        &["--format=pax"],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax", "--pax-option=globexthdr.name=g,comment=hello"],
    ] {
        let mut command = Command::new("tar");
        let Some(output) = run(command.args(arguments).args(["-cf", "-", "-C"]).arg(&root).arg(".")) else { return };
        assert_success(&output);
        let listing = read(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let find = |name: &str| {
            listing
                .iter()
                .find(|(entry, _)| entry.path == name.as_bytes())
                .unwrap_or_else(|| panic!("{arguments:?}: no {name} in {listing:?}"))
        };
        assert_eq!(find("").0.kind, EntryKind::Directory);
        assert_eq!(find("a/b/link").0.kind, EntryKind::Symlink { target: b"../file".to_vec() });
        assert_eq!(find(&format!("a/{}/{}", "l".repeat(200), "n".repeat(200))).1, b"long");
        assert_eq!(find("long-link").0.kind, EntryKind::Symlink { target: vec![b't'; 300] });
        assert_eq!(find("caf\u{e9}").1, b"utf-8");
        assert!(find("sparse").1 == fs::read(root.join("sparse")).unwrap(), "{arguments:?}");
        let links = [find("a/file"), find("a/hard")];
        let hard = links.iter().filter(|(entry, _)| matches!(entry.kind, EntryKind::HardLink { .. })).count();
        assert_eq!(hard, 1, "{arguments:?}");
    }
}

#[test]
fn we_read_what_python_writes() {
    let script = r"
import io, sys, tarfile
with tarfile.open(sys.argv[1], 'w', format=getattr(tarfile, sys.argv[2])) as t:
    for name, kind, data in [('d', tarfile.DIRTYPE, b''), ('d/f', tarfile.REGTYPE, b'content'),
                             ('n' * 150 + '/x', tarfile.REGTYPE, b'long')]:
        i = tarfile.TarInfo(name); i.type = kind; i.size = len(data); i.uid = 5_000_000; i.mtime = -7
        if sys.argv[2] == 'PAX_FORMAT':
            i.mtime = 1.5; i.pax_headers = {'SCHILY.xattr.user.a': 'b'}
        t.addfile(i, io.BytesIO(data))
";
    let directory = tempfile::tempdir().unwrap();
    for (format, time) in [("GNU_FORMAT", (-7, 0)), ("PAX_FORMAT", (1, 500_000_000))] {
        let archive = directory.path().join(format);
        let Some(output) = run(Command::new("python3").arg("-c").arg(script).arg(&archive).arg(format)) else { return };
        assert_success(&output);
        let listing = read(&fs::read(&archive).unwrap()).unwrap();
        assert_eq!(listing.len(), 3);
        assert_eq!(listing[1].1, b"content");
        assert_eq!(listing[2].0.path, format!("{}/x", "n".repeat(150)).into_bytes());
        for (entry, _) in &listing {
            assert_eq!(entry.uid, 5_000_000);
            assert_eq!((entry.mtime.seconds, entry.mtime.nanoseconds), time);
        }
    }
}

#[test]
fn the_tar_crate_and_we_agree_on_its_archives() {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("short", b"one".as_slice()), (&"long/".repeat(40), b""), ("x", &[5; 5000])] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        builder.append_data(&mut header, name, content).unwrap();
    }
    let listing = read(&builder.into_inner().unwrap()).unwrap();
    let long = "long/".repeat(40);
    assert_eq!(listing[0], {
        let mut entry = file("short", b"one");
        entry.0.mode = 0o600;
        entry
    });
    assert_eq!(listing[1].0.path, long.trim_end_matches('/').as_bytes());
    assert_eq!(listing[2].1, [5; 5000]);
}
