//! Files that describe many builds at once: `docker-bake.hcl`, `docker-bake.json` and `compose.yaml`.
//!
//! Purpose: read such files as `docker buildx bake` does, and say which targets a request means, with everything resolved: variables,
//! functions, matrices, inheritance, links between targets, overrides.
//!
//! Entry points: [`Config::read`] reads files, [`Config::select`] picks targets, [`print()`] shows them as `--print` does,
//! [`privileges`] says what a selection wants that a user has to allow.
//!
//! Invariants: the same files, inputs and requests give the same targets. Whatever the text, nothing panics, and neither time nor
//! memory grows beyond limits. Errors name the file, the line and what was meant.
//!
//! Must not: read files, the environment or the clock (callers hand everything in by [`Inputs`]); build; print.
#![forbid(unsafe_code)]

mod body;
mod compose;
mod config;
mod definitions;
mod dotenv;
mod entries;
mod error;
mod evaluate;
mod functions;
mod inputs;
mod overrides;
mod print;
mod privileges;
mod target;
mod types;
mod value;

pub use config::{Config, DEFAULT_FILES, DEFAULT_TARGET, Group, Selection};
pub use definitions::Variable;
pub use dotenv::dotenv;
pub use entries::{AttestEntry, CacheEntry, OutputEntry, SecretEntry, SshEntry};
pub use error::{BakeFile, Place, TargetError};
pub use inputs::Inputs;
pub use overrides::Overrides;
pub use print::print;
pub use privileges::{Privileges, privileges};
pub use target::Target;
