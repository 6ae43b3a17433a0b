//! What commands share that move blobs: the display, work side by side, and hints for failures.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use bake::error::{CommandError, ErrorKind};
use bake::ui::colour::Colour;
use bake::ui::progress::{DisplayKind, Progress};
use bake_exporter::{ExportError, Exporter};
use bake_graph::{StepLabel, VertexId};
use bake_oci::Platform;
use bake_worker::{ImageError, NetworkError};

use crate::settings::variable;
use crate::wiring::{Host, store_failed};

/// Blobs that are fetched at the same time: more only share the same line, and registries limit clients.
pub(super) const BLOBS_AT_ONCE: usize = 4;

/// The display for a command that transfers.
pub(super) fn progress(quiet: bool, colour: Colour) -> Result<Progress, CommandError> {
    let kind = if quiet {
        DisplayKind::Quiet
    } else {
        DisplayKind::automatic(std::io::stderr().is_terminal(), variable("TERM").as_deref())
    };
    Progress::to_stderr(kind, colour).map_err(|error| CommandError::build(format!("cannot show progress: {error}")))
}

/// The platform that `--platform` names.
pub(super) fn platform(text: Option<&str>) -> Result<Option<Platform>, CommandError> {
    text.map(Platform::parse).transpose().map_err(|error| CommandError::usage(error.to_string()))
}

/// How an activity is called.
pub(super) fn label(text: impl Into<String>) -> StepLabel {
    StepLabel { text: text.into(), ..StepLabel::default() }
}

/// Shows `work` as a step while it goes on, and how it ended.
pub(super) fn shown<T>(
    progress: &Progress,
    label: StepLabel,
    work: impl FnOnce(VertexId) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let activity = progress.begin(label);
    let result = work(activity.id());
    match &result {
        Ok(_) => activity.done(),
        Err(error) => activity.failed(error.message()),
    }
    result
}

/// Says something on standard error. Nobody can be told that it cannot be written.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(super) fn exporter(host: &Host) -> Exporter {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Exporter::new(host.store.clone(), host.format, threads)
}

/// Does `work` for each item, a few at the same time. After a failure nothing new is begun, and the first one is told.
pub(super) fn side_by_side<T: Sync, E: Send>(items: &[T], work: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    let next = Mutex::new(items.iter());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..BLOBS_AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                while failure.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                    let Some(item) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    if let Err(error) = work(item) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

pub(super) fn image_failed(error: &ImageError) -> CommandError {
    match error {
        ImageError::Store(error) => store_failed(error),
        ImageError::Network(error) => network_failed(error),
        error => CommandError::from_error(ErrorKind::Build, error),
    }
}

pub(super) fn network_failed(error: &NetworkError) -> CommandError {
    let failed = CommandError::from_error(ErrorKind::Build, error);
    match error {
        NetworkError::Registry(error) => registry_hint(failed, error),
        NetworkError::Store(error) => store_failed(error),
        _ => failed,
    }
}

pub(super) fn export_failed(error: &ExportError) -> CommandError {
    let failed = CommandError::from_error(ErrorKind::Build, error);
    match error {
        ExportError::Registry(error) => registry_hint(failed, error),
        ExportError::Store(error) => store_failed(error),
        _ => failed,
    }
}

fn registry_hint(failed: CommandError, error: &bake_registry::RegistryError) -> CommandError {
    failed.hints(crate::registries::hint(error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_items_are_done_unless_one_fails() {
        let done = AtomicUsize::new(0);
        let items: Vec<usize> = (0..100).collect();
        let result: Result<(), ()> = side_by_side(&items, |_| {
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!((result, done.load(Ordering::SeqCst)), (Ok(()), 100));
        assert_eq!(side_by_side(&items, |item| if *item == 7 { Err(*item) } else { Ok(()) }), Err(7));
        assert_eq!(side_by_side(&[] as &[u8], |_| Err(())), Ok(()));
    }
}
