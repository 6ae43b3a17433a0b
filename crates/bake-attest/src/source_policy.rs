//! BuildKit's source policies, as far as they are about images: `sourcepolicy/pb/policy.proto` in its JSON form.
//!
//! Rules are `ALLOW`, `DENY` and `CONVERT`; the last of the first two that matches decides, and a conversion begins anew with the
//! name it gave. What cannot be obeyed is an error: other sources than images, constraints on attributes, and changes of them.

use bake_oci::{Reference, ReferenceError};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::policy::POLICY_BYTES_MAX;

/// What the identifiers of images begin with.
const IMAGE: &str = "docker-image://";
/// How often a name may be converted (`sourcepolicy/engine.go`).
const CONVERSIONS_MAX: usize = 20;
/// The largest compiled expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// Rules about images in BuildKit's form.
#[derive(Debug, Clone)]
pub struct SourcePolicy {
    rules: Vec<SourceRule>,
}

#[derive(Debug, Clone)]
struct SourceRule {
    action: SourceAction,
    /// The identifier as written.
    identifier: String,
    /// `None`: nothing but the identifier itself.
    expression: Option<Regex>,
    /// What a conversion makes of it.
    update: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceAction {
    Allow,
    Deny,
    Convert,
}

/// A source policy that means nothing, or something that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourcePolicyError {
    /// It is no JSON of the right form.
    #[error("{0}")]
    Format(String),
    /// A rule cannot be obeyed.
    #[error("rule {number}: {problem}")]
    Rule {
        /// Which rule, from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Why an image may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceRefusal {
    /// A rule denies it.
    #[error("rule {number} (`{identifier}`) denies it")]
    Denied {
        /// Which rule, from 1.
        number: usize,
        /// What the rule is about.
        identifier: String,
    },
    /// Conversions lead to each other.
    #[error("it was converted {CONVERSIONS_MAX} times, and is to be converted again")]
    TooManyConversions,
    /// A conversion made something that is no name of an image.
    #[error("rule {number} makes `{identifier}` of it, which is no name of an image: {source}")]
    Conversion {
        /// Which rule, from 1.
        number: usize,
        /// What came out.
        identifier: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    #[serde(default)]
    #[expect(dead_code, reason = "BuildKit does not look at it either")]
    version: Option<i64>,
    #[serde(default)]
    rules: Vec<RuleText>,
}

/// A name or the number that protocol buffers have for it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Enumerator {
    Name(String),
    Number(u32),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default)]
    action: Option<Enumerator>,
    selector: SelectorText,
    #[serde(default)]
    updates: Option<UpdateText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorText {
    identifier: String,
    #[serde(default, rename = "matchType", alias = "match_type")]
    match_type: Option<Enumerator>,
    #[serde(default)]
    constraints: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateText {
    #[serde(default)]
    identifier: Option<String>,
    #[serde(default)]
    attrs: std::collections::BTreeMap<String, String>,
}

/// The position of an enumerator among `names`; the first one where nothing is said.
fn enumerator(value: Option<&Enumerator>, names: [&str; 3], what: &str) -> Result<usize, String> {
    let found = match value {
        None => Some(0),
        Some(Enumerator::Number(number)) => usize::try_from(*number).ok().filter(|number| *number < names.len()),
        Some(Enumerator::Name(name)) => names.iter().position(|known| known == name),
    };
    found.ok_or_else(|| format!("`{what}` is one of {}", names.join(", ")))
}

impl SourcePolicy {
    /// Parses a policy.
    ///
    /// # Errors
    /// It is larger than [`POLICY_BYTES_MAX`], has another form, or a rule that cannot be obeyed.
    pub fn parse(bytes: &[u8]) -> Result<Self, SourcePolicyError> {
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(SourcePolicyError::Format(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
        }
        let written: PolicyText =
            serde_json::from_slice(bytes).map_err(|error| SourcePolicyError::Format(error.to_string()))?;
        let rules = written.rules.into_iter().enumerate().map(|(index, rule)| {
            source_rule(rule).map_err(|problem| SourcePolicyError::Rule { number: index + 1, problem })
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Decides about an image; gives the name to use in its place if there is one.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn decide(&self, image: &Reference) -> Result<Option<Reference>, SourceRefusal> {
        let mut converted: Option<Reference> = None;
        for _ in 0..=CONVERSIONS_MAX {
            let current = converted.as_ref().unwrap_or(image).or_latest();
            match self.evaluate(&current)? {
                Some(next) => converted = Some(next),
                None => return Ok(converted),
            }
        }
        Err(SourceRefusal::TooManyConversions)
    }

    /// One round: what the image is converted to, if it is.
    fn evaluate(&self, image: &Reference) -> Result<Option<Reference>, SourceRefusal> {
        let identifier = format!("{IMAGE}{image}");
        let mut denied = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let number = index + 1;
            let captures = rule.expression.as_ref().and_then(|expression| expression.captures(&identifier));
            if captures.is_none() && rule.identifier != identifier {
                continue;
            }
            match rule.action {
                SourceAction::Allow => denied = None,
                SourceAction::Deny => {
                    denied = Some(SourceRefusal::Denied { number, identifier: rule.identifier.clone() });
                }
                SourceAction::Convert => {
                    let Some(update) = &rule.update else { continue };
                    let mut text = String::new();
                    match &captures {
                        Some(captures) => captures.expand(update, &mut text),
                        None => text.clone_from(update),
                    }
                    let name = text.strip_prefix(IMAGE).unwrap_or(&text);
                    let next = Reference::parse(name).map_err(|source| SourceRefusal::Conversion {
                        number,
                        identifier: text.clone(),
                        source,
                    })?;
                    if next.or_latest() != *image {
                        return Ok(Some(next));
                    }
                }
            }
        }
        denied.map_or(Ok(None), Err)
    }
}

fn source_rule(rule: RuleText) -> Result<SourceRule, String> {
    let action = match enumerator(rule.action.as_ref(), ["ALLOW", "DENY", "CONVERT"], "action")? {
        0 => SourceAction::Allow,
        1 => SourceAction::Deny,
        _ => SourceAction::Convert,
    };
    let identifier = rule.selector.identifier;
    if !rule.selector.constraints.is_empty() {
        return Err("constraints on attributes are not supported".to_owned());
    }
    let compiled = |expression: &str| {
        let built = RegexBuilder::new(expression).size_limit(EXPRESSION_BYTES_MAX).build();
        built.map(Some).map_err(|error| format!("`{identifier}`: {error}"))
    };
    let expression = match enumerator(rule.selector.match_type.as_ref(), ["WILDCARD", "EXACT", "REGEX"], "matchType")? {
        0 if identifier.contains("**") => return Err(format!("`{identifier}`: invalid wildcard `**`")),
        0 => compiled(&format!("^{}$", regex::escape(&identifier).replace(r"\*", "(.*)")))?,
        1 => None,
        _ => compiled(&identifier)?,
    };
    if !identifier.trim_start_matches('^').starts_with(IMAGE) || has_alternatives(&identifier) {
        return Err(format!(
            "`{identifier}` may be about other sources than images; only identifiers that begin with `{IMAGE}` are supported"
        ));
    }
    let update = match (action, rule.updates) {
        (SourceAction::Convert, Some(updates)) => {
            if !updates.attrs.is_empty() {
                return Err("changes of attributes are not supported".to_owned());
            }
            let update = updates.identifier.filter(|update| !update.is_empty());
            if let Some(update) = update.as_ref().filter(|update| !update.starts_with(IMAGE)) {
                return Err(format!("an image can only be converted to an image, not to `{update}`"));
            }
            update
        }
        (SourceAction::Convert, None) => return Err("a conversion needs `updates`".to_owned()),
        (_, _) => None,
    };
    Ok(SourceRule { action, identifier, expression, update })
}

/// Whether an expression has a `|` that no parentheses hold: then only its first part begins with what it seems to begin with.
fn has_alternatives(expression: &str) -> bool {
    let (mut depth, mut escaped) = (0_usize, false);
    for character in expression.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn policy(rules: &str) -> SourcePolicy {
        SourcePolicy::parse(format!("{{\"rules\":[{rules}]}}").as_bytes()).unwrap()
    }

    fn decide(policy: &SourcePolicy, name: &str) -> String {
        match policy.decide(&Reference::parse(name).unwrap()) {
            Ok(None) => "kept".to_owned(),
            Ok(Some(other)) => other.to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let policy = policy(
            r#"{"action":"DENY","selector":{"identifier":"docker-image://*"}},
               {"action":"ALLOW","selector":{"identifier":"docker-image://docker.io/library/alpine:*"}},
               {"action":1,"selector":{"identifier":"docker-image://docker.io/library/alpine:edge","matchType":"EXACT"}},
               {"selector":{"identifier":"^docker-image://ghcr\\.io/[a-c]+:1$","matchType":2}}"#,
        );
        assert_eq!(decide(&policy, "alpine"), "kept");
        assert_eq!(decide(&policy, "ghcr.io/abc:1"), "kept");
        assert_eq!(decide(&policy, "ghcr.io/abd:1"), "rule 1 (`docker-image://*`) denies it");
        assert!(decide(&policy, "alpine:edge").starts_with("rule 3"));
        assert!(decide(&policy, "debian").starts_with("rule 1"));
    }

    #[test]
    fn conversions_begin_anew() {
        let policy = policy(
            r#"{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/*"},
                "updates":{"identifier":"docker-image://mirror.io/hub/${1}"}},
               {"action":"DENY","selector":{"identifier":"docker-image://mirror.io/hub/busybox:*"}}"#,
        );
        assert_eq!(decide(&policy, "alpine:3"), "mirror.io/hub/alpine:3");
        assert!(decide(&policy, "busybox").starts_with("rule 2"));
        assert_eq!(decide(&policy, "mirror.io/x"), "kept");
        let digest = bake_oci::Digest::of(b"");
        let pins = format!(
            r#"{{"action":"CONVERT","selector":{{"identifier":"docker-image://docker.io/library/alpine:3"}},
                "updates":{{"identifier":"docker-image://docker.io/library/alpine:3@{digest}"}}}}"#
        );
        assert_eq!(decide(&self::policy(&pins), "alpine:3"), format!("docker.io/library/alpine:3@{digest}"));
    }

    #[test]
    fn circles_end() {
        let policy = policy(
            r#"{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/a:latest"},"updates":{"identifier":"docker-image://b"}},
               {"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/b:latest"},"updates":{"identifier":"docker-image://a"}}"#,
        );
        assert!(decide(&policy, "a").contains("20 times"));
        let same = self::policy(
            r#"{"action":"CONVERT","selector":{"identifier":"docker-image://*"},"updates":{"identifier":"docker-image://a"}}"#,
        );
        assert_eq!(decide(&same, "a:latest"), "kept", "a conversion to itself is none");
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused() {
        for (rule, problem) in [
            (r#"{"action":"DENY","selector":{"identifier":"https://*"}}"#, "other sources"),
            (r#"{"action":"DENY","selector":{"identifier":"*"}}"#, "other sources"),
            (
                r#"{"action":"DENY","selector":{"identifier":"^docker-image://a|https://b","matchType":"REGEX"}}"#,
                "other sources",
            ),
            (r#"{"action":"DROP","selector":{"identifier":"docker-image://*"}}"#, "ALLOW, DENY, CONVERT"),
            (r#"{"action":7,"selector":{"identifier":"docker-image://*"}}"#, "ALLOW, DENY, CONVERT"),
            (r#"{"selector":{"identifier":"docker-image://**"}}"#, "`**`"),
            (r#"{"selector":{"identifier":"docker-image://(","matchType":"REGEX"}}"#, "docker-image://("),
            (r#"{"selector":{"identifier":"docker-image://*","constraints":[{"key":"a"}]}}"#, "constraints"),
            (r#"{"action":"CONVERT","selector":{"identifier":"docker-image://*"}}"#, "`updates`"),
            (
                r#"{"action":"CONVERT","selector":{"identifier":"docker-image://*"},"updates":{"attrs":{"a":"b"}}}"#,
                "attributes",
            ),
            (
                r#"{"action":"CONVERT","selector":{"identifier":"docker-image://*"},"updates":{"identifier":"https://x"}}"#,
                "only be converted",
            ),
            (r#"{"selector":{"identifier":"docker-image://*"},"unheard":1}"#, "unheard"),
            ("7", "invalid type"),
        ] {
            let error = SourcePolicy::parse(format!("{{\"rules\":[{rule}]}}").as_bytes()).unwrap_err();
            assert!(error.to_string().contains(problem), "{rule}: {error}");
        }
        assert!(SourcePolicy::parse(b"").is_err());
    }
}
