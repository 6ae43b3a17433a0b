//! Profiles: sets of rules with severities that are chosen by one word.

use bake_dockerfile::Severity;

use crate::rule::Rule;

/// Which rules run and how serious they are when nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// What nearly every Dockerfile should obey.
    #[default]
    Default,
    /// The default rules and those that cost effort: pinned digests, health checks. What leaves images unsupported or run by root is an error.
    Strict,
    /// What hadolint reports, with its severities: for who comes from there.
    Hadolint,
}

/// Rules that `strict` adds.
const STRICT_RULES: [&str; 2] = ["healthcheck-missing", "image-digest-missing"];

/// Rules that are errors under `strict`.
const STRICT_ERRORS: [&str; 2] = ["eol-base-image", "user-root"];

/// hadolint's rules and the severities they have there (as of 2.15.1); `None`: off there unless asked for.
pub(crate) const HADOLINT_RULES: &[(&str, Option<Severity>)] = {
    use Severity::{Error, Info, Style, Warning};
    &[
        ("DL1000", Some(Error)),
        ("DL1001", None),
        ("DL3000", Some(Error)),
        ("DL3001", Some(Info)),
        ("DL3002", Some(Warning)),
        ("DL3003", Some(Warning)),
        ("DL3004", Some(Error)),
        ("DL3006", Some(Warning)),
        ("DL3007", Some(Warning)),
        ("DL3008", Some(Warning)),
        ("DL3009", Some(Info)),
        ("DL3010", Some(Info)),
        ("DL3011", Some(Error)),
        ("DL3012", Some(Error)),
        ("DL3013", Some(Warning)),
        ("DL3014", Some(Warning)),
        ("DL3015", Some(Info)),
        ("DL3016", Some(Warning)),
        ("DL3018", Some(Warning)),
        ("DL3019", Some(Info)),
        ("DL3020", Some(Error)),
        ("DL3021", Some(Error)),
        ("DL3022", Some(Warning)),
        ("DL3023", Some(Error)),
        ("DL3024", Some(Error)),
        ("DL3025", Some(Warning)),
        ("DL3026", Some(Error)),
        ("DL3027", Some(Warning)),
        ("DL3028", Some(Warning)),
        ("DL3029", Some(Warning)),
        ("DL3030", Some(Warning)),
        ("DL3032", Some(Warning)),
        ("DL3033", Some(Warning)),
        ("DL3034", Some(Warning)),
        ("DL3036", Some(Warning)),
        ("DL3037", Some(Warning)),
        ("DL3038", Some(Warning)),
        ("DL3040", Some(Warning)),
        ("DL3041", Some(Warning)),
        ("DL3042", Some(Warning)),
        ("DL3043", Some(Error)),
        ("DL3044", Some(Error)),
        ("DL3045", Some(Warning)),
        ("DL3046", Some(Warning)),
        ("DL3047", Some(Info)),
        ("DL3048", Some(Style)),
        ("DL3049", Some(Info)),
        ("DL3050", Some(Info)),
        ("DL3051", Some(Warning)),
        ("DL3052", Some(Warning)),
        ("DL3053", Some(Warning)),
        ("DL3054", Some(Warning)),
        ("DL3055", Some(Warning)),
        ("DL3056", Some(Warning)),
        ("DL3057", None),
        ("DL3058", Some(Warning)),
        ("DL3059", Some(Info)),
        ("DL3060", Some(Info)),
        ("DL3061", Some(Error)),
        ("DL3062", Some(Warning)),
        ("DL3063", Some(Warning)),
        ("DL3064", Some(Warning)),
        ("DL3065", Some(Warning)),
        ("DL3066", Some(Info)),
        ("DL3067", Some(Warning)),
        ("DL4000", Some(Error)),
        ("DL4001", Some(Warning)),
        ("DL4003", Some(Warning)),
        ("DL4004", Some(Error)),
        ("DL4005", Some(Warning)),
        ("DL4006", Some(Warning)),
    ]
};

impl Profile {
    /// All profiles with their names.
    pub const NAMES: [(&'static str, Self); 3] =
        [("default", Self::Default), ("strict", Self::Strict), ("hadolint", Self::Hadolint)];

    /// The profile of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, profile)| *profile)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, profile)| *profile == self).map_or("default", |(name, _)| name)
    }

    /// Whether `rule` runs in it when nobody asks for the rule by name.
    pub fn includes(self, rule: &Rule) -> bool {
        match self {
            Self::Default => rule.default,
            Self::Strict => rule.default || STRICT_RULES.contains(&rule.id),
            Self::Hadolint => {
                let has_native = rule.default && rule.aliases.iter().any(|alias| alias.starts_with("SC"));
                has_native || hadolint_severity(rule).is_some()
            }
        }
    }

    /// The severity that it gives to `rule`; `None`: the rule's own.
    pub fn severity(self, rule: &Rule) -> Option<Severity> {
        match self {
            Self::Default => None,
            Self::Strict => STRICT_ERRORS.contains(&rule.id).then_some(Severity::Error),
            // A parse error says itself how serious it is.
            Self::Hadolint if rule.id == "parse-error" => None,
            Self::Hadolint => hadolint_severity(rule),
        }
    }
}

/// The severity of the first of hadolint's rules that `rule` stands for and that is on there.
fn hadolint_severity(rule: &Rule) -> Option<Severity> {
    let severity_of =
        |alias: &&str| HADOLINT_RULES.iter().find(|(id, _)| id == alias).and_then(|(_, severity)| *severity);
    rule.aliases.iter().find_map(severity_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NameMeaning, meaning, rule_named};

    #[test]
    fn every_rule_of_hadolint_is_known() {
        for (id, _) in HADOLINT_RULES {
            assert_ne!(meaning(id), NameMeaning::Unknown, "{id}");
        }
    }

    #[test]
    fn strict_names_rules() {
        for id in STRICT_RULES.iter().chain(&STRICT_ERRORS) {
            assert!(rule_named(id).is_some_and(|rule| Profile::Strict.includes(rule)), "{id}");
        }
    }

    #[test]
    fn hadolint_has_its_rules_and_severities_only() {
        let of =
            |id: &str| rule_named(id).map(|rule| (Profile::Hadolint.includes(rule), Profile::Hadolint.severity(rule)));
        assert_eq!(of("pkg-version-unpinned"), Some((true, Some(Severity::Warning))));
        assert_eq!(of("sudo"), Some((true, Some(Severity::Error))));
        assert_eq!(of("healthcheck-missing"), Some((false, None)));
        assert_eq!(of("eol-base-image"), Some((false, None)));
    }

    #[test]
    fn names_lead_back() {
        for (name, profile) in Profile::NAMES {
            assert_eq!((Profile::named(name), profile.name()), (Some(profile), name));
        }
    }
}
