//! How a step's cache key is made.
//!
//! `key(step) = H(parts of the op's definition, for each input: what the step can see of it)`
//!
//! | input as the op sees it | what stands in the key |
//! |---|---|
//! | whole (the root file system of RUN, the base of COPY) | the identity of its state: the tree digests of its layers |
//! | selected (what COPY names, a bind mount) | a digest of just those paths, with the metadata BuildKit counts |
//! | unseen (what a new cache mount is filled from) | nothing |
//!
//! Computing the digest of a selection means looking at files. Where the source is a root file system, its state is
//! known beforehand, so a *quick* key with the state in place of the selection is tried first: it finds the result
//! whenever nothing changed at all, without touching a file or pulling a blob. A result is recorded under both keys.
//!
//! The identity of an input is what it holds, not how it was asked for. So a step that ran again and left the same
//! layer does not invalidate what follows (early cutoff).
//!
//! Changing anything here makes all records unfindable; `KEY_VERSION` then has to change too.

use bake_graph::{Component, InputView, Vertex};
use bake_oci::CacheKey;

use crate::output::Output;
use crate::worker::ContentDigest;

/// Part of every key; to be changed whenever keys are made in another way, or a worker makes other results.
const KEY_VERSION: &str = "bake key 1";

/// What the name of the part for an input begins with; its number follows.
pub(crate) const INPUT: &str = "input ";

/// What the value of such a part begins with when it stands for selected paths; their digest follows.
pub(crate) const CONTENT: &str = "content ";

/// A key and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyParts {
    /// The key.
    pub key: CacheKey,
    /// Its parts, in order.
    pub components: Vec<Component>,
}

/// The key of `vertex` over `inputs`, with the content digests of those inputs that it selects paths from.
///
/// Where a selected input has no digest in `selections`, its state stands in (the quick key). `None` if it has no state
/// either: then there is no quick key.
pub fn step_key(vertex: &Vertex, inputs: &[&Output], selections: &[Option<ContentDigest>]) -> Option<KeyParts> {
    let mut components = vertex.op.components();
    for (number, input) in inputs.iter().enumerate() {
        let name = format!("{INPUT}{number}");
        match vertex.op.input_view(number) {
            InputView::Unseen => {}
            InputView::Whole => components.push(Component::new(name, input.state()?.0.hex())),
            InputView::Selected => {
                let value = match selections.get(number).and_then(Option::as_ref) {
                    Some(selection) => format!("{CONTENT}{}", selection.digest.hex()),
                    None => format!("state {}", input.state()?.0.hex()),
                };
                components.push(Component::new(name, value));
            }
        }
    }
    Some(KeyParts { key: key_of(&components), components })
}

/// The key that is made of `components`.
pub(crate) fn key_of(components: &[Component]) -> CacheKey {
    versioned_key(KEY_VERSION, components)
}

/// The key of a kind of its own that is made of `components`.
pub(crate) fn versioned_key(version: &str, components: &[Component]) -> CacheKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(version.as_bytes());
    for component in components {
        for text in [&component.name, &component.value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    CacheKey(*hasher.finalize().as_bytes())
}

/// The number of the input that a part of a key stands for.
pub(crate) fn input_number(name: &str) -> Option<usize> {
    name.strip_prefix(INPUT)?.parse().ok()
}
