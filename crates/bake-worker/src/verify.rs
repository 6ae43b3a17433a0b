//! Whether a layer directory still holds what it held when it was made.

use bake_oci::TreeDigest;
use bake_snapshot::{Contents, LayerFormat, digest_layer};
use bake_store::Snapshot;

use crate::images::{chain_of, image_layer_tree};

/// How names of merged stacks of layers begin.
const MERGED_PREFIX: &str = "merged-";

/// Compares the files of a layer with what is known of them; all of them are read. `content` is what was noted of the files
/// where the tree digest of the record stands for something else.
///
/// # Errors
/// What is wrong, as text that follows the name of the layer.
pub fn verify_layer(snapshot: &Snapshot, content: Option<TreeDigest>, format: LayerFormat) -> Result<(), String> {
    let found = digest_layer(&snapshot.path, format, &Contents::new()).map_err(|error| chain_of(&error))?;
    let record = &snapshot.record;
    let expected = match (content, &record.diff_id) {
        (Some(content), _) => content,
        // The layers of images are known by their diff ID; earlier versions noted no digest of their files.
        (None, Some(diff_id)) if record.tree == image_layer_tree(diff_id) => {
            if found.size_bytes == record.size_bytes {
                return Ok(());
            }
            return Err(format!("has files of {} bytes, not {}", found.size_bytes, record.size_bytes));
        }
        (None, _)
            if record.id.as_str().starts_with(MERGED_PREFIX)
                && record.tree == TreeDigest::of(record.id.as_str().as_bytes()) =>
        {
            return Err("is from an earlier version, which noted nothing to check it by".to_owned());
        }
        (None, _) => record.tree,
    };
    if found.tree == expected {
        return Ok(());
    }
    Err(format!("is damaged: its files have the tree digest {}, not {expected}", found.tree))
}
