//! `bake inspect`.

use bake::cli::InspectArguments;
use bake::error::CommandError;
use bake::template::Absent;
use bake_oci::{Reference, Timestamp};
use serde_json::{Map, Value, json};

use super::stored::{self, StoredImage};
use super::{age, listing, transfer};
use crate::wiring::{Host, store_failed};

/// Fields that only some images have: templates may ask for them anywhere. The others print as docker prints them, whose
/// fields have types.
const ABSENT: Absent<'static> = Absent {
    optional: OPTIONAL,
    printed: &[
        ("Cmd", "[]"),
        ("Entrypoint", "[]"),
        ("Env", "[]"),
        ("ExposedPorts", "map[]"),
        ("Healthcheck", "<nil>"),
        ("Labels", "map[]"),
        ("OnBuild", "[]"),
        ("Shell", "[]"),
        ("StopSignal", ""),
        ("Variant", ""),
        ("Volumes", "map[]"),
    ],
};

const OPTIONAL: &[&str] = &[
    "Annotations",
    "ArgsEscaped",
    "ArtifactType",
    "ExposedPorts",
    "Healthcheck",
    "Interval",
    "MacAddress",
    "OnBuild",
    "OsVersion",
    "Platform",
    "Platforms",
    "Retries",
    "Shell",
    "StartInterval",
    "StartPeriod",
    "StopSignal",
    "StopTimeout",
    "Subject",
    "Timeout",
    "Variant",
];

pub(crate) fn run(arguments: &InspectArguments, host: &Host) -> Result<(), CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let mut described = Vec::new();
    let mut failure = None;
    for name in &arguments.images {
        let found = stored::find(&host.store, name).and_then(|image| image.for_platform(platform.as_ref()));
        match found.and_then(|image| describe(&image, host)) {
            Ok(description) => described.push(description),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let mut text = String::new();
    match &arguments.format {
        Some(template) => {
            for description in &described {
                text.push_str(&listing::evaluate(template, description, &ABSENT)?);
                text.push('\n');
            }
        }
        None => text = pretty(&described)?,
    }
    crate::print(&text)?;
    failure.map_or(Ok(()), Err)
}

/// JSON as docker indents it.
pub(super) fn pretty(value: &impl serde::Serialize) -> Result<String, CommandError> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    let written = serde::Serialize::serialize(value, &mut serializer);
    written.map_err(|error| CommandError::internal(error.to_string()))?;
    text.push(b'\n');
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The fields of `docker image inspect`, and the manifest.
fn describe(image: &StoredImage, host: &Host) -> Result<Value, CommandError> {
    let platform = image.image();
    let config = &platform.config;
    let mut described = json!({
        "Id": platform.config_digest.to_string(),
        "RepoTags": image.tags(),
        "RepoDigests": image.pinned_names(),
        "Parent": "",
        "Comment": config.history.last().map(|entry| entry.comment.as_str()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author,
        "Config": container_config(&listing::value(&config.config)?),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": platform.size_bytes(),
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Metadata": { "LastTagTime": last_tagged(image, host)? },
        "Descriptor": listing::value(&image.target)?,
        "Manifest": serde_json::from_slice::<Value>(&platform.manifest_bytes)
            .map_err(|error| CommandError::internal(format!("cannot describe an image: {error}")))?,
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

/// The container config with the fields that docker always shows.
fn container_config(config: &Value) -> Value {
    let mut shown = Map::new();
    for name in ["User", "WorkingDir"] {
        shown.insert(name.to_owned(), json!(""));
    }
    for name in ["Env", "Cmd", "Entrypoint", "Volumes", "OnBuild", "Labels"] {
        shown.insert(name.to_owned(), Value::Null);
    }
    shown.extend(config.as_object().cloned().unwrap_or_default());
    Value::Object(shown)
}

/// When a name was last given to the image; docker's zero time for one without.
fn last_tagged(image: &StoredImage, host: &Host) -> Result<String, CommandError> {
    let mut last = None;
    for reference in &image.references {
        let tag = host.store.resolve(&reference.to_string()).map_err(|error| store_failed(&error))?;
        last = last.max(tag.map(|tag| tag.tagged_unix_s));
    }
    let zero = || "0001-01-01T00:00:00Z".to_owned();
    Ok(last.map_or_else(zero, |seconds| age::exact(Some(Timestamp::from_seconds(seconds)))))
}

impl StoredImage {
    /// Its names with tags, in the short form.
    pub(super) fn tags(&self) -> Vec<String> {
        let tagged = self.references.iter().filter(|name| name.tag().is_some() && name.digest().is_none());
        tagged.map(Reference::familiar).collect()
    }

    /// Its repositories with its digest, in the short form.
    pub(super) fn pinned_names(&self) -> Vec<String> {
        let pinned = self.references.iter().map(|name| format!("{}@{}", name.familiar_name(), self.target.digest));
        let mut pinned: Vec<String> = pinned.collect();
        pinned.sort();
        pinned.dedup();
        pinned
    }
}
