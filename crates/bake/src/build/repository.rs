//! Files of a repository that say what is to be built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::progress::{DisplayKind, Progress};
use bake_graph::{GitSource, without_credentials};

use super::read::Fetcher;
use super::worker;
use crate::wiring::Host;

/// Fetches a repository and reads those of the files at `paths` that are there, each of at most `limit` bytes (and one more).
pub(crate) fn read_files(
    source: &GitSource,
    paths: &[PathBuf],
    limit: u64,
    host: &Host,
    display: DisplayKind,
    colour: Colour,
) -> Result<Vec<Option<Vec<u8>>>, CommandError> {
    let progress = Progress::to_stderr(display, colour)
        .map_err(|error| CommandError::build(format!("cannot show progress: {error}")))?;
    let worker = worker(&[], host, &Arc::new(host.images(BTreeMap::new())), None)?;
    let fetcher = Fetcher { worker: &worker, progress: &progress, source: 0 };
    let name = without_credentials(&source.url);
    let commit =
        fetcher.shown(&format!("load definitions from {name}"), |report| worker.context_from_git(source, report))?;
    let read = |path: &PathBuf| {
        let read = worker.read_fetched(&commit.layer, path, limit + 1);
        read.map_err(|error| CommandError::input(format!("cannot read `{}` of {name}: {error}", path.display())))
    };
    let files = paths.iter().map(read).collect();
    progress.finish(None);
    files
}
