//! `bake history` with a command: past builds of the store.
//!
//! Nothing here needs what steps need, so no namespace is entered: a browser that is started here is one of the user's own.

mod export;
mod list;
mod show;

use std::path::Path;

use bake::cli::BuildsCommand;
use bake::error::CommandError;
use bake_report::BuildRecord;
use bake_store::{JournalEntry, OpenOptions, Ownership, Store, StoreError};

use crate::settings;
use crate::wiring::{Privilege, store_failed};

/// A build with its number.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) number: i64,
    pub(super) ended_unix_s: i64,
    pub(super) record: BuildRecord,
}

pub(crate) fn run(command: &BuildsCommand, root: Option<&Path>) -> Result<(), CommandError> {
    let root = settings::store_root(root, Privilege::is_root_expected())?;
    let past = Past { store: open(&root)? };
    match command {
        BuildsCommand::Ls(arguments) => list::run(arguments, &past),
        BuildsCommand::Inspect(arguments) => show::inspect(arguments, &past),
        BuildsCommand::Logs(arguments) => show::logs(arguments, &past),
        BuildsCommand::Open(arguments) => export::open(arguments, &past),
        BuildsCommand::Export(arguments) => export::export(arguments, &past),
        BuildsCommand::Trace(arguments) => export::trace(arguments, &past),
        BuildsCommand::Rm(arguments) => list::remove(arguments, &past),
    }
}

/// The store, however its layers keep their owners: builds are no layers. `None` where there is no store yet.
fn open(root: &Path) -> Result<Option<Store>, CommandError> {
    let mut opened = Store::open(root, OpenOptions { ownership: Ownership::Native, create: false });
    if matches!(opened, Err(StoreError::OtherOwnership { .. })) {
        opened = Store::open(root, OpenOptions { ownership: Ownership::Recorded, create: false });
    }
    match opened {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(store_failed(&error)),
    }
}

/// The builds of a store.
#[derive(Debug)]
pub(super) struct Past {
    store: Option<Store>,
}

impl Past {
    /// All that are known, the newest first.
    fn all(&self) -> Result<Vec<Build>, CommandError> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let entries = store.journal().map_err(|error| store_failed(&error))?;
        Ok(entries.into_iter().filter_map(read).collect())
    }

    /// The build that `wanted` names, or the last one.
    fn find(&self, wanted: Option<&str>) -> Result<Build, CommandError> {
        let nothing = || CommandError::build("nothing was built in this store yet");
        let absent = |text: &str| {
            CommandError::build(format!("there is no build {text}"))
                .hint("`bake history ls` shows the builds that are still known")
        };
        let wanted = wanted.unwrap_or("^0");
        let number = match wanted.strip_prefix('^') {
            Some(back) => {
                let back: usize = back.parse().map_err(|_| not_a_build(wanted))?;
                let mut builds = self.all()?;
                if builds.is_empty() {
                    return Err(nothing());
                }
                return if back < builds.len() { Ok(builds.swap_remove(back)) } else { Err(absent(wanted)) };
            }
            // What stands in metadata files as `buildx.build.ref`.
            None => wanted.rsplit('/').next().and_then(|number| number.parse().ok()),
        };
        let number: i64 = number.ok_or_else(|| not_a_build(wanted))?;
        let Some(store) = &self.store else { return Err(nothing()) };
        let entry = store.journal_entry(Some(number)).map_err(|error| store_failed(&error))?;
        entry.and_then(read).ok_or_else(|| absent(&number.to_string()))
    }

    /// What the steps of a build wrote; empty where it is not kept any more.
    fn logs(&self, number: i64) -> Result<Vec<u8>, CommandError> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        Ok(store.build_log(number).map_err(|error| store_failed(&error))?.unwrap_or_default())
    }
}

/// A build as another version may have written it down; `None` if it cannot be read.
pub(super) fn read(entry: JournalEntry) -> Option<Build> {
    let JournalEntry { number, ended_unix_s, document } = entry;
    serde_json::from_slice(&document).ok().map(|record| Build { number, ended_unix_s, record })
}

fn not_a_build(text: &str) -> CommandError {
    CommandError::usage(format!("`{text}` is no build: expected a number, or `^1` for the build before the last one"))
}
