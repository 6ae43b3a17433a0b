//! From arguments and environment to requests: the only place that reads environment variables.

mod display;
mod docker;
mod outputs;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bake::cli::help::{WIDTH_DEFAULT, WIDTH_MAX, WIDTH_MIN};
use bake::cli::{BuildArguments, Call, Entitlement, NetworkMode, TraceRunMode};
use bake::error::CommandError;
use bake::ui::progress::DisplayKind;
use bake_cache::{ExportSpec as CacheExportSpec, ImportSpec, Place};
use bake_dockerfile::{CheckOptions, parse_boolean};
use bake_exporter::ExportSpec;
use bake_frontend::{MAIN_CONTEXT, MainContext, PlanIdentity, PlanOptions, is_http_url};
use bake_graph::{GitSource, HttpSource};
use bake_oci::{Platform, Reference};
use bake_solver::{Parallelism, TraceRun, VerifyShare};
use bake_worker::{SecretValue, StepLimits};
use std::sync::Arc;

pub(crate) use self::display::{ci, colour, display, display_options, palette_problems};
use crate::build::failure::FailureRequest;
use crate::configuration::Configuration;
use crate::limits::step_limits;
use crate::lock::LockRequest;
use crate::policy::PolicyRequest;
use crate::supply_chain::AttestRequest;

/// A secret larger than this is a mistake (BuildKit's limit is 500 KiB).
const SECRET_BYTES_MAX: u64 = 500 << 10;

/// A variable of the environment; one that is empty counts as unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the environment has a variable whose name begins like this.
pub(crate) fn any_variable(prefix: &str) -> bool {
    std::env::vars_os().any(|(name, _)| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

/// Every variable of the environment that is text.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// The directory that paths begin at, without links.
pub(crate) fn working_directory() -> Result<PathBuf, CommandError> {
    let directory = std::env::current_dir().and_then(std::fs::canonicalize);
    directory.map_err(|error| CommandError::input(format!("the working directory is not known: {error}")))
}

/// The columns of the lines of a help text on standard output.
pub(crate) fn help_width() -> usize {
    let columns = match bake::ui::terminal::size(std::io::stdout()) {
        Some((_, columns)) => Some(columns.into()),
        None => variable("COLUMNS").and_then(|text| text.parse().ok()),
    };
    columns.unwrap_or(WIDTH_DEFAULT).clamp(WIDTH_MIN, WIDTH_MAX)
}

/// The password of a key; unlike other variables, it may be empty.
pub(crate) fn key_password() -> Option<Vec<u8>> {
    std::env::var_os("COSIGN_PASSWORD").map(std::os::unix::ffi::OsStringExt::into_vec)
}

/// What `git` is given of the environment.
pub(crate) fn git_environment() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let kept = ["HOME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"];
    kept.iter().filter_map(|name| std::env::var_os(name).map(|value| (name.into(), value))).collect()
}

/// The names of variables of the environment that begin like this and are not empty.
pub(crate) fn variables(prefix: &str) -> Vec<String> {
    let names = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let names = names.filter_map(|(name, _)| name.into_string().ok().filter(|name| name.starts_with(prefix)));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Where the store is: `--root`, `$BAKE_ROOT`, `root` of the configuration, `/var/lib/bake` for root, `$XDG_DATA_HOME/bake` for others.
pub(crate) fn store_root(argument: Option<&Path>, is_root: bool) -> Result<PathBuf, CommandError> {
    if let Some(root) = argument {
        return Ok(root.to_owned());
    }
    if let Some(root) = variable("BAKE_ROOT") {
        return Ok(PathBuf::from(root));
    }
    if let Some(root) = Configuration::read(is_root)?.root {
        return Ok(root);
    }
    if is_root {
        return Ok(PathBuf::from("/var/lib/bake"));
    }
    if let Some(data) = variable("XDG_DATA_HOME") {
        return Ok(PathBuf::from(data).join("bake"));
    }
    match variable("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".local/share/bake")),
        None => Err(CommandError::usage(
            "cannot tell where images are to be kept: neither `$XDG_DATA_HOME` nor `$HOME` is set",
        )
        .hint("pass `--root DIR` or set `BAKE_ROOT`")),
    }
}

/// A file with the configuration of a machine or user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigurationFile {
    pub(crate) path: PathBuf,
    pub(crate) presence: Presence,
}

/// The files with the configuration, the later over the earlier: `/etc/bake/config.toml`, and for others than root
/// `$XDG_CONFIG_HOME/bake/config.toml`. `$BAKE_CONFIG` stands for both of them, and has to be there.
pub(crate) fn configuration_files(is_root: bool) -> Vec<ConfigurationFile> {
    if let Some(path) = variable("BAKE_CONFIG") {
        return vec![ConfigurationFile { path: PathBuf::from(path), presence: Presence::Required }];
    }
    let mut paths = vec![PathBuf::from("/etc/bake/config.toml")];
    if !is_root {
        let directory = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
        paths.extend(directory.map(|directory| directory.join("bake/config.toml")));
    }
    paths.into_iter().map(|path| ConfigurationFile { path, presence: Presence::Optional }).collect()
}

/// Whether a file has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Its absence is an error.
    Required,
    /// Without it, defaults hold.
    Optional,
}

/// Where pages are put that are to be opened: `$XDG_CACHE_HOME/bake`, else `~/.cache/bake`.
pub(crate) fn cache_directory() -> Option<PathBuf> {
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.map(|cache| cache.join("bake"))
}

/// The words of the command that opens a page: the first of `$BROWSER`, else `xdg-open` where there is a display.
pub(crate) fn browser() -> Option<Vec<String>> {
    if let Some(browsers) = variable("BROWSER") {
        let first = browsers.split(':').next().unwrap_or_default();
        return Some(first.split_whitespace().map(str::to_owned).collect());
    }
    let display = variable("WAYLAND_DISPLAY").or_else(|| variable("DISPLAY"));
    display.map(|_| vec!["xdg-open".to_owned()])
}

/// An amount of disk space as the store takes it.
pub(crate) fn space(space: bake::cli::Space) -> bake_store::Space {
    match space {
        bake::cli::Space::Bytes(bytes) => bake_store::Space::Bytes(bytes),
        bake::cli::Space::Percent(percent) => bake_store::Space::Percent(percent),
    }
}

/// The build context.
#[derive(Debug, Clone)]
pub(crate) enum ContextSpec {
    Directory(PathBuf),
    /// An archive, or a Dockerfile, on standard input.
    Stdin,
    /// A commit of a repository.
    Git(Box<GitSource>),
    /// An archive, or a Dockerfile, on an HTTP server.
    Http(HttpSource),
}

impl std::fmt::Display for ContextSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Git(source) => f.write_str(&bake_graph::without_credentials(&source.url)),
            Self::Http(source) => f.write_str(&bake_graph::without_credentials(&source.url)),
        }
    }
}

/// The Dockerfile.
#[derive(Debug, Clone)]
pub(crate) enum DockerfileSpec {
    /// `Dockerfile` in the context.
    Default,
    Path(PathBuf),
    Stdin,
    /// A file on an HTTP server.
    Http(HttpSource),
    /// Its text, from a file with targets.
    Inline(String),
}

impl BuildRequest {
    /// Where on this machine the Dockerfile lies; `None` for one that comes from elsewhere.
    pub(crate) fn absolute_dockerfile(&self) -> Option<PathBuf> {
        self.dockerfile_path().and_then(|path| std::path::absolute(path).ok())
    }

    /// Where the Dockerfile should be, if it is a file.
    pub(crate) fn dockerfile_path(&self) -> Option<PathBuf> {
        match (&self.dockerfile, &self.context) {
            (DockerfileSpec::Path(path), _) => Some(path.clone()),
            (DockerfileSpec::Default, ContextSpec::Directory(context)) => Some(context.join("Dockerfile")),
            _ => None,
        }
    }
}

/// What a `--build-context` names.
#[derive(Debug, Clone)]
pub(crate) enum NamedSource {
    Directory(PathBuf),
    Image(Box<Reference>),
    Layout { directory: PathBuf, name: Option<String> },
    Git(Box<GitSource>),
    Http(HttpSource),
}

/// Which time images get.
#[derive(Debug, Clone)]
pub(crate) enum SourceDateEpoch {
    /// Seconds since 1970.
    Seconds(i64),
    /// That of the main context (`context`) or of a named one.
    OfContext(String),
}

/// What a `--ssh` names.
#[derive(Debug, Clone)]
pub(crate) enum SshSource {
    /// The socket of an agent.
    Socket(PathBuf),
    /// Keys, for an agent to be started in this directory.
    Keys { keys: Vec<PathBuf>, directory: PathBuf },
}

/// Everything a user asked for, with nothing left to look up in arguments or environment.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct BuildRequest {
    pub(crate) context: ContextSpec,
    pub(crate) dockerfile: DockerfileSpec,
    pub(crate) plan: PlanOptions,
    pub(crate) named: BTreeMap<String, NamedSource>,
    pub(crate) tags: Vec<Reference>,
    pub(crate) exports: Vec<ExportSpec>,
    pub(crate) secrets: BTreeMap<String, SecretValue>,
    pub(crate) ssh: BTreeMap<String, SshSource>,
    /// Whether the result is an index even for a single platform.
    pub(crate) multi_platform: bool,
    pub(crate) pull: bool,
    pub(crate) parallelism: Parallelism,
    pub(crate) require_cached: bool,
    pub(crate) trace_run: TraceRun,
    pub(crate) verify_trace: VerifyShare,
    pub(crate) iidfile: Option<PathBuf>,
    pub(crate) metadata_file: Option<PathBuf>,
    /// Where a page about the build is written.
    pub(crate) report: Option<PathBuf>,
    /// Whether the findings of build checks are in that file.
    pub(crate) metadata_warnings: bool,
    pub(crate) source_date_epoch: Option<SourceDateEpoch>,
    pub(crate) shm_size_bytes: Option<u64>,
    pub(crate) limits: StepLimits,
    pub(crate) cache: CacheRequest,
    pub(crate) display: DisplayKind,
    pub(crate) call: Call,
    pub(crate) failure: FailureRequest,
    pub(crate) attest: AttestRequest,
    pub(crate) lock: LockRequest,
    pub(crate) policy: PolicyRequest,
}

/// The caches outside of the store that a build reads and writes.
#[derive(Debug, Default)]
pub(crate) struct CacheRequest {
    pub(crate) from: Vec<ImportSpec>,
    pub(crate) to: Vec<CacheExportSpec>,
    pub(crate) mounts_from: Vec<ImportSpec>,
    pub(crate) mounts_to: Vec<CacheExportSpec>,
}

impl CacheRequest {
    fn new(arguments: &BuildArguments, inline: bool) -> Result<Self, CommandError> {
        let imports = |texts: &[String]| {
            let parsed = texts.iter().map(|text| ImportSpec::parse(text)).collect::<Result<Vec<_>, _>>();
            parsed.map(|specs| specs.concat()).map_err(|error| CommandError::usage(error.to_string()))
        };
        let exports = |texts: &[String]| {
            let parsed = texts.iter().map(|text| CacheExportSpec::parse(text)).collect::<Result<Vec<_>, _>>();
            parsed.map(|specs| specs.concat()).map_err(|error| CommandError::usage(error.to_string()))
        };
        let mut request = Self {
            from: imports(&arguments.cache_from)?,
            to: exports(&arguments.cache_to)?,
            mounts_from: imports(&arguments.cache_mounts_from)?,
            mounts_to: exports(&arguments.cache_mounts_to)?,
        };
        if inline && !request.is_inline() {
            request.to.push(CacheExportSpec::inline());
        }
        if request.mounts_to.iter().any(|spec| spec.place == Place::Inline) {
            return Err(CommandError::usage(
                "cache mounts have no room in an image: `--cache-mounts-to` needs another type",
            ));
        }
        let taken = |spec: &CacheExportSpec| request.to.iter().any(|other| other.place == spec.place);
        if request.mounts_to.iter().any(taken) {
            return Err(CommandError::usage(
                "`--cache-to` and `--cache-mounts-to` would overwrite each other at the same place",
            )
            .hint("give one of them another tag, scope or name"));
        }
        Ok(request)
    }

    /// Whether the image is to carry its own results.
    pub(crate) fn is_inline(&self) -> bool {
        self.to.iter().any(|spec| spec.place == Place::Inline)
    }
}

impl BuildRequest {
    /// Registries that may be spoken to without a certificate that somebody vouches for.
    pub(crate) fn insecure_registries(&self) -> Vec<String> {
        let cache = &self.cache;
        let imports = cache.from.iter().chain(&cache.mounts_from).map(|spec| &spec.place);
        let exports = cache.to.iter().chain(&cache.mounts_to).map(|spec| &spec.place);
        let of_cache = imports.chain(exports).filter_map(|place| match place {
            Place::Registry { reference, insecure: true } => Some(reference.registry()),
            _ => None,
        });
        let outputs = self.exports.iter().filter(|export| export.placing.insecure).flat_map(|export| &export.names);
        of_cache.chain(outputs.map(Reference::registry)).map(str::to_owned).collect()
    }

    /// Resolves the arguments of `bake build`.
    pub(crate) fn new(arguments: &BuildArguments) -> Result<Self, CommandError> {
        let build_args = build_args(arguments);
        let context = context_spec(&arguments.context, truth(&build_args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR")?)?;
        let dockerfile = match arguments.file.as_deref().map(|path| (path, path.to_string_lossy())) {
            None => DockerfileSpec::Default,
            Some((_, text)) if text == "-" => DockerfileSpec::Stdin,
            Some((_, text)) if is_http_url(&text) => DockerfileSpec::Http(http_source(&text)),
            Some((path, _)) => DockerfileSpec::Path(path.to_owned()),
        };
        if matches!((&context, &dockerfile), (ContextSpec::Stdin, DockerfileSpec::Stdin)) {
            return Err(CommandError::usage(
                "the Dockerfile and the build context cannot both come from standard input",
            ));
        }
        let mut build_args = build_args;
        if let Some(syntax) = build_args.get("BUILDKIT_SYNTAX")
            && !bake_dockerfile::is_built_in_frontend(syntax)
        {
            return Err(CommandError::usage(format!("the frontend `BUILDKIT_SYNTAX={syntax}` is not supported")).hint(
                "the Dockerfile frontend is built in, and no image is run to read a Dockerfile; `docker/dockerfile` with any tag means it",
            ));
        }
        if let Some(text) = build_args.get("BUILDKIT_DOCKERFILE_CHECK").filter(|text| !text.trim().is_empty())
            && let Err(problem) = CheckOptions::parse(text)
        {
            return Err(CommandError::usage(format!("cannot use `BUILDKIT_DOCKERFILE_CHECK={text}`: {problem}")));
        }
        let epoch_text = build_args.get("SOURCE_DATE_EPOCH").cloned().or_else(|| variable("SOURCE_DATE_EPOCH"));
        let source_date_epoch = epoch_text.map(|text| match text.parse::<i64>() {
            Ok(seconds) => SourceDateEpoch::Seconds(seconds),
            Err(_) => SourceDateEpoch::OfContext(text),
        });
        // The value that steps see is set when it is known.
        build_args.remove("SOURCE_DATE_EPOCH");
        if arguments.verify_reproducible && source_date_epoch.is_none() {
            return Err(CommandError::usage("without `SOURCE_DATE_EPOCH` every image has the time of its build")
                .hint("set it to a fixed time, for example `SOURCE_DATE_EPOCH=$(git log -1 --pretty=%ct)`"));
        }
        let tags = arguments.tag.iter().map(|tag| tag_reference(tag)).collect::<Result<Vec<_>, _>>()?;
        let platforms = platforms(&arguments.platform)?;
        let mut request = Self {
            context,
            dockerfile,
            named: named_sources(arguments)?,
            exports: outputs::outputs(arguments, &tags, &platforms)?,
            secrets: secrets(&arguments.secret)?,
            ssh: ssh_sources(&arguments.ssh)?,
            multi_platform: truth(&build_args, "BUILDKIT_MULTI_PLATFORM")?,
            pull: arguments.pull,
            parallelism: parallelism(arguments.jobs),
            require_cached: arguments.require_cached,
            trace_run: trace_run(arguments.trace.trace_run),
            verify_trace: verify_share(arguments.trace.verify_trace),
            iidfile: arguments.iidfile.clone(),
            metadata_file: arguments.metadata_file.clone(),
            report: arguments.report.clone(),
            metadata_warnings: variable("BUILDX_METADATA_WARNINGS")
                .is_some_and(|text| parse_boolean(&text) == Some(true)),
            source_date_epoch,
            shm_size_bytes: arguments.shm_size,
            limits: step_limits(&arguments.limits)?,
            cache: CacheRequest::new(arguments, truth(&build_args, "BUILDKIT_INLINE_CACHE")?)?,
            display: display(arguments.quiet, arguments.progress)?,
            call: arguments.called(),
            failure: FailureRequest::new(arguments),
            attest: attest_request(arguments)?,
            lock: LockRequest::new(&arguments.lock),
            policy: PolicyRequest::new(&arguments.policy),
            plan: PlanOptions {
                main_context: MainContext::Directory,
                target: arguments.target.clone(),
                build_args,
                labels: labels(arguments),
                build_platform: Platform::host(),
                target_platforms: platforms,
                no_cache: arguments.no_cache || arguments.verify_reproducible,
                no_cache_filter: arguments.no_cache_filter.clone(),
                network: match arguments.network {
                    NetworkMode::Default => bake_graph::NetworkMode::Default,
                    NetworkMode::None => bake_graph::NetworkMode::None,
                    NetworkMode::Host => bake_graph::NetworkMode::Host,
                },
                extra_hosts: extra_hosts(&arguments.add_host)?,
                allow_insecure: arguments.allow.contains(&Entitlement::SecurityInsecure),
                identity: PlanIdentity::default(),
                allow_host_network: arguments.allow.contains(&Entitlement::NetworkHost)
                    || arguments.network == NetworkMode::Host,
            },
            tags,
        };
        request.attest.check_outputs(&request.exports)?;
        let other_layers = |export: &ExportSpec| export.times.rewrite || export.compression.estargz;
        if request.cache.is_inline() && request.exports.iter().any(other_layers) {
            return Err(CommandError::usage(
                "an image with rewritten times or eStargz layers cannot carry its own results: its layers are others",
            )
            .hint("use another type of `--cache-to`, or leave out `rewrite-timestamp` and `compression=estargz`"));
        }
        for name in request.exports.iter().flat_map(|export| &export.names) {
            if !request.tags.contains(name) {
                request.tags.push(name.clone());
            }
        }
        Ok(request)
    }
}

/// What is to be said of the images.
fn attest_request(arguments: &BuildArguments) -> Result<AttestRequest, CommandError> {
    let request = AttestRequest::new(&arguments.supply_chain)?;
    match arguments.metadata_file {
        Some(_) => request.with_metadata(variable("BUILDX_METADATA_PROVENANCE").as_deref()),
        None => Ok(request),
    }
}

/// The build arguments that have values; one without takes that of the environment.
fn build_args(arguments: &BuildArguments) -> BTreeMap<String, String> {
    given(&arguments.build_arg)
}

/// The assignments that have values; one without takes that of the environment.
pub(crate) fn given(assignments: &[bake::cli::Assignment]) -> BTreeMap<String, String> {
    let value =
        |argument: &bake::cli::Assignment| argument.value.clone().or_else(|| std::env::var(&argument.name).ok());
    assignments.iter().filter_map(|argument| Some((argument.name.clone(), value(argument)?))).collect()
}

/// The truth value of a build argument that bake itself obeys; one that is not given means no.
fn truth(build_args: &BTreeMap<String, String>, name: &str) -> Result<bool, CommandError> {
    let Some(value) = build_args.get(name).filter(|value| !value.is_empty()) else { return Ok(false) };
    parse_boolean(value)
        .ok_or_else(|| CommandError::usage(format!("`--build-arg {name}={value}` is neither true nor false")))
}

/// As many steps as keep all processors busy, unless a number was asked for.
fn parallelism(jobs: Option<NonZeroUsize>) -> Parallelism {
    match jobs {
        Some(jobs) => Parallelism::Fixed(jobs),
        None => Parallelism::Processors(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
    }
}

fn trace_run(mode: TraceRunMode) -> TraceRun {
    match mode {
        TraceRunMode::Auto => TraceRun::Auto,
        TraceRunMode::On => TraceRun::On,
        TraceRunMode::Off => TraceRun::Off,
    }
}

/// A share of steps, drawn anew in each build.
fn verify_share(percent: Option<u8>) -> VerifyShare {
    use std::hash::BuildHasher as _;
    let Some(percent) = percent.filter(|percent| *percent > 0) else { return VerifyShare::default() };
    // The keys of a new state are the operating system's random numbers.
    let seed = std::hash::RandomState::new().hash_one(std::process::id());
    tracing::debug!(percent, seed, "some reused steps are run to verify them");
    VerifyShare { percent, seed }
}

fn tag_reference(text: &str) -> Result<Reference, CommandError> {
    let reference =
        Reference::parse(text).map_err(|error| CommandError::usage(format!("invalid tag `{text}`: {error}")))?;
    if reference.digest().is_some() {
        return Err(CommandError::usage(format!("invalid tag `{text}`: a name for a new image cannot hold a digest")));
    }
    Ok(reference.or_latest())
}

fn labels(arguments: &BuildArguments) -> BTreeMap<String, String> {
    arguments.label.iter().map(|label| (label.name.clone(), label.value.clone().unwrap_or_default())).collect()
}

fn platforms(texts: &[String]) -> Result<Vec<Platform>, CommandError> {
    let mut platforms = Vec::with_capacity(texts.len().max(1));
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let platform = Platform::parse(text)
            .map_err(|error| CommandError::usage(format!("failed to parse platform {text}: {error}")))?;
        if platform.os != "linux" {
            return Err(CommandError::usage(format!("cannot build for {platform}: bake builds Linux images")));
        }
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(platforms)
}

/// `HOST:IP`, where the address of this machine can be written `host-gateway`.
pub(crate) fn extra_hosts(texts: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    let mut hosts = Vec::with_capacity(texts.len());
    for text in texts {
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let (host, address) =
            split.ok_or_else(|| CommandError::usage(format!("invalid host `{text}`: expected HOST:IP")))?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let known = address == bake_worker::HOST_GATEWAY || address.parse::<std::net::IpAddr>().is_ok();
        if host.is_empty() || !known {
            return Err(CommandError::usage(format!("invalid host `{text}`: `{address}` is no IP address")));
        }
        hosts.push((host.to_owned(), address.to_owned()));
    }
    Ok(hosts)
}

fn named_sources(arguments: &BuildArguments) -> Result<BTreeMap<String, NamedSource>, CommandError> {
    let mut named = BTreeMap::new();
    for context in &arguments.build_context {
        let value = context.value.clone().unwrap_or_default();
        if context.name == MAIN_CONTEXT {
            return Err(CommandError::usage(format!(
                "`{MAIN_CONTEXT}` is the main build context, no other one can have this name"
            )));
        }
        let source = if let Some(reference) = value.strip_prefix("docker-image://") {
            let reference = Reference::parse(reference).map_err(|error| {
                CommandError::usage(format!("invalid build context `{}={value}`: {error}", context.name))
            })?;
            NamedSource::Image(Box::new(reference))
        } else if let Some(layout) = value.strip_prefix("oci-layout://") {
            layout_source(layout)
        } else if bake_frontend::is_git_context(&value) {
            NamedSource::Git(Box::new(git_source(&value)?))
        } else if is_http_url(&value) {
            NamedSource::Http(http_source(&value))
        } else if value.contains("://") {
            return Err(CommandError::usage(format!(
                "the build context `{}={value}` is of an unknown kind",
                context.name
            ))
            .hint("it can be a directory, `docker-image://REFERENCE`, `oci-layout://DIR`, a git repository or an HTTP address"));
        } else {
            NamedSource::Directory(PathBuf::from(value))
        };
        named.insert(context_name(&context.name), source);
    }
    Ok(named)
}

/// What the positional argument of `bake build` names.
fn context_spec(text: &str, keep_git: bool) -> Result<ContextSpec, CommandError> {
    // What is there as a directory is meant as one, even where its name could be a repository's.
    if text != "-" && !text.contains("://") && Path::new(text).is_dir() {
        return Ok(ContextSpec::Directory(PathBuf::from(text)));
    }
    if bake_frontend::is_git_context(text) {
        let mut source = git_source(text)?;
        source.keep_git_directory |= keep_git;
        return Ok(ContextSpec::Git(Box::new(source)));
    }
    if is_http_url(text) {
        return Ok(ContextSpec::Http(http_source(text)));
    }
    if text == "-" { Ok(ContextSpec::Stdin) } else { Ok(ContextSpec::Directory(PathBuf::from(text))) }
}

fn git_source(text: &str) -> Result<GitSource, CommandError> {
    bake_frontend::parse_git_url(text).map_err(|error| CommandError::usage(error.to_string()))
}

fn http_source(url: &str) -> HttpSource {
    HttpSource { url: url.to_owned(), checksum: None }
}

/// The form in which names of contexts are compared: familiar, without `:latest`.
pub(crate) fn context_name(name: &str) -> String {
    match Reference::parse(name) {
        Ok(reference) => {
            let familiar = reference.familiar();
            familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
        }
        Err(_) => name.to_owned(),
    }
}

/// `DIR[:TAG][@DIGEST]`
fn layout_source(text: &str) -> NamedSource {
    if let Some((directory, digest)) = text.rsplit_once('@') {
        let directory = directory
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
            .map_or(directory, |(directory, _)| directory);
        return NamedSource::Layout { directory: PathBuf::from(directory), name: Some(digest.to_owned()) };
    }
    match text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((directory, tag)) => {
            NamedSource::Layout { directory: PathBuf::from(directory), name: Some(tag.to_owned()) }
        }
        None => NamedSource::Layout { directory: PathBuf::from(text), name: None },
    }
}

/// `id=NAME[,src=FILE|,env=VARIABLE]`; without either, the variable of that name, else the file.
pub(crate) fn secrets(specs: &[String]) -> Result<BTreeMap<String, SecretValue>, CommandError> {
    let mut secrets = BTreeMap::new();
    for spec in specs {
        let refuse = |problem: String| CommandError::usage(format!("invalid secret `{spec}`: {problem}"));
        let (mut id, mut file, mut env) = (None, None, None);
        for field in spec.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
                Some(("env", value)) => env = Some(value.to_owned()),
                Some(("type", "file" | "env")) => {}
                _ => return Err(refuse(format!("`{field}` is not id=, src=, env= or type="))),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| refuse("it has no id".into()))?;
        let value = match (file, env) {
            (Some(_), Some(_)) => return Err(refuse("src and env exclude each other".into())),
            (Some(file), None) => {
                read_secret(&file).map_err(|error| refuse(format!("cannot read `{}`: {error}", file.display())))?
            }
            (None, Some(name)) => std::env::var(&name)
                .map(String::into_bytes)
                .map_err(|_| refuse(format!("the environment variable `{name}` is not set")))?,
            (None, None) => match std::env::var(&id) {
                Ok(value) => value.into_bytes(),
                Err(_) => read_secret(Path::new(&id)).map_err(|error| {
                    refuse(format!("there is no environment variable and no readable file of that name: {error}"))
                })?,
            },
        };
        secrets.insert(id, SecretValue(Arc::new(value)));
    }
    Ok(secrets)
}

/// `ID[=SOCKET|KEY[,KEY]...]`; the ID alone means the agent of the environment.
pub(crate) fn ssh_sources(specs: &[String]) -> Result<BTreeMap<String, SshSource>, CommandError> {
    use std::os::unix::fs::FileTypeExt as _;
    let mut sources = BTreeMap::new();
    for spec in specs {
        let refuse = |problem: String| CommandError::usage(format!("invalid SSH agent `{spec}`: {problem}"));
        let (id, paths) = spec.split_once('=').unwrap_or((spec, ""));
        if id.is_empty() {
            return Err(refuse("it has no ID, such as `default`".into()));
        }
        let paths: Vec<PathBuf> = paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        let is_socket = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.file_type().is_socket());
        let source = match paths.as_slice() {
            [] => match variable("SSH_AUTH_SOCK") {
                Some(socket) => SshSource::Socket(PathBuf::from(socket)),
                None => return Err(refuse("`SSH_AUTH_SOCK` is not set, and no socket or key is given".into())),
            },
            paths => {
                let mut sockets = 0;
                for path in paths {
                    match is_socket(path) {
                        Ok(true) => sockets += 1,
                        Ok(false) => {}
                        Err(error) => return Err(refuse(format!("cannot read `{}`: {error}", path.display()))),
                    }
                }
                match (sockets, paths) {
                    (0, keys) => {
                        let directory = variable("XDG_RUNTIME_DIR").or_else(|| variable("TMPDIR"));
                        let directory = directory.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
                        SshSource::Keys { keys: keys.to_vec(), directory }
                    }
                    (1, [socket]) => SshSource::Socket(socket.clone()),
                    _ => return Err(refuse("one socket, or any number of keys, but not both".into())),
                }
            }
        };
        if sources.insert(id.to_owned(), source).is_some() {
            return Err(refuse(format!("`{id}` was given twice")));
        }
    }
    Ok(sources)
}

fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
