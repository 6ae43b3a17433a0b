//! `cache-mount-suggested`

use super::prelude::*;
use crate::change::add_flag;

pub(super) const RULE: Rule = Rule {
    id: "cache-mount-suggested",
    aliases: &[],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A package manager runs without a cache mount in a stage that is only copied from.",
    why: "Such stages are built again and again while a program is developed, and each time everything is downloaded anew. With \
          `RUN --mount=type=cache` only what changed is. Off by default: builds on machines that are thrown away gain nothing.",
    bad: "FROM node:22 AS build\nRUN npm ci\nFROM debian:12-slim\nCOPY --from=build /app /app\nUSER 10001\n",
    good: "FROM node:22 AS build\nRUN --mount=type=cache,target=/root/.npm npm ci\nFROM debian:12-slim\n\
           COPY --from=build /app /app\nUSER 10001\n",
    check,
};

/// The directories worth keeping between builds, as options of mounts, and whether nothing else in the stage can want their content.
struct Caches {
    mounts: &'static [&'static str],
    paths: &'static [&'static str],
    alone: bool,
}

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in context.runs.iter().filter(|run| !run.onbuild) {
        let Some(stage) = run.stage.filter(|stage| !context.stages[*stage].in_result) else { continue };
        let packages = package_commands(&run.script);
        let found = run.script.commands.iter().enumerate().find_map(|(index, command)| {
            let package = packages.iter().find(|package| package.index == index && package.action == Action::Install);
            let caches = match package {
                Some(package) if package.has_option(&["--no-cache-dir", "--no-cache"]) => None,
                Some(package) => of_manager(package.manager),
                None => of_tool(command),
            };
            caches.map(|caches| (command, caches))
        });
        let Some((command, caches)) = found else { continue };
        if caches.paths.iter().any(|path| run.is_mounted(path)) || run.has_mount_named("cache") {
            continue;
        }
        let flags =
            caches.mounts.iter().map(|mount| format!("--mount=type=cache,{mount}")).collect::<Vec<_>>().join(" ");
        let finding =
            report.report(command.span, format!("`{}` downloads everything in every build", command.program()));
        finding.help(format!("give the RUN `{flags}`"));
        let root = !context
            .history(stage, run.index)
            .any(|located| matches!(located.instruction.kind, InstructionKind::User(_)));
        // Lists that one RUN fetches for another one would be hidden by the mount.
        let fetches = packages.iter().any(|package| package.manager.is_apt() && package.action == Action::Update);
        let uses_lists = packages.iter().any(|package| package.manager.is_apt());
        if root && fetches == uses_lists {
            let edit = vec![add_flag(run.instruction, &flags)];
            if caches.alone {
                finding.safe_fix("Add a cache mount", edit);
            } else {
                finding.unsafe_fix("Add cache mounts", edit);
            }
        }
    }
}

fn of_manager(manager: Manager) -> Option<Caches> {
    Some(match manager {
        Manager::AptGet | Manager::Apt | Manager::Aptitude => Caches {
            mounts: &["target=/var/cache/apt,sharing=locked", "target=/var/lib/apt,sharing=locked"],
            paths: &["/var/cache/apt", "/var/lib/apt"],
            alone: false,
        },
        Manager::Dnf | Manager::Yum => Caches {
            mounts: &["target=/var/cache/dnf,sharing=locked"],
            paths: &["/var/cache/dnf", "/var/cache/yum"],
            alone: true,
        },
        Manager::Zypper => {
            Caches { mounts: &["target=/var/cache/zypp,sharing=locked"], paths: &["/var/cache/zypp"], alone: true }
        }
        Manager::Pip => Caches { mounts: &["target=/root/.cache/pip"], paths: &["/root/.cache/pip"], alone: true },
        Manager::Npm => Caches { mounts: &["target=/root/.npm"], paths: &["/root/.npm"], alone: true },
        Manager::Yarn => Caches {
            mounts: &["target=/usr/local/share/.cache/yarn"],
            paths: &["/usr/local/share/.cache/yarn", "/root/.cache/yarn"],
            alone: true,
        },
        _ => return None,
    })
}

/// Tools whose cache holds what they compile against: stages may copy it, or build without a network.
fn of_tool(command: &SimpleCommand) -> Option<Caches> {
    let first = command.operands().next().map_or("", |word| word.text.as_str());
    Some(match (command.program(), first) {
        ("go", "mod" | "build" | "install" | "test" | "get") => Caches {
            mounts: &["target=/go/pkg/mod", "target=/root/.cache/go-build"],
            paths: &["/go/pkg/mod", "/root/.cache/go-build"],
            alone: false,
        },
        ("cargo", "build" | "install" | "fetch" | "test") => Caches {
            mounts: &["target=/usr/local/cargo/registry", "target=/usr/local/cargo/git"],
            paths: &["/usr/local/cargo/registry"],
            alone: false,
        },
        ("composer", "install" | "update") => {
            Caches { mounts: &["target=/root/.composer/cache"], paths: &["/root/.composer/cache"], alone: true }
        }
        ("mvn" | "mvnw", _) => Caches { mounts: &["target=/root/.m2"], paths: &["/root/.m2"], alone: false },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn mounts_are_added_in_builder_stages() {
        let text = "FROM a:1 AS b\nRUN pip install x\nRUN pip install --no-cache-dir x\nRUN --mount=type=cache,target=/root/.npm npm ci\n\
                    USER 1\nRUN npm ci\nFROM a:1\nRUN npm ci\n";
        assert_eq!(lines("cache-mount-suggested", text), [2, 6]);
        let expected = text.replacen("RUN pip", "RUN --mount=type=cache,target=/root/.cache/pip pip", 1);
        assert_eq!(fixed("cache-mount-suggested", text), expected);
        let apt = "FROM a:1 AS b\nRUN apt-get update\nRUN apt-get install x\nFROM a:1\n";
        assert_eq!(fixed("cache-mount-suggested", apt), apt, "the lists would be hidden");
    }
}
