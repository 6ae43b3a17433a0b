//! `unsigned-packages`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "unsigned-packages",
    aliases: &["CKV2_DOCKER_7", "CKV2_DOCKER_8", "CKV2_DOCKER_9", "CKV2_DOCKER_10", "CKV2_DOCKER_11", "CIS-DI-0011"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Packages are installed without a check of their signatures.",
    why: "A signature is what ties a package to its distribution; mirrors and proxies are not to be trusted.",
    bad: "FROM alpine:3.20\nRUN apk add --no-cache --allow-untrusted ./x.apk\nUSER 10001\n",
    good: "FROM alpine:3.20\nRUN apk add --no-cache x\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let options: &[&str] = match command.program() {
                "apk" => &["--allow-untrusted"],
                "apt-get" | "apt" | "aptitude" => &["--allow-unauthenticated", "--force-yes"],
                "yum" | "dnf" | "tdnf" | "microdnf" => &["--nogpgcheck", "--no-gpgchecks", "--setopt=gpgcheck=0"],
                "zypper" => &["--no-gpg-checks", "--allow-unsigned-rpm"],
                "rpm" => &["--nosignature", "--nogpg"],
                _ => continue,
            };
            if let Some(word) = command.arguments().iter().find(|word| options.contains(&word.text.as_str())) {
                report.report(word.span, format!("`{}` skips the check of signatures", word.text));
            }
        }
    }
}
