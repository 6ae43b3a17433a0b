//! `bake lint`.

mod build_context;
mod explain;
pub(crate) mod measure;
mod new_files;
mod surroundings;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bake::cli::{LintArguments, LintFormat};
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::snippet::render_diagnostic;
use bake_dockerfile::{Severity, SourceText};
use bake_lint::report::{FileFindings, json, sarif};
use bake_lint::{Finding, LintOptions, RULES, apply_fixes, lint};

use self::new_files::NewFileAt;
use self::surroundings::Surroundings;
use super::transfer::say;
use super::{difference, dockerfile};

/// Fixes that touch the same place wait for another round; no file needs more than a few.
const ROUNDS_MAX: usize = 10;

/// A file with what was found in it, and what became of it.
struct Checked {
    path: PathBuf,
    /// As it is now, fixes applied.
    source: SourceText,
    findings: Vec<Finding>,
    /// What the file held before.
    before: String,
    fixed: usize,
    /// What its fixes write beside it.
    new_files: Vec<NewFileAt>,
}

fn all_new_files(checked: &[Checked]) -> impl Iterator<Item = &NewFileAt> {
    checked.iter().flat_map(|file| &file.new_files)
}

pub(crate) fn run(arguments: &LintArguments, root: Option<&Path>, colour: Colour) -> Result<ExitCode, CommandError> {
    if let Some(name) = &arguments.explain {
        return crate::print(&explain::explain(name)?).map(|()| ExitCode::SUCCESS);
    }
    let options = options(arguments)?;
    let surroundings = Surroundings::new(arguments.context.as_deref(), root)?;
    let fixes = Fixes::of(arguments);
    let mut checked = Vec::new();
    for path in dockerfile::paths(&arguments.files)? {
        checked.push(check(path, options.clone(), &surroundings, fixes)?);
    }
    if arguments.diff {
        let text: String = checked
            .iter()
            .map(|file| difference::unified(file.source.name(), &file.before, file.source.text()))
            .collect();
        crate::print(&format!("{text}{}", new_files::shown(all_new_files(&checked))))?;
    } else if fixes != Fixes::None {
        for file in &checked {
            dockerfile::write(&file.path, &file.before, file.source.text())?;
        }
        new_files::write(all_new_files(&checked))?;
    }
    conclude(&checked, arguments, fixes, colour)
}

/// Reports what was found, and what follows from it.
fn conclude(
    checked: &[Checked],
    arguments: &LintArguments,
    fixes: Fixes,
    colour: Colour,
) -> Result<ExitCode, CommandError> {
    if !arguments.diff {
        report(checked, arguments, colour)?;
    }
    summarise(checked, arguments.diff, fixes);
    let serious = |finding: &Finding| matches!(finding.severity, Severity::Error | Severity::Warning);
    let failed = checked.iter().any(|file| file.findings.iter().any(serious) || (arguments.diff && file.fixed > 0));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Which fixes are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fixes {
    None,
    Safe,
    All,
}

impl Fixes {
    fn of(arguments: &LintArguments) -> Self {
        match (arguments.unsafe_fixes, arguments.fix || arguments.diff) {
            (true, _) => Self::All,
            (false, true) => Self::Safe,
            (false, false) => Self::None,
        }
    }
}

fn options(arguments: &LintArguments) -> Result<LintOptions, CommandError> {
    let mut options =
        LintOptions { select: arguments.select.clone(), ignore: arguments.ignore.clone(), ..LintOptions::default() };
    if let Some(unknown) = options.unknown_rules().first() {
        return Err(explain::unknown_rule(unknown));
    }
    // "Report only these rules": what was not named is left out.
    let all = options.select.iter().any(|name| name == "all");
    if !options.select.is_empty() && !all {
        let selected = |rule: &&&bake_lint::Rule| options.select.iter().any(|name| rule.is_named(name));
        let others: Vec<String> = RULES.iter().filter(|rule| !selected(rule)).map(|rule| rule.id.to_owned()).collect();
        options.ignore.extend(others);
    }
    Ok(options)
}

fn check(
    path: PathBuf,
    mut options: LintOptions,
    surroundings: &Surroundings,
    fixes: Fixes,
) -> Result<Checked, CommandError> {
    let before = dockerfile::read(&path)?;
    let name = if dockerfile::is_stdin(&path) { "<stdin>".to_owned() } else { path.display().to_string() };
    let mut source = SourceText::new(name.clone(), before.clone());
    let place = (!dockerfile::is_stdin(&path)).then_some(path.as_path());
    let parsed = bake_dockerfile::parse(source.clone());
    surroundings.add_to(&mut options, &parsed, place);
    let mut findings = lint(&parsed, &options);
    let mut applied = 0;
    let mut new_files = Vec::new();
    if fixes != Fixes::None {
        for _ in 0..ROUNDS_MAX {
            let result = apply_fixes(source.text(), &findings, fixes == Fixes::All);
            if result.applied == 0 || result.text == source.text() {
                break;
            }
            applied += result.applied;
            source = SourceText::new(name.clone(), result.text);
            findings = lint(&bake_dockerfile::parse(source.clone()), &options);
        }
        if let Some(directory) = surroundings.context_directory(place) {
            new_files = new_files::take(&mut findings, &directory, fixes == Fixes::All);
            applied += new_files.len();
        }
    }
    Ok(Checked { path, source, findings, before, fixed: applied, new_files })
}

/// Writes the findings. Where a fixed file went to standard output, they go to standard error.
fn report(checked: &[Checked], arguments: &LintArguments, colour: Colour) -> Result<(), CommandError> {
    let found: Vec<FileFindings<'_>> =
        checked.iter().map(|file| FileFindings { source: &file.source, findings: &file.findings }).collect();
    let text = match arguments.format {
        LintFormat::Json => format!("{}\n", json(&found).trim_end()),
        LintFormat::Sarif => format!("{}\n", sarif(&found, env!("CARGO_PKG_VERSION")).trim_end()),
        LintFormat::Text => {
            let colour = if std::io::stdout().is_terminal() { colour } else { Colour::Plain };
            let rendered: Vec<String> = found
                .iter()
                .flat_map(|file| {
                    file.findings.iter().map(|finding| render_diagnostic(file.source, &finding.diagnostic(), colour))
                })
                .collect();
            rendered.join("\n")
        }
    };
    let stdin_was_fixed =
        Fixes::of(arguments) != Fixes::None && checked.iter().any(|file| dockerfile::is_stdin(&file.path));
    if stdin_was_fixed {
        say(text.trim_end());
        return Ok(());
    }
    crate::print(&text)
}

fn summarise(checked: &[Checked], only_shown: bool, fixes: Fixes) {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let all = || checked.iter().flat_map(|file| &file.findings);
    let of = |severity: Severity| all().filter(|finding| finding.severity == severity).count();
    let applied: usize = checked.iter().map(|file| file.fixed).sum();
    if applied > 0 {
        let verb = if only_shown { "would be fixed" } else { "fixed" };
        say(&format!("{} {verb}", counted(applied, "finding")));
    }
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let total = all().count();
    if total == 0 {
        say(&format!("{} checked, nothing to complain about", counted(checked.len(), "file")));
        return;
    }
    let notes = total - errors - warnings;
    say(&format!(
        "{}: {}, {}, {}",
        counted(total, "finding"),
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(notes, "note")
    ));
    let safe = all().filter(|finding| finding.fix.as_ref().is_some_and(|fix| fix.safe)).count();
    let risky = all().filter(|finding| finding.fix.as_ref().is_some_and(|fix| !fix.safe)).count();
    if fixes == Fixes::None && safe > 0 {
        say(&format!("{} can be fixed with `--fix`", counted(safe, "finding")));
    }
    if fixes != Fixes::All && risky > 0 {
        say(&format!("{} can be fixed with `--unsafe-fixes`", counted(risky, "finding")));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake::cli::{Arguments, Command};
    use clap::Parser as _;

    use super::*;

    fn arguments(typed: &[&str]) -> LintArguments {
        let typed = ["bake", "lint"].iter().chain(typed);
        match Arguments::try_parse_from(typed).unwrap().command {
            Command::Lint(lint) => lint,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn fixes_are_applied_until_none_is_left_and_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("Dockerfile");
        std::fs::write(&path, "from scratch\nRUN [\"/x\"]\n").unwrap();
        let typed = path.to_str().unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        run(&arguments(&["--diff", typed]), None, Colour::Plain).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before, "--diff changes nothing");
        run(&arguments(&["--fix", typed]), None, Colour::Plain).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        let surroundings = Surroundings::new(None, Some(directory.path())).unwrap();
        let again = check(path, LintOptions::default(), &surroundings, Fixes::Safe).unwrap();
        assert_eq!((again.fixed, again.source.text()), (0, after.as_str()));
    }

    #[test]
    fn only_selected_rules_report() {
        let options = options(&arguments(&["--select", "sudo", "x"])).unwrap();
        let source = SourceText::new("Dockerfile", "FROM debian\nRUN sudo make\n");
        let findings = lint(&bake_dockerfile::parse(source), &options);
        assert!(!findings.is_empty() && findings.iter().all(|finding| finding.rule.id == "sudo"), "{findings:?}");
        assert!(super::options(&arguments(&["--ignore", "no-such-rule", "x"])).is_err());
    }

    #[test]
    fn an_ignore_file_is_written_once_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(".git")).unwrap();
        let path = directory.path().join("Dockerfile");
        std::fs::write(&path, "FROM debian:12-slim\nWORKDIR /app\nCOPY . .\nUSER 10001\n").unwrap();
        let typed = path.to_str().unwrap();
        let ignore_file = directory.path().join(".dockerignore");
        assert_eq!(run(&arguments(&[typed]), None, Colour::Plain).unwrap(), ExitCode::FAILURE);
        assert_eq!(run(&arguments(&["--diff", typed]), None, Colour::Plain).unwrap(), ExitCode::FAILURE);
        assert!(!ignore_file.exists(), "only --fix writes");
        assert_eq!(run(&arguments(&["--fix", typed]), None, Colour::Plain).unwrap(), ExitCode::SUCCESS);
        let written = std::fs::read_to_string(&ignore_file).unwrap();
        assert!(written.contains("\n.git\n") && written.contains("**/*.pem"));
        assert_eq!(run(&arguments(&[typed]), None, Colour::Plain).unwrap(), ExitCode::SUCCESS);
        std::fs::write(&ignore_file, "# mine\n").unwrap();
        run(&arguments(&["--fix", typed]), None, Colour::Plain).unwrap();
        assert_eq!(std::fs::read_to_string(&ignore_file).unwrap(), "# mine\n");
    }

    #[test]
    fn a_context_tells_what_cannot_be_copied() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path().join("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("app.js"), "").unwrap();
        let path = directory.path().join("web.Dockerfile");
        std::fs::write(&path, "FROM debian:12-slim\nCOPY ap.js /\nCOPY app.js /\nUSER 10001\n").unwrap();
        let (typed, named) = (path.to_str().unwrap(), context.to_str().unwrap());
        assert_eq!(run(&arguments(&[typed]), None, Colour::Plain).unwrap(), ExitCode::SUCCESS);
        assert_eq!(run(&arguments(&["--context", named, typed]), None, Colour::Plain).unwrap(), ExitCode::FAILURE);
        run(&arguments(&["--context", named, "--unsafe-fixes", typed]), None, Colour::Plain).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("COPY app.js /\nCOPY app.js /"));
        assert!(run(&arguments(&["--context", typed, typed]), None, Colour::Plain).is_err());
    }
}
