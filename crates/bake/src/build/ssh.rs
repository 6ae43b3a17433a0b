//! The SSH agents that steps may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use bake::error::{CommandError, chain_text};
use bake_worker::{OwnAgent, SshAgent};

use crate::settings::SshSource;

/// Finds or starts the agents that were asked for.
pub(super) fn agents(sources: &BTreeMap<String, SshSource>) -> Result<BTreeMap<String, Arc<SshAgent>>, CommandError> {
    let mut agents = BTreeMap::new();
    for (id, source) in sources {
        let failed = |error: &dyn std::error::Error| {
            CommandError::input(format!("cannot use `--ssh {id}`: {}", chain_text(error)))
        };
        let agent = match source {
            SshSource::Socket(path) => {
                let agent = SshAgent::Socket(path.clone());
                agent.check().map_err(|error| {
                    CommandError::input(format!(
                        "cannot use `--ssh {id}`: no agent answers at `{}`: {error}",
                        path.display()
                    ))
                })?;
                agent
            }
            SshSource::Keys { keys, directory } => {
                SshAgent::Own(OwnAgent::start(keys, directory).map_err(|error| failed(&error))?)
            }
        };
        agents.insert(id.clone(), Arc::new(agent));
    }
    Ok(agents)
}
