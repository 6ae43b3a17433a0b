//! What the caller of a build lets steps use: secrets, agents, resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use bake_graph::Vertex;

use crate::limits::StepLimits;
use crate::ssh::SshAgent;
use crate::worker::LinuxWorker;

/// A secret given by the caller of the build. Its value is never shown.
#[derive(Clone)]
pub struct SecretValue(pub Arc<Vec<u8>>);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// What the steps of one Dockerfile may use.
#[derive(Debug, Default)]
pub struct StepGrants {
    /// Secrets, by ID.
    pub secrets: BTreeMap<String, SecretValue>,
    /// SSH agents, by ID.
    pub agents: BTreeMap<String, Arc<SshAgent>>,
    /// The size of steps' `/dev/shm` in bytes.
    pub shm_size_bytes: Option<u64>,
    /// What every step may use.
    pub limits: StepLimits,
}

impl StepGrants {
    /// The value of the first secret that the caller gave of `ids`.
    pub(crate) fn first_secret(&self, ids: &[String]) -> Option<String> {
        let found = ids.iter().find_map(|id| self.secrets.get(id))?;
        String::from_utf8(found.0.to_vec()).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl LinuxWorker {
    /// What a step may use. One that several Dockerfiles have in common has the grants of the first.
    pub(crate) fn grants_of(&self, vertex: &Vertex) -> &StepGrants {
        self.grants(vertex.origin.map_or(0, |origin| origin.source))
    }

    /// What the steps of the Dockerfile number `source` may use.
    pub(crate) fn grants(&self, source: u32) -> &StepGrants {
        let own = usize::try_from(source).ok().and_then(|source| self.options.grants.get(source));
        own.unwrap_or(&self.no_grants)
    }
}
