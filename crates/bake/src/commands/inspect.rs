//! `bake inspect`.

use bake::cli::InspectArguments;
use bake::error::CommandError;
use bake_oci::Reference;
use serde_json::{Value, json};

use super::stored::{self, StoredImage};
use crate::wiring::Host;

pub(crate) fn run(arguments: &InspectArguments, host: &Host) -> Result<(), CommandError> {
    if arguments.format != "json" {
        return Err(CommandError::usage(format!("the format `{}` is not supported; only `json` is", arguments.format))
            .hint("use `jq` to pick fields, for example `bake inspect IMAGE | jq -r '.[0].Id'`"));
    }
    let mut described = Vec::new();
    let mut failure = None;
    for name in &arguments.images {
        match stored::find(&host.store, name) {
            Ok(image) => described.push(describe(&image)?),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    let written = serde::Serialize::serialize(&described, &mut serializer);
    written.map_err(|error| CommandError::internal(error.to_string()))?;
    text.push(b'\n');
    crate::print(&String::from_utf8_lossy(&text))?;
    failure.map_or(Ok(()), Err)
}

/// The fields of `docker inspect` that are known without running anything, and the manifest.
fn describe(image: &StoredImage) -> Result<Value, CommandError> {
    let platform = image.image();
    let value = |value: Result<Value, serde_json::Error>| {
        value.map_err(|error| CommandError::internal(format!("cannot describe an image: {error}")))
    };
    let tags: Vec<String> = image
        .references
        .iter()
        .filter(|reference| reference.tag().is_some() && reference.digest().is_none())
        .map(Reference::familiar)
        .collect();
    let mut digests: Vec<String> = image
        .references
        .iter()
        .map(|reference| format!("{}@{}", reference.familiar_name(), image.target.digest))
        .collect();
    digests.dedup();
    let config = &platform.config;
    let mut described = json!({
        "Id": platform.config_digest.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": config.history.last().map(|entry| entry.comment.as_str()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author,
        "Config": value(serde_json::to_value(&config.config))?,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": platform.size_bytes(),
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Descriptor": value(serde_json::to_value(&image.target))?,
        "Manifest": value(serde_json::from_slice(&platform.manifest_bytes))?,
    });
    for (name, optional) in [("Variant", &config.variant), ("OsVersion", &config.os_version)] {
        if let Some(text) = optional {
            described[name] = json!(text);
        }
    }
    if image.platforms.len() > 1 {
        let names: Vec<String> = image.platforms.iter().map(|other| other.config.platform().to_string()).collect();
        described["Platforms"] = json!(names);
    }
    Ok(described)
}
