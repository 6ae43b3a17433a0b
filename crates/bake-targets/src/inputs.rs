//! What bake files see of the world, given by the caller: this crate reads neither environment nor clock.

use std::collections::BTreeMap;
use std::fmt;

/// What a bake file may ask for.
pub struct Inputs {
    /// Variables of the environment that may stand for variables of the file. Empty when that is switched off.
    pub environment: BTreeMap<String, String>,
    /// Variables of the file `.env`, which Compose files may use; the environment wins over them.
    pub dotenv: BTreeMap<String, String>,
    /// Values of `--var NAME=VALUE`; they win over the environment.
    pub variables: BTreeMap<String, String>,
    /// Names that files know without declaring them: `BAKE_CMD_CONTEXT`, `BAKE_LOCAL_PLATFORM`.
    pub built_in: BTreeMap<String, String>,
    /// Seconds since 1970, for `timestamp()`.
    pub now: i64,
    /// The user's home directory, for `homedir()`.
    pub home: Option<String>,
    /// Fills a buffer with random bytes, for `uuidv4()` and `bcrypt()`.
    pub random: fn(&mut [u8]) -> Result<(), String>,
}

impl Inputs {
    /// The value that the caller gives to the variable `name`.
    pub(crate) fn lookup(&self, name: &str) -> Option<&str> {
        self.variables.get(name).or_else(|| self.environment.get(name)).map(String::as_str)
    }

    /// The value that a variable has in Compose files.
    pub(crate) fn lookup_for_compose(&self, name: &str) -> Option<&str> {
        self.environment.get(name).or_else(|| self.dotenv.get(name)).map(String::as_str)
    }
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            environment: BTreeMap::new(),
            dotenv: BTreeMap::new(),
            variables: BTreeMap::new(),
            built_in: BTreeMap::new(),
            now: 0,
            home: None,
            random: |_| Err("no random numbers are to be had".to_owned()),
        }
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secret: only names are shown.
        f.debug_struct("Inputs")
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .field("dotenv", &self.dotenv.keys().collect::<Vec<_>>())
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("built_in", &self.built_in)
            .finish_non_exhaustive()
    }
}
