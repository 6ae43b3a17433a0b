//! Builds as files: pages, JSON, traces.

use std::path::Path;
use std::process::{Command, Stdio};

use bake::cli::{BuildExportArguments, BuildExportFormat, BuildOpenArguments, BuildTraceArguments, TraceFormat};
use bake::error::CommandError;
use bake_report::{html, trace};
use serde_json::Value;

use super::show::{output, value};
use super::{Build, Past};
use crate::files::replace_file;
use crate::settings;

pub(super) fn export(arguments: &BuildExportArguments, past: &Past) -> Result<(), CommandError> {
    let builds: Vec<Build> = match (arguments.all, arguments.builds.as_slice()) {
        (true, _) => past.all()?,
        (false, []) => vec![past.find(None)?],
        (false, wanted) => wanted.iter().map(|wanted| past.find(Some(wanted))).collect::<Result<_, _>>()?,
    };
    let text = match (arguments.format, builds.as_slice()) {
        (BuildExportFormat::Html, [build]) => page(build, past)?,
        (BuildExportFormat::Html, _) => {
            return Err(CommandError::usage("a page shows one build").hint("name one, or use `--format json`"));
        }
        (BuildExportFormat::Json, builds) => {
            let mut text = String::new();
            for build in builds {
                text.push_str(&with_output(build, past)?.to_string());
                text.push('\n');
            }
            text
        }
    };
    write(arguments.output.as_deref(), &text)
}

pub(super) fn trace(arguments: &BuildTraceArguments, past: &Past) -> Result<(), CommandError> {
    let build = past.find(arguments.build.as_deref())?;
    let trace = match arguments.format {
        TraceFormat::Chrome => trace::chrome(&build.record, build.number),
        TraceFormat::Otlp => trace::otlp(&build.record, build.number),
    };
    write(arguments.output.as_deref(), &format!("{trace}\n"))
}

pub(super) fn open(arguments: &BuildOpenArguments, past: &Past) -> Result<(), CommandError> {
    let build = past.find(arguments.build.as_deref())?;
    let directory = settings::cache_directory().ok_or_else(|| {
        CommandError::usage("cannot tell where the page is to be put: neither `$XDG_CACHE_HOME` nor `$HOME` is set")
            .hint("`bake history export --format html -o FILE` writes it where you like")
    })?;
    let path = directory.join(format!("build-{}.html", build.number));
    let text = page(&build, past)?;
    std::fs::create_dir_all(&directory)
        .map_err(|error| CommandError::build(format!("cannot make `{}`: {error}", directory.display())))?;
    write(Some(&path), &text)?;
    crate::print(&format!("{}\n", path.display()))?;
    let Some(mut browser) = settings::browser().map(|words| browser(&words, &path)) else { return Ok(()) };
    match browser.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(cannot_open(&browser, &status.to_string())),
        // Without a browser, the path is what can be had.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && settings::variable("BROWSER").is_none() => Ok(()),
        Err(error) => Err(cannot_open(&browser, &error.to_string())),
    }
}

/// The command that opens a file; `%s` in its words stands for it.
fn browser(words: &[String], path: &Path) -> Command {
    let (program, arguments) = words.split_first().map_or(("xdg-open", &[][..]), |(first, rest)| (first, rest));
    let mut command = Command::new(program);
    let text = path.display().to_string();
    command.args(arguments.iter().map(|argument| argument.replace("%s", &text)));
    if !arguments.iter().any(|argument| argument.contains("%s")) {
        command.arg(path);
    }
    command
}

fn cannot_open(browser: &Command, why: &str) -> CommandError {
    CommandError::build(format!("`{}` cannot open the page: {why}", browser.get_program().display()))
        .hint("the path of the page is on standard output; `$BROWSER` names another browser")
}

fn page(build: &Build, past: &Past) -> Result<String, CommandError> {
    let logs = past.logs(build.number)?;
    Ok(html::page(&html::Page { record: &build.record, number: Some(build.number), logs: &logs }))
}

/// A build with what its steps wrote, as far as that is still kept.
fn with_output(build: &Build, past: &Past) -> Result<Value, CommandError> {
    let mut value = value(build)?;
    let logs = past.logs(build.number)?;
    let Some(steps) = value["steps"].as_array_mut() else { return Ok(value) };
    for (step, record) in steps.iter_mut().zip(&build.record.steps) {
        // Where it is in the store is nobody's concern elsewhere.
        if let Some(object) = step.as_object_mut() {
            object.remove("log");
        }
        if !logs.is_empty()
            && let Some(bytes) = output(record, &logs)?
        {
            step["output"] = String::from_utf8_lossy(&bytes).into();
        }
    }
    Ok(value)
}

fn write(path: Option<&Path>, text: &str) -> Result<(), CommandError> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return crate::print(text) };
    replace_file(path, text.as_bytes())
        .map_err(|error| CommandError::build(format!("cannot write `{}`: {error}", path.display())))
}
