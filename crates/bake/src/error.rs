//! How a command fails: what is said, which hints are given, and the exit code. All three are decided here.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::ui::ci::{Annotation, Ci, Severity};
use crate::ui::colour::Colour;
use crate::ui::job_summary;
use crate::ui::sanitize::{sanitize, strip_escapes};

/// The kinds of failure, each with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for was understood and could not be done: a step failed, a registry refused.
    Build,
    /// The command line makes no sense.
    Usage,
    /// A file or name that was given does not hold what it should: the Dockerfile, the context, a reference.
    Input,
    /// bake itself is wrong.
    Internal,
    /// The user ended it.
    Interrupted,
}

impl ErrorKind {
    /// The exit code: 1 build failed, 2 usage or input, 70 our bug (`EX_SOFTWARE` of `sysexits.h`), 130 interrupted
    /// (128 and the number of `SIGINT`, as shells count).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Build => 1,
            Self::Usage | Self::Input => 2,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command ends without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    kind: ErrorKind,
    message: String,
    hints: Vec<String>,
    place: Option<Place>,
    snippet: Option<String>,
}

/// Lines of a file, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    first_line: usize,
    last_line: usize,
}

impl CommandError {
    /// A failure with a message: one line, no full stop at the end, literals in backticks.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), place: None, snippet: None }
    }

    /// The build or whatever was asked for failed.
    pub fn build(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Build, message)
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Something that was given does not hold what it should.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// bake itself is wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The user ended it.
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// A failure because of `error`, told with everything that lies underneath it.
    pub fn from_error(kind: ErrorKind, error: &dyn Error) -> Self {
        Self::new(kind, chain_text(error))
    }

    /// Says before the message what was being done.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Adds a line that says what would cure it. A hint that is there already is not repeated.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Adds several hints.
    #[must_use]
    pub fn hints(self, hints: impl IntoIterator<Item = String>) -> Self {
        hints.into_iter().fold(self, Self::hint)
    }

    /// Puts rendered text (source lines, the output of a step) before the message. It is printed as it is: it comes from
    /// `ui::snippet`, which has cleaned it.
    #[must_use]
    pub fn snippet(mut self, snippet: impl Into<String>) -> Self {
        self.snippet = Some(snippet.into());
        self
    }

    /// Says which lines of which file it is about, from 1.
    #[must_use]
    pub fn at(mut self, file: impl Into<PathBuf>, first_line: usize, last_line: usize) -> Self {
        self.place = Some(Place { file: file.into(), first_line, last_line });
        self
    }

    /// If it is about lines of a file, says where that file is.
    #[must_use]
    pub fn in_file(mut self, path: Option<&Path>) -> Self {
        if let (Some(place), Some(path)) = (&mut self.place, path) {
            path.clone_into(&mut place.file);
        }
        self
    }

    /// Tells the CI system that bake runs in: writes an annotation to `writer`, and adds to the job's summary.
    ///
    /// # Errors
    /// One of them cannot be written.
    pub fn tell_ci(&self, ci: &Ci, writer: &mut dyn std::io::Write) -> std::io::Result<()> {
        if self.kind == ErrorKind::Interrupted {
            return Ok(());
        }
        let message = sanitize(&self.message);
        if ci.annotations {
            let place = self.place.as_ref().map(|place| (place.file.as_path(), place.first_line, place.last_line));
            let annotation = Annotation { severity: Severity::Error, place, title: "bake", message: &message };
            writeln!(writer, "{}", annotation.command(ci.workspace.as_deref()))?;
        }
        match &ci.summary {
            Some(path) => {
                let details = strip_escapes_of_lines(self.snippet.as_deref().unwrap_or_default());
                job_summary::append(path, &job_summary::failure(&message, &details))
            }
            None => Ok(()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message with its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_code())
    }

    /// What is written to standard error: the snippet, the `error:` line and the `hint:` lines, each ended by a newline.
    pub fn render(&self, colour: Colour) -> String {
        let mut text = String::new();
        if let Some(snippet) = &self.snippet {
            text.push_str(snippet);
            if !snippet.ends_with('\n') {
                text.push('\n');
            }
        }
        let message = sanitize(&self.message);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{} {}", colour.error("error:"), indented(message.trim_end(), "       "));
        for hint in &self.hints {
            let _ = writeln!(text, "{} {}", colour.hint("hint:"), indented(sanitize(hint).trim_end(), "      "));
        }
        if self.kind == ErrorKind::Internal {
            let _ = writeln!(text, "{} {REPORT_ADVICE}", colour.hint("hint:"));
        }
        text
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// The causes are part of the message, so there is no source.
impl Error for CommandError {}

/// What is asked of whoever meets a bug.
const REPORT_ADVICE: &str =
    "this is a bug in bake; please report it with this text, the command line and, if you can, the Dockerfile";

fn strip_escapes_of_lines(text: &str) -> String {
    text.lines().map(|line| strip_escapes(line) + "\n").collect()
}

/// Further lines of a text stand below its first one.
fn indented(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}

/// The most causes that are told: no honest chain is longer, and one that refers to itself ends here.
const CAUSES_MAX: usize = 32;

/// The text of an error and of everything underneath it, joined by `: `. A cause whose text the error above it has told
/// already is left out.
pub fn chain_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut told = text.clone();
    let mut source = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = source else { break };
        let cause_text = cause.to_string();
        if !cause_text.is_empty() && !told.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
            told = cause_text;
        }
        source = cause.source();
    }
    text
}

/// Makes a panic say that it is a bug, what to report, and end the process with exit code 70, in whichever thread it
/// happens. Called once, at the start of the process.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        crate::ui::terminal::restore();
        let backtrace = std::backtrace::Backtrace::capture();
        let thread = std::thread::current();
        let mut text = panic_text(
            &panic_message(panic.payload()),
            panic.location().map(ToString::to_string).as_deref(),
            thread.name().unwrap_or("unnamed"),
        );
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            text.push_str(&backtrace.to_string());
        }
        // Nothing can be done about a standard error that cannot be written.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        exit_with_bug();
    }));
}

#[expect(clippy::exit, reason = "after a panic no state is worth returning through")]
fn exit_with_bug() -> ! {
    std::process::exit(i32::from(ErrorKind::Internal.exit_code()))
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

fn panic_text(message: &str, location: Option<&str>, thread: &str) -> String {
    format!(
        "\nerror: this is a bug in bake\n  \
         what:    {}\n  \
         where:   {} (thread `{}`)\n  \
         version: bake {} on {}-{}\n\
         hint: please report these lines with the command line and, if you can, the Dockerfile\n\
         hint: with RUST_BACKTRACE=1 in the environment, the report says more\n",
        indented(&sanitize(message), "           "),
        location.unwrap_or("unknown"),
        sanitize(thread),
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Chain {
        text: &'static str,
        #[source]
        source: Option<Box<Chain>>,
    }

    fn chain(texts: &[&'static str]) -> Chain {
        let (first, rest) = texts.split_first().expect("a chain has a first text");
        Chain { text: first, source: (!rest.is_empty()).then(|| Box::new(chain(rest))) }
    }

    #[test]
    fn chain_is_joined_without_repetition() {
        assert_eq!(chain_text(&chain(&["read `a`", "not found"])), "read `a`: not found");
        assert_eq!(chain_text(&chain(&["read `a`: not found", "not found"])), "read `a`: not found");
        assert_eq!(chain_text(&chain(&["failed", "failed", "disk full"])), "failed: disk full");
    }

    #[test]
    fn rendering_holds_snippet_error_and_hints_in_order() {
        let error = CommandError::build("process `make` ended with exit code 2")
            .snippet("Dockerfile:3")
            .hint("try again")
            .hint("try again");
        assert_eq!(
            error.render(Colour::Plain),
            "Dockerfile:3\nerror: process `make` ended with exit code 2\nhint: try again\n"
        );
    }

    #[test]
    fn outside_text_cannot_control_the_terminal() {
        let error = CommandError::input("no tag `\u{1b}]0;owned\u{7}`\r\u{9b}2J").context("pull");
        let text = error.render(Colour::Plain);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("\\x1b]0;owned\\x07"), "{text}");
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let kinds = [ErrorKind::Build, ErrorKind::Usage, ErrorKind::Input, ErrorKind::Internal, ErrorKind::Interrupted];
        assert_eq!(kinds.map(ErrorKind::exit_code), [1, 2, 2, 70, 130]);
    }

    #[test]
    fn a_bug_says_so() {
        let text = panic_text("index 3\nout of bounds", Some("src/x.rs:1:2"), "step");
        assert!(text.contains("this is a bug in bake") && text.contains("src/x.rs:1:2 (thread `step`)"), "{text}");
        assert!(CommandError::internal("no layer").render(Colour::Plain).contains("please report it"));
    }
}
