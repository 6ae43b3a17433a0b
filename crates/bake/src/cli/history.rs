//! `bake history`: the history of an image, as docker has it, and past builds, as buildx has them.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::format::{RowFormat, row_format, template};
use super::value::truth;
use crate::template::Template;

/// Arguments of `bake history`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_value_name = "COMMAND",
    subcommand_help_heading = "Past builds",
    after_help = "With an image, its instructions are shown; with one of the commands, past builds. An image that is called like a \
        command is written with its tag: `bake history ls:latest`.\n\n\
        Examples:\n  bake history myapp:1.0\n  bake history --no-trunc --format '{{.CreatedBy}}' myapp:1.0\n  \
        bake history ls\n  bake history logs\n  bake history open ^1\n\n\
        Fields of --format: .ID .CreatedSince .CreatedAt .CreatedBy .Size .Comment."
)]
pub struct HistoryArguments {
    /// What to do with past builds.
    #[command(subcommand)]
    pub command: Option<BuildsCommand>,

    /// How the list is written: `table`, `json`, `table TEMPLATE` or `TEMPLATE`.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = row_format)]
    pub format: RowFormat,

    /// Write sizes and times for people; `--human=false` writes bytes and points in time.
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = ArgAction::Set, value_parser = truth)]
    pub human: bool,

    /// Write everything in full.
    #[arg(long)]
    pub no_trunc: bool,

    /// Write image IDs only.
    #[arg(short, long)]
    pub quiet: bool,

    /// The platform, of images with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// A reference, image ID or digest.
    #[arg(value_name = "IMAGE", required = true)]
    pub image: Option<String>,
}

/// The commands for past builds.
#[derive(Debug, Subcommand)]
pub enum BuildsCommand {
    /// List past builds.
    #[command(visible_alias = "list")]
    Ls(BuildsListArguments),
    /// Show what is known of a build: its result, and when its steps ran and what they used.
    Inspect(BuildInspectArguments),
    /// Show what the steps of a build wrote.
    Logs(BuildLogsArguments),
    /// Open the report of a build in a browser.
    Open(BuildOpenArguments),
    /// Write everything that is known of builds to a file: as JSON, or one build as a page.
    Export(BuildExportArguments),
    /// Write a build as a trace, for programs that show such.
    Trace(BuildTraceArguments),
    /// Forget builds.
    Rm(BuildsRemoveArguments),
}

/// Arguments of `bake history ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "Filters: ref=, name=, status= (completed, error, canceled), each also with != or ~= (a part of it);\n\
    startedAt, completedAt (a time such as 2026-01-31T12:00:00Z, or an age such as 24h) and duration, with = != < <= > >=.\n\n\
    Fields of --format: .Ref .Name .Status .CreatedAt .Duration .Steps .Cached .Completed.\n\n\
    Examples:\n  bake history ls\n  bake history ls --filter status=error\n  bake history ls --filter 'duration>1m' --filter 'startedAt>24h'\n  \
    bake history ls --format json"
)]
pub struct BuildsListArguments {
    /// List only builds that match; all of several filters must.
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,

    /// How the list is written: `table`, `json`, `table TEMPLATE` or `TEMPLATE`.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = row_format)]
    pub format: RowFormat,

    /// List only builds whose context is in the git repository of this directory.
    #[arg(long)]
    pub local: bool,

    /// Write everything in full.
    #[arg(long)]
    pub no_trunc: bool,

    /// Write the numbers of builds only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `bake history inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake history inspect\n  bake history inspect ^1\n  \
    bake history inspect 12 --format json | jq '.steps[].name'\n  bake history inspect --format '{{range .images}}{{.digest}}{{end}}'")]
pub struct BuildInspectArguments {
    /// A number as `bake history ls` shows it, or `^1` for the build before the last one. Without it, the last one.
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,

    /// How it is written: `json` or a template. Without it, as text.
    #[arg(long, value_name = "FORMAT", value_parser = template)]
    pub format: Option<Template>,
}

/// Arguments of `bake history logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake history logs\n  bake history logs 12 --step 7\n  \
    bake history logs --step 'npm ci' --raw > npm.log")]
pub struct BuildLogsArguments {
    /// A number as `bake history ls` shows it, or `^1` for the build before the last one. Without it, the last one.
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,

    /// Only this step: its number, or a part of its text.
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,

    /// Write the bytes as the step wrote them, with colours and whatever else a terminal would act on.
    #[arg(long, requires = "step")]
    pub raw: bool,
}

/// Arguments of `bake history open`.
#[derive(Debug, Args)]
#[command(
    after_help = "The page is written to `$XDG_CACHE_HOME/bake` (`~/.cache/bake`) and opened by `$BROWSER`, else by `xdg-open`. \
    Its path goes to standard output; where there is no browser, that is all.\n\n\
    Examples:\n  bake history open\n  bake history open 12"
)]
pub struct BuildOpenArguments {
    /// A number as `bake history ls` shows it, or `^1` for the build before the last one. Without it, the last one.
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
}

/// Arguments of `bake history export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bake history export -o build.json\n  bake history export --format html -o build.html 12\n  \
    bake history export --all | gzip > builds.jsonl.gz"
)]
pub struct BuildExportArguments {
    /// Numbers as `bake history ls` shows them, or `^1` for the build before the last one. Without any, the last one.
    #[arg(value_name = "BUILD", conflicts_with = "all")]
    pub builds: Vec<String>,

    /// All builds that are known.
    #[arg(long)]
    pub all: bool,

    /// `json`: one object on a line for each build, with what its steps wrote; `html`: one build as a page.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub format: BuildExportFormat,

    /// Write to this file. Without it, to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The forms of builds as files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuildExportFormat {
    /// One JSON object on a line for each build.
    Json,
    /// A page.
    Html,
}

/// Arguments of `bake history trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bake history trace -o trace.json        open it in https://ui.perfetto.dev or chrome://tracing\n  \
    bake history trace --format otlp ^1     for OpenTelemetry collectors"
)]
pub struct BuildTraceArguments {
    /// A number as `bake history ls` shows it, or `^1` for the build before the last one. Without it, the last one.
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,

    /// `chrome`: Chrome's trace events; `otlp`: OpenTelemetry's protocol, as JSON.
    #[arg(long, value_name = "FORMAT", default_value = "chrome")]
    pub format: TraceFormat,

    /// Write to this file. Without it, to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The forms of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Chrome's trace events.
    Chrome,
    /// OpenTelemetry's protocol, as JSON.
    Otlp,
}

/// Arguments of `bake history rm`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake history rm 12 13\n  bake history rm --all\n  \
    bake history ls -q --filter status=error | xargs bake history rm")]
pub struct BuildsRemoveArguments {
    /// Numbers as `bake history ls` shows them, or `^1` for the build before the last one.
    #[arg(value_name = "BUILD", required_unless_present = "all", conflicts_with = "all")]
    pub builds: Vec<String>,

    /// All builds.
    #[arg(long)]
    pub all: bool,
}
