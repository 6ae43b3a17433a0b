//! Builds for outputs, and small images in a registry.

use std::process::Command;

use bake_testkit::registry::{Config, FakeRegistry};

use super::{Environment, Scratch, succeed};

/// A registry that takes everything.
pub(crate) fn registry() -> Result<FakeRegistry, String> {
    FakeRegistry::start(Config::default()).map_err(|error| error.to_string())
}

/// Builds an image with one file, pushes it, and tells its digest.
pub(crate) fn publish(
    environment: &Environment,
    scratch: &Scratch,
    name: &str,
    content: &str,
) -> Result<String, String> {
    scratch.write("publish/Dockerfile", "FROM scratch\nCOPY file /file\n")?;
    scratch.write("publish/file", content)?;
    let mut command = environment.build(&scratch.store());
    command.args(["--push", "--tag", name]).arg(scratch.at("publish")).env("DOCKER_CONFIG", scratch.path());
    succeed(&mut command).map(|finished| finished.text())
}

/// A build of the directory `context` with outputs, whose paths are relative to the scratch directory.
pub(crate) fn build(environment: &Environment, scratch: &Scratch, outputs: &[&str]) -> Command {
    let mut command = environment.build(&scratch.store());
    for output in outputs {
        command.args(["--output", output]);
    }
    command.arg(scratch.at("context")).current_dir(scratch.path());
    command
}
