//! `bake config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `bake config`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Values come from these places, each put over those before it: defaults, `bake.toml` of the project,\n\
        `/etc/bake/config.toml`, `$XDG_CONFIG_HOME/bake/config.toml` (not for root), variables `BAKE_SECTION_KEY`, what is typed.\n\
        `$BAKE_CONFIG` names a file in place of the two of machine and user.\n\n\
        Examples:\n  \
        bake config                          everything that holds here, with where it comes from\n  \
        bake config get build.platform       one value\n  \
        bake config files                    the files that are looked for\n  \
        bake config schema --project > bake.schema.json   for editors that complete TOML"
)]
pub struct ConfigArguments {
    /// What is asked; without it, everything that holds.
    #[command(subcommand)]
    pub command: Option<ConfigCommand>,

    /// How it is written.
    #[command(flatten)]
    pub show: ConfigShowArguments,
}

/// What is asked of the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show one value. Ends with 1 where it has none.
    #[command(after_help = "Examples:\n  \
            bake config get build.platform\n  \
            bake config get gc\n  \
            bake config get --format json registry")]
    Get(ConfigGetArguments),
    /// Show which files are looked for, and which are there.
    #[command(after_help = "Examples:\n  bake config files\n  bake config files --directory services/web")]
    Files(ConfigShowArguments),
    /// Write the JSON schema of the files.
    #[command(after_help = "Examples:\n  \
            bake config schema > config.schema.json\n  \
            bake config schema --project > bake.schema.json")]
    Schema(ConfigSchemaArguments),
}

/// How the configuration is written, and of what.
#[derive(Debug, Args)]
pub struct ConfigShowArguments {
    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    pub format: ConfigFormat,

    /// Look for the project's file from this directory upwards.
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
}

/// Arguments of `bake config get`.
#[derive(Debug, Args)]
pub struct ConfigGetArguments {
    /// The key with its section, such as `gc.max-used-space` or `build.build-arg.VERSION`.
    #[arg(value_name = "KEY")]
    pub key: String,

    /// How it is written.
    #[command(flatten)]
    pub show: ConfigShowArguments,
}

/// Arguments of `bake config schema`.
#[derive(Debug, Args)]
pub struct ConfigSchemaArguments {
    /// Only what a project's file may set.
    #[arg(long)]
    pub project: bool,
}

/// How the configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConfigFormat {
    /// Lines for people, of TOML where there are values.
    Toml,
    /// One JSON object.
    Json,
}
