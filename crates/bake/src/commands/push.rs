//! `bake push`.

use std::collections::HashMap;
use std::sync::Arc;

use bake::cli::PushArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::progress::Progress;
use bake_exporter::{Pusher, Stored};
use bake_oci::{Digest, Reference};

use super::stored::{self, StoredImage};
use super::{attached, bring, complete, copy, table, transfer};
use crate::push_progress;
use crate::wiring::{Host, store_failed};

pub(crate) fn run(arguments: &PushArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let asked = Reference::parse(&arguments.image).map_err(|error| CommandError::input(error.to_string()))?;
    if asked.digest().is_some() {
        return Err(CommandError::input(format!(
            "`{}` has a digest; only names with tags are pushed",
            arguments.image
        )));
    }
    let names = if arguments.all_tags { all_tags(&asked, host)? } else { vec![asked.or_latest()] };
    let progress = Arc::new(transfer::progress(arguments.quiet, colour)?);
    let mut digests = Vec::new();
    for name in names {
        let mut image = stored::find(&host.store, &name.to_string())?;
        if !image.references.contains(&name) {
            return Err(CommandError::input(format!("no such image: {}", arguments.image))
                .hint(format!("give the image {} a name with `bake tag`; the name says where it goes", image.name())));
        }
        if let Some(platform) = &platform {
            image = image.only(platform)?;
        }
        digests.push(push(&image, &name, host, &progress)?.to_string());
    }
    progress.finish(None);
    crate::print(&table::lines(&digests))
}

/// All names in the repository of `asked` that are in the store.
fn all_tags(asked: &Reference, host: &Host) -> Result<Vec<Reference>, CommandError> {
    if asked.tag().is_some() {
        return Err(CommandError::usage("with `--all-tags` the name has no tag"));
    }
    let tags = host.store.tags().map_err(|error| store_failed(&error))?;
    let known = tags.iter().filter_map(|tag| Reference::parse(&tag.reference).ok());
    let names: Vec<Reference> = known.filter(|name| name.name() == asked.name() && name.tag().is_some()).collect();
    if names.is_empty() {
        return Err(CommandError::input(format!("no tag of `{}` is here", asked.familiar_name())));
    }
    Ok(names)
}

fn push(image: &StoredImage, name: &Reference, host: &Host, progress: &Arc<Progress>) -> Result<Digest, CommandError> {
    image.hold(&host.store)?;
    if let Some(tree) = bring::whole_in_store(&image.target, host)?
        && let Some(root) = tree.documents.last()
    {
        // Where the image has another name in the same registry, that may be able to take its blobs over.
        let elsewhere = |other: &&Reference| other.registry() == name.registry() && other.name() != name.name();
        let from = image.references.iter().find(elsewhere).unwrap_or(name);
        transfer::shown(progress, transfer::label(format!("pushing {name}")), |step| {
            copy::send(&tree, from, name, host, progress, step)?;
            copy::put_tag(root, name, host)?;
            attached::push(image, &attached::as_stored(image), name, host)
        })?;
        return Ok(root.digest.clone());
    }
    // Layers that are directories become blobs. The registry is told that manifests are OCI's, so they have to be.
    let ready = transfer::shown(progress, transfer::label(format!("preparing {}", name.familiar())), |step| {
        complete::with_blobs(image, host, progress, step)
    })?;
    transfer::shown(progress, transfer::label(format!("pushing {name}")), |step| {
        let (sending, told) = push_progress::callbacks(&progress.transfers(step));
        let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
        let digest = transfer::exporter(host)
            .push(
                &ready,
                name,
                &Pusher::new(runtime, client).with_mount_from(other_holders(image, &ready, name)).with_sending(sending),
                &told,
            )
            .map_err(|error| transfer::export_failed(&error))?;
        attached::push(image, &ready.images, name, host)?;
        Ok(digest)
    })
}

/// Where the registry may have the layers: in the repository of another name of the image. A wrong guess costs nothing, since
/// the registry then opens the upload that is needed in any case.
fn other_holders(image: &StoredImage, ready: &Stored, name: &Reference) -> HashMap<Digest, String> {
    let elsewhere = |other: &&Reference| other.registry() == name.registry() && other.repository() != name.repository();
    let Some(other) = image.references.iter().find(elsewhere) else { return HashMap::new() };
    let layers = ready.images.iter().flat_map(|image| image.manifest.layers());
    let digests = layers.filter_map(|layer| bake_oci::manifest::descriptor_digest(layer).ok());
    digests.map(|digest| (digest, other.repository().to_owned())).collect()
}
