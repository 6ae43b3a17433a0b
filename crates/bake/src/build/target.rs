//! What is built together: one request, or the targets of a bake file. All of them are planned into one graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bake::error::CommandError;
use bake::ui::progress::Progress;
use bake::ui::sanitize::sanitize_line;
use bake_dockerfile::{Diagnostic, Dockerfile, SourceText};
use bake_frontend::{ImagePlan, MAIN_CONTEXT, Plan, PlanIdentity, PlanOptions};
use bake_graph::{BuildGraph, Origin, VertexId};
use bake_worker::{BuildContext, Images, LinuxWorker};

use super::failure::{self, KeptContext};
use super::{internal, problems, read, report_problems, violation, warn_unmatched_filters};
use crate::lock::ImageLock;
use crate::policy::ImagePolicy;
use crate::settings::{BuildRequest, NamedSource};
use crate::wiring::{Host, Resolver};

/// A build among those that are carried out together.
#[derive(Debug)]
pub(crate) struct TargetRequest<'a> {
    /// The name of the target; empty for a request of its own.
    pub(crate) name: String,
    pub(crate) request: &'a BuildRequest,
    /// Named contexts that are other targets: the name here, and the name of that target, which comes before this one.
    pub(crate) links: BTreeMap<String, String>,
}

impl<'a> TargetRequest<'a> {
    /// A request that is no target of a file.
    pub(crate) fn alone(request: &'a BuildRequest) -> Self {
        Self { name: String::new(), request, links: BTreeMap::new() }
    }

    /// Says of a failure which target it is about.
    pub(super) fn told(&self, error: CommandError) -> CommandError {
        let error = error.in_file(self.request.absolute_dockerfile().as_deref());
        if self.name.is_empty() { error } else { error.context(format!("target `{}`", self.name)) }
    }
}

/// The OCI layouts that targets name. One directory under one name is one layout, whoever names it, so that what is made of it can be one
/// step.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    /// How the images call each, how targets call it, and where it is.
    known: Vec<(String, String, PathBuf)>,
}

impl Layouts {
    pub(super) fn of(requests: &[TargetRequest<'_>]) -> Self {
        let mut layouts = Self::default();
        for (target, request) in requests.iter().map(|target| (&target.name, target.request)) {
            for (name, source) in &request.named {
                let NamedSource::Layout { directory, .. } = source else { continue };
                if layouts.key(name, directory).is_none() {
                    let mut key = name.clone();
                    while layouts.known.iter().any(|(known, ..)| *known == key) {
                        key = format!("{target}/{key}");
                    }
                    layouts.known.push((key, name.clone(), directory.clone()));
                }
            }
        }
        layouts
    }

    fn key(&self, name: &str, directory: &Path) -> Option<String> {
        let is_it = |(_, own, path): &&(String, String, PathBuf)| own == name && path == directory;
        self.known.iter().find(is_it).map(|(key, ..)| key.clone())
    }

    /// How the images call the layouts of a request, by their names there.
    fn keys(&self, request: &BuildRequest) -> BTreeMap<String, String> {
        let key = |(name, source): (&String, &NamedSource)| match source {
            NamedSource::Layout { directory, .. } => Some((name.clone(), self.key(name, directory)?)),
            _ => None,
        };
        request.named.iter().filter_map(key).collect()
    }

    /// All of them, by how the images call them.
    pub(super) fn directories(&self) -> BTreeMap<String, PathBuf> {
        self.known.iter().map(|(key, _, directory)| (key.clone(), directory.clone())).collect()
    }
}

/// A target whose steps are in the graph.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub(super) name: &'a str,
    pub(super) request: &'a BuildRequest,
    pub(super) dockerfile: Dockerfile,
    pub(super) plan: Plan,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub(super) epoch: Option<i64>,
    /// How the worker calls its main build context.
    pub(super) main_context: String,
    resolver: Resolver,
}

impl Planned<'_> {
    /// The vertices whose results are wanted: those of the images, and those whose packages are to be listed with them.
    pub(super) fn wanted(&self) -> Vec<VertexId> {
        let mut wanted: Vec<VertexId> = self.plan.images.iter().map(|image| image.root).collect();
        if self.request.attest.sbom.is_some() {
            let scans = self.plan.images.iter().flat_map(|image| &image.scans.stages).map(|(_, root)| *root);
            wanted.extend(scans.filter(|root| !wanted.contains(root)).collect::<Vec<_>>());
        }
        wanted
    }

    /// Writes down what names meant, if that was asked for.
    pub(super) fn write_lock(&self) -> Result<(), CommandError> {
        self.resolver.write_lock()
    }
}

/// The Dockerfiles of all targets, by the number that origins have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a>(&'a [Planned<'a>]);

impl<'a> Sources<'a> {
    pub(super) fn new(targets: &'a [Planned<'a>]) -> Self {
        Self(targets)
    }

    /// The target that a step was planned for: the first of those that have it.
    pub(super) fn target(&self, origin: Origin) -> Option<&'a Planned<'a>> {
        self.0.get(usize::try_from(origin.source).ok()?)
    }

    /// The text that an origin is a range of.
    pub(super) fn text(&self, origin: Origin) -> Option<&'a SourceText> {
        self.target(origin).map(|target| &target.dockerfile.source)
    }

    /// Whether an origin is a range of `text` too: several targets may have one Dockerfile.
    pub(super) fn is_in(&self, origin: Origin, text: &SourceText) -> bool {
        self.text(origin).is_some_and(|own| is_same_text(own, text))
    }
}

/// Whether two targets have one Dockerfile.
fn is_same_text(one: &SourceText, other: &SourceText) -> bool {
    one.name() == other.name() && one.text() == other.text()
}

/// Reads and plans targets, one after the other, into one graph.
pub(super) struct Planning<'a> {
    pub(super) host: &'a Host,
    pub(super) images: Arc<Images>,
    pub(super) worker: LinuxWorker,
    pub(super) progress: &'a Progress,
    layouts: Layouts,
    pub(super) graph: BuildGraph,
    targets: Vec<Planned<'a>>,
    contexts: Vec<SharedContext>,
    /// The directories that are copied from, by the name that the worker knows.
    kept: BTreeMap<String, KeptContext>,
}

/// A build context that targets have in common.
struct SharedContext {
    /// How the worker calls it.
    name: String,
    /// How those targets call it.
    own_name: String,
    context: BuildContext,
}

/// Everything that is planned.
pub(super) struct Plans<'a> {
    pub(super) graph: BuildGraph,
    pub(super) targets: Vec<Planned<'a>>,
    pub(super) worker: LinuxWorker,
    pub(super) images: Arc<Images>,
    pub(super) kept: BTreeMap<String, KeptContext>,
}

impl<'a> Planning<'a> {
    /// For targets with these `layouts`, which `images` know.
    pub(super) fn new(
        host: &'a Host,
        layouts: Layouts,
        images: Arc<Images>,
        worker: LinuxWorker,
        progress: &'a Progress,
    ) -> Self {
        let (graph, targets, contexts, kept) = (BuildGraph::new(), Vec::new(), Vec::new(), BTreeMap::new());
        Self { host, images, worker, progress, layouts, graph, targets, contexts, kept }
    }

    /// Steps 2 to 4 for one target. Those that it is linked to must have been added.
    pub(super) fn add(&mut self, target: &'a TargetRequest<'a>) -> Result<(), CommandError> {
        self.add_target(target).map_err(|error| target.told(error))
    }

    fn add_target(&mut self, target: &'a TargetRequest<'a>) -> Result<(), CommandError> {
        let (request, colour) = (target.request, self.progress.colour());
        let Ready { dockerfile, options, resolver, epoch } = self.read(target)?;
        super::export::check_times(request, epoch)?;
        report_problems(&dockerfile, self.progress)?;
        let main_context = options.identity.context.clone();
        // A server that takes its time is seen to.
        let resolving = self.progress.begin(internal("resolving base images"));
        let plan = bake_frontend::plan(&mut self.graph, &dockerfile, &options, &resolver);
        resolving.done();
        let plan = plan.map_err(|diagnostics| problems(&dockerfile, &diagnostics, colour))?;
        self.progress.findings(&dockerfile.source, &self.news(&dockerfile.source, &plan.warnings));
        resolver.tell_of_lock(self.progress);
        warn_unmatched_filters(request, &dockerfile, self.progress);
        let warning = colour.warning("warning:");
        for name in &plan.unused_build_args {
            let name = sanitize_line(name);
            let of = if target.name.is_empty() { String::new() } else { format!(" of target `{}`", target.name) };
            self.progress.print(format!("{warning} build argument `{name}`{of} is not used by this Dockerfile"));
        }
        if !plan.violated.is_empty() {
            return Err(violation(&plan.violated));
        }
        self.targets.push(Planned { name: &target.name, request, dockerfile, plan, epoch, main_context, resolver });
        Ok(())
    }

    /// Steps 2 and 3, and what planning needs besides.
    pub(super) fn read(&mut self, target: &'a TargetRequest<'a>) -> Result<Ready, CommandError> {
        let request = target.request;
        let source = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let input = read::read(request, &self.worker, self.progress, source)?;
        let dockerfile = bake_dockerfile::parse(input.dockerfile);
        let ignore = match input.contexts.get(MAIN_CONTEXT) {
            Some(BuildContext::Directory(directory)) => Some(directory.ignore.clone()),
            Some(BuildContext::Fetched(_)) | None => None,
        };
        let resolver = Resolver {
            images: Arc::clone(&self.images),
            layouts: self.layouts.keys(request),
            named: request.named.clone(),
            planned: self.linked(target),
            pull: request.pull,
            ignore,
            lock: ImageLock::open(&request.lock, input.dockerfile_path.as_deref(), self.host)?,
            policy: ImagePolicy::open(&request.policy, self.host)?,
            contexts: self.share(target, input.contexts),
        };
        let context = resolver.contexts.get(MAIN_CONTEXT).cloned().unwrap_or_else(|| MAIN_CONTEXT.to_owned());
        let identity = PlanIdentity { source, name: target.name.clone(), context };
        let mut options = PlanOptions { main_context: input.main_context, identity, ..request.plan.clone() };
        if let Some(epoch) = input.source_date_epoch {
            options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string());
        }
        Ok(Ready { dockerfile, options, resolver, epoch: input.source_date_epoch })
    }

    /// Makes the contexts of a target known to the worker; how it calls each. A directory that another target has under the same name, with
    /// the same files ignored, is the same one, so that steps that copy from it can be the same step.
    fn share(
        &mut self,
        target: &TargetRequest<'_>,
        contexts: BTreeMap<String, BuildContext>,
    ) -> BTreeMap<String, String> {
        let kept = failure::contexts(target.request, &contexts);
        let mut names = BTreeMap::new();
        for (own_name, context) in contexts {
            let same = |known: &&SharedContext| known.own_name == own_name && is_same(&known.context, &context);
            let known = self.contexts.iter().find(same).map(|known| known.name.clone());
            let name = known.unwrap_or_else(|| {
                let mut name = own_name.clone();
                while self.contexts.iter().any(|known| known.name == name) {
                    name = format!("{}/{name}", target.name);
                }
                self.kept.extend(kept.get(&own_name).map(|kept| (name.clone(), kept.clone())));
                self.contexts.push(SharedContext { name: name.clone(), own_name: own_name.clone(), context });
                name
            });
            names.insert(own_name, name);
        }
        names
    }

    /// What the targets make that `target` is linked to, by the names of its contexts.
    fn linked(&self, target: &TargetRequest<'_>) -> BTreeMap<String, (String, Vec<ImagePlan>)> {
        let images = |name: &String| {
            let linked = self.targets.iter().find(|planned| planned.name == name);
            linked.map(|planned| planned.plan.images.clone()).unwrap_or_default()
        };
        target.links.iter().map(|(context, name)| (context.clone(), (name.clone(), images(name)))).collect()
    }

    /// The findings that were not told for an earlier target with the same Dockerfile.
    fn news(&self, source: &SourceText, findings: &[Diagnostic]) -> Vec<Diagnostic> {
        let same = self.targets.iter().filter(|known| is_same_text(&known.dockerfile.source, source));
        let told: Vec<&Diagnostic> = same.flat_map(|known| &known.plan.warnings).collect();
        findings.iter().filter(|finding| !told.contains(finding)).cloned().collect()
    }

    /// Ends planning.
    pub(super) fn finish(self) -> Plans<'a> {
        let contexts = self.contexts.into_iter().map(|shared| (shared.name, shared.context)).collect();
        Plans {
            graph: self.graph,
            targets: self.targets,
            worker: self.worker.with_contexts(contexts),
            images: self.images,
            kept: self.kept,
        }
    }
}

/// What planning a target takes.
pub(super) struct Ready {
    pub(super) dockerfile: Dockerfile,
    pub(super) options: PlanOptions,
    pub(super) resolver: Resolver,
    pub(super) epoch: Option<i64>,
}

/// Whether two contexts hold the same files.
fn is_same(one: &BuildContext, other: &BuildContext) -> bool {
    match (one, other) {
        (BuildContext::Directory(one), BuildContext::Directory(other)) => {
            one.path == other.path && one.ignore == other.ignore
        }
        (BuildContext::Fetched(one), BuildContext::Fetched(other)) => {
            one.iter().map(|layer| &layer.snapshot).eq(other.iter().map(|layer| &layer.snapshot))
        }
        _ => false,
    }
}
