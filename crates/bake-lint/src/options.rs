//! What the caller decides: which rules run, how serious they are, and what the build would be given.

use std::collections::BTreeMap;
use std::sync::Arc;

use bake_dockerfile::Severity;

use crate::label_schema::LabelSchema;
use crate::measurements::Measurements;
use crate::profile::Profile;
use crate::rule::Rule;
use crate::shellcheck::ShellChecker;
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
    /// Which rules run and how serious they are where the fields below do not say it.
    pub profile: Profile,
    /// The only rules that run; empty: those of the profile. Like the two lists below it holds ids, aliases, patterns with `*` over
    /// both, or `all`.
    pub select: Vec<String>,
    /// Rules that run besides those.
    pub extend_select: Vec<String>,
    /// Rules not to run. Wins over the two lists above.
    pub ignore: Vec<String>,
    /// Severities by name or pattern; a name wins over a pattern, and a longer pattern over a shorter one.
    pub severities: BTreeMap<String, Severity>,
    /// Whether comments that hide findings are obeyed.
    pub obey_suppressions: bool,
    /// Values of `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The stage asked for; the last one when `None`.
    pub target: Option<String>,
    /// Registries and repositories that images may come from, with `*` as a wildcard; empty: any.
    pub trusted_registries: Vec<String>,
    /// Labels that images are to have.
    pub label_schema: LabelSchema,
    /// Whether labels that the schema does not name are reported.
    pub strict_labels: bool,
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
    /// What runs `ShellCheck`; `None`: it is not run.
    pub shell_checker: Option<Arc<dyn ShellChecker>>,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            select: Vec::new(),
            extend_select: Vec::new(),
            ignore: Vec::new(),
            severities: BTreeMap::new(),
            obey_suppressions: true,
            build_args: BTreeMap::new(),
            target: None,
            trusted_registries: Vec::new(),
            label_schema: LabelSchema::new(),
            strict_labels: false,
            today: DEFAULT_TODAY,
            edition: None,
            context: None,
            measurements: None,
            images: BTreeMap::new(),
            shell_checker: None,
        }
    }
}

impl LintOptions {
    /// Whether `rule` is to run.
    pub fn is_enabled(&self, rule: &Rule) -> bool {
        if rule.is_measured() && self.measurements.is_none() {
            return false;
        }
        let named = |names: &[String]| names.iter().any(|name| rule.is_meant_by(name));
        let selected = if self.select.is_empty() {
            self.profile.includes(rule) && self.edition.is_none_or(|edition| rule.since <= edition)
        } else {
            named(&self.select)
        };
        (selected || named(&self.extend_select)) && !named(&self.ignore)
    }

    /// The severity that the user, or else the profile, set for `rule`.
    pub fn severity(&self, rule: &Rule) -> Option<Severity> {
        self.chosen_severity(rule).or_else(|| self.profile.severity(rule))
    }

    /// The severity that the user set for `rule`.
    pub(crate) fn chosen_severity(&self, rule: &Rule) -> Option<Severity> {
        let named = self.severities.iter().filter(|(name, _)| rule.is_meant_by(name));
        let nearest = named.max_by_key(|(name, _)| match name.as_str() {
            "all" => (false, 0),
            name => (!name.contains('*'), name.len()),
        });
        nearest.map(|(_, severity)| *severity)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::{RULES, rule_named};

    fn enabled(options: &LintOptions) -> Vec<&'static str> {
        RULES.iter().filter(|rule| options.is_enabled(rule)).map(|rule| rule.id).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn selecting_leaves_the_others_out_and_extending_does_not() {
        let select =
            LintOptions { select: names(&["DL3004", "apt-*"]), ignore: names(&["apt-cli"]), ..LintOptions::default() };
        let chosen = enabled(&select);
        assert!(chosen.contains(&"sudo") && chosen.contains(&"apt-missing-yes"), "{chosen:?}");
        assert!(chosen.iter().all(|id| *id == "sudo" || (id.starts_with("apt-") && *id != "apt-cli")), "{chosen:?}");
        let more = LintOptions { extend_select: names(&["healthcheck-missing"]), ..LintOptions::default() };
        assert_eq!(enabled(&more).len(), enabled(&LintOptions::default()).len() + 1);
    }

    #[test]
    fn an_edition_holds_later_rules_back() {
        assert_eq!(enabled(&LintOptions { edition: Some(2025), ..LintOptions::default() }), [""; 0]);
        let asked = LintOptions { edition: Some(2025), extend_select: names(&["sudo"]), ..LintOptions::default() };
        assert_eq!(enabled(&asked), ["sudo"]);
    }

    #[test]
    fn the_nearest_name_decides_the_severity() {
        let severities = [
            ("all", Severity::Style),
            ("DL*", Severity::Info),
            ("DL300*", Severity::Error),
            ("sudo", Severity::Warning),
        ];
        let severities = severities.map(|(name, severity)| (name.to_owned(), severity)).into();
        let options = LintOptions { severities, ..LintOptions::default() };
        let of = |id: &str| options.severity(rule_named(id).unwrap());
        assert_eq!(of("sudo"), Some(Severity::Warning));
        assert_eq!(of("image-tag-latest"), Some(Severity::Error));
        assert_eq!(of("maintainer"), Some(Severity::Info));
        assert_eq!(of("eol-base-image"), Some(Severity::Style));
        assert_eq!(LintOptions::default().severity(rule_named("sudo").unwrap()), None);
    }
}
