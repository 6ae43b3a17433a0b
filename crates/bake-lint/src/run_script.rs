//! From a `RUN` to the commands it runs: shell form, exec form, heredocs, shebangs, and the shell in force.

use bake_dockerfile::instruction::{Command, Heredoc, Instruction, RunInstruction};
use bake_dockerfile::{SourceText, Span};

use crate::context::RunFacts;
use crate::shell::{
    Characters, Connector, Dialect, Origin, Script, Session, ShellInput, ShellProgram, ShellWord, SimpleCommand,
    all_at, at, holds_expansion, join_continuations, json_strings, program_index, read_expansions_into, read_into,
    shell_program,
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
        Some(Session { pipefail, errexit, ..Session::new(dialect, span) })
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
        Command::Exec(words) => exec_script(source, escape, words, instruction),
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
                let body = heredoc_body(source, heredoc);
                if let Some(session) = session {
                    let origin = Origin::of_heredoc(heredoc.expand && holds_expansion(&body));
                    script.sessions.push(Session { span: heredoc.word.span, origin, ..session });
                    let index = script.sessions.len() - 1;
                    read_into(&mut script, &body, index);
                } else if heredoc.expand {
                    read_expansions_into(&mut script, &body, 0);
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
fn exec_script(source: &SourceText, escape: char, words: &[String], instruction: &Instruction) -> Script {
    let span = instruction.span;
    let session = Session { origin: Origin::Quoted, ..Session::new(Dialect::Posix, span) };
    let mut script = Script { sessions: vec![session], ..Script::default() };
    // A fix for shell text would be wrong between JSON strings: the words have the whole instruction as their place, which rules take
    // as "cannot be edited". What is handed to a shell is shell text.
    let finished: Vec<ShellWord> = words.iter().map(|text| ShellWord::literal(text, span)).collect();
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
        previous: None,
        followed_by: None,
        in_condition: false,
        negated: false,
    });
    if let Some(shell) = shell_program(program, arguments.iter().map(String::as_str))
        && let Some(session) = ShellState::Posix(shell).session(span)
        && let Some(characters) = shell_string(source, escape, words, instruction)
    {
        script.sessions.push(Session { origin: Origin::Quoted, ..session });
        read_into(&mut script, &characters, 1);
    }
    script
}

/// The texts that the shells of `run` read, with their languages: what stands in the instruction with the heredocs it asks for, and each
/// heredoc or JSON string that is a script itself.
pub(crate) fn script_texts(source: &SourceText, escape: char, run: &RunFacts<'_>) -> Vec<(Dialect, Characters)> {
    let Some(main) = run.script.sessions.first() else { return Vec::new() };
    let text = match &run.run.command {
        Command::Shell(text) => text,
        Command::Exec(words) => {
            let inner = run.script.sessions.get(1).map(|session| session.dialect);
            return inner
                .and_then(|dialect| Some((dialect, shell_string(source, escape, words, run.instruction)?)))
                .into_iter()
                .collect();
        }
    };
    let mut texts = Vec::new();
    let heredocs = &run.instruction.heredocs;
    if let ([heredoc], true) = (heredocs.as_slice(), main.heredoc) {
        return vec![(main.dialect, heredoc_body(source, heredoc))];
    }
    let mut characters = join_continuations(source.slice(text.span), text.span.start, escape);
    for heredoc in heredocs {
        if characters.last().is_none_or(|last| last.value != '\n') {
            characters.extend(all_at("\n", Span::new(text.span.end, text.span.end)));
        }
        characters.extend(at(source.slice(heredoc.span), heredoc.span.start));
        let reader = run.script.sessions.iter().find(|session| session.heredoc && session.span == heredoc.word.span);
        if let Some(reader) = reader.filter(|reader| !reader.is_expanded_outside()) {
            texts.push((reader.dialect, heredoc_body(source, heredoc)));
        }
    }
    texts.insert(0, (main.dialect, characters));
    texts
}

/// The string that `["sh", "-c", "string"]` hands to its shell.
fn shell_string(source: &SourceText, escape: char, words: &[String], instruction: &Instruction) -> Option<Characters> {
    let (program, arguments) = words.split_first()?;
    let ShellInput::Argument(index) = shell_program(program, arguments.iter().map(String::as_str))?.input else {
        return None;
    };
    let inner = arguments.get(index)?;
    let after_keyword = instruction.keyword.span.end;
    let text = source.slice(Span::new(after_keyword, instruction.span.end.max(after_keyword)));
    let places = json_strings(&join_continuations(text, after_keyword, escape), words);
    let characters = places.and_then(|mut places| places.drain(index + 1..).next());
    Some(characters.unwrap_or_else(|| all_at(inner, instruction.span)))
}

/// The lines of a heredoc's body with their places, without the closing line.
fn heredoc_body(source: &SourceText, heredoc: &Heredoc) -> Characters {
    let text = source.slice(heredoc.span);
    let lines = text.trim_end_matches(['\n', '\r']);
    let body = lines.rfind('\n').map_or("", |end| &lines[..=end]);
    at(body, heredoc.span.start)
}
