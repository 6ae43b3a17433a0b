//! What can be told of the variables in a `RUN`: who assigns them, and whether their values are single words.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::context::{LintContext, PLATFORM_ARGS, PROXY_ARGS, RunFacts};
use crate::shell::{PartKind, Quoting, Script, ShellWord, SimpleCommand, is_name, parameter_name};

/// How far assignments that refer to others are followed.
const DEPTH_MAX: usize = 8;

/// What an unquoted expansion turns into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// One word that is not empty and no pattern.
    Word,
    /// Nothing.
    Empty,
    /// Text that is split, or expanded as a pattern: whoever wrote it unquoted wants that.
    Several,
    /// Cannot be told.
    Unknown,
}

impl Value {
    /// The value of two pieces of text side by side.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Several, _) | (_, Self::Several) => Self::Several,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Empty, other) => other,
            (word, _) => word,
        }
    }

    /// What holds when the value is one or the other.
    fn either(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Several, _) | (_, Self::Several) => Self::Several,
            _ => Self::Unknown,
        }
    }
}

/// The variables of one `RUN`.
pub(crate) struct Variables<'c> {
    context: &'c LintContext<'c>,
    run: &'c RunFacts<'c>,
    /// What is assigned to each name; `None` for input, loops and the like.
    assigned: HashMap<&'c str, Vec<Option<&'c ShellWord>>>,
    /// Whether commands run here that are not seen (`. file`, `eval "$x"`), which may assign anything.
    pub(crate) has_unseen_commands: bool,
    /// Values worked out before.
    known: RefCell<HashMap<String, Value>>,
}

impl<'c> Variables<'c> {
    pub(crate) fn of(context: &'c LintContext<'c>, run: &'c RunFacts<'c>) -> Self {
        let mut variables =
            Self { context, run, assigned: HashMap::new(), has_unseen_commands: false, known: RefCell::default() };
        for command in &run.script.commands {
            variables.read_command(command);
        }
        for head in &run.script.loops {
            let list = head.words.iter().map(Some).chain(head.words.is_empty().then_some(None));
            variables.assigned.entry(&head.variable).or_default().extend(list);
        }
        for parameter in run.script.parameters.iter().filter(|parameter| parameter.operator == Some('=')) {
            variables.assigned.entry(&parameter.name).or_default().push(None);
        }
        variables
    }

    fn read_command(&mut self, command: &'c SimpleCommand) {
        if command.words.is_empty() {
            for assignment in &command.assignments {
                self.assigned.entry(&assignment.name).or_default().push(Some(&assignment.word));
            }
            return;
        }
        let operands = || command.arguments().iter().filter(|word| !word.text.starts_with('-'));
        match command.program() {
            "export" | "readonly" | "local" | "declare" | "typeset" => {
                for word in operands() {
                    if let Some((name, _)) = word.text.split_once('=') {
                        self.assigned.entry(name.trim_end_matches('+')).or_default().push(Some(word));
                    }
                }
            }
            "read" | "mapfile" | "readarray" | "getopts" | "let" => {
                for word in operands() {
                    let name = word.text.split('=').next().unwrap_or_default();
                    self.assigned.entry(name).or_default().push(None);
                }
            }
            "printf" if command.has_argument(&["-v"]) => {
                if let Some(word) = operands().next() {
                    self.assigned.entry(&word.text).or_default().push(None);
                }
            }
            "." | "source" => self.has_unseen_commands = true,
            "eval" => self.has_unseen_commands |= command.arguments().iter().any(|word| word.expands),
            _ => {}
        }
    }

    /// Whether the script assigns `name`.
    pub(crate) fn is_assigned(&self, name: &str) -> bool {
        self.assigned.contains_key(name)
    }

    /// Whether `ENV`, `ARG` or the platform set `name`, before this step and in the stages it is built from.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        let predefined =
            PLATFORM_ARGS.contains(&name) || PROXY_ARGS.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
        let declared = |stage| self.context.is_declared_arg(stage, self.run.index, name);
        predefined || self.run.stage.is_some_and(declared) || self.environment_value(name).is_some()
    }

    fn environment_value(&self, name: &str) -> Option<String> {
        self.context.environment_value(self.run.stage?, self.run.index, name)
    }

    /// What `name` holds.
    pub(crate) fn value(&self, name: &str) -> Value {
        self.value_at(name, 0)
    }

    fn value_at(&self, name: &str, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Unknown;
        }
        if let Some(value) = self.known.borrow().get(name) {
            return *value;
        }
        // Until it is worked out, for assignments that refer to themselves.
        self.known.borrow_mut().insert(name.to_owned(), Value::Unknown);
        let value = self.work_out(name, depth);
        self.known.borrow_mut().insert(name.to_owned(), value);
        value
    }

    fn work_out(&self, name: &str, depth: usize) -> Value {
        if let Some(words) = self.assigned.get(name) {
            let mut values =
                words.iter().map(|word| word.map_or(Value::Unknown, |word| self.value_of_word(word, depth + 1)));
            let first = values.next().unwrap_or(Value::Unknown);
            return values.fold(first, Value::either);
        }
        if matches!(name, "#" | "?" | "$" | "!" | "-" | "0")
            || SINGLE_WORDS.contains(&name)
            || PLATFORM_ARGS.contains(&name)
        {
            return Value::Word;
        }
        let Some(written) = self.environment_value(name) else { return Value::Unknown };
        let lookup = |other: &str| if other == name { None } else { self.environment_value(other) };
        match self.context.expander().expand(&written, &lookup) {
            Ok(expansion) if expansion.undefined.is_empty() => value_of_text(&expansion.text),
            _ => Value::Unknown,
        }
    }

    /// What a word holds; of `NAME=value` the value.
    fn value_of_word(&self, word: &ShellWord, depth: usize) -> Value {
        let begin =
            word.text.find('=').filter(|at| is_name(word.text[..*at].trim_end_matches('+'))).map_or(0, |at| at + 1);
        if word.parts.is_empty() {
            return value_of_text(word.text.get(begin..).unwrap_or_default());
        }
        let pieces = word.parts.iter().map(|part| match part.kind {
            PartKind::Literal => {
                value_of_text(word.text.get(part.text.start.max(begin)..part.text.end).unwrap_or_default())
            }
            PartKind::Arithmetic => Value::Word,
            PartKind::Parameter => match parameter_name(word.text_of(part)) {
                Some((name, "")) => self.value_at(name, depth),
                Some((_, "#")) => Value::Word,
                _ => Value::Unknown,
            },
            PartKind::Command | PartKind::Backquoted
                if prints_one_word(&self.run.script, part.span.start, part.span.end) =>
            {
                Value::Word
            }
            _ => Value::Unknown,
        });
        pieces.fold(Value::Empty, Value::join)
    }
}

/// Variables of every shell that hold one word.
const SINGLE_WORDS: [&str; 16] = [
    "HOME", "PWD", "OLDPWD", "USER", "LOGNAME", "UID", "EUID", "PPID", "RANDOM", "HOSTNAME", "SHLVL", "LINENO",
    "SECONDS", "SHELL", "OPTIND", "TERM",
];

/// Variables that a shell or the container sets, or that mean something to the shell itself.
pub(crate) fn is_shell_variable(name: &str) -> bool {
    SINGLE_WORDS.contains(&name)
        || name.starts_with("BASH")
        || matches!(
            name,
            "PATH"
                | "IFS"
                | "PS1"
                | "PS2"
                | "PS4"
                | "ENV"
                | "CDPATH"
                | "LANG"
                | "LANGUAGE"
                | "TMPDIR"
                | "OPTARG"
                | "OPTERR"
                | "REPLY"
                | "PIPESTATUS"
                | "FUNCNAME"
                | "GROUPS"
                | "OSTYPE"
                | "HOSTTYPE"
                | "MACHTYPE"
                | "EPOCHSECONDS"
                | "COLUMNS"
                | "LINES"
                | "DIRSTACK"
                | "_"
                | "TZ"
                | "MAIL"
                | "MAPFILE"
                | "COMP_WORDS"
        )
        || name.starts_with("LC_")
}

fn value_of_text(text: &str) -> Value {
    if text.is_empty() {
        Value::Empty
    } else if text.contains([' ', '\t', '\n', '*', '?', '[']) {
        Value::Several
    } else {
        Value::Word
    }
}

/// Whether the substitution between the two bytes ends in a program that prints one word.
pub(crate) fn prints_one_word(script: &Script, start: usize, end: usize) -> bool {
    let inside = |command: &&crate::shell::SimpleCommand| start < command.span.start && command.span.end < end;
    let Some(last) = script.commands.iter().rfind(inside) else { return false };
    let arguments = || last.arguments().iter().map(|word| word.text.as_str());
    match last.program() {
        "nproc" | "uname" | "arch" | "whoami" | "hostname" | "mktemp" | "getconf" | "basename" | "dirname"
        | "which" | "lsb_release" | "tput" | "wc" | "sha256sum" | "realpath" | "readlink" | "pwd" => true,
        "printf" => arguments().next().is_some_and(|format| !format.contains([' ', '\t', '\\'])),
        "command" | "type" => last.has_argument(&["-v"]),
        "id" => arguments().any(|option| matches!(option, "-u" | "-g" | "-un" | "-gn")),
        "dpkg" => last.has_argument(&["--print-architecture"]),
        "date" => !arguments().any(|format| format.contains(' ')),
        "rpm" => last.has_argument(&["-E", "--eval"]),
        "go" => arguments().next() == Some("env"),
        "git" => arguments().next() == Some("rev-parse"),
        "pg_config" | "llvm-config" | "php-config" | "mysql_config" => {
            arguments().any(|option| option.contains("version") || option.contains("dir"))
        }
        _ => false,
    }
}

/// Whether the name of a variable speaks of several things, which are to be split.
pub(crate) fn is_plural_name(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or_default().to_ascii_lowercase();
    let collective =
        matches!(last.as_str(), "list" | "extra" | "args" | "cmd" | "command" | "arg" | "flag" | "all" | "opt" | "set");
    collective || (last.ends_with('s') && !last.ends_with("ss") && !matches!(last.as_str(), "os" | "alias" | "dns"))
}

/// Whether what is unquoted in an expansion of `quoting` can be split.
pub(crate) fn is_split(quoting: Quoting) -> bool {
    quoting == Quoting::None
}
