//! The image config: what `docker inspect` shows and what a container starts with (OCI image spec, "Image Configuration").
//!
//! It is a type of its own because `oci-spec`'s drops `Healthcheck`, `OnBuild`, `Shell`, `ArgsEscaped` and every field
//! it does not know. Fields are written in Go's order and maps are sorted, so equal configs give equal bytes; fields
//! this type does not know are kept in `extra`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::digest::{ChainId, DiffId};
use crate::json::{CONFIG_BYTES_MAX, JsonError, parse_json};
use crate::manifest::LAYERS_MAX;
use crate::platform::Platform;

/// The most history entries of a config; Docker itself stops at 127 layers, history can be a few times longer.
pub const HISTORY_MAX: usize = 16_384;

/// Why bytes are not an image config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, not the shape of a config, or too long.
    #[error("Failed to read the image config")]
    Json(#[from] JsonError),
    /// A list is longer than any image needs.
    #[error("the image config has {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How long it is.
        count: usize,
        /// How long it may be.
        limit: usize,
    },
    /// `rootfs.type` is not `layers`.
    #[error("the image config's rootfs type is `{0}`, not `layers`")]
    RootFsType(String),
}

/// The config of an image for one platform.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339; see [`crate::time::Timestamp`]. Kept as text so that a base image's spelling survives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The maintainer.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Go's name of the architecture.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// Go's name of the operating system.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// The version of the operating system (Windows).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have (Windows).
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// The variant of the architecture, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What a container starts with.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// The layers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
    /// One entry for each instruction, oldest first.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields this type does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl ImageConfig {
    /// An empty config for `platform`.
    pub fn for_platform(platform: &Platform) -> Self {
        let mut config = Self::default();
        config.set_platform(platform);
        config
    }

    /// Parses the bytes of a config blob of at most [`CONFIG_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = parse_json(bytes, "image config", CONFIG_BYTES_MAX)?;
        let (layers, history) = (config.rootfs.diff_ids.len(), config.history.len());
        if layers > LAYERS_MAX {
            return Err(ConfigError::TooMany { what: "layers", count: layers, limit: LAYERS_MAX });
        }
        if history > HISTORY_MAX {
            return Err(ConfigError::TooMany { what: "history entries", count: history, limit: HISTORY_MAX });
        }
        if config.rootfs.kind != "layers" {
            return Err(ConfigError::RootFsType(config.rootfs.kind.chars().take(64).collect()));
        }
        Ok(config)
    }

    /// The bytes of the config blob: compact JSON in Go's field order.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ConfigError> {
        serde_json::to_vec(self).map_err(|source| JsonError::Write { source }.into())
    }

    /// What the image runs on, as the config spells it.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }

    /// Sets operating system, architecture and variant.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.os.clone_from(&platform.os);
        self.architecture.clone_from(&platform.architecture);
        self.variant.clone_from(&platform.variant);
        self.os_version.clone_from(&platform.os_version);
        self.os_features.clone_from(&platform.os_features);
    }

    /// The identity of all layers together; `None` for an image without layers.
    pub fn chain_id(&self) -> Option<ChainId> {
        ChainId::of(&self.rootfs.diff_ids)
    }

    /// The number of history entries that stand for a layer.
    pub fn history_layers(&self) -> usize {
        self.history.iter().filter(|entry| !entry.empty_layer).count()
    }
}

/// What a container of the image starts with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports such as `80/tcp`.
    #[serde(default, with = "set_as_map", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The default arguments, or the command when there is no entry point.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that get a volume.
    #[serde(default, with = "set_as_map", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// The directory the program starts in.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the container.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows: the command is one string that is escaped already.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// How to see whether the container works; an extension of Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions to run when the image is a base; an extension of Docker.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// The shell of shell-form instructions; an extension of Docker.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Fields this type does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl ContainerConfig {
    /// The value of an environment variable; the last one counts.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable, in its old place if there was one.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let is_same = |old: &&mut String| old.split('=').next() == Some(name);
        match self.env.iter_mut().find(is_same) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

/// How to see whether a container works. Times are nanoseconds; zero means "inherit" or the default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`, `CMD` and arguments, or `CMD-SHELL` and a command.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between checks, in nanoseconds.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time a check may take, in nanoseconds.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time the container has to start, in nanoseconds.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between checks while the container starts, in nanoseconds.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Fields this type does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The layers of an image by their diff IDs, base first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers_kind", deserialize_with = "null_as_layers")]
    pub kind: String,
    /// Written even when empty: Docker refuses a config without the field.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers_kind(), diff_ids: Vec::new() }
    }
}

/// One line of `docker history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When the step ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// The author.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Which builder made it.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the instruction made no layer.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
    /// Fields this type does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

fn layers_kind() -> String {
    "layers".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Go writes nil slices and maps as `null`; they mean the same as a missing field.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn null_as_layers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(layers_kind))
}

/// Go writes sets as objects with an empty object for each member.
mod set_as_map {
    use std::collections::BTreeSet;
    use std::fmt;

    use serde::de::{IgnoredAny, MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Empty {}

    pub(super) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|member| (member, Empty {})))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
        let set: Option<Keys> = Option::deserialize(deserializer)?;
        Ok(set.map(|keys| keys.0).unwrap_or_default())
    }

    /// The keys of an object, whatever its values are.
    struct Keys(BTreeSet<String>);

    impl<'de> Deserialize<'de> for Keys {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(KeysVisitor)
        }
    }

    struct KeysVisitor;

    impl<'de> Visitor<'de> for KeysVisitor {
        type Value = Keys;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
            let mut keys = BTreeSet::new();
            while let Some((key, IgnoredAny)) = map.next_entry()? {
                keys.insert(key);
            }
            Ok(Keys(keys))
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn configs_round_trip_with_unknown_fields_and_nulls() {
        let text = r#"{"created":"2024-01-02T03:04:05.06Z","architecture":"arm","os":"linux","variant":"v7",
            "docker_version":"20.10","container_config":{"Hostname":"x"},
            "config":{"Hostname":"abc","User":"","ExposedPorts":{"80/tcp":{},"443/tcp":{}},"Env":["PATH=/bin","A=1"],
            "Cmd":["sh"],"Entrypoint":null,"Volumes":null,"WorkingDir":"/w","Labels":null,"OnBuild":["RUN x"],
            "Shell":["/bin/bash","-c"],"StopSignal":"SIGINT","ArgsEscaped":true,
            "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"Retries":3,"Future":1}},
            "rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"/bin/sh -c #(nop) X","empty_layer":true}]}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.env_value("A"), Some("1"));
        assert_eq!(config.config.exposed_ports.len(), 2);
        assert_eq!(config.config.extra["Hostname"], "abc");
        assert_eq!(config.extra["docker_version"], "20.10");
        assert_eq!(config.platform().to_string(), "linux/arm/v7");
        assert_eq!(config.history_layers(), 0);
        let bytes = config.to_bytes().unwrap();
        let written = String::from_utf8(bytes.clone()).unwrap();
        assert!(written.contains(r#""rootfs":{"type":"layers","diff_ids":[]}"#), "{written}");
        assert!(written.contains(r#""ExposedPorts":{"443/tcp":{},"80/tcp":{}}"#), "{written}");
        assert!(written.contains(r#""Future":1"#), "{written}");
        assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
        assert_eq!(ImageConfig::parse(&bytes).unwrap().to_bytes().unwrap(), bytes);
    }

    #[test]
    fn the_empty_config_is_small() {
        let config = ImageConfig::for_platform(&Platform::new("linux", "amd64", None));
        assert_eq!(
            String::from_utf8(config.to_bytes().unwrap()).unwrap(),
            r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#
        );
    }

    #[test]
    fn hostile_configs_are_refused() {
        for text in [
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#,
            r#"{"rootfs":{"type":"base","diff_ids":[]}}"#,
            r#"{"config":[]}"#,
            "[]",
            "",
        ] {
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn env_is_replaced_in_place() {
        let mut config = ContainerConfig::default();
        config.set_env("A", "1");
        config.set_env("AB", "2");
        config.set_env("A", "3=4");
        assert_eq!(config.env, ["A=3=4", "AB=2"]);
        assert_eq!(config.env_value("A"), Some("3=4"));
        assert_eq!(config.env_value("B"), None);
    }
}
