//! Lowers a Dockerfile's syntax tree, build arguments and base image configs to a build graph and image configs.
//!
//! Entry points: [`plan`] for a build; [`check`], [`outline`] and [`targets`] for what can be said without one.
//!
//! Invariant: planning is a function of its arguments and of what the [`MetaResolver`] answers. Only stages that the
//! target needs are looked at, so an unreachable stage cannot fail a build.
//!
//! Must not: execute anything, or touch files or the network itself.
#![forbid(unsafe_code)]

mod args;
mod checks;
mod description;
mod git;
mod history;
mod lower;
mod meta;
mod mode;
mod outline;
mod percent;
mod plan;
mod stages;
mod steps;
mod targets;

pub use bake_checks::{CHECKS, Check, check_named};
pub use git::{GitReferenceError, is_git_context, is_git_url, is_http_url, parse_git_url};
pub use history::{ImagePlan, PackageScans, PlannedHistory};
pub use lower::{Checked, MAIN_CONTEXT};
pub use meta::{MetaError, MetaResolver, NamedContext, ResolvedImage};
pub use outline::{Outline, OutlineAccess, OutlineArgument};
pub use plan::{MainContext, Plan, PlanIdentity, PlanOptions, check, outline, plan};
pub use stages::{unmatched_stage_names, users_of_stage};
pub use targets::{Target, targets};
