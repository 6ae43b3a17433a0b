//! From a syntax tree to a graph: one pass per platform over the stages that the target needs.

use std::collections::BTreeMap;

use bake_dockerfile::{Diagnostic, Dockerfile};
use bake_graph::{BuildGraph, NetworkMode};
use bake_oci::Platform;

use crate::history::ImagePlan;
use crate::lower::{Checked, Lowering, MAIN_CONTEXT, Scope};
use crate::meta::MetaResolver;
use crate::outline::Outline;
use crate::steps::number_steps;

/// What the caller of a build asked for, as far as planning needs it.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// `--target`; the last stage when absent.
    pub target: Option<String>,
    /// `--build-arg`, with values.
    pub build_args: BTreeMap<String, String>,
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// Where the main build context comes from.
    pub main_context: MainContext,
    /// The machine's platform.
    pub build_platform: Platform,
    /// The platforms to build for, at least one.
    pub target_platforms: Vec<Platform>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages.
    pub no_cache_filter: Vec<String>,
    /// `--network`
    pub network: NetworkMode,
    /// `--add-host`
    pub extra_hosts: Vec<(String, String)>,
    /// Whether `RUN --security=insecure` was allowed by the caller.
    pub allow_insecure: bool,
    /// Whether `RUN --network=host` was allowed by the caller.
    pub allow_host_network: bool,
    /// Which of several plans in one graph this is.
    pub identity: PlanIdentity,
}

/// Which plan of a graph this is: several builds can be planned into one, and what they have in common is there once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanIdentity {
    /// The number of its Dockerfile, which what it adds has as [`source`](bake_graph::Origin::source) of its origin.
    pub source: u32,
    /// What stands before the stages of its steps where they are shown; empty where there is only one plan.
    pub name: String,
    /// The name of its main build context in the graph.
    pub context: String,
}

impl Default for PlanIdentity {
    fn default() -> Self {
        Self { source: 0, name: String::new(), context: MAIN_CONTEXT.to_owned() }
    }
}

impl PlanOptions {
    /// A build of the last stage on a machine of this platform, for this platform, with nothing else asked for.
    pub fn for_platform(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            main_context: MainContext::Directory,
            build_platform: platform.clone(),
            target_platforms: vec![platform],
            no_cache: false,
            no_cache_filter: Vec::new(),
            network: NetworkMode::Default,
            extra_hosts: Vec::new(),
            allow_insecure: false,
            allow_host_network: false,
            identity: PlanIdentity::default(),
        }
    }
}

/// Where the main build context comes from, as far as it decides whose its files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainContext {
    /// A directory of the caller. Its files become root's.
    Directory,
    /// It was fetched or unpacked. Its files have owners of their own.
    Fetched,
}

/// What becomes of the steps that planning added to a graph.
#[derive(Debug)]
pub struct Plan {
    /// One image for each platform, in the order asked for.
    pub images: Vec<ImagePlan>,
    /// What the build checks found, each tied to the source; the code is the name of the check.
    pub warnings: Vec<Diagnostic>,
    /// The checks whose findings fail the build, where the file wants that.
    pub violated: Vec<&'static str>,
    /// Build arguments that the caller gave and nothing uses.
    pub unused_build_args: Vec<String>,
}

/// Plans a build: adds the steps of all platforms to `graph`, or says everything that is wrong with it. A step that is there already,
/// from another plan, is that step.
pub fn plan(
    graph: &mut BuildGraph,
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    resolver: &dyn MetaResolver,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut images = Vec::with_capacity(options.target_platforms.len());
    let (mut warnings, mut violated) = (Vec::new(), Vec::new());
    let mut unused: Option<Vec<String>> = None;
    let mut steps = Vec::new();
    for (index, platform) in options.target_platforms.iter().enumerate() {
        let lowering = Lowering::new(dockerfile, options, resolver, platform.clone(), graph)?;
        let lowered = lowering.run()?;
        // Every platform gives the same warnings; one set is enough.
        if index == 0 {
            (warnings, violated) = (lowered.warnings, lowered.violated);
        }
        let still: Vec<String> = lowered.unused_build_args;
        unused = Some(match unused {
            None => still,
            Some(before) => before.into_iter().filter(|name| still.contains(name)).collect(),
        });
        steps.extend(lowered.steps);
        images.push(lowered.image);
    }
    number_steps(graph, &images, &steps, &options.identity.name);
    Ok(Plan { images, warnings, violated, unused_build_args: unused.unwrap_or_default() })
}

/// Runs the build checks alone: on the stages that the target needs, or on all where none is asked for. `graph` holds the plans that named
/// contexts lead to.
pub fn check(
    graph: &mut BuildGraph,
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    resolver: &dyn MetaResolver,
) -> Result<Checked, Vec<Diagnostic>> {
    let scope = if options.target.as_ref().is_none_or(String::is_empty) { Scope::All } else { Scope::Needed };
    Ok(Lowering::new(dockerfile, options, resolver, first_platform(options), graph)?.check(scope))
}

/// Finds out what the target takes from outside. `graph` holds the plans that named contexts lead to.
pub fn outline(
    graph: &mut BuildGraph,
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    resolver: &dyn MetaResolver,
) -> Result<Outline, Vec<Diagnostic>> {
    Lowering::new(dockerfile, options, resolver, first_platform(options), graph)?.outline()
}

fn first_platform(options: &PlanOptions) -> Platform {
    options.target_platforms.first().unwrap_or(&options.build_platform).clone()
}
