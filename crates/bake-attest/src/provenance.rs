//! SLSA provenance (`https://slsa.dev/spec/v1.0/provenance`): what went into a build, and how it was asked for.
//!
//! ```text
//! buildDefinition
//!   buildType              BUILD_TYPE
//!   externalParameters     what the caller chose: configSource (the Dockerfile), request (target, arguments, ...)
//!   internalParameters     what the machine chose: builderPlatform; mode=max: buildConfig (the steps)
//!   resolvedDependencies   images, files and commits with their digests
//! runDetails
//!   builder                id, version
//!   metadata               invocationId, startedOn, finishedOn, buildkit_* as consumers of BuildKit's provenance know them
//! ```
//!
//! The names below `externalParameters` and `internalParameters` are `BuildKit`'s, so that what reads its provenance reads
//! ours. What they mean here is in `docs/supply-chain.md`, which the build type's address leads to.

use std::collections::{BTreeMap, BTreeSet};

use bake_oci::{Digest, Platform, Reference, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::options::{ProvenanceMode, ProvenanceOptions};
use crate::purl::{image_purl, shown_address};

/// The predicate type.
pub const SLSA_PROVENANCE_V1: &str = "https://slsa.dev/provenance/v1";

/// What the parameters mean. Changing their meaning takes another address.
pub const BUILD_TYPE: &str = "https://github.com/bake-build/bake/blob/main/docs/supply-chain.md#build-type-v1";

/// Stands for a value that is not told.
pub const REDACTED: &str = "<redacted>";

/// Build arguments that never hold secrets: what the frontend itself reads or sets. `BUILDKIT_` are too.
const PUBLIC_ARGUMENTS: [&str; 9] = [
    "BUILDARCH",
    "BUILDOS",
    "BUILDPLATFORM",
    "BUILDVARIANT",
    "SOURCE_DATE_EPOCH",
    "TARGETARCH",
    "TARGETOS",
    "TARGETPLATFORM",
    "TARGETVARIANT",
];

/// Something that went into a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// An image.
    Image {
        /// Its name as the build has it.
        reference: Box<Reference>,
        /// What it is for, `os/architecture[/variant]`, where that is known.
        platform: Option<String>,
        /// Its manifest.
        manifest: Digest,
        /// Whether it came from a directory of the caller's rather than by its name.
        is_layout: bool,
    },
    /// A file from a server.
    Http {
        /// The address; secrets in it are not told.
        url: String,
        /// The digest of its bytes, where it is known.
        digest: Option<Digest>,
    },
    /// A commit of a repository.
    Git {
        /// The address; secrets in it are not told.
        url: String,
        /// Branch or tag that was asked for.
        reference: Option<String>,
        /// The commit in hexadecimal, where it is known.
        commit: Option<String>,
    },
}

/// Where the Dockerfile came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigSource {
    /// The address of the build context, if it was fetched.
    pub uri: Option<String>,
    /// The commit of that, if it is a repository.
    pub commit: Option<String>,
    /// The Dockerfile's path in the context or, if it is not of the context, its name.
    pub path: String,
}

/// A step, for `mode=max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStep {
    /// The instruction as it is written in the Dockerfile: arguments are not expanded, so their values do not show.
    pub name: String,
    /// The digest of what is asked, which tells equal steps of builds.
    pub definition: String,
    /// The positions of the steps it works on.
    pub inputs: Vec<usize>,
    /// The lines of the Dockerfile, from 1, first and last.
    pub lines: Option<(usize, usize)>,
    /// Whether it has the network: none, that of the machine, or its own.
    pub network: Option<&'static str>,
}

/// What the caller asked for. Nothing of it is told with `mode=min` but the target and the platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvenanceArguments {
    /// `--target`
    pub target: Option<String>,
    /// `--build-arg`, with values.
    pub build_args: BTreeMap<String, String>,
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// Named contexts, with where they come from.
    pub contexts: BTreeMap<String, String>,
    /// IDs of secrets.
    pub secrets: Vec<String>,
    /// IDs of SSH agents.
    pub ssh: Vec<String>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--network` where it is not the default.
    pub network: Option<String>,
    /// Names of build arguments whose values may be told; `*` is all.
    pub told: BTreeSet<String>,
}

/// The facts about one build of one platform.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// Where the Dockerfile came from.
    pub source: ConfigSource,
    /// The Dockerfile.
    pub dockerfile: Vec<u8>,
    /// What was asked for.
    pub arguments: ProvenanceArguments,
    /// The platform of the image.
    pub platform: Platform,
    /// The platform of the machine.
    pub builder_platform: Platform,
    /// The version of bake.
    pub version: String,
    /// What went in.
    pub dependencies: BTreeSet<Dependency>,
    /// The steps, inputs before what uses them.
    pub steps: Vec<BuildStep>,
    /// When the build began and ended, if that is to be told.
    pub times: Option<(Timestamp, Timestamp)>,
}

impl Provenance {
    /// What is said of the build: the predicate of a statement of type [`SLSA_PROVENANCE_V1`].
    pub fn predicate(&self, options: &ProvenanceOptions) -> Value {
        let full = options.mode == ProvenanceMode::Max;
        let mut external = Map::new();
        external.insert("configSource".into(), self.config_source());
        external.insert("request".into(), self.request(full));
        let mut internal = Map::new();
        internal.insert("builderPlatform".into(), self.builder_platform.to_string().into());
        if full {
            internal.insert("buildConfig".into(), self.build_config());
        }
        let mut metadata = Map::new();
        metadata.insert("invocationId".into(), self.invocation(options).into());
        if let Some((started, finished)) = self.times {
            metadata.insert("startedOn".into(), started.to_rfc3339().into());
            metadata.insert("finishedOn".into(), finished.to_rfc3339().into());
        }
        metadata.insert(
            "buildkit_completeness".into(),
            json!({
                "request": full && self.arguments.hidden().is_empty(),
                "resolvedDependencies": self.is_complete(),
            }),
        );
        metadata.insert("buildkit_reproducible".into(), options.reproducible.into());
        metadata.insert("buildkit_hermetic".into(), self.is_hermetic().into());
        if full {
            let source = json!({
                "infos": [{ "filename": self.source.path, "language": "Dockerfile", "data": STANDARD.encode(&self.dockerfile) }],
            });
            metadata.insert("buildkit_metadata".into(), json!({ "source": source }));
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": external,
                "internalParameters": internal,
                "resolvedDependencies": self.dependencies.iter().map(Dependency::resource).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": options.builder_id, "version": { "bake": self.version } },
                "metadata": metadata,
            },
        })
    }

    fn config_source(&self) -> Value {
        let mut source = Map::new();
        if let Some(uri) = &self.source.uri {
            source.insert("uri".into(), shown_address(uri).into());
        }
        let digest = match &self.source.commit {
            Some(commit) => commit_digest(commit),
            // What is fetched as an archive is among the dependencies; this is the digest of the file at `path`.
            None => json!({ "sha256": Digest::of(&self.dockerfile).hex() }),
        };
        source.insert("digest".into(), digest);
        source.insert("path".into(), self.source.path.clone().into());
        source.into()
    }

    fn request(&self, full: bool) -> Value {
        let arguments = &self.arguments;
        let mut args: BTreeMap<String, Value> = BTreeMap::new();
        args.extend(arguments.target.iter().map(|target| ("target".to_owned(), target.clone().into())));
        args.insert("platform".into(), self.platform.to_string().into());
        let mut request = Map::new();
        request.insert("frontend".into(), "dockerfile.v0".into());
        if full {
            for (name, value) in &arguments.build_args {
                let value = if arguments.tells(name) { value.as_str() } else { REDACTED };
                args.insert(format!("build-arg:{name}"), value.into());
            }
            for (name, value) in &arguments.labels {
                args.insert(format!("label:{name}"), value.clone().into());
            }
            for (name, source) in &arguments.contexts {
                args.insert(format!("context:{name}"), shown_address(source).into());
            }
            if arguments.no_cache {
                args.insert("no-cache".into(), "".into());
            }
            args.extend(arguments.network.iter().map(|mode| ("force-network-mode".to_owned(), mode.clone().into())));
            let ids = |ids: &[String]| -> Value { ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>().into() };
            if !arguments.secrets.is_empty() {
                request.insert("secrets".into(), ids(&arguments.secrets));
            }
            if !arguments.ssh.is_empty() {
                request.insert("ssh".into(), ids(&arguments.ssh));
            }
        }
        request.insert("args".into(), args.into_iter().collect::<Map<_, _>>().into());
        request.into()
    }

    fn build_config(&self) -> Value {
        let steps = self.steps.iter().enumerate().map(|(number, step)| {
            let inputs: Vec<String> = step.inputs.iter().map(|input| format!("step{input}")).collect();
            let mut value = json!({
                "id": format!("step{number}"), "name": step.name, "definition": step.definition, "inputs": inputs,
            });
            if let Some((first, last)) = step.lines {
                value["lines"] = json!([first, last]);
            }
            if let Some(network) = step.network {
                value["network"] = network.into();
            }
            value
        });
        json!({ "steps": steps.collect::<Vec<_>>() })
    }

    /// The same build of the same things has the same name: nothing is random, so that the statement can be made again.
    fn invocation(&self, options: &ProvenanceOptions) -> String {
        let mut facts = vec![options.builder_id.clone(), self.platform.to_string(), self.version.clone()];
        facts.extend(
            self.times.into_iter().flat_map(|(started, finished)| [started, finished]).map(Timestamp::to_rfc3339),
        );
        facts.extend(self.dependencies.iter().map(|dependency| dependency.resource().to_string()));
        facts.push(Digest::of(&self.dockerfile).to_string());
        Digest::of(facts.join("\n").as_bytes()).hex()[..32].to_owned()
    }

    /// Whether everything that went in is named with a digest. Files of a directory of the caller, and what RUN steps
    /// fetch, are not.
    fn is_complete(&self) -> bool {
        let named = self.dependencies.iter().all(|dependency| match dependency {
            Dependency::Image { .. } => true,
            Dependency::Http { digest, .. } => digest.is_some(),
            Dependency::Git { commit, .. } => commit.is_some(),
        });
        named && self.source.commit.is_some() && self.is_hermetic()
    }

    /// Whether no step could reach a network.
    fn is_hermetic(&self) -> bool {
        self.steps.iter().all(|step| step.network.is_none_or(|network| network == "none"))
    }
}

impl ProvenanceArguments {
    /// Whether the value of a build argument may be told: many hold tokens, so only if the caller said so.
    fn tells(&self, name: &str) -> bool {
        let public = PUBLIC_ARGUMENTS.contains(&name) || name.starts_with("BUILDKIT_");
        public || self.told.contains(name) || self.told.contains("*")
    }

    /// The build arguments whose values are not told.
    fn hidden(&self) -> Vec<&str> {
        self.build_args.keys().map(String::as_str).filter(|name| !self.tells(name)).collect()
    }
}

impl Dependency {
    /// As a resource descriptor (in-toto attestation framework, `spec/v1/resource_descriptor.md`).
    fn resource(&self) -> Value {
        match self {
            Self::Image { reference, platform, manifest, is_layout } => {
                let platform = platform.as_deref().and_then(|platform| Platform::parse(platform).ok());
                let uri = image_purl(reference, platform.as_ref());
                let uri = if *is_layout { uri.replacen("pkg:docker/", "pkg:oci/", 1) } else { uri };
                json!({ "uri": uri, "digest": { manifest.algorithm().name(): manifest.hex() } })
            }
            Self::Http { url, digest } => {
                let mut resource = json!({ "uri": shown_address(url) });
                if let Some(digest) = digest {
                    resource["digest"] = json!({ digest.algorithm().name(): digest.hex() });
                }
                resource
            }
            Self::Git { url, reference, commit } => {
                let mut uri = shown_address(url);
                if let Some(reference) = reference {
                    uri = format!("{uri}#{reference}");
                }
                let mut resource = json!({ "uri": uri });
                if let Some(commit) = commit {
                    resource["digest"] = commit_digest(commit);
                }
                resource
            }
        }
    }
}

/// A commit as a digest: of SHA-1 or SHA-256, as its length says.
fn commit_digest(commit: &str) -> Value {
    json!({ (if commit.len() == 64 { "sha256" } else { "sha1" }): commit })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn facts() -> Provenance {
        let platform = Platform::parse("linux/amd64").unwrap();
        let arguments = ProvenanceArguments {
            target: Some("app".into()),
            build_args: BTreeMap::from([
                ("TOKEN".into(), "canary-7f3a".into()),
                ("VERSION".into(), "1.2".into()),
                ("TARGETARCH".into(), "amd64".into()),
            ]),
            contexts: BTreeMap::from([("src".into(), "https://u:canary-pw@host/a.tar".into())]),
            secrets: vec!["npm".into()],
            ..ProvenanceArguments::default()
        };
        let dependencies = BTreeSet::from([
            Dependency::Image {
                reference: Box::new(Reference::parse("alpine:3.20").unwrap()),
                platform: Some("linux/amd64".into()),
                manifest: Digest::of(b"alpine"),
                is_layout: false,
            },
            Dependency::Git {
                url: "https://x:canary-git@host/r.git".into(),
                reference: Some("main".into()),
                commit: Some("a".repeat(40)),
            },
            Dependency::Http { url: "https://host/f?sig=canary-sig".into(), digest: Some(Digest::of(b"f")) },
        ]);
        Provenance {
            source: ConfigSource { path: "Dockerfile".into(), ..ConfigSource::default() },
            dockerfile: b"FROM alpine:3.20\nARG TOKEN\nRUN x\n".to_vec(),
            arguments,
            platform: platform.clone(),
            builder_platform: platform,
            version: "0.1.0".into(),
            dependencies,
            steps: vec![
                BuildStep {
                    name: "FROM alpine:3.20".into(),
                    definition: "d0".into(),
                    inputs: vec![],
                    lines: Some((1, 1)),
                    network: None,
                },
                BuildStep {
                    name: "RUN x".into(),
                    definition: "d1".into(),
                    inputs: vec![0],
                    lines: Some((3, 3)),
                    network: Some("none"),
                },
            ],
            times: Some((Timestamp::from_seconds(0), Timestamp::from_seconds(5))),
        }
    }

    #[test]
    fn the_predicate_has_the_fields_of_slsa_v1() {
        let predicate = facts().predicate(&ProvenanceOptions::default());
        let definition = &predicate["buildDefinition"];
        assert_eq!(definition["buildType"], BUILD_TYPE);
        let dependencies = definition["resolvedDependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), 3);
        assert_eq!(dependencies[0]["uri"], "pkg:docker/alpine@3.20?platform=linux%2Famd64");
        assert_eq!(dependencies[0]["digest"]["sha256"], Digest::of(b"alpine").hex());
        assert_eq!(dependencies[1]["uri"], "https://host/f?sig=xxxxx");
        assert_eq!(dependencies[2]["uri"], "https://host/r.git#main");
        assert_eq!(dependencies[2]["digest"]["sha1"], "a".repeat(40));
        let metadata = &predicate["runDetails"]["metadata"];
        assert_eq!(metadata["startedOn"], "1970-01-01T00:00:00Z");
        assert_eq!(metadata["finishedOn"], "1970-01-01T00:00:05Z");
        assert_eq!(metadata["invocationId"].as_str().unwrap().len(), 32);
        assert_eq!(metadata["buildkit_hermetic"], true);
        assert_eq!(predicate["runDetails"]["builder"]["id"], "");
        let args = &definition["externalParameters"]["request"]["args"];
        assert_eq!((&args["target"], &args["build-arg:TARGETARCH"]), (&"app".into(), &"amd64".into()));
        assert_eq!(definition["internalParameters"]["buildConfig"]["steps"][1]["inputs"][0], "step0");
    }

    #[test]
    fn no_secret_gets_in_unless_it_was_named() {
        for mode in [ProvenanceMode::Min, ProvenanceMode::Max] {
            let options = ProvenanceOptions { mode, ..ProvenanceOptions::default() };
            let text = facts().predicate(&options).to_string();
            assert!(!text.contains("canary"), "{text}");
        }
        let mut named = facts();
        named.arguments.told.insert("VERSION".into());
        let predicate = named.predicate(&ProvenanceOptions::default());
        let args = &predicate["buildDefinition"]["externalParameters"]["request"]["args"];
        assert_eq!((&args["build-arg:VERSION"], &args["build-arg:TOKEN"]), (&"1.2".into(), &REDACTED.into()));
        assert_eq!(predicate["runDetails"]["metadata"]["buildkit_completeness"]["request"], false);
        named.arguments.told.insert("*".into());
        assert!(named.predicate(&ProvenanceOptions::default()).to_string().contains("canary-7f3a"));
    }

    #[test]
    fn the_short_form_tells_nothing_of_arguments() {
        let options = ProvenanceOptions { mode: ProvenanceMode::Min, ..ProvenanceOptions::default() };
        let text = facts().predicate(&options).to_string();
        for absent in ["TOKEN", "VERSION", "npm", "buildConfig", "infos"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
        assert!(text.contains("pkg:docker/alpine") && text.contains(r#""target":"app""#), "{text}");
    }

    #[test]
    fn equal_builds_have_equal_provenance() {
        let options = ProvenanceOptions::default();
        assert_eq!(facts().predicate(&options), facts().predicate(&options));
        let mut other = facts();
        other.times = None;
        let predicate = other.predicate(&options);
        assert_ne!(
            predicate["runDetails"]["metadata"]["invocationId"],
            facts().predicate(&options)["runDetails"]["metadata"]["invocationId"]
        );
        assert!(predicate["runDetails"]["metadata"].get("startedOn").is_none());
    }
}
