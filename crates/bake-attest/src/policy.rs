//! Which images a build may use: rules that a person writes.
//!
//! ```toml
//! version = 1
//! default = "deny"            # what no rule is about: "allow" or "deny"
//!
//! [[rules]]
//! images = ["docker.io/library/debian:12*"]
//! pinned = true               # only with a digest
//!
//! [[rules]]
//! images = ["registry.example.com/base/**"]
//! signed-by = ["keys/base.pub"]   # one of these keys, paths from the policy's directory
//!
//! [[rules]]
//! images = ["docker.io/**"]
//! action = "deny"
//! message = "use an image of registry.example.com/base"
//! ```
//!
//! The first rule that is about an image decides. A later version of the format has another number, and is refused.

use std::fmt;

use bake_oci::Reference;
use serde::Deserialize;
use toml::Spanned;

use crate::image_pattern::ImagePattern;

/// The largest policy, in bytes: ten thousand rules and more.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// The format that this version knows.
const VERSION: u32 = 1;

/// Rules about images.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What no rule is about.
    default: Action,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// The line in the policy where it begins to say what it is about.
    line: usize,
    patterns: Vec<ImagePattern>,
    action: Action,
    pinned: bool,
    signed_by: Vec<String>,
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    version: u32,
    default: Action,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleText {
    images: Vec<Spanned<String>>,
    #[serde(default)]
    action: Option<Action>,
    #[serde(default)]
    pinned: bool,
    #[serde(default)]
    signed_by: Vec<String>,
    #[serde(default)]
    message: Option<String>,
}

/// A policy that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", line.map_or_else(String::new, |line| format!("line {line}: ")))]
pub struct PolicyError {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
}

/// What a rule allows, and on what condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The line of the rule that decided; `None` if no rule did.
    pub line: Option<usize>,
    /// The files with public keys, by paths from the policy's directory, of which one has to have signed the image. Empty: no
    /// signature is asked for.
    pub signed_by: &'a [String],
}

/// Why an image may not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line of the rule that decided; `None` if no rule did.
    pub line: Option<usize>,
    /// What is wrong with the image.
    pub reason: RefusalReason,
    /// What the rule says about it.
    pub message: Option<String>,
}

/// What is wrong with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// It is not allowed.
    Denied,
    /// It is named without a digest.
    Unpinned,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason, self.line) {
            (RefusalReason::Denied, Some(line)) => write!(f, "the rule of line {line} denies it")?,
            (RefusalReason::Denied, None) => f.write_str("no rule allows it")?,
            (RefusalReason::Unpinned, Some(line)) => write!(f, "the rule of line {line} wants a digest")?,
            (RefusalReason::Unpinned, None) => f.write_str("it has no digest")?,
        }
        self.message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}

impl Policy {
    /// Parses a policy.
    ///
    /// # Errors
    /// It is larger than [`POLICY_BYTES_MAX`], no TOML, of another version, has unknown keys, or has a rule without effect.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(PolicyError { line: None, problem: format!("it is larger than {POLICY_BYTES_MAX} bytes") });
        }
        let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
        let written: PolicyText = toml::from_str(text).map_err(|error| PolicyError {
            line: error.span().map(|span| line_of(span.start)),
            problem: error.message().to_owned(),
        })?;
        if written.version != VERSION {
            let problem = format!("it has version {}, and this bake knows version {VERSION}", written.version);
            return Err(PolicyError { line: None, problem });
        }
        let rules = written.rules.into_iter().enumerate().map(|(index, rule)| {
            let Some(first) = rule.images.first() else {
                let problem = format!("rule {} names no `images`", index + 1);
                return Err(PolicyError { line: None, problem });
            };
            let line = line_of(first.span().start);
            let wrong = |line: usize, problem: String| PolicyError { line: Some(line), problem };
            let action = rule.action.unwrap_or(Action::Allow);
            if action == Action::Deny && (rule.pinned || !rule.signed_by.is_empty()) {
                return Err(wrong(line, "a rule that denies images cannot ask for digests or signatures".to_owned()));
            }
            let patterns = rule.images.iter().map(|pattern| {
                ImagePattern::parse(pattern.get_ref()).map_err(|problem| wrong(line_of(pattern.span().start), problem))
            });
            Ok(Rule {
                line,
                patterns: patterns.collect::<Result<_, _>>()?,
                action,
                pinned: rule.pinned,
                signed_by: rule.signed_by,
                message: rule.message,
            })
        });
        Ok(Self { default: written.default, rules: rules.collect::<Result<_, _>>()? })
    }

    /// Decides about an image: as it is named, and whether its digest is fixed, by that name or otherwise.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn decide(&self, image: &Reference, is_pinned: bool) -> Result<Allowed<'_>, Refusal> {
        let rule = self.rules.iter().find(|rule| rule.patterns.iter().any(|pattern| pattern.matches(image)));
        let Some(rule) = rule else {
            return match self.default {
                Action::Allow => Ok(Allowed { line: None, signed_by: &[] }),
                Action::Deny => Err(Refusal { line: None, reason: RefusalReason::Denied, message: None }),
            };
        };
        let refused = |reason| Err(Refusal { line: Some(rule.line), reason, message: rule.message.clone() });
        match rule.action {
            Action::Deny => refused(RefusalReason::Denied),
            Action::Allow if rule.pinned && !is_pinned => refused(RefusalReason::Unpinned),
            Action::Allow => Ok(Allowed { line: Some(rule.line), signed_by: &rule.signed_by }),
        }
    }

    /// All files with keys that rules name, each once.
    pub fn key_files(&self) -> impl Iterator<Item = &str> {
        let files: std::collections::BTreeSet<&str> =
            self.rules.iter().flat_map(|rule| &rule.signed_by).map(String::as_str).collect();
        files.into_iter()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    const TEXT: &str = r#"
version = 1
default = "deny"

[[rules]]
images = ["docker.io/library/debian:12*", "ghcr.io/acme/*"]
pinned = true
message = "run `bake pin`"

[[rules]]
images = [
    "registry.example.com/base/**",
]
signed-by = ["keys/base.pub", "keys/next.pub"]

[[rules]]
images = ["docker.io/**"]
action = "deny"
"#;

    fn decide(policy: &Policy, name: &str) -> String {
        let reference = Reference::parse(name).unwrap();
        match policy.decide(&reference, reference.digest().is_some()) {
            Ok(allowed) => format!("line {:?}, {:?}", allowed.line, allowed.signed_by),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn the_first_rule_about_an_image_decides() {
        let policy = Policy::parse(TEXT).unwrap();
        let digest = bake_oci::Digest::of(b"");
        for (name, decision) in [
            ("debian:12".to_owned(), "the rule of line 6 wants a digest: run `bake pin`"),
            (format!("debian:12.1@{digest}"), "line Some(6), []"),
            (format!("debian@{digest}"), "the rule of line 17 denies it"),
            ("debian:13".to_owned(), "the rule of line 17 denies it"),
            (format!("ghcr.io/acme/app@{digest}"), "line Some(6), []"),
            (format!("ghcr.io/acme/deep/app@{digest}"), "no rule allows it"),
            (
                "registry.example.com/base/deep/app:1".to_owned(),
                "line Some(12), [\"keys/base.pub\", \"keys/next.pub\"]",
            ),
        ] {
            assert_eq!(decide(&policy, &name), decision, "{name}");
        }
        let files: Vec<&str> = policy.key_files().collect();
        assert_eq!(files, ["keys/base.pub", "keys/next.pub"]);
        assert_eq!(decide(&Policy::parse("version = 1\ndefault = \"allow\"").unwrap(), "x"), "line None, []");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let rule = |text: &str| format!("version = 1\ndefault = \"allow\"\n[[rules]]\n{text}\n");
        for (text, line, problem) in [
            (String::new(), None, "version"),
            ("version = 1".to_owned(), None, "default"),
            ("version = 2\ndefault = \"allow\"".to_owned(), None, "version 2"),
            ("version = 1\ndefault = \"maybe\"".to_owned(), Some(2), "maybe"),
            ("version = 1\ndefault = \"deny\"\n[[rule]]".to_owned(), Some(3), "`rule`"),
            (rule("images = [\"**\"]\nsigned = true"), Some(5), "`signed`"),
            (rule("images = []"), None, "rule 1 names no `images`"),
            (rule("images = [\n\"**\",\n\"debian\"]"), Some(6), "docker.io/library/debian"),
            (rule("images = [\"**\"]\naction = \"deny\"\npinned = true"), Some(4), "denies"),
            (" ".repeat(POLICY_BYTES_MAX + 1), None, "larger"),
        ] {
            let error = Policy::parse(&text).unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
            if line.is_some() {
                assert_eq!(error.line, line, "{text}: {error}");
            }
        }
    }
}
