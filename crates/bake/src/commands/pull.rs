//! `bake pull`.

use std::collections::BTreeMap;

use bake::cli::PullArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::measure::size;
use bake::ui::progress::Progress;
use bake_oci::{Platform, Reference};
use bake_worker::{NetworkError, Pulled};

use super::{age, transfer};
use crate::wiring::{Host, store_failed};

pub(crate) fn run(arguments: &PullArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    let asked = Reference::parse(&arguments.image).map_err(|error| CommandError::input(error.to_string()))?;
    let references = if arguments.all_tags { all_tags(&asked, host)? } else { vec![asked.or_latest()] };
    let options = PullOptions { platform: arguments.platform.as_deref(), quiet: arguments.quiet };
    for reference in references {
        let pulled = fetch(&reference, &options, host, colour)?;
        crate::print(&format!("{}\n", pulled.descriptor.digest))?;
    }
    Ok(())
}

/// All tags that the repository of `asked` has in its registry.
fn all_tags(asked: &Reference, host: &Host) -> Result<Vec<Reference>, CommandError> {
    if asked.tag().is_some() || asked.digest().is_some() {
        return Err(CommandError::usage("with `--all-tags` the name has neither tag nor digest"));
    }
    let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
    let tags = runtime.block_on(client.list_tags(asked));
    let tags = tags.map_err(|error| transfer::network_failed(&NetworkError::Registry(error)))?;
    if tags.is_empty() {
        return Err(CommandError::input(format!("the repository `{}` has no tags", asked.familiar_name())));
    }
    let named = |tag: &String| asked.with_tag(tag).map_err(|error| CommandError::build(error.to_string()));
    tags.iter().map(named).collect()
}

/// How an image is pulled.
pub(super) struct PullOptions<'a> {
    /// Without one, the image for this machine.
    pub(super) platform: Option<&'a str>,
    /// Nothing is shown.
    pub(super) quiet: bool,
}

/// Fetches an image into the store, and writes nothing to standard output.
pub(super) fn fetch(
    reference: &Reference,
    arguments: &PullOptions<'_>,
    host: &Host,
    colour: Colour,
) -> Result<Pulled, CommandError> {
    let platform = match &arguments.platform {
        Some(text) => Platform::parse(text).map_err(|error| CommandError::usage(error.to_string()))?,
        None => Platform::host(),
    };
    let images = host.images(BTreeMap::new());
    let progress = transfer::progress(arguments.quiet, colour)?;
    let pulled = transfer::shown(&progress, transfer::label(format!("pulling {reference}")), |step| {
        let pulled = images.pull(reference, &platform).map_err(|error| transfer::image_failed(&error))?;
        // Before anything large is fetched for nothing.
        check_platform(&pulled, &platform, arguments.platform.is_some(), reference, &progress)?;
        transfer::side_by_side(&pulled.layers, |blob| images.fetch(blob, step, &progress))
            .map_err(|error| transfer::image_failed(&error))?;
        Ok(pulled)
    })?;
    progress.finish(None);

    let created = age::parse(pulled.config.created.as_deref()).map_or(0, |created| created.seconds);
    host.store.tag(&reference.to_string(), &pulled.descriptor, created).map_err(|error| store_failed(&error))?;
    if !arguments.quiet {
        let bytes: u64 = pulled.layers.iter().map(|layer| layer.size).sum();
        let count = pulled.layers.len();
        let layers = if count == 1 { "layer" } else { "layers" };
        transfer::say(&format!(
            "{} {} ({count} {layers}, {})",
            colour.done("pulled"),
            reference.familiar(),
            size(bytes)
        ));
    }
    Ok(pulled)
}

/// An image that is no index may be for another platform. Who asked for one gets that one or an error.
fn check_platform(
    pulled: &Pulled,
    wanted: &Platform,
    asked_for: bool,
    reference: &Reference,
    progress: &Progress,
) -> Result<(), CommandError> {
    let offered = pulled.config.platform();
    if wanted.matches(&offered) {
        return Ok(());
    }
    let text = format!("the image `{}` is for {offered}, not for {wanted}", reference.familiar());
    if asked_for {
        return Err(CommandError::input(text));
    }
    progress.print(format!("{} {text}", progress.colour().warning("warning:")));
    Ok(())
}
