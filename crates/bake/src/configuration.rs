//! The configuration file: what holds for every build of a user or machine.
//!
//! ```toml
//! runtime = "crun"          # an OCI runtime for steps instead of the built-in sandbox
//! policy = "/etc/bake/policy.toml"   # which images builds may use
//!
//! [gc]
//! enabled = true            # look after the store's size after builds
//! max-used-space = "60%"    # of the file system, or a size such as "20GB"
//! min-free-space = "10%"
//! reserved-space = "10GB"   # this much cache stays in any case
//! keep-duration = "48h"     # what was used within this time stays in any case
//!
//! [network]
//! require-isolation = false     # fail where steps could only share the machine's network
//! pasta = "/usr/bin/pasta"      # the program that leads steps to the outside
//!
//! [registry."docker.io"]        # and others; the keys are in `registries::section`
//! mirrors = ["mirror.example"]
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use bake::cli::{duration, space};
use bake::error::CommandError;
use bake_store::Budget;
use toml::{Table, Value};

use crate::registries::section::{self, RegistrySections};
use crate::settings::{self, Presence};
use crate::step_network::NetworkConfiguration;

/// Far more than a configuration needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The sections and their keys.
const SECTIONS: [&str; 5] = ["gc", "network", "policy", "registry", "runtime"];
const NETWORK_KEYS: [&str; 2] = ["require-isolation", "pasta"];
const GC_KEYS: [&str; 5] = ["enabled", "max-used-space", "min-free-space", "reserved-space", "keep-duration"];

/// What the configuration says, with defaults for what it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// What the store may take; `None` if nobody is to look.
    pub(crate) budget: Option<Budget>,
    /// The networks of steps.
    pub(crate) network: NetworkConfiguration,
    /// How registries are talked to.
    pub(crate) registries: RegistrySections,
    /// The OCI runtime of steps, by name or absolute path.
    pub(crate) runtime: Option<String>,
    /// The file with the policy of all builds, an absolute path.
    pub(crate) policy: Option<PathBuf>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            budget: Some(Budget::default()),
            network: NetworkConfiguration::default(),
            registries: RegistrySections::new(),
            runtime: None,
            policy: None,
        }
    }
}

impl Configuration {
    /// Reads the configuration of this user.
    pub(crate) fn read(is_root: bool) -> Result<Self, CommandError> {
        let Some((path, presence)) = settings::configuration_file(is_root) else { return Ok(Self::default()) };
        Self::read_file(&path, presence)
    }

    fn read_file(path: &Path, presence: Presence) -> Result<Self, CommandError> {
        let failed = |problem: String| Problem::new(problem).into_error(path);
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => Self::parse(&text).map_err(|problem| problem.into_error(path)),
            Err(error) if presence == Presence::Optional && error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let table = crate::toml_text::parse(text).map_err(Problem::new)?;
        let mut configuration = Self::default();
        for (name, value) in &table {
            match (name.as_str(), value) {
                ("gc", Value::Table(section)) => configuration.budget = budget(section)?,
                ("network", Value::Table(section)) => configuration.network = network(section)?,
                ("network", _) => return Err(Problem::new("`network` is a section, written `[network]`")),
                ("registry", Value::Table(table)) => configuration.registries = section::parse(table)?,
                ("registry", _) => return Err(Problem::new("`registry` is a section, written `[registry.\"host\"]`")),
                ("runtime", Value::String(name)) => configuration.runtime = Some(name.clone()),
                ("runtime", _) => return Err(Problem::new("`runtime`: expected a text in quotes")),
                ("policy", value) => {
                    let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
                    let wrong = || Problem::new("`policy`: expected an absolute path in quotes");
                    configuration.policy = Some(path.ok_or_else(wrong)?);
                }
                ("gc", _) => return Err(Problem::new("`gc` is a section, written `[gc]`")),
                (other, _) => return Err(Problem::unknown("section", other, &SECTIONS)),
            }
        }
        Ok(configuration)
    }
}

fn budget(section: &Table) -> Result<Option<Budget>, Problem> {
    let mut budget = Budget::default();
    let mut enabled = true;
    for (key, value) in section {
        let wrong = |problem: &str| Problem::new(format!("`gc.{key}`: {problem}"));
        let text = || value.as_str().ok_or_else(|| wrong("expected a text in quotes"));
        let space = || text().and_then(|text| space(text).map(settings::space).map_err(|problem| wrong(&problem)));
        match key.as_str() {
            "enabled" => enabled = value.as_bool().ok_or_else(|| wrong("expected `true` or `false`"))?,
            "max-used-space" => budget.max_used = Some(space()?),
            "min-free-space" => budget.min_free = Some(space()?),
            "reserved-space" => budget.reserved = Some(space()?),
            "keep-duration" => {
                budget.keep_duration = Some(duration(text()?).map_err(|problem| wrong(&problem))?);
            }
            other => return Err(Problem::unknown("key in section `gc`", other, &GC_KEYS)),
        }
    }
    Ok(enabled.then_some(budget))
}

fn network(section: &Table) -> Result<NetworkConfiguration, Problem> {
    let mut network = NetworkConfiguration::default();
    for (key, value) in section {
        let wrong = |problem: &str| Problem::new(format!("`network.{key}`: {problem}"));
        match key.as_str() {
            "require-isolation" => {
                network.isolation_required = value.as_bool().ok_or_else(|| wrong("expected `true` or `false`"))?;
            }
            "pasta" => {
                let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
                network.pasta = Some(path.ok_or_else(|| wrong("expected an absolute path in quotes"))?);
            }
            other => return Err(Problem::unknown("key in section `network`", other, &NETWORK_KEYS)),
        }
    }
    Ok(network)
}

/// What is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Problem {
    /// What it is.
    pub(crate) text: String,
    hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None }
    }

    pub(crate) fn with_hint(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { text: text.into(), hint }
    }

    /// The error of a command that could not use the configuration at `path`.
    pub(crate) fn into_error(self, path: &Path) -> CommandError {
        let error = CommandError::usage(format!("cannot use the configuration `{}`: {}", path.display(), self.text));
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> Self {
        let hint = match bake_dockerfile::suggest(name, known.iter().copied(), true) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it may hold {}", known.join(", ")),
        };
        Self { text: format!("there is no {what} `{name}`"), hint: Some(hint) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::time::Duration;

    use bake_store::Space;

    use super::*;

    #[test]
    fn defaults_hold_for_what_is_not_said() {
        assert_eq!(Configuration::parse("").unwrap(), Configuration::default());
        assert_eq!(Configuration::parse("[gc]\nenabled = false").unwrap().budget, None);
        let text = "[gc]\nmax-used-space = \"20GB\"\nkeep-duration = \"48h\"\nreserved-space = \"5%\"";
        let budget = Configuration::parse(text).unwrap().budget.unwrap();
        assert_eq!(budget.max_used, Some(Space::Bytes(20 << 30)));
        assert_eq!(budget.min_free, Budget::default().min_free);
        assert_eq!(budget.reserved, Some(Space::Percent(5)));
        assert_eq!(budget.keep_duration, Some(Duration::from_hours(48)));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, problem, hint) in [
            ("[gc]\nmax-used-spce = \"1\"", "there is no key in section `gc` `max-used-spce`", "`max-used-space`"),
            ("[garbage]", "there is no section `garbage`", "gc"),
            ("[gc]\nenabled = 1", "`gc.enabled`: expected `true` or `false`", ""),
            ("[gc]\nmax-used-space = 20", "`gc.max-used-space`: expected a text in quotes", ""),
            ("[gc]\nmin-free-space = \"101%\"", "`gc.min-free-space`: expected a share", ""),
            ("\n[gc\n", "line 2: ", ""),
            ("[network]\npasta = \"pasta\"", "`network.pasta`: expected an absolute path", ""),
            ("[network]\nisolated = true", "there is no key in section `network` `isolated`", "require-isolation"),
            ("gc = 1", "`gc` is a section", ""),
            ("policy = \"policy.toml\"", "`policy`: expected an absolute path", ""),
        ] {
            let found = Configuration::parse(text).unwrap_err();
            assert!(found.text.contains(problem), "{found:?}");
            assert!(found.hint.unwrap_or_default().contains(hint), "{text}");
        }
    }

    #[test]
    fn only_a_file_that_was_named_has_to_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        assert_eq!(Configuration::read_file(&path, Presence::Optional).unwrap(), Configuration::default());
        assert!(Configuration::read_file(&path, Presence::Required).is_err());
        std::fs::write(&path, "[gc]\nenabled = false\n").unwrap();
        assert_eq!(Configuration::read_file(&path, Presence::Required).unwrap().budget, None);
    }
}
