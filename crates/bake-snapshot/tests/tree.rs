//! Digests of selected files.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use bake_snapshot::{
    FileHasher, FileIdentity, FileKind, NoMemory, Ownership, Selection, TreeEntry, TreeOptions, digest_entries,
    digest_tree,
};

const OPTIONS: TreeOptions = TreeOptions { ownership: Ownership::Native, xattrs: true, entries_max: 1000 };

#[derive(Default)]
struct Memory {
    known: HashMap<FileIdentity, [u8; 32]>,
    computed: usize,
}

impl FileHasher for Memory {
    fn remembered(&mut self, files: &[FileIdentity]) -> Vec<Option<[u8; 32]>> {
        files.iter().map(|file| self.known.get(file).copied()).collect()
    }

    fn computed(&mut self, files: &[(FileIdentity, [u8; 32])]) {
        self.computed += files.len();
        self.known.extend(files.iter().copied());
    }
}

fn everything(_: &[u8], _: bool) -> Selection {
    Selection::Include
}

#[test]
fn selected_files_are_listed_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("src/deep")).unwrap();
    for name in ["src/b", "src/a", "src/deep/c", "src/skip"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    std::fs::hard_link(root.join("src/a"), root.join("src/z")).unwrap();
    symlink("/etc/passwd", root.join("src/link")).unwrap();
    let handle = std::fs::File::open(root).unwrap();
    let digest = |path: &str, filter: &mut dyn FnMut(&[u8], bool) -> Selection| {
        digest_tree(handle.as_fd(), path.as_bytes(), OPTIONS, filter, &mut NoMemory).unwrap()
    };
    let mut filter = |path: &[u8], _: bool| match path {
        b"skip" => Selection::Exclude,
        b"deep" => Selection::Descend,
        _ => Selection::Include,
    };
    let entries = digest("/src", &mut filter).unwrap();
    let paths: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
    assert_eq!(paths, ["", "a", "b", "deep/c", "link", "z"]);
    assert_eq!(entries[1].content, *blake3::hash(b"src/a").as_bytes());
    assert_eq!((entries[5].content, entries[5].same_file_as), (entries[1].content, Some(1)));
    assert_eq!(entries[4].link_target.as_deref(), Some(&b"/etc/passwd"[..]));
    assert_eq!(entries[4].kind, FileKind::Symlink);
    let single = digest("src/deep/c", &mut everything).unwrap();
    assert_eq!((single.len(), single[0].content), (1, *blake3::hash(b"src/deep/c").as_bytes()));
    assert_eq!(digest("src/link", &mut everything).unwrap()[0].kind, FileKind::Symlink);
    assert_eq!(digest("missing/file", &mut everything), None);
    assert_eq!(digest("src/a/file", &mut everything), None);
    assert_eq!(digest("../../src/../src", &mut filter).unwrap().len(), entries.len());
    let whole = digest("", &mut everything).unwrap();
    assert_eq!(whole.len(), 9);
    assert_eq!(digest("/", &mut everything).unwrap(), whole);
    let few = TreeOptions { entries_max: 3, ..OPTIONS };
    assert!(digest_tree(handle.as_fd(), b"src", few, &mut everything, &mut NoMemory).is_err());
}

#[test]
fn remembered_files_are_not_read_and_times_do_not_count() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..200 {
        std::fs::write(directory.path().join(format!("f{number}")), number.to_string()).unwrap();
    }
    let handle = std::fs::File::open(directory.path()).unwrap();
    let mut memory = Memory::default();
    let digest = |memory: &mut Memory| -> Vec<TreeEntry> {
        digest_tree(handle.as_fd(), b"", OPTIONS, &mut everything, memory).unwrap().unwrap()
    };
    let first = digest(&mut memory);
    assert_eq!(memory.computed, 200);
    assert_eq!(digest(&mut memory), first);
    assert_eq!(memory.computed, 200);
    let changed = directory.path().join("f7");
    let file = std::fs::File::options().write(true).open(&changed).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let touched = digest(&mut memory);
    assert_eq!(memory.computed, 201);
    assert_eq!(digest_entries(&touched), digest_entries(&first));
    std::fs::write(&changed, "8").unwrap();
    assert_ne!(digest_entries(&digest(&mut memory)), digest_entries(&first));
}
