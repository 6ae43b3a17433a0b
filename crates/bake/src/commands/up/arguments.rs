//! From a target to the request of a build: by way of the flags of `bake build`, so that an attribute means what the flag means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use bake::cli::{Arguments, BuildArguments, Command, UpArguments};
use bake::error::CommandError;
use bake_frontend::{is_git_context, is_http_url};
use bake_targets::{AttestEntry, CacheEntry, OutputEntry, SecretEntry, SshEntry, Target};
use clap::Parser as _;

use super::{DockerfileSpec, HERE};
use crate::configuration::defaults::configured_for_target;
use crate::configuration::values::Values;
use crate::settings::{BuildRequest, context_name};

/// The Dockerfile of a target that names none.
const DOCKERFILE: &str = "Dockerfile";

/// A target as a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) name: String,
    pub(super) build: BuildRequest,
    /// Contexts that are other targets, by the names that Dockerfiles are compared with.
    pub(super) links: BTreeMap<String, String>,
    /// Whether it is built only because another target is built from it.
    pub(super) linked: bool,
}

impl Request {
    /// `remote` is the repository that the files come from.
    pub(super) fn new(
        target: &Target,
        up: &UpArguments,
        remote: Option<&str>,
        configured: &Values,
    ) -> Result<Self, CommandError> {
        let place = Place { remote };
        let request = || {
            let arguments = build_arguments(target, up, place, configured)?;
            let mut build = BuildRequest::new(&arguments)?;
            build.report = up.report.clone().or(build.report);
            build.failure.typed = Some(Err("it was one of several targets".to_owned()));
            if let Some(text) = &target.dockerfile_inline {
                build.dockerfile = DockerfileSpec::Inline(text.clone());
            }
            Ok(build)
        };
        let build = request().map_err(|error: CommandError| error.context(format!("target `{}`", target.name)))?;
        let links = links(target).map(|(name, linked)| (context_name(name), linked.to_owned())).collect();
        Ok(Self { name: target.name.clone(), build, links, linked: target.linked })
    }
}

/// The contexts of a target that are other targets.
pub(super) fn links(target: &Target) -> impl Iterator<Item = (&str, &str)> {
    target.contexts.iter().filter_map(|(name, context)| Some((name.as_str(), context.strip_prefix("target:")?)))
}

/// Where the paths of a file begin.
#[derive(Clone, Copy)]
struct Place<'a> {
    remote: Option<&'a str>,
}

impl Place<'_> {
    /// A context as a flag of a build takes it.
    fn context(self, context: &str) -> Result<String, CommandError> {
        if let Some(path) = context.strip_prefix(HERE) {
            return Ok(local(path));
        }
        match self.remote {
            Some(address) if !is_elsewhere(context) => within(address, context),
            _ => Ok(context.to_owned()),
        }
    }
}

/// Whether a context says by itself where it is.
fn is_elsewhere(context: &str) -> bool {
    context.starts_with("docker-image:") || context.contains("://") || is_git_context(context) || is_http_url(context)
}

/// A path on this machine; nothing is this directory.
fn local(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

/// The directory `path` of a repository, as an address of its own.
fn within(address: &str, path: &str) -> Result<String, CommandError> {
    let (base, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let above = parts.len();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.extend(part.to_str()),
            // What leads out of the repository stays in it, as in BuildKit.
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if parts.len() == above && !path.contains("..") {
        return Ok(address.to_owned());
    }
    if base.contains('?') {
        return Err(CommandError::usage(format!("`{path}` cannot be found in a repository whose address has a query"))
            .hint("write the address as URL#REF:DIRECTORY"));
    }
    Ok(format!("{base}#{reference}:{}", parts.join("/")))
}

fn build_arguments(
    target: &Target,
    up: &UpArguments,
    place: Place<'_>,
    configured: &Values,
) -> Result<Box<BuildArguments>, CommandError> {
    let context = place.context(target.context.as_deref().unwrap_or("."))?;
    let mut flags = Flags(Vec::new());
    if target.dockerfile_inline.is_none() {
        flags.each("file", dockerfile(target.dockerfile.as_deref().unwrap_or(DOCKERFILE), &context));
    }
    flags.each("target", target.target.iter().filter(|stage| !stage.is_empty()));
    flags.each("tag", target.tags.iter().flatten());
    flags.each("platform", target.platforms.iter().flatten());
    flags.pairs("build-arg", &target.args);
    flags.pairs("label", &target.labels);
    flags.each("annotation", target.annotations.iter().flatten());
    for (name, value) in &target.contexts {
        if !value.starts_with("target:") {
            flags.add("build-context", &format!("{name}={}", place.context(value)?));
        }
    }
    flags.each("output", target.outputs.iter().flatten().map(OutputEntry::to_flag));
    flags.each("cache-from", target.cache_from.iter().flatten().map(CacheEntry::to_flag));
    flags.each("cache-to", target.cache_to.iter().flatten().map(CacheEntry::to_flag));
    flags.each("secret", target.secrets.iter().flatten().map(SecretEntry::to_flag));
    flags.each("ssh", target.ssh.iter().flatten().map(SshEntry::to_flag));
    flags.each("attest", target.attest.iter().flatten().map(AttestEntry::to_flag));
    flags.each("no-cache", target.no_cache.map(|value| value.to_string()));
    flags.each("no-cache-filter", target.no_cache_filter.iter().flatten());
    flags.each("pull", target.pull.map(|value| value.to_string()));
    flags.each("network", target.network.iter().filter(|network| !network.is_empty()));
    flags.pairs("add-host", &target.extra_hosts);
    flags.each("shm-size", target.shm_size.iter().filter(|size| !size.is_empty()));
    flags.each("ulimit", target.ulimits.iter().flatten());
    flags.each("allow", target.entitlements.iter().flatten());
    flags.each("allow", up.allow.iter().filter(|allowed| *allowed == "buildx.local.delete"));
    flags.each("call", target.call.iter().filter(|call| !call.is_empty()));
    let mut words = vec!["bake".to_owned(), "build".to_owned()];
    words.append(&mut flags.0);
    // A directory may be called like a flag.
    words.extend(["--".to_owned(), context]);
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let parsed = Arguments::try_parse_from(&words).map_err(|error| {
        let text = error.to_string();
        // What follows is about a command line that nobody typed.
        let first = text.trim_start_matches("error: ").split("\n\nUsage:").next().unwrap_or_default();
        let first = first.split("\n\nFor more information").next().unwrap_or_default();
        CommandError::usage(first.split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    let configured = configured_for_target(&words, configured)?;
    let parsed = configured.map_or(parsed, |configured| configured.arguments);
    let Command::Build(mut build) = parsed.command else {
        return Err(CommandError::internal("the arguments of a build are those of another command"));
    };
    build.metadata_file = up.metadata_file.clone().or(build.metadata_file);
    build.progress = up.progress.or(build.progress);
    build.jobs = up.jobs.or(build.jobs);
    build.require_cached |= up.require_cached;
    build.trace.trace_run = up.trace_run.unwrap_or(build.trace.trace_run);
    build.trace.verify_trace = up.verify_trace.or(build.trace.verify_trace);
    build.load |= up.load;
    // It is no result of anybody's.
    build.load &= !target.linked;
    build.push &= !target.linked;
    build.call = up.called().or(build.call);
    Ok(build)
}

/// The Dockerfile, where that is not found without being named.
fn dockerfile(path: &str, context: &str) -> Option<String> {
    if let Some(here) = path.strip_prefix(HERE) {
        let here = std::path::absolute(here).unwrap_or_else(|_| PathBuf::from(here));
        return Some(here.to_string_lossy().into_owned());
    }
    if is_http_url(path) || path.starts_with('/') {
        return Some(path.to_owned());
    }
    if is_elsewhere(context) {
        return Some(path.to_owned()).filter(|path| path != DOCKERFILE);
    }
    let joined = if context == "." { path.to_owned() } else { format!("{}/{path}", context.trim_end_matches('/')) };
    // One that has the other spelling is found in its directory.
    let other = path == DOCKERFILE && !Path::new(&joined).exists() && Path::new(context).join("dockerfile").exists();
    (!other).then_some(joined)
}

/// Flags of a build, as words.
struct Flags(Vec<String>);

impl Flags {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(format!("--{name}={value}"));
    }

    fn each<T: AsRef<str>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.add(name, value.as_ref());
        }
    }

    fn pairs(&mut self, name: &str, values: &BTreeMap<String, String>) {
        for (key, value) in values {
            self.add(name, &format!("{key}={value}"));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_repository_are_found_in_it() {
        let address = "https://example.com/a.git#main:dir";
        assert_eq!(within(address, ".").unwrap(), address);
        assert_eq!(within(address, "sub/x").unwrap(), "https://example.com/a.git#main:dir/sub/x");
        assert_eq!(within(address, "../..").unwrap(), "https://example.com/a.git#main:");
        assert_eq!(within("https://example.com/a.git", "./sub").unwrap(), "https://example.com/a.git#:sub");
        assert!(within("https://example.com/a.git?ref=x", "sub").is_err());
        let place = Place { remote: Some(address) };
        assert_eq!(place.context("cwd://x").unwrap(), "x");
        assert_eq!(place.context("docker-image://alpine").unwrap(), "docker-image://alpine");
        assert_eq!(place.context("https://example.com/b.git").unwrap(), "https://example.com/b.git");
        assert_eq!(Place { remote: None }.context("../x").unwrap(), "../x");
    }

    #[test]
    fn dockerfiles_lie_in_their_contexts() {
        assert_eq!(dockerfile("Dockerfile", ".").unwrap(), "Dockerfile");
        assert_eq!(dockerfile("x/Dockerfile", "app/").unwrap(), "app/x/Dockerfile");
        assert_eq!(dockerfile("/x", "app").unwrap(), "/x");
        assert_eq!(dockerfile("Dockerfile", "https://example.com/a.git"), None);
        assert_eq!(dockerfile("x", "https://example.com/a.git").unwrap(), "x");
        assert!(dockerfile("cwd://x", "https://example.com/a.git").unwrap().starts_with('/'));
    }
}
