//! The tree digest of a layer: BLAKE3 over a canonical description of everything in it but times.
//!
//! ```text
//! "bake tree 1\0"
//! per entry, in walk order:
//!   type          1 byte: f d l c b p w (w: deletion), h for a further name of an earlier file
//!   path          length u64, bytes                (empty: the root directory, only when its metadata changed)
//!   h only:       length u64, bytes of the first name
//!   w only:       nothing else
//!   others:       mode u32, uid u32, gid u32, count u64 of attributes, each: name, value with lengths
//!   f             size u64, 32 bytes BLAKE3 of the content
//!   l             target with length
//!   d             1 byte: hides the directory below
//!   c b           major u32, minor u32
//! ```
//!
//! Integers are little-endian. Changing anything here changes every cache key: raise the number in the first line.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::BorrowedFd;

use bake_oci::digest::TreeDigest;

use crate::commit::Committed;
use crate::content::{HashRequest, hash_files};
use crate::error::{At, Result};
use crate::layer_tree::LayerTraits;
use crate::node::{Kind, Node};

const HEADER: &[u8] = b"bake tree 1\0";

/// BLAKE3 hashes of the content of regular files, by their path in the layer.
pub type Contents = BTreeMap<Vec<u8>, [u8; 32]>;

/// Collects the entries of a layer; the content of files is hashed at the end, in parallel.
#[derive(Debug, Default)]
pub(crate) struct DigestBuilder {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: Vec<u8>,
    node: Node,
    link_target: Vec<u8>,
}

impl DigestBuilder {
    /// Adds the entry at `path`, which is `name` in `directory`.
    pub(crate) fn push(&mut self, path: &[u8], node: Node, directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let link_target = if node.kind == Kind::Symlink {
            rustix::fs::readlinkat(directory, name, Vec::new()).at("read the link", path)?.into_bytes()
        } else {
            Vec::new()
        };
        self.entries.push(Entry { path: path.to_vec(), node, link_target });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets all entries from the `length`th on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.entries.truncate(length);
    }

    /// Hashes the files below `root`, which the paths are relative to, and then the whole. Files in `known` are not read.
    pub(crate) fn finish(self, root: BorrowedFd<'_>, known: &Contents) -> Result<Committed> {
        // Which earlier entry an entry is a further name of.
        let mut first_names: HashMap<(u64, u64), usize> = HashMap::new();
        let mut same_as = vec![None; self.entries.len()];
        let mut requests = Vec::new();
        for (index, (entry, same_as)) in self.entries.iter().zip(&mut same_as).enumerate() {
            if entry.node.links > 1 && !matches!(entry.node.kind, Kind::Directory | Kind::Whiteout) {
                *same_as = first_names.get(&entry.node.identity).copied();
                first_names.entry(entry.node.identity).or_insert(index);
            }
            if entry.node.kind == Kind::File && same_as.is_none() && !known.contains_key(&entry.path) {
                requests.push(HashRequest { path: entry.path.clone(), node: entry.node.clone() });
            }
        }
        let traits = LayerTraits {
            attributes: self.entries.iter().any(|entry| !entry.node.xattrs.is_empty()),
            links: same_as.iter().any(Option::is_some),
        };
        let mut read = hash_files(root, &requests)?.into_iter();
        let mut contents = Contents::new();
        let mut hasher = blake3::Hasher::new();
        hasher.update(HEADER);
        let mut size_bytes = 0_u64;
        for (entry, same_as) in self.entries.iter().zip(same_as) {
            if let Some(first) = same_as.and_then(|index| self.entries.get(index)) {
                hasher.update(b"h");
                bytes(&mut hasher, &entry.path);
                bytes(&mut hasher, &first.path);
                continue;
            }
            hasher.update(&[type_letter(entry.node.kind)]);
            bytes(&mut hasher, &entry.path);
            if entry.node.kind == Kind::Whiteout {
                continue;
            }
            metadata(&mut hasher, &entry.node);
            match entry.node.kind {
                Kind::File => {
                    let (size, blake3) = if let Some(blake3) = known.get(&entry.path) {
                        (entry.node.size, *blake3)
                    } else {
                        let content = read.next().expect("one request per file that is not known");
                        (content.size, content.blake3)
                    };
                    hasher.update(&size.to_le_bytes());
                    hasher.update(&blake3);
                    size_bytes = size_bytes.saturating_add(size);
                    contents.insert(entry.path.clone(), blake3);
                }
                Kind::Symlink => bytes(&mut hasher, &entry.link_target),
                Kind::Directory => {
                    hasher.update(&[u8::from(entry.node.opaque)]);
                }
                Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                    hasher.update(&major.to_le_bytes());
                    hasher.update(&minor.to_le_bytes());
                }
                Kind::Fifo | Kind::Socket | Kind::Whiteout => {}
            }
        }
        Ok(Committed {
            tree: TreeDigest(*hasher.finalize().as_bytes()),
            entries: self.entries.len() as u64,
            size_bytes,
            contents,
            traits,
        })
    }
}

pub(crate) fn type_letter(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'f',
        Kind::Directory => b'd',
        Kind::Symlink => b'l',
        Kind::CharacterDevice { .. } => b'c',
        Kind::BlockDevice { .. } => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => b's',
        Kind::Whiteout => b'w',
    }
}

/// Adds a byte string so that no other sequence of strings hashes alike.
pub(crate) fn bytes(hasher: &mut blake3::Hasher, value: &[u8]) {
    hasher.update(&(value.len() as u64).to_le_bytes());
    hasher.update(value);
}

/// Adds mode, owner and attributes.
pub(crate) fn metadata(hasher: &mut blake3::Hasher, node: &Node) {
    // The mode of a link means nothing and differs between file systems.
    let mode = if node.kind == Kind::Symlink { 0o777 } else { node.mode };
    for number in [mode, node.uid, node.gid] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&(node.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &node.xattrs {
        bytes(hasher, name);
        bytes(hasher, value);
    }
}
