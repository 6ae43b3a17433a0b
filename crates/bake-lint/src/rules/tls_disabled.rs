//! `tls-disabled`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "tls-disabled",
    aliases: &[
        "CKV2_DOCKER_2",
        "CKV2_DOCKER_3",
        "CKV2_DOCKER_4",
        "CKV2_DOCKER_5",
        "CKV2_DOCKER_6",
        "CKV2_DOCKER_12",
        "CKV2_DOCKER_13",
        "CKV2_DOCKER_14",
        "CKV2_DOCKER_15",
        "CKV2_DOCKER_16",
    ],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "The check of certificates is switched off.",
    why: "Anyone on the way can then put something else into the image.",
    bad: "FROM debian:12-slim\nRUN curl -k -o /x https://example.com/x\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN curl -f -o /x https://example.com/x\nUSER 10001\n",
    check,
};

/// Environment variables that switch the check off, with the values that do.
const VARIABLES: [(&str, &[&str]); 10] = [
    ("GOINSECURE", &["*"]),
    ("PERL_LWP_SSL_VERIFY_HOSTNAME", &["0"]),
    ("YARN_ENABLE_STRICT_SSL", &["false", "0"]),
    ("YARN_STRICT_SSL", &["false"]),
    ("CONDA_SSL_VERIFY", &["false"]),
    ("NODE_TLS_REJECT_UNAUTHORIZED", &["0"]),
    ("GIT_SSL_NO_VERIFY", &["1", "true", "yes"]),
    ("PYTHONHTTPSVERIFY", &["0"]),
    ("NPM_CONFIG_STRICT_SSL", &["false"]),
    ("npm_config_strict_ssl", &["false"]),
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut found = |span: Span, what: &str| {
        report
            .report(span, format!("`{what}` switches the check of certificates off"))
            .help("install the certificate authority that is missing instead");
    };
    let disables = |name: &str, value: &str| {
        let value = value.trim_matches(['"', '\'']);
        // pip takes the names of hosts that it does not check.
        (name == "PIP_TRUSTED_HOST" && !value.is_empty())
            || VARIABLES.iter().any(|(variable, values)| *variable == name && values.contains(&value))
    };
    for located in &context.instructions {
        if let InstructionKind::Env(pairs) = &located.instruction.kind {
            for (key, value) in pairs.pairs.iter().filter(|(key, value)| disables(&key.value, &value.value)) {
                found(key.span, &format!("{}={}", key.value, value.value));
            }
        }
    }
    for run in &context.runs {
        for command in &run.script.commands {
            if let Some(assignment) = command.assignments.iter().find(|a| disables(&a.name, &a.value)) {
                found(command.span, &format!("{}={}", assignment.name, assignment.value));
            }
            let arguments = command.arguments();
            let switch = arguments.iter().find(|word| {
                let text = word.text.as_str();
                match command.program() {
                    "curl" => {
                        text == "--insecure"
                            || (text.starts_with('-')
                                && !text.starts_with("--")
                                && short_options(text, "odHuXATFebcEmrtCKPQUwxyYz").contains('k'))
                    }
                    "wget" | "apk" => text == "--no-check-certificate",
                    "apt-get" | "apt" => {
                        let text = text.to_ascii_lowercase();
                        text.contains("verify-peer=false")
                            || text.contains("verify-peer=0")
                            || text.contains("verify-host=false")
                    }
                    "npm" | "pnpm" | "yarn" => matches!(text, "--strict-ssl=false" | "--no-strict-ssl"),
                    "helm" | "kubectl" | "skopeo" => matches!(
                        text,
                        "--insecure-skip-tls-verify"
                            | "--insecure-skip-tls-verify=true"
                            | "--tls-verify=false"
                            | "--src-tls-verify=false"
                    ),
                    "aws" => text == "--no-verify-ssl",
                    "export" => text.split_once('=').is_some_and(|(name, value)| disables(name, value)),
                    "git" => text == "http.sslVerify=false",
                    "yum" | "dnf" | "tdnf" | "microdnf" => {
                        text.to_ascii_lowercase().ends_with("sslverify=0") || text.ends_with("sslverify=false")
                    }
                    program if program.starts_with("pip") || program.starts_with("python") => {
                        text.starts_with("--trusted-host")
                    }
                    _ => false,
                }
            });
            let strict = arguments.windows(2).find(|pair| {
                matches!(
                    (command.program(), pair[0].text.as_str(), pair[1].text.as_str()),
                    ("npm" | "yarn" | "pnpm", "strict-ssl", "false")
                        | ("conda", "ssl_verify", "false" | "no")
                        | ("composer", "disable-tls", "true" | "1")
                        | ("bundle", "ssl_verify_mode", "0")
                        | ("pip" | "pip3", "global.trusted-host" | "install.trusted-host", _)
                        | ("git", "http.sslVerify", "false" | "0")
                )
            });
            if let Some(word) = switch.or_else(|| strict.map(|pair| &pair[0])) {
                found(word.span, &word.text);
            }
        }
    }
}

/// The letters of a cluster of short options up to the first one that takes a value.
fn short_options<'t>(text: &'t str, valued: &str) -> &'t str {
    let letters = text.trim_start_matches('-');
    letters.find(|letter| valued.contains(letter)).map_or(letters, |end| &letters[..end])
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn options_are_told_from_values() {
        let text = "FROM a:1\nRUN curl -fsSLk x\nRUN curl -Hkey x\nRUN wget --no-check-certificate x\nENV NODE_TLS_REJECT_UNAUTHORIZED=0\n\
                    RUN npm config set strict-ssl false\nRUN pip install --trusted-host x y\nRUN echo -k\nRUN GIT_SSL_NO_VERIFY=1 git clone x\n";
        assert_eq!(lines("tls-disabled", text), [2, 4, 5, 6, 7, 9]);
        let more = "FROM a:1\nENV PIP_TRUSTED_HOST=x\nRUN apt-get -o Acquire::https::Verify-Peer=false update\nRUN conda config --set ssl_verify false\n\
                    RUN npm ci --strict-ssl=false\nRUN helm pull --insecure-skip-tls-verify x\nRUN yarn config set strict-ssl true\nENV GOINSECURE=\n";
        assert_eq!(lines("tls-disabled", more), [2, 3, 4, 5, 6]);
    }
}
