//! Commands about the local store as a whole, and `bake version`.

use std::time::Duration;

use clap::Args;

use super::value::{duration, full_assignment, size_bytes};
use super::{Assignment, image::ListFormat};

/// Arguments of `bake prune`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake prune                           remove what no image and no recent build needs\n  \
        bake prune --max-used-space 20GB     remove the least recently used until 20 GB are left\n  \
        bake prune --filter until=48h -f     remove what was not used for two days, without asking")]
pub struct PruneArguments {
    /// Remove also the cache of builds, and images without a name.
    #[arg(short, long)]
    pub all: bool,

    /// Do not ask.
    #[arg(short, long)]
    pub force: bool,

    /// Remove only what this describes, for example `until=24h`.
    #[arg(long, value_name = "NAME=VALUE", value_parser = full_assignment)]
    pub filter: Vec<Assignment>,

    /// Remove only as much as it takes to stay below this size.
    #[arg(long, value_name = "SIZE", value_parser = size_bytes, visible_alias = "keep-storage")]
    pub max_used_space: Option<u64>,

    /// Keep what was used within this time, for example `24h`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub keep_duration: Option<Duration>,
}

/// Arguments of `bake df`.
#[derive(Debug, Args)]
pub struct DiskUsageArguments {
    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

/// Arguments of `bake fsck`.
#[derive(Debug, Args)]
pub struct FsckArguments {
    /// Make the index anew from the blobs and layers that are there.
    #[arg(long)]
    pub rebuild: bool,
}

/// Arguments of `bake version`.
#[derive(Debug, Args)]
pub struct VersionArguments {
    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}
