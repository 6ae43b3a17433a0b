//! The parts of the `bake` command that are no command themselves: arguments, errors with exit codes, and display.
//!
//! Purpose: everything between a person and the libraries. Entry points: [`cli::Arguments`] for what was typed,
//! [`error::CommandError`] for how a command ends, [`ui::progress::Progress`] for what is shown while it works.
//!
//! Invariant: text from outside (Dockerfiles, registries, output of steps) reaches the terminal only without control
//! sequences.
//!
//! Must not: contain logic that a user of the libraries would want.
#![forbid(unsafe_code)]

pub mod cli;
pub mod error;
pub mod template;
pub mod ui;
