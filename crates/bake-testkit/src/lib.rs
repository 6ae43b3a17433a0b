//! Test support: servers, images and workers that tests of several crates need.
//!
//! Entry points: [`registry::FakeRegistry`], a registry on loopback that misbehaves on demand.
//!
//! Invariant: nothing here outlives the value that stands for it: dropping a server ends its threads and sockets.
//!
//! Must not: be a normal dependency of any crate, or depend on the crates whose tests use it for what they test.
#![forbid(unsafe_code)]

pub mod registry;
