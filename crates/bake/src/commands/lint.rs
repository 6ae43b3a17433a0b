//! `bake lint`.

mod build_context;
mod explain;
pub(crate) mod measure;
mod new_files;
mod parallel;
mod report;
mod rule_list;
mod shellcheck;
mod statistics;
pub(super) mod surroundings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bake::cli::{FailLevel, LintArguments, LintFormat};
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake_dockerfile::{Severity, SourceText};
use bake_lint::{Finding, LintOptions, ShellChecker, apply_fixes, lint};

use self::new_files::NewFileAt;
use self::surroundings::Surroundings;
use super::dockerfile_search::search;
use super::transfer::say;
use super::{difference, dockerfile};
use crate::lint_settings::{LintSettings, SettingsFinder};

/// Fixes that touch the same place wait for another round; no file needs more than a few.
const ROUNDS_MAX: usize = 10;

/// A file that is to be looked at.
#[derive(Debug)]
struct Job {
    path: PathBuf,
    /// What it is called in messages.
    name: String,
    options: LintOptions,
    fail_level: FailLevel,
}

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
    fail_level: FailLevel,
}

fn all_new_files(checked: &[Checked]) -> impl Iterator<Item = &NewFileAt> {
    checked.iter().flat_map(|file| &file.new_files)
}

pub(crate) fn run(arguments: &LintArguments, root: Option<&Path>, colour: Colour) -> Result<ExitCode, CommandError> {
    if let Some(name) = &arguments.explain {
        return crate::print(&explain::explain(name)?).map(|()| ExitCode::SUCCESS);
    }
    let typed = LintSettings::typed(arguments)?;
    let mut finder = SettingsFinder::new(arguments.config.as_deref(), arguments.no_config)?;
    let here = finder.for_directory(Path::new(""))?.with(&typed);
    if arguments.list_rules {
        return rule_list::print(&here, arguments.format.unwrap_or(LintFormat::Text)).map(|()| ExitCode::SUCCESS);
    }
    let form = report::Form::new(arguments, &here, colour)?;
    let surroundings = Surroundings::new(arguments.context.as_deref(), root)?;
    let fixes = Fixes::of(arguments);
    let (mut jobs, mut problems) = jobs(arguments, &typed, &mut finder)?;
    if let Some(program) = &arguments.shellcheck {
        let checker: Arc<dyn ShellChecker> = Arc::new(shellcheck::ShellCheck::new(program)?);
        for job in &mut jobs {
            job.options.shell_checker = Some(Arc::clone(&checker));
        }
    }
    let mut checked = Vec::with_capacity(jobs.len());
    for outcome in parallel::map(jobs, |job| check(job, &surroundings, fixes)) {
        match outcome {
            Ok(file) => checked.push(file),
            Err(problem) => problems.push(problem),
        }
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
    conclude(&checked, &problems, arguments.diff, &form, fixes, colour)
}

/// Reports what was found and what could not be looked at, and says what follows from it.
fn conclude(
    checked: &[Checked],
    problems: &[CommandError],
    only_shown: bool,
    form: &report::Form,
    fixes: Fixes,
    colour: Colour,
) -> Result<ExitCode, CommandError> {
    if !only_shown {
        report::write(checked, form, fixes)?;
    }
    summarise(checked, only_shown, fixes);
    for problem in problems {
        crate::fail(problem, colour);
    }
    let is_serious = |file: &Checked| {
        let too_bad = |finding: &Finding| file.fail_level.includes(finding.severity);
        file.findings.iter().any(too_bad) || (only_shown && file.fixed > 0)
    };
    Ok(if !problems.is_empty() {
        ExitCode::from(bake::error::ErrorKind::Input.exit_code())
    } else if checked.iter().any(is_serious) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The files to look at, each with its settings, and what could not be searched.
fn jobs(
    arguments: &LintArguments,
    typed: &LintSettings,
    finder: &mut SettingsFinder,
) -> Result<(Vec<Job>, Vec<CommandError>), CommandError> {
    let found = search(&arguments.files)?;
    let uses_stdin = found.targets.iter().any(|target| dockerfile::is_stdin(&target.path));
    if arguments.stdin_filename.is_some() && !uses_stdin {
        return Err(CommandError::usage("`--stdin-filename` names standard input, which is not read")
            .hint("pass `-` to read it"));
    }
    let mut remarks = std::collections::BTreeSet::new();
    let mut jobs = Vec::with_capacity(found.targets.len());
    for target in found.targets {
        let (name, place) = match (dockerfile::is_stdin(&target.path), &arguments.stdin_filename) {
            (true, Some(name)) => (name.display().to_string(), name.clone()),
            (true, None) => ("<stdin>".to_owned(), PathBuf::from("Dockerfile")),
            (false, _) => (target.path.display().to_string(), target.path.clone()),
        };
        let directory = place.parent().unwrap_or(&place);
        let settings = finder.for_directory(directory)?.with(typed);
        let absolute = std::path::absolute(&place).unwrap_or(place);
        if target.found && settings.excludes(&absolute) {
            continue;
        }
        remarks.extend(settings.remarks.iter().cloned());
        let options = settings.options_for(&absolute);
        jobs.push(Job { path: target.path, name, options, fail_level: settings.fail_level() });
    }
    for remark in &remarks {
        say(&format!("note: {remark}"));
    }
    Ok((jobs, found.problems))
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

fn check(job: Job, surroundings: &Surroundings, fixes: Fixes) -> Result<Checked, CommandError> {
    let Job { path, name, mut options, fail_level } = job;
    let before = dockerfile::read(&path)?;
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
    Ok(Checked { path, source, findings, before, fixed: applied, new_files, fail_level })
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
            Command::Lint(lint) => *lint,
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
        let options = LintOptions::default();
        let job = Job { path, name: "Dockerfile".to_owned(), options, fail_level: FailLevel::Warning };
        let again = check(job, &surroundings, Fixes::Safe).unwrap();
        assert_eq!((again.fixed, again.source.text()), (0, after.as_str()));
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
