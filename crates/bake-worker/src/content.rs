//! Digests of what a step selects from a tree: the part of its cache key that stands for files.
//!
//! Counted: names, types, permission bits, link targets, device numbers and content; for root file systems also owners and
//! extended attributes. Not counted: times, and for build contexts owners and extended attributes (the copy resets them).

use std::fs::File;
use std::os::fd::AsFd;

use bake_oci::TreeDigest;
use bake_snapshot::{FileHasher, FileIdentity};
use bake_solver::PathList;
use rustix::fs::{FileType, Stat};

use crate::select::{Item, Selection};
use crate::source_tree::{SourceTree, TreeError, io, is_layer_xattr, open_for_reading, shown, split};

/// Selections with fewer files are hashed by the calling thread.
const PARALLEL_FILES_MIN: usize = 64;

/// The digest of everything in `selections`, whose paths are added to `paths`.
pub(crate) fn digest(
    tree: &SourceTree,
    selections: &[Selection],
    memory: &mut dyn FileHasher,
    paths: &mut PathList,
) -> Result<TreeDigest, TreeError> {
    let items: Vec<&Item> = selections.iter().flat_map(|selection| &selection.items).collect();
    let contents = file_contents(tree, &items, memory)?;
    let mut hasher = blake3::Hasher::new();
    let mut contents = contents.into_iter();
    for selection in selections {
        // Renaming a single source file is a change: its name becomes that of the copy.
        if !selection.is_directory {
            hasher.update(b"name\0");
            hasher.update(&selection.name);
            hasher.update(b"\0");
        }
        let of_selection: Vec<_> = contents.by_ref().take(selection.items.len()).collect();
        for (item, content) in selection.items.iter().zip(&of_selection) {
            let digest = item_digest(tree, item, *content)?;
            hasher.update(&digest.0);
            paths.push(&item.node.path, &digest);
        }
        // Whoever copies them knows then what they hold. A second digest of the same selection is the same.
        let _ = selection.contents.set(of_selection);
        hasher.update(b"end\0");
    }
    Ok(TreeDigest(*hasher.finalize().as_bytes()))
}

fn item_digest(tree: &SourceTree, item: &Item, content: Option<[u8; 32]>) -> Result<TreeDigest, TreeError> {
    let stat = &item.node.stat;
    let kind = item.node.file_type();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&item.relative);
    hasher.update(&[0, letter(kind)]);
    if kind != FileType::Symlink {
        hasher.update(&(stat.st_mode & 0o7777).to_le_bytes());
    }
    if !tree.is_context() {
        let (user, group) = tree.owner(&item.node)?;
        hasher.update(&user.to_le_bytes());
        hasher.update(&group.to_le_bytes());
        for (name, value) in xattrs(tree, item)? {
            hasher.update(&name);
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(&value);
        }
    }
    match kind {
        FileType::RegularFile => hasher.update(&content.unwrap_or_default()),
        FileType::Symlink => hasher.update(&tree.read_link(&item.node.path)?),
        FileType::CharacterDevice | FileType::BlockDevice => hasher.update(&stat.st_rdev.to_le_bytes()),
        _ => &mut hasher,
    };
    Ok(TreeDigest(*hasher.finalize().as_bytes()))
}

fn letter(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => b'f',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::Fifo => b'p',
        FileType::CharacterDevice => b'c',
        FileType::BlockDevice => b'b',
        FileType::Socket => b's',
        FileType::Unknown => b'?',
    }
}

/// The name and the value of an extended attribute.
type Xattr = (Vec<u8>, Vec<u8>);

fn xattrs(tree: &SourceTree, item: &Item) -> Result<Vec<Xattr>, TreeError> {
    let path = &item.node.path;
    let file = match item.node.file_type() {
        FileType::RegularFile => tree.open_file(path)?,
        FileType::Directory => match tree.open_directory(path)? {
            Some(directory) => directory,
            None => return Ok(Vec::new()),
        },
        _ => return Ok(Vec::new()),
    };
    let mut names = bake_sys::xattr::list_open(&file).map_err(io("list the attributes of", path))?;
    // POSIX ACLs and the like follow from mode and owner; only file capabilities count among the system's own.
    names.retain(|name| is_layer_xattr(name) && !name.starts_with(b"system."));
    names.sort_unstable();
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        if let Some(value) = bake_sys::xattr::get_open(&file, &name).map_err(io("read an attribute of", path))? {
            found.push((name, value));
        }
    }
    Ok(found)
}

fn identity(stat: &Stat) -> FileIdentity {
    let time = |seconds: i64, nanoseconds: u64| bake_oci::Timestamp {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    };
    FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// The content hashes of the regular files among `items`, in their order; remembered ones are not read.
fn file_contents(
    tree: &SourceTree,
    items: &[&Item],
    memory: &mut dyn FileHasher,
) -> Result<Vec<Option<[u8; 32]>>, TreeError> {
    let mut contents: Vec<Option<[u8; 32]>> = vec![None; items.len()];
    let files: Vec<usize> =
        (0..items.len()).filter(|index| items[*index].node.file_type() == FileType::RegularFile).collect();
    let identities: Vec<FileIdentity> = files.iter().map(|index| identity(&items[*index].node.stat)).collect();
    // Inodes of a root file system are not worth remembering: its layers are known by their tree digests.
    let known = if tree.is_context() { memory.remembered(&identities) } else { vec![None; files.len()] };
    let mut unknown = Vec::new();
    for ((index, known), identity) in files.iter().zip(known).zip(&identities) {
        match known {
            Some(hash) => contents[*index] = Some(hash),
            None => unknown.push((*index, *identity)),
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = if unknown.len() < PARALLEL_FILES_MIN { unknown.len().max(1) } else { unknown.len().div_ceil(threads) };
    let hashed: Vec<Result<Vec<[u8; 32]>, TreeError>> = std::thread::scope(|scope| {
        let mut parts = unknown.chunks(share);
        let first = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(move || hash_part(tree, items, part))).collect();
        let mut results: Vec<_> = first.map(|part| hash_part(tree, items, part)).into_iter().collect();
        results.extend(
            others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        );
        results
    });
    let mut computed = Vec::with_capacity(unknown.len());
    let mut places = unknown.iter();
    for part in hashed {
        for hash in part? {
            let Some((index, identity)) = places.next() else { break };
            contents[*index] = Some(hash);
            computed.push((*identity, hash));
        }
    }
    if tree.is_context() {
        memory.computed(&computed);
    }
    Ok(contents)
}

fn hash_part(tree: &SourceTree, items: &[&Item], part: &[(usize, FileIdentity)]) -> Result<Vec<[u8; 32]>, TreeError> {
    let mut hashes = Vec::with_capacity(part.len());
    let mut cursor: Option<(&[u8], std::os::fd::OwnedFd)> = None;
    for (index, identity) in part {
        tree.check_cancelled()?;
        let path = &items[*index].node.path;
        let (parent, name) = split(path);
        if cursor.as_ref().is_none_or(|(open, _)| *open != parent) {
            let directory = tree.open_directory(parent)?;
            let missing = || TreeError::NotFound { path: shown(path), ignored: false };
            cursor = Some((parent, directory.ok_or_else(missing)?));
        }
        let (_, directory) = cursor.as_ref().expect("it was set a moment ago");
        let file = open_for_reading(directory.as_fd(), name, path)?;
        hashes.push(hash_file(&File::from(file), identity.size_bytes).map_err(|error| TreeError::Io {
            action: "read",
            path: shown(path),
            source: error.raw_os_error().map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error),
        })?);
    }
    Ok(hashes)
}

fn hash_file(mut file: &File, size_bytes: u64) -> std::io::Result<[u8; 32]> {
    use std::io::Read;
    // Most files are small: one read, no buffers to set up.
    if size_bytes <= 64 * 1024 {
        let mut content = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
        file.take(64 * 1024 + 1).read_to_end(&mut content)?;
        if content.len() <= 64 * 1024 {
            return Ok(*blake3::hash(&content).as_bytes());
        }
    }
    let mut hasher = blake3::Hasher::new();
    std::io::Seek::rewind(&mut file)?;
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes())
}
