//! Commands about the local store as a whole, and `bake version`.

use std::time::Duration;

use clap::Args;

use super::image::ListFormat;
use super::value::{Space, StoreFilter, duration, space, store_filter};

/// Arguments of `bake prune`.
#[derive(Debug, Args)]
#[command(after_help = "Filters:\n  \
        until=48h                        not used for two days\n  \
        id=3f2a, id~=^step-              by the first digits of the ID, or by a regular expression\n  \
        type=cachemount                  blob, snapshot, record, cachemount, filehashes, failedstep or buildlog\n  \
        description~=npm                 by what is shown in the last column\n  \
        inuse, shared, private, mutable, immutable   each with =true or =false\n\n\
    `!=` inverts a filter; several filters must all hold.\n\n\
    Examples:\n  \
        bake prune                           remove what no image and no recent build needs\n  \
        bake prune --max-used-space 20GB     remove the least recently used until 20 GB are left\n  \
        bake prune --filter until=48h -f     remove what was not used for two days, without asking")]
pub struct PruneArguments {
    /// Remove also the cache of recent builds, and unpacked layers that can be unpacked again.
    #[arg(short, long)]
    pub all: bool,

    /// Do not ask.
    #[arg(short, long)]
    pub force: bool,

    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,

    /// Remove only what this describes, for example `until=24h`.
    #[arg(long, value_name = "NAME=VALUE", value_parser = store_filter)]
    pub filter: Vec<StoreFilter>,

    /// Remove only as much as it takes for the store to stay below this size, or share of the disk.
    #[arg(long, value_name = "SIZE", value_parser = space, visible_alias = "keep-storage")]
    pub max_used_space: Option<Space>,

    /// Remove only as much as it takes for this much to be free on the disk.
    #[arg(long, value_name = "SIZE", value_parser = space)]
    pub min_free_space: Option<Space>,

    /// Keep at least this much of the cache.
    #[arg(long, value_name = "SIZE", value_parser = space)]
    pub reserved_space: Option<Space>,

    /// Keep what was used within this time, for example `24h`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub keep_duration: Option<Duration>,
}

/// Arguments of `bake df`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake df\n  bake df -v")]
pub struct DiskUsageArguments {
    /// List every single thing that takes space.
    #[arg(short, long)]
    pub verbose: bool,

    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

/// Arguments of `bake fsck`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake fsck\n  bake fsck --rebuild")]
pub struct FsckArguments {
    /// Make the index anew from the blobs and layers that are there.
    #[arg(long)]
    pub rebuild: bool,
}

/// Arguments of `bake doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake doctor\n  bake doctor --format json")]
pub struct DoctorArguments {
    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

/// Arguments of `bake version`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake version\n  bake version --format json")]
pub struct VersionArguments {
    /// How it is written: `table` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}
