//! What the caller decides: which rules run, how serious they are, and what the build would be given.

use std::collections::BTreeMap;
use std::sync::Arc;

use bake_dockerfile::Severity;

use crate::measurements::Measurements;
use crate::rule::Rule;
use crate::surroundings::{BuildContext, ImageFacts};

/// The day for which dated facts (end of life of base images) are judged unless the caller gives another one; the same file then
/// gives the same findings on every machine.
pub const DEFAULT_TODAY: Date = Date { year: 2026, month: 11, day: 1 };

/// A calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
}

/// What a lint run is asked to do.
#[derive(Debug, Clone)]
pub struct LintOptions {
    /// Rules to run besides the default ones: ids, aliases, or `all`.
    pub select: Vec<String>,
    /// Rules not to run: ids or aliases. Wins over `select`.
    pub ignore: Vec<String>,
    /// Severities by rule id or alias.
    pub severities: BTreeMap<String, Severity>,
    /// Values of `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The stage asked for; the last one when `None`.
    pub target: Option<String>,
    /// Registries and repositories that images may come from, with `*` as a wildcard; empty: any.
    pub trusted_registries: Vec<String>,
    /// The day for dated facts.
    pub today: Date,
    /// The year whose default set of rules runs; `None`: the newest. Rules that came later run only when they are selected.
    pub edition: Option<u16>,
    /// The build context; `None` when it is not known.
    pub context: Option<Arc<dyn BuildContext>>,
    /// What a build measured; `None` where there was none.
    pub measurements: Option<Measurements>,
    /// What is known of base images, by their name as the Dockerfile gives it after build arguments were put in.
    pub images: BTreeMap<String, ImageFacts>,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self {
            select: Vec::new(),
            ignore: Vec::new(),
            severities: BTreeMap::new(),
            build_args: BTreeMap::new(),
            target: None,
            trusted_registries: Vec::new(),
            today: DEFAULT_TODAY,
            edition: None,
            context: None,
            measurements: None,
            images: BTreeMap::new(),
        }
    }
}

impl LintOptions {
    /// Whether `rule` is to run.
    pub fn is_enabled(&self, rule: &Rule) -> bool {
        let in_default_set = rule.default && self.edition.is_none_or(|edition| rule.since <= edition);
        if rule.is_measured() && self.measurements.is_none() {
            return false;
        }
        let selected = || self.select.iter().any(|name| name == "all" || rule.is_named(name));
        !self.ignore.iter().any(|name| rule.is_named(name)) && (in_default_set || selected())
    }

    /// The severity that the user set for `rule`.
    pub fn severity(&self, rule: &Rule) -> Option<Severity> {
        self.severities.iter().find(|(name, _)| rule.is_named(name)).map(|(_, severity)| *severity)
    }

    /// The names in `select`, `ignore` and `severities` that mean no rule, for the caller to warn about.
    pub fn unknown_rules(&self) -> Vec<&str> {
        self.select
            .iter()
            .chain(&self.ignore)
            .chain(self.severities.keys())
            .map(String::as_str)
            .filter(|name| *name != "all" && crate::rule_named(name).is_none())
            .collect()
    }
}
