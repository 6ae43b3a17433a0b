//! `--iidfile` and `--metadata-file`: what is known about a result, for programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake_dockerfile::{Diagnostic, SourceText};
use serde_json::{Map, Value, json};

use super::ExportedImage;
use crate::build::target::Planned;
use crate::settings::BuildRequest;

/// What else is known about a build that succeeded.
#[derive(Debug)]
pub(in crate::build) struct BuildFacts<'a> {
    /// Its number in the journal, where it has one.
    pub(in crate::build) number: Option<i64>,
    /// The Dockerfile.
    pub(in crate::build) source: &'a SourceText,
    /// What the build checks found.
    pub(in crate::build) findings: &'a [Diagnostic],
    /// What is said of the images, by key.
    pub(in crate::build) attestations: &'a BTreeMap<String, Value>,
    /// What the image weighs.
    pub(in crate::build) measurement: Option<Value>,
}

/// Removes the file with the image ID of an earlier build, which nobody must take for that of this one if it fails.
pub(in crate::build) fn forget_results(request: &BuildRequest) {
    if let Some(path) = &request.iidfile
        && std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
    {
        // What cannot be removed is overwritten, or tells why it cannot be.
        let _ = std::fs::remove_file(path);
    }
}

/// The metadata files of a build: that of a request of its own, or one for all targets, with the name of each as a key.
#[derive(Debug, Default)]
pub(in crate::build) struct Results {
    files: BTreeMap<PathBuf, Map<String, Value>>,
}

impl Results {
    /// Adds what is known of a target, if that was asked for, and writes its image ID. Without an image there is none.
    pub(in crate::build) fn add(
        &mut self,
        target: &Planned<'_>,
        image: Option<&ExportedImage>,
        facts: &BuildFacts<'_>,
    ) -> Result<(), CommandError> {
        if let (Some(path), Some(image)) = (&target.request.iidfile, image) {
            write(path, image_id(image).as_bytes())?;
        }
        let Some(path) = &target.request.metadata_file else { return Ok(()) };
        let metadata = metadata(image, target.request, facts);
        let file = self.files.entry(path.clone()).or_default();
        if target.name.is_empty() {
            file.extend(metadata);
        } else {
            file.insert(target.name.to_owned(), metadata.into());
        }
        Ok(())
    }

    /// Writes the files.
    pub(in crate::build) fn write(self) -> Result<(), CommandError> {
        for (path, metadata) in self.files {
            let text = serde_json::to_vec_pretty(&metadata);
            let mut text = text.map_err(|error| CommandError::internal(error.to_string()))?;
            text.push(b'\n');
            write(&path, &text)?;
        }
        Ok(())
    }
}

fn metadata(image: Option<&ExportedImage>, request: &BuildRequest, facts: &BuildFacts<'_>) -> Map<String, Value> {
    let mut metadata = image.map(image_metadata).unwrap_or_default();
    if let Some(number) = facts.number {
        metadata.insert("buildx.build.ref".into(), format!("bake/bake/{number}").into());
    }
    metadata.extend(facts.attestations.clone());
    if let Some(measurement) = &facts.measurement {
        metadata.insert("bake.measure".into(), measurement.clone());
    }
    if request.metadata_warnings {
        let warnings = bake::ui::checks::warnings_json(facts.source, facts.findings);
        metadata.insert("buildx.build.warnings".into(), warnings);
    }
    metadata
}

/// The digest of the config, or of the index where there are several.
fn image_id(image: &ExportedImage) -> String {
    match image.stored.single() {
        Some(single) => single.config_digest.to_string(),
        None => image.digest().to_string(),
    }
}

fn image_metadata(image: &ExportedImage) -> Map<String, Value> {
    let stored = &image.stored;
    let digest = image.digest().to_string();
    let mut metadata = Map::new();
    if let [only] = stored.images.as_slice() {
        metadata.insert("containerimage.config.digest".into(), only.config_digest.to_string().into());
    }
    let mut descriptor = json!({
        "mediaType": stored.descriptor.media_type,
        "digest": digest,
        "size": stored.descriptor.size_bytes,
    });
    if !stored.annotations.is_empty() {
        descriptor["annotations"] = json!(stored.annotations);
    }
    if let Some(single) = stored.single() {
        descriptor["platform"] = json!(single.platform());
    }
    metadata.insert("containerimage.descriptor".into(), descriptor);
    metadata.insert("containerimage.digest".into(), digest.into());
    if !image.names.is_empty() {
        metadata.insert("image.name".into(), image.names.join(",").into());
    }
    metadata
}

fn write(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, content)
        .map_err(|error| CommandError::build(format!("cannot write `{}`: {error}", path.display())))
}
