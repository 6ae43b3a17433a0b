//! `bake why` and `bake plan`: the build cache explained.

use clap::Args;

use super::BuildArguments;
use super::image::ListFormat;

/// Arguments of `bake why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake why                     which steps of the last build ran, and why each was not cached\n  \
        bake why 7                   all that differs for the step that was shown as #7\n  \
        bake why 'npm ci'            the same, for the step with this text\n  \
        bake why --list              the builds that are still known\n  \
        bake why --build 12 7        a step of an earlier build")]
pub struct WhyArguments {
    /// A step: its number, or a part of its text. Without it, all steps that ran.
    #[arg(value_name = "STEP")]
    pub step: Option<String>,

    /// Explain this build instead of the last one.
    #[arg(long, value_name = "NUMBER", conflicts_with = "list")]
    pub build: Option<i64>,

    /// List the builds that are still known.
    #[arg(long, conflicts_with = "step")]
    pub list: bool,

    /// Show every file that changed, and every step.
    #[arg(short, long)]
    pub all: bool,

    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

/// Arguments of `bake plan`: those of `bake build`.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "Examples:\n  \
        bake plan .                          what `bake build .` would run, and what is cached\n  \
        bake plan --build-arg VERSION=2 .    the same with another argument"
)]
pub struct PlanArguments {
    /// What would be built.
    #[command(flatten)]
    pub build: BuildArguments,

    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}
