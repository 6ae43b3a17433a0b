//! `cleanup-in-later-layer`

use std::collections::{BTreeMap, BTreeSet};

use super::prelude::*;
use crate::context::{Located, is_inside, join_path};
use crate::finding::Finding;
use crate::packages::{removed_paths, removes};
use bake_dockerfile::instruction::{CopyInstruction, CopySource};

pub(super) const RULE: Rule = Rule {
    id: "cleanup-in-later-layer",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
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
    /// Files by path, with the instruction that made them.
    files: BTreeMap<String, usize>,
    /// Caches of package managers: the directory, with the instruction that filled it last.
    caches: BTreeMap<&'static str, usize>,
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
                    let copied = copied_files(copy, located, &earlier.directory);
                    earlier.files.extend(copied.into_iter().map(|path| (path, located.index)));
                }
                InstructionKind::Run(_) => {
                    while runs.next_if(|run| run.index < located.index).is_some() {}
                    if let Some(run) = runs.next_if(|run| run.index == located.index) {
                        check_run(context, run, stage.in_result, &mut earlier, report);
                    }
                }
                _ => {}
            }
        }
        by_stage.push(earlier);
    }
}

fn check_run(
    context: &LintContext<'_>,
    run: &RunFacts<'_>,
    in_result: bool,
    earlier: &mut Earlier,
    report: &mut Reporter<'_>,
) {
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
                hit = earlier.files.iter().find(|(file, _)| is_inside(file, &removed));
            }
        }
        let cache = earlier.caches.keys().copied().find(|cache| !own_caches.contains(cache) && removes(command, cache));
        let cleaned = packages.iter().find(|package| package.index == index && package.action == Action::Clean);
        let cleaned = cleaned
            .and_then(|package| cache_of(package.manager))
            .filter(|cache| *cache != APT_LISTS && earlier.caches.contains_key(cache) && !own_caches.contains(cache));
        let cache = cache.or(cleaned).and_then(|cache| Some((cache, *earlier.caches.get(cache)?)));
        let (what, maker) = match (hit, cache) {
            (Some((file, maker)), _) => (file.as_str(), *maker),
            (None, Some(found)) => found,
            (None, None) => continue,
        };
        if in_result && !reported {
            let finding =
                report.report(command.span, format!("Removing `{what}` here does not make the image smaller"));
            finding
                .help("an earlier layer holds it: remove it in the RUN that makes it, or use a mount instead of COPY");
            offer_fix(context, run, index, maker, hit.is_none(), finding);
            reported = true;
        }
    }
    earlier.files.extend(made.into_iter().map(|file| (file, run.index)));
    for cache in own_caches {
        let removed_here = run.script.commands.iter().any(|command| removes(command, cache))
            || packages
                .iter()
                .any(|p| p.action == Action::Clean && cache_of(p.manager) == Some(cache) && cache != APT_LISTS);
        if !removed_here && !run.is_mounted(cache) {
            earlier.caches.insert(cache, run.index);
        }
    }
}

/// Lets the `RUN` that made the files remove them: by joining the two where they are neighbours, which changes nothing but the layers
/// when the later one only cleans; else by moving the command, which is right only for caches: files may have been used in between.
fn offer_fix(
    context: &LintContext<'_>,
    run: &RunFacts<'_>,
    index: usize,
    maker: usize,
    is_cache: bool,
    finding: &mut Finding,
) {
    let Ok(position) = context.runs.binary_search_by_key(&maker, |run| run.index) else { return };
    let maker = &context.runs[position];
    if maker.stage != run.stage {
        return;
    }
    let packages = package_commands(&run.script);
    let cleans =
        |index: usize| packages.iter().any(|package| package.index == index && package.action == Action::Clean);
    let commands = &run.script.commands;
    if let Some(edits) = context.join_runs(maker, run) {
        let only_cleans = (0..commands.len()).all(|index| cleans(index) || !removed_paths(&commands[index]).is_empty());
        if only_cleans {
            finding.safe_fix("Join with the RUN above", edits);
        } else {
            finding.unsafe_fix("Join with the RUN above", edits);
        }
    } else if is_cache
        && let Some(removal) = context.delete_command(run, index)
        && let Some(addition) = context.append_command(maker, context.source(commands[index].span))
    {
        finding.unsafe_fix("Remove it in the RUN that makes it", vec![addition, removal]);
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
pub(super) fn copied_files(copy: &CopyInstruction, located: Located<'_>, directory: &str) -> Vec<String> {
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
        "curl" => |option| {
            option == "--output" || (option.starts_with('-') && !option.starts_with("--") && option.ends_with('o'))
        },
        "wget" => |option| {
            option == "--output-document"
                || (option.starts_with('-') && !option.starts_with("--") && option.ends_with('O'))
        },
        _ => |_| false,
    };
    let named = arguments.windows(2).filter(move |pair| valued(&pair[0].text)).map(|pair| &pair[1]);
    let redirected = command.redirects.iter().filter(|r| r.operator == ">").map(|redirect| &redirect.target);
    named
        .chain(redirected)
        .filter(|word| !word.expands && word.text != "-" && !word.text.starts_with("/dev/"))
        .map(|word| word.text.as_str())
        .chain(named_by_address(command))
}

/// The files in the working directory that are called like the last part of the address they are downloaded from.
fn named_by_address(command: &SimpleCommand) -> impl Iterator<Item = &str> {
    let letters = |letter: char| {
        command
            .arguments()
            .iter()
            .any(|word| word.text.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains(letter)))
    };
    let by_address = match command.program() {
        "curl" => letters('O') || command.has_argument(&["--remote-name", "--remote-name-all"]),
        "wget" => {
            let says = ["--output-document", "--directory-prefix", "--input-file"];
            let says = |text: &str| says.iter().any(|option| text.starts_with(option));
            !letters('O') && !letters('P') && !letters('i') && !command.arguments().iter().any(|word| says(&word.text))
        }
        _ => false,
    };
    let addresses = command.operands().filter(move |word| by_address && !word.expands && word.text.contains("://"));
    addresses.filter_map(|word| {
        let (_, path) = word.text.split_once("://")?.1.split_once('/')?;
        path.split(['?', '#']).next()?.rsplit('/').next().filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{findings, fixed, lines};

    #[test]
    fn files_of_earlier_instructions_are_told_from_own_ones() {
        let text = "FROM debian:12\nWORKDIR /w\nCOPY big.tar .\nRUN tar xf big.tar && rm big.tar\nRUN curl -fsSLo /t.tgz x && rm /t.tgz\n\
                    RUN curl -o t.zip x\nRUN unzip t.zip && rm -f t.zip\nRUN rm -rf /etc/motd\nCOPY app /opt/app\nRUN rm -rf /opt/app\n";
        assert_eq!(lines("cleanup-in-later-layer", text), [4, 7, 10]);
    }

    #[test]
    fn downloads_are_called_like_their_address() {
        let text = "FROM debian:12\nWORKDIR /w\nRUN wget -q https://e.com/d/a.tar?x=1\nRUN curl -LO https://e.com/b.tgz\nRUN rm a.tar\nRUN rm /w/b.tgz\n\
                    RUN wget -qO- https://e.com/c.tar | tar x && curl https://e.com/d.tar > /dev/null\nRUN rm c.tar d.tar\n";
        assert_eq!(lines("cleanup-in-later-layer", text), [5, 6]);
    }

    #[test]
    fn caches_and_stages_are_followed() {
        let text = "FROM fedora:42 AS base\nRUN dnf install -y x\nFROM base\nRUN dnf clean all\n\
                    RUN dnf install -y y && dnf clean all\nRUN npm ci\nRUN npm cache clean --force\n";
        assert_eq!(lines("cleanup-in-later-layer", text), [4, 7]);
        let builder = "FROM fedora:42 AS b\nRUN dnf install -y x\nRUN dnf clean all\nFROM scratch\n";
        assert_eq!(lines("cleanup-in-later-layer", builder), [0; 0]);
    }

    #[test]
    fn the_maker_removes() {
        let safe = |text: &str| {
            let found = findings(text);
            let finding = found.iter().find(|finding| finding.rule.id == "cleanup-in-later-layer");
            finding.and_then(|finding| finding.fix.as_ref()).map(|fix| fix.safe)
        };
        for (text, expected, is_safe) in [
            ("RUN dnf install -y x\nRUN dnf clean all\n", "RUN dnf install -y x \\\n && dnf clean all\n", Some(true)),
            (
                "RUN curl -o /t.zip x\nRUN unzip /t.zip && rm /t.zip\n",
                "RUN curl -o /t.zip x \\\n && unzip /t.zip && rm /t.zip\n",
                Some(false),
            ),
            (
                "RUN apt-get update && apt-get install x\nCOPY a /b\nRUN rm -rf /var/lib/apt/lists/* && c\n",
                "RUN apt-get update && apt-get install x \\\n && rm -rf /var/lib/apt/lists/*\nCOPY a /b\nRUN c\n",
                Some(false),
            ),
            (
                "RUN npm ci\nCOPY a /b\nRUN c && npm cache clean --force && d\n",
                "RUN npm ci \\\n && npm cache clean --force\nCOPY a /b\nRUN c && d\n",
                Some(false),
            ),
            (
                "RUN npm ci\nCOPY a /b\nRUN npm cache clean --force\n",
                "RUN npm ci \\\n && npm cache clean --force\nCOPY a /b\n",
                Some(false),
            ),
            (
                "RUN curl -o /t.zip x\nCOPY a /b\nRUN rm /t.zip\n",
                "RUN curl -o /t.zip x\nCOPY a /b\nRUN rm /t.zip\n",
                None,
            ),
            ("COPY a.tar /a.tar\nRUN rm /a.tar\n", "COPY a.tar /a.tar\nRUN rm /a.tar\n", None),
        ] {
            let text = format!("FROM a:1\n{text}");
            assert_eq!(fixed("cleanup-in-later-layer", &text), format!("FROM a:1\n{expected}"));
            assert_eq!(safe(&text), is_safe, "{text}");
        }
    }
}
