//! Applying layers one after the other, and keeping the books.

use serde::{Deserialize, Serialize};

use crate::WASTE_MAX;
use crate::listing::{Entry, EntryKind, Listing};
use crate::tree::{FileRecord, NODES_MAX, Occupant, OccupantKind, ROOT, Tree, VisibleFile};

/// What became of the bytes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// The figures of each layer, base first.
    pub layers: Vec<LayerFigures>,
    /// Every hidden file, the largest first.
    pub waste: Vec<Waste>,
    /// The files that the image has, sorted by path.
    pub files: Vec<VisibleFile>,
}

/// The books of one layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerFigures {
    /// The bytes of its files.
    pub added_bytes: u64,
    /// Those of them that are not in the image, because this layer or a later one hides them.
    pub hidden_bytes: u64,
    /// The bytes of layers below that this layer hides (and of its own, where an archive has a name twice).
    pub hides_bytes: u64,
    /// Its files, directories, links and deletions.
    pub entries: u64,
}

/// A file whose bytes are in a layer, but not in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waste {
    /// Its name (the last it had), relative to the root.
    pub path: Vec<u8>,
    /// Its bytes.
    pub bytes: u64,
    /// The layer that holds them, from 0.
    pub written_by: usize,
    /// The layer that hides them, from 0.
    pub hidden_by: usize,
    /// How.
    pub cause: Cause,
}

/// How a file was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It was deleted.
    Deleted,
    /// Something else took its place.
    Replaced,
    /// The same content was stored again with another owner or mode (`chown -R`, `chmod -R`).
    MetadataChanged,
    /// The same content was stored again with the same owner and mode.
    StoredAgain,
}

/// Two files of the same size, one of which takes the place of the other.
#[derive(Debug, Clone, Copy)]
pub struct Overwrite<'a> {
    /// Their path, relative to the root.
    pub path: &'a [u8],
    /// The layer of the lower one, from 0. The file may have had another name when it was stored.
    pub lower: usize,
    /// The layer of the upper one, from 0.
    pub upper: usize,
    /// BLAKE3 of the lower one's content, if it is known.
    pub lower_content: Option<[u8; 32]>,
    /// BLAKE3 of the upper one's content, if it is known.
    pub upper_content: Option<[u8; 32]>,
}

/// Why an image is not analyzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnalyzeError {
    /// Its layers have too many names.
    #[error("the layers of the image have more than {NODES_MAX} names")]
    TooManyNames,
    /// Too many files are hidden.
    #[error("more than {WASTE_MAX} files are hidden by later layers")]
    TooMuchWaste,
}

impl Analysis {
    /// The bytes of all layers.
    pub fn added_bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.added_bytes))
    }

    /// Those of them that are not in the image.
    pub fn wasted_bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.hidden_bytes))
    }

    /// The share of the bytes of all layers that is in the image, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn efficiency(&self) -> f64 {
        let added = self.added_bytes();
        if added == 0 {
            return 1.0;
        }
        (added - self.wasted_bytes().min(added)) as f64 / added as f64
    }
}

/// Applies `layers`, base first.
///
/// `same_content` is asked where a file takes the place of one of the same size and the listings do not say whether the content is
/// the same; where it does not know either, files with the same modification time count as the same.
///
/// # Errors
/// [`AnalyzeError`], for an image beyond the limits.
pub fn analyze(
    layers: &[Listing],
    same_content: &mut dyn FnMut(&Overwrite<'_>) -> Option<bool>,
) -> Result<Analysis, AnalyzeError> {
    analyze_within(NODES_MAX, layers, same_content)
}

fn analyze_within(
    nodes_max: usize,
    layers: &[Listing],
    same_content: &mut dyn FnMut(&Overwrite<'_>) -> Option<bool>,
) -> Result<Analysis, AnalyzeError> {
    let figures = vec![LayerFigures::default(); layers.len()];
    let mut books = Books { tree: Tree::new(nodes_max), layers: figures, waste: Vec::new(), current: 0, same_content };
    for (index, listing) in layers.iter().enumerate() {
        books.current = index;
        books.layers[index].entries = listing.len() as u64;
        books.hide(listing)?;
        for entry in listing.iter().filter(|entry| !entry.path.is_empty() && entry.kind != EntryKind::Whiteout) {
            books.put(entry)?;
        }
    }
    let Books { tree, layers, mut waste, .. } = books;
    waste.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    Ok(Analysis { layers, waste, files: tree.visible() })
}

struct Books<'a> {
    tree: Tree,
    layers: Vec<LayerFigures>,
    waste: Vec<Waste>,
    /// The layer that is being applied.
    current: usize,
    same_content: &'a mut dyn FnMut(&Overwrite<'_>) -> Option<bool>,
}

impl Books<'_> {
    /// Applies what a layer says of the layers below; what it puts there itself comes after.
    fn hide(&mut self, listing: &Listing) -> Result<(), AnalyzeError> {
        for entry in listing {
            match entry.kind {
                EntryKind::Whiteout => {
                    if let Some(node) = self.tree.find(&entry.path).filter(|node| *node != ROOT) {
                        self.remove(node, Cause::Deleted)?;
                        self.tree.unlink(node);
                    }
                }
                EntryKind::Directory { opaque: true } => {
                    if let Some(node) = self.tree.find(&entry.path) {
                        self.clear(node, Cause::Deleted)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, entry: &Entry) -> Result<(), AnalyzeError> {
        let (parent, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&entry.path[..slash], &entry.path[slash + 1..]),
            None => (&entry.path[..0], &entry.path[..]),
        };
        let parent = self.directory(parent)?;
        let occupant = |kind| Occupant { kind, layer: self.current, mode: entry.mode, uid: entry.uid, gid: entry.gid };
        match &entry.kind {
            EntryKind::Whiteout => Ok(()),
            EntryKind::Directory { .. } => {
                let new = occupant(OccupantKind::Directory);
                match self.tree.child(parent, name) {
                    Some(node) => {
                        self.vacate(node, Cause::Replaced)?;
                        self.tree.occupy(node, new);
                        Ok(())
                    }
                    None => self.tree.add(parent, name, new).map(drop),
                }
            }
            EntryKind::Other => {
                let new = occupant(OccupantKind::Other);
                self.take_place(parent, name, new, Cause::Replaced)
            }
            EntryKind::HardLink { target } => {
                let found = self.tree.find(target).map(|node| self.tree.occupant(node).kind);
                // A link to nothing, or to what is no file, has no bytes.
                let Some(OccupantKind::File(file)) = found else {
                    let new = occupant(OccupantKind::Other);
                    return self.take_place(parent, name, new, Cause::Replaced);
                };
                if self.tree.child(parent, name).map(|node| self.tree.occupant(node).kind)
                    == Some(OccupantKind::File(file))
                {
                    return Ok(());
                }
                let new = occupant(OccupantKind::File(file));
                self.tree.files[file].names += 1;
                self.take_place(parent, name, new, Cause::Replaced)
            }
            EntryKind::File { size_bytes, content } => {
                let record = FileRecord {
                    size_bytes: *size_bytes,
                    content: *content,
                    mtime: entry.mtime,
                    layer: self.current,
                    names: 1,
                };
                let new = occupant(OccupantKind::File(self.tree.files.len()));
                let cause = match self.tree.child(parent, name) {
                    Some(node) => self.cause(node, &record, new, &entry.path),
                    None => Cause::Replaced,
                };
                self.tree.files.push(record);
                let figures = &mut self.layers[self.current];
                figures.added_bytes = figures.added_bytes.saturating_add(*size_bytes);
                self.take_place(parent, name, new, cause)
            }
        }
    }

    /// How the file that is about to be stored hides what is at `node`.
    fn cause(&mut self, node: usize, new: &FileRecord, occupant: Occupant, path: &[u8]) -> Cause {
        let before = self.tree.occupant(node);
        let OccupantKind::File(file) = before.kind else { return Cause::Replaced };
        let old = &self.tree.files[file];
        if old.size_bytes != new.size_bytes || new.size_bytes == 0 {
            return Cause::Replaced;
        }
        let same = match (old.content, new.content) {
            (Some(old), Some(new)) => old == new,
            (lower_content, upper_content) => {
                let (lower, upper) = (old.layer, self.current);
                (self.same_content)(&Overwrite { path, lower, upper, lower_content, upper_content })
                    .unwrap_or(old.mtime == new.mtime)
            }
        };
        let metadata = |occupant: Occupant| (occupant.mode, occupant.uid, occupant.gid);
        match same {
            false => Cause::Replaced,
            true if metadata(before) == metadata(occupant) => Cause::StoredAgain,
            true => Cause::MetadataChanged,
        }
    }

    /// Puts something that is no directory in its place.
    fn take_place(&mut self, parent: usize, name: &[u8], new: Occupant, cause: Cause) -> Result<(), AnalyzeError> {
        match self.tree.child(parent, name) {
            Some(node) => {
                self.remove(node, cause)?;
                self.tree.occupy(node, new);
                Ok(())
            }
            None => self.tree.add(parent, name, new).map(drop),
        }
    }

    /// The directory of that path, made with its parents where nobody describes it.
    fn directory(&mut self, path: &[u8]) -> Result<usize, AnalyzeError> {
        let implied = Occupant { kind: OccupantKind::Directory, layer: self.current, mode: 0o755, uid: 0, gid: 0 };
        let mut node = ROOT;
        for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            node = match self.tree.child(node, component) {
                Some(child) => {
                    if self.tree.occupant(child).kind != OccupantKind::Directory {
                        self.vacate(child, Cause::Replaced)?;
                        self.tree.occupy(child, implied);
                    }
                    child
                }
                None => self.tree.add(node, component, implied)?,
            };
        }
        Ok(node)
    }

    /// Hides what is at a name and below it.
    fn remove(&mut self, node: usize, cause: Cause) -> Result<(), AnalyzeError> {
        self.clear(node, cause)?;
        self.vacate(node, cause)
    }

    /// Hides everything below a directory.
    fn clear(&mut self, directory: usize, cause: Cause) -> Result<(), AnalyzeError> {
        for (node, file) in self.tree.clear(directory) {
            self.lose_name(node, file, cause)?;
        }
        Ok(())
    }

    /// Hides the file at a name, if it is one.
    fn vacate(&mut self, node: usize, cause: Cause) -> Result<(), AnalyzeError> {
        match self.tree.occupant(node).kind {
            OccupantKind::File(file) => self.lose_name(node, file, cause),
            OccupantKind::Directory | OccupantKind::Other => Ok(()),
        }
    }

    /// A file lost a name; with the last one its bytes are wasted.
    fn lose_name(&mut self, node: usize, file: usize, cause: Cause) -> Result<(), AnalyzeError> {
        let record = &mut self.tree.files[file];
        record.names -= 1;
        if record.names > 0 || record.size_bytes == 0 {
            return Ok(());
        }
        let (bytes, written_by, hidden_by) = (record.size_bytes, record.layer, self.current);
        if self.waste.len() >= WASTE_MAX {
            return Err(AnalyzeError::TooMuchWaste);
        }
        self.waste.push(Waste { path: self.tree.path(node), bytes, written_by, hidden_by, cause });
        let hidden = &mut self.layers[written_by].hidden_bytes;
        *hidden = hidden.saturating_add(bytes);
        let hides = &mut self.layers[hidden_by].hides_bytes;
        *hides = hides.saturating_add(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
