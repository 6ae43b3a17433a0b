//! A small shell reader that recovers from anything: it turns the body of a `RUN` into simple commands with exact source ranges.
//!
//! Rules ask "which commands run here, with which arguments, in which order", never "does this text contain". The reader knows quotes,
//! expansions, connectors, compound commands, nested substitutions, heredocs and `sh -c '...'`, and it never fails: what it cannot
//! make sense of becomes an entry of [`Script::errors`] and reading goes on.

mod characters;
mod invocation;
mod reader;
mod word;

use bake_dockerfile::Span;

pub(crate) use characters::{Characters, all_at, at, join_continuations, json_strings};
pub(crate) use invocation::{ShellInput, ShellProgram, is_name, program_index, shell_program};
pub(crate) use reader::{holds_expansion, read_expansions_into, read_into};
pub(crate) use word::{PartKind, Quoting, ShellWord, WordPart, parameter_name};

/// What one `RUN` executes: commands in the order of their evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// Simple commands; those of a substitution come before the command whose word holds it.
    pub(crate) commands: Vec<SimpleCommand>,
    /// Every `|`.
    pub(crate) pipes: Vec<Pipe>,
    /// Every use of a variable, in quotes, heredocs and arithmetic too.
    pub(crate) parameters: Vec<ParameterUse>,
    /// Every `for` and `select`.
    pub(crate) loops: Vec<Loop>,
    /// The shells involved: the main one first, then one for each `sh -c` or `sh <<EOF`.
    pub(crate) sessions: Vec<Session>,
    /// What could not be read.
    pub(crate) errors: Vec<ShellError>,
}

/// One shell process that reads commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// The language it speaks.
    pub(crate) dialect: Dialect,
    /// Whether `pipefail` is on from the start (`SHELL ["bash", "-o", "pipefail", "-c"]`).
    pub(crate) pipefail: bool,
    /// Whether `errexit` is on from the start (`bash -e`).
    pub(crate) errexit: bool,
    /// The range that shows where its commands come from: the heredoc's word, or the whole instruction.
    pub(crate) span: Span,
    /// Whether its commands are the body of a heredoc.
    pub(crate) heredoc: bool,
    /// What became of its text on the way from the Dockerfile.
    pub(crate) origin: Origin,
    /// Constructs met that a POSIX shell does not know.
    pub(crate) bashisms: Vec<(Span, &'static str)>,
    /// What its `set` commands changed, in order.
    pub(crate) changes: Vec<OptionChange>,
}

/// How the text that a shell reads stands in the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// As the shell gets it, so that quotes can be added.
    Verbatim,
    /// In JSON or in quotes of another shell.
    Quoted,
    /// Another shell expanded `$x` in it before, as in `sh -c "echo $x"`.
    Expanded,
}

impl Origin {
    /// That of the body of a heredoc which a shell reads.
    pub(crate) fn of_heredoc(is_expanded: bool) -> Self {
        if is_expanded { Self::Expanded } else { Self::Verbatim }
    }
}

/// The state of a shell's options after a `set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionChange {
    /// The index of the `set` command.
    command: usize,
    errexit: bool,
    pipefail: bool,
}

/// The language of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `sh`, `dash`, `ash`: what the image calls `sh`.
    Posix,
    /// `bash`, `zsh`, `ksh`: arrays, `[[`, process substitution.
    Bash,
}

/// How a command is joined to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connector {
    /// First of its list.
    Start,
    /// After `&&`.
    And,
    /// After `||`.
    Or,
    /// After `;` or a line end.
    Then,
    /// After `&`.
    Background,
    /// After `|`.
    Pipe,
}

/// A simple command: assignments, words, redirects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SimpleCommand {
    /// Index into [`Script::sessions`].
    pub(crate) session: usize,
    /// `NAME=value` before the first word.
    pub(crate) assignments: Vec<Assignment>,
    /// The program and its arguments, wrappers such as `sudo` and `env` included.
    pub(crate) words: Vec<ShellWord>,
    /// Where the effective program begins in `words` (after `sudo -E`, `env A=1`, `exec`, ...).
    pub(crate) program_index: usize,
    /// Redirects.
    pub(crate) redirects: Vec<Redirect>,
    /// From the first word to the last.
    pub(crate) span: Span,
    /// How it is joined to what stands before it.
    pub(crate) connector: Connector,
    /// How many compound commands, subshells and substitutions enclose it in its session.
    pub(crate) depth: usize,
    /// The command whose output it reads.
    pub(crate) piped_from: Option<usize>,
    /// The simple command before its connector; `None` where a compound command or nothing stands there.
    pub(crate) previous: Option<usize>,
    /// How what follows in the same list is joined to it; `None` for the last of its list.
    pub(crate) followed_by: Option<Connector>,
    /// Whether it decides an `if`, `while` or `until`.
    pub(crate) in_condition: bool,
    /// Whether `!` stands before it.
    pub(crate) negated: bool,
}

/// `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The name.
    pub(crate) name: String,
    /// The value with quotes removed.
    pub(crate) value: String,
    /// All of it.
    pub(crate) word: ShellWord,
}

/// A use of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterUse {
    /// Its name: `x`, `1`, `@`, ...
    pub(crate) name: String,
    /// What `${name...}` does with it: the first character after the name, `:` left out.
    pub(crate) operator: Option<char>,
    /// Where.
    pub(crate) span: Span,
    /// Index into [`Script::sessions`].
    pub(crate) session: usize,
    /// How many commands had been read when it was met.
    pub(crate) position: usize,
}

/// The head of a `for` or `select`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loop {
    /// The variable; empty for `for ((...))`.
    pub(crate) variable: String,
    /// What it goes through.
    pub(crate) words: Vec<ShellWord>,
    /// Index into [`Script::sessions`].
    pub(crate) session: usize,
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// `>`, `>>`, `<`, `<<`, `<<<`, ...
    pub(crate) operator: String,
    /// The number before the operator.
    pub(crate) descriptor: Option<u32>,
    /// The target, or the name of the heredoc.
    pub(crate) target: ShellWord,
    /// All of it.
    pub(crate) span: Span,
}

/// A `|` or `|&`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pipe {
    /// The operator.
    pub(crate) span: Span,
    /// The simple command on its left; `None` where a compound command stands there.
    pub(crate) left: Option<usize>,
    /// How many commands had been read when it was met: every earlier command has a smaller index.
    pub(crate) position: usize,
    /// Index into [`Script::sessions`].
    pub(crate) session: usize,
}

/// What the reader could not make sense of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShellError {
    /// Where.
    pub(crate) span: Span,
    /// What.
    pub(crate) message: String,
}

impl Session {
    /// A shell without options whose commands stand in the Dockerfile as they are.
    pub(crate) fn new(dialect: Dialect, span: Span) -> Self {
        Self {
            dialect,
            pipefail: false,
            errexit: false,
            span,
            heredoc: false,
            origin: Origin::Verbatim,
            bashisms: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Whether another shell expanded its text before.
    pub(crate) fn is_expanded_outside(&self) -> bool {
        self.origin == Origin::Expanded
    }

    /// Whether quotes can be added to its text.
    pub(crate) fn is_verbatim(&self) -> bool {
        self.origin == Origin::Verbatim
    }

    /// Follows `set` command number `index`.
    fn change_options(&mut self, index: usize, command: &SimpleCommand) {
        let now = self.changes.last().map_or((self.errexit, self.pipefail), |last| (last.errexit, last.pipefail));
        let set = |name: &str, before: bool| invocation::set_option(command.arguments(), name).unwrap_or(before);
        let change = OptionChange { command: index, errexit: set("errexit", now.0), pipefail: set("pipefail", now.1) };
        self.changes.push(change);
    }
}

impl SimpleCommand {
    /// The program's name without its directory, wrappers skipped; empty for a command that only assigns.
    pub(crate) fn program(&self) -> &str {
        self.words.get(self.program_index).map_or("", |word| base_name(&word.text))
    }

    /// The arguments of [`Self::program`].
    pub(crate) fn arguments(&self) -> &[ShellWord] {
        self.words.get(self.program_index + 1..).unwrap_or_default()
    }

    /// Whether an argument equals one of `options`.
    pub(crate) fn has_argument(&self, options: &[&str]) -> bool {
        self.arguments().iter().any(|word| options.contains(&word.text.as_str()))
    }

    /// The arguments that are not options.
    pub(crate) fn operands(&self) -> impl Iterator<Item = &ShellWord> {
        self.arguments().iter().filter(|word| !word.text.starts_with('-'))
    }

    /// The wrapper words before the program whose base name is `name`.
    pub(crate) fn wrapper(&self, name: &str) -> Option<&ShellWord> {
        self.words.iter().take(self.program_index).find(|word| base_name(&word.text) == name)
    }
}

impl Script {
    /// Whether `set -e` is on in `session` just before command number `position`.
    pub(crate) fn has_errexit_before(&self, session: usize, position: usize) -> bool {
        self.options_before(session, position).0
    }

    /// Whether `set -o pipefail` is on in `session` just before command number `position`.
    pub(crate) fn has_pipefail_before(&self, session: usize, position: usize) -> bool {
        self.options_before(session, position).1
    }

    fn options_before(&self, session: usize, position: usize) -> (bool, bool) {
        let Some(session) = self.sessions.get(session) else { return (false, false) };
        let count = session.changes.partition_point(|change| change.command < position);
        let last = count.checked_sub(1).and_then(|index| session.changes.get(index));
        last.map_or((session.errexit, session.pipefail), |change| (change.errexit, change.pipefail))
    }
}

/// The part after the last `/`.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
