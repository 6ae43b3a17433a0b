//! JSON with the same bytes for the same content, and JSON from outside within limits.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest image manifest or index that is read: the limit the distribution specification asks registries for.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The largest image config that is read: config blobs have no limit in any specification; the largest found in real
/// images (hundreds of labels and history entries) are below 1 MiB.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Why a JSON document could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The document is longer than its kind may be.
    #[error("the {what} has {size_bytes} bytes, more than the limit of {limit_bytes}")]
    TooLarge {
        /// What kind of document it is.
        what: &'static str,
        /// How long it is.
        size_bytes: u64,
        /// How long it may be.
        limit_bytes: u64,
    },
    /// The bytes are not JSON, or not of the expected shape. Nesting is limited to 128 levels.
    #[error("the {what} is not valid")]
    Syntax {
        /// What kind of document it is.
        what: &'static str,
        /// Line, column and reason.
        #[source]
        source: serde_json::Error,
    },
    /// A value cannot be written as JSON.
    #[error("the value cannot be written as JSON")]
    Write {
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
}

/// Compact JSON with the keys of every object sorted, so that equal values give equal bytes whatever map they came from.
pub fn canonical_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    let mut value = serde_json::to_value(value).map_err(|source| JsonError::Write { source })?;
    // Sorted already unless some crate in the tree switches on serde_json's `preserve_order`.
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(|source| JsonError::Write { source })
}

/// Parses one JSON document of at most `limit_bytes`; `what` names its kind in errors.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8], what: &'static str, limit_bytes: u64) -> Result<T, JsonError> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > limit_bytes {
        return Err(JsonError::TooLarge { what, size_bytes, limit_bytes });
    }
    serde_json::from_slice(bytes).map_err(|source| JsonError::Syntax { what, source })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn keys_are_sorted_at_every_level() {
        let inner: HashMap<_, _> = (0..50).map(|n| (format!("k{n:02}"), n)).collect();
        let outer = HashMap::from([("z", inner.clone()), ("a", inner)]);
        let text = String::from_utf8(canonical_json(&outer).unwrap()).unwrap();
        assert!(text.starts_with(r#"{"a":{"k00":0,"k01":1,"#), "{text}");
        assert!(text.find(r#""z""#) > text.find(r#""k49":49"#));
    }

    #[test]
    fn long_and_deep_documents_are_refused() {
        assert!(matches!(
            parse_json::<serde_json::Value>(b"[1,2,3]", "manifest", 3),
            Err(JsonError::TooLarge { size_bytes: 7, .. })
        ));
        let deep = "[".repeat(100_000);
        assert!(matches!(
            parse_json::<serde_json::Value>(deep.as_bytes(), "manifest", MANIFEST_BYTES_MAX),
            Err(JsonError::Syntax { .. })
        ));
    }
}
