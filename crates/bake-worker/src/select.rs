//! Which files a COPY, ADD or bind mount means: patterns, symbolic links, exclusions, `--parents`.
//!
//! The result is a flat list that is used twice: for the digest that a cache key holds, and for copying.

use std::sync::OnceLock;

use bake_dockerfile::glob::glob_match;
use bake_dockerfile::ignore::{IgnoreError, IgnorePatterns};
use bake_graph::CopyAction;
use rustix::fs::FileType;

use crate::source_tree::{Enter, Node, SourceTree, TreeError, components, join, shown};

/// One source of a COPY with everything below it.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The name it gets under a directory destination.
    pub name: Vec<u8>,
    /// Whether the source itself is a directory, whose content is meant rather than itself.
    pub is_directory: bool,
    /// The files, directories before what they hold. The first is the source itself.
    pub items: Vec<Item>,
    /// The BLAKE3 hashes of the content of regular files, item by item, once they were computed for a key.
    pub contents: OnceLock<Vec<Option<[u8; 32]>>>,
}

/// What one vertex takes from one input: the selections of each action or mount, in their order.
pub(crate) type Selections = Vec<Vec<Selection>>;

/// One file of a selection.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Where and what it is in the tree.
    pub node: Node,
    /// Its path below the source; empty for the source itself.
    pub relative: Vec<u8>,
}

/// What `action` selects from `tree`: one selection for each source that its pattern matches.
pub(crate) fn select(tree: &SourceTree, action: &CopyAction) -> Result<Vec<Selection>, TreeError> {
    let excludes = if action.excludes.is_empty() {
        None
    } else {
        let patterns = IgnorePatterns::new(action.excludes.clone());
        Some(patterns.map_err(|problem| match problem {
            IgnoreError::BadPattern { pattern, .. } => TreeError::BadPattern { pattern },
            _ => TreeError::BadPattern { pattern: action.excludes.join(",") },
        })?)
    };
    if action.parents {
        return select_parents(tree, &action.source, excludes.as_ref()).map(|selection| vec![selection]);
    }
    let source = clean(action.source.as_bytes());
    let paths = if action.wildcard { expand(tree, &source)? } else { vec![source] };
    paths.into_iter().map(|path| select_path(tree, &path, excludes.as_ref())).collect()
}

/// What is at one path, with everything below it.
pub(crate) fn select_path(
    tree: &SourceTree,
    path: &[u8],
    excludes: Option<&IgnorePatterns>,
) -> Result<Selection, TreeError> {
    let top = tree.resolve(path)?;
    let name = components(path).next_back().unwrap_or_default().to_vec();
    let is_directory = top.is_directory();
    let prefix = top.path.len() + usize::from(!top.path.is_empty());
    let start = top.path.clone();
    let mut items = vec![Item { node: top, relative: Vec::new() }];
    if is_directory {
        // Excluded directories on the way to the present file: something below them may be taken all the same.
        let mut skipped: Vec<Item> = Vec::new();
        tree.walk(&start, &mut |node| {
            let relative = node.path[prefix..].to_vec();
            let is_directory = node.is_directory();
            while skipped.last().is_some_and(|above| !is_below(&relative, &above.relative)) {
                skipped.pop();
            }
            if let Some(excludes) = excludes
                && excludes.matches(relative.as_slice())
            {
                let enter = is_directory && excludes.may_match_below(&relative);
                if enter {
                    skipped.push(Item { node, relative });
                }
                return Ok(if enter { Enter::Yes } else { Enter::No });
            }
            if node.file_type() == FileType::Socket {
                return Ok(Enter::No);
            }
            items.append(&mut skipped);
            items.push(Item { node, relative });
            Ok(Enter::Yes)
        })?;
    }
    Ok(Selection { name, is_directory, items, contents: OnceLock::new() })
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// `--parents`: everything that matches, under its path below the root or below `/./`.
fn select_parents(tree: &SourceTree, source: &str, excludes: Option<&IgnorePatterns>) -> Result<Selection, TreeError> {
    let (pivot, pattern) = source.split_once("/./").unwrap_or(("/", source));
    let pattern = clean(pattern.as_bytes());
    let top = tree.resolve(&clean(pivot.as_bytes()))?;
    let prefix = top.path.len() + usize::from(!top.path.is_empty());
    let start = top.path.clone();
    let matcher = if pattern.is_empty() {
        None
    } else {
        let text = shown(&pattern);
        let patterns = IgnorePatterns::new(vec![text.clone()]);
        Some(patterns.map_err(|_| TreeError::BadPattern { pattern: text })?)
    };
    // Only what lies under the part of the pattern without wildcards can match.
    let literal: Vec<&[u8]> = components(&pattern).take_while(|part| !has_wildcard(part)).collect();
    let mut candidates = Vec::new();
    tree.walk(&start, &mut |node| {
        let relative = node.path[prefix..].to_vec();
        let parts: Vec<&[u8]> = components(&relative).collect();
        if parts.iter().zip(&literal).any(|(part, wanted)| part != wanted) {
            return Ok(Enter::No);
        }
        let included = matcher.as_ref().is_none_or(|matcher| matcher.matches(relative.as_slice()));
        let ignored = excludes.is_some_and(|excludes| excludes.matches(relative.as_slice()));
        candidates.push((Item { node, relative }, included && !ignored));
        Ok(Enter::Yes)
    })?;
    let mut items = vec![Item { node: top, relative: Vec::new() }];
    // Directories are kept when something below them is.
    for index in 0..candidates.len() {
        let (item, included) = &candidates[index];
        let keep = *included || {
            let mut below = item.relative.clone();
            below.push(b'/');
            item.node.is_directory()
                && candidates[index + 1..]
                    .iter()
                    .take_while(|(other, _)| other.relative.starts_with(&below))
                    .any(|(_, wanted)| *wanted)
        };
        if keep {
            items.push(item.clone());
        }
    }
    let anything_matches = candidates.iter().any(|(_, included)| *included);
    if !anything_matches && !has_wildcard(&pattern) {
        return Err(TreeError::NotFound { path: shown(&join(&start, &pattern)), ignored: false });
    }
    Ok(Selection { name: Vec::new(), is_directory: true, items, contents: OnceLock::new() })
}

/// Whether a path holds characters that make it a pattern.
pub(crate) fn has_wildcard(path: &[u8]) -> bool {
    path.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

/// The paths that a pattern matches, sorted; a path without wildcards stands for itself.
fn expand(tree: &SourceTree, pattern: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
    let parts: Vec<&[u8]> = components(pattern).collect();
    let Some(first) = parts.iter().position(|part| has_wildcard(part)) else { return Ok(vec![pattern.to_vec()]) };
    let literal = parts[..first].join(&b'/');
    let base = match tree.resolve(&literal) {
        Ok(node) => node,
        Err(TreeError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // The written path is kept beside the real one: it is what names the copy.
    let mut found = vec![(literal, base.path)];
    for part in &parts[first..] {
        let mut next = Vec::new();
        for (written, real) in &found {
            for name in tree.names(real)? {
                let matches = glob_match(part, &name).map_err(|_| TreeError::BadPattern { pattern: shown(pattern) })?;
                if matches {
                    next.push((join(written, &name), join(real, &name)));
                }
            }
        }
        found = next;
    }
    let mut paths = Vec::with_capacity(found.len());
    for (written, _) in found {
        // Hidden files and dangling links that only a pattern names are not there.
        match tree.resolve(&written) {
            Ok(_) => paths.push(written),
            Err(TreeError::NotFound { ignored: true, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(paths)
}

/// A path without `.` and `..`, which cannot lead out, and without a leading slash.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in components(path) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join(&b'/')
}
