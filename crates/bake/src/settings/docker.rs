//! Which docker is meant: by `context=`, `DOCKER_HOST`, `DOCKER_CONTEXT` or docker's config, as `docker` itself has it.

use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake_exporter::DockerEndpoint;
use bake_oci::Digest;
use serde_json::Value;

use super::variable;

/// The largest file of docker's settings that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The docker of a context, or the one that the environment says.
pub(super) fn endpoint(context: Option<&str>) -> Result<DockerEndpoint, CommandError> {
    let directory = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".docker")));
    let endpoint = if let (None, Some(host)) = (context, variable("DOCKER_HOST")) {
        parse(&host, "DOCKER_HOST")?
    } else {
        let current = || variable("DOCKER_CONTEXT").or_else(|| current_context(directory.as_deref()?));
        match context.map(str::to_owned).or_else(current).as_deref() {
            None | Some("default") => DockerEndpoint::standard(),
            Some(name) => of_context(name, directory.as_deref())?,
        }
    };
    if matches!(endpoint, DockerEndpoint::Tcp(_)) && variable("DOCKER_TLS_VERIFY").is_some() {
        return Err(CommandError::usage("loading into a docker behind TLS is not supported")
            .hint("write an archive with `dest=`, and load it with `docker load`"));
    }
    Ok(endpoint)
}

fn parse(host: &str, place: &str) -> Result<DockerEndpoint, CommandError> {
    DockerEndpoint::parse(host).map_err(|problem| CommandError::usage(format!("cannot use {place}: {problem}")))
}

fn current_context(directory: &Path) -> Option<String> {
    let config = document(&directory.join("config.json")).ok()?;
    Some(config["currentContext"].as_str()?.to_owned())
}

/// The address in docker's file of a context, whose directory is the digest of its name.
fn of_context(name: &str, directory: Option<&Path>) -> Result<DockerEndpoint, CommandError> {
    let directory = directory.ok_or_else(|| CommandError::usage(format!("there is no docker context `{name}`")))?;
    let digest = Digest::of(name.as_bytes());
    let path = directory.join("contexts/meta").join(digest.hex()).join("meta.json");
    let file = document(&path).map_err(|error| {
        CommandError::usage(format!("there is no docker context `{name}`: cannot read `{}`: {error}", path.display()))
            .hint("`docker context ls` lists those that there are")
    })?;
    let host = file["Endpoints"]["docker"]["Host"].as_str().unwrap_or_default();
    parse(host, &format!("the docker context `{name}`"))
}

fn document(path: &Path) -> std::io::Result<Value> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::other)
}
