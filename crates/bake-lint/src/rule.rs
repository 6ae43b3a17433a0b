//! What a rule is: its identity, its documentation and the function that looks for it.

use crate::context::LintContext;
use crate::finding::Reporter;
use bake_dockerfile::Severity;

/// A lint rule. Its documentation is data, so that `--explain`, the generated pages and the tests of its examples share one text.
#[derive(Debug)]
pub struct Rule {
    /// The name, as in `# bake: ignore=NAME`.
    pub id: &'static str,
    /// The ids under which other linters know it (hadolint `DL3007`, build checks, `DS-0001`, `CKV_DOCKER_7`).
    pub aliases: &'static [&'static str],
    /// The severity of its findings unless the user sets another one.
    pub severity: Severity,
    /// Whether it runs when nobody asks for it by name.
    pub default: bool,
    /// The edition (a year) in whose default set it first is: who asks for an older edition gets it only by name.
    pub since: u16,
    /// The most that its fixes may be.
    pub fix: FixSafety,
    /// What it flags, one sentence.
    pub summary: &'static str,
    /// Why that is bad.
    pub why: &'static str,
    /// A Dockerfile it flags; checked by a test.
    pub bad: &'static str,
    /// A Dockerfile it does not flag; checked by a test.
    pub good: &'static str,
    pub(crate) check: for<'a> fn(&LintContext<'a>, &mut Reporter<'_>),
}

/// How far the fixes of a rule can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FixSafety {
    /// No fix.
    None,
    /// The image keeps its meaning.
    Safe,
    /// The image may change; applied only when asked for.
    Unsafe,
}

impl Rule {
    /// Whether it judges what a build measured; without [`crate::Measurements`] it does not run.
    pub fn is_measured(&self) -> bool {
        ["copy-unread", "layer-cache-left", "layer-chown-copy", "layer-waste"].contains(&self.id)
    }

    /// Whether `name` means this rule: its id or an alias, letter case ignored.
    pub fn is_named(&self, name: &str) -> bool {
        self.id.eq_ignore_ascii_case(name) || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// Whether it is one of BuildKit's build checks, which have names such as `StageNameCasing`.
    pub(crate) fn is_build_check(&self) -> bool {
        let is_check = |alias: &&str| {
            alias.starts_with(|c: char| c.is_ascii_uppercase()) && alias.contains(|c: char| c.is_ascii_lowercase())
        };
        self.aliases.iter().any(|alias| is_check(alias) && alias.bytes().all(|byte| byte.is_ascii_alphabetic()))
    }
}
