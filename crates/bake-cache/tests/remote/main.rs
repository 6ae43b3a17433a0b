//! The clients of remote caches: against `moto_server`, which speaks the protocol of S3 and checks signatures, and
//! against servers in this process that misbehave on demand. And what travels through caches besides blobs.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

mod gha;
mod memory;
mod moto;
mod s3;
mod support;
mod traces;

use std::process::ExitCode;

use bake_testkit::host;
use libtest_mimic::{Arguments, Trial};

/// The needs of a test, and what it does.
type Test = (&'static str, &'static [&'static str], fn());

fn main() -> ExitCode {
    if let Some(exit) = memory::maybe_measure() {
        return exit;
    }
    let tests = [moto::TESTS, s3::TESTS, gha::TESTS, traces::TESTS].concat();
    let trials = tests.into_iter().map(|(name, needs, test)| {
        let run = move || {
            test();
            Ok(())
        };
        match needs.iter().find_map(|need| host::missing(need)) {
            Some(reason) => Trial::test(name, run).with_kind(format!("ignored: {reason}")).with_ignored_flag(true),
            None => Trial::test(name, run),
        }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
