//! `bake up`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::build::ProgressMode;
use super::call::{Call, CallMethod, call};
use super::trace::{TraceRunMode, percent};
use super::unsupported::UnsupportedUpFlags;
use super::value::{Assignment, full_assignment, truth};

/// Arguments of `bake up`: those of `docker buildx bake`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake up\n  \
        bake up --print app\n  \
        bake up --set '*.platform=linux/arm64' --push app web\n  \
        bake up --var TAG=1.2 -f docker-bake.hcl -f ci.hcl release\n  \
        bake up https://git.example.com/team/app.git#main\n\n\
        Without --file, these files are read, as far as they are there: compose.yaml, compose.yml, docker-compose.yml, \
        docker-compose.yaml, docker-bake.json, docker-bake.hcl, docker-bake.override.json, docker-bake.override.hcl.\n\n\
        Name and digest of each image are written to standard output, everything else to standard error.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct UpArguments {
    /// Targets, groups, or patterns such as `web-*`; without any, `default`. The first can be the address of a git repository
    /// that holds the files.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// Read this file instead of those in the directory; `-` for standard input. May be given several times.
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<String>,

    /// Change an attribute of targets: `TARGET.ATTRIBUTE=VALUE`, or `+=` to add to a list. TARGET can be a pattern.
    #[arg(long, value_name = "TARGET.ATTRIBUTE=VALUE")]
    pub set: Vec<String>,

    /// Set a variable of the files. It wins over the environment.
    #[arg(long, value_name = "NAME=VALUE", value_parser = full_assignment)]
    pub var: Vec<Assignment>,

    /// Allow what the targets want beyond this directory: `network.host`, `security.insecure`, `ssh`, `fs=PATH`, `fs.read=PATH`,
    /// `fs.write=PATH` (`*` for every path). May be given several times.
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,

    /// Push the images to the registries that their names say; short for `--set '*.output=type=registry'`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, help_heading = "Output")]
    pub push: bool,

    /// Put the images into the local store, also where the files say another output.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, help_heading = "Output")]
    pub load: bool,

    /// Write what is known about the results to this file, as JSON, by target.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub metadata_file: Option<PathBuf>,

    /// Write a page about the build to this file: times, why steps ran, sizes of layers, output. Also when the build fails.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Say how the images were made: `true`, `false`, or parameters such as `mode=min`; short for `--set
    /// '*.attest=type=provenance'`.
    #[arg(long, value_name = "SPEC", help_heading = "Output")]
    pub provenance: Option<String>,

    /// List the packages in the images: `true` or `false`; short for `--set '*.attest=type=sbom'`.
    #[arg(long, value_name = "BOOL", help_heading = "Output")]
    pub sbom: Option<String>,

    /// How progress is shown on standard error. Without it, the value of `$BUILDKIT_PROGRESS`, or `auto`.
    #[arg(long, value_name = "MODE", help_heading = "Output")]
    pub progress: Option<ProgressMode>,

    /// Carry out every step, even those whose result is known.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, value_parser = truth, help_heading = "Cache")]
    pub no_cache: Option<bool>,

    /// Ask the registry for base images even where they are in the local store.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, value_parser = truth, help_heading = "Cache")]
    pub pull: Option<bool>,

    /// Carry out nothing: fail at the first step whose result is not known, and say why it is not.
    #[arg(long, help_heading = "Cache")]
    pub require_cached: bool,

    /// Record what `RUN` steps read of copied files, and run a step again only when some of that has changed: `auto`, `on` or
    /// `off`, as with `bake build`.
    #[arg(long, value_name = "WHEN", help_heading = "Cache")]
    pub trace_run: Option<TraceRunMode>,

    /// Run this share of the steps all the same that are found by what they read, chosen at random, and compare: `10%`.
    #[arg(long, value_name = "SHARE", value_parser = percent, help_heading = "Cache")]
    pub verify_trace: Option<u8>,

    /// Carry out at most this many steps at the same time, of all targets together. Without it, as many as keep the processors busy.
    #[arg(long, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,

    /// Do not build but write what would be built to standard output, as JSON that is a file with targets again.
    #[arg(long, conflicts_with_all = ["list", "call", "check"], help_heading = "Without building")]
    pub print: bool,

    /// Do not build but list what the files define: `targets` or `variables`; `type=targets,format=json` for programs.
    #[arg(long, value_name = "WHAT", value_parser = listed, conflicts_with_all = ["call", "check"], help_heading = "Without building")]
    pub list: Option<Listed>,

    /// Do not build but check the Dockerfiles; short for `--call=check`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = truth, overrides_with = "call", help_heading = "Without building")]
    pub check: bool,

    /// Do something else than to build: `check`, `outline` or `targets`, as with `bake build`; with `,format=json` for programs.
    #[arg(long, value_name = "METHOD", value_parser = call, overrides_with = "check", help_heading = "Without building")]
    pub call: Option<Call>,

    /// Flags that are known and refused.
    #[command(flatten)]
    pub unsupported: UnsupportedUpFlags,
}

impl UpArguments {
    /// What is to be done by `--check` and `--call`, if they say anything.
    pub fn called(&self) -> Option<Call> {
        self.call.or_else(|| self.check.then(|| Call { method: CallMethod::Check, ..Call::default() }))
    }
}

/// What `--list` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// What is listed.
    pub what: ListedKind,
    /// Whether for programs.
    pub json: bool,
}

/// What files define.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedKind {
    /// Targets and groups.
    Targets,
    /// Variables.
    Variables,
}

/// Parses `targets`, `variables`, or `type=...,format=...`.
fn listed(text: &str) -> Result<Listed, String> {
    let mut what = None;
    let mut json = false;
    for field in text.split(',') {
        match field.split_once('=').unwrap_or(("type", field)) {
            ("type", "targets") => what = Some(ListedKind::Targets),
            ("type", "variables") => what = Some(ListedKind::Variables),
            ("format", "json") => json = true,
            ("format", "table") => json = false,
            ("type", _) => return Err("there are `targets` and `variables`".to_owned()),
            ("format", other) => return Err(format!("`{other}` is no format; there are `json` and `table`")),
            (other, _) => return Err(format!("`{other}` is neither type= nor format=")),
        }
    }
    what.map(|what| Listed { what, json }).ok_or_else(|| "there are `targets` and `variables`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_of_a_kind_and_a_format() {
        assert_eq!(listed("targets"), Ok(Listed { what: ListedKind::Targets, json: false }));
        assert_eq!(listed("type=variables,format=json"), Ok(Listed { what: ListedKind::Variables, json: true }));
        for wrong in ["", "target", "format=json", "targets,format=xml", "targets,x=y"] {
            assert!(listed(wrong).is_err(), "{wrong}");
        }
    }
}
