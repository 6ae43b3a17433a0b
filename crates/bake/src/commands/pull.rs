//! `bake pull`.

use std::collections::BTreeMap;

use bake::cli::PullArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::measure::size;
use bake_oci::{Platform, Reference};
use bake_worker::Pulled;

use super::{age, transfer};
use crate::wiring::{Host, store_failed};

pub(crate) fn run(arguments: &PullArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    let reference = Reference::parse(&arguments.image).map_err(|error| CommandError::input(error.to_string()))?;
    let reference = reference.or_latest();
    let platform = match &arguments.platform {
        Some(text) => Platform::parse(text).map_err(|error| CommandError::usage(error.to_string()))?,
        None => Platform::host(),
    };
    let images = host.images(BTreeMap::new());
    let progress = transfer::progress(arguments.quiet, colour)?;
    let activity = progress.begin(transfer::label(format!("pulling {reference}")));

    let fetched = images.pull(&reference, &platform).and_then(|pulled| {
        transfer::side_by_side(&pulled.layers, |blob| images.fetch(blob, activity.id(), &progress)).map(|()| pulled)
    });
    let checked = fetched.map_err(|error| transfer::image_failed(&error)).and_then(|pulled| {
        check_platform(&pulled, &platform, arguments.platform.is_some(), &reference, colour)?;
        Ok(pulled)
    });
    let pulled = match checked {
        Ok(pulled) => pulled,
        Err(error) => {
            activity.failed(error.message());
            return Err(error);
        }
    };
    activity.done();
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
    crate::print(&format!("{}\n", pulled.descriptor.digest))
}

/// An image that is no index may be for another platform. Who asked for one gets that one or an error.
fn check_platform(
    pulled: &Pulled,
    wanted: &Platform,
    asked_for: bool,
    reference: &Reference,
    colour: Colour,
) -> Result<(), CommandError> {
    let offered = pulled.config.platform();
    if wanted.matches(&offered) {
        return Ok(());
    }
    let text = format!("the image `{}` is for {offered}, not for {wanted}", reference.familiar());
    if asked_for {
        return Err(CommandError::input(text));
    }
    transfer::say(&format!("{} {text}", colour.warning("warning:")));
    Ok(())
}
