//! What a selection holds, path by path, in little space: the paths that changed explain a miss.
//!
//! ```text
//! list  = flag entry*          flag is 1 if paths were left out
//! entry = shared length suffix digest
//! ```
//!
//! `shared` is how many bytes the path has in common with the one before, `length` that of the rest (both LEB128), and
//! `digest` the first 8 bytes of the path's digest: enough to see that something changed.

use bake_oci::TreeDigest;

/// More paths than this are not listed; they count all the same.
const PATHS_MAX: usize = 100_000;

/// The longest path that is believed when a list is read back (`PATH_MAX` of the kernel).
const PATH_BYTES_MAX: usize = 4096;

/// The first bytes of a path's digest.
type Print = [u8; 8];

/// The paths of a selection with what each holds, in the order in which they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathList {
    bytes: Vec<u8>,
    last: Vec<u8>,
    count: usize,
}

impl Default for PathList {
    fn default() -> Self {
        Self { bytes: vec![0], last: Vec::new(), count: 0 }
    }
}

impl PathList {
    /// Adds a path, unless there are too many already.
    pub fn push(&mut self, path: &[u8], digest: &TreeDigest) {
        if self.count == PATHS_MAX || path.len() > PATH_BYTES_MAX {
            if let Some(flag) = self.bytes.first_mut() {
                *flag = 1;
            }
            return;
        }
        let shared = self.last.iter().zip(path).take_while(|(one, other)| one == other).count();
        let suffix = path.get(shared..).unwrap_or_default();
        number(&mut self.bytes, shared);
        number(&mut self.bytes, suffix.len());
        self.bytes.extend_from_slice(suffix);
        self.bytes.extend_from_slice(&digest.0[..8]);
        self.last.truncate(shared);
        self.last.extend_from_slice(suffix);
        self.count += 1;
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The form in which it can be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The list of which `bytes` are the form, as far as it can be read.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut list = Self::default();
        let Some((flag, mut rest)) = bytes.split_first() else { return list };
        let mut path = Vec::new();
        while let Some((print, after)) = entry(rest, &mut path) {
            let mut digest = TreeDigest([0; 32]);
            digest.0[..8].copy_from_slice(&print);
            list.push(&path, &digest);
            rest = after;
        }
        if let Some(first) = list.bytes.first_mut() {
            *first |= *flag & 1;
        }
        list
    }

    /// The paths with what they hold.
    pub(crate) fn entries(&self) -> Vec<(Vec<u8>, Print)> {
        let mut entries = Vec::with_capacity(self.count);
        let mut rest = self.bytes.get(1..).unwrap_or_default();
        let mut path = Vec::new();
        while let Some((print, after)) = entry(rest, &mut path) {
            entries.push((path.clone(), print));
            rest = after;
        }
        entries
    }

    /// Whether paths were left out.
    pub(crate) fn is_cut(&self) -> bool {
        self.bytes.first() == Some(&1)
    }
}

fn number(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or(0));
}

/// Reads a number that [`number`] wrote.
fn read_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(3).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Reads an entry; `path` is that of the one before and becomes its own.
fn entry<'a>(bytes: &'a [u8], path: &mut Vec<u8>) -> Option<(Print, &'a [u8])> {
    let (shared, rest) = read_number(bytes)?;
    let (length, rest) = read_number(rest)?;
    if shared > path.len() || shared + length > PATH_BYTES_MAX {
        return None;
    }
    let (suffix, rest) = rest.split_at_checked(length)?;
    let (print, rest) = rest.split_first_chunk::<8>()?;
    path.truncate(shared);
    path.extend_from_slice(suffix);
    Some((*print, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[(&str, &str)]) -> PathList {
        let mut list = PathList::default();
        for (path, content) in paths {
            list.push(path.as_bytes(), &TreeDigest::of(content.as_bytes()));
        }
        list
    }

    #[test]
    fn what_was_written_is_read_back() {
        let long = "x".repeat(300);
        let paths = [("", "root"), ("src", "dir"), ("src/a.c", "a"), ("src/ab.c", "b"), (long.as_str(), "c")];
        let list = list(&paths);
        let entries = list.entries();
        let names: Vec<_> = entries.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(names, paths.map(|(path, _)| path));
        assert_eq!(entries[2].1, TreeDigest::of(b"a").0[..8]);
        assert_eq!(PathList::from_bytes(list.as_bytes()), list);
        assert!(!list.is_cut());
    }

    #[test]
    fn damage_is_no_reason_to_panic() {
        let whole = list(&[("src/a.c", "a"), ("src/b.c", "b")]);
        for end in 0..whole.as_bytes().len() {
            assert!(PathList::from_bytes(&whole.as_bytes()[..end]).count <= 2);
        }
        for position in 0..whole.as_bytes().len() {
            for bit in 0..8 {
                let mut bytes = whole.as_bytes().to_vec();
                bytes[position] ^= 1 << bit;
                PathList::from_bytes(&bytes).entries();
            }
        }
        assert!(PathList::from_bytes(&[]).is_empty());
    }

    #[test]
    fn of_too_many_paths_some_are_left_out() {
        let mut list = PathList::default();
        for number in 0..=PATHS_MAX {
            list.push(format!("{number:06}").as_bytes(), &TreeDigest([0; 32]));
        }
        assert_eq!((list.count, list.is_cut()), (PATHS_MAX, true));
        assert!(PathList::from_bytes(list.as_bytes()).is_cut());
    }
}
