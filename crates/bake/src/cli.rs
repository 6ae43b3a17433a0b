//! What can be typed: the command line as types, and nothing else.
//!
//! The doc comments here are the help text. No type of this module goes further down than the settings, which turn
//! them into requests; spellings follow Docker wherever Docker has a word for it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod analyze;
mod attestations;
mod build;
mod call;
mod config;
mod copy;
mod diff;
mod failure;
mod fmt;
mod format;
pub mod help;
mod history;
mod image;
mod imagetools;
mod limits;
mod lint;
mod lock;
mod login;
mod lsp;
mod pin;
mod policy;
mod run_network;
mod sbom;
mod shell;
mod sign;
mod store;
mod supply_chain;
mod trace;
mod unsupported;
mod up;
mod value;
mod why;

pub use analyze::{AnalyzeArguments, exact_size_bytes, share};
pub use attestations::AttestationsArguments;
pub use build::{BuildArguments, Entitlement, NetworkMode, ProgressMode};
pub use call::{Call, CallFormat, CallMethod};
pub use config::{
    ConfigArguments, ConfigCommand, ConfigFormat, ConfigGetArguments, ConfigSchemaArguments, ConfigShowArguments,
};
pub use copy::CopyArguments;
pub use diff::DiffArguments;
pub use failure::{DebugArguments, FailureArguments, FailureExport, ResumeArguments};
pub use fmt::FormatArguments;
pub use format::RowFormat;
pub use history::{
    BuildExportArguments, BuildExportFormat, BuildInspectArguments, BuildLogsArguments, BuildOpenArguments,
    BuildTraceArguments, BuildsCommand, BuildsListArguments, BuildsRemoveArguments, HistoryArguments, TraceFormat,
};
pub use image::{
    ImagesArguments, InspectArguments, ListFormat, LoadArguments, PullArguments, PullPolicy, PushArguments,
    RemoveImageArguments, RunArguments, SaveArguments, SaveFormat, TagArguments,
};
pub use imagetools::{ImagetoolsArguments, ImagetoolsCommand, ImagetoolsCreateArguments, ImagetoolsInspectArguments};
pub use limits::LimitArguments;
pub use lint::{FailLevel, LintArguments, LintFormat, LintProfile, RequiredLabel, SeverityChange, parse_severity};
pub use lock::{LockArguments, LockMode};
pub use login::{LoginArguments, LogoutArguments};
pub use lsp::LspArguments;
pub use pin::PinArguments;
pub use policy::{PolicyArguments, PolicyFile};
pub use run_network::RunNetworkArguments;
pub use sbom::{SbomArguments, SbomFormat};
pub use shell::{CompletionArguments, ManArguments};
pub use sign::{KeygenArguments, SignArguments, SignPlace, VerifyArguments};
pub use store::{DiskUsageArguments, DoctorArguments, FsckArguments, PruneArguments, VersionArguments};
pub use supply_chain::SupplyChainArguments;
pub use trace::{StepTraceArguments, TraceRunArguments, TraceRunMode};
pub use unsupported::{UnsupportedBuildFlags, UnsupportedRunFlags, UnsupportedUpFlags};
pub use up::{Listed, ListedKind, UpArguments};
pub use value::{Assignment, Comparison, Space, StoreFilter, duration, size_bytes, space};
pub use why::{PlanArguments, WhyArguments};

/// Compiles Dockerfiles into OCI images, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "bake",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = help::WIDTH_MAX,
    after_help = "Examples:\n  \
        bake build -t myapp:1.0 .            build an image into the local store\n  \
        bake build --push -t host/app:1 .    build an image and push it\n  \
        bake lint                            check the Dockerfile of this directory\n  \
        bake images                          list what was built and pulled\n  \
        bake doctor                          what this host offers for builds, and how to get the rest"
)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// Keep images, layers and cache in this directory.
    ///
    /// Without it, the directory is `$BAKE_ROOT`; without that, `/var/lib/bake` for root and `$XDG_DATA_HOME/bake` for
    /// everybody else.
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Talk to this registry without checking its certificate, or without TLS where it has none.
    ///
    /// Passwords and images can then be read and changed by whoever stands between. May be given several times.
    #[arg(long, global = true, value_name = "HOST[:PORT]", value_parser = login::registry_host)]
    pub insecure_registry: Vec<String>,

    /// Tell on standard error what bake does and why.
    #[arg(short = 'D', long, global = true)]
    pub debug: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile.
    #[command(visible_alias = "b")]
    Build(Box<BuildArguments>),
    /// Build the targets of a bake file or a Compose file, all at once.
    #[command(visible_alias = "targets")]
    Up(Box<UpArguments>),
    /// Check Dockerfiles for mistakes.
    Lint(Box<LintArguments>),
    /// Lay out Dockerfiles in one way, without changing what they build.
    Fmt(FormatArguments),
    /// Serve an editor: findings, fixes, completions and more while you type.
    Lsp(LspArguments),
    /// Write the digests of images into Dockerfiles.
    Pin(PinArguments),
    /// List images.
    #[command(visible_alias = "ls")]
    Images(ImagesArguments),
    /// Show everything known about images.
    Inspect(InspectArguments),
    /// Show which instruction made which layer of an image; list, show and export past builds.
    History(HistoryArguments),
    /// Show what differs between two images: config and files.
    Diff(DiffArguments),
    /// Show what each layer of an image adds, and what of it is wasted.
    Analyze(AnalyzeArguments),
    /// List the packages in an image.
    Sbom(SbomArguments),
    /// Show what is said of an image: how it was made, what is in it.
    Attestations(AttestationsArguments),
    /// Give an image another name.
    Tag(TagArguments),
    /// Remove images.
    #[command(name = "rmi")]
    RemoveImage(RemoveImageArguments),
    /// Fetch an image from a registry.
    Pull(PullArguments),
    /// Send an image to a registry.
    Push(PushArguments),
    /// Log in to a registry.
    ///
    /// The credentials are tried, then kept where docker keeps them: with a credential helper or in its `config.json`.
    Login(LoginArguments),
    /// Forget the login at a registry.
    Logout(LogoutArguments),
    /// Make a pair of keys for signatures.
    Keygen(KeygenArguments),
    /// Sign images of registries, as cosign does.
    Sign(SignArguments),
    /// Verify that images of registries are signed.
    Verify(VerifyArguments),
    /// Copy an image from place to place: registries, layouts, archives, the store.
    Copy(CopyArguments),
    /// Look at images in registries, and put several together as one.
    Imagetools(ImagetoolsArguments),
    /// Run a command in an image.
    Run(Box<RunArguments>),
    /// Write images to an archive.
    Save(SaveArguments),
    /// Read images from an archive.
    Load(LoadArguments),
    /// Open a shell where a step failed.
    Debug(DebugArguments),
    /// Go on with a build where a step failed.
    Resume(ResumeArguments),
    /// Show which steps of a build ran, and why each was not cached.
    Why(WhyArguments),
    /// Show what a `RUN` step read of the files that were copied for it.
    Trace(StepTraceArguments),
    /// Show what a build would run and what is cached, without building.
    Plan(Box<PlanArguments>),
    /// Remove what is no longer needed.
    Prune(PruneArguments),
    /// Show how much disk space is used for what.
    #[command(name = "df", visible_alias = "du")]
    DiskUsage(DiskUsageArguments),
    /// Check the store, and repair it.
    Fsck(FsckArguments),
    /// Show what this host offers for builds, and how to get the rest.
    ///
    /// Ends with 0 when builds can run here, and with 1 when they cannot.
    Doctor(DoctorArguments),
    /// Show what is configured, and where each value comes from.
    Config(ConfigArguments),
    /// Write completions for a shell.
    Completion(CompletionArguments),
    /// Write manual pages.
    Man(ManArguments),
    /// Show the version of bake and of what it is made of.
    Version(VersionArguments),
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn build(arguments: &[&str]) -> BuildArguments {
        match parse(arguments).unwrap().command {
            Command::Build(build) => *build,
            other => panic!("parsed as {other:?}"),
        }
    }

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("bake").chain(arguments.iter().copied()))
    }

    #[test]
    fn definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn build_takes_what_buildx_takes() {
        let arguments = build(&[
            "build",
            "-f",
            "docker/Dockerfile",
            "-t",
            "a:1",
            "--tag=b:2",
            "--target",
            "app",
            "--build-arg",
            "A=1=2",
            "--build-arg",
            "B",
            "--build-context",
            "base=docker-image://alpine",
            "--label",
            "k=v",
            "--no-cache-filter",
            "one,two",
            "--platform",
            "linux/amd64,linux/arm64",
            "-o",
            "type=oci,dest=out.tar",
            "--push=false",
            "--load",
            "--provenance=false",
            "--sbom",
            "false",
            "--builder",
            "default",
            "--shm-size",
            "64m",
            "--allow",
            "network.host,security.insecure",
            "--rm",
            "-q",
            ".",
        ]);
        assert_eq!(arguments.tag, ["a:1", "b:2"]);
        assert_eq!(arguments.build_arg[0], Assignment { name: "A".into(), value: Some("1=2".into()) });
        assert_eq!(arguments.build_arg[1], Assignment { name: "B".into(), value: None });
        assert_eq!(arguments.no_cache_filter, ["one", "two"]);
        assert_eq!(arguments.platform, ["linux/amd64", "linux/arm64"]);
        assert!(!arguments.push && arguments.load && arguments.quiet);
        assert_eq!(arguments.shm_size, Some(64 << 20));
        assert_eq!(arguments.allow, [Entitlement::NetworkHost, Entitlement::SecurityInsecure]);
        assert_eq!(arguments.context, ".");
    }

    #[test]
    fn unsupported_flags_are_known_and_refused() {
        for (arguments, expected) in [
            (&["build", "--builder", "remote", "."][..], "`--builder` is not supported yet"),
            (&["build", "--security-opt", "label=off", "."][..], "`--security-opt` is not supported yet"),
            (&["build", "--print", "outline", "."][..], "`--print` is not supported yet"),
            (&["run", "-d", "alpine"][..], "`--detach` is not supported yet"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
            assert!(error.to_string().contains(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn of_several_calls_the_last_one_counts() {
        let method = |arguments: &[&str]| build(arguments).called().method;
        assert_eq!(method(&["build", "."]), CallMethod::Build);
        assert_eq!(method(&["build", "--check", "."]), CallMethod::Check);
        assert_eq!(method(&["build", "--check=false", "."]), CallMethod::Build);
        assert_eq!(method(&["build", "--check", "--call", "outline", "."]), CallMethod::Outline);
        assert_eq!(method(&["build", "--call=outline", "--check", "."]), CallMethod::Check);
        let error = parse(&["build", "--call=outlin", "."]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`outline` and `targets`"), "{error}");
    }

    #[test]
    fn arguments_after_the_image_belong_to_the_command() {
        let Command::Run(run) = parse(&["run", "--rm", "-e", "A=1", "alpine", "ls", "--rm", "-D"]).unwrap().command
        else {
            panic!("not a run command")
        };
        assert_eq!(run.image(), "alpine");
        assert_eq!(run.command(), ["ls", "--rm", "-D"]);
        assert_eq!(run.env[0], Assignment { name: "A".into(), value: Some("1".into()) });
    }

    #[test]
    fn global_options_stand_anywhere() {
        let arguments = parse(&["images", "--root", "/tmp/x", "-D"]).unwrap();
        assert!(arguments.global.debug);
        assert_eq!(arguments.global.root.unwrap(), PathBuf::from("/tmp/x"));
    }

    #[test]
    fn hidden_flags_do_not_show_in_the_help() {
        let help = Arguments::command().find_subcommand_mut("build").unwrap().render_long_help().to_string();
        assert!(help.contains("--no-cache-filter") && !help.contains("--security-opt"), "{help}");
    }

    #[test]
    fn a_misspelt_flag_gets_a_suggestion() {
        let error = parse(&["build", "--platfrom", "x", "."]).unwrap_err().to_string();
        assert!(error.contains("--platform"), "{error}");
    }

    /// Every command on the right of the tables can be typed.
    #[test]
    fn commands_of_the_page_for_newcomers_are_commands() {
        let page = include_str!("../../../docs/coming-from.md");
        let mut count = 0;
        // Headings name commands without what they need.
        for line in page.lines().filter(|line| line.starts_with('|') && !line.starts_with("| flag |")) {
            let ours = line.split(" | ").nth(1).unwrap_or_default();
            for span in ours.split('`').skip(1).step_by(2).filter(|span| span.starts_with("bake ")) {
                count += 1;
                // What a shell takes for itself is no argument.
                let words = span.split(' ').take_while(|word| !word.contains(['|', '<', '>', ';']));
                let parsed = Arguments::try_parse_from(words);
                assert!(parsed.is_ok(), "{span}: {}", parsed.unwrap_err());
            }
        }
        assert!(count > 40, "{count}");
    }
}
