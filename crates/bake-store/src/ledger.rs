//! Whose the bytes are: what is freed when things go that share files by hard links.
//!
//! A file with several names is freed with its last name. So what one thing frees depends on what went before it, and
//! sums of sizes say nothing; this ledger keeps count of the names.

use std::collections::HashMap;

use crate::disk_use::DiskUse;

/// Counts bytes and names of all things of a store, by their position.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    inodes: Vec<Inode>,
    entries: Vec<Entry>,
}

/// A file with several names.
#[derive(Debug, Clone)]
struct Inode {
    bytes: u64,
    /// Its names anywhere, as the file system counts them.
    links: u64,
    /// Its names in the store.
    names: u64,
    /// Those of things that were not removed.
    left: u64,
    /// The thing that it is counted for.
    owner: usize,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    own_bytes: u64,
    /// Files with several names, with the number of names that this thing has for them.
    shared: Vec<(usize, u64)>,
}

impl Ledger {
    /// Opens the ledger. Of things that share a file, the one with the smallest age key has it counted.
    pub(crate) fn new(uses: Vec<DiskUse>, age_of: impl Fn(usize) -> i64) -> Self {
        let mut ledger = Self::default();
        let mut known: HashMap<(u64, u64), usize> = HashMap::new();
        for (position, used) in uses.into_iter().enumerate() {
            let mut names: HashMap<usize, u64> = HashMap::new();
            for linked in used.linked {
                let index = *known.entry(linked.inode).or_insert_with(|| {
                    ledger.inodes.push(Inode {
                        bytes: linked.bytes,
                        links: linked.links,
                        names: 0,
                        left: 0,
                        owner: position,
                    });
                    ledger.inodes.len() - 1
                });
                let Some(inode) = ledger.inodes.get_mut(index) else { continue };
                inode.names += 1;
                inode.left += 1;
                // A name may have come or gone while others were looked at.
                inode.links = inode.links.min(linked.links);
                if age_of(position) < age_of(inode.owner) {
                    inode.owner = position;
                }
                *names.entry(index).or_default() += 1;
            }
            let mut shared: Vec<_> = names.into_iter().collect();
            shared.sort_unstable();
            ledger.entries.push(Entry { own_bytes: used.own_bytes, shared });
        }
        ledger
    }

    /// The bytes of everything, each file once.
    pub(crate) fn total_bytes(&self) -> u64 {
        let own: u64 = self.entries.iter().map(|entry| entry.own_bytes).sum();
        own + self.inodes.iter().map(|inode| inode.bytes).sum::<u64>()
    }

    /// The bytes of one thing, each file once.
    pub(crate) fn size_bytes(&self, position: usize) -> u64 {
        self.sum(position, |_, _| true)
    }

    /// The part of that which other things have too.
    pub(crate) fn shared_bytes(&self, position: usize) -> u64 {
        let own = self.entries.get(position).map_or(0, |entry| entry.own_bytes);
        self.sum(position, |inode, names| names < inode.names.max(inode.links)) - own
    }

    /// The part of it that is counted for this thing, so that the sum over all things is the total.
    pub(crate) fn counted_bytes(&self, position: usize) -> u64 {
        self.sum(position, |inode, _| inode.owner == position)
    }

    /// Takes a thing out; returns the bytes that are freed by that.
    pub(crate) fn remove(&mut self, position: usize) -> u64 {
        let Some(entry) = self.entries.get(position) else { return 0 };
        let mut freed = entry.own_bytes;
        for (index, names) in &entry.shared {
            let Some(inode) = self.inodes.get_mut(*index) else { continue };
            inode.left = inode.left.saturating_sub(*names);
            if inode.is_free() {
                freed += inode.bytes;
            }
        }
        freed
    }

    /// Takes back a removal that did not happen; returns the bytes that are not freed after all.
    pub(crate) fn restore(&mut self, position: usize) -> u64 {
        let Some(entry) = self.entries.get(position) else { return 0 };
        let mut kept = entry.own_bytes;
        for (index, names) in &entry.shared {
            let Some(inode) = self.inodes.get_mut(*index) else { continue };
            if inode.is_free() {
                kept += inode.bytes;
            }
            inode.left += *names;
        }
        kept
    }

    fn sum(&self, position: usize, counts: impl Fn(&Inode, u64) -> bool) -> u64 {
        let Some(entry) = self.entries.get(position) else { return 0 };
        let shared = entry.shared.iter().filter_map(|(index, names)| Some((self.inodes.get(*index)?, *names)));
        entry.own_bytes
            + shared.filter(|(inode, names)| counts(inode, *names)).map(|(inode, _)| inode.bytes).sum::<u64>()
    }
}

impl Inode {
    /// Whether no name of it is left, here or outside of the store.
    fn is_free(&self) -> bool {
        self.left == 0 && self.links <= self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_use::Linked;

    fn used(own_bytes: u64, linked: &[(u64, u64)]) -> DiskUse {
        let linked = linked.iter().map(|(inode, links)| Linked { inode: (1, *inode), links: *links, bytes: 1000 });
        DiskUse { own_bytes, linked: linked.collect() }
    }

    #[test]
    fn a_file_is_counted_once_and_freed_with_its_last_name() {
        // The first two share a file, the second has another one twice, the third one with somebody outside.
        let uses = vec![used(1, &[(7, 2)]), used(10, &[(7, 2), (8, 2), (8, 2)]), used(100, &[(9, 2)])];
        let mut ledger = Ledger::new(uses, |position| [5, 3, 4][position]);
        assert_eq!(ledger.total_bytes(), 3111);
        assert_eq!([0, 1, 2].map(|position| ledger.size_bytes(position)), [1001, 2010, 1100]);
        assert_eq!([0, 1, 2].map(|position| ledger.shared_bytes(position)), [1000, 1000, 1000]);
        // The oldest has the shared file counted.
        assert_eq!([0, 1, 2].map(|position| ledger.counted_bytes(position)), [1, 2010, 1100]);
        assert_eq!(ledger.remove(0), 1);
        assert_eq!(ledger.remove(1), 2010);
        assert_eq!(ledger.restore(1), 2010);
        assert_eq!(ledger.restore(0), 1);
        assert_eq!(ledger.remove(1), 1010);
        assert_eq!(ledger.remove(0), 1001);
        assert_eq!(ledger.remove(2), 100);
        assert_eq!(ledger.remove(9), 0);
    }
}
