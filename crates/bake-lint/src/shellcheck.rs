//! The shell text of `RUN` for `ShellCheck`, and what it says brought back to places in the Dockerfile.
//!
//! This crate starts no processes: the caller gives a [`ShellChecker`], which runs the program.

use std::fmt;
use std::fmt::Write as _;

use bake_dockerfile::{Severity, Span};

use crate::context::{LintContext, PROXY_ARGS, RunFacts};
use crate::run_script::script_texts;
use crate::shell::{Characters, Dialect, is_name};

/// Runs `ShellCheck` on scripts.
pub trait ShellChecker: fmt::Debug + Send + Sync {
    /// What `ShellCheck` says of each script, in their order; where it could not be run, one sentence on why.
    fn check(&self, scripts: &[ShellScript]) -> Vec<Result<Vec<ShellRemark>, String>>;
}

/// The text that one shell of a `RUN` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellScript {
    /// What `ShellCheck` calls the language: `sh`, `dash` or `bash`.
    pub dialect: &'static str,
    /// The text: first a line that assigns what `ARG` and `ENV` set, then what the shell gets, continued lines joined.
    pub text: String,
    /// The places of the characters of each line; none for the line that is not in the Dockerfile.
    lines: Vec<Characters>,
}

/// One remark of `ShellCheck`. Lines and columns count from 1, columns in characters; the end is one past the last character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellRemark {
    /// The number after `SC`.
    pub code: u32,
    /// How serious it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where it begins.
    pub line: usize,
    /// Where it begins.
    pub column: usize,
    /// Where it ends.
    pub end_line: usize,
    /// Where it ends.
    pub end_column: usize,
}

impl ShellScript {
    fn new(dialect: &'static str, variables: &str, characters: &Characters) -> Self {
        let mut text = format!("{variables}\n");
        text.extend(characters.iter().map(|character| character.value));
        let mut lines = vec![Characters::new()];
        lines.extend(characters.split_inclusive(|character| character.value == '\n').map(<[_]>::to_vec));
        Self { dialect, text, lines }
    }

    /// Where a remark belongs in the Dockerfile; `None` for one about what does not stand there.
    pub(crate) fn span(&self, remark: &ShellRemark) -> Option<Span> {
        let line = self.lines.get(remark.line.checked_sub(1)?)?;
        let first = line.get(remark.column.checked_sub(1)?).or(line.last())?;
        let last_line = self.lines.get(remark.end_line.saturating_sub(1)).unwrap_or(line);
        let last = remark.end_column.checked_sub(2).and_then(|column| last_line.get(column).or(last_line.last()));
        Some(Span::new(first.offset, last.map_or(first.end, |last| last.end.max(first.end))))
    }
}

/// The scripts of a `RUN`.
pub(crate) fn scripts(context: &LintContext<'_>, run: &RunFacts<'_>) -> Vec<ShellScript> {
    let image = run.stage.and_then(|stage| context.root_image(stage));
    let posix = if image.is_some_and(crate::image::ImageName::shell_is_dash) { "dash" } else { "sh" };
    let mut variables = String::from("read -r");
    let declared = run.stage.map(|stage| context.declared_names(stage, run.index)).unwrap_or_default();
    let by_mounts = run.run.mounts.iter().filter_map(|mount| mount.env.as_ref()).map(|env| env.value.as_str());
    for name in PROXY_ARGS.into_iter().chain(by_mounts).chain(declared).filter(|name| is_name(name)) {
        // Writing to a string does not fail.
        let _ = write!(variables, " {name}");
    }
    let texts = script_texts(&context.dockerfile.source, context.dockerfile.directives.escape, run);
    texts
        .iter()
        .map(|(dialect, characters)| {
            let dialect = if *dialect == Dialect::Bash { "bash" } else { posix };
            ShellScript::new(dialect, &variables, characters)
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::sync::Arc;

    use bake_dockerfile::{Severity, SourceText, parse};

    use super::{ShellChecker, ShellRemark, ShellScript};
    use crate::{Finding, LintOptions, lint};

    /// Complains about every `bad` in a script.
    #[derive(Debug)]
    struct Complaining;

    impl ShellChecker for Complaining {
        fn check(&self, scripts: &[ShellScript]) -> Vec<Result<Vec<ShellRemark>, String>> {
            let remarks = |script: &ShellScript| {
                let mut remarks = Vec::new();
                for (line, text) in script.text.lines().enumerate() {
                    for (at, _) in text.match_indices("bad") {
                        let column = text[..at].chars().count() + 1;
                        remarks.push(ShellRemark {
                            code: 2164,
                            severity: Severity::Warning,
                            message: format!("Not good in {}.", script.dialect),
                            line: line + 1,
                            column,
                            end_line: line + 1,
                            end_column: column + 3,
                        });
                    }
                }
                Ok(remarks)
            };
            scripts.iter().map(remarks).collect()
        }
    }

    fn found(text: &str, options: LintOptions) -> Vec<(String, String)> {
        let options = LintOptions { shell_checker: Some(Arc::new(Complaining)), ..options };
        let source = SourceText::new("Dockerfile", text);
        let findings: Vec<Finding> = lint(&parse(source.clone()), &options);
        let ours = findings.into_iter().filter(|finding| finding.rule.id == "shellcheck");
        ours.map(|finding| (source.slice(finding.span).to_owned(), finding.message)).collect()
    }

    #[test]
    fn places_are_those_of_the_dockerfile() {
        let text = "FROM debian:12\nARG bad\nRUN é && \\\n  # bad comment\n  bad x\nRUN <<E\na\nbad\nE\nRUN bash <<'E'\nbad\nE\n\
                    RUN [\"bash\", \"-c\", \"a \\\"x\\\" && bad\"]\nRUN cat <<E > /x\nbad\nE\nSHELL [\"pwsh\", \"-c\"]\nRUN bad\n";
        let found = found(text, LintOptions::default());
        assert!(found.iter().all(|(token, _)| token == "bad"), "{found:?}");
        let dialects: Vec<&str> = found.iter().map(|(_, message)| message.rsplit(' ').nth(1).unwrap()).collect();
        assert_eq!(dialects, ["dash", "dash", "dash", "bash", "bash", "dash"]);
    }

    #[test]
    fn remarks_are_hidden_by_their_code_and_not_given_twice() {
        let text = "FROM debian:12\n# hadolint ignore=SC2164\nRUN bad\nRUN cd bad; a\nRUN bad\n";
        assert_eq!(found(text, LintOptions::default()).len(), 1, "one is hidden, one is ours already");
        let ignored = LintOptions { ignore: vec!["sc2164".to_owned()], ..LintOptions::default() };
        assert_eq!(found(text, ignored), []);
    }
}
