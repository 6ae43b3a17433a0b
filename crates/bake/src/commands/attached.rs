//! What the store keeps beside an image, when the image leaves it.

use std::sync::Arc;

use bake::error::CommandError;
use bake_exporter::{Attached, PushProgress, Pusher};
use bake_oci::{ArchiveImage, Digest, Image, Reference};

use super::stored::{PlatformImage, StoredImage};
use super::transfer;
use crate::wiring::Host;

/// What is said of `image`, as it is true of `sent`: the same images in the form in which they leave the store. What is bound to
/// the other form stays here, and that is told.
pub(super) fn carried_over(
    image: &StoredImage,
    sent: &[Image],
    names: &[Reference],
    host: &Host,
) -> Result<Vec<Attached>, CommandError> {
    let exporter = transfer::exporter(host);
    let mut attached = Vec::new();
    for (stored, sent) in image.platforms.iter().zip(sent) {
        let carried = exporter.carry_over(&stored.descriptor.digest, sent, names);
        let (carried, left) = carried.map_err(|error| transfer::export_failed(&error))?;
        for kind in left {
            transfer::say(&format!(
                "warning: {} has something of type `{kind}` beside it that is bound to the form in which the store has the \
                 image; it is left behind",
                image.name()
            ));
        }
        attached.extend(carried);
    }
    Ok(attached)
}

/// The images in the form in which the store has them.
pub(super) fn as_stored(image: &StoredImage) -> Vec<Image> {
    image.platforms.iter().map(PlatformImage::verbatim).collect()
}

/// Pushes what is said of `image`, which was pushed to `name` in the form of `sent`.
pub(super) fn push(image: &StoredImage, sent: &[Image], name: &Reference, host: &Host) -> Result<(), CommandError> {
    let attached = carried_over(image, sent, std::slice::from_ref(name), host)?;
    if attached.is_empty() {
        return Ok(());
    }
    let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
    let quiet: Arc<PushProgress> = Arc::new(|_, _, _| {});
    transfer::exporter(host)
        .push_attached(&attached, name, &Pusher::new(runtime, client), &quiet)
        .map_err(|error| transfer::export_failed(&error))
}

/// What is said of images, as entries of a layout.
pub(super) fn entries(attached: &[Attached]) -> Vec<ArchiveImage> {
    let entry = |attached: &Attached| ArchiveImage {
        descriptor: attached.descriptor.clone(),
        names: Vec::new(),
        created: None,
    };
    attached.iter().map(entry).collect()
}

/// The blobs of what is said of an image of the store.
pub(super) fn blobs(image: &StoredImage, host: &Host) -> Result<Vec<Digest>, CommandError> {
    let mut blobs = Vec::new();
    // With a lease of its own: what is only looked at must not count as being in use.
    let store = host.store.with_new_lease();
    for platform in &image.platforms {
        let attached = bake_exporter::attached_to(&store, &platform.descriptor.digest);
        for attached in attached.map_err(|error| transfer::export_failed(&error))? {
            blobs.push(attached.digest);
            blobs.extend(attached.blobs.into_iter().map(|(digest, _)| digest));
        }
    }
    Ok(blobs)
}
