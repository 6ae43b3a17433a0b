//! `bake lint --measure`: builds without making outputs, and judges what the instructions weigh besides.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bake::cli::{Arguments, BuildArguments, CallMethod, Command, LintArguments};
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::measure::size;
use bake_lint::lint;
use clap::Parser as _;

use super::surroundings::Surroundings;
use super::{Checked, Fixes, conclude, report};
use crate::build::measure::{Measured, MeasuredBuild, measure_build};
use crate::commands::dockerfile;
use crate::commands::table::Table;
use crate::commands::transfer::say;
use crate::configuration::{Configuration, defaults};
use crate::lint_settings::{LintSettings, SettingsFinder};
use crate::settings::{BuildRequest, ContextSpec};
use crate::signals;
use crate::wiring::Host;

pub(crate) fn run(arguments: &LintArguments, host: Host, colour: Colour) -> Result<ExitCode, CommandError> {
    let typed = LintSettings::typed(arguments)?;
    let mut finder = SettingsFinder::new(arguments.config.as_deref(), arguments.no_config)?;
    let form = report::Form::new(arguments, &finder.for_directory(Path::new(""))?.with(&typed), colour)?;
    let build = build_arguments(arguments, host.privilege.is_root())?;
    let configuration = Configuration::read(host.privilege.is_root())?;
    let mut request = BuildRequest::new(&build)?;
    request.policy.configured(&configuration);
    let host = host.with_step_network(&configuration.network);
    let host = host.with_runtime(build.runtime.as_deref(), configuration.runtime.as_deref())?;
    let host = host.with_insecure_registries(request.insecure_registries());
    signals::block();
    let MeasuredBuild { measured, source } = measure_build(&request, &host, colour)?;

    let path = request.dockerfile_path().unwrap_or_else(|| PathBuf::from(source.name()));
    let settings = finder.for_directory(path.parent().unwrap_or(&path))?.with(&typed);
    let mut options = settings.options_for(&std::path::absolute(&path).unwrap_or_else(|_| path.clone()));
    options.build_args.clone_from(&request.plan.build_args);
    options.target.clone_from(&request.plan.target);
    options.measurements = Some(measured.measurements());
    let parsed = bake_dockerfile::parse(source.clone());
    let table = table(&measured, &parsed);
    let directory = match &request.context {
        ContextSpec::Directory(directory) => Some(directory.as_path()),
        _ => None,
    };
    Surroundings::new(directory, Some(host.store.root()))?.add_to(&mut options, &parsed, Some(&path));
    let findings = lint(&parsed, &options);
    let before = source.text().to_owned();
    let fail_level = settings.fail_level();
    let checked = Checked { path, source, findings, before, fixed: 0, new_files: Vec::new(), fail_level };
    let code = conclude(&[checked], &[], false, &form, Fixes::None, colour)?;
    say(table.trim_end());
    Ok(code)
}

/// What to build: what stands behind `--`, or the current directory, with the Dockerfile that is to be checked.
fn build_arguments(arguments: &LintArguments, is_root: bool) -> Result<Box<BuildArguments>, CommandError> {
    let mut typed: Vec<OsString> = vec!["bake".into(), "build".into()];
    match arguments.files.as_slice() {
        [] => {}
        [file] if !dockerfile::is_stdin(file) && !file.is_dir() => typed.extend(["--file".into(), file.clone().into()]),
        _ => {
            return Err(CommandError::usage("`--measure` builds one Dockerfile, which must be a file")
                .hint("`bake lint --measure FILE -- --target STAGE CONTEXT`"));
        }
    }
    if arguments.build.is_empty() {
        typed.push(".".into());
    }
    typed.extend(arguments.build.iter().cloned());
    let parsed = Arguments::try_parse_from(&typed).map_err(|error| {
        let text = error.to_string();
        CommandError::usage(text.trim_start_matches("error: ").trim_end().to_owned())
            .hint("behind `--` stand the arguments of `bake build`, with the build context")
    })?;
    let Command::Build(build) = &parsed.command else {
        return Err(CommandError::internal("the arguments of a build are those of another command"));
    };
    let outputs = [
        (build.push, "--push"),
        (build.load, "--load"),
        (!build.output.is_empty(), "--output"),
        (!build.tag.is_empty(), "--tag"),
        (build.iidfile.is_some(), "--iidfile"),
        (build.metadata_file.is_some(), "--metadata-file"),
        (build.report.is_some(), "--report"),
        (!build.cache_to.is_empty(), "--cache-to"),
        (!build.cache_mounts_to.is_empty(), "--cache-mounts-to"),
        (build.verify_reproducible, "--verify-reproducible"),
        (build.called().method != CallMethod::Build, "--call"),
    ];
    if let Some((_, flag)) = outputs.iter().find(|(given, _)| *given) {
        return Err(CommandError::usage(format!("`--measure` makes no outputs, so `{flag}` has no meaning")));
    }
    with_configured(parsed, &typed, is_root)
}

/// The build with what is configured, but for where results go.
fn with_configured(parsed: Arguments, typed: &[OsString], is_root: bool) -> Result<Box<BuildArguments>, CommandError> {
    let parsed = defaults::configured(&parsed, typed, is_root)?.map_or(parsed, |configured| configured.arguments);
    let Command::Build(mut build) = parsed.command else {
        return Err(CommandError::internal("the arguments of a build are those of another command"));
    };
    (build.push, build.load, build.iidfile, build.metadata_file) = (false, false, None, None);
    for list in [&mut build.output, &mut build.tag, &mut build.cache_to, &mut build.cache_mounts_to] {
        list.clear();
    }
    Ok(build)
}

/// What each instruction added, and what of it is hidden.
fn table(measured: &Measured, dockerfile: &bake_dockerfile::Dockerfile) -> String {
    let mut table = Table::new(&["LINE", "INSTRUCTION", "ADDED", "HIDDEN"]);
    for (instruction, added, hidden) in measured.by_instruction() {
        let known = instruction.and_then(|index| dockerfile.instructions.get(index));
        let line = known.map_or_else(
            || "-".to_owned(),
            |instruction| dockerfile.source.position(instruction.span.start).line.to_string(),
        );
        let name = known.map_or_else(
            || "base image".to_owned(),
            |instruction| dockerfile.source.slice(instruction.keyword.span).to_uppercase(),
        );
        let hidden = if hidden == 0 { "-".to_owned() } else { size(hidden) };
        table.row([line, name, size(added), hidden]);
    }
    table.render()
}
