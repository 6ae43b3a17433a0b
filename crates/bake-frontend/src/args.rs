//! Variables: an ordered environment, and the arguments that exist before the first stage.

use std::collections::{BTreeMap, HashMap};

use bake_checks::Expanded;
use bake_dockerfile::{ExpandError, Expander, Expansion};
use bake_oci::Platform;

/// Names of proxy settings that reach RUN without ARG and never count for keys or history.
pub(crate) const PROXY_ARGS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Variables in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables {
    pairs: Vec<(String, String)>,
    /// Where each name stands: a file may set as many as it has lines.
    places: HashMap<String, usize>,
}

impl Variables {
    /// The pairs of an image config's `Env`.
    pub(crate) fn from_config(env: &[String]) -> Self {
        let mut variables = Self::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            variables.set(name, value);
        }
        variables
    }

    /// Sets a variable; one that exists keeps its place.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if let Some(place) = self.places.get(name) {
            self.pairs[*place].1 = value;
            return;
        }
        self.places.insert(name.to_owned(), self.pairs.len());
        self.pairs.push((name.to_owned(), value));
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.pairs[*place].1.as_str())
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Expands a word of a file with this escape character.
    pub(crate) fn expand(&self, escape: char, word: &str) -> Result<Expanded, ExpandError> {
        self.expand_by(|lookup| Expander::new(escape).expand(word, lookup))
    }

    /// Expands the body of a heredoc.
    pub(crate) fn expand_heredoc(&self, escape: char, body: &str) -> Result<Expanded, ExpandError> {
        self.expand_by(|lookup| Expander::new(escape).expand_heredoc(body, lookup))
    }

    fn expand_by(
        &self,
        expand: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<Expansion, ExpandError>,
    ) -> Result<Expanded, ExpandError> {
        Expanded::by(&|name| self.get(name).map(str::to_owned), expand)
    }

    /// The form of an image config's `Env`.
    pub(crate) fn to_config(&self) -> Vec<String> {
        self.pairs.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Sets a variable of an image config's `Env`; one that exists keeps its place.
pub(crate) fn set_in_config(env: &mut Vec<String>, name: &str, value: &str) {
    let is_it =
        |entry: &&mut String| entry.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
    match env.iter_mut().find(is_it) {
        Some(entry) => *entry = format!("{name}={value}"),
        None => env.push(format!("{name}={value}")),
    }
}

/// The arguments that every Dockerfile has before its first line: the platforms and the target stage.
pub(crate) fn platform_args(build: &Platform, target: &Platform, target_stage: &str) -> Variables {
    let mut variables = Variables::default();
    for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
        variables.set(&format!("{prefix}PLATFORM"), platform.to_string());
        variables.set(&format!("{prefix}OS"), platform.os.clone());
        variables.set(&format!("{prefix}OSVERSION"), platform.os_version.clone().unwrap_or_default());
        variables.set(&format!("{prefix}ARCH"), platform.architecture.clone());
        variables.set(&format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    variables.set("TARGETSTAGE", target_stage);
    variables
}

/// The proxy settings among the build arguments, under both spellings, as RUN gets them.
pub(crate) fn proxy_environment(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    for name in PROXY_ARGS {
        let lower = name.to_ascii_lowercase();
        let Some(value) = build_args.get(name).or_else(|| build_args.get(&lower)) else { continue };
        for spelling in [name, &lower] {
            let own = build_args.get(spelling).unwrap_or(value);
            environment.push((spelling.to_owned(), own.clone()));
        }
    }
    environment
}

/// Whether `name` is a proxy setting in either spelling.
pub(crate) fn is_proxy_arg(name: &str) -> bool {
    PROXY_ARGS.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_keeps_its_place() {
        let mut variables = Variables::from_config(&["A=1".into(), "B=2".into(), "C".into()]);
        variables.set("A", "3");
        assert_eq!(variables.to_config(), ["A=3", "B=2", "C="]);
        assert_eq!(variables.get("B"), Some("2"));
        assert_eq!(variables.get("D"), None);
    }

    #[test]
    fn proxies_reach_run_in_both_spellings() {
        let args = BTreeMap::from([("http_proxy".to_owned(), "http://p".to_owned())]);
        let expected =
            [("HTTP_PROXY".to_owned(), "http://p".to_owned()), ("http_proxy".to_owned(), "http://p".to_owned())];
        assert_eq!(proxy_environment(&args), expected);
        assert!(is_proxy_arg("No_Proxy") && !is_proxy_arg("PROXY"));
    }
}
