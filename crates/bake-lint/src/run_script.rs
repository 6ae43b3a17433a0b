//! From a `RUN` to the commands it runs: shell form, exec form, heredocs, shebangs, and the shell in force.

use bake_dockerfile::instruction::{Command, Heredoc, Instruction, RunInstruction};
use bake_dockerfile::{SourceText, Span};

use crate::shell::{
    Characters, Connector, Dialect, Script, Session, ShellInput, ShellProgram, ShellWord, SimpleCommand, all_at, at,
    join_continuations, program_index, read_into, shell_program,
};

/// The shell that runs shell-form instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ShellState {
    /// No `SHELL` was given: what the image calls `sh`.
    #[default]
    Default,
    /// A `SHELL` that reads POSIX shell language.
    Posix(ShellProgram),
    /// PowerShell, cmd or something else whose language is not read here.
    Foreign,
}

impl ShellState {
    /// The state after `SHELL words`.
    pub(crate) fn from_words(words: &[String]) -> Self {
        let Some((program, arguments)) = words.split_first() else { return Self::Default };
        match shell_program(program, arguments.iter().map(String::as_str)) {
            Some(shell) => Self::Posix(shell),
            None => Self::Foreign,
        }
    }

    fn session(self, span: Span) -> Option<Session> {
        let (dialect, pipefail, errexit) = match self {
            Self::Default => (Dialect::Posix, false, false),
            Self::Posix(shell) => (shell.dialect, shell.pipefail, shell.errexit),
            Self::Foreign => return None,
        };
        Some(Session { dialect, pipefail, errexit, span, heredoc: false, bashisms: Vec::new() })
    }
}

/// The commands that `run` executes. Empty where the language is not shell.
pub(crate) fn run_script(
    source: &SourceText,
    escape: char,
    instruction: &Instruction,
    run: &RunInstruction,
    shell: ShellState,
) -> Script {
    match &run.command {
        Command::Exec(words) => exec_script(words, instruction.span),
        Command::Shell(word) => {
            let Some(session) = shell.session(instruction.span) else { return Script::default() };
            let input = join_continuations(source.slice(word.span), word.span.start, escape);
            let mut script = Script { sessions: vec![session], ..Script::default() };
            let outside = read_into(&mut script, &input, 0);
            let only_redirects = script.commands.iter().all(|c| c.words.is_empty() && c.assignments.is_empty());
            if only_redirects && let [heredoc] = instruction.heredocs.as_slice() {
                return heredoc_script(source, heredoc, shell);
            }
            for (outside, heredoc) in outside.iter().zip(&instruction.heredocs) {
                let session = outside
                    .command
                    .and_then(|index| script.commands.get(index))
                    .and_then(Session::reading_standard_input);
                if let Some(session) = session {
                    script.sessions.push(Session { span: heredoc.word.span, ..session });
                    let index = script.sessions.len() - 1;
                    read_into(&mut script, &heredoc_body(source, heredoc), index);
                }
            }
            script
        }
    }
}

/// The commands of a text for the default shell that stands at byte `start`, without continuations.
pub(crate) fn text_script(text: &str, start: usize) -> Script {
    let session = ShellState::Default.session(Span::new(start, start + text.len()));
    let mut script = Script { sessions: session.into_iter().collect(), ..Script::default() };
    read_into(&mut script, &at(text, start), 0);
    script
}

/// `RUN <<EOF`: the body is the script.
fn heredoc_script(source: &SourceText, heredoc: &Heredoc, shell: ShellState) -> Script {
    let session = match heredoc.body.strip_prefix("#!") {
        Some(rest) => {
            let mut words = rest.lines().next().unwrap_or_default().split_whitespace().peekable();
            let mut program = words.next().unwrap_or_default();
            if program.ends_with("/env") {
                while words.next_if(|word| word.starts_with('-')).is_some() {}
                program = words.next().unwrap_or_default();
            }
            shell_program(program, words).and_then(|shell| ShellState::Posix(shell).session(heredoc.word.span))
        }
        None => shell.session(heredoc.word.span),
    };
    let Some(session) = session else { return Script::default() };
    let mut script = Script { sessions: vec![Session { heredoc: true, ..session }], ..Script::default() };
    read_into(&mut script, &heredoc_body(source, heredoc), 0);
    script
}

/// `RUN ["program", "argument"]`: one command, and what it hands to a shell.
fn exec_script(words: &[String], span: Span) -> Script {
    let session = Session {
        dialect: Dialect::Posix,
        pipefail: false,
        errexit: false,
        span,
        heredoc: false,
        bashisms: Vec::new(),
    };
    let mut script = Script { sessions: vec![session], ..Script::default() };
    let finished: Vec<ShellWord> =
        words.iter().map(|text| ShellWord { text: text.clone(), span, expands: false }).collect();
    let Some((program, arguments)) = words.split_first() else { return script };
    script.commands.push(SimpleCommand {
        session: 0,
        assignments: Vec::new(),
        program_index: program_index(&finished),
        words: finished,
        redirects: Vec::new(),
        span,
        connector: Connector::Start,
        depth: 0,
        piped_from: None,
    });
    if let Some(shell) = shell_program(program, arguments.iter().map(String::as_str))
        && let ShellInput::Argument(index) = shell.input
        && let (Some(text), Some(session)) = (arguments.get(index), ShellState::Posix(shell).session(span))
    {
        script.sessions.push(session);
        read_into(&mut script, &all_at(text, span), 1);
    }
    script
}

/// The lines of a heredoc's body with their places, without the closing line.
fn heredoc_body(source: &SourceText, heredoc: &Heredoc) -> Characters {
    let text = source.slice(heredoc.span);
    let lines = text.trim_end_matches(['\n', '\r']);
    let body = lines.rfind('\n').map_or("", |end| &lines[..=end]);
    at(body, heredoc.span.start)
}
