//! `bake analyze`: what each layer of an image adds, and what of it nobody can see.
//!
//! 1. find the image: in the store, or in a file, directory or registry, from which it is brought into the store;
//! 2. list its layers: the directory of one that is unpacked, else its archive, which is read but not unpacked;
//! 3. keep the books ([`bake_analyze::analyze`]);
//! 4. report ([`report`]), and compare with the limits that were given ([`limits`]).

mod limits;
mod report;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use bake::cli::AnalyzeArguments;
use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_analyze::{Analysis, Listing, analyze};
use bake_graph::VertexId;
use bake_oci::{ImageLayer, Platform, SnapshotId};
use bake_worker::Images;

use self::limits::Limits;
use super::place::{FileKind, FilePlace, Place};
use super::stored::{self, StoredImage};
use super::{bring, complete, transfer};
use crate::listings::{self, Contents};
use crate::wiring::{Host, store_failed};

/// What stands in front of the name of an image that is not one of the store, or says that it is.
const PLACES: [&str; 7] =
    ["docker://", "store:", "oci:", "oci-archive:", "docker-archive:", "docker-daemon:", "containers-storage:"];

pub(crate) fn run(arguments: &AnalyzeArguments, host: &Host) -> Result<ExitCode, CommandError> {
    let limits = Limits::of(arguments)?;
    let progress = transfer::progress(false, crate::settings::colour())?;
    // Of no interest unless it takes long.
    let label = bake_graph::StepLabel { internal: true, ..transfer::label(format!("analyzing {}", arguments.image)) };
    let (image, listings, analysis) = transfer::shown(&progress, label, |step| {
        let image = find(arguments, host, &progress, step)?;
        image.hold(&host.store)?;
        let layers = layers(&image, host, &progress, step)?;
        let (listings, directories): (Vec<Listing>, Vec<Option<PathBuf>>) = layers.into_iter().unzip();
        let contents = Contents { directories, format: host.format };
        let analysis = analyze(&listings, &mut |overwrite| contents.same(overwrite))
            .map_err(|error| CommandError::from_error(ErrorKind::Input, &error))?;
        Ok((image, listings, analysis))
    })?;
    progress.finish(None);
    let checks = limits.check(&analysis);
    let shown = report::Shown { arguments, image: &image, listings: &listings, analysis: &analysis, checks: &checks };
    let text = if arguments.json { shown.json()? } else { shown.text()? };
    crate::print(&text)?;
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed).collect();
    for check in &failed {
        transfer::say(&format!("{}: {}", arguments.image, check.complaint()));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The image, brought into the store from wherever it is.
fn find(
    arguments: &AnalyzeArguments,
    host: &Host,
    progress: &Progress,
    step: VertexId,
) -> Result<StoredImage, CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let name = arguments.image.as_str();
    let in_store = |name: &str| {
        stored::find(&host.store, name).map_err(|error| {
            error.hint("`docker://NAME` reads an image of a registry, `./FILE` one of an archive or OCI layout")
        })
    };
    let image = match place(name)? {
        None => in_store(name)?,
        Some(Place::Store(name)) => in_store(&name)?,
        Some(Place::Registry(reference)) => {
            let wanted = platform.clone().unwrap_or_else(Platform::host);
            let document = bring::resolve(&reference, Some(&wanted), host)?;
            let target = bring::from_registry(&reference, document, host, progress, step)?;
            stored::load(&host.store, target, vec![reference])?
        }
        Some(Place::Files(place)) => {
            let (target, names) = bring::one_from_files(&place, host)?;
            stored::load(&host.store, target, names)?
        }
    };
    image.for_platform(platform.as_ref())
}

/// Where an image is that is not named as one of the store: by skopeo's prefixes, or by the path of a file or directory.
fn place(name: &str) -> Result<Option<Place>, CommandError> {
    if name.starts_with(['.', '/']) {
        let metadata =
            std::fs::metadata(name).map_err(|error| CommandError::input(format!("cannot open `{name}`: {error}")))?;
        let kind = if metadata.is_dir() { FileKind::Layout } else { FileKind::DockerArchive };
        return Ok(Some(Place::Files(FilePlace { kind, path: name.into(), name: None })));
    }
    // An image called `oci:1` is `store:oci:1`, as for `bake copy`.
    let is_place = PLACES.iter().any(|prefix| name.starts_with(prefix));
    if is_place { Place::parse(name).map(Some) } else { Ok(None) }
}

/// The listing of every layer, base first, and its directory if it is unpacked.
fn layers(
    image: &StoredImage,
    host: &Host,
    progress: &Progress,
    step: VertexId,
) -> Result<Vec<(Listing, Option<PathBuf>)>, CommandError> {
    let images = host.images(BTreeMap::new());
    let layers: Vec<(usize, &ImageLayer)> = image.image().layers.iter().enumerate().collect();
    let found = Mutex::new(vec![None; layers.len()]);
    transfer::side_by_side(&layers, |(index, layer)| {
        let listed = list(layer, image, host, &images, progress, step)?;
        if let Some(place) = found.lock().unwrap_or_else(PoisonError::into_inner).get_mut(*index) {
            *place = Some(listed);
        }
        Ok::<(), CommandError>(())
    })?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(found.into_iter().flatten().collect())
}

fn list(
    layer: &ImageLayer,
    image: &StoredImage,
    host: &Host,
    images: &Images,
    progress: &Progress,
    step: VertexId,
) -> Result<(Listing, Option<PathBuf>), CommandError> {
    let unpacked = match complete::made_by_step(images, &layer.diff_id, progress, step)? {
        Some(snapshot) => Some(snapshot),
        None => host.store.snapshot(&SnapshotId::for_layer(&layer.diff_id)).map_err(|error| store_failed(&error))?,
    };
    if let Some(snapshot) = unpacked {
        let listing = listings::of_directory(&snapshot.path, host.format).map_err(|error| {
            CommandError::from_error(ErrorKind::Build, &error)
                .context(format!("cannot list the layer {}", layer.diff_id))
        })?;
        return Ok((listing, Some(snapshot.path)));
    }
    let blob = complete::blob(layer)?;
    if host.store.blob_size(&blob.digest).map_err(|error| store_failed(&error))?.is_none() {
        complete::fetch(std::slice::from_ref(&blob), image, images, progress, step)?;
    }
    Ok((listings::of_blob(&host.store, &blob.digest)?, None))
}

/// Bytes of the layers above the first: what dive calls the user's.
fn upper_bytes(analysis: &Analysis) -> u64 {
    analysis.layers.iter().skip(1).fold(0, |sum, layer| sum.saturating_add(layer.added_bytes))
}
