//! Every command but `build`, one file each, and what several of them share: finding images ([`stored`]), bringing
//! their layers into a form that can leave the store ([`complete`]) and whole images into the store ([`bring`]), the places
//! that images come from and go to ([`place`]), lists by `--format` ([`listing`]), tables ([`table`]) and ages ([`age`]).

mod age;
mod attached;
mod bring;
mod complete;
mod difference;
mod dockerfile;
mod dockerfile_search;
mod image_filter;
mod listing;
mod place;
mod publish;
mod stored;
pub(crate) mod table;
mod toolbox;
mod transfer;

pub(crate) mod analyze;
pub(crate) mod attestations;
pub(crate) mod builds;
pub(crate) mod collect;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod debug;
pub(crate) mod df;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod fmt;
pub(crate) mod fsck;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod imagetools;
pub(crate) mod inspect;
pub(crate) mod lint;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod lsp;
pub(crate) mod pin;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod resume;
pub(crate) mod rmi;
pub(crate) mod run;
mod run_environment;
mod run_mounts;
pub(crate) mod save;
pub(crate) mod sbom;
pub(crate) mod shell;
pub(crate) mod sign;
pub(crate) mod tag;
pub(crate) mod trace;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod why;
