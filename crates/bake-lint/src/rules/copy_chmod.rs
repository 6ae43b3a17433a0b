//! `copy-chmod`

use super::prelude::*;
use crate::change::add_flag;
use crate::context::join_path;
use bake_dockerfile::instruction::{CopyInstruction, CopySource};

pub(super) const RULE: Rule = Rule {
    id: "copy-chmod",
    aliases: &["prefer-copy-chmod"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`RUN chmod` or `chown` of files that the instruction before has just copied.",
    why: "Changing the mode or owner in a later layer stores every file a second time. `COPY --chmod` and `--chown` do it in one layer.",
    bad: "FROM debian:12-slim\nCOPY entry.sh /entry.sh\nRUN chmod +x /entry.sh\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY --chmod=755 entry.sh /entry.sh\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in context.runs.iter().filter(|run| !run.onbuild && run.index > 0) {
        let previous = &context.dockerfile.instructions[run.index - 1];
        let (InstructionKind::Copy(copy), Some(stage)) = (&previous.kind, run.stage) else { continue };
        let Some(command) = run.script.commands.first() else { continue };
        let (flag, given) = match command.program() {
            "chmod" => ("--chmod", copy.chmod.is_some()),
            "chown" => ("--chown", copy.chown.is_some()),
            _ => continue,
        };
        let written = copy.destination.value.as_str();
        // The two stand in the same directory, known or not.
        let directory = context.working_directory(stage, run.index).unwrap_or_else(|| "/?".to_owned());
        let destination = join_path(&directory, written);
        let into_directory = written.ends_with('/') || matches!(written, "." | "..") || written.ends_with("/.");
        let copied = |path: &str| {
            let path = join_path(&directory, path);
            path == destination
                || (into_directory
                    && copy.sources.iter().any(|source| match source {
                        CopySource::Path(word) => {
                            let name = word.value.rsplit('/').next().unwrap_or_default();
                            !matches!(name, "" | "." | "..") && path == join_path(&destination, name)
                        }
                        CopySource::Heredoc(_) => false,
                    }))
        };
        let mut operands = command.operands().skip(1);
        if !given
            && !written.contains('$')
            && destination != "/"
            && operands.any(|word| !word.expands && copied(&word.text))
        {
            let finding = report.report(
                command.span,
                format!("`{}` of what was just copied stores the files twice", command.program()),
            );
            finding.label(previous.keyword.span, "copied here").help(format!("use `COPY {flag}=...`"));
            if let Some((value, exact)) = flag_value(command, copy, previous)
                && let Some(removal) = context.delete_first_command(run)
                && run.instruction.flags.is_empty()
            {
                let edits = vec![add_flag(previous, &format!("{flag}={value}")), removal];
                let title = format!("Use `COPY {flag}={value}`");
                if exact {
                    finding.safe_fix(title, edits);
                } else {
                    finding.unsafe_fix(title, edits);
                }
            }
        }
    }
}

/// What the flag has to say to do what `command` does, and whether that is exactly the same. `None` where it cannot be told.
fn flag_value(command: &SimpleCommand, copy: &CopyInstruction, instruction: &Instruction) -> Option<(String, bool)> {
    let [source] = copy.sources.as_slice() else { return None };
    let words: Vec<&str> = command.arguments().iter().map(|word| word.text.as_str()).collect();
    let (recursive, value) = match words.as_slice() {
        [value, path] if !path.starts_with('-') => (false, *value),
        ["-R" | "--recursive", value, path] if !path.starts_with('-') => (true, *value),
        _ => return None,
    };
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    // A directory is copied as its content, and what was below the destination before is out of the flag's reach.
    let is_file = match source {
        CopySource::Heredoc(index) => instruction.heredocs.get(*index).is_some(),
        CopySource::Path(word) => {
            let name = word.value.rsplit('/').next().unwrap_or_default();
            name.trim_start_matches('.').contains('.') && !word.value.contains(['*', '?', '[', '$'])
        }
    };
    match command.program() {
        "chmod" => {
            let octal = matches!(value.len(), 3 | 4) && value.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
            // What is copied is 644 or 755 in every checkout.
            let executable = matches!(value, "+x" | "a+x") && !recursive;
            let mode = if executable { "755" } else { value };
            (octal || executable).then(|| (mode.to_owned(), !recursive && (is_file || executable)))
        }
        // Without a group `chown` keeps it, while the flag sets the one of the user's number.
        "chown" => {
            let (user, group) = value.split_once(':')?;
            (plain(user) && plain(group)).then(|| (value.to_owned(), !recursive && is_file))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{findings, fixed};

    #[test]
    fn the_flag_takes_the_place_of_the_command() {
        for (text, expected) in [
            ("COPY a /a\nRUN chmod +x /a\n", "COPY --chmod=755 a /a\n"),
            (
                "COPY --from=x a.sh /b/\nRUN chmod 0700 /b/a.sh && /b/a.sh\n",
                "COPY --chmod=0700 --from=x a.sh /b/\nRUN /b/a.sh\n",
            ),
            ("COPY a.sh /a\r\nRUN chown app:app /a \\\r\n    && b\r\n", "COPY --chown=app:app a.sh /a\r\nRUN b\r\n"),
            ("WORKDIR /w\nCOPY . .\nRUN chown -R 1:1 /w\n", "WORKDIR /w\nCOPY --chown=1:1 . .\n"),
            ("COPY a.sh ./\nRUN chmod +x a.sh\n", "COPY --chmod=755 a.sh ./\n"),
            ("COPY . /app\nRUN chown -R 1:1 /app\nRUN x\n", "COPY --chown=1:1 . /app\nRUN x\n"),
            ("COPY <<E /a\nx\nE\nRUN chmod 755 /a\n", "COPY --chmod=755 <<E /a\nx\nE\n"),
        ] {
            assert_eq!(fixed("copy-chmod", &format!("FROM a:1\n{text}")), format!("FROM a:1\n{expected}"));
        }
    }

    #[test]
    fn what_cannot_be_exact_is_unsafe_or_left() {
        let safe = |text: &str| {
            let findings = findings(&format!("FROM a:1\n{text}"));
            findings.iter().find(|finding| finding.rule.id == "copy-chmod").map(|f| f.fix.as_ref().map(|fix| fix.safe))
        };
        assert_eq!(safe("COPY a.sh /a\nRUN chmod +x /a\n"), Some(Some(true)));
        assert_eq!(safe("COPY dir /a\nRUN chmod 700 /a\n"), Some(Some(false)));
        assert_eq!(safe("COPY . /a\nRUN chown -R 1:1 /a\n"), Some(Some(false)));
        for text in [
            "COPY a.sh b.sh /c/\nRUN chmod +x /c/a.sh\n",
            "COPY a.sh /a\nRUN chown app /a\n",
            "COPY a.sh /a\nRUN chmod u+s /a\n",
            "COPY a.sh /a\nRUN chmod +x /a /b\n",
            "COPY a.sh /a\nRUN chmod +x /a || true\n",
            "COPY a.sh /a\nRUN chown $U:$U /a\n",
            "COPY a.sh /a\nRUN --network=none chmod +x /a\n",
        ] {
            assert_eq!(safe(text), Some(None), "{text}");
        }
    }
}
