//! `language-cache`

use super::prelude::*;
use crate::packages::removes;

pub(super) const RULE: Rule = Rule {
    id: "language-cache",
    aliases: &["prefer-package-cache-mounts"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`composer`, `gem`, `cargo` or `go` leaves its downloads in a layer of the image.",
    why: "What was downloaded to be installed or compiled stays beside what came of it. A cache mount avoids that and makes the next \
          build faster. Stages that are only copied from do not count. pip, npm and yarn have rules of their own; pnpm, bun and \
          uv install hard links to their cache, which take no room of their own.",
    bad: "FROM php:8.4-cli\nRUN composer install --no-dev\nUSER 10001\n",
    good: "FROM php:8.4-cli\nRUN --mount=type=cache,target=/root/.composer/cache composer install --no-dev\nUSER 10001\n",
    check,
};

/// A tool that keeps what it downloads.
struct Tool {
    program: &'static str,
    /// The subcommands that fill the cache for good: `go mod download` fills it for what comes later.
    verbs: &'static [&'static str],
    /// Where the cache is in usual images; the first one is suggested for a mount.
    caches: &'static [&'static str],
    /// What empties it.
    clean: &'static str,
    /// The subcommand that empties it, as in `clean`.
    clean_verbs: &'static [&'static str],
    /// The options with which nothing is kept.
    options: &'static [&'static str],
    /// Whether nothing that works may need the cache later.
    safe: bool,
}

/// `pnpm`, `bun` and `uv` are not among them: what they install are hard links to their cache, which costs nothing.
const TOOLS: [Tool; 4] = [
    Tool {
        program: "composer",
        verbs: &["install", "update", "require", "create-project"],
        caches: &["/root/.composer/cache", "/root/.cache/composer", "/tmp/cache"],
        clean: "composer clear-cache",
        clean_verbs: &["clear-cache", "clearcache", "cc"],
        options: &["--no-cache"],
        safe: true,
    },
    Tool {
        program: "gem",
        verbs: &["install"],
        caches: &["/usr/local/bundle/cache", "/usr/local/lib/ruby/gems", "/usr/lib/ruby/gems"],
        clean: "rm -rf \"$(gem env gemdir)\"/cache/*",
        clean_verbs: &[],
        options: &[],
        safe: true,
    },
    Tool {
        program: "cargo",
        verbs: &["build", "install"],
        caches: &["/usr/local/cargo/registry", "/root/.cargo/registry"],
        clean: "rm -rf \"${CARGO_HOME:-$HOME/.cargo}/registry\"",
        clean_verbs: &[],
        options: &["--offline", "--frozen"],
        safe: false,
    },
    Tool {
        program: "go",
        verbs: &["build", "install"],
        caches: &["/go/pkg/mod", "/root/go/pkg/mod"],
        clean: "go clean -cache -modcache",
        clean_verbs: &["clean"],
        options: &["-mod=vendor"],
        safe: false,
    },
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        if !run.onbuild && !run.stage.is_some_and(|stage| context.stages[stage].in_result) {
            continue;
        }
        let verb =
            |command: &SimpleCommand| command.operands().next().map(|word| word.text.clone()).unwrap_or_default();
        for tool in &TOOLS {
            let commands =
                || run.script.commands.iter().enumerate().filter(|(_, command)| command.program() == tool.program);
            let Some((index, last)) = commands().rfind(|(_, command)| tool.verbs.contains(&verb(command).as_str()))
            else {
                continue;
            };
            let has = |option: &str| {
                last.arguments().iter().any(|word| {
                    word.text.split('=').next() == option.split('=').next() && word.text.starts_with(option)
                })
            };
            let later = run.script.commands.iter().skip(index + 1);
            let removed = later.clone().any(|command| {
                tool.caches.iter().any(|cache| removes(command, cache))
                    || (command.program() == "rm" && command.operands().any(|word| mentions_cache(tool, &word.text)))
            });
            let cleaned =
                commands().any(|(at, command)| at > index && tool.clean_verbs.contains(&verb(command).as_str()));
            let mounted = tool.caches.iter().any(|cache| run.is_mounted(cache))
                || run.has_mount_named(tool.program)
                || run.has_mount_named(".cache");
            if removed || cleaned || mounted || tool.options.iter().any(|option| has(option)) {
                continue;
            }
            let finding = report
                .report(last.span, format!("`{} {}` leaves its downloads in the layer", tool.program, verb(last)));
            finding.help(format!(
                "give the RUN `--mount=type=cache,target={}`, or end it with `{}`",
                tool.caches[0], tool.clean
            ));
            if let Some(edit) = context.append_command(run, tool.clean) {
                let title = format!("Add `{}`", tool.clean);
                if tool.safe {
                    finding.safe_fix(title, vec![edit]);
                } else {
                    finding.unsafe_fix(title, vec![edit]);
                }
            }
        }
    }
}

/// Whether a path that is removed is the tool's cache by its name, where variables hide where that is.
fn mentions_cache(tool: &Tool, path: &str) -> bool {
    match tool.program {
        "gem" => path.contains("gem") && path.contains("cache") || path.contains("GEM_HOME"),
        "cargo" => path.contains("registry") || path.contains("CARGO_HOME"),
        "go" => path.contains("GOPATH") || path.contains("GOMODCACHE"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn what_is_emptied_or_mounted_is_fine() {
        for command in [
            "pnpm install && bun install && uv sync",
            "composer install && composer clear-cache",
            "gem install x && rm -rf \"$GEM_HOME\"/cache",
            "cargo install x && rm -rf $CARGO_HOME/registry",
            "go build ./... && go clean -modcache",
            "go mod download",
            "--mount=type=cache,target=/go/pkg/mod go build",
            "--mount=type=cache,target=/root/.cache/composer composer install",
        ] {
            assert_eq!(lines("language-cache", &format!("FROM a:1\nRUN {command}\n")), [0; 0], "{command}");
        }
        let text = "FROM a:1 AS b\nRUN cargo build\nFROM a:1\nRUN go build && cargo build\nRUN gem install x\n";
        assert_eq!(lines("language-cache", text), [4, 5]);
    }

    #[test]
    fn the_cleaning_is_appended() {
        let text = "FROM a:1\nRUN composer install\nRUN gem install x\n";
        let expected = "FROM a:1\nRUN composer install \\\n && composer clear-cache\n\
                        RUN gem install x \\\n && rm -rf \"$(gem env gemdir)\"/cache/*\n";
        assert_eq!(fixed("language-cache", text), expected);
        assert_eq!(lines("language-cache", expected), [0; 0]);
    }
}
