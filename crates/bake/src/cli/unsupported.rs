//! Flags of Docker that bake knows by name but does not act on.
//!
//! A flag that Docker has must not be answered with "unexpected argument", and must never be ignored where that would
//! change the result. So each one is listed here, hidden from the help, with the values that ask for what bake does
//! anyway; those are accepted, everything else is a usage error.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// One flag.
struct Flag {
    name: &'static str,
    short: Option<char>,
    value: Value,
    /// Values that mean what bake does anyway.
    accepted: &'static [&'static str],
}

/// Whether a flag takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// No, or a truth value after `=`.
    None,
    /// Yes.
    Required,
}

const fn flag(name: &'static str, value: Value, accepted: &'static [&'static str]) -> Flag {
    Flag { name, short: None, value, accepted }
}

const fn short(name: &'static str, short: char, value: Value, accepted: &'static [&'static str]) -> Flag {
    Flag { name, short: Some(short), value, accepted }
}

/// What a truth value is written as.
const FALSE: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
/// For flags that change nothing, whatever is asked for.
const ANY_TRUTH: &[&str] = &["false", "0", "f", "F", "FALSE", "False", "true", "1", "t", "T", "TRUE", "True"];

/// Flags of `docker buildx build` and the classic `docker build` that `bake build` does not have.
const BUILD: &[Flag] = &[
    flag("builder", Value::Required, &["default"]),
    // There is no daemon to send a context to, so there is nothing to compress.
    flag("compress", Value::None, ANY_TRUTH),
    flag("disable-content-trust", Value::None, ANY_TRUTH),
    // There are no intermediate containers that could be kept.
    flag("force-rm", Value::None, ANY_TRUTH),
    flag("isolation", Value::Required, &["", "default"]),
    flag("print", Value::Required, &[]),
    flag("resource", Value::Required, &[]),
    flag("rm", Value::None, ANY_TRUTH),
    flag("security-opt", Value::Required, &[]),
    flag("squash", Value::None, FALSE),
    flag("stream", Value::None, FALSE),
];

/// Flags of `docker buildx bake` that `bake up` does not have.
const UP: &[Flag] = &[flag("builder", Value::Required, &["default"])];

/// Flags of `docker run` that people are likely to type and `bake run` does not have.
const RUN: &[Flag] = &[
    short("detach", 'd', Value::None, FALSE),
    flag("device", Value::Required, &[]),
    flag("init", Value::None, ANY_TRUTH),
    flag("name", Value::Required, &[]),
    short("publish-all", 'P', Value::None, FALSE),
    flag("restart", Value::Required, &["no"]),
];

/// Adds the flags of `table` to `command`, hidden.
fn augment(command: Command, table: &'static [Flag]) -> Command {
    command.args(table.iter().map(|flag| {
        let mut argument = Arg::new(flag.name).long(flag.name).hide(true).action(ArgAction::Append);
        if let Some(short) = flag.short {
            argument = argument.short(short);
        }
        match flag.value {
            Value::Required => argument.num_args(1).allow_hyphen_values(true),
            Value::None => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        }
    }))
}

/// Refuses the first flag of `table` that asks for something bake does not do.
fn check(matches: &ArgMatches, table: &'static [Flag]) -> Result<(), clap::Error> {
    for flag in table {
        for value in matches.get_many::<String>(flag.name).into_iter().flatten() {
            if flag.accepted.contains(&value.as_str()) {
                continue;
            }
            let mut message = format!("`--{}` is not supported yet", flag.name);
            // A flag that is simply not there needs no advice; one that is accepted with a value does.
            if let (Some(accepted), true) = (flag.accepted.first(), flag.value != Value::None)
                && !accepted.is_empty()
            {
                message = format!("{message}; only `--{}={accepted}` is", flag.name);
            }
            return Err(clap::Error::raw(ErrorKind::InvalidValue, message));
        }
    }
    Ok(())
}

/// Declares the type that stands for a table among the arguments of a command.
macro_rules! unsupported_flags {
    ($(#[$doc:meta])* $name:ident, $table:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                check(matches, $table).map(|()| Self)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                check(matches, $table)
            }
        }

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, $table)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment(command, $table)
            }
        }
    };
}

unsupported_flags! {
    /// Takes the flags of `docker buildx build` that bake does not act on, and refuses them.
    UnsupportedBuildFlags, BUILD
}
unsupported_flags! {
    /// Takes the flags of `docker buildx bake` that bake does not act on, and refuses them.
    UnsupportedUpFlags, UP
}
unsupported_flags! {
    /// Takes the flags of `docker run` that bake does not act on, and refuses them.
    UnsupportedRunFlags, RUN
}
