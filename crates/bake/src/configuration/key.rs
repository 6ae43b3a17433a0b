//! The table of keys: what each is called, which values it has, what it does, and who may set it. Parsing, `bake config`, the JSON
//! schema, the variables of the environment and suggestions all come from here.
//!
//! The keys of `[build]` are the flags of `bake build`, taken from the command line's own definition.

use std::path::{Path, PathBuf};

use bake::cli::{BuildArguments, duration, space};
use clap::{Arg, ArgAction, Args as _};
use toml::Value;

use super::Configuration;
use super::project::ProjectRule;
use crate::lint_settings::LintSettings;
use crate::registries::section::{self, RegistrySection};
use crate::settings;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Keys before the first section.
    Top,
    Build,
    Gc,
    Lint,
    Network,
    /// `[registry."HOST"]`, one for each host.
    Registry,
}

impl Section {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Top, Self::Build, Self::Gc, Self::Lint, Self::Network, Self::Registry];
    /// Those that are about the machine and its user, and no project's business.
    pub(crate) const OF_MACHINE: [Self; 4] = [Self::Top, Self::Gc, Self::Network, Self::Registry];

    /// What it is called in brackets; empty for what stands before all brackets.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Build => "build",
            Self::Gc => "gc",
            Self::Lint => "lint",
            Self::Network => "network",
            Self::Registry => "registry",
        }
    }
}

/// The values that a key may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A text in quotes.
    Text,
    /// One of these words.
    Choice(Vec<String>),
    /// What stands behind a flag: a text, a number, `true` or `false`.
    Scalar,
    /// A list of texts.
    Texts,
    /// A list of what stands behind a flag; one alone needs no brackets.
    Scalars,
    /// Names, each with a value.
    Table(Box<Shape>),
    /// A section with `key` and `cert`, or a list of one such section.
    Keypair,
}

impl Shape {
    /// A table of values of this shape.
    fn table(self) -> Self {
        Self::Table(Box::new(self))
    }

    /// Whether a value has this shape.
    pub(crate) fn holds(&self, value: &Value) -> bool {
        let is_scalar = |value: &Value| value.is_str() || value.is_integer() || value.is_float() || value.is_bool();
        match self {
            Self::Boolean => value.is_bool(),
            Self::Integer => value.is_integer(),
            Self::Text => value.is_str(),
            Self::Choice(words) => value.as_str().is_some_and(|text| words.iter().any(|word| word == text)),
            Self::Scalar => is_scalar(value),
            Self::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_str)),
            Self::Scalars => is_scalar(value) || value.as_array().is_some_and(|list| list.iter().all(is_scalar)),
            Self::Table(_) => value.is_table(),
            Self::Keypair => value.is_table() || value.is_array(),
        }
    }

    /// What a message says was expected.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Integer => "a whole number".to_owned(),
            Self::Text => "a text in quotes".to_owned(),
            Self::Choice(words) => format!("one of {}, in quotes", words.join(", ")),
            Self::Scalar => "a text in quotes, or a number".to_owned(),
            Self::Texts | Self::Scalars => "a list of texts in quotes, such as `[\"a\", \"b\"]`".to_owned(),
            Self::Table(_) => "a section of names with values, such as `{ NAME = \"value\" }`".to_owned(),
            Self::Keypair => "a section with `key` and `cert`".to_owned(),
        }
    }
}

/// What a value does to the settings that it is for.
#[derive(Clone, Copy)]
pub(crate) enum Setter {
    /// To the machine's.
    Machine(fn(&mut Configuration, &Value) -> Result<(), String>),
    /// To those of one registry.
    Registry(fn(&mut RegistrySection, &Value) -> Result<(), String>),
    /// To those of the linter: also the name of a table's entry, and the directory that patterns are relative to.
    Lint(fn(&mut LintSettings, &str, &Value, &Path) -> Result<(), String>),
    /// It becomes a flag of `bake build`.
    Flag,
}

/// One key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) section: Section,
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// One sentence.
    pub(crate) summary: String,
    /// What holds where nobody says anything, if that is a value.
    pub(crate) default: Option<Value>,
    /// What the file of a project may say.
    pub(crate) project: ProjectRule,
    /// The variable of the environment.
    pub(crate) variable: Option<String>,
    pub(crate) setter: Setter,
}

/// The keys of some sections.
pub(crate) fn keys(sections: &[Section]) -> Vec<Key> {
    let mut keys = Vec::new();
    for section in sections {
        match section {
            Section::Top | Section::Network => {
                keys.extend(machine_keys().into_iter().filter(|key| key.section == *section));
            }
            Section::Gc => keys.extend(gc_keys()),
            Section::Registry => keys.extend(section::keys()),
            Section::Lint => keys.extend(crate::lint_settings::keys()),
            Section::Build => keys.extend(build_keys()),
        }
    }
    keys
}

/// A key that only the machine's and the user's own files set.
fn machine(
    section: Section,
    name: &str,
    shape: Shape,
    summary: &str,
    set: fn(&mut Configuration, &Value) -> Result<(), String>,
) -> Key {
    Key {
        section,
        name: name.to_owned(),
        shape,
        summary: summary.to_owned(),
        default: None,
        project: ProjectRule::Never,
        variable: Some(variable_name(section, name)),
        setter: Setter::Machine(set),
    }
}

/// `BAKE_SECTION_KEY`.
pub(crate) fn variable_name(section: Section, name: &str) -> String {
    let words = [section.name(), name].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    format!("{}{}", super::environment::PREFIX, words.replace('-', "_").to_uppercase())
}

fn absolute(value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
    path.ok_or_else(|| "expected an absolute path in quotes".to_owned())
}

fn machine_keys() -> Vec<Key> {
    vec![
        machine(Section::Top, "root", Shape::Text, "The directory of images, layers and cache.", |to, value| {
            to.root = Some(absolute(value)?);
            Ok(())
        }),
        machine(
            Section::Top,
            "runtime",
            Shape::Text,
            "The OCI runtime that runs steps instead of the built-in sandbox: `runc`, `crun`, or a path.",
            |to, value| {
                to.runtime = value.as_str().map(str::to_owned);
                Ok(())
            },
        ),
        machine(
            Section::Top,
            "policy",
            Shape::Text,
            "The file with rules about images that every build obeys.",
            |to, value| {
                to.policy = Some(absolute(value)?);
                Ok(())
            },
        ),
        Key {
            default: Some(Value::Boolean(false)),
            ..machine(
                Section::Network,
                "require-isolation",
                Shape::Boolean,
                "Whether a build fails where its steps could only share the machine's network.",
                |to, value| {
                    to.network.isolation_required = value.as_bool() == Some(true);
                    Ok(())
                },
            )
        },
        machine(
            Section::Network,
            "pasta",
            Shape::Text,
            "The program `pasta` that leads steps to the outside.",
            |to, value| {
                to.network.pasta = Some(absolute(value)?);
                Ok(())
            },
        ),
    ]
}

/// An amount of disk space.
fn disk_space(value: &Value) -> Result<Option<bake_store::Space>, String> {
    space(value.as_str().unwrap_or_default()).map(settings::space).map(Some)
}

/// The defaults are those of [`bake_store::Budget`]; a test compares them.
fn gc_keys() -> Vec<Key> {
    let gc = |name: &str, shape, default: Option<Value>, summary: &str, set| Key {
        default,
        ..machine(Section::Gc, name, shape, summary, set)
    };
    vec![
        gc(
            "enabled",
            Shape::Boolean,
            Some(Value::Boolean(true)),
            "Whether bake keeps the store's size within its budget after builds.",
            |to, value| {
                to.collects = value.as_bool() == Some(true);
                Ok(())
            },
        ),
        gc(
            "max-used-space",
            Shape::Text,
            Some("60%".into()),
            "What the store may take: a size such as `20GB`, or a share of the disk.",
            |to, value| {
                to.budget.max_used = disk_space(value)?;
                Ok(())
            },
        ),
        gc(
            "min-free-space",
            Shape::Text,
            Some("10%".into()),
            "What stays free on the disk: a size, or a share of the disk.",
            |to, value| {
                to.budget.min_free = disk_space(value)?;
                Ok(())
            },
        ),
        gc(
            "reserved-space",
            Shape::Text,
            None,
            "What of the cache stays in any case: a size, or a share of the disk; without it 10 GB, or 10 % of the disk if that is less.",
            |to, value| {
                to.budget.reserved = disk_space(value)?;
                Ok(())
            },
        ),
        gc(
            "keep-duration",
            Shape::Text,
            None,
            "What was used within this time stays in any case, for example `48h`.",
            |to, value| {
                to.budget.keep_duration = Some(duration(value.as_str().unwrap_or_default())?);
                Ok(())
            },
        ),
    ]
}

/// Flags that are for one build: what is done instead of building, and what has a key elsewhere (`runtime`).
const TYPED_ONLY: [&str; 5] = ["call", "check", "help", "runtime", "verify-reproducible"];
/// Flags whose values are `NAME=VALUE`.
const TABLES: [&str; 4] = ["annotation", "build-arg", "build-context", "label"];

fn build_keys() -> Vec<Key> {
    let command = BuildArguments::augment_args(clap::Command::new("build"));
    let flags = command.get_arguments().filter(|argument| !argument.is_hide_set());
    flags.filter_map(flag_key).collect()
}

fn flag_key(argument: &Arg) -> Option<Key> {
    let name = argument.get_long().filter(|name| !TYPED_ONLY.contains(name))?;
    let choices: Vec<String> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let shape = match argument.get_action() {
        _ if TABLES.contains(&name) => Shape::Scalar.table(),
        ArgAction::SetTrue => Shape::Boolean,
        ArgAction::Append => Shape::Scalars,
        _ if argument.get_value_parser().type_id() == std::any::TypeId::of::<bool>() => Shape::Boolean,
        _ if choices.is_empty() => Shape::Scalar,
        _ => Shape::Choice(choices),
    };
    let default = argument.get_default_values().first().and_then(|value| value.to_str());
    let default = default.map(|text| match shape {
        Shape::Boolean => Value::Boolean(text == "true"),
        _ => text.parse::<i64>().map_or_else(|_| Value::String(text.to_owned()), Value::Integer),
    });
    Some(Key {
        section: Section::Build,
        name: name.to_owned(),
        shape,
        summary: argument.get_help().map(ToString::to_string).unwrap_or_default(),
        default,
        project: ProjectRule::of_flag(name),
        variable: Some(variable_name(Section::Build, name)),
        setter: Setter::Flag,
    })
}
