//! What is said of the images of a build: facts from the request, the plan and what was fetched, made statements.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bake::error::CommandError;
use bake_attest::{
    BuildStep, ConfigSource, Dependency, Provenance, ProvenanceArguments, ProvenanceOptions, SLSA_PROVENANCE_V1, SPDX,
    SbomOptions, Statement, Subject, image_purl,
};
use bake_frontend::ImagePlan;
use bake_graph::{BuildGraph, ImageOrigin, NetworkMode, Op, SourceOp, VertexId};
use bake_oci::manifest::descriptor_digest;
use bake_oci::{Digest, Document, Image, ImageConfig, Platform, Reference, Timestamp};
use bake_store::Store;
use bake_worker::LinuxWorker;
use serde_json::Value;

use super::assemble::Assembled;
use super::packages::PackageList;
use super::target::{Planned, Sources};
use crate::settings::{ContextSpec, DockerfileSpec, NamedSource};

/// The largest manifest or config that is read again, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// Something that is said of one image, before it is known what bytes the image has at its destination.
#[derive(Debug, Clone)]
struct Said {
    what: What,
    /// Its name among files.
    filename: String,
    /// Whether it is only for outputs that hold an image.
    inline_only: bool,
}

/// What is said.
#[derive(Debug, Clone)]
enum What {
    /// How it was made.
    Provenance(Value),
    /// What is in it.
    Packages(PackageList),
}

/// What something is said of, as far as the text of a document depends on it.
enum About<'a> {
    Image { digest: &'a Digest, name: Option<&'a Reference> },
    Files,
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
    /// When the image was made.
    created: Timestamp,
    said: Vec<Said>,
    /// Provenance for the metadata file, whether or not the image gets it.
    metadata: Option<Value>,
}

/// What a build knows of itself.
pub(super) struct Facts<'a> {
    pub(super) target: &'a Planned<'a>,
    pub(super) graph: &'a BuildGraph,
    pub(super) sources: Sources<'a>,
    pub(super) worker: &'a LinuxWorker,
    pub(super) store: &'a Store,
    pub(super) started: Timestamp,
}

impl Attestations {
    /// Says what was asked for. Provenance tells the time, unless the build is to be the same at all times.
    /// `lists` are the packages of each image.
    pub(super) fn new(facts: &Facts<'_>, assembled: &[Assembled], lists: Vec<Vec<PackageList>>) -> Self {
        let attest = &facts.target.request.attest;
        if attest.is_empty() && attest.metadata.is_none() {
            return Self::default();
        }
        let mut lists = lists.into_iter();
        let image = |(image, assembled): (&ImagePlan, &Assembled)| {
            let provenance = facts.provenance(image);
            let provenances = attest.provenance.iter().map(|options| Said {
                what: What::Provenance(provenance.predicate(options)),
                filename: options.filename().to_owned(),
                inline_only: options.inline_only,
            });
            let of_packages = |options: &SbomOptions| {
                let filename = options.filename().to_owned();
                let said = move |list: PackageList| Said {
                    filename: name_with(&filename, list.of.as_deref()),
                    what: What::Packages(list),
                    inline_only: false,
                };
                lists.next().unwrap_or_default().into_iter().map(said)
            };
            let packages = attest.sbom.iter().flat_map(of_packages);
            let said = packages.chain(provenances).collect();
            let created = assembled.created.unwrap_or(Timestamp::EPOCH);
            let metadata = attest.metadata.map(|mode| {
                let options = ProvenanceOptions { mode, ..attest.provenance.clone().unwrap_or_default() };
                provenance.predicate(&options)
            });
            ImageAttestations { platform: image.platform.clone(), created, said, metadata }
        };
        Self { images: facts.target.plan.images.iter().zip(assembled).map(image).collect() }
    }

    /// The statements about images that are to be called `names`, for each image.
    pub(super) fn statements(
        &self,
        images: &[Image],
        names: &[Reference],
    ) -> Result<Vec<Vec<Statement>>, CommandError> {
        let about = |(image, attestations): (&Image, &ImageAttestations)| {
            let mut subjects: Vec<Subject> = names
                .iter()
                .map(|name| Subject::new(image_purl(name, Some(&attestations.platform)), &image.digest))
                .collect();
            if subjects.is_empty() {
                // in-toto's word for something without a name.
                subjects.push(Subject::new("_", &image.digest));
            }
            let about = About::Image { digest: &image.digest, name: names.first() };
            attestations.said.iter().map(|said| attestations.statement(said, subjects.clone(), &about)).collect()
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
    pub(super) fn beside(&self, files: &BTreeMap<Vec<u8>, Digest>) -> Result<Vec<Statement>, CommandError> {
        let subjects: Vec<Subject> =
            files.iter().map(|(path, digest)| Subject::new(String::from_utf8_lossy(path), digest)).collect();
        self.said_of_files().map(|said| self.statement(said, subjects.clone(), &About::Files)).collect()
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

impl ImageAttestations {
    fn statement(&self, said: &Said, subjects: Vec<Subject>, about: &About<'_>) -> Result<Statement, CommandError> {
        match &said.what {
            What::Provenance(predicate) => Ok(Statement::new(subjects, SLSA_PROVENANCE_V1, predicate.clone())),
            What::Packages(list) => {
                let version = env!("CARGO_PKG_VERSION");
                let of = match (&list.of, about) {
                    (None, About::Image { digest, name }) => {
                        bake_sbom::Subject::image(*name, digest, &self.platform, self.created, version)
                    }
                    (None, About::Files) => bake_sbom::Subject::files("files", self.created, version),
                    (Some(name), _) => bake_sbom::Subject::files(name, self.created, version),
                };
                let document = serde_json::from_slice(&list.inventory.to_spdx(&of));
                let document = document.map_err(|error| CommandError::internal(error.to_string()))?;
                Ok(Statement::new(subjects, SPDX, document))
            }
        }
    }
}

/// `sbom-base.spdx.json` for `sbom.spdx.json` of the stage `base`.
fn name_with(filename: &str, part: Option<&str>) -> String {
    match (part, filename.split_once('.')) {
        (None, _) => filename.to_owned(),
        (Some(part), Some((stem, extensions))) => format!("{stem}-{part}.{extensions}"),
        (Some(part), None) => format!("{filename}-{part}"),
    }
}

impl Facts<'_> {
    fn provenance(&self, image: &ImagePlan) -> Provenance {
        let needed = self.graph.needed(&[image.root]);
        let mut dependencies: BTreeSet<Dependency> =
            needed.iter().filter_map(|id| self.dependency(&self.graph.vertex(*id).op)).collect();
        dependencies.extend(self.context_dependency());
        let times = self.target.epoch.is_none().then(|| (self.started, Timestamp::now()));
        Provenance {
            source: self.config_source(),
            dockerfile: self.target.dockerfile.source.text().as_bytes().to_vec(),
            arguments: self.arguments(),
            platform: image.platform.clone(),
            builder_platform: self.target.request.plan.build_platform.clone(),
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
        let context = match &self.target.request.context {
            ContextSpec::Directory(_) | ContextSpec::Stdin => None,
            ContextSpec::Http(source) => Some(http(source)),
            ContextSpec::Git(source) => Some(Dependency::Git {
                url: source.url.clone(),
                reference: source.reference.clone(),
                commit: self.worker.fetched_commit(source),
            }),
        };
        let dockerfile = match &self.target.request.dockerfile {
            DockerfileSpec::Http(source) => Some(http(source)),
            _ => None,
        };
        context.into_iter().chain(dockerfile).collect()
    }

    fn config_source(&self) -> ConfigSource {
        let (uri, commit) = match (&self.target.request.dockerfile, &self.target.request.context) {
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
        match (&self.target.request.dockerfile, &self.target.request.context) {
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
            (DockerfileSpec::Default | DockerfileSpec::Stdin | DockerfileSpec::Inline(_), _) => {
                self.target.dockerfile.source.name().to_owned()
            }
        }
    }

    fn arguments(&self) -> ProvenanceArguments {
        let plan = &self.target.request.plan;
        let context = |source: &NamedSource| match source {
            // Directories of this machine are nobody's concern.
            NamedSource::Directory(_) => "local".to_owned(),
            NamedSource::Layout { .. } => "oci-layout".to_owned(),
            NamedSource::Image(reference) => format!("docker-image://{reference}"),
            NamedSource::Git(source) => git_address(source),
            NamedSource::Http(source) => source.url.clone(),
        };
        let mut build_args = plan.build_args.clone();
        build_args.extend(self.target.epoch.map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string())));
        ProvenanceArguments {
            target: plan.target.clone().filter(|target| !target.is_empty()),
            build_args,
            labels: plan.labels.clone(),
            contexts: self.target.request.named.iter().map(|(name, source)| (name.clone(), context(source))).collect(),
            secrets: self.target.request.secrets.keys().cloned().collect(),
            ssh: self.target.request.ssh.keys().cloned().collect(),
            no_cache: plan.no_cache,
            network: network(plan.network).map(str::to_owned),
            told: self.target.request.attest.told_arguments.clone(),
        }
    }

    /// The steps, as the Dockerfile has them.
    fn steps(&self, needed: &[VertexId]) -> Vec<BuildStep> {
        let positions: HashMap<VertexId, usize> = needed.iter().copied().zip(0..).collect();
        let step = |id: &VertexId| {
            let vertex = self.graph.vertex(*id);
            let origin = vertex.origin.and_then(|origin| Some((origin, self.sources.text(origin)?)));
            let (name, lines) = match origin {
                Some((origin, source)) => {
                    let text = source.slice(bake_dockerfile::Span::new(origin.start, origin.end));
                    let line = |offset| source.position(offset).line;
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
