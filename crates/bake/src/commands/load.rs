//! `bake load`.

use std::fs::File;
use std::io::{IsTerminal as _, Read};

use bake::cli::LoadArguments;
use bake::error::{CommandError, ErrorKind};
use bake_oci::manifest::descriptor_digest;
use bake_oci::{ArchiveError, ExpansionLimits, LoadedImage, Platform, read_archive};
use bake_store::BlobDescriptor;
use bake_worker::unpack_bzip2_or_xz;

use super::{bring, stored, transfer};
use crate::wiring::{Host, store_failed};

pub(crate) fn run(arguments: &LoadArguments, host: &Host) -> Result<(), CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let source = match &arguments.input {
        Some(path) => format!("`{}`", path.display()),
        None if std::io::stdin().is_terminal() => {
            return Err(CommandError::usage("an archive is expected on standard input, which is a terminal")
                .hint("name a file with `--input FILE`"));
        }
        None => "standard input".to_owned(),
    };
    let progress = transfer::progress(arguments.quiet, crate::settings::colour())?;
    let tagged = transfer::shown(&progress, transfer::label(format!("loading {source}")), |_| {
        let images = read(arguments, host).map_err(|error| match error {
            ReadError::Open(error) => CommandError::input(format!("cannot read {source}: {error}")),
            ReadError::Archive(error) => failed(&error, &source),
        })?;
        images.iter().map(|image| tag(image, platform.as_ref(), host)).collect::<Result<Vec<_>, _>>()
    });
    progress.finish(None);
    crate::print(&tagged?.concat().concat())
}

enum ReadError {
    Open(std::io::Error),
    Archive(ArchiveError),
}

fn read(arguments: &LoadArguments, host: &Host) -> Result<Vec<LoadedImage>, ReadError> {
    let input: Box<dyn Read + Send> = match &arguments.input {
        Some(directory) if directory.is_dir() => {
            return bring::from_layout(directory, &|_| true, host).map_err(ReadError::Archive);
        }
        Some(path) => Box::new(File::open(path).map_err(ReadError::Open)?),
        None => Box::new(std::io::stdin()),
    };
    let input = unpack_bzip2_or_xz(input).map_err(ReadError::Open)?;
    read_archive(input, &host.store, ExpansionLimits::default()).map_err(ReadError::Archive)
}

/// Gives an image the names that it has in the archive; what is to be told of it.
fn tag(image: &LoadedImage, platform: Option<&Platform>, host: &Host) -> Result<Vec<String>, CommandError> {
    let digest = descriptor_digest(&image.descriptor).map_err(|error| CommandError::input(error.to_string()))?;
    let media_type = image.descriptor.media_type().to_string();
    let target = BlobDescriptor { media_type, digest, size_bytes: image.descriptor.size() };
    let mut loaded = stored::load(&host.store, target, image.names.clone())?;
    if let Some(platform) = platform {
        loaded = loaded.only(platform)?;
    }
    let created = loaded.image().created().map_or(0, |created| created.seconds);
    for name in &image.names {
        let name = name.or_latest().to_string();
        host.store.tag(&name, &loaded.target, created).map_err(|error| store_failed(&error))?;
    }
    for (subject, referrer) in &image.referrers {
        let digest = descriptor_digest(referrer).map_err(|error| CommandError::input(error.to_string()))?;
        let media_type = referrer.media_type().to_string();
        let referrer = BlobDescriptor { media_type, digest, size_bytes: referrer.size() };
        host.store.attach(subject, &[referrer]).map_err(|error| store_failed(&error))?;
    }
    if image.names.is_empty() {
        return Ok(vec![format!("Loaded image ID: {}\n", loaded.image().config_digest)]);
    }
    Ok(image.names.iter().map(|name| format!("Loaded image: {}\n", name.or_latest().familiar())).collect())
}

fn failed(error: &ArchiveError, source: &str) -> CommandError {
    CommandError::from_error(ErrorKind::Input, error).context(format!("cannot load {source}"))
}
