//! `bake history ls` and `bake history rm`.

use std::path::{Path, PathBuf};

use bake::cli::{BuildsListArguments, BuildsRemoveArguments, RowFormat, duration};
use bake::error::CommandError;
use bake::ui::measure::seconds;
use bake_dockerfile::suggest;
use bake_oci::Timestamp;
use bake_report::{BuildResult, StepOutcome};
use serde::Serialize;

use super::super::table::{self, Table, json_lines, shortened};
use super::super::{age, listing};
use super::{Build, Past};
use crate::configuration::project::is_repository;
use crate::wiring::store_failed;

/// How much of a name fits into the table.
const NAME_LENGTH: usize = 50;

/// The names that filters have, with whether they are compared as text.
const FILTERS: [(&str, bool); 6] = [
    ("ref", true),
    ("name", true),
    ("status", true),
    ("startedAt", false),
    ("completedAt", false),
    ("duration", false),
];

/// What stands above the fields in a table by a template.
const HEADINGS: &[(&str, &str)] = &[
    ("Ref", "BUILD ID"),
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("CreatedAt", "CREATED AT"),
    ("Duration", "DURATION"),
    ("Steps", "STEPS"),
    ("Cached", "CACHED"),
    ("Completed", "COMPLETED"),
];

/// A build for templates.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    r#ref: String,
    name: String,
    status: &'static str,
    created_at: String,
    duration: String,
    steps: usize,
    cached: usize,
    completed: usize,
}

/// A build for programs, with the names that `docker buildx history ls` has.
#[derive(Debug, Serialize)]
struct JsonRow {
    r#ref: String,
    name: String,
    status: &'static str,
    created_at: String,
    completed_at: String,
    total_steps: usize,
    completed_steps: usize,
    cached_steps: usize,
}

pub(super) fn run(arguments: &BuildsListArguments, past: &Past) -> Result<(), CommandError> {
    let now = Timestamp::now();
    let filters = arguments.filter.iter().map(|text| Filter::parse(text, now)).collect::<Result<Vec<_>, _>>()?;
    let repository = if arguments.local { Some(repository()?) } else { None };
    let mut builds = past.all()?;
    builds.retain(|build| {
        filters.iter().all(|filter| filter.admits(build))
            && repository
                .as_ref()
                .is_none_or(|repository| Path::new(&build.record.request.context).starts_with(repository))
    });
    if arguments.quiet {
        return crate::print(&table::lines(builds.iter().map(|build| build.number.to_string())));
    }
    if arguments.format == RowFormat::Json {
        return crate::print(&json_lines(&builds.iter().map(json_row).collect::<Vec<_>>())?);
    }
    let rows: Vec<Row> = builds.iter().map(|build| row(build, arguments.no_trunc, now)).collect();
    let text = listing::render(&rows, HEADINGS, &arguments.format, || {
        let mut table = Table::new(&["BUILD ID", "NAME", "STATUS", "CREATED AT", "DURATION", "STEPS"]);
        for row in &rows {
            let steps = match (row.steps, row.cached) {
                (steps, 0) => steps.to_string(),
                (steps, cached) => format!("{steps} ({cached} cached)"),
            };
            let Row { r#ref, name, status, created_at, duration, .. } = row.clone();
            table.row([r#ref, name, status.to_owned(), created_at, duration, steps]);
        }
        table
    });
    crate::print(&text?)
}

pub(super) fn remove(arguments: &BuildsRemoveArguments, past: &Past) -> Result<(), CommandError> {
    let numbers: Vec<i64> = if arguments.all {
        past.all()?.iter().map(|build| build.number).collect()
    } else {
        // All are looked up before one is removed: `^1` means something else after that.
        let found = arguments.builds.iter().map(|wanted| past.find(Some(wanted)).map(|build| build.number));
        found.collect::<Result<_, _>>()?
    };
    let Some(store) = &past.store else { return Ok(()) };
    for number in numbers {
        store.remove_build(number).map_err(|error| store_failed(&error))?;
    }
    Ok(())
}

/// The word that buildx has for it.
pub(super) fn status(result: BuildResult) -> &'static str {
    match result {
        BuildResult::Succeeded => "Completed",
        BuildResult::Failed => "Error",
        BuildResult::Interrupted => "Canceled",
    }
}

fn row(build: &Build, full: bool, now: Timestamp) -> Row {
    let record = &build.record;
    let (cached, ran) = (record.count(StepOutcome::Cached), record.count(StepOutcome::Ran));
    let created = Timestamp::from_seconds(started_unix_s(build));
    Row {
        r#ref: build.number.to_string(),
        name: if full { record.name.clone() } else { shortened(&record.name, NAME_LENGTH) },
        status: status(record.result),
        created_at: if full { created.to_rfc3339() } else { age::ago(Some(created), now) },
        duration: seconds(std::time::Duration::from_millis(record.elapsed_ms)),
        steps: record.instructions().count(),
        cached,
        completed: cached + ran,
    }
}

fn json_row(build: &Build) -> JsonRow {
    let row = row(build, true, Timestamp::EPOCH);
    JsonRow {
        r#ref: row.r#ref,
        name: row.name,
        status: row.status,
        created_at: row.created_at,
        completed_at: Timestamp::from_seconds(build.ended_unix_s).to_rfc3339(),
        total_steps: row.steps,
        completed_steps: row.completed,
        cached_steps: row.cached,
    }
}

/// When a build began, in seconds since 1970. Of builds of earlier versions only the end is known.
pub(super) fn started_unix_s(build: &Build) -> i64 {
    let elapsed = i64::try_from(build.record.elapsed_ms / 1000).unwrap_or(0);
    match build.record.started_unix_ms {
        0 => build.ended_unix_s - elapsed,
        started => started.div_euclid(1000),
    }
}

/// The root of the git repository that the current directory is in.
fn repository() -> Result<PathBuf, CommandError> {
    let here = std::path::absolute(".")
        .map_err(|error| CommandError::usage(format!("cannot tell the current directory: {error}")))?;
    here.ancestors()
        .find(|directory| is_repository(directory))
        .map(Path::to_owned)
        .ok_or_else(|| CommandError::usage(format!("`--local`: `{}` is in no git repository", here.display())))
}

/// One `--filter`.
#[derive(Debug)]
struct Filter {
    name: &'static str,
    operator: Operator,
    value: FilterValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Contains,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
enum FilterValue {
    Text(String),
    /// Seconds since 1970, or of a duration in milliseconds.
    Number(i64),
}

impl Filter {
    fn parse(text: &str, now: Timestamp) -> Result<Self, CommandError> {
        let failed = |reason: &str| CommandError::usage(format!("`--filter {text}`: {reason}"));
        let end = text.find(['=', '!', '~', '<', '>']).unwrap_or(text.len());
        let (typed, rest) = text.split_at(end);
        // Longer operators first.
        let operators = [
            ("!=", Operator::Unequal),
            ("~=", Operator::Contains),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let found = operators.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
        let (operator, value) = found.ok_or_else(|| failed("expected NAME=VALUE, or another comparison"))?;
        let known = FILTERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(typed.trim()));
        let Some((name, is_text)) = known else {
            let error = failed(&format!("there is no filter `{}`", typed.trim()));
            let names = FILTERS.map(|(name, _)| name);
            return Err(match suggest(typed.trim(), names, true) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("the filters are {}", names.join(", "))),
            });
        };
        let value = value.trim();
        let number = |number: Option<i64>| {
            number.map(FilterValue::Number).ok_or_else(|| failed("expected a time or an age, such as `24h`"))
        };
        let value = match *name {
            "status" => FilterValue::Text(
                status_word(value).ok_or_else(|| failed("expected `completed`, `error` or `canceled`"))?.to_owned(),
            ),
            _ if *is_text => FilterValue::Text(value.to_owned()),
            "duration" => number(duration(value).ok().and_then(|time| i64::try_from(time.as_millis()).ok()))?,
            _ => match Timestamp::parse_rfc3339(value) {
                Ok(time) => FilterValue::Number(time.seconds),
                Err(_) => {
                    number(duration(value).ok().and_then(|age| Some(now.seconds - i64::try_from(age.as_secs()).ok()?)))?
                }
            },
        };
        let fits = match operator {
            Operator::Equal | Operator::Unequal => true,
            Operator::Contains => *is_text,
            _ => !*is_text,
        };
        if fits { Ok(Self { name, operator, value }) } else { Err(failed("this comparison has no meaning here")) }
    }

    fn admits(&self, build: &Build) -> bool {
        match &self.value {
            FilterValue::Text(wanted) => {
                let text = match self.name {
                    "ref" => build.number.to_string(),
                    "name" => build.record.name.clone(),
                    _ => status(build.record.result).to_lowercase(),
                };
                match self.operator {
                    Operator::Contains => text.contains(wanted.as_str()),
                    Operator::Unequal => text != *wanted,
                    _ => text == *wanted,
                }
            }
            FilterValue::Number(wanted) => {
                let number = match self.name {
                    "duration" => i64::try_from(build.record.elapsed_ms).unwrap_or(i64::MAX),
                    "startedAt" => started_unix_s(build),
                    _ => build.ended_unix_s,
                };
                match self.operator {
                    Operator::Equal | Operator::Contains => number == *wanted,
                    Operator::Unequal => number != *wanted,
                    Operator::Less => number < *wanted,
                    Operator::LessOrEqual => number <= *wanted,
                    Operator::Greater => number > *wanted,
                    Operator::GreaterOrEqual => number >= *wanted,
                }
            }
        }
    }
}

/// What a status is compared with; the words of `bake why --list` mean the same.
fn status_word(text: &str) -> Option<&'static str> {
    match text.to_lowercase().as_str() {
        "completed" | "succeeded" => Some("completed"),
        "error" | "failed" => Some("error"),
        "canceled" | "cancelled" | "interrupted" => Some("canceled"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_report::BuildRecord;

    use super::*;

    fn build(number: i64, name: &str, result: BuildResult, started_unix_s: i64, elapsed_ms: u64) -> Build {
        let record = BuildRecord {
            name: name.into(),
            result,
            elapsed_ms,
            started_unix_ms: started_unix_s * 1000,
            ..BuildRecord::default()
        };
        Build { number, ended_unix_s: started_unix_s + 60, record }
    }

    #[test]
    fn filters_compare() {
        let now = Timestamp::from_seconds(100_000);
        let builds = [
            build(1, "app:1", BuildResult::Succeeded, 1000, 500),
            build(2, "app:2", BuildResult::Failed, 90_000, 90_000),
            build(3, "other", BuildResult::Interrupted, 99_000, 60_000),
        ];
        let admitted = |text: &str| {
            let filter = Filter::parse(text, now).unwrap();
            builds.iter().filter(|build| filter.admits(build)).map(|build| build.number).collect::<Vec<_>>()
        };
        for (text, expected) in [
            ("status=error", &[2][..]),
            ("status!=completed", &[2, 3]),
            ("status=failed", &[2]),
            ("name~=app", &[1, 2]),
            ("NAME=other", &[3]),
            ("ref=1", &[1]),
            ("duration>1m", &[2]),
            ("duration>=1m", &[2, 3]),
            ("startedAt>1h", &[3]),
            ("completedAt<1970-01-01T01:00:00Z", &[1]),
        ] {
            assert_eq!(admitted(text), expected, "{text}");
        }
        for text in ["status=running", "nam=x", "name", "name>x", "duration~=1", "startedAt=tomorrow", "duration=x"] {
            assert_eq!(Filter::parse(text, now).unwrap_err().kind(), bake::error::ErrorKind::Usage, "{text}");
        }
    }
}
