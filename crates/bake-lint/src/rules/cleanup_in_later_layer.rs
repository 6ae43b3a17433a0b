//! `cleanup-in-later-layer`

use std::collections::BTreeSet;

use super::prelude::*;
use crate::context::{Located, is_inside, join_path};
use crate::packages::{removed_paths, removes};
use bake_dockerfile::instruction::{CopyInstruction, CopySource};

pub(super) const RULE: Rule = Rule {
    id: "cleanup-in-later-layer",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A `RUN` removes files that an earlier layer holds.",
    why: "A layer cannot make an earlier one smaller: the files stay in the image and are only hidden. Files made and removed by one \
          instruction leave nothing behind.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends make\n\
          RUN rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:12-slim\n\
           RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    check,
};

/// What earlier layers of a stage hold that a later command might remove in vain.
#[derive(Debug, Clone, Default)]
struct Earlier {
    /// The working directory, `/` where the base's is not known.
    directory: String,
    /// Files by path.
    files: BTreeSet<String>,
    /// Caches of package managers: the directory.
    caches: BTreeSet<&'static str>,
}

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut by_stage: Vec<Earlier> = Vec::with_capacity(context.stages.len());
    let mut runs = context.runs.iter().filter(|run| !run.onbuild).peekable();
    for (index, stage) in context.stages.iter().enumerate() {
        let mut earlier = match stage.base {
            Base::Stage(base) => by_stage.get(base).cloned().unwrap_or_default(),
            _ => Earlier { directory: "/".to_owned(), ..Earlier::default() },
        };
        for located in context.stage_instructions(index).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Workdir(word) => {
                    earlier.directory = join_path(&earlier.directory, word.value.trim_matches('"'));
                }
                InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
                    earlier.files.extend(copied_files(copy, located, &earlier.directory));
                }
                InstructionKind::Run(_) => {
                    while runs.next_if(|run| run.index < located.index).is_some() {}
                    if let Some(run) = runs.next_if(|run| run.index == located.index) {
                        check_run(run, stage.in_result, &mut earlier, report);
                    }
                }
                _ => {}
            }
        }
        by_stage.push(earlier);
    }
}

fn check_run(run: &RunFacts<'_>, in_result: bool, earlier: &mut Earlier, report: &mut Reporter<'_>) {
    let packages = package_commands(&run.script);
    let own_caches: Vec<&'static str> = packages
        .iter()
        .filter(|package| matches!(package.action, Action::Install | Action::Update | Action::Upgrade))
        .filter_map(|package| cache_of(package.manager))
        .collect();
    let mut made: BTreeSet<String> = BTreeSet::new();
    let mut here = earlier.directory.clone();
    let mut reported = false;
    for (index, command) in run.script.commands.iter().enumerate() {
        if command.program() == "cd"
            && let Some(target) = command.operands().next()
        {
            here = join_path(&here, &target.text);
        }
        made.extend(downloads(command).map(|path| join_path(&here, path)));
        let mut hit = None;
        for removed in removed_paths(command).iter().map(|path| join_path(&here, path)) {
            made.retain(|file| !is_inside(file, &removed));
            // `/` is what is left of a pattern such as `/*`: nothing to say about that.
            if removed != "/" && hit.is_none() {
                hit = earlier.files.iter().find(|file| is_inside(file, &removed)).cloned();
            }
        }
        let cache = earlier.caches.iter().copied().find(|cache| !own_caches.contains(cache) && removes(command, cache));
        let cleaned = packages.iter().find(|package| package.index == index && package.action == Action::Clean);
        let cleaned = cleaned
            .and_then(|package| cache_of(package.manager))
            .filter(|cache| *cache != APT_LISTS && earlier.caches.contains(cache) && !own_caches.contains(cache));
        if let Some(what) = hit.or(cache.or(cleaned).map(str::to_owned))
            && in_result
            && !reported
        {
            report
                .report(command.span, format!("Removing `{what}` here does not make the image smaller"))
                .help("an earlier layer holds it: remove it in the RUN that makes it, or use a mount instead of COPY");
            reported = true;
        }
    }
    earlier.files.extend(made);
    for cache in own_caches {
        let removed_here = run.script.commands.iter().any(|command| removes(command, cache))
            || packages.iter().any(|p| p.action == Action::Clean && cache_of(p.manager) == Some(cache) && cache != APT_LISTS);
        if !removed_here && !run.is_mounted(cache) {
            earlier.caches.insert(cache);
        }
    }
}

const APT_LISTS: &str = "/var/lib/apt/lists";

/// The directory that a package manager fills.
fn cache_of(manager: Manager) -> Option<&'static str> {
    match manager {
        Manager::AptGet | Manager::Apt | Manager::Aptitude => Some(APT_LISTS),
        Manager::Apk => Some("/var/cache/apk"),
        Manager::Yum => Some("/var/cache/yum"),
        Manager::Dnf | Manager::Microdnf => Some("/var/cache/dnf"),
        Manager::Tdnf => Some("/var/cache/tdnf"),
        Manager::Zypper => Some("/var/cache/zypp"),
        Manager::Pip => Some("/root/.cache/pip"),
        Manager::Npm => Some("/root/.npm"),
        Manager::Yarn => Some("/usr/local/share/.cache/yarn"),
        Manager::Gem => None,
    }
}

/// The files that a `COPY` or `ADD` makes, as far as the text tells: patterns and variables are left out.
fn copied_files(copy: &CopyInstruction, located: Located<'_>, directory: &str) -> Vec<String> {
    let destination = copy.destination.value.trim_matches('"');
    if destination.contains('$') {
        return Vec::new();
    }
    let into_directory = destination.ends_with('/') || copy.sources.len() > 1 || matches!(destination, "." | "..");
    let target = join_path(directory, destination);
    copy.sources
        .iter()
        .filter_map(|source| match source {
            CopySource::Path(word) => Some(word.value.trim_matches('"')),
            CopySource::Heredoc(index) => located.instruction.heredocs.get(*index).map(|heredoc| heredoc.name.as_str()),
        })
        .filter(|source| !source.contains(['$', '*', '?', '[']))
        .filter_map(|source| {
            let name = source.trim_end_matches('/').rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."));
            // The content of a directory is copied, not the directory: only a name with an extension is surely a file.
            match name {
                Some(name) if into_directory => name.contains('.').then(|| join_path(&target, name)),
                Some(_) if target != "/" => Some(target.clone()),
                _ => None,
            }
        })
        .collect()
}

/// The files that a command downloads or writes.
fn downloads(command: &SimpleCommand) -> impl Iterator<Item = &str> {
    let arguments = command.arguments();
    let valued: fn(&str) -> bool = match command.program() {
        "curl" => |option| option == "--output" || (option.starts_with('-') && !option.starts_with("--") && option.ends_with('o')),
        "wget" => |option| {
            option == "--output-document" || (option.starts_with('-') && !option.starts_with("--") && option.ends_with('O'))
        },
        _ => |_| false,
    };
    let named = arguments.windows(2).filter(move |pair| valued(&pair[0].text)).map(|pair| &pair[1]);
    let redirected = command.redirects.iter().filter(|r| r.operator == ">").map(|redirect| &redirect.target);
    named.chain(redirected).filter(|word| !word.expands && word.text != "-" && !word.text.starts_with("/dev/")).map(|word| word.text.as_str())
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn files_of_earlier_instructions_are_told_from_own_ones() {
        let text = "FROM debian:12\nWORKDIR /w\nCOPY big.tar .\nRUN tar xf big.tar && rm big.tar\nRUN curl -fsSLo /t.tgz x && rm /t.tgz\n\
                    RUN curl -o t.zip x\nRUN unzip t.zip && rm -f t.zip\nRUN rm -rf /etc/motd\nCOPY app /opt/app\nRUN rm -rf /opt/app\n";
        assert_eq!(lines("cleanup-in-later-layer", text), [4, 7, 10]);
    }

    #[test]
    fn caches_and_stages_are_followed() {
        let text = "FROM fedora:42 AS base\nRUN dnf install -y x\nFROM base\nRUN dnf clean all\n\
                    RUN dnf install -y y && dnf clean all\nRUN npm ci\nRUN npm cache clean --force\n";
        assert_eq!(lines("cleanup-in-later-layer", text), [4, 7]);
        let builder = "FROM fedora:42 AS b\nRUN dnf install -y x\nRUN dnf clean all\nFROM scratch\n";
        assert_eq!(lines("cleanup-in-later-layer", builder), [0; 0]);
    }
}
