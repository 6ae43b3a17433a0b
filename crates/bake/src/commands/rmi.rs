//! `bake rmi`.

use std::collections::BTreeSet;

use bake::cli::RemoveImageArguments;
use bake::error::CommandError;
use bake_oci::manifest::descriptor_digest;
use bake_oci::{Digest, Reference};
use bake_store::{ItemKind, PruneFilter, PruneOptions, Store};

use super::stored::{self, StoredImage};
use super::{attached, table, transfer};
use crate::wiring::{Host, store_failed};

/// Removes names, and images without any: their manifests, configs and layer blobs, as far as nothing else needs them.
/// Unpacked layers and what else the build cache needs stay.
pub(crate) fn run(arguments: &RemoveImageArguments, host: &Host) -> Result<(), CommandError> {
    // With a lease that ends before anything is deleted: what is only looked at must not count as being in use.
    let store = host.store.with_new_lease();
    let mut removal = Removal { store, force: arguments.force, lines: Vec::new(), nameless: Vec::new() };
    let mut failure = None;
    for name in &arguments.images {
        if let Err(error) = removal.remove(name) {
            failure = failure.or(Some(error));
        }
    }
    let Removal { store, mut lines, nameless, .. } = removal;
    drop(store);
    if !arguments.no_prune && !nameless.is_empty() {
        match delete(&nameless, host) {
            Ok(deleted) => lines.extend(deleted),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    crate::print(&table::lines(&lines))?;
    failure.map_or(Ok(()), Err)
}

struct Removal {
    store: Store,
    force: bool,
    /// What is told, in docker's words.
    lines: Vec<String>,
    /// Images that lost their last name.
    nameless: Vec<StoredImage>,
}

impl Removal {
    fn remove(&mut self, name: &str) -> Result<(), CommandError> {
        // Before the name goes, for afterwards the image can only be found by looking at every manifest.
        let found = stored::find(&self.store, name);
        // A name is removed even where what it names is damaged.
        if let Ok(reference) = Reference::parse(name)
            && self.untag(&reference.or_latest())?
        {
            if let Ok(image) = found {
                self.lost_names(image, &[reference.or_latest()]);
            }
            return Ok(());
        }
        let image = match found {
            Ok(image) => image,
            Err(error) if self.force => {
                transfer::say(&format!("warning: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // `repository@sha256:...` means the names in that repository.
        let repository = name.split_once('@').and_then(|(repository, _)| Reference::parse(repository).ok());
        let meant = |reference: &&Reference| repository.as_ref().is_none_or(|wanted| wanted.name() == reference.name());
        let names: Vec<Reference> = image.references.iter().filter(meant).cloned().collect();
        let repositories: BTreeSet<String> = names.iter().map(Reference::name).collect();
        if !self.force && (repositories.len() > 1 || (names.len() > 1 && repository.is_none())) {
            let names: Vec<String> = names.iter().map(Reference::familiar).collect();
            return Err(CommandError::input(format!("the image {name} has several names: {}", names.join(", ")))
                .hint("name the one to remove, or remove all of them with `--force`"));
        }
        for reference in &names {
            self.untag(reference)?;
        }
        self.lost_names(image, &names);
        Ok(())
    }

    fn untag(&mut self, reference: &Reference) -> Result<bool, CommandError> {
        let there = self.store.untag(&reference.to_string()).map_err(|error| store_failed(&error))?.is_some();
        if there {
            self.lines.push(format!("Untagged: {}", reference.familiar()));
        }
        Ok(there)
    }

    /// What becomes of an image that lost `names`.
    fn lost_names(&mut self, image: StoredImage, names: &[Reference]) {
        let left: Vec<&Reference> = image.references.iter().filter(|name| !names.contains(name)).collect();
        let same_repository =
            |pinned: &String| left.iter().any(|name| pinned.starts_with(&(name.familiar_name() + "@")));
        let gone = image.pinned_names().into_iter().filter(|pinned| !same_repository(pinned));
        let lost = names.iter().map(Reference::familiar_name).collect::<BTreeSet<_>>();
        let gone = gone.filter(|pinned| pinned.split_once('@').is_some_and(|(name, _)| lost.contains(name)));
        self.lines.extend(gone.map(|pinned| format!("Untagged: {pinned}")));
        if left.is_empty() {
            self.nameless.push(image);
        }
    }
}

/// Deletes what nothing needs any more of the manifests, configs and layer blobs of `images`; the lines that tell of it.
fn delete(images: &[StoredImage], host: &Host) -> Result<Vec<String>, CommandError> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for image in images {
        wanted.insert(image.target.digest.to_string());
        wanted.extend(attached::blobs(image, host)?.iter().map(Digest::to_string));
        for platform in &image.platforms {
            let layers = platform.layers.iter().filter_map(|layer| descriptor_digest(&layer.descriptor).ok());
            let documents = [platform.config_digest.clone(), platform.descriptor.digest.clone()];
            wanted.extend(layers.chain(documents).map(|digest: Digest| digest.to_string()));
            ids.insert(platform.config_digest.to_string());
        }
    }
    let filter = PruneFilter::new(move |item| item.kind == ItemKind::Blob && wanted.contains(&item.id));
    let options = PruneOptions { filters: vec![filter], ..PruneOptions::default() };
    let report = host.store.prune(&options).map_err(|error| store_failed(&error))?;
    let deleted: Vec<&str> = report.removed.iter().map(|item| item.id.as_str()).collect();
    let (images, blobs): (Vec<&str>, Vec<&str>) = deleted.into_iter().partition(|id| ids.contains(*id));
    Ok(images.into_iter().chain(blobs).map(|id| format!("Deleted: {id}")).collect())
}
