//! `bake config`: what holds, and where it comes from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bake::cli::{ConfigArguments, ConfigCommand, ConfigFormat, ConfigGetArguments, ConfigShowArguments};
use bake::error::CommandError;
use serde_json::json;
use toml::Value;

use crate::configuration::key::{Key, Section, keys};
use crate::configuration::project::search_directories;
use crate::configuration::values::{Entry, Origin, ValuePath, Values, quoted};
use crate::configuration::{self, PROJECT_FILE, defaults, environment, json_schema};
use crate::settings;

/// What stands in place of a value with a password, token or key.
const WITHHELD: &str = "(not shown: it holds credentials)";

pub(crate) fn run(arguments: &ConfigArguments) -> Result<ExitCode, CommandError> {
    match &arguments.command {
        None => show(&arguments.show)?,
        Some(ConfigCommand::Get(get)) => return get_value(get),
        Some(ConfigCommand::Files(show)) => show_files(show)?,
        Some(ConfigCommand::Schema(schema)) => {
            crate::print(&format!("{:#}\n", json_schema::schema(schema.project)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &ConfigShowArguments) -> Result<(), CommandError> {
    let values = effective(&arguments.directory)?;
    warn_of_variables();
    match arguments.format {
        ConfigFormat::Toml => crate::print(&as_toml(&values)),
        ConfigFormat::Json => {
            let values: Vec<_> = values.0.iter().map(|(path, entry)| as_json(path, entry)).collect();
            crate::print(&format!("{}\n", json!({ "files": files(&arguments.directory), "values": values })))
        }
    }
}

/// Tells of variables that look like bake's and are none.
pub(crate) fn warn_of_variables() {
    for remark in environment::unknown_variables() {
        super::transfer::say(&format!("warning: {remark}"));
    }
}

fn get_value(arguments: &ConfigGetArguments) -> Result<ExitCode, CommandError> {
    let values = effective(&arguments.show.directory)?;
    let below = format!("{}.", arguments.key);
    let is_asked = |path: &ValuePath| {
        let name = path.to_string();
        name == arguments.key || name.starts_with(&below)
    };
    let found: Vec<_> = values.0.iter().filter(|(path, _)| is_asked(path)).collect();
    if found.is_empty() {
        known(&arguments.key)?;
        super::transfer::say(&format!("`{}` has no value", arguments.key));
        return Ok(ExitCode::FAILURE);
    }
    if arguments.show.format == ConfigFormat::Json {
        let found: Vec<_> = found.into_iter().map(|(path, entry)| as_json(path, entry)).collect();
        crate::print(&format!("{}\n", json!({ "values": found })))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (path, entry) in found {
        // A value alone is written as a shell wants it: one item on a line, without quotes.
        let items = configuration::values::items(&shown(&entry.value));
        let prefix = match path.to_string().strip_prefix(&below) {
            Some(rest) => format!("{rest}="),
            None => String::new(),
        };
        for item in items {
            let plain = configuration::values::text(&item);
            // A project's file could hold sequences that a terminal obeys; quotes make them visible.
            let is_plain = !plain.chars().any(|character| character.is_control() && !"\n\t".contains(character));
            let shown = if is_plain { plain } else { item.to_string() };
            let _ = writeln!(text, "{prefix}{shown}");
        }
    }
    crate::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// That there is such a key, also where it has no value.
fn known(name: &str) -> Result<(), CommandError> {
    let all: Vec<String> = keys(&Section::ALL).iter().map(full_name).collect();
    let is_below =
        |key: &String| name == key || name.starts_with(&format!("{key}.")) || key.starts_with(&format!("{name}."));
    if all.iter().any(is_below) || name.starts_with("registry.") {
        return Ok(());
    }
    let near = bake_dockerfile::suggest(name, all.iter().map(String::as_str), true);
    let hint =
        near.map_or_else(|| "`bake config schema` lists all keys".to_owned(), |near| format!("did you mean `{near}`?"));
    Err(CommandError::usage(format!("there is no key `{name}`")).hint(hint))
}

fn full_name(key: &Key) -> String {
    let path = ValuePath { section: key.section, host: String::new(), key: key.name.clone(), name: String::new() };
    path.to_string()
}

fn show_files(arguments: &ConfigShowArguments) -> Result<(), CommandError> {
    let files = files(&arguments.directory);
    match arguments.format {
        ConfigFormat::Json => crate::print(&format!("{}\n", json!({ "files": files }))),
        ConfigFormat::Toml => {
            let mut text = String::new();
            for file in &files {
                let is_there = if file["found"] == true { "found" } else { "absent" };
                let field = |name: &str| file[name].as_str().unwrap_or_default();
                let _ = writeln!(text, "{:8} {is_there:7} {}", field("of"), field("path"));
            }
            crate::print(&text)
        }
    }
}

/// The files that are looked for, in the order in which they are put over each other.
fn files(directory: &Path) -> Vec<serde_json::Value> {
    let is_root = is_root();
    let projects: Vec<PathBuf> =
        search_directories(directory).iter().map(|directory| directory.join(PROJECT_FILE)).collect();
    // The nearest one holds; the others are not looked at.
    let nearest = projects.iter().position(|path| path.exists());
    let last = nearest.map_or(projects.len(), |nearest| nearest + 1);
    let of_project = projects.into_iter().take(last).map(|path| ("project", path));
    let others = settings::configuration_files(is_root);
    let is_named = settings::variable("BAKE_CONFIG").is_some();
    let others = others.into_iter().enumerate().map(|(index, file)| match (is_named, index) {
        (false, 0) => ("machine", file.path),
        _ => ("user", file.path),
    });
    let files = of_project.chain(others);
    files.map(|(of, path)| json!({ "of": of, "found": path.exists(), "path": path.display().to_string() })).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Everything that holds, defaults included.
fn effective(directory: &Path) -> Result<Values, CommandError> {
    let mut values = Values::default();
    for key in keys(&Section::ALL) {
        if let Some(value) = &key.default {
            let path =
                ValuePath { section: key.section, host: String::new(), key: key.name.clone(), name: String::new() };
            let entry = Entry { value: value.clone(), origin: Origin::Default, directory: PathBuf::new() };
            values.0.insert(path, entry);
        }
    }
    // Each section is that of the nearest file which has it.
    for section in [Section::Build, Section::Lint] {
        if let Some(project) = configuration::of_project(directory, &[section])? {
            values.put_over(project);
        }
    }
    values.put_over(configuration::of_files(is_root(), &Section::ALL)?);
    values.put_over(configuration::of_environment(&Section::ALL)?);
    values.put_over(of_lint_variables());
    configuration::check(&values)?;
    let said = Values(values.0.clone().into_iter().filter(|(_, entry)| entry.origin != Origin::Default).collect());
    defaults::check(&said)?;
    Ok(values)
}

/// What the variables of `bake lint` say; their values are judged by `bake lint`, whose flags they are.
fn of_lint_variables() -> Values {
    let mut values = Values::default();
    for key in keys(&[Section::Lint]) {
        let Some((name, text)) = key.variable.as_ref().and_then(|name| Some((name, settings::variable(name)?))) else {
            continue;
        };
        let value = match key.default {
            Some(Value::Boolean(_)) => {
                Value::Boolean(crate::lint_settings::YES.contains(&text.to_lowercase().as_str()))
            }
            _ if key.shape == crate::configuration::key::Shape::Texts => {
                Value::Array(text.split(',').map(Value::from).collect())
            }
            _ => Value::String(text),
        };
        let path =
            ValuePath { section: Section::Lint, host: String::new(), key: key.name.clone(), name: String::new() };
        let entry = Entry { value, origin: Origin::Environment(name.clone()), directory: PathBuf::new() };
        values.0.insert(path, entry);
    }
    values
}

/// A value without what must not be seen.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) if crate::build::failure::has_credentials(text) => WITHHELD.into(),
        Value::Array(list) => Value::Array(list.iter().map(shown).collect()),
        other => other.clone(),
    }
}

fn as_json(path: &ValuePath, entry: &Entry) -> serde_json::Value {
    let origin = match &entry.origin {
        Origin::Default => json!({ "kind": "default" }),
        Origin::File { path, line, column } => {
            json!({ "kind": "file", "path": &**path, "line": line, "column": column })
        }
        Origin::Environment(name) => json!({ "kind": "environment", "variable": name }),
    };
    json!({ "key": path.to_string(), "value": shown(&entry.value), "origin": origin })
}

/// The values as a file would say them, each with where it comes from.
fn as_toml(values: &Values) -> String {
    let mut text = String::new();
    let mut before = (Section::Top, String::new());
    for (path, entry) in &values.0 {
        let of = (path.section, path.host.clone());
        if of != before {
            let blank = if text.is_empty() { "" } else { "\n" };
            let host = if path.host.is_empty() { String::new() } else { format!(".{}", quoted(&path.host)) };
            let _ = writeln!(text, "{blank}[{}{host}]", path.section.name());
            before = of;
        }
        let name = if path.name.is_empty() { String::new() } else { format!(".{}", quoted(&path.name)) };
        let _ = writeln!(text, "{}{name} = {}  # {}", quoted(&path.key), shown(&entry.value), entry.origin);
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::configuration::document::{self, Owner};

    #[test]
    fn what_is_shown_is_a_file_that_says_the_same() {
        let text = "policy = \"/p\"\n[build]\nplatform = [\"linux/amd64\"]\njobs = 2\npull = true\n[build.build-arg]\n\"A.B\" = \"x\\ny\"\n\
                    [gc]\nenabled = false\n[lint.severity]\nsudo = \"error\"\n[registry.\"a.example:5000\"]\nca = [\"/c\"]\n\
                    [[registry.\"a.example:5000\".keypair]]\nkey = \"/k\"\ncert = \"/c\"\n";
        let read = |text: &str| document::read(text, "f", Path::new("/"), &Owner::User, &Section::ALL).unwrap();
        let values = read(text);
        let again = read(&as_toml(&values));
        let plain = |values: &Values| -> Vec<(String, String)> {
            values.0.iter().map(|(path, entry)| (path.to_string(), entry.value.to_string())).collect()
        };
        assert_eq!(plain(&values), plain(&again));
        assert!(as_toml(&values).contains("jobs = 2  # f:4\n"), "{}", as_toml(&values));
    }

    #[test]
    fn credentials_are_not_shown() {
        let value = Value::Array(vec!["type=s3,secret_access_key=x".into(), "type=inline".into()]);
        assert_eq!(shown(&value), Value::Array(vec![WITHHELD.into(), "type=inline".into()]));
    }
}
