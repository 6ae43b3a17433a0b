//! Settings of `bake lint`: what configuration files and the command line say, put together for each file.
//!
//! ```toml
//! [lint]                              # in bake.toml; .bake-lint.toml holds the same keys without the section
//! profile = "strict"                  # default, strict or hadolint
//! edition = 2026                      # the default rules of this year
//! select = ["DL*"]                    # only these rules
//! extend-select = ["pkg-version-unpinned"]
//! ignore = ["DL3059"]
//! fail-level = "warning"              # error, warning, info, style or none
//! trusted-registries = ["docker.io", "*.example.com"]
//! strict-labels = false
//! require-reason = false              # suppressions must say why
//! disable-ignore-pragma = false
//! exclude = ["third_party/**"]
//!
//! [lint.severity]
//! sudo = "error"
//!
//! [lint.label-schema]
//! "org.opencontainers.image.version" = "semver"
//!
//! [lint.per-file-ignores]
//! "tests/**" = ["user-root"]
//! ```
//!
//! The file of the nearest parent directory of a Dockerfile holds for it, up to the repository's. Where there is none,
//! `.hadolint.yaml` of the current directory or of the user does. `[lint]` of the user's own configuration is put over that, and what is
//! typed or comes from `BAKE_LINT_*` over all.

mod document;
mod environment;
mod finder;
mod hadolint;

use std::collections::BTreeMap;
use std::path::Path;

use bake::cli::{FailLevel, LintArguments, LintFormat};
use bake::error::CommandError;
use bake_dockerfile::Severity;
use bake_lint::{LabelSchema, LintOptions, NameMeaning, Profile, RULES};
use globset::{GlobBuilder, GlobMatcher};

pub(crate) use document::keys;
pub(crate) use environment::{NO, VARIABLE_PREFIX, YES, with_variables};
pub(crate) use finder::SettingsFinder;

/// The rule that suppressions without a reason break, and the one that no suppression obeys.
const REASON_RULE: &str = "suppression-without-reason";

/// What one place says; `None` and empty where it is silent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LintSettings {
    pub(crate) profile: Option<Profile>,
    pub(crate) edition: Option<u16>,
    pub(crate) select: Option<Vec<String>>,
    pub(crate) extend_select: Vec<String>,
    pub(crate) ignore: Vec<String>,
    pub(crate) severities: BTreeMap<String, Severity>,
    pub(crate) fail_level: Option<FailLevel>,
    pub(crate) trusted_registries: Option<Vec<String>>,
    pub(crate) label_schema: Option<LabelSchema>,
    pub(crate) strict_labels: Option<bool>,
    pub(crate) require_reason: Option<bool>,
    pub(crate) obey_suppressions: Option<bool>,
    /// Files that are not looked at when a directory is searched.
    pub(crate) exclude: Vec<PathPattern>,
    /// Rules to ignore in some files.
    pub(crate) per_file_ignores: Vec<(PathPattern, Vec<String>)>,
    /// How findings are written; only hadolint's file says it.
    pub(crate) format: Option<LintFormat>,
    /// Whether colours are used; only hadolint's file says it.
    pub(crate) coloured: Option<bool>,
    /// What the user should know about the file it was read from.
    pub(crate) remarks: Vec<String>,
}

impl LintSettings {
    /// What was typed, or comes from the environment.
    pub(crate) fn typed(arguments: &LintArguments) -> Result<Self, CommandError> {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let settings = Self {
            profile: arguments.profile.map(Into::into),
            edition: arguments.edition,
            select: list(&arguments.select),
            extend_select: arguments.extend_select.clone(),
            ignore: arguments.ignore.clone(),
            severities: arguments.severity.iter().map(|change| (change.rule.clone(), change.severity)).collect(),
            fail_level: if arguments.no_fail { Some(FailLevel::None) } else { arguments.fail_level },
            trusted_registries: list(&arguments.trusted_registry),
            label_schema: (!arguments.require_label.is_empty())
                .then(|| arguments.require_label.iter().map(|label| (label.name.clone(), label.kind)).collect()),
            strict_labels: arguments.strict_labels.then_some(true),
            require_reason: arguments.require_reason.then_some(true),
            obey_suppressions: arguments.disable_ignore_pragma.then_some(false),
            exclude: patterns(Path::new(""), &arguments.exclude).map_err(CommandError::usage)?,
            ..Self::default()
        };
        settings.check_names().map_err(|(problem, hint)| {
            let error = CommandError::usage(problem);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        Ok(settings)
    }

    /// These settings with those of `over`, which win. Who selects rules anew forgets what was selected and ignored before.
    pub(crate) fn with(&self, over: &Self) -> Self {
        let anew = over.select.is_some();
        let joined = |before: &[String], after: &[String]| {
            let before = if anew { &[] } else { before };
            before.iter().chain(after).cloned().collect()
        };
        let mut severities = self.severities.clone();
        severities.extend(over.severities.clone());
        Self {
            profile: over.profile.or(self.profile),
            edition: over.edition.or(self.edition),
            select: over.select.clone().or_else(|| self.select.clone()),
            extend_select: joined(&self.extend_select, &over.extend_select),
            ignore: joined(&self.ignore, &over.ignore),
            severities,
            fail_level: over.fail_level.or(self.fail_level),
            trusted_registries: over.trusted_registries.clone().or_else(|| self.trusted_registries.clone()),
            label_schema: over.label_schema.clone().or_else(|| self.label_schema.clone()),
            strict_labels: over.strict_labels.or(self.strict_labels),
            require_reason: over.require_reason.or(self.require_reason),
            obey_suppressions: over.obey_suppressions.or(self.obey_suppressions),
            exclude: self.exclude.iter().chain(&over.exclude).cloned().collect(),
            per_file_ignores: self.per_file_ignores.iter().chain(&over.per_file_ignores).cloned().collect(),
            format: over.format.or(self.format),
            coloured: over.coloured.or(self.coloured),
            remarks: self.remarks.iter().chain(&over.remarks).cloned().collect(),
        }
    }

    /// Whether they say nothing.
    pub(crate) fn is_silent(&self) -> bool {
        *self == Self::default()
    }

    /// What the linter is asked to do with the file at `path`, an absolute one.
    pub(crate) fn options_for(&self, path: &Path) -> LintOptions {
        let mut options = LintOptions {
            profile: self.profile.unwrap_or_default(),
            edition: self.edition,
            select: self.select.clone().unwrap_or_default(),
            extend_select: self.extend_select.clone(),
            ignore: self.ignore.clone(),
            severities: self.severities.clone(),
            trusted_registries: self.trusted_registries.clone().unwrap_or_default(),
            label_schema: self.label_schema.clone().unwrap_or_default(),
            strict_labels: self.strict_labels.unwrap_or_default(),
            obey_suppressions: self.obey_suppressions.unwrap_or(true),
            ..LintOptions::default()
        };
        if self.require_reason == Some(true) {
            options.extend_select.push(REASON_RULE.to_owned());
        }
        let others = self.per_file_ignores.iter().filter(|(pattern, _)| pattern.matches(path));
        options.ignore.extend(others.flat_map(|(_, rules)| rules.iter().cloned()));
        options
    }

    /// From which severity on findings make the command fail.
    pub(crate) fn fail_level(&self) -> FailLevel {
        self.fail_level.unwrap_or(FailLevel::Warning)
    }

    /// Whether the file at `path`, an absolute one, is left out of what a search finds.
    pub(crate) fn excludes(&self, path: &Path) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(path))
    }

    /// A name that means no rule, with what is wrong with it. What is only ignored may be a rule of another linter.
    pub(crate) fn check_names(&self) -> Result<(), (String, Option<String>)> {
        let selected = self.select.iter().flatten().chain(&self.extend_select);
        for name in selected.clone() {
            if let NameMeaning::Foreign(reason) = bake_lint::meaning(name) {
                return Err((format!("there is no rule `{name}`"), Some(reason.to_owned())));
            }
        }
        let others = self.ignore.iter().chain(self.severities.keys());
        let in_files = self.per_file_ignores.iter().flat_map(|(_, rules)| rules);
        let unknown = |name: &&String| bake_lint::meaning(name) == NameMeaning::Unknown;
        match selected.chain(others).chain(in_files).find(unknown) {
            Some(name) => Err((format!("there is no rule `{name}`"), near_rule(name))),
            None => Ok(()),
        }
    }
}

/// `did you mean RULE?` for a name that no rule has.
pub(crate) fn near_rule(name: &str) -> Option<String> {
    let names = RULES.iter().flat_map(|rule| std::iter::once(rule.id).chain(rule.aliases.iter().copied()));
    bake_dockerfile::suggest(name, names, false).map(|near| format!("did you mean `{near}`?"))
}

/// A pattern for paths, as `.gitignore` has them without `!`: `*` stays inside a directory, `**` does not; one without `/` matches
/// at any depth, and one that matches a directory matches what is in it.
#[derive(Debug, Clone)]
pub(crate) struct PathPattern {
    matchers: [GlobMatcher; 2],
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        let globs = |pattern: &Self| pattern.matchers.clone().map(|matcher| matcher.glob().glob().to_owned());
        globs(self) == globs(other)
    }
}

impl PathPattern {
    /// The pattern `text`, relative to `directory`; an empty directory stands for the current one.
    fn new(directory: &Path, text: &str) -> Result<Self, String> {
        let failed = |error: globset::Error| format!("`{text}` is not a pattern for paths: {}", error.kind());
        let directory = match std::path::absolute(directory) {
            Ok(directory) => directory,
            Err(_) => std::env::current_dir().unwrap_or_default(),
        };
        let trimmed = text.trim_end_matches('/');
        let anchored = match trimmed.strip_prefix("./").or_else(|| trimmed.strip_prefix('/')) {
            Some(rest) => rest.to_owned(),
            None if trimmed.contains('/') => trimmed.to_owned(),
            None => format!("**/{trimmed}"),
        };
        let prefix = globset::escape(&directory.to_string_lossy());
        let whole = format!("{}/{anchored}", prefix.trim_end_matches('/'));
        let glob =
            |text: &str| GlobBuilder::new(text).literal_separator(true).build().map(|glob| glob.compile_matcher());
        let matchers = [glob(&whole).map_err(failed)?, glob(&format!("{whole}/**")).map_err(failed)?];
        Ok(Self { matchers })
    }

    fn matches(&self, path: &Path) -> bool {
        self.matchers.iter().any(|matcher| matcher.is_match(path))
    }
}

/// Patterns relative to `directory`.
fn patterns(directory: &Path, texts: &[String]) -> Result<Vec<PathPattern>, String> {
    texts.iter().map(|text| PathPattern::new(directory, text)).collect()
}

#[cfg(test)]
mod tests;
