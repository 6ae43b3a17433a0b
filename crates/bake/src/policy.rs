//! The policies of a build: which images it may use, and what they are called in their place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bake::cli::{PolicyArguments, PolicyFile};
use bake::error::CommandError;
use bake_attest::{KEY_BYTES_MAX, POLICY_BYTES_MAX, Policy, RefusalReason, SourcePolicy, VerifyingKey};
use bake_frontend::MetaError;
use bake_oci::{Digest, Reference};
use bake_store::Store;
use bake_worker::{Network, NetworkError};

use crate::configuration::Configuration;
use crate::files::read_file;
use crate::settings::variable;
use crate::signatures::{self, VerifyError};
use crate::wiring::Host;

/// The space of the store in which verified signatures are remembered. What was once signed stays so.
const SIGNED: &str = "signed";
const PINNING: &str = "`bake pin` writes digests into the Dockerfile, `bake build --lock` into a file beside it";

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
#[derive(Debug)]
pub(crate) struct ImagePolicy {
    policies: Vec<Rules>,
    source_policy: Option<(PathBuf, SourcePolicy)>,
    network: Arc<Network>,
    store: Store,
}

/// A policy with the keys that it names.
#[derive(Debug)]
struct Rules {
    path: PathBuf,
    policy: Policy,
    /// By the paths that the policy has for them.
    keys: BTreeMap<String, VerifyingKey>,
}

/// A signature that a policy wants.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    policy: &'a Path,
    line: Option<usize>,
    /// One of these, with the paths that the policy has for them.
    keys: Vec<(&'a str, &'a VerifyingKey)>,
}

impl ImagePolicy {
    /// Reads the policies.
    ///
    /// # Errors
    /// One cannot be read, or means nothing.
    pub(crate) fn open(request: &PolicyRequest, host: &Host) -> Result<Self, CommandError> {
        let mut policies = Vec::new();
        for path in &request.files {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes).map_err(|_| unusable(path, "it is not UTF-8"))?;
            let policy = Policy::parse(&text).map_err(|error| unusable(path, &error.to_string()))?;
            let directory = path.parent().unwrap_or(Path::new(""));
            let key = |file: &str| {
                let key = public_key(&directory.join(file)).map_err(|problem| {
                    unusable(path, &format!("the key `{}` cannot be used: {problem}", directory.join(file).display()))
                })?;
                Ok((file.to_owned(), key))
            };
            let keys = policy.key_files().map(key).collect::<Result<_, CommandError>>()?;
            policies.push(Rules { path: path.clone(), policy, keys });
        }
        let source_policy = match &request.source_policy {
            None => None,
            Some(path) => {
                let policy = SourcePolicy::parse(&read(path)?).map_err(|error| unusable(path, &error.to_string()))?;
                Some((path.clone(), policy))
            }
        };
        Ok(Self { policies, source_policy, network: Arc::clone(&host.network), store: host.store.clone() })
    }

    /// The name to use in place of `reference`, if there is one.
    ///
    /// # Errors
    /// The source policy denies the image.
    pub(crate) fn convert(&self, reference: &Reference) -> Result<Option<Reference>, MetaError> {
        let Some((path, policy)) = &self.source_policy else { return Ok(None) };
        policy.decide(reference).map_err(|refusal| refused(reference, path, &refusal.to_string(), None))
    }

    /// Whether all policies allow `reference`, whose digest is fixed or not; and the signatures that they want. Nobody is asked about
    /// the image.
    ///
    /// # Errors
    /// Why one does not.
    pub(crate) fn check(&self, reference: &Reference, is_pinned: bool) -> Result<Vec<Wanted<'_>>, MetaError> {
        let mut wanted = Vec::new();
        for Rules { path, policy, keys } in &self.policies {
            let allowed = policy.decide(reference, is_pinned).map_err(|refusal| {
                let hint = (refusal.reason == RefusalReason::Unpinned).then_some(PINNING);
                refused(reference, path, &refusal.to_string(), hint)
            })?;
            if !allowed.signed_by.is_empty() {
                let keys = allowed.signed_by.iter().filter_map(|file| Some((file.as_str(), keys.get(file)?)));
                wanted.push(Wanted { policy: path, line: allowed.line, keys: keys.collect() });
            }
        }
        Ok(wanted)
    }

    /// Verifies the signatures that are wanted of `reference`; gives the name with the digest that was signed. `None` if none are
    /// wanted.
    ///
    /// # Errors
    /// One is missing, or nobody could be asked.
    pub(crate) fn verify(&self, reference: &Reference, wanted: &[Wanted<'_>]) -> Result<Option<Reference>, MetaError> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let digest = self.digest_of(reference)?;
        let reference = reference.with_digest(digest.clone());
        for wanted in wanted {
            let remembered = |key: &VerifyingKey| {
                let found = self.store.recall(SIGNED, &remembered_name(&reference, key), Duration::MAX);
                found.is_ok_and(|found| found.is_some())
            };
            if wanted.keys.iter().any(|(_, key)| remembered(key)) {
                continue;
            }
            let keys: Vec<&VerifyingKey> = wanted.keys.iter().map(|(_, key)| *key).collect();
            let key = signatures::verify(&self.network, &reference, &digest, &keys).map_err(|error| match error {
                VerifyError::Network(error) => unanswered(&reference, error),
                other => refused(&reference, wanted.policy, &format!("{wanted}, but {other}"), None),
            })?;
            if let Err(error) = self.store.remember(SIGNED, &remembered_name(&reference, key), b"") {
                tracing::debug!(%error, "a verified signature is not remembered");
            }
        }
        Ok(Some(reference))
    }

    /// The digest of an image: the one it is named by, or the one that its tag means now.
    fn digest_of(&self, reference: &Reference) -> Result<Digest, MetaError> {
        if let Some(digest) = reference.digest() {
            return Ok(digest.clone());
        }
        let head = self.network.start().and_then(|(runtime, client)| {
            runtime.block_on(client.head_manifest(&reference.or_latest())).map_err(NetworkError::from)
        });
        match head {
            Ok(Some(head)) => Ok(head.digest),
            Ok(None) => Err(MetaError {
                message: format!(
                    "cannot verify the signature of the image `{}`: `{}` has no such image",
                    reference.familiar(),
                    reference.registry()
                ),
                hint: Some("signatures are at registries, also those of images that are in the local store".to_owned()),
                source: None,
            }),
            Err(error) => Err(unanswered(reference, error)),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<String> = self.keys.iter().map(|(file, _)| format!("`{file}`")).collect();
        match self.line {
            Some(line) => write!(f, "the rule of line {line} wants a signature by ")?,
            None => f.write_str("a signature is wanted by ")?,
        }
        f.write_str(&files.join(" or "))
    }
}

fn remembered_name(reference: &Reference, key: &VerifyingKey) -> String {
    let digest = reference.digest().map(ToString::to_string).unwrap_or_default();
    format!("{}@{digest} {}", reference.name(), key.fingerprint())
}

fn unanswered(reference: &Reference, error: NetworkError) -> MetaError {
    MetaError {
        message: format!("cannot verify the signature of the image `{}`", reference.familiar()),
        hint: None,
        source: Some(Box::new(error)),
    }
}

fn public_key(path: &Path) -> Result<VerifyingKey, String> {
    let bytes = read_file(path, KEY_BYTES_MAX as u64).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    VerifyingKey::parse(&text).map_err(|error| error.to_string())
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
