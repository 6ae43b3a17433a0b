//! Commands about single images.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::format::{RowFormat, row_format, template};
use super::limits::LimitArguments;
use super::run_network::RunNetworkArguments;
use super::unsupported::UnsupportedRunFlags;
use super::value::{Assignment, assignment, full_assignment, size_bytes, truth};
use crate::template::Template;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// In columns, for people.
    Table,
    /// One JSON object per line.
    Json,
}

/// Arguments of `bake images`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake images\n  bake images --digests\n  bake images -q\n  \
        bake images --filter 'reference=team/*' --format 'table {{.Repository}}\\t{{.Tag}}\\t{{.Size}}'\n\n\
        Filters: dangling=BOOL, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME, reference=PATTERN.\n\
        Fields of --format: .ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size .Platform .Containers .SharedSize \
        .UniqueSize.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ImagesArguments {
    /// Only images of this repository or reference; `*`, `?` and `[a-z]` stand for characters other than `/`.
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,

    /// List also images without a name.
    #[arg(short, long)]
    pub all: bool,

    /// Write image IDs only.
    #[arg(short, long)]
    pub quiet: bool,

    /// Only images that pass; may be given several times.
    #[arg(short, long, value_name = "FILTER", value_parser = full_assignment)]
    pub filter: Vec<Assignment>,

    /// How the list is written: `table`, `json`, `table TEMPLATE` or `TEMPLATE`.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = row_format)]
    pub format: RowFormat,

    /// Show digests of manifests too.
    #[arg(long)]
    pub digests: bool,

    /// Write IDs and digests in full.
    #[arg(long)]
    pub no_trunc: bool,

    /// Show the platforms of each image.
    #[arg(long, conflicts_with_all = ["quiet", "format", "digests"])]
    pub tree: bool,
}

/// Arguments of `bake inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake inspect myapp:1.0\n  bake inspect -f '{{.Id}}' myapp:1.0 alpine\n  \
        bake inspect -f '{{json .Config.Env}}' myapp:1.0\n  \
        bake inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{println}}{{end}}' myapp:1.0")]
pub struct InspectArguments {
    /// How it is written: `json` (one line each) or a template. Without it, a JSON array.
    #[arg(short, long, value_name = "FORMAT", value_parser = template)]
    pub format: Option<Template>,

    /// The platform, of images with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// What the names are of: `image` is all there is.
    #[arg(long = "type", value_name = "TYPE", default_value = "image", hide = true, value_parser = ["image"])]
    pub kind: String,

    /// References, image IDs or digests.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Arguments of `bake tag`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bake tag myapp:1.0 registry.example.com/team/myapp:1.0")]
pub struct TagArguments {
    /// The image: a reference, image ID or digest.
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// The name it gets.
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// Arguments of `bake rmi`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake rmi myapp:1.0\n  bake images -q --filter dangling=true | xargs bake rmi\n\n\
        A name is removed; with the last one, the image. Layers that the build cache needs stay until `bake prune`.")]
pub struct RemoveImageArguments {
    /// Remove also images with several names, and do not mind those that are not there.
    #[arg(short, long)]
    pub force: bool,

    /// Remove names only, and leave the image's bytes to `bake prune`.
    #[arg(long)]
    pub no_prune: bool,

    /// References, image IDs or digests.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Arguments of `bake pull`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake pull alpine:3\n  bake pull --platform linux/arm64 alpine:3\n\n\
        All platforms of an image come with `bake copy NAME store:NAME`.")]
pub struct PullArguments {
    /// Fetch all tags of the repository.
    #[arg(short, long)]
    pub all_tags: bool,

    /// The platform whose image is fetched. Without it, that of this machine.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,

    /// A reference.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Arguments of `bake push`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake push registry.example.com/team/myapp:1.0\n  \
        bake push --all-tags registry.example.com/team/myapp")]
pub struct PushArguments {
    /// Push all tags that the repository has here.
    #[arg(short, long)]
    pub all_tags: bool,

    /// Push only the image for this platform, of an image with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,

    /// A reference; its registry is where the image goes.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Arguments of `bake run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake run --rm myapp:1.0\n  \
        bake run -it --rm myapp:1.0 sh\n  \
        bake run --rm -e DEBUG=1 -v $PWD:/src -w /src golang go test ./...\n\n\
        Options stand before the image; everything after it is the command and its arguments.\n\n\
        Exit codes: that of the command, or 128 and the number of the signal that ended it; 126 it cannot be executed, 127 it was \
        not found, 125 bake could not start it, 2 usage.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct RunArguments {
    /// Set an environment variable; with the name alone, to the value it has here.
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub env: Vec<Assignment>,

    /// Run as this user and group.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Run in this directory.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// Show a directory or file of this machine inside, for example `$PWD:/src:ro`.
    #[arg(short, long, value_name = "SOURCE:TARGET[:OPTIONS]")]
    pub volume: Vec<String>,

    /// The network.
    #[command(flatten)]
    pub network: RunNetworkArguments,

    /// Remove what was written when the command ends; that is always done.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, action = ArgAction::Set, value_parser = truth)]
    pub rm: bool,

    /// Run the command by this OCI runtime instead of the built-in sandbox: `runc`, `crun`, or a path.
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,

    /// Run this instead of the image's entry point; an empty value removes that.
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,

    /// Allow no writing to the image's files.
    #[arg(long)]
    pub read_only: bool,

    /// Set the environment variables of this file, one `NAME=VALUE` in a line; with the name alone, to the value it has here.
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Mount something: `type=bind,src=PATH,target=PATH[,readonly]` or `type=tmpfs,target=PATH[,tmpfs-size=SIZE][,tmpfs-mode=MODE]`.
    #[arg(long, value_name = "SPEC")]
    pub mount: Vec<String>,

    /// Mount an empty file system in memory, for example `/run:size=64m,mode=755`.
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub tmpfs: Vec<String>,

    /// Give the command a capability, or `ALL` that have a meaning in a user namespace.
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_add: Vec<String>,

    /// Take a capability from the command, or `ALL`.
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_drop: Vec<String>,

    /// Isolate by namespaces only: all capabilities of a user namespace, no filter of system calls, nothing hidden. Devices of
    /// this machine stay out of reach.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth)]
    pub privileged: bool,

    /// `no-new-privileges`, or `seccomp=unconfined` for no filter of system calls.
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,

    /// When to fetch the image: `always`, where it is `missing`, or `never`.
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub pull: PullPolicy,

    /// The platform that is run of an image for several. Without it, that of this machine.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Let the command read standard input.
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal of its own; with `--interactive`, what is typed in this one goes there.
    #[arg(short, long)]
    pub tty: bool,

    /// A reference, image ID or digest, and what is run instead of the image's own command. Everything after the image belongs
    /// to the command, also what looks like a flag of bake.
    #[arg(value_names = ["IMAGE", "COMMAND"], required = true, num_args = 1.., trailing_var_arg = true)]
    pub image_and_command: Vec<String>,

    /// The size of `/dev/shm`, for example `64m`.
    #[arg(long, value_name = "SIZE", value_parser = size_bytes, help_heading = "Limits")]
    pub shm_size: Option<u64>,

    /// What the command may use.
    #[command(flatten)]
    pub limits: LimitArguments,

    /// Flags that are known and refused.
    #[command(flatten)]
    pub unsupported: UnsupportedRunFlags,
}

impl RunArguments {
    /// A reference, image ID or digest.
    pub fn image(&self) -> &str {
        self.image_and_command.first().map(String::as_str).unwrap_or_default()
    }

    /// The command and its arguments, instead of the image's.
    pub fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// When it is not in the store.
    Missing,
    /// Not at all.
    Never,
}

/// What `bake save` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaveFormat {
    /// For `docker load`, and for everything that reads OCI layouts.
    #[value(alias = "docker-archive")]
    Docker,
    /// An OCI layout in an archive.
    #[value(alias = "oci-archive")]
    Oci,
    /// An OCI layout in a directory, beside the images that are in it.
    OciDir,
}

/// Arguments of `bake save`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bake save -o myapp.tar myapp:1.0\n  bake save myapp:1.0 alpine | zstd > images.tar.zst\n  \
        bake save --format oci-dir -o layout myapp:1.0"
)]
pub struct SaveArguments {
    /// Write to this file (or directory) instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// What is written.
    #[arg(long, value_name = "FORMAT", default_value = "docker")]
    pub format: SaveFormat,

    /// Write only the image for this platform, of images with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// References, image IDs or digests.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Arguments of `bake load`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bake load -i myapp.tar\n  ssh host docker save myapp:1.0 | bake load\n  bake load -i layout/"
)]
pub struct LoadArguments {
    /// Read this file instead of standard input: a docker archive or an OCI layout in a tar, compressed by gzip, zstd,
    /// bzip2, xz or not; or the directory of an OCI layout.
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Load only the image for this platform, of images with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}
