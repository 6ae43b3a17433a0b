//! Real steps in real sandboxes, over a root file system that borrows the host's `/usr`.
//!
//! The program is also the sandbox's first process, and (called with `ROOTLESS_ARGUMENT`) an ordinary user's builder.
//! Where the host allows no user namespaces every case is reported as ignored.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
#![expect(clippy::print_stdout, reason = "the ordinary user's process reports by printing")]

mod cases;
mod rootfs;
mod rootless;

use libtest_mimic::{Arguments, Trial};

/// Called with this, the program plays the builder of an ordinary user.
pub(crate) const ROOTLESS_ARGUMENT: &str = "as-ordinary-user";

fn main() -> std::process::ExitCode {
    bake_sandbox::maybe_enter();
    if std::env::args().nth(1).as_deref() == Some(ROOTLESS_ARGUMENT) {
        return rootless::run_as_ordinary_user();
    }
    let possible = bake_sandbox::probe::namespaces().is_ok() && rustix::process::getuid().is_root();
    let mut trials: Vec<Trial> = cases::ALL
        .iter()
        .map(|(name, case)| {
            Trial::test(*name, move || {
                case();
                Ok(())
            })
            .with_ignored_flag(!possible)
        })
        .collect();
    trials.push(
        Trial::test("ordinary_user", || {
            rootless::check();
            Ok(())
        })
        .with_ignored_flag(!possible),
    );
    trials.push(
        Trial::test("ordinary_user_with_ranges", || {
            rootless::check_with_ranges();
            Ok(())
        })
        .with_ignored_flag(!possible),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
