//! Runs the program `ShellCheck` on the shell text of `RUN`.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bake::error::CommandError;
use bake_dockerfile::Severity;
use bake_lint::{ShellChecker, ShellRemark, ShellScript};
use serde::Deserialize;

use super::parallel;

/// How long one script may take: it is mostly far below a second.
const TIME_MAX: Duration = Duration::from_mins(1);

/// How many bytes of remarks on one script are read.
const OUTPUT_MAX: u64 = 16 << 20;

/// What is said of files that cannot be there, and of the missing first line.
const EXCLUDED: &str = "--exclude=SC1090,SC1091,SC2148,SC2187";

/// An installed `ShellCheck`.
#[derive(Debug)]
pub(super) struct ShellCheck {
    program: PathBuf,
}

#[derive(Deserialize)]
struct Report {
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Comment {
    line: usize,
    end_line: usize,
    column: usize,
    end_column: usize,
    level: String,
    code: u32,
    message: String,
}

impl ShellCheck {
    /// Finds out whether `program` can be run.
    ///
    /// # Errors
    /// It is not there, or is something else.
    pub(super) fn new(program: &Path) -> Result<Self, CommandError> {
        let problem = |what: &str| {
            CommandError::input(format!("cannot run `{}` for `--shellcheck`: {what}", program.display()))
                .hint("install ShellCheck (package `shellcheck`), or name it: `--shellcheck=/path/to/shellcheck`")
        };
        let output = command(program).arg("--version").output().map_err(|error| problem(&error.to_string()))?;
        if !String::from_utf8_lossy(&output.stdout).contains("ShellCheck") {
            return Err(problem("it does not say that it is ShellCheck"));
        }
        Ok(Self { program: program.to_owned() })
    }

    fn run(&self, script: &ShellScript) -> Result<Vec<ShellRemark>, String> {
        let named = |what: &str, error: &dyn std::fmt::Display| format!("{what} `{}`: {error}", self.program.display());
        let mut child = command(&self.program)
            .args(["--format=json1", "--severity=style", "--norc", "--shell", script.dialect, EXCLUDED, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| named("cannot start", &error))?;
        let (mut input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, receiver) = mpsc::channel();
        let text = script.text.clone();
        let reader = std::thread::spawn(move || {
            // It stops reading early where it gives up; then its output says why.
            let _ = input.as_mut().map(|input| input.write_all(text.as_bytes()));
            drop(input);
            let mut bytes = Vec::new();
            let read = output.map(|output| output.take(OUTPUT_MAX).read_to_end(&mut bytes));
            let _ = sender.send(read.unwrap_or(Ok(0)).map(|_| bytes));
        });
        let result = receiver.recv_timeout(TIME_MAX);
        if result.is_err() {
            let _ = child.kill();
        }
        let ended = child.wait().map_err(|error| named("cannot wait for", &error))?;
        let _ = reader.join();
        let bytes = match result {
            Ok(bytes) => bytes.map_err(|error| named("cannot read from", &error))?,
            Err(_) => return Err(named("no answer from", &format!("stopped after {} seconds", TIME_MAX.as_secs()))),
        };
        if !matches!(ended.code(), Some(0 | 1)) {
            return Err(named("no answer from", &ended));
        }
        let report: Report = serde_json::from_slice(&bytes).map_err(|error| named("cannot understand", &error))?;
        Ok(report.comments.into_iter().map(remark).collect())
    }
}

impl ShellChecker for ShellCheck {
    fn check(&self, scripts: &[ShellScript]) -> Vec<Result<Vec<ShellRemark>, String>> {
        parallel::map(scripts.iter().collect(), |script| self.run(script))
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    // Options of the user's own would change what is reported, and in which form.
    command.env_remove("SHELLCHECK_OPTS").stdin(Stdio::null());
    command
}

fn remark(comment: Comment) -> ShellRemark {
    let severity = match comment.level.as_str() {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        "info" => Severity::Info,
        _ => Severity::Style,
    };
    ShellRemark {
        code: comment.code,
        severity,
        message: comment.message,
        line: comment.line,
        column: comment.column,
        end_line: comment.end_line,
        end_column: comment.end_column,
    }
}
