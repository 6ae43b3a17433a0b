//! `bake copy`: images from place to place, byte for byte.
//!
//! From registry to registry nothing is unpacked, and nothing is written to the store; see [`bake_exporter::Relay`].
//! Between other places images go through the store, which forgets them unless it is the destination.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bake::cli::CopyArguments;
use bake::error::{CommandError, ErrorKind};
use bake::ui::colour::Colour;
use bake::ui::measure::size;
use bake::ui::progress::Progress;
use bake_exporter::{CopiedDocument, ImageTree, PushProgress, Relay, SendProgress};
use bake_graph::VertexId;
use bake_oci::layout::REF_NAME_ANNOTATION;
use bake_oci::manifest::descriptor;
use bake_oci::{ArchiveImage, Digest, Platform, Reference, write_docker_archive, write_oci_layout};
use bake_registry::Pushed;
use bake_solver::{BuildEvent, EventSink as _};
use bake_store::BlobDescriptor;

use super::place::{FileKind, FilePlace, Place};
use super::{bring, complete, save, stored, transfer};
use crate::wiring::{Host, store_failed};

/// How blobs are shown that are sent.
const SENDING: &str = "push";

pub(crate) fn run(arguments: &CopyArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let (source, destination) = (Place::parse(&arguments.source)?, Place::parse(&arguments.destination)?);
    if let Place::Registry(name) = &destination
        && name.digest().is_some()
    {
        return Err(CommandError::usage(format!("`{}` has a digest; a copy gets a tag", arguments.destination)));
    }
    let progress = Arc::new(transfer::progress(arguments.quiet, colour)?);
    let label = transfer::label(format!("copying {} to {}", arguments.source, arguments.destination));
    let (digest, told) = transfer::shown(&progress, label, |step| {
        let copying = Copying { host, platform: platform.as_ref(), progress: &progress, step };
        copying.copy(&source, &destination)
    })?;
    progress.finish(None);
    if !arguments.quiet {
        transfer::say(&format!("{} {}{told}", colour.done("copied"), arguments.destination));
    }
    crate::print(&format!("{digest}\n"))
}

/// One copy.
struct Copying<'a> {
    host: &'a Host,
    platform: Option<&'a Platform>,
    progress: &'a Arc<Progress>,
    step: VertexId,
}

/// An image in the store on its way.
struct Carried {
    target: BlobDescriptor,
    /// What it is called where it comes from.
    names: Vec<Reference>,
}

impl Copying<'_> {
    /// The digest of the copy, and what there is to tell of it.
    fn copy(&self, source: &Place, destination: &Place) -> Result<(Digest, String), CommandError> {
        if let (Place::Registry(from), Place::Registry(to)) = (source, destination) {
            let document = bring::resolve(from, self.platform, self.host)?;
            let (runtime, client) = self.host.network.start().map_err(|error| transfer::network_failed(&error))?;
            let relay = Relay { runtime, client, store: &self.host.store };
            let tree = relay.tree(from, document).map_err(|error| transfer::export_failed(&error))?;
            return self.push(&tree, from, to);
        }
        let carried = self.take(source)?;
        let tree = bring::tree_in_store(&carried.target, self.platform, self.host)?;
        let Some(root) = tree.documents.last() else {
            return Err(CommandError::internal("an image has no manifest"));
        };
        let target = bring::target_of(root);
        match destination {
            Place::Registry(to) => return self.push(&tree, to, to),
            Place::Store(name) => self.tag(&target, name)?,
            Place::Files(place) => self.write(&target, &carried.names, place)?,
        }
        Ok((target.digest, String::new()))
    }

    fn push(&self, tree: &ImageTree, from: &Reference, to: &Reference) -> Result<(Digest, String), CommandError> {
        let root = tree.documents.last().ok_or_else(|| CommandError::internal("an image has no manifest"))?;
        let counts = send(tree, from, to, self.host, self.progress, self.step)?;
        put_tag(root, to, self.host)?;
        Ok((root.digest.clone(), format!(" ({counts})")))
    }

    /// Brings the image into the store.
    fn take(&self, source: &Place) -> Result<Carried, CommandError> {
        match source {
            Place::Registry(reference) => {
                let document = bring::resolve(reference, self.platform, self.host)?;
                let target = bring::from_registry(reference, document, self.host, self.progress, self.step)?;
                let names = if reference.digest().is_none() { vec![reference.clone()] } else { Vec::new() };
                Ok(Carried { target, names })
            }
            Place::Store(name) => {
                let mut image = stored::find(&self.host.store, name)?;
                if let Some(platform) = self.platform {
                    image = image.only(platform)?;
                }
                image.hold(&self.host.store)?;
                let target = match bring::whole_in_store(&image.target, self.host)? {
                    Some(_) => image.target.clone(),
                    None => complete::with_blobs(&image, self.host, self.progress, self.step)?.descriptor,
                };
                let asked = Reference::parse(name).map(|name| name.or_latest()).ok();
                let names = asked.into_iter().filter(|name| image.references.contains(name)).collect();
                Ok(Carried { target, names })
            }
            Place::Files(place) => {
                let (target, names) = bring::one_from_files(place, self.host)?;
                Ok(Carried { target, names })
            }
        }
    }

    fn tag(&self, target: &BlobDescriptor, name: &str) -> Result<(), CommandError> {
        let reference = Reference::parse(name).map_err(|error| CommandError::usage(error.to_string()))?;
        if reference.digest().is_some() {
            return Err(CommandError::usage(format!("`{name}` has a digest, so it cannot be a tag")));
        }
        let image = stored::load(&self.host.store, target.clone(), Vec::new())?;
        let created = image.image().created().map_or(0, |created| created.seconds);
        let name = reference.or_latest().to_string();
        self.host.store.tag(&name, target, created).map_err(|error| store_failed(&error))?;
        Ok(())
    }

    fn write(&self, target: &BlobDescriptor, names: &[Reference], place: &FilePlace) -> Result<(), CommandError> {
        let mut described = descriptor(&target.media_type, &target.digest, target.size_bytes);
        let names = match &place.name {
            None => names.to_vec(),
            // In a layout any text is a name; in docker's archive it is that of an image.
            Some(name) if place.kind != FileKind::DockerArchive && !name.contains(['/', ':']) => {
                let annotations = [(REF_NAME_ANNOTATION.to_owned(), name.clone())];
                described.set_annotations(Some(annotations.into_iter().collect()));
                Vec::new()
            }
            Some(name) => {
                let reference = Reference::parse(name).map_err(|error| CommandError::usage(error.to_string()))?;
                vec![reference.or_latest()]
            }
        };
        let created = stored::load(&self.host.store, target.clone(), Vec::new()).ok();
        let created = created.and_then(|image| image.image().created());
        let images = [ArchiveImage { descriptor: described, names, created }];
        let store = &self.host.store;
        let path: &Path = &place.path;
        let failed = |error: &bake_oci::ArchiveError| CommandError::from_error(ErrorKind::Build, error);
        match place.kind {
            FileKind::Layout => transfer::exporter(self.host)
                .add_to_layout(&images, path)
                .map_err(|error| transfer::export_failed(&error)),
            FileKind::OciArchive => save::write_to(Some(path), |out| {
                write_oci_layout(&images, store, out).map(drop).map_err(|error| failed(&error))
            }),
            FileKind::DockerArchive => save::write_to(Some(path), |out| {
                write_docker_archive(&images, store, out).map(drop).map_err(|error| failed(&error))
            }),
        }
    }
}

/// Sends an image to a registry, without giving it a tag; what became of its blobs, in words.
pub(super) fn send(
    tree: &ImageTree,
    from: &Reference,
    to: &Reference,
    host: &Host,
    progress: &Arc<Progress>,
    step: VertexId,
) -> Result<String, CommandError> {
    let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
    let relay = Relay { runtime, client, store: &host.store };
    let counts: Arc<Mutex<BTreeMap<&'static str, u64>>> = Arc::default();
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let (counted, sent, display) = (Arc::clone(&counts), Arc::clone(&sent_bytes), Arc::clone(progress));
    let told: Arc<PushProgress> = Arc::new(move |digest: &Digest, size_bytes, how: &Pushed| {
        let (verb, shown) = match how {
            Pushed::Existed => ("there already", "there already"),
            Pushed::Mounted => ("mounted", "mounted"),
            Pushed::Uploaded => {
                sent.fetch_add(size_bytes, Ordering::Relaxed);
                ("new", SENDING)
            }
        };
        *counted.lock().unwrap_or_else(PoisonError::into_inner).entry(verb).or_default() += 1;
        let id = format!("{shown} {}", digest.short());
        display.send(BuildEvent::Transfer { step, id, current: size_bytes, total: Some(size_bytes) });
    });
    let display = Arc::clone(progress);
    let sending: Arc<SendProgress> = Arc::new(move |digest: &Digest, current, total| {
        let id = format!("{SENDING} {}", digest.short());
        display.send(BuildEvent::Transfer { step, id, current, total: Some(total) });
    });
    relay.send(tree, from, to, &sending, &told).map_err(|error| transfer::export_failed(&error))?;
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let blobs: Vec<String> = counts.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    Ok(format!("blobs: {}; {} sent", blobs.join(", "), size(sent_bytes.load(Ordering::Relaxed))))
}

/// Gives a document that is in a registry the tag of `to`.
pub(super) fn put_tag(document: &CopiedDocument, to: &Reference, host: &Host) -> Result<(), CommandError> {
    let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
    let relay = Relay { runtime, client, store: &host.store };
    relay.put(to, document, to.tag_or_latest()).map_err(|error| transfer::export_failed(&error))
}
