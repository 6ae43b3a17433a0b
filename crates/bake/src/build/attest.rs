//! What is said of the images of a build: facts from the request, the plan and what was fetched, made statements.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bake_attest::{
    BuildStep, ConfigSource, Dependency, Provenance, ProvenanceArguments, ProvenanceOptions, SLSA_PROVENANCE_V1,
    Statement, Subject, image_purl,
};
use bake_dockerfile::SourceText;
use bake_frontend::{ImagePlan, Plan};
use bake_graph::{ImageOrigin, NetworkMode, Op, SourceOp, VertexId};
use bake_oci::manifest::descriptor_digest;
use bake_oci::{Digest, Document, Image, ImageConfig, Platform, Reference, Timestamp};
use bake_store::Store;
use bake_worker::LinuxWorker;
use serde_json::Value;

use crate::settings::{BuildRequest, ContextSpec, DockerfileSpec, NamedSource};

/// The largest manifest or config that is read again, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// Something that is said of one image, before it is known what bytes the image has at its destination.
#[derive(Debug, Clone)]
struct Said {
    predicate_type: String,
    predicate: Value,
    /// Its name among files.
    filename: String,
    /// Whether it is only for outputs that hold an image.
    inline_only: bool,
}

/// What is said of all images, in the order of the plan.
#[derive(Debug, Default)]
pub(super) struct Attestations {
    pub(super) images: Vec<ImageAttestations>,
}

/// What is said of one image.
#[derive(Debug)]
pub(super) struct ImageAttestations {
    platform: Platform,
    said: Vec<Said>,
    /// Provenance for the metadata file, whether or not the image gets it.
    metadata: Option<Value>,
}

/// What a build knows of itself.
pub(super) struct Facts<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) plan: &'a Plan,
    pub(super) worker: &'a LinuxWorker,
    pub(super) store: &'a Store,
    pub(super) dockerfile: &'a SourceText,
    pub(super) started: Timestamp,
    pub(super) epoch: Option<i64>,
}

impl Attestations {
    /// Says what was asked for. Provenance tells the time, unless the build is to be the same at all times.
    pub(super) fn new(facts: &Facts<'_>) -> Self {
        let attest = &facts.request.attest;
        if attest.provenance.is_none() && attest.metadata.is_none() {
            return Self::default();
        }
        let image = |image| {
            let provenance = facts.provenance(image);
            let said = attest.provenance.iter().map(|options| Said {
                predicate_type: SLSA_PROVENANCE_V1.to_owned(),
                predicate: provenance.predicate(options),
                filename: options.filename().to_owned(),
                inline_only: options.inline_only,
            });
            let metadata = attest.metadata.map(|mode| {
                let options = ProvenanceOptions { mode, ..attest.provenance.clone().unwrap_or_default() };
                provenance.predicate(&options)
            });
            ImageAttestations { platform: image.platform.clone(), said: said.collect(), metadata }
        };
        Self { images: facts.plan.images.iter().map(image).collect() }
    }

    /// The statements about images that are to be called `names`, for each image.
    pub(super) fn statements(&self, images: &[Image], names: &[Reference]) -> Vec<Vec<Statement>> {
        let about = |(image, attestations): (&Image, &ImageAttestations)| {
            let mut subjects: Vec<Subject> = names
                .iter()
                .map(|name| Subject::new(image_purl(name, Some(&attestations.platform)), &image.digest))
                .collect();
            if subjects.is_empty() {
                // in-toto's word for something without a name.
                subjects.push(Subject::new("_", &image.digest));
            }
            attestations.said.iter().map(|said| said.statement(subjects.clone())).collect()
        };
        images.iter().zip(&self.images).map(about).collect()
    }

    /// What the metadata file gets: `buildx.build.provenance`, with the platform where there are several.
    pub(super) fn metadata(&self, multi_platform: bool) -> BTreeMap<String, Value> {
        let several = self.images.len() > 1 || multi_platform;
        let entry = |image: &ImageAttestations| {
            let suffix = if several { format!("/{}", image.platform) } else { String::new() };
            Some((format!("buildx.build.provenance{suffix}"), image.metadata.clone()?))
        };
        self.images.iter().filter_map(entry).collect()
    }
}

impl ImageAttestations {
    /// What goes beside the files of an image: statements about `files`.
    pub(super) fn beside(&self, files: &BTreeMap<Vec<u8>, Digest>) -> Vec<Statement> {
        let subjects: Vec<Subject> =
            files.iter().map(|(path, digest)| Subject::new(String::from_utf8_lossy(path), digest)).collect();
        self.said_of_files().map(|said| said.statement(subjects.clone())).collect()
    }

    /// The names of the files with those statements: `provenance.json`, or `provenance.linux_amd64.json` with a platform.
    pub(super) fn beside_names(&self, prefix: &str, platform: Option<&str>) -> Vec<String> {
        let name = |said: &Said| match (platform, said.filename.rsplit_once('.')) {
            (None, _) => format!("{prefix}{}", said.filename),
            (Some(platform), Some((stem, extension))) => format!("{prefix}{stem}.{platform}.{extension}"),
            (Some(platform), None) => format!("{prefix}{}.{platform}", said.filename),
        };
        self.said_of_files().map(name).collect()
    }

    fn said_of_files(&self) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(|said| !said.inline_only)
    }
}

impl Said {
    fn statement(&self, subjects: Vec<Subject>) -> Statement {
        Statement::new(subjects, self.predicate_type.clone(), self.predicate.clone())
    }
}

impl Facts<'_> {
    fn provenance(&self, image: &ImagePlan) -> Provenance {
        let needed = self.plan.graph.needed(&[image.root]);
        let mut dependencies: BTreeSet<Dependency> =
            needed.iter().filter_map(|id| self.dependency(&self.plan.graph.vertex(*id).op)).collect();
        dependencies.extend(self.context_dependency());
        let times = self.epoch.is_none().then(|| (self.started, Timestamp::now()));
        Provenance {
            source: self.config_source(),
            dockerfile: self.dockerfile.text().as_bytes().to_vec(),
            arguments: self.arguments(),
            platform: image.platform.clone(),
            builder_platform: self.request.plan.build_platform.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dependencies,
            steps: self.steps(&needed),
            times,
        }
    }

    /// What a vertex takes from outside, if it is a source.
    fn dependency(&self, op: &Op) -> Option<Dependency> {
        let Op::Source(source) = op else { return None };
        match source {
            SourceOp::Scratch | SourceOp::Local(_) => None,
            SourceOp::Image(image) => {
                let pinned = Reference::parse(&image.reference).ok()?;
                // The digest is told beside the name.
                let named = pinned.tag().map(|tag| format!("{}:{tag}", pinned.name()));
                let reference = named.and_then(|named| Reference::parse(&named).ok()).unwrap_or(pinned);
                Some(Dependency::Image {
                    reference: Box::new(reference),
                    platform: self.platform_of(&image.manifest),
                    manifest: image.manifest.clone(),
                    is_layout: matches!(image.origin, ImageOrigin::Layout { .. }),
                })
            }
            SourceOp::Http(source) => {
                Some(Dependency::Http { url: source.url.clone(), digest: self.worker.fetched_file(source) })
            }
            SourceOp::Git(source) => Some(Dependency::Git {
                url: source.url.clone(),
                reference: source.reference.clone(),
                commit: self.worker.fetched_commit(source),
            }),
        }
    }

    /// What an image is for, by its config, which planning has read.
    fn platform_of(&self, manifest: &Digest) -> Option<String> {
        let read = |digest: &Digest| self.store.read_small_blob(digest, DOCUMENT_BYTES_MAX).ok().flatten();
        let Ok(Document::Manifest(manifest)) = Document::parse(&read(manifest)?, None) else { return None };
        let config = read(&descriptor_digest(manifest.config()).ok()?)?;
        Some(ImageConfig::parse(&config).ok()?.platform().to_string())
    }

    /// The build context and the Dockerfile, where they were fetched.
    fn context_dependency(&self) -> Vec<Dependency> {
        let http = |source: &bake_graph::HttpSource| Dependency::Http {
            url: source.url.clone(),
            digest: self.worker.fetched_file(source),
        };
        let context = match &self.request.context {
            ContextSpec::Directory(_) | ContextSpec::Stdin => None,
            ContextSpec::Http(source) => Some(http(source)),
            ContextSpec::Git(source) => Some(Dependency::Git {
                url: source.url.clone(),
                reference: source.reference.clone(),
                commit: self.worker.fetched_commit(source),
            }),
        };
        let dockerfile = match &self.request.dockerfile {
            DockerfileSpec::Http(source) => Some(http(source)),
            _ => None,
        };
        context.into_iter().chain(dockerfile).collect()
    }

    fn config_source(&self) -> ConfigSource {
        let (uri, commit) = match (&self.request.dockerfile, &self.request.context) {
            (DockerfileSpec::Http(source), _) | (DockerfileSpec::Default, ContextSpec::Http(source)) => {
                (Some(source.url.clone()), None)
            }
            (DockerfileSpec::Default, ContextSpec::Git(source)) => {
                (Some(git_address(source)), self.worker.fetched_commit(source))
            }
            // One that could be in what was fetched is there.
            (DockerfileSpec::Path(path), ContextSpec::Git(source)) if !path.is_absolute() => {
                (Some(git_address(source)), self.worker.fetched_commit(source))
            }
            (DockerfileSpec::Path(path), ContextSpec::Http(source)) if !path.is_absolute() => {
                (Some(source.url.clone()), None)
            }
            _ => (None, None),
        };
        ConfigSource { uri, commit, path: self.dockerfile_path() }
    }

    /// Where the Dockerfile is in the context. Of one elsewhere the name alone: where people keep their files is nobody's
    /// concern.
    fn dockerfile_path(&self) -> String {
        let name = |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match (&self.request.dockerfile, &self.request.context) {
            (DockerfileSpec::Path(path), ContextSpec::Directory(context)) => {
                let (whole, root) = (std::fs::canonicalize(path), std::fs::canonicalize(context));
                let inside = whole.ok().zip(root.ok()).and_then(|(whole, root)| {
                    whole.strip_prefix(root).ok().map(|inside| inside.to_string_lossy().into_owned())
                });
                inside.unwrap_or_else(|| name(path))
            }
            (DockerfileSpec::Path(path), _) if path.is_absolute() => name(path),
            (DockerfileSpec::Path(path), _) => path.to_string_lossy().into_owned(),
            // Its address is the source's.
            (DockerfileSpec::Http(_), _) => "Dockerfile".to_owned(),
            (DockerfileSpec::Default | DockerfileSpec::Stdin, _) => self.dockerfile.name().to_owned(),
        }
    }

    fn arguments(&self) -> ProvenanceArguments {
        let plan = &self.request.plan;
        let context = |source: &NamedSource| match source {
            // Directories of this machine are nobody's concern.
            NamedSource::Directory(_) => "local".to_owned(),
            NamedSource::Layout { .. } => "oci-layout".to_owned(),
            NamedSource::Image(reference) => format!("docker-image://{reference}"),
            NamedSource::Git(source) => git_address(source),
            NamedSource::Http(source) => source.url.clone(),
        };
        let mut build_args = plan.build_args.clone();
        build_args.extend(self.epoch.map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string())));
        ProvenanceArguments {
            target: plan.target.clone().filter(|target| !target.is_empty()),
            build_args,
            labels: plan.labels.clone(),
            contexts: self.request.named.iter().map(|(name, source)| (name.clone(), context(source))).collect(),
            secrets: self.request.secrets.keys().cloned().collect(),
            ssh: self.request.ssh.keys().cloned().collect(),
            no_cache: plan.no_cache,
            network: network(plan.network).map(str::to_owned),
            told: self.request.attest.told_arguments.clone(),
        }
    }

    /// The steps, as the Dockerfile has them.
    fn steps(&self, needed: &[VertexId]) -> Vec<BuildStep> {
        let positions: HashMap<VertexId, usize> = needed.iter().copied().zip(0..).collect();
        let step = |id: &VertexId| {
            let vertex = self.plan.graph.vertex(*id);
            let (name, lines) = match vertex.origin {
                Some(origin) => {
                    let text = self.dockerfile.slice(bake_dockerfile::Span::new(origin.start, origin.end));
                    let line = |offset| self.dockerfile.position(offset).line;
                    (text.trim_end().to_owned(), Some((line(origin.start), line(origin.end.max(origin.start + 1) - 1))))
                }
                None => (kind(&vertex.op).to_owned(), None),
            };
            BuildStep {
                name,
                definition: vertex.definition.hex(),
                inputs: vertex.inputs.iter().filter_map(|input| positions.get(input).copied()).collect(),
                lines,
                network: match &vertex.op {
                    Op::Exec(exec) => Some(network(exec.network).unwrap_or("default")),
                    _ => None,
                },
            }
        };
        needed.iter().map(step).collect()
    }
}

/// A repository with what is meant of it; credentials are taken out later.
fn git_address(source: &bake_graph::GitSource) -> String {
    let reference = source.reference.as_deref().unwrap_or_default();
    match &source.subdirectory {
        Some(directory) => format!("{}#{reference}:{directory}", source.url),
        None if reference.is_empty() => source.url.clone(),
        None => format!("{}#{reference}", source.url),
    }
}

/// The word for a network that is not the default.
fn network(mode: NetworkMode) -> Option<&'static str> {
    match mode {
        NetworkMode::Default => None,
        NetworkMode::None => Some("none"),
        NetworkMode::Host => Some("host"),
    }
}

/// The word for a vertex that no instruction is behind.
fn kind(op: &Op) -> &'static str {
    match op {
        Op::Source(SourceOp::Scratch) => "scratch",
        Op::Source(SourceOp::Image(_)) => "image",
        Op::Source(SourceOp::Local(_)) => "build context",
        Op::Source(SourceOp::Http(_)) => "file from a server",
        Op::Source(SourceOp::Git(_)) => "git repository",
        Op::Exec(_) => "run",
        Op::File(_) => "files",
        Op::Merge => "merge",
        Op::Diff => "difference",
    }
}
