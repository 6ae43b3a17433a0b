//! The text changes that fixes are made of: whole instructions deleted or added, flags added, commands appended to a `RUN`, two `RUN`
//! joined. Each keeps the file's line ends and escape character, and gives nothing where it could not be exact.

use bake_dockerfile::diagnostic::code;
use bake_dockerfile::instruction::{Command, Instruction};
use bake_dockerfile::{Dockerfile, Span};

use crate::context::{LintContext, RunFacts};
use crate::finding::TextEdit;
use crate::shell::{Connector, SimpleCommand};

/// Builtins after which the rest of a shell session is not what it was before.
const STATE_BUILTINS: [&str; 18] = [
    ".", "alias", "cd", "eval", "exec", "exit", "export", "local", "popd", "pushd", "read", "readonly", "return",
    "shopt", "source", "trap", "umask", "unset",
];

impl<'a> LintContext<'a> {
    /// How lines end in this file, by its first one.
    pub(crate) fn newline(&self) -> &'static str {
        let first = self.dockerfile.source.text().split_inclusive('\n').next().unwrap_or_default();
        if first.ends_with("\r\n") { "\r\n" } else { "\n" }
    }

    /// Deletes an instruction with its lines. `None` where it is part of another one (a trigger), shares its line, or has a comment
    /// that hides findings, which would then hide those of the next instruction.
    pub(crate) fn delete_instruction(&self, instruction: &Instruction) -> Option<TextEdit> {
        let hides = |comment: &Span| {
            let comment = self.source(*comment);
            ["ignore", "skip"].iter().any(|word| comment.contains(word))
        };
        if instruction.comments.iter().any(hides) {
            return None;
        }
        let text = self.dockerfile.source.text();
        let start = line_start(text, instruction.span.start);
        let end = line_end(text, instruction.span.end);
        let alone =
            text[start..instruction.span.start].trim().is_empty() && text[instruction.span.end..end].trim().is_empty();
        alone.then(|| TextEdit::delete(Span::new(start, end)))
    }

    /// Puts `line` above an instruction and the comments that belong to it.
    pub(crate) fn insert_above(&self, instruction: &Instruction, line: &str) -> TextEdit {
        let start = instruction
            .comments
            .first()
            .map_or(instruction.span.start, |comment| comment.start.min(instruction.span.start));
        let start = line_start(self.dockerfile.source.text(), start);
        TextEdit::insert(start, format!("{line}{}", self.newline()))
    }

    /// Puts `line` below an instruction. `None` where a heredoc without an end, or a continuation at the end of the
    /// file, would swallow it.
    pub(crate) fn insert_below(&self, instruction: &Instruction, line: &str) -> Option<TextEdit> {
        let open_heredoc = self.dockerfile.diagnostics.iter().any(|diagnostic| diagnostic.code == code::HEREDOC);
        let continued = self.source(instruction.span).trim_end().ends_with(self.dockerfile.directives.escape);
        if open_heredoc || continued {
            return None;
        }
        let text = format!("{}{line}", self.newline());
        Some(TextEdit::insert(instruction.span.end, text))
    }

    /// Lets `command` run when all of a `RUN` has succeeded. `None` unless the `RUN` is shell text, or one heredoc, that ends with a
    /// command of its main list.
    pub(crate) fn append_command(&self, run: &RunFacts<'_>, command: &str) -> Option<TextEdit> {
        let last = run.script.commands.last().filter(|_| run.script.errors.is_empty())?;
        if !is_of_main_list(last) || last.program() == "exit" || last.wrapper("exec").is_some() || last.words.is_empty()
        {
            return None;
        }
        let end = end_of(last)?;
        let errexit = run.script.has_errexit_before(0, run.script.commands.len());
        if run.script.sessions.first().is_some_and(|session| session.heredoc) {
            let [heredoc] = run.instruction.heredocs.as_slice() else { return None };
            let body = Span::new(end, heredoc.span.end);
            let rest = self.source(body).trim_end();
            // Only the closing word may follow.
            if rest.split_whitespace().ne([heredoc.name.as_str()]) {
                return None;
            }
            // Without `set -e` a line of its own would hide that the one before it failed.
            let text = if errexit { format!("{}{command}", self.newline()) } else { format!(" && {command}") };
            return Some(TextEdit::insert(end, text));
        }
        let plain = matches!(run.run.command, Command::Shell(_)) && run.instruction.heredocs.is_empty();
        if !plain || !self.source(Span::new(end, run.instruction.span.end)).trim().is_empty() {
            return None;
        }
        Some(TextEdit::insert(end, format!("{}{command}", self.conjunction(run.instruction))))
    }

    /// ` && ` in the manner of the instruction's own lines: where it has several, on a new one.
    fn conjunction(&self, instruction: &Instruction) -> String {
        let (escape, newline) = (self.dockerfile.directives.escape, self.newline());
        let last = self.source(instruction.span).lines().skip(1).last().unwrap_or_default();
        let indent = &last[..last.len() - last.trim_start().len()];
        let indent = if indent.is_empty() { " " } else { indent };
        format!(" {escape}{newline}{indent}&& ")
    }

    /// Makes one `RUN` of two that stand directly one below the other. `None` unless doing so runs the same commands with the same
    /// outcome: both are shell text with the same flags, what the first one leaves behind in its shell (directory, variables) does not
    /// matter, and the second is one list of `&&`.
    pub(crate) fn join_runs(&self, first: &RunFacts<'_>, second: &RunFacts<'_>) -> Option<Vec<TextEdit>> {
        if !self.are_adjacent(first, second) || self.flag_texts(first) != self.flag_texts(second) {
            return None;
        }
        let (Command::Shell(_), Command::Shell(second_word)) = (&first.run.command, &second.run.command) else {
            return None;
        };
        let no_heredocs = first.instruction.heredocs.is_empty() && second.instruction.heredocs.is_empty();
        let readable = |run: &RunFacts<'_>| run.script.errors.is_empty() && !run.script.commands.is_empty();
        if !no_heredocs || !readable(first) || !readable(second) {
            return None;
        }
        let keeps_state = |command: &SimpleCommand| {
            let program = command.words.get(command.program_index).map_or("", |word| word.text.as_str());
            let only_sets_e_or_x = || {
                command.arguments().iter().all(|word| {
                    word.text
                        .strip_prefix('-')
                        .is_some_and(|letters| !letters.is_empty() && letters.chars().all(|c| "ex".contains(c)))
                })
            };
            !command.words.is_empty()
                && command.wrapper("exec").is_none()
                && !STATE_BUILTINS.contains(&program)
                && (program != "set" || only_sets_e_or_x())
        };
        let own =
            |run: &'_ RunFacts<'_>| run.script.commands.iter().filter(|c| c.session == 0).cloned().collect::<Vec<_>>();
        let (first_commands, second_commands) = (own(first), own(second));
        let chain = |commands: &[SimpleCommand]| {
            commands
                .iter()
                .all(|c| c.depth == 0 && matches!(c.connector, Connector::Start | Connector::And | Connector::Pipe))
        };
        // What was started in the background ends with its RUN.
        let no_background = |commands: &[SimpleCommand]| commands.iter().all(|c| c.connector != Connector::Background);
        let ends = |run: &RunFacts<'_>| {
            let last = run.script.commands.last().filter(|command| is_of_main_list(command))?;
            let rest = Span::new(end_of(last)?, run.instruction.span.end);
            self.source(rest).trim().is_empty().then_some(())
        };
        let suitable = first_commands.iter().all(|command| command.depth > 0 || keeps_state(command))
            && no_background(&first_commands)
            && chain(&second_commands);
        if !suitable {
            return None;
        }
        ends(first)?;
        ends(second)?;
        let gap = Span::new(first.instruction.span.end, second_word.span.start);
        let has_lines = self.source(first.instruction.span).contains('\n');
        let manner = if has_lines { first.instruction } else { second.instruction };
        Some(vec![TextEdit::replace(gap, self.conjunction(manner))])
    }

    /// Whether `second` comes right after `first`, with neither an instruction nor a comment between.
    pub(crate) fn are_adjacent(&self, first: &RunFacts<'_>, second: &RunFacts<'_>) -> bool {
        second.index == first.index + 1
            && first.stage == second.stage
            && !first.onbuild
            && !second.onbuild
            && second.instruction.comments.is_empty()
            && second.instruction.span.start >= first.instruction.span.end
            && self.source(Span::new(first.instruction.span.end, second.instruction.span.start)).trim().is_empty()
    }

    /// The flags of a `RUN` as written.
    pub(crate) fn flag_texts(&self, run: &RunFacts<'_>) -> Vec<&'a str> {
        run.instruction.flags.iter().map(|flag| self.source(flag.span)).collect()
    }

    /// Removes the first command of a `RUN`, or the whole `RUN` when it runs nothing else. `None` where what follows could notice.
    pub(crate) fn delete_first_command(&self, run: &RunFacts<'_>) -> Option<TextEdit> {
        self.delete_command(run, 0)
    }

    /// Removes a command, or the whole `RUN` when it runs nothing else. `None` unless all that joins it to the others is `&&`.
    pub(crate) fn delete_command(&self, run: &RunFacts<'_>, index: usize) -> Option<TextEdit> {
        let commands = &run.script.commands;
        let command = commands.get(index)?;
        let plain = matches!(run.run.command, Command::Shell(_)) && run.instruction.heredocs.is_empty();
        let plain = plain && run.script.errors.is_empty();
        if !plain || !is_of_main_list(command) || !command.redirects.is_empty() || command.span == run.instruction.span
        {
            return None;
        }
        let escape = self.dockerfile.directives.escape;
        let only_joined =
            |gap: Span| self.source(gap).chars().filter(|c| !c.is_whitespace() && *c != escape).eq("&&".chars());
        let ands = |command: &SimpleCommand| is_of_main_list(command) && command.connector == Connector::And;
        let next = commands.get(index + 1);
        if next.is_some_and(|next| !ands(next) || next.span.start <= command.span.end) {
            return None;
        }
        match (index.checked_sub(1).and_then(|before| commands.get(before)), next) {
            (None, None) => {
                let rest = Span::new(command.span.end, run.instruction.span.end);
                self.source(rest).trim().is_empty().then(|| self.delete_instruction(run.instruction)).flatten()
            }
            (None, Some(next)) => {
                let gap = Span::new(command.span.end, next.span.start);
                only_joined(gap).then(|| TextEdit::delete(Span::new(command.span.start, next.span.start)))
            }
            (Some(before), _) => {
                let end = end_of(before)
                    .filter(|end| ands(command) && is_of_main_list(before) && *end <= command.span.start)?;
                only_joined(Span::new(end, command.span.start))
                    .then(|| TextEdit::delete(Span::new(end, command.span.end)))
            }
        }
    }
}

/// Whether a command stands in the main list of its `RUN`: not in a group, a substitution or text given to another shell.
pub(crate) fn is_of_main_list(command: &SimpleCommand) -> bool {
    command.depth == 0 && command.session == 0
}

/// Where a command ends, its redirects included; `None` where one of them is a heredoc.
pub(crate) fn end_of(command: &SimpleCommand) -> Option<usize> {
    command.redirects.iter().try_fold(command.span.end, |end, redirect| {
        (!redirect.operator.starts_with("<<") || redirect.operator == "<<<").then(|| end.max(redirect.target.span.end))
    })
}

/// The start of the line that holds byte `offset`.
pub(crate) fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |end| end + 1)
}

/// The end of the line that holds byte `offset`, its line end included.
pub(crate) fn line_end(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |end| offset + end + 1)
}

/// Adds a flag as the first one of an instruction.
pub(crate) fn add_flag(instruction: &Instruction, flag: &str) -> TextEdit {
    TextEdit::insert(instruction.keyword.span.end, format!(" {flag}"))
}

/// The stage's last instruction, its `FROM` when it has no other.
pub(crate) fn last_instruction(dockerfile: &Dockerfile, stage: usize) -> Option<&Instruction> {
    let stage = dockerfile.stages.get(stage)?;
    dockerfile.stage_instructions(stage).last().or_else(|| dockerfile.instructions.get(stage.from))
}

#[cfg(test)]
mod tests {
    use bake_dockerfile::{SourceText, parse};

    use crate::LintOptions;
    use crate::context::LintContext;

    /// `text` with its first two `RUN` joined.
    fn joined(text: &str) -> Option<String> {
        let options = LintOptions::default();
        let dockerfile = parse(SourceText::new("Dockerfile", text));
        let context = LintContext::new(&dockerfile, &options);
        let edits = context.join_runs(&context.runs[0], &context.runs[1])?;
        Some(crate::fix::replaced(text, &edits))
    }

    fn appended(text: &str) -> Option<String> {
        let options = LintOptions::default();
        let dockerfile = parse(SourceText::new("Dockerfile", text));
        let context = LintContext::new(&dockerfile, &options);
        let edit = context.append_command(context.runs.last()?, "z")?;
        Some(crate::fix::replaced(text, &[edit]))
    }

    #[test]
    fn runs_are_joined_in_their_own_manner() {
        for (text, expected) in [
            ("FROM a\nRUN a\nRUN b\n", "FROM a\nRUN a \\\n && b\n"),
            ("FROM a\r\nRUN a\r\nRUN b\r\n", "FROM a\r\nRUN a \\\r\n && b\r\n"),
            (
                "# escape=`\nFROM a\nSHELL [\"sh\", \"-c\"]\nRUN a\nRUN b\n",
                "# escape=`\nFROM a\nSHELL [\"sh\", \"-c\"]\nRUN a `\n && b\n",
            ),
            (
                "FROM a\nRUN a \\\n    # why\n    && b\n\n  RUN c\n",
                "FROM a\nRUN a \\\n    # why\n    && b \\\n    && c\n",
            ),
            ("FROM a\nRUN a\nRUN b \\\n    && c\n", "FROM a\nRUN a \\\n    && b \\\n    && c\n"),
            ("FROM a\nRUN a || b\nRUN c | d && e\n", "FROM a\nRUN a || b \\\n && c | d && e\n"),
            (
                "FROM a\nRUN --mount=type=cache,target=/x a\nRUN --mount=type=cache,target=/x b\n",
                "FROM a\nRUN --mount=type=cache,target=/x a \\\n && b\n",
            ),
            ("FROM a\nRUN a > x 2>&1\nRUN set -ex && b\n", "FROM a\nRUN a > x 2>&1 \\\n && set -ex && b\n"),
        ] {
            assert_eq!(joined(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn runs_that_would_behave_differently_are_left() {
        for text in [
            "FROM a\nRUN cd /x && a\nRUN b\n",
            "FROM a\nRUN export A=1 && a\nRUN b\n",
            "FROM a\nRUN A=1\nRUN b\n",
            "FROM a\nRUN set -u && a\nRUN b\n",
            "FROM a\nRUN a &\nRUN b\n",
            "FROM a\nRUN a & b\nRUN c\n",
            "FROM a\nRUN a;\nRUN b\n",
            "FROM a\nRUN a # note\nRUN b\n",
            "FROM a\nRUN a\nRUN b; c\n",
            "FROM a\nRUN a\nRUN b || c\n",
            "FROM a\nRUN a\nRUN if b; then c; fi\n",
            "FROM a\nRUN a\n# why\nRUN b\n",
            "FROM a\nRUN a\nRUN --network=none b\n",
            "FROM a\nRUN [\"a\"]\nRUN b\n",
            "FROM a\nRUN <<E\na\nE\nRUN b\n",
            "FROM a\nRUN a\nUSER x\nRUN b\n",
            "FROM a\nRUN a\nFROM b\nRUN b\n",
            "FROM a\nRUN a 'b\nRUN c\n",
            "FROM a\nRUN exec a\nRUN b\n",
        ] {
            assert_eq!(joined(text), None, "{text}");
        }
    }

    #[test]
    fn commands_are_appended_where_they_run_last() {
        for (text, expected) in [
            ("FROM a\nRUN a\n", "FROM a\nRUN a \\\n && z\n"),
            ("FROM a\nRUN a \\\n\t&& b\n", "FROM a\nRUN a \\\n\t&& b \\\n\t&& z\n"),
            ("FROM a\nRUN a; b > c\n", "FROM a\nRUN a; b > c \\\n && z\n"),
            ("FROM a\nRUN <<E\na\nE\n", "FROM a\nRUN <<E\na && z\nE\n"),
            ("FROM a\nRUN <<E\nset -e\na\nE\n", "FROM a\nRUN <<E\nset -e\na\nz\nE\n"),
            ("FROM a\r\nRUN <<E\r\nset -e\r\na\r\nE\r\n", "FROM a\r\nRUN <<E\r\nset -e\r\na\r\nz\r\nE\r\n"),
        ] {
            assert_eq!(appended(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "FROM a\nRUN a &\n",
            "FROM a\nRUN a;\n",
            "FROM a\nRUN a # b\n",
            "FROM a\nRUN exec a\n",
            "FROM a\nRUN if a; then b; fi\n",
            "FROM a\nRUN (a; b)\n",
            "FROM a\nRUN [\"a\"]\n",
            "FROM a\nRUN sh -c 'a'\n",
            "FROM a\nRUN cat <<E\na\nE\n",
            "FROM a\nRUN <<E\ncat <<F\nx\nF\nE\n",
            "FROM a\nRUN <<E\n{ a; }\nE\n",
        ] {
            assert_eq!(appended(text), None, "{text}");
        }
    }
}
