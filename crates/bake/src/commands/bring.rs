//! Brings whole images into the store, with all platforms or one, from wherever they are.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_exporter::{CopiedDocument, ImageTree, Relay};
use bake_graph::VertexId;
use bake_oci::layout::{INDEX_FILE, LAYOUT_FILE, NAME_ANNOTATION, REF_NAME_ANNOTATION, blob_path};
use bake_oci::manifest::{Descriptor, descriptor_digest, select_manifest};
use bake_oci::{ArchiveError, Digest, Document, ExpansionLimits, ImageConfig, LoadedImage, Platform, Reference};
use bake_oci::{read_archive, read_layout_of};
use bake_registry::Resolved;
use bake_solver::{BuildEvent, EventSink as _};
use bake_store::BlobDescriptor;
use bake_worker::unpack_bzip2_or_xz;

use super::place::{FileKind, FilePlace};
use super::transfer::{export_failed, network_failed, side_by_side};
use crate::wiring::{Host, store_failed};

/// The largest document that is read from a layout.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// The largest image config.
const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// What `--platform` makes of an image: the image for that platform, where there are several.
///
/// `manifest` and `config` give what a digest names.
pub(super) fn narrowed(
    document: CopiedDocument,
    platform: Option<&Platform>,
    manifest: &dyn Fn(&Digest) -> Result<Vec<u8>, CommandError>,
    config: &dyn Fn(&Descriptor) -> Result<Vec<u8>, CommandError>,
) -> Result<CopiedDocument, CommandError> {
    let Some(wanted) = platform else { return Ok(document) };
    let invalid =
        |problem: String| CommandError::build(format!("the image {} is not valid: {problem}", document.digest));
    let parsed = Document::parse(&document.bytes, Some(&document.media_type));
    match parsed.map_err(|error| invalid(error.to_string()))? {
        Document::Index(index) => {
            let child = select_manifest(&index, wanted).map_err(|error| CommandError::input(error.to_string()))?;
            let digest = descriptor_digest(child).map_err(|error| invalid(error.to_string()))?;
            let bytes = manifest(&digest)?;
            let child = CopiedDocument { digest, media_type: child.media_type().to_string(), bytes };
            // An index with a single image and no platform serves every request; what it is for is in the config.
            narrowed(child, platform, manifest, config)
        }
        Document::Manifest(image) => {
            let bytes = config(image.config())?;
            let offered = ImageConfig::parse(&bytes).map_err(|error| invalid(error.to_string()))?.platform();
            if wanted.matches(&offered) {
                return Ok(document);
            }
            Err(CommandError::input(format!("the image is for {offered}, not for {wanted}")))
        }
    }
}

/// What a reference means at its registry, narrowed to a platform.
pub(super) fn resolve(
    reference: &Reference,
    platform: Option<&Platform>,
    host: &Host,
) -> Result<CopiedDocument, CommandError> {
    let Resolved { descriptor, digest, bytes } =
        host.network.resolve(reference).map_err(|error| network_failed(&error))?;
    let document = CopiedDocument { digest, media_type: descriptor.media_type().to_string(), bytes };
    let manifest = |digest: &Digest| host.network.manifest(reference, digest).map_err(|error| network_failed(&error));
    let config = |config: &Descriptor| {
        let digest = descriptor_digest(config).map_err(|error| CommandError::build(error.to_string()))?;
        let read = host.network.small_blob(reference, &digest, config.size(), CONFIG_BYTES_MAX);
        read.map_err(|error| network_failed(&error))
    };
    narrowed(document, platform, &manifest, &config)
        .map_err(|error| error.context(format!("cannot use `{}`", reference.familiar())))
}

/// Brings an image of a registry into the store with everything that belongs to it.
pub(super) fn from_registry(
    reference: &Reference,
    document: CopiedDocument,
    host: &Host,
    progress: &Progress,
    step: VertexId,
) -> Result<BlobDescriptor, CommandError> {
    let (runtime, client) = host.network.start().map_err(|error| network_failed(&error))?;
    let relay = Relay { runtime, client, store: &host.store };
    let target = target_of(&document);
    let tree = relay.tree(reference, document).map_err(|error| export_failed(&error))?;
    let blobs: Vec<(Digest, u64)> = tree.blobs.into_iter().collect();
    let cancelled = Arc::new(AtomicBool::new(false));
    side_by_side(&blobs, |(digest, size)| {
        if host.store.blob_size(digest).map_err(|error| store_failed(&error))?.is_some() {
            return Ok(());
        }
        let id = format!("pull {}", digest.short());
        let told = |current| {
            progress.send(BuildEvent::Transfer { step, id: id.clone(), current, total: Some(*size) });
        };
        let fetched = host.network.fetch(&host.store, reference, digest, *size, &told, &cancelled);
        fetched.map_err(|error| network_failed(&error))
    })?;
    for document in tree.documents {
        let put = host.store.put_blob(Some(&document.digest), &mut document.bytes.as_slice());
        put.map_err(|error| store_failed(&error))?;
    }
    Ok(target)
}

pub(super) fn target_of(document: &CopiedDocument) -> BlobDescriptor {
    let (media_type, digest) = (document.media_type.clone(), document.digest.clone());
    BlobDescriptor { media_type, digest, size_bytes: document.bytes.len() as u64 }
}

/// The documents of an image that is in the store, narrowed to a platform.
pub(super) fn tree_in_store(
    target: &BlobDescriptor,
    platform: Option<&Platform>,
    host: &Host,
) -> Result<ImageTree, CommandError> {
    let read = |digest: &Digest, limit| -> Result<Vec<u8>, CommandError> {
        let bytes = host.store.read_small_blob(digest, limit).map_err(|error| store_failed(&error))?;
        bytes.ok_or_else(|| {
            CommandError::input(format!("{digest}, a part of the image, is not there"))
                .hint("`--platform` copies an image of which only one platform is there")
        })
    };
    let document = |digest: &Digest| read(digest, DOCUMENT_BYTES_MAX);
    let bytes = document(&target.digest)?;
    let root = CopiedDocument { digest: target.digest.clone(), media_type: target.media_type.clone(), bytes };
    let root = narrowed(root, platform, &document, &|config: &Descriptor| {
        let digest = descriptor_digest(config).map_err(|error| CommandError::build(error.to_string()))?;
        read(&digest, CONFIG_BYTES_MAX)
    })?;
    let failure = std::cell::RefCell::new(None);
    let tree = ImageTree::read(root, &|digest| {
        document(digest).map_err(|error| {
            failure.replace(Some(error));
            bake_exporter::ExportError::MissingBlob(digest.clone())
        })
    });
    tree.map_err(|error| failure.take().unwrap_or_else(|| export_failed(&error)))
}

/// The documents of an image of which every part is in the store as it was made: all platforms of an index, attestations
/// included. `None` where something is missing, such as layers that are directories only.
pub(super) fn whole_in_store(target: &BlobDescriptor, host: &Host) -> Result<Option<ImageTree>, CommandError> {
    let Ok(tree) = tree_in_store(target, None, host) else { return Ok(None) };
    for (digest, size_bytes) in &tree.blobs {
        if host.store.blob_size(digest).map_err(|error| store_failed(&error))? != Some(*size_bytes) {
            return Ok(None);
        }
    }
    Ok(Some(tree))
}

/// Reads the images of a file or directory into the store: all of them, or those of the name that is asked for.
pub(super) fn from_files(place: &FilePlace, host: &Host) -> Result<Vec<LoadedImage>, CommandError> {
    let shown = place.path.display();
    let failed = |error: &ArchiveError| {
        CommandError::from_error(ErrorKind::Input, error).context(format!("cannot read `{shown}`"))
    };
    let found = match place.kind {
        FileKind::Layout => {
            let wanted = |descriptor: &Descriptor| match &place.name {
                Some(name) => names_of(descriptor).iter().any(|known| is_name(known, name)),
                None => true,
            };
            match from_layout(&place.path, &wanted, host) {
                Err(ArchiveError::Empty) if place.name.is_some() => Vec::new(),
                other => other.map_err(|error| failed(&error))?,
            }
        }
        FileKind::OciArchive | FileKind::DockerArchive => {
            let file = File::open(&place.path)
                .map_err(|error| CommandError::input(format!("cannot open `{shown}`: {error}")))?;
            let file = unpack_bzip2_or_xz(file)
                .map_err(|error| CommandError::input(format!("cannot read `{shown}`: {error}")))?;
            read_archive(file, &host.store, ExpansionLimits::default()).map_err(|error| failed(&error))?
        }
    };
    let Some(name) = &place.name else { return Ok(found) };
    let matches = |image: &LoadedImage| {
        image.names.iter().map(ToString::to_string).chain(image.ref_name.clone()).any(|known| is_name(&known, name))
    };
    let chosen: Vec<LoadedImage> = found.into_iter().filter(matches).collect();
    if chosen.is_empty() {
        return Err(CommandError::input(format!("`{shown}` has no image called `{name}`")));
    }
    Ok(chosen)
}

/// The same for a file or directory of which one image is wanted: what it is, and its names there.
pub(super) fn one_from_files(place: &FilePlace, host: &Host) -> Result<(BlobDescriptor, Vec<Reference>), CommandError> {
    let mut found = from_files(place, host)?;
    let shown = place.path.display();
    if found.len() > 1 {
        let names: Vec<String> = found
            .iter()
            .flat_map(|image| image.names.iter().map(Reference::familiar).chain(image.ref_name.clone()))
            .collect();
        return Err(CommandError::input(format!("`{shown}` has {} images", found.len())).hint(format!(
            "write `{}:NAME`; there are {}",
            shown,
            names.join(", ")
        )));
    }
    let image = found.pop().ok_or_else(|| CommandError::input(format!("`{shown}` has no image")))?;
    let digest = descriptor_digest(&image.descriptor).map_err(|error| CommandError::input(error.to_string()))?;
    let media_type = image.descriptor.media_type().to_string();
    Ok((BlobDescriptor { media_type, digest, size_bytes: image.descriptor.size() }, image.names))
}

/// Reads those images of a layout in a directory for which `wanted` says so.
pub(super) fn from_layout(
    directory: &Path,
    wanted: &dyn Fn(&Descriptor) -> bool,
    host: &Host,
) -> Result<Vec<LoadedImage>, ArchiveError> {
    let document = |name: &str| {
        let mut bytes = Vec::new();
        // A byte more than the limit, which is then refused as too large.
        let read =
            File::open(directory.join(name)).and_then(|file| file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ArchiveError::NotAnImageArchive),
            Err(source) => Err(ArchiveError::File { file: name.to_owned(), source }),
        }
    };
    let open = |digest: &Digest| match File::open(directory.join(blob_path(digest))) {
        Ok(file) => Ok(Some(Box::new(file) as Box<dyn Read + Send>)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    read_layout_of(document(LAYOUT_FILE)?, &document(INDEX_FILE)?, &open, wanted, &host.store)
}

fn names_of(descriptor: &Descriptor) -> Vec<String> {
    let annotations = descriptor.annotations().clone().unwrap_or_default();
    [NAME_ANNOTATION, REF_NAME_ANNOTATION].iter().filter_map(|key| annotations.get(*key).cloned()).collect()
}

/// Whether `known`, a name in a layout, is what `asked` means: the same text, or the same image name.
fn is_name(known: &str, asked: &str) -> bool {
    let full = |text: &str| Reference::parse(text).map(|reference| reference.or_latest().to_string()).ok();
    known == asked || (known.contains(['/', ':']) && full(known).is_some_and(|known| Some(known) == full(asked)))
}
