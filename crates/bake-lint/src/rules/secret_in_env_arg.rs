//! `secret-in-env-arg`

use super::prelude::*;
use bake_checks::{HARMLESS_WORDS, SECRET_WORDS};
use bake_dockerfile::instruction::Word;

pub(super) const RULE: Rule = Rule {
    id: "secret-in-env-arg",
    aliases: &["SecretsUsedInArgOrEnv", "DL3064", "DS-0031", "AVD-DS-0031", "CIS-DI-0010"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`ARG`, `ENV` or `LABEL` has the name or the value of a secret.",
    why: "Everyone who can pull the image can read its environment, labels and history, build arguments included. A secret mount leaves \
          no trace.",
    bad: "FROM debian:12-slim\nENV DB_PASSWORD=hunter2\nUSER 10001\n",
    good: "FROM debian:12-slim\nENV PASSWORD_FILE=/run/secrets/password\n\
           RUN --mount=type=secret,id=npm,env=NPM_TOKEN npm ci --cache /tmp/npm\nUSER 10001\n",
    check,
};

/// Words of a name that speak of a secret, besides those of the build check.
const MORE_SECRET_WORDS: [&str; 4] = ["passphrase", "passwords", "pwd", "secrets"];

/// Last words of a name that say it only speaks about a secret.
const HARMLESS_ENDS: [&str; 14] =
    ["url", "uri", "path", "name", "names", "dir", "directory", "ttl", "type", "length", "endpoint", "issuer", "audience", "algorithm"];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        match &located.instruction.kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    check_pair(&declaration.name, declaration.default.as_ref(), "ARG", report);
                }
            }
            InstructionKind::Env(pairs) => {
                for (key, value) in &pairs.pairs {
                    if !value.value.trim_matches(['"', '\'']).is_empty() {
                        check_pair(key, Some(value), "ENV", report);
                    }
                }
            }
            InstructionKind::Label(pairs) => {
                for (key, value) in &pairs.pairs {
                    check_pair(key, Some(value), "LABEL", report);
                }
            }
            _ => {}
        }
    }
}

fn check_pair(key: &Word, value: Option<&Word>, instruction: &str, report: &mut Reporter<'_>) {
    // Fingerprints of the keys that downloads are checked with: everybody may know them.
    let is_fingerprint = |value: &Word| {
        let mut words = value.value.trim_matches(['"', '\'']).split_whitespace().peekable();
        let hexadecimal = |word: &str| matches!(word.len(), 16 | 32 | 40 | 64) && word.chars().all(|c| c.is_ascii_hexdigit());
        words.peek().is_some() && words.all(hexadecimal)
    };
    let name = key.value.to_ascii_lowercase();
    if ["gpg", "pgp", "fingerprint"].iter().any(|word| name.contains(word)) && value.is_some_and(is_fingerprint) {
        return;
    }
    let help = "use `RUN --mount=type=secret,id=...` where it is needed";
    if let Some(kind) = value.and_then(|value| token_kind(value.value.trim_matches(['"', '\'']))) {
        report
            .report(key.span, format!("{instruction} `{}` holds {kind}", key.value))
            .severity(Severity::Error)
            .help(format!("{help}, and revoke this one: it is in every copy of the file"));
    } else if is_secret_name(&key.value) {
        report.report(key.span, format!("Do not use ARG, ENV or LABEL for secrets ({instruction} `{}`)", key.value)).help(help);
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.trim_matches(['"', '\'']).to_ascii_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.iter().any(|word| SECRET_WORDS.contains(word) || MORE_SECRET_WORDS.contains(word))
        && name != "pwd"
        && name != "oldpwd"
        && !words.iter().any(|word| HARMLESS_WORDS.contains(word))
        && !words.last().is_some_and(|last| HARMLESS_ENDS.contains(last))
}

/// What kind of token a value is, by the fixed forms that issuers give them so that they can be found.
fn token_kind(value: &str) -> Option<&'static str> {
    let rest_is = |prefix: &str, length: usize| {
        value.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= length && rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        })
    };
    let github = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"].iter().any(|prefix| rest_is(prefix, 36)) || rest_is("github_pat_", 22);
    let chat = ["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"].iter().any(|prefix| rest_is(prefix, 10));
    if rest_is("AKIA", 16) || rest_is("ASIA", 16) {
        Some("an AWS access key")
    } else if github {
        Some("a GitHub token")
    } else if rest_is("glpat-", 20) {
        Some("a GitLab token")
    } else if chat {
        Some("a Slack token")
    } else if rest_is("sk_live_", 16) || rest_is("rk_live_", 16) {
        Some("a Stripe key")
    } else if rest_is("AIza", 35) {
        Some("a Google API key")
    } else if rest_is("npm_", 36) {
        Some("an npm token")
    } else if value.contains("-----BEGIN") && value.contains("PRIVATE KEY") {
        Some("a private key")
    } else if value.starts_with("eyJ") && value.matches('.').count() == 2 && rest_is("eyJ", 30) {
        Some("a JSON web token")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{is_secret_name, token_kind};

    #[test]
    fn names_are_read_by_words() {
        for name in ["NPM_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "SSH_PRIVATE_KEY", "org.acme.password", "apikey", "MYSQL_PWD"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["PASSWORD_FILE", "PUBLIC_KEY", "KEYBOARD", "MONKEY", "TOKEN_URL", "SECRET_NAME", "KEY_VERSION", "PWD", "AUTHOR"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn fingerprints_of_keys_are_public() {
        let print = "A035C8C19219BA821ECEA86B64E628F8D684696D";
        let text = format!("FROM a:1\nENV GPG_KEY {print}\nENV GPG_KEYS=\"{print} {print}\"\nENV API_KEY={print}\nENV GPG_KEY=x\n");
        assert_eq!(crate::testing::lines("secret-in-env-arg", &text), [4, 5]);
    }

    #[test]
    fn values_are_told_by_their_form() {
        assert!(token_kind("AKIAIOSFODNN7EXAMPLE").is_some());
        assert!(token_kind("AKIA").is_none() && token_kind("ghp_short").is_none() && token_kind("hunter2").is_none());
    }
}
