//! `docs/coming-from.md`: what it says of the flags of docker is what the program does.

use std::collections::BTreeSet;

use bake::cli::Arguments;
use clap::{Arg, CommandFactory as _, Parser as _};

use super::RULES;
use super::support::{Outcome, check};

/// The page.
const PAGE: &str = include_str!("../../docs/coming-from.md");
/// How the table of flags begins.
const TABLE: &str = "| flag | `bake build` |";
/// What its second column says.
const STATES: [&str; 3] = ["same", "no effect", "refused"];
/// Where the flags are listed that docker has not.
const ADDED: &str = "What bake adds: ";

/// Compares the table and the program, both ways.
pub(crate) fn are_as_told() -> Outcome {
    let program = Arguments::command();
    let build = program.find_subcommand("build").ok_or("there is no `bake build`")?;
    let flags: Vec<&Arg> =
        build.get_arguments().chain(program.get_arguments()).filter(|flag| flag.get_long().is_some()).collect();
    let (_, rest) = PAGE.split_once(TABLE).ok_or("the page has no table of flags")?;
    let mut problems = Vec::new();
    let mut told = BTreeSet::new();
    for row in rest.lines().skip(2).take_while(|row| row.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (name, state) = (cells.get(1).copied().unwrap_or_default(), cells.get(2).copied().unwrap_or_default());
        let name = name.trim_matches(['`', '-']);
        let flag = flags.iter().find(|flag| flag.get_long() == Some(name));
        // Flags that docker has and bake has not are known to the program, and hidden.
        let taken = |typed: String| Arguments::try_parse_from(["bake", "build", &typed, "."]).is_ok();
        let real = match (state, flag) {
            ("same", Some(flag)) => !flag.is_hide_set(),
            ("no effect", Some(flag)) => flag.is_hide_set() && taken(format!("--{name}")),
            ("refused", Some(flag)) => flag.is_hide_set() && !taken(format!("--{name}=true")),
            _ => false,
        };
        if !real {
            problems.push(format!("`--{name}` is not `{state}`, or that is none of {STATES:?}"));
        }
        told.insert(name);
    }
    let (_, added) = PAGE.split_once(ADDED).ok_or("the page does not say what bake adds")?;
    let added = added.split("\n\n").next().unwrap_or_default();
    told.extend(added.split('`').filter_map(|word| word.strip_prefix("--")));
    let own: BTreeSet<&str> = build.get_arguments().filter_map(Arg::get_long).filter(|flag| *flag != "help").collect();
    problems.extend(own.difference(&told).map(|flag| format!("the page does not speak of `--{flag}`")));
    check(problems.is_empty(), || format!("docs/coming-from.md:\n{}\n{RULES}", problems.join("\n")))
}
