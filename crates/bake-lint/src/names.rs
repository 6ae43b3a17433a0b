//! The names by which rules are chosen: ids, the ids of other linters, `all`, and patterns such as `DL*` and `apt-*`.

use crate::rule::Rule;
use crate::rules::RULES;
use crate::wildcard;

/// What a name in a list of rules means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameMeaning {
    /// At least one rule.
    Rules,
    /// A rule of another linter that has no counterpart here; the text says why or what is there instead.
    Foreign(&'static str),
    /// No rule that we know of.
    Unknown,
}

/// What `name` means: an id or alias (letter case ignored), a pattern with `*` over them, or `all`.
pub fn meaning(name: &str) -> NameMeaning {
    if name == "all" || RULES.iter().any(|rule| rule.is_meant_by(name)) {
        return NameMeaning::Rules;
    }
    foreign(name).map_or(NameMeaning::Unknown, NameMeaning::Foreign)
}

impl Rule {
    /// Whether `pattern` means this rule among others: its id or an alias, a pattern with `*` that matches one of them, or `all`.
    /// Letter case does not matter.
    pub fn is_meant_by(&self, pattern: &str) -> bool {
        if pattern == "all" {
            return true;
        }
        if !pattern.contains('*') {
            return self.is_named(pattern);
        }
        let pattern = pattern.to_lowercase();
        std::iter::once(&self.id).chain(self.aliases).any(|name| wildcard::matches(&pattern, &name.to_lowercase()))
    }
}

/// The shapes of other linters' ids: how they begin, and what follows are digits only.
const FAMILIES: &[(&str, &str)] = &[
    ("DL", "hadolint's rule has no counterpart here"),
    ("SC", "bake has no rule of its own for it; `--shellcheck` reports it"),
    ("DS-", "Trivy's check has no counterpart here"),
    ("AVD-DS-", "Trivy's check has no counterpart here"),
    ("CKV_DOCKER_", "Checkov's check has no counterpart here"),
    ("CKV2_DOCKER_", "Checkov's check has no counterpart here"),
    ("CIS-DI-", "Dockle's checkpoint has no counterpart here"),
    ("DKL-DI-", "Dockle's checkpoint has no counterpart here"),
    ("DKL-LI-", "Dockle's checkpoint has no counterpart here"),
    ("tally/", "tally's rule has no counterpart here"),
    ("buildkit/", "BuildKit's check has no counterpart here"),
    ("hadolint/", "hadolint's rule has no counterpart here"),
    ("shellcheck/", "bake has no rule of its own for it; `--shellcheck` reports it"),
];

/// Why there is no rule of this name, when it is one that another linter has.
fn foreign(name: &str) -> Option<&'static str> {
    let belongs = |prefix: &str| {
        let start = name.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix))?;
        let rest = &name[start.len()..];
        let digits = |least: usize| rest.len() >= least && rest.bytes().all(|byte| byte.is_ascii_digit());
        match prefix {
            "DL" | "SC" => (digits(4) && rest.len() == 4) || rest == "*",
            _ if prefix.ends_with('/') => !rest.is_empty(),
            _ => digits(1) || rest == "*",
        }
        .then_some(())
    };
    FAMILIES.iter().find(|(prefix, _)| belongs(prefix).is_some()).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::{NameMeaning, meaning};
    use crate::RULES;

    #[test]
    fn every_name_of_every_rule_means_it() {
        for rule in RULES {
            for name in std::iter::once(&rule.id).chain(rule.aliases) {
                assert!(rule.is_meant_by(name) && rule.is_meant_by(&name.to_lowercase()), "{name}");
                assert_eq!(meaning(name), NameMeaning::Rules, "{name}");
            }
        }
    }

    #[test]
    fn patterns_and_families_mean_rules() {
        for name in ["all", "DL*", "dl30*", "apt-*", "*-missing", "AVD-DS-*", "CKV_DOCKER_*"] {
            assert_eq!(meaning(name), NameMeaning::Rules, "{name}");
        }
        let apt: Vec<&str> = RULES.iter().filter(|rule| rule.is_meant_by("apt-*")).map(|rule| rule.id).collect();
        assert!(apt.len() > 3 && apt.iter().all(|id| id.starts_with("apt-")), "{apt:?}");
    }

    #[test]
    fn names_of_other_linters_are_told_from_mistakes() {
        for name in ["DL3999", "SC9999", "sc9999", "CKV_DOCKER_99", "DS-0099", "DKL-LI-0003", "tally/sort-packages"] {
            assert!(matches!(meaning(name), NameMeaning::Foreign(_)), "{name}");
        }
        for name in ["", "sudoo", "DL30000", "DLx", "apt-*-nothing", "SC", "tally/"] {
            assert_eq!(meaning(name), NameMeaning::Unknown, "{name}");
        }
    }
}
