//! `bake attestations`: what is said of an image, in the local store or in its registry.

use bake::cli::AttestationsArguments;
use bake::error::{CommandError, ErrorKind};
use bake::ui::measure::size;
use bake_attest::{CYCLONEDX, SLSA_PROVENANCE_V1, SPDX, Statement, predicate_of};
use bake_oci::manifest::{Descriptor, ImageManifest, descriptor, descriptor_digest, descriptor_platform};
use bake_oci::{Digest, Document, ImageConfig, Platform, Reference, media_type};
use serde::Serialize;

use super::table::{Table, json_lines};
use super::{listing, stored, transfer};
use crate::wiring::{Host, store_failed};

/// The largest manifest or index.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// The largest image config.
const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// The largest statement.
const STATEMENT_BYTES_MAX: u64 = 128 << 20;
/// What ties a manifest in an index to the image that it is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

const HEADINGS: &[(&str, &str)] =
    &[("Type", "TYPE"), ("Platform", "PLATFORM"), ("Size", "SIZE"), ("Digest", "DIGEST"), ("Form", "FORM")];

pub(crate) fn run(arguments: &AttestationsArguments, host: &Host) -> Result<(), CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let (source, root) =
        if arguments.remote { remote(&arguments.image, host)? } else { local(&arguments.image, host)? };
    let mut found = source.all(root)?;
    if let Some(wanted) = &platform {
        found.retain(|found| found.platform.as_ref().is_some_and(|platform| wanted.matches(platform)));
    }
    if let Some(kind) = &arguments.show {
        return show(&source, &found, kind, &arguments.image);
    }
    let rows: Vec<Row> = found.iter().map(Found::row).collect();
    crate::print(&listing::render(&rows, HEADINGS, &arguments.format, || table(&rows))?)
}

/// Something that is said: one layer of a manifest, or a manifest whose layers are of another kind.
struct Found {
    predicate: Option<String>,
    artifact_type: String,
    platform: Option<Platform>,
    layer: Option<(Digest, u64)>,
    manifest: Digest,
    size_bytes: u64,
    in_index: bool,
}

/// The same for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "Type")]
    kind: String,
    platform: String,
    size: String,
    /// The manifest that holds it.
    digest: String,
    form: &'static str,
    predicate_type: Option<String>,
    artifact_type: String,
}

impl Found {
    fn row(&self) -> Row {
        Row {
            kind: self.predicate.as_deref().map_or_else(|| self.artifact_type.clone(), |kind| short(kind).to_owned()),
            platform: self.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
            size: size(self.size_bytes),
            digest: self.manifest.to_string(),
            form: if self.in_index { "index" } else { "referrer" },
            predicate_type: self.predicate.clone(),
            artifact_type: self.artifact_type.clone(),
        }
    }

    fn is_of(&self, kind: &str) -> bool {
        self.predicate.as_deref().is_some_and(|predicate| predicate == kind || short(predicate) == kind)
    }
}

/// The word for a predicate; one without a word is called by its address.
fn short(predicate: &str) -> &str {
    match predicate {
        SLSA_PROVENANCE_V1 | "https://slsa.dev/provenance/v0.2" => "provenance",
        SPDX | CYCLONEDX => "sbom",
        other => other,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["TYPE", "PLATFORM", "SIZE", "DIGEST"]);
    for row in rows {
        table.row([row.kind.clone(), row.platform.clone(), row.size.clone(), row.digest.clone()]);
    }
    table
}

fn show(source: &Source<'_>, found: &[Found], kind: &str, image: &str) -> Result<(), CommandError> {
    let mut statements = Vec::new();
    for found in found.iter().filter(|found| found.is_of(kind)) {
        let Some((digest, size_bytes)) = &found.layer else { continue };
        let bytes = source.blob(digest, *size_bytes, STATEMENT_BYTES_MAX)?;
        statements.push(Statement::parse(&bytes).map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?);
    }
    if statements.is_empty() {
        return Err(CommandError::input(format!("nothing of kind `{kind}` is said of `{image}`"))
            .hint("`bake attestations` without `--show` lists what is said"));
    }
    crate::print(&json_lines(&statements)?)
}

/// Where an image and what is said of it are.
enum Source<'a> {
    Store(&'a Host),
    Registry(&'a Host, Reference),
}

/// The manifest or index that a name means.
struct Root {
    digest: Digest,
    document: Document,
}

fn local<'a>(name: &str, host: &'a Host) -> Result<(Source<'a>, Root), CommandError> {
    let image = stored::find(&host.store, name)
        .map_err(|error| error.hint(format!("`bake attestations --remote {name}` asks the registry")))?;
    let source = Source::Store(host);
    let target = descriptor(&image.target.media_type, &image.target.digest, image.target.size_bytes);
    let document = source.document(&target)?;
    let digest = image.target.digest;
    document.map(|document| (source, Root { digest, document })).ok_or_else(|| missing(name))
}

fn remote<'a>(name: &str, host: &'a Host) -> Result<(Source<'a>, Root), CommandError> {
    let reference = Reference::parse(name).map_err(|error| CommandError::input(error.to_string()))?.or_latest();
    let resolved = host.network.resolve(&reference).map_err(|error| transfer::network_failed(&error))?;
    let announced = resolved.descriptor.media_type().to_string();
    let document = Document::parse(&resolved.bytes, Some(&announced)).map_err(|error| invalid(&error))?;
    Ok((Source::Registry(host, reference), Root { digest: resolved.digest, document }))
}

fn missing(name: &str) -> CommandError {
    CommandError::build(format!("the manifest of `{name}` is not in the store"))
}

fn invalid(error: &bake_oci::ManifestError) -> CommandError {
    CommandError::from_error(ErrorKind::Build, error)
}

impl Source<'_> {
    /// Everything that is said of the images of `root`.
    fn all(&self, root: Root) -> Result<Vec<Found>, CommandError> {
        let mut found = Vec::new();
        match root.document {
            Document::Manifest(manifest) => self.about(&root.digest, self.platform(&manifest)?.as_ref(), &mut found)?,
            Document::Index(index) => {
                let platform = |digest: &str| {
                    let image = index.manifests().iter().find(|child| child.digest().to_string() == digest)?;
                    descriptor_platform(image)
                };
                for child in index.manifests() {
                    let annotations = child.annotations().clone().unwrap_or_default();
                    if let Some(subject) = annotations.get(REFERENCE_DIGEST) {
                        self.said_by(child, platform(subject), true, &mut found)?;
                        continue;
                    }
                    let digest = descriptor_digest(child).map_err(|error| CommandError::build(error.to_string()))?;
                    self.about(&digest, descriptor_platform(child).as_ref(), &mut found)?;
                }
                self.about(&root.digest, None, &mut found)?;
            }
        }
        // A manifest that an index names and that names its subject too is found both ways.
        let mut seen = std::collections::HashSet::new();
        found.retain(|found| seen.insert((found.manifest.clone(), found.layer.clone())));
        Ok(found)
    }

    /// What names the manifest `subject` as its own.
    fn about(&self, subject: &Digest, platform: Option<&Platform>, found: &mut Vec<Found>) -> Result<(), CommandError> {
        for referrer in self.referrers(subject)? {
            self.said_by(&referrer, platform.cloned(), false, found)?;
        }
        Ok(())
    }

    fn said_by(
        &self,
        named: &Descriptor,
        platform: Option<Platform>,
        in_index: bool,
        found: &mut Vec<Found>,
    ) -> Result<(), CommandError> {
        let digest = descriptor_digest(named).map_err(|error| CommandError::build(error.to_string()))?;
        // Of an index that was pulled, only the image may be there.
        let Some(Document::Manifest(manifest)) = self.document(named)? else { return Ok(()) };
        let config_type = || manifest.config().media_type().to_string();
        let artifact_type = manifest.artifact_type().as_ref().map_or_else(config_type, ToString::to_string);
        let statements = manifest.layers().iter().filter(|layer| layer.media_type().to_string() == media_type::IN_TOTO);
        let before = found.len();
        for layer in statements {
            let blob = descriptor_digest(layer).map_err(|error| CommandError::build(error.to_string()))?;
            found.push(Found {
                predicate: predicate_of(layer).map(str::to_owned),
                artifact_type: artifact_type.clone(),
                platform: platform.clone(),
                layer: Some((blob, layer.size())),
                manifest: digest.clone(),
                size_bytes: layer.size(),
                in_index,
            });
        }
        if found.len() == before {
            let size_bytes = manifest.layers().iter().map(Descriptor::size).sum();
            let (predicate, layer, manifest) = (None, None, digest);
            found.push(Found { predicate, artifact_type, platform, layer, manifest, size_bytes, in_index });
        }
        Ok(())
    }

    /// What an image is for, by its config; nothing where that is no config of an image.
    fn platform(&self, manifest: &ImageManifest) -> Result<Option<Platform>, CommandError> {
        let config = manifest.config();
        let digest = descriptor_digest(config).map_err(|error| CommandError::build(error.to_string()))?;
        let bytes = self.blob(&digest, config.size(), CONFIG_BYTES_MAX)?;
        Ok(ImageConfig::parse(&bytes).ok().map(|config| config.platform()))
    }

    fn document(&self, named: &Descriptor) -> Result<Option<Document>, CommandError> {
        let digest = descriptor_digest(named).map_err(|error| CommandError::build(error.to_string()))?;
        let bytes = match self {
            Self::Store(host) => {
                host.store.read_small_blob(&digest, DOCUMENT_BYTES_MAX).map_err(|error| store_failed(&error))?
            }
            Self::Registry(host, reference) => {
                Some(host.network.manifest(reference, &digest).map_err(|error| transfer::network_failed(&error))?)
            }
        };
        let announced = named.media_type().to_string();
        bytes.map(|bytes| Document::parse(&bytes, Some(&announced)).map_err(|error| invalid(&error))).transpose()
    }

    fn blob(&self, digest: &Digest, size_bytes: u64, limit: u64) -> Result<Vec<u8>, CommandError> {
        match self {
            Self::Store(host) => {
                let bytes = host.store.read_small_blob(digest, limit).map_err(|error| store_failed(&error))?;
                bytes.ok_or_else(|| CommandError::build(format!("blob {digest} is not in the store")))
            }
            Self::Registry(host, reference) => host
                .network
                .small_blob(reference, digest, size_bytes, limit)
                .map_err(|error| transfer::network_failed(&error)),
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, CommandError> {
        match self {
            Self::Store(host) => {
                let attached = bake_exporter::attached_to(&host.store, subject);
                let attached = attached.map_err(|error| transfer::export_failed(&error))?;
                Ok(attached.into_iter().map(|attached| attached.descriptor).collect())
            }
            Self::Registry(host, reference) => {
                let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
                runtime
                    .block_on(client.referrers(reference, subject, None))
                    .map_err(|error| transfer::network_failed(&error.into()))
            }
        }
    }
}
