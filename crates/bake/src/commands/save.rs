//! `bake save`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;

use bake::cli::{SaveArguments, SaveFormat};
use bake::error::{CommandError, ErrorKind};
use bake_oci::manifest::{descriptor, set_descriptor_platform};
use bake_oci::{ArchiveError, ArchiveImage, Reference, write_docker_archive, write_oci_layout};

use super::{attached, bring, complete, stored, transfer};
use crate::wiring::Host;

/// How much is collected before it is written.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) fn run(arguments: &SaveArguments, host: &Host) -> Result<(), CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    match (&arguments.output, arguments.format) {
        (None, SaveFormat::OciDir) => {
            return Err(CommandError::usage("a directory cannot be written to standard output")
                .hint("name one with `--output DIR`, or write an archive with `--format oci`"));
        }
        (None, _) if std::io::stdout().is_terminal() => {
            return Err(CommandError::usage("an archive is not written to a terminal")
                .hint("name a file with `--output FILE`, or redirect standard output"));
        }
        _ => {}
    }
    let progress = transfer::progress(false, crate::settings::colour())?;
    let mut images: Vec<ArchiveImage> = Vec::new();
    let mut beside: Vec<ArchiveImage> = Vec::new();
    for name in &arguments.images {
        let mut image = stored::find(&host.store, name)?;
        if let Some(platform) = &platform {
            image = image.only(platform)?;
        }
        let (blob, sent) = transfer::shown(&progress, transfer::label(format!("preparing {name}")), |step| {
            image.hold(&host.store)?;
            match bring::whole_in_store(&image.target, host)? {
                Some(_) => Ok((image.target.clone(), attached::as_stored(&image))),
                None => {
                    complete::with_blobs(&image, host, &progress, step).map(|stored| (stored.descriptor, stored.images))
                }
            }
        })?;
        let mut descriptor = descriptor(&blob.media_type, &blob.digest, blob.size_bytes);
        if bake_oci::media_type::is_manifest(&blob.media_type) {
            set_descriptor_platform(&mut descriptor, &image.image().config.platform());
        }
        // Asked for by name, an image gets that name only; by ID, none, as docker has it.
        let asked = Reference::parse(name).map(|name| name.or_latest()).ok();
        let names: Vec<Reference> = asked.into_iter().filter(|name| image.references.contains(name)).collect();
        let said = attached::carried_over(&image, &sent, &[], host)?;
        if arguments.format == SaveFormat::Docker && !said.is_empty() {
            transfer::say(&format!(
                "note: what is said of {name} has no place in a docker archive; `--format oci` keeps it"
            ));
        }
        for entry in attached::entries(&said) {
            if !beside.contains(&entry) {
                beside.push(entry);
            }
        }
        let created = image.image().created();
        match images.iter_mut().find(|other| other.descriptor.digest() == descriptor.digest()) {
            Some(other) => other.names.extend(names),
            None => images.push(ArchiveImage { descriptor, names, created }),
        }
    }
    if arguments.format != SaveFormat::Docker {
        images.extend(beside);
    }
    let output = arguments.output.as_deref();
    let failed = |error: ArchiveError| CommandError::from_error(ErrorKind::Build, &error);
    transfer::shown(&progress, transfer::label("writing the archive"), |_| match (arguments.format, output) {
        (SaveFormat::OciDir, Some(directory)) => {
            transfer::exporter(host).add_to_layout(&images, directory).map_err(|error| transfer::export_failed(&error))
        }
        (SaveFormat::Oci, _) => {
            write_to(output, |out| write_oci_layout(&images, &host.store, out).map(drop).map_err(failed))
        }
        _ => write_to(output, |out| write_docker_archive(&images, &host.store, out).map(drop).map_err(failed)),
    })?;
    progress.finish(None);
    Ok(())
}

/// Writes a file (complete, or not at all), or to standard output.
pub(super) fn write_to(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let place = path.map_or_else(|| "standard output".to_owned(), |path| format!("`{}`", path.display()));
    let cannot = |error: std::io::Error| CommandError::build(format!("cannot write {place}: {error}"));
    let Some(path) = path else {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock());
        write(&mut out)?;
        return out.flush().map_err(cannot);
    };
    // Devices and pipes are written to as they are.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(cannot)?);
        write(&mut out)?;
        return out.flush().map_err(cannot);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = (|| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial).map_err(cannot)?);
        write(&mut out)?;
        out.flush().map_err(cannot)?;
        std::fs::rename(&partial, path).map_err(cannot)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}
