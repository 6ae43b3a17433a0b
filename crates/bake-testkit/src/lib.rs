//! Test support: servers, images and workers that tests of several crates need.
//!
//! Entry points: [`registry::FakeRegistry`], a registry on loopback that misbehaves on demand;
//! [`actions_cache::ActionsCache`], the cache service of GitHub Actions, and [`service::FakeService`], any other server;
//! [`fake_worker::FakeWorker`], [`fake_worker::FakeCache`] and [`fake_worker::RecordingSink`] for the solver's seams;
//! [`fake_resolver::FakeResolver`] for the frontend's; [`base_image::BaseImages`], images small enough to be made for every
//! test run; [`archive_bytes`], archives as no program writes them; [`case::discover`], the folders of `testdata/cases`;
//! [`tree::describe_archive`], an image as text.
//!
//! Invariant: nothing here outlives the value that stands for it: dropping a server ends its threads and sockets,
//! dropping a directory removes it.
//!
//! Must not: be a normal dependency of any crate, or depend on the crates whose tests use it for what they test.
#![forbid(unsafe_code)]

pub mod actions_cache;
pub mod archive_bytes;
pub mod base_image;
pub mod busybox;
pub mod case;
pub mod fake_resolver;
pub mod fake_worker;
pub mod host;
pub mod program;
pub mod registry;
pub mod sanitize;
pub mod service;
pub mod tree;
