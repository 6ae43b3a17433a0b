//! Words after expansion, with what was used in them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bake_dockerfile::{ExpandError, Expansion};

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// Variables that were used and have a value.
    pub used: BTreeSet<String>,
    /// Variables that were used and have none, each once. A default in the word (`${X:-y}`) makes no difference: BuildKit
    /// warns of those too.
    pub missing: Vec<String>,
}

impl Expanded {
    /// Runs an expansion with the variables of `value`, and keeps what it asked for.
    ///
    /// Fails as the expansion does.
    pub fn by(
        value: &dyn Fn(&str) -> Option<String>,
        expand: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<Expansion, ExpandError>,
    ) -> Result<Self, ExpandError> {
        let (used, missing) = (RefCell::new(BTreeSet::new()), RefCell::new(Vec::<String>::new()));
        let expansion = expand(&|name| {
            let value = value(name);
            if value.is_some() {
                used.borrow_mut().insert(name.to_owned());
            } else if !missing.borrow().iter().any(|known| known == name) {
                missing.borrow_mut().push(name.to_owned());
            }
            value
        })?;
        Ok(Self { text: expansion.text, used: used.into_inner(), missing: missing.into_inner() })
    }
}
