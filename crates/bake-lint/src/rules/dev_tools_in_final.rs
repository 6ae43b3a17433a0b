//! `dev-tools-in-final`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "dev-tools-in-final",
    aliases: &["DL3001", "CIS-DI-0003"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Tools for building and debugging are installed into the image and stay there.",
    why: "Compilers, editors and network tools make the image larger and give an intruder what he needs. Install them in a stage that \
          is only copied from, or remove them in the same RUN.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:12-slim AS build\nRUN apt-get update && apt-get install -y --no-install-recommends git\n\
           FROM debian:12-slim\nCOPY --from=build /app /app\nUSER 10001\n",
    check,
};

/// Packages that a running service rarely needs.
const TOOLS: [&str; 36] = [
    "autoconf",
    "automake",
    "build-base",
    "build-essential",
    "clang",
    "cmake",
    "cpp",
    "curl",
    "dnsutils",
    "g++",
    "gcc",
    "gcc-c++",
    "gdb",
    "git",
    "iputils-ping",
    "lsof",
    "make",
    "mercurial",
    "musl-dev",
    "nano",
    "nc",
    "ncat",
    "net-tools",
    "netcat",
    "netcat-openbsd",
    "netcat-traditional",
    "nmap",
    "openssh-client",
    "openssh-server",
    "strace",
    "subversion",
    "sudo",
    "tcpdump",
    "telnet",
    "vim",
    "wget",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        if run.onbuild || !run.stage.is_some_and(|stage| context.stages[stage].in_result) {
            continue;
        }
        let packages = package_commands(&run.script);
        let marks = run.script.commands.iter().any(|command| command.program() == "apt-mark");
        for package in &packages {
            let installs = package.action == Action::Install
                && (package.manager.is_apt() || package.manager.is_rpm() || package.manager == Manager::Apk);
            if !installs {
                continue;
            }
            // `apk add --virtual .build gcc` is removed by the name of the group.
            let group = package.option_value(&["-t", "--virtual"]);
            let removed_later = |name: &str| {
                packages.iter().filter(|p| p.index > package.index && p.action == Action::Remove).any(|p| {
                    // After `apt-mark auto` and `manual` a purge without names removes what was not there before.
                    if marks && p.operands.is_empty() {
                        return true;
                    }
                    p.operands.iter().any(|word| {
                        let removed = word.text.as_str();
                        removed == name || Some(removed) == group || word.expands
                    })
                })
            };
            let stays: Vec<&str> = package
                .operands
                .iter()
                .map(|word| word.text.split(['=', '~', ':', '<', '>']).next().unwrap_or_default())
                .filter(|name| TOOLS.contains(name) && !removed_later(name))
                .collect();
            if let Some((first, others)) = stays.split_first() {
                let list = others.iter().fold(format!("`{first}`"), |list, name| format!("{list}, `{name}`"));
                report
                    .report(package.command.span, format!("{list} installed into the image"))
                    .help("use them in a stage of their own and copy the result, or remove them in the same RUN");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn what_is_removed_in_the_same_run_is_fine() {
        for command in [
            "apt-get install -y curl && apt-get purge -y --auto-remove curl",
            "apt-get install -y wget && apt-mark auto '.*' && apt-get purge -y --auto-remove",
            "apk add --virtual .build gcc && make && apk del .build",
        ] {
            assert_eq!(lines("dev-tools-in-final", &format!("FROM a:1\nRUN {command}\n")), [0; 0], "{command}");
        }
        assert_eq!(
            lines("dev-tools-in-final", "FROM a:1\nRUN apt-get install -y git=1:2\nRUN apt-get purge git\n"),
            [2]
        );
    }
}
