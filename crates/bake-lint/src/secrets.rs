//! Values that are secrets by their form, and names that speak of one.

use bake_checks::{HARMLESS_WORDS, SECRET_WORDS};

/// Words of a name that speak of a secret, besides those of the build check.
const MORE_SECRET_WORDS: [&str; 4] = ["passphrase", "passwords", "pwd", "secrets"];

/// Last words of a name that say it only speaks about a secret.
const HARMLESS_ENDS: [&str; 14] = [
    "url",
    "uri",
    "path",
    "name",
    "names",
    "dir",
    "directory",
    "ttl",
    "type",
    "length",
    "endpoint",
    "issuer",
    "audience",
    "algorithm",
];

/// The prefixes that issuers give their tokens so that they can be found, with the least number of characters that follow.
const PREFIXES: [(&str, usize, &str); 42] = [
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghu_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("ghr_", 36, "a GitHub token"),
    ("github_pat_", 22, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("gldt-", 20, "a GitLab token"),
    ("glrt-", 20, "a GitLab token"),
    ("xoxb-", 10, "a Slack token"),
    ("xoxp-", 10, "a Slack token"),
    ("xoxa-", 10, "a Slack token"),
    ("xoxr-", 10, "a Slack token"),
    ("xoxs-", 10, "a Slack token"),
    ("https://hooks.slack.com/services/T", 20, "the address of a Slack hook"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("AIza", 35, "a Google API key"),
    ("ya29.", 20, "a Google access token"),
    ("npm_", 36, "an npm token"),
    ("pypi-AgEIcHlwaS5vcmc", 20, "a PyPI token"),
    ("rubygems_", 48, "a RubyGems key"),
    ("dckr_pat_", 20, "a Docker Hub token"),
    ("SG.", 40, "a SendGrid key"),
    ("hf_", 30, "a Hugging Face token"),
    ("sk-ant-", 20, "an Anthropic key"),
    ("sk-proj-", 20, "an OpenAI key"),
    ("dop_v1_", 64, "a DigitalOcean token"),
    ("shpat_", 32, "a Shopify token"),
    ("hvs.", 20, "a Vault token"),
    ("dapi", 32, "a Databricks token"),
    ("glsa_", 32, "a Grafana token"),
    ("glc_", 32, "a Grafana token"),
    ("lin_api_", 32, "a Linear key"),
    ("PMAK-", 24, "a Postman key"),
    ("ATATT3", 20, "an Atlassian token"),
    ("figd_", 20, "a Figma token"),
    ("sntrys_", 20, "a Sentry token"),
    ("tskey-", 20, "a Tailscale key"),
    ("AGE-SECRET-KEY-1", 50, "an age key"),
];

/// How random a value must be to be a generated secret, in bits for each character: words and paths stay below, base64 is above 4.5.
const RANDOM_BITS_MIN: f64 = 3.7;

/// How long it must be for that to say something.
const RANDOM_LENGTH_MIN: usize = 20;

/// What kind of secret `value` is by its form. A private key may stand anywhere in it, a token has to be all of it.
pub(crate) fn token_kind(value: &str) -> Option<&'static str> {
    let is_token =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '=' | '+'));
    let by_prefix = PREFIXES.iter().find(|(prefix, least, _)| {
        value.strip_prefix(prefix).is_some_and(|rest| rest.len() >= *least && is_token(rest))
    });
    if let Some((.., kind)) = by_prefix {
        return Some(kind);
    }
    if value.contains("-----BEGIN") && value.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let json_web_token =
        value.starts_with("eyJ") && value.matches('.').count() == 2 && value.len() > 30 && is_token(value);
    json_web_token.then_some("a JSON web token")
}

/// The first token among the parts of a longer text, such as `Authorization: Bearer ghp_...`.
pub(crate) fn token_inside(text: &str) -> Option<&'static str> {
    let separators = [' ', '=', ':', '"', '\'', '@', ',', ';', '/', '\n', '\t'];
    token_kind(text)
        .or_else(|| text.split(separators).filter(|part| part.len() >= RANDOM_LENGTH_MIN).find_map(token_kind))
}

/// Whether an address holds a password in the open: `https://user:password@host`.
pub(crate) fn has_password(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    let Some((_, password)) = user.split_once(':') else { return false };
    let named = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-'));
    named && !password.is_empty() && !password.contains(['$', '<', '{', '*'])
}

/// Whether `value` looks generated: long, letters and digits mixed, hardly a character twice.
pub(crate) fn is_random(value: &str) -> bool {
    let classes = [char::is_lowercase as fn(char) -> bool, char::is_uppercase, char::is_numeric];
    let mixed =
        classes.iter().filter(|class| value.chars().any(class)).count() >= 2 && value.chars().any(char::is_numeric);
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-'));
    // Sixteen digits have four bits at most.
    let hexadecimal = value.len() >= 32 && value.chars().all(|c| c.is_ascii_hexdigit());
    let least = if hexadecimal { RANDOM_BITS_MIN - 0.4 } else { RANDOM_BITS_MIN };
    value.len() >= RANDOM_LENGTH_MIN && mixed && plain && bits_for_each_character(value) >= least
}

/// The entropy of the characters of `value`.
fn bits_for_each_character(value: &str) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    for character in value.chars() {
        *counts.entry(character).or_insert(0_u32) += 1;
    }
    let total = f64::from(counts.values().sum::<u32>());
    counts.values().map(|count| f64::from(*count) / total).map(|share| -share * share.log2()).sum()
}

/// Whether `name` speaks of a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.trim_matches(['"', '\'']).to_ascii_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.iter().any(|word| SECRET_WORDS.contains(word) || MORE_SECRET_WORDS.contains(word))
        && name != "pwd"
        && name != "oldpwd"
        && !words.iter().any(|word| HARMLESS_WORDS.contains(word))
        && !words.last().is_some_and(|last| HARMLESS_ENDS.contains(last))
}

#[cfg(test)]
mod tests {
    use super::{has_password, is_random, is_secret_name, token_inside, token_kind};

    #[test]
    fn names_are_read_by_words() {
        for name in [
            "NPM_TOKEN",
            "DB_PASSWORD",
            "AWS_SECRET_ACCESS_KEY",
            "SSH_PRIVATE_KEY",
            "org.acme.password",
            "apikey",
            "MYSQL_PWD",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PASSWORD_FILE",
            "PUBLIC_KEY",
            "KEYBOARD",
            "MONKEY",
            "TOKEN_URL",
            "SECRET_NAME",
            "KEY_VERSION",
            "PWD",
            "AUTHOR",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_are_told_by_their_form() {
        assert!(token_kind("AKIAIOSFODNN7EXAMPLE").is_some());
        for value in
            ["AKIA", "ghp_short", "hunter2", "sk-slim", "hf_hub", "dapino", "SG.x", "npm_config_cache", "eyJ.a.b"]
        {
            assert!(token_kind(value).is_none(), "{value}");
        }
        let token = format!("Authorization: token ghp_{}", "a1".repeat(18));
        assert_eq!(token_inside(&token), Some("a GitHub token"));
        assert_eq!(token_inside("Authorization: token $TOKEN and more words than that"), None);
    }

    #[test]
    fn addresses_with_passwords_are_told() {
        assert!(has_password("https://user:hunter2@example.com/x.git") && has_password("postgres://a:b@db/x"));
        for address in [
            "https://example.com:8080/a@b",
            "https://user@example.com",
            "https://user:$TOKEN@example.com",
            "https://u:@x",
            "a:b@c",
        ] {
            assert!(!has_password(address), "{address}");
        }
    }

    #[test]
    fn generated_values_are_random() {
        assert!(is_random("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") && is_random("9f86d081884c7d659a2feaa0c55ad015"));
        for value in [
            "changeme",
            "/run/secrets/the-password-of-the-database",
            "aaaaaaaaaaaaaaaaaaaaaaaa1",
            "s3cret",
            "org.example.Secret.Manager1",
        ] {
            assert!(!is_random(value), "{value}");
        }
    }
}
