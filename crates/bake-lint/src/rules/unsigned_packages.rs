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
                "rpm" => &["--nosignature", "--nogpg", "--nodigest"],
                "yum-config-manager" | "dnf5" => &[],
                "gem" => &["NoSecurity"],
                // A line for apt's list of sources.
                "echo" | "printf" | "add-apt-repository" => {
                    let trusted = command.arguments().iter().find(|word| {
                        word.text.contains("trusted=yes") && word.text.contains("://") && !word.text.contains("file://")
                    });
                    if let Some(word) = trusted {
                        report
                            .report(word.span, "`trusted=yes` skips the check of signatures")
                            .help("use `signed-by=` with the key of the repository");
                    }
                    continue;
                }
                _ => continue,
            };
            let is_setting = |text: &str| {
                let text = text.to_ascii_lowercase();
                let apt = text.contains("allowunauthenticated") || text.contains("allowinsecurerepositories");
                (apt && !["=0", "=false", "=no"].iter().any(|off| text.ends_with(off)))
                    || text.ends_with("gpgcheck=0")
                    || text.ends_with("gpgcheck=false")
                    || text.ends_with("gpgcheck=no")
            };
            if let Some(word) =
                command.arguments().iter().find(|word| options.contains(&word.text.as_str()) || is_setting(&word.text))
            {
                report.report(word.span, format!("`{}` skips the check of signatures", word.text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn every_manager_has_its_option() {
        check_bodies(
            "unsigned-packages",
            &[
                "apt-get install --allow-unauthenticated x",
                "apt-get -o APT::Get::AllowUnauthenticated=true install x",
                "yum install --nogpgcheck x",
                "dnf install --setopt=*.gpgcheck=0 x",
                "rpm -i --nosignature x.rpm",
                "echo 'deb [trusted=yes] https://x ./' > /etc/apt/sources.list.d/x.list",
            ],
            &[
                "apt-get install x",
                "echo 'deb [trusted=yes] file:///x ./' > /y",
                "apt-get -o APT::Get::AllowUnauthenticated=false install x",
                "echo --nogpgcheck",
                "echo 'deb [signed-by=/x] https://x ./' > /y",
                "dnf install x",
            ],
        );
    }
}
