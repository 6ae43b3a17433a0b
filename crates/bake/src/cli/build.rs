//! `bake build`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::call::{Call, CallMethod, call};
use super::failure::FailureArguments;
use super::limits::LimitArguments;
use super::lock::LockArguments;
use super::policy::PolicyArguments;
use super::supply_chain::SupplyChainArguments;
use super::trace::TraceRunArguments;
use super::unsupported::UnsupportedBuildFlags;
use super::value::{Assignment, assignment, full_assignment, size_bytes, truth};

/// Arguments of `bake build`: those of `docker buildx build`.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "Examples:\n  \
        bake build -t myapp:1.0 .\n  \
        bake build --target test --no-cache-filter test .\n  \
        bake build --build-arg VERSION=1.2 --secret id=npm,src=$HOME/.npmrc -t myapp .\n  \
        bake build -o type=oci,dest=myapp.tar .\n  \
        bake build --push -t registry.example.com/team/myapp:1.0 .\n\n\
        The image's digest is written to standard output, everything else to standard error."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct BuildArguments {
    /// The build context: a directory, a git repository (`URL.git#REF:DIR`), the address of an archive, or `-` for an archive on standard
    /// input. A Dockerfile can stand in place of an archive.
    #[arg(value_name = "CONTEXT")]
    pub context: String,

    /// Read this Dockerfile; `-` for standard input, or an HTTP address. Without it, `Dockerfile` in the build context.
    #[arg(short, long, value_name = "FILE", help_heading = "What is built")]
    pub file: Option<PathBuf>,

    /// Give the image this name. May be given several times.
    #[arg(short, long, value_name = "NAME", help_heading = "What is built")]
    pub tag: Vec<String>,

    /// Build this stage instead of the last one.
    #[arg(long, value_name = "STAGE", help_heading = "What is built")]
    pub target: Option<String>,

    /// Build for these platforms, separated by commas.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', help_heading = "What is built")]
    pub platform: Vec<String>,

    /// Set a build argument; with the name alone, to the value it has in the environment.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = assignment, help_heading = "What is built")]
    pub build_arg: Vec<Assignment>,

    /// Let `FROM` and `--from` find another context under this name: a directory, `docker-image://REFERENCE`,
    /// `oci-layout://DIR`, a git repository or an HTTP address.
    #[arg(long, value_name = "NAME=SOURCE", value_parser = full_assignment, help_heading = "What is built")]
    pub build_context: Vec<Assignment>,

    /// Add a label to the image's configuration.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, help_heading = "What is built")]
    pub label: Vec<Assignment>,

    /// Add an annotation to the manifest, or to what the type says: `manifest`, `manifest-descriptor` (both also for one
    /// platform, as `manifest[PLATFORM]`), `index` or `index-descriptor`, several separated by commas.
    #[arg(long, value_name = "[TYPE:]NAME=VALUE", help_heading = "What is built")]
    pub annotation: Vec<String>,

    /// Where the result goes, for example `type=oci,dest=out.tar`; a path alone is a directory for the files of the image,
    /// `-` an archive of them on standard output. Without it, the image goes to the local store.
    #[arg(short, long, value_name = "SPEC", help_heading = "Output")]
    pub output: Vec<String>,

    /// Push the image to the registry that its name says; short for `--output type=registry`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, help_heading = "Output")]
    pub push: bool,

    /// Put the image into the local store, also where `--output` names something else.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, help_heading = "Output")]
    pub load: bool,

    /// Write the image ID to this file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub iidfile: Option<PathBuf>,

    /// Write what is known about the result to this file, as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub metadata_file: Option<PathBuf>,

    /// Write a page about the build to this file, also where it fails: when steps ran and why, what they used, wrote and added.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Build twice without the cache, and fail with the files that differ if the images are not the same; outputs are
    /// written only if they are. `SOURCE_DATE_EPOCH` must be set.
    #[arg(long, conflicts_with_all = ["require_cached", "call", "check"], help_heading = "Output")]
    pub verify_reproducible: bool,

    /// Write nothing but the digest and errors.
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// How progress is shown on standard error. Without it, the value of `$BUILDKIT_PROGRESS`, or `auto`.
    #[arg(long, value_name = "MODE", help_heading = "Output")]
    pub progress: Option<ProgressMode>,

    /// Carry out every step, even those whose result is known.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, help_heading = "Cache")]
    pub no_cache: bool,

    /// Carry out every step of these stages, separated by commas.
    #[arg(long, value_name = "STAGE", value_delimiter = ',', help_heading = "Cache")]
    pub no_cache_filter: Vec<String>,

    /// Carry out nothing: fail at the first step whose result is not known, and say why it is not.
    #[arg(long, help_heading = "Cache")]
    pub require_cached: bool,

    /// Ask the registry for base images even where they are in the local store.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, help_heading = "Cache")]
    pub pull: bool,

    /// Use results that were exported with `--cache-to`, here or elsewhere: `type=registry,ref=NAME` (or the name alone, also
    /// that of an image with an inline cache), `type=local,src=DIR`. May be given several times; the first that has a
    /// result is used.
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub cache_from: Vec<String>,

    /// Leave results for other machines: `type=registry,ref=NAME` (or the name alone), `type=local,dest=DIR`, or
    /// `type=inline` in the image itself. With `mode=max` not only those in the image, but those of all steps.
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub cache_to: Vec<String>,

    /// Fill new cache mounts (`RUN --mount=type=cache`) with what `--cache-mounts-to` exported.
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub cache_mounts_from: Vec<String>,

    /// Leave the content of the cache mounts of this build for other machines, to a place as for `--cache-to`.
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub cache_mounts_to: Vec<String>,

    /// Whether steps are found by what they read.
    #[command(flatten)]
    pub trace: TraceRunArguments,

    /// The images that names meant in an earlier build.
    #[command(flatten)]
    pub lock: LockArguments,

    /// Which images may be used.
    #[command(flatten)]
    pub policy: PolicyArguments,

    /// The network that `RUN` steps see.
    #[arg(long, value_name = "MODE", default_value = "default", help_heading = "RUN steps")]
    pub network: NetworkMode,

    /// Add a line to `/etc/hosts` of `RUN` steps; the address `host-gateway` is that of this machine.
    #[arg(long, value_name = "HOST:IP", help_heading = "RUN steps")]
    pub add_host: Vec<String>,

    /// Let `RUN --mount=type=secret` see a secret, for example `id=token,env=TOKEN` or `id=npm,src=.npmrc`.
    #[arg(long, value_name = "SPEC", help_heading = "RUN steps")]
    pub secret: Vec<String>,

    /// Let `RUN --mount=type=ssh` use an SSH agent or keys: `default`, or `ID=SOCKET` or `ID=KEY,KEY`.
    #[arg(long, value_name = "SPEC", help_heading = "RUN steps")]
    pub ssh: Vec<String>,

    /// Allow steps what they may not do by themselves.
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',', help_heading = "RUN steps")]
    pub allow: Vec<Entitlement>,

    /// Run steps by this OCI runtime instead of the built-in sandbox: `runc`, `crun`, or a path.
    #[arg(long, value_name = "RUNTIME", help_heading = "RUN steps")]
    pub runtime: Option<String>,

    /// The size of `/dev/shm`, for example `64m`.
    #[arg(long, value_name = "SIZE", value_parser = size_bytes, help_heading = "RUN steps")]
    pub shm_size: Option<u64>,

    /// Carry out at most this many steps at the same time. Without it, as many as keep the processors busy: steps that sleep
    /// or wait make room for others.
    #[arg(long, value_name = "NUMBER", help_heading = "RUN steps")]
    pub jobs: Option<NonZeroUsize>,

    /// Do not build but check the Dockerfile; short for `--call=check`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, overrides_with = "call", help_heading = "Without building")]
    pub check: bool,

    /// Do something else than to build: `check` for the build checks, `outline` for what the target takes from outside,
    /// `targets` for the stages; with `,format=json` for programs.
    #[arg(long, value_name = "METHOD", value_parser = call, overrides_with = "check", help_heading = "Without building")]
    pub call: Option<Call>,

    /// What steps may use.
    #[command(flatten)]
    pub limits: LimitArguments,

    /// What is done when a step fails.
    #[command(flatten)]
    pub failure: FailureArguments,

    /// What is said of the image.
    #[command(flatten)]
    pub supply_chain: SupplyChainArguments,

    /// Flags that are known and refused.
    #[command(flatten)]
    pub unsupported: UnsupportedBuildFlags,
}

impl BuildArguments {
    /// What is to be done, by `--check` and `--call`.
    pub fn called(&self) -> Call {
        match self.call {
            Some(call) => call,
            None if self.check => Call { method: CallMethod::Check, ..Call::default() },
            None => Call::default(),
        }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// `tty` on a terminal, `plain` elsewhere.
    Auto,
    /// One line per running step, redrawn.
    Tty,
    /// Every line of output, numbered by step.
    Plain,
    /// Nothing but errors.
    Quiet,
    /// Status messages for programs, one JSON object per line.
    #[value(name = "rawjson")]
    RawJson,
    /// Nothing but errors.
    None,
}

/// The network that `RUN` steps see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkMode {
    /// A network of their own that reaches the outside where the machine allows it.
    Default,
    /// Nothing but the loopback interface.
    None,
    /// The network of the machine; takes `--allow network.host`.
    Host,
}

/// What a step may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Entitlement {
    /// `RUN --network=host`.
    #[value(name = "network.host")]
    NetworkHost,
    /// `RUN --security=insecure`.
    #[value(name = "security.insecure")]
    SecurityInsecure,
    /// `--output type=local,mode=delete`.
    #[value(name = "buildx.local.delete")]
    LocalDelete,
}
