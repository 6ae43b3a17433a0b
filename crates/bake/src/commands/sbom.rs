//! `bake sbom`: the packages in an image of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use bake::cli::{SbomArguments, SbomFormat};
use bake::error::CommandError;
use bake_graph::StepLabel;
use bake_oci::{DiffId, Platform, Reference, Timestamp};
use bake_sbom::{Inventory, Subject};

use super::stored::{self, StoredImage};
use super::table::{Table, shortened};
use super::{run, save, transfer};
use crate::settings;
use crate::wiring::Host;

/// How much of a licence fits into the table.
const LICENCE_LENGTH: usize = 60;

pub(crate) fn run(arguments: &SbomArguments, host: &Host) -> Result<(), CommandError> {
    let platform = arguments.platform.as_deref().map(Platform::parse).transpose();
    let platform = platform.map_err(|error| CommandError::usage(error.to_string()))?;
    let epoch = epoch()?;
    let image = stored::find(&host.store, &arguments.image)
        .map_err(|error| error.hint(format!("`bake pull {}` fetches it from its registry", arguments.image)))?
        .for_platform(platform.as_ref())?;
    let inventory = inventory(&image, host)?;
    for warning in &inventory.warnings {
        run::warn(format!("`/{}` is left out: {}", warning.path, warning.message));
    }
    let subject = subject(&image, &arguments.image, epoch);
    let bytes = match arguments.format {
        SbomFormat::Table => table(&inventory).into_bytes(),
        SbomFormat::SpdxJson => inventory.to_spdx(&subject),
        SbomFormat::CyclonedxJson => inventory.to_cyclonedx(&subject),
    };
    match &arguments.output {
        // A reader that has gone away is no failure.
        None => crate::print(&String::from_utf8_lossy(&bytes)),
        Some(path) => save::write_to(Some(path), |out| {
            out.write_all(&bytes)
                .map_err(|error| CommandError::build(format!("cannot write `{}`: {error}", path.display())))
        }),
    }
}

/// The time that the environment asks documents to have.
fn epoch() -> Result<Option<Timestamp>, CommandError> {
    let Some(text) = settings::variable("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.parse().map_err(|_| {
        CommandError::usage(format!("invalid `SOURCE_DATE_EPOCH={text}`: it must be a number of seconds since 1970"))
    })?;
    Ok(Some(Timestamp::from_seconds(seconds)))
}

fn inventory(image: &StoredImage, host: &Host) -> Result<Inventory, CommandError> {
    image.hold(&host.store)?;
    let images = Arc::new(host.images(BTreeMap::new()));
    let progress = transfer::progress(false, settings::colour())?;
    // Of no interest unless it takes long.
    let label = StepLabel { internal: true, ..transfer::label(format!("unpacking {}", image.name())) };
    let directories =
        transfer::shown(&progress, label, |step| run::directories(image, host, &images, &progress, step))?;
    progress.finish(None);
    let layers: Vec<DiffId> = image.image().layers.iter().map(|layer| layer.diff_id.clone()).collect();
    crate::sbom::inventory(&host.files(), &directories, &layers)
}

/// The image by the name it was asked for, or, asked for by ID, by the first it has.
fn subject(image: &StoredImage, asked: &str, epoch: Option<Timestamp>) -> Subject {
    let asked = Reference::parse(asked).ok().map(|name| name.or_latest());
    let name = asked.as_ref().filter(|name| image.references.contains(name)).or_else(|| image.references.first());
    let image = image.image();
    let created = epoch.or_else(|| image.created()).unwrap_or(Timestamp::EPOCH);
    Subject::image(name, &image.descriptor.digest, &image.config.platform(), created, env!("CARGO_PKG_VERSION"))
}

fn table(inventory: &Inventory) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "TYPE", "LICENCE"]);
    for package in inventory.packages() {
        let licence = shortened(&package.licences.join(" AND "), LICENCE_LENGTH);
        table.row([package.name.clone(), package.version.clone(), package.ecosystem.name().to_owned(), licence]);
    }
    table.render()
}
