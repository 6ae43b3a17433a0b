//! `add-for-archive`

use std::collections::BTreeMap;

use super::add_instead_of_copy::is_remote;
use super::cleanup_in_later_layer::copied_files;
use super::prelude::*;
use crate::context::{Located, join_path};
use crate::packages::removed_paths;
use crate::shell::ShellWord;

pub(super) const RULE: Rule = Rule {
    id: "add-for-archive",
    aliases: &["DL3010", "prefer-add-unpack"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "An archive is copied, or downloaded into a pipe, only to be unpacked by `tar`.",
    why: "The copied archive stays in its layer even when it is removed later, and what comes through a pipe is used before anything \
          could check it. `ADD` unpacks local archives, and remote ones with `--unpack=true --checksum=...`.",
    bad: "FROM debian:12-slim\nCOPY app.tar.gz /tmp/\nRUN tar -xzf /tmp/app.tar.gz -C /opt\nUSER 10001\n",
    good: "FROM debian:12-slim\nADD app.tar.gz /opt/\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut runs = context.runs.iter().filter(|run| !run.onbuild).peekable();
    for stage in 0..context.stages.len() {
        let mut directory = "/".to_owned();
        // The archives that lie in the stage, with the instruction that copied them from the context.
        let mut archives: BTreeMap<String, Located<'_>> = BTreeMap::new();
        for located in context.stage_instructions(stage).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Workdir(word) => directory = join_path(&directory, word.value.trim_matches('"')),
                InstructionKind::Copy(copy) if copy.from.is_none() => {
                    let files = copied_files(copy, located, &directory).into_iter().filter(|file| is_archive(file));
                    archives.extend(files.map(|file| (file, located)));
                }
                InstructionKind::Run(_) => {
                    while runs.next_if(|run| run.index < located.index).is_some() {}
                    if let Some(run) = runs.next_if(|run| run.index == located.index) {
                        check_run(context, run, &directory, &archives, report);
                    }
                }
                _ => {}
            }
        }
    }
}

fn check_run(
    context: &LintContext<'_>,
    run: &RunFacts<'_>,
    directory: &str,
    archives: &BTreeMap<String, Located<'_>>,
    report: &mut Reporter<'_>,
) {
    let mut here = directory.to_owned();
    for command in &run.script.commands {
        if command.program() == "cd"
            && let Some(target) = command.operands().next()
        {
            here = join_path(&here, &target.text);
        }
        let Some(unpacking) = unpacking(command) else { continue };
        if let Some(file) = unpacking.file.filter(|file| !file.expands && file.text != "-") {
            let Some(copied) = archives.get(&join_path(&here, &file.text)) else { continue };
            let finding = report.report(command.span, format!("`{}` is copied only to be unpacked", file.text));
            finding.label(copied.instruction.keyword.span, "copied here").help("let `ADD` unpack it");
            if let Some(edits) = with_add(context, run, *copied, &unpacking, &here) {
                finding.unsafe_fix("Use ADD", edits);
            }
        } else if unpacking.plain
            && let Some(url) = command.piped_from.and_then(|from| run.script.commands.get(from)).and_then(fetched)
        {
            let message = format!("`{}` is unpacked before anything could check it", url.text);
            report.report(command.span, message).help("use `ADD --unpack=true --checksum=sha256:... URL DIRECTORY/`");
        }
    }
}

/// What `tar` is asked to unpack.
struct Unpacking<'s> {
    /// The archive; `None` for standard input.
    file: Option<&'s ShellWord>,
    /// `-C`.
    directory: Option<&'s ShellWord>,
    /// Whether all of it is unpacked and nothing about it is changed, as `ADD` does.
    plain: bool,
}

fn unpacking(command: &SimpleCommand) -> Option<Unpacking<'_>> {
    if !matches!(command.program(), "tar" | "bsdtar") {
        return None;
    }
    let mut unpacking = Unpacking { file: None, directory: None, plain: true };
    let mut extracts = false;
    let mut words = command.arguments().iter().enumerate();
    while let Some((index, word)) = words.next() {
        let text = word.text.as_str();
        let letters = match text.strip_prefix('-') {
            Some(rest) if rest.starts_with('-') => None,
            Some(rest) => Some(rest),
            // The first word may be letters without a dash.
            None if index == 0 => Some(text),
            None => {
                unpacking.plain = false;
                continue;
            }
        };
        match (letters, text) {
            (Some(letters), _) => {
                for letter in letters.chars() {
                    match letter {
                        'x' => extracts = true,
                        'f' => unpacking.file = words.next().map(|(_, word)| word),
                        'C' => unpacking.directory = words.next().map(|(_, word)| word),
                        'z' | 'j' | 'J' | 'a' | 'v' | 'p' => {}
                        _ => unpacking.plain = false,
                    }
                }
            }
            (None, "--extract" | "--get") => extracts = true,
            (None, "--file") => unpacking.file = words.next().map(|(_, word)| word),
            (None, "--directory") => unpacking.directory = words.next().map(|(_, word)| word),
            (None, "--gzip" | "--bzip2" | "--xz" | "--zstd" | "--verbose" | "--auto-compress") => {}
            (None, _) => unpacking.plain = false,
        }
    }
    extracts.then_some(unpacking)
}

/// The address that `curl` or `wget` fetches.
fn fetched(command: &SimpleCommand) -> Option<&ShellWord> {
    matches!(command.program(), "curl" | "wget")
        .then(|| command.arguments().iter().find(|word| is_remote(&word.text)))
        .flatten()
}

fn is_archive(path: &str) -> bool {
    let name = path.to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// `ADD` in place of the `COPY`, without the `RUN` below it, when that does nothing else than unpack and remove the archive.
fn with_add(
    context: &LintContext<'_>,
    run: &RunFacts<'_>,
    copied: Located<'_>,
    unpacking: &Unpacking<'_>,
    here: &str,
) -> Option<Vec<TextEdit>> {
    let InstructionKind::Copy(copy) = &copied.instruction.kind else { return None };
    let file = unpacking.file?;
    let rest_removes = |command: &SimpleCommand| removed_paths(command) == [file.text.clone()];
    let only_this = match run.script.commands.as_slice() {
        [_] => true,
        [_, last] => rest_removes(last),
        _ => false,
    };
    let target = match unpacking.directory {
        Some(directory) if directory.expands => return None,
        Some(directory) => join_path(here, &directory.text),
        None => here.to_owned(),
    };
    let suitable = only_this
        && unpacking.plain
        && copied.index + 1 == run.index
        && copy.sources.len() == 1
        && copied.instruction.flags.is_empty()
        && run.instruction.flags.is_empty()
        && !target.contains([' ', '"', '\'', '$', '\\'])
        && context.source(copy.destination.span) == copy.destination.value;
    if !suitable {
        return None;
    }
    let keyword = &copied.instruction.keyword;
    let add = if keyword.value == keyword.value.to_lowercase() { "add" } else { "ADD" };
    let target = if target == "/" { target } else { format!("{target}/") };
    let removal = context.delete_instruction(run.instruction)?;
    Some(vec![TextEdit::replace(keyword.span, add), TextEdit::replace(copy.destination.span, target), removal])
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn archives_are_followed_to_where_they_are_unpacked() {
        let text = "FROM a:1\nWORKDIR /w\nCOPY a.tgz b.tar.xz x.zip ./\nRUN cd /tmp && tar xzf /w/a.tgz\nRUN tar --extract --file=z -f b.tar.xz\n\
                    RUN unzip x.zip\nRUN tar czf a.tgz dir\nRUN curl -fsSL https://e.com/$V.tgz | tar -xz -C /opt\nRUN cat x | tar x\n\
                    RUN curl -fsSL https://e.com/a.tgz | tar -xz -C /usr/local/bin tool\n\
                    FROM a:1 AS b\nCOPY --from=0 /w/a.tgz /\nRUN tar xf /a.tgz\n";
        assert_eq!(lines("add-for-archive", text), [4, 5, 8]);
    }

    #[test]
    fn add_unpacks_to_the_same_place() {
        for (text, expected) in [
            ("COPY a.tgz /tmp/\nRUN tar -xzf /tmp/a.tgz -C /opt\n", "ADD a.tgz /opt/\n"),
            ("WORKDIR /w\nCOPY a.tgz .\nRUN tar xf a.tgz && rm a.tgz\nRUN b\n", "WORKDIR /w\nADD a.tgz /w/\nRUN b\n"),
        ] {
            assert_eq!(fixed("add-for-archive", &format!("FROM a:1\n{text}")), format!("FROM a:1\n{expected}"));
        }
        for text in [
            "COPY a.tgz /tmp/\nRUN tar -xzf /tmp/a.tgz --strip-components=1\n",
            "COPY a.tgz /tmp/\nRUN tar -xzf /tmp/a.tgz one\n",
            "COPY a.tgz /tmp/\nRUN mkdir /x && tar -xzf /tmp/a.tgz -C /x\n",
            "COPY --chown=1 a.tgz /tmp/\nRUN tar -xzf /tmp/a.tgz\n",
        ] {
            let text = format!("FROM a:1\n{text}");
            assert_eq!(lines("add-for-archive", &text), [3]);
            assert_eq!(fixed("add-for-archive", &text), text);
        }
    }
}
