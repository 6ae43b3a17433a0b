//! From the text of a file to values: unknown keys, wrong values and what a project may not say are errors with their place.

use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::key::{Key, Section, Setter, Shape, keys};
use super::project::Project;
use super::values::{Entry, Origin, ValuePath, Values};
use super::{Configuration, Problem};
use crate::lint_settings::LintSettings;
use crate::registries::section::{RegistrySection, is_host};

/// The key by which editors find the schema; it changes nothing.
const SCHEMA_KEY: &str = "$schema";

/// Whose file it is.
#[derive(Debug, Clone)]
pub(crate) enum Owner {
    /// The machine's or the user's.
    User,
    /// A project's.
    Project(Project),
}

/// A file that is read.
struct Document<'a> {
    text: &'a str,
    /// As messages call it.
    name: Arc<str>,
    directory: &'a Path,
    owner: &'a Owner,
    keys: Vec<Key>,
    values: Values,
}

/// Reads the sections `wanted` of a file; the others are left alone, but have to be sections that there are. `name` is what messages
/// call the file.
///
/// # Errors
/// The text is no TOML, has a section or key that there is not, or a value that the key does not have.
pub(crate) fn read(
    text: &str,
    name: &str,
    directory: &Path,
    owner: &Owner,
    wanted: &[Section],
) -> Result<Values, Problem> {
    let table = crate::toml_text::parse_document(text)?;
    // The same once more, with places. It cannot fail where the other did not.
    let places = DeTable::parse(text).map_err(|error| Problem::new(error.message()))?;
    // The table of `[build]` takes building the whole definition of that command.
    let used: Vec<Section> = wanted
        .iter()
        .copied()
        .filter(|section| *section == Section::Top || table.contains_key(section.name()))
        .collect();
    let mut document =
        Document { text, name: name.into(), directory, owner, keys: keys(&used), values: Values::default() };
    document.read(&table, places.get_ref(), wanted)?;
    Ok(document.values)
}

/// Reads a file of which all is one section.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_section(
    text: &str,
    name: &str,
    directory: &Path,
    owner: &Owner,
    section: Section,
) -> Result<Values, Problem> {
    let table = crate::toml_text::parse_document(text)?;
    let places = DeTable::parse(text).map_err(|error| Problem::new(error.message()))?;
    let keys = keys(&[section]);
    let mut document = Document { text, name: name.into(), directory, owner, keys, values: Values::default() };
    document.section(section, "", &table, places.get_ref(), &[])?;
    Ok(document.values)
}

impl Document<'_> {
    fn read(&mut self, table: &Table, places: &DeTable<'_>, wanted: &[Section]) -> Result<(), Problem> {
        for (name, value) in table {
            let path = [name.as_str()];
            let section = Section::ALL.into_iter().find(|section| section.name() == name);
            match (section, value) {
                (Some(section), Value::Table(_))
                    if matches!(self.owner, Owner::Project(_)) && Section::OF_MACHINE.contains(&section) =>
                {
                    let problem = format!("`[{name}]` is about the machine: a project's file cannot set it");
                    return Err(self.at(Problem::with_hint(problem, Some(OF_MACHINE_HINT.to_owned())), places, &path));
                }
                (Some(section), Value::Table(table)) if wanted.contains(&section) => match section {
                    Section::Registry => self.registries(table, places)?,
                    _ => self.section(section, "", table, places, &[name])?,
                },
                (Some(_), Value::Table(_)) => {}
                (Some(section), _) => {
                    let written = match section {
                        Section::Registry => "[registry.\"host\"]".to_owned(),
                        _ => format!("[{name}]"),
                    };
                    let problem = Problem::new(format!("`{name}` is a section, written `{written}`"));
                    return Err(self.at(problem, places, &path));
                }
                (None, Value::String(_)) if name == SCHEMA_KEY => {}
                (None, _) => self.top(name, value, places, wanted)?,
            }
        }
        Ok(())
    }

    /// A key before the first section.
    fn top(&mut self, name: &str, value: &Value, places: &DeTable<'_>, wanted: &[Section]) -> Result<(), Problem> {
        let known = keys(&[Section::Top]);
        if !known.iter().any(|key| key.name == name) {
            let names: Vec<&str> =
                Section::ALL.iter().map(|section| section.name()).filter(|name| !name.is_empty()).collect();
            let names = [names, known.iter().map(|key| key.name.as_str()).collect()].concat();
            let what = if value.is_table() { "section" } else { "key" };
            return Err(self.at(Problem::unknown(what, name, "", &names), places, &[name]));
        }
        // Where only projects' sections are read, it is a project's file that has no business with this.
        if wanted.contains(&Section::Top) || matches!(self.owner, Owner::Project(_)) {
            let key = known.into_iter().find(|key| key.name == name);
            let key = key.ok_or_else(|| Problem::new(format!("there is no key `{name}`")))?;
            self.value(&key, "", value, places, &[name])?;
        }
        Ok(())
    }

    fn registries(&mut self, table: &Table, places: &DeTable<'_>) -> Result<(), Problem> {
        for (host, value) in table {
            let path = [Section::Registry.name(), host.as_str()];
            let Value::Table(section) = value else {
                let example = r#"registries are sections, written `[registry."host:port"]`"#;
                return Err(self.at(Problem::new(format!("`registry.{host}`: {example}")), places, &path));
            };
            if !is_host(host) {
                let problem = format!("`registry.\"{host}\"`: expected `host` or `host:port`, without scheme and path");
                return Err(self.at(Problem::new(problem), places, &path));
            }
            self.section(Section::Registry, host, section, places, &path)?;
        }
        Ok(())
    }

    /// A section, which `at` leads to.
    fn section(
        &mut self,
        section: Section,
        host: &str,
        table: &Table,
        places: &DeTable<'_>,
        at: &[&str],
    ) -> Result<(), Problem> {
        for (name, value) in table {
            let path = [at, &[name.as_str()]].concat();
            let Some(key) = self.keys.iter().find(|key| key.section == section && key.name == *name).cloned() else {
                let known: Vec<&str> =
                    self.keys.iter().filter(|key| key.section == section).map(|key| key.name.as_str()).collect();
                let place = match section {
                    Section::Registry => format!(" in section `registry.\"{host}\"`"),
                    _ => format!(" in section `{}`", section.name()),
                };
                return Err(self.at(Problem::unknown("key", name, &place, &known), places, &path));
            };
            self.value(&key, host, value, places, &path)?;
        }
        Ok(())
    }

    /// The value of a known key.
    fn value(
        &mut self,
        key: &Key,
        host: &str,
        value: &Value,
        places: &DeTable<'_>,
        path: &[&str],
    ) -> Result<(), Problem> {
        let of_key = |name: &str| ValuePath {
            section: key.section,
            host: host.to_ascii_lowercase(),
            key: key.name.clone(),
            name: name.to_owned(),
        };
        if !key.shape.holds(value) {
            let problem = Problem::new(format!("`{}`: expected {}", of_key(""), key.shape.expected()));
            return Err(self.at(problem, places, path));
        }
        let (Shape::Table(shape), Value::Table(table)) = (&key.shape, value) else {
            return self.insert(key, of_key(""), value, places, path);
        };
        for (name, value) in table {
            let path = [path, &[name.as_str()]].concat();
            if !shape.holds(value) {
                let problem = Problem::new(format!("`{}`: expected {}", of_key(name), shape.expected()));
                return Err(self.at(problem, places, &path));
            }
            self.insert(key, of_key(name), value, places, &path)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        key: &Key,
        of_key: ValuePath,
        value: &Value,
        places: &DeTable<'_>,
        path: &[&str],
    ) -> Result<(), Problem> {
        let value = match self.owner {
            Owner::User => value.clone(),
            Owner::Project(project) => key.project.admit(value, project).map_err(|problem| {
                let problem = Problem::with_hint(format!("`{of_key}`: {problem}"), Some(belongs(key)));
                self.at(problem, places, path)
            })?,
        };
        judge(key, &of_key, &value, self.directory).map_err(|problem| self.at(problem, places, path))?;
        let (line, column) = place(self.text, places, path).unwrap_or((1, 1));
        let origin = Origin::File { path: Arc::clone(&self.name), line, column };
        self.values.0.insert(of_key, Entry { value, origin, directory: self.directory.to_owned() });
        Ok(())
    }

    fn at(&self, problem: Problem, places: &DeTable<'_>, path: &[&str]) -> Problem {
        Problem { place: place(self.text, places, path), ..problem }
    }
}

/// Where what is about the machine is said.
const OF_MACHINE_HINT: &str = "put it into a file that `bake config files` calls that of the machine or user";

/// Where what a project may not say is said.
fn belongs(key: &Key) -> String {
    match &key.variable {
        Some(variable) if key.section == Section::Build => format!(
            "it is for whoever builds: type `--{}`, set `{variable}`, or put it into a file that `bake config files` calls that of the user",
            key.name
        ),
        _ => OF_MACHINE_HINT.to_owned(),
    }
}

/// Whether the settings take a value.
pub(crate) fn judge(key: &Key, path: &ValuePath, value: &Value, directory: &Path) -> Result<(), Problem> {
    let wrong = |problem: String| Problem::new(format!("`{path}`: {problem}"));
    match key.setter {
        Setter::Machine(set) => set(&mut Configuration::default(), value).map_err(wrong),
        Setter::Registry(set) => set(&mut RegistrySection::default(), value).map_err(wrong),
        Setter::Lint(set) => {
            let mut settings = LintSettings::default();
            set(&mut settings, &path.name, value, directory).map_err(wrong)?;
            settings.check_names().map_err(|(problem, hint)| Problem::with_hint(problem, hint))
        }
        // Flags are judged by the command line, all of them together.
        Setter::Flag => Ok(()),
    }
}

/// Line and column of the key or section that a path leads to, counted from 1.
fn place(text: &str, places: &DeTable<'_>, path: &[&str]) -> Option<(usize, usize)> {
    let mut table = places;
    let mut offset = None;
    for name in path {
        let (key, value): (&Spanned<_>, &Spanned<DeValue<'_>>) = table.get_key_value(*name)?;
        offset = Some(key.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    position(text, offset?)
}

/// Line and column of an offset in bytes; columns count characters.
pub(crate) fn position(text: &str, offset: usize) -> Option<(usize, usize)> {
    let before = text.get(..offset)?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
}

/// The settings of the linter that values come to.
pub(crate) fn lint_settings(values: &Values, keys: &[Key]) -> Result<LintSettings, Problem> {
    let mut settings = LintSettings::default();
    for (path, entry) in values.of(Section::Lint) {
        if let Some(Setter::Lint(set)) = keys.iter().find(|key| key.name == path.key).map(|key| key.setter) {
            set(&mut settings, &path.name, &entry.value, &entry.directory)
                .map_err(|problem| Problem::new(format!("`{path}`: {problem}")))?;
        }
    }
    Ok(settings)
}
