//! The policies of a build: which images it may use, and what they are called in their place.

use std::path::{Path, PathBuf};

use bake::cli::{PolicyArguments, PolicyFile};
use bake::error::CommandError;
use bake_attest::{POLICY_BYTES_MAX, Policy, RefusalReason, SourcePolicy};
use bake_frontend::MetaError;
use bake_oci::Reference;

use crate::configuration::Configuration;
use crate::files::read_file;
use crate::settings::variable;

/// What a user asked for.
#[derive(Debug, Default)]
pub(crate) struct PolicyRequest {
    files: Vec<PathBuf>,
    source_policy: Option<PathBuf>,
}

impl PolicyRequest {
    pub(crate) fn new(arguments: &PolicyArguments) -> Self {
        let files = arguments.policy.iter().filter_map(|policy| match policy {
            PolicyFile::File(path) => Some(path.clone()),
            PolicyFile::Disabled => None,
        });
        let variable = || variable("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY").map(PathBuf::from);
        Self { files: files.collect(), source_policy: arguments.source_policy_file.clone().or_else(variable) }
    }

    /// Adds the policy of the configuration, which no argument takes away.
    pub(crate) fn configured(&mut self, configuration: &Configuration) {
        self.files.extend(configuration.policy.clone());
    }
}

/// The policies of a build.
#[derive(Debug, Default)]
pub(crate) struct ImagePolicy {
    policies: Vec<(PathBuf, Policy)>,
    source_policy: Option<(PathBuf, SourcePolicy)>,
}

impl ImagePolicy {
    /// Reads the policies.
    ///
    /// # Errors
    /// One cannot be read, or means nothing.
    pub(crate) fn open(request: &PolicyRequest) -> Result<Self, CommandError> {
        let mut policies = Vec::new();
        for path in &request.files {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes).map_err(|_| unusable(path, "it is not UTF-8"))?;
            let policy = Policy::parse(&text).map_err(|error| unusable(path, &error.to_string()))?;
            if policy.key_files().next().is_some() {
                return Err(unusable(path, "`signed-by` is not supported yet"));
            }
            policies.push((path.clone(), policy));
        }
        let source_policy = match &request.source_policy {
            None => None,
            Some(path) => {
                let policy = SourcePolicy::parse(&read(path)?).map_err(|error| unusable(path, &error.to_string()))?;
                Some((path.clone(), policy))
            }
        };
        Ok(Self { policies, source_policy })
    }

    /// The name to use in place of `reference`, if there is one.
    ///
    /// # Errors
    /// The source policy denies the image.
    pub(crate) fn convert(&self, reference: &Reference) -> Result<Option<Reference>, MetaError> {
        let Some((path, policy)) = &self.source_policy else { return Ok(None) };
        policy.decide(reference).map_err(|refusal| refused(reference, path, &refusal.to_string(), None))
    }

    /// Whether all policies allow `reference`, whose digest is fixed or not. Nobody is asked about the image.
    ///
    /// # Errors
    /// Why one does not.
    pub(crate) fn check(&self, reference: &Reference, is_pinned: bool) -> Result<(), MetaError> {
        for (path, policy) in &self.policies {
            if let Err(refusal) = policy.decide(reference, is_pinned) {
                let hint = (refusal.reason == RefusalReason::Unpinned).then(
                    || "`bake pin` writes digests into the Dockerfile, `bake build --lock` into a file beside it",
                );
                return Err(refused(reference, path, &refusal.to_string(), hint));
            }
        }
        Ok(())
    }
}

fn refused(reference: &Reference, policy: &Path, reason: &str, hint: Option<&str>) -> MetaError {
    MetaError {
        message: format!("the policy `{}` refuses the image `{}`: {reason}", policy.display(), reference.familiar()),
        hint: hint.map(str::to_owned),
        source: None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    read_file(path, POLICY_BYTES_MAX as u64).map_err(|error| unusable(path, &error.to_string()))
}

fn unusable(path: &Path, problem: &str) -> CommandError {
    CommandError::input(format!("cannot use the policy `{}`: {problem}", path.display()))
}
