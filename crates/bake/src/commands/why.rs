//! `bake why`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bake::cli::{ListFormat, WhyArguments};
use bake::error::CommandError;
use bake::ui::measure::seconds;
use bake::ui::sanitize::sanitize_line;
use bake::ui::why::{ago, short_reason};
use bake_oci::DefinitionDigest;
use bake_report::{BuildRecord, StepKind, StepOutcome, StepRecord, reused};
use bake_solver::{Change, Difference, Explanation, Untraced};
use bake_store::JournalEntry;
use serde::Serialize;

use super::builds;
use super::table::{Table, json_lines};
use crate::wiring::{Host, store_failed};

/// Where the steps of a build are.
pub(super) const ALL_STEPS: &str = "`bake why --all` lists the steps of the build";

/// How many changed files are listed unless all are asked for.
const FILES_LISTED: usize = 20;

/// A build with its number.
#[derive(Debug, Serialize)]
pub(super) struct Build {
    #[serde(rename = "build")]
    pub(super) number: i64,
    pub(super) ended_unix_s: i64,
    #[serde(flatten)]
    pub(super) entry: BuildRecord,
}

pub(crate) fn run(arguments: &WhyArguments, host: &Host) -> Result<(), CommandError> {
    let now = SystemTime::now();
    if arguments.list {
        let entries = host.store.journal().map_err(|error| store_failed(&error))?;
        return crate::print(&list(entries.into_iter().filter_map(build).collect(), arguments.format, now)?);
    }
    let build = find_build(host, arguments.build)?;
    let text = match (&arguments.step, arguments.format) {
        (None, ListFormat::Json) => json_lines(&[build])?,
        (None, ListFormat::Table) => table(&build, arguments.all, now),
        (Some(wanted), format) => {
            let mut step = find(&build.entry.steps, wanted, ALL_STEPS)?.clone();
            if step.outcome == StepOutcome::Cached && step.made_unix_s.is_none() {
                step.made_unix_s = last_made(host, &step)?;
            }
            match format {
                ListFormat::Json => json_lines(&[step])?,
                ListFormat::Table => details(&step, arguments.all, now),
            }
        }
    };
    crate::print(&text)
}

/// The build with a number, or the last one.
pub(super) fn find_build(host: &Host, number: Option<i64>) -> Result<Build, CommandError> {
    let entry = host.store.journal_entry(number).map_err(|error| store_failed(&error))?;
    entry.and_then(build).ok_or_else(|| match number {
        Some(number) => CommandError::build(format!("there is no build {number}"))
            .hint("`bake why --list` shows the builds that are still known"),
        None => CommandError::build("nothing was built in this store yet"),
    })
}

/// A build with the steps of its Dockerfiles alone; `None` if it cannot be read.
pub(super) fn build(entry: JournalEntry) -> Option<Build> {
    let builds::Build { number, ended_unix_s, record: mut entry } = builds::read(entry)?;
    // What is no step of the Dockerfile comes from no cache.
    let mut next = 0..;
    let is_step = |step: &StepRecord| step.kind == StepKind::Instruction;
    let places: Vec<Option<usize>> =
        entry.steps.iter().map(|step| if is_step(step) { next.next() } else { None }).collect();
    entry.steps.retain(is_step);
    for step in &mut entry.steps {
        step.inputs = step.inputs.iter().filter_map(|input| *places.get(*input)?).collect();
    }
    Some(Build { number, ended_unix_s, entry })
}

/// When the newest result of a step was made; a failed build does not say which one it used.
fn last_made(host: &Host, step: &StepRecord) -> Result<Option<i64>, CommandError> {
    let Some(definition) = DefinitionDigest::from_hex(&step.definition) else { return Ok(None) };
    let records = host.store.past_records(&definition, "", "", &|_| false).map_err(|error| store_failed(&error))?;
    Ok(records.first().map(|record| record.created_unix_s))
}

fn list(builds: Vec<Build>, format: ListFormat, now: SystemTime) -> Result<String, CommandError> {
    if format == ListFormat::Json {
        return json_lines(&builds);
    }
    let mut table = Table::new(&["BUILD", "ENDED", "RESULT", "TIME", "STEPS", "NAME"]);
    for Build { number, ended_unix_s, entry } in builds {
        let time = seconds(Duration::from_millis(entry.elapsed_ms));
        let steps = counts(entry.steps.iter());
        table.row([
            number.to_string(),
            ago(ended_unix_s, now),
            entry.result.name().to_owned(),
            time,
            steps,
            entry.name,
        ]);
    }
    Ok(table.render())
}

/// How many steps came to what.
pub(super) fn counts<'a>(steps: impl Iterator<Item = &'a StepRecord>) -> String {
    let outcomes: Vec<StepOutcome> = steps.map(|step| step.outcome).collect();
    let of = |wanted: StepOutcome| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let parts: Vec<String> = [
        (StepOutcome::Ran, "ran"),
        (StepOutcome::Failed, "failed"),
        (StepOutcome::Cached, "cached"),
        (StepOutcome::NotReached, "not reached"),
    ]
    .into_iter()
    .filter(|(outcome, _)| of(*outcome) > 0)
    .map(|(outcome, word)| format!("{} {word}", of(outcome)))
    .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// The steps of a build that ran, or all of them.
fn table(build: &Build, all: bool, now: SystemTime) -> String {
    let entry = &build.entry;
    let mut text = format!(
        "build {} of {} {} {} in {}; steps: {}\n",
        build.number,
        sanitize_line(&entry.name),
        entry.result.name(),
        ago(build.ended_unix_s, now),
        seconds(Duration::from_millis(entry.elapsed_ms)),
        counts(entry.steps.iter()),
    );
    let mut steps: Vec<&StepRecord> = entry
        .steps
        .iter()
        .filter(|step| all || matches!(step.outcome, StepOutcome::Ran | StepOutcome::Failed))
        .collect();
    if steps.is_empty() {
        return text;
    }
    steps.sort_by_key(|step| step.number.unwrap_or(usize::MAX));
    let mut table = Table::new(&["STEP", "TIME", "NAME", "WHY"]);
    for step in steps {
        let number = step.number.map_or_else(|| "-".to_owned(), |number| format!("#{number}"));
        let time = match step.outcome {
            StepOutcome::NotReached => "-".to_owned(),
            _ => seconds(Duration::from_millis(step.elapsed_ms)),
        };
        table.row([number, time, step.name.clone(), why(step, now)]);
    }
    text.push_str(&table.render());
    text
}

fn why(step: &StepRecord, now: SystemTime) -> String {
    if let Some(trace) = step.trace.as_ref().filter(|trace| trace.reused) {
        let made = step.made_unix_s.map_or_else(String::new, |made| format!(", made {}", ago(made, now)));
        return format!("{}{made}", reused(trace.paths));
    }
    match (step.outcome, &step.explanation, step.made_unix_s) {
        (StepOutcome::Cached, _, Some(made)) => format!("cached, made {}", ago(made, now)),
        (StepOutcome::Cached, ..) => "cached".to_owned(),
        (StepOutcome::NotReached, ..) => "not reached".to_owned(),
        (_, Some(explanation), _) => short_reason(explanation, now),
        (_, None, _) => String::new(),
    }
}

/// The step with a number or a text; `hint` says where all of them are.
pub(super) fn find<'a>(steps: &'a [StepRecord], wanted: &str, hint: &str) -> Result<&'a StepRecord, CommandError> {
    if let Ok(number) = wanted.trim_start_matches('#').parse::<usize>() {
        return steps
            .iter()
            .find(|step| step.number == Some(number))
            .ok_or_else(|| CommandError::input(format!("the build has no step #{number}")).hint(hint));
    }
    let needle = wanted.to_lowercase();
    let found: Vec<&StepRecord> = steps.iter().filter(|step| step.name.to_lowercase().contains(&needle)).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => {
            let wanted = sanitize_line(wanted);
            Err(CommandError::input(format!("no step of the build contains `{wanted}`")).hint(hint))
        }
        several => {
            let name = |step: &&StepRecord| {
                let number = step.number.map_or_else(String::new, |number| format!("#{number} "));
                format!("{number}{}", sanitize_line(&step.name))
            };
            let names: Vec<String> = several.iter().map(name).collect();
            Err(CommandError::input(format!("several steps contain `{}`", sanitize_line(wanted))).hints(names))
        }
    }
}

/// Everything that is known of a step.
fn details(step: &StepRecord, all: bool, now: SystemTime) -> String {
    let name = sanitize_line(&step.name);
    let number = step.number.map_or_else(String::new, |number| format!("#{number} "));
    let time = seconds(Duration::from_millis(step.elapsed_ms));
    let mut text = match step.outcome {
        StepOutcome::Ran => format!("{number}{name} ran in {time}\n"),
        StepOutcome::Failed => format!("{number}{name} failed after {time}\n"),
        StepOutcome::NotReached => format!("{number}{name} was not reached: the build ended before\n"),
        StepOutcome::Cached => match step.made_unix_s {
            Some(made) => format!("{number}{name} was cached; its result was made {}\n", ago(made, now)),
            None => format!("{number}{name} was cached\n"),
        },
    };
    if let Some(explanation) = &step.explanation {
        explain(&mut text, explanation, all, now);
    }
    text.push_str(&reads(step));
    text
}

/// What is known of that which a step read, on one line.
fn reads(step: &StepRecord) -> String {
    let listed = step.number.map_or_else(String::new, |number| format!(" (`bake trace {number}` lists them)"));
    match (&step.trace, step.untraced) {
        (Some(trace), _) if trace.reused => format!("{}{listed}\n", reused(trace.paths)),
        (Some(trace), _) => match trace.paths {
            0 => "it read none of the files that were copied for it\n".to_owned(),
            1 => format!("it read one path of what was copied for it{listed}\n"),
            paths => format!("it read {paths} paths of what was copied for it{listed}\n"),
        },
        (None, None | Some(Untraced::NothingCopied)) => String::new(),
        (None, Some(why)) => format!("what it read was not recorded: {why}\n"),
    }
}

fn explain(text: &mut String, explanation: &Explanation, all: bool, now: SystemTime) {
    // Writing to a string cannot fail, here and below.
    if let Some(nearest) = &explanation.nearest {
        let key: String = nearest.key.chars().take(12).collect();
        let step = sanitize_line(&nearest.step);
        let _ = writeln!(text, "compared with `{step}`, made {} (key {key})", ago(nearest.made_unix_s, now));
        if let Some(evicted) = &nearest.evicted {
            let by = sanitize_line(&evicted.by);
            let _ = writeln!(text, "that result was removed by {by} {}", ago(evicted.at_unix_s, now));
        }
    }
    for difference in &explanation.differences {
        one(text, difference, all);
    }
}

fn one(text: &mut String, difference: &Difference, all: bool) {
    match difference {
        Difference::Files { of, changes, count } => {
            let files = if *count == 1 { "file" } else { "files" };
            let _ = writeln!(text, "  {count} {files} of {} changed:", sanitize_line(of));
            let shown = if all { changes.len() } else { changes.len().min(FILES_LISTED) };
            for change in changes.iter().take(shown) {
                let _ = writeln!(text, "    {} {}", sanitize_line(&change.path), change.how);
            }
            listed(text, *count, shown, changes.len());
        }
        Difference::Read { changes, count } => {
            let paths = if *count == 1 { "path" } else { "paths" };
            let _ = writeln!(text, "  {count} {paths} that it read:");
            let shown = if all { changes.len() } else { changes.len().min(FILES_LISTED) };
            for change in changes.iter().take(shown) {
                let _ = writeln!(text, "    {} {}", sanitize_line(&change.path), change.how);
            }
            listed(text, *count, shown, changes.len());
        }
        Difference::Command(change)
        | Difference::BuildArg(change)
        | Difference::Variable(change)
        | Difference::Setting(change) => {
            let Change { name, how, from, to } = change;
            let what = match difference {
                Difference::Command(_) => "the ",
                Difference::BuildArg(_) => "build argument ",
                Difference::Variable(_) => "variable ",
                _ => "",
            };
            let _ = writeln!(text, "  {what}{} {how}", sanitize_line(name));
            for (word, value) in [("from", from), ("to", to)] {
                if let Some(value) = value {
                    let _ = writeln!(text, "    {word:<4} {}", sanitize_line(value));
                }
            }
        }
        Difference::BaseImage { reference, from, to } => {
            let _ = writeln!(text, "  image {} changed", sanitize_line(reference));
            if let Some(from) = from {
                let _ = writeln!(text, "    from {}", sanitize_line(from));
            }
            let _ = writeln!(text, "    to   {}", sanitize_line(to));
        }
        Difference::Step { step, cause } => {
            let _ = writeln!(text, "  `{}` left other files", sanitize_line(step));
            if let Some(cause) = cause {
                let cause_step = sanitize_line(&cause.step);
                let _ = writeln!(
                    text,
                    "  that began with `{cause_step}`: {}",
                    sanitize_line(&cause.difference.to_string())
                );
            }
        }
        Difference::CacheIgnored
        | Difference::NeverBuilt
        | Difference::Evicted
        | Difference::Unusable
        | Difference::Content { .. } => {
            let _ = writeln!(text, "  {}", sanitize_line(&difference.to_string()));
        }
    }
}

/// How many of `count` are not shown, and whether they could be.
fn listed(text: &mut String, count: usize, shown: usize, known: usize) {
    match count - shown {
        0 => {}
        left if shown < known => {
            let _ = writeln!(text, "    and {left} more (`--all` lists them)");
        }
        left => {
            let _ = writeln!(text, "    and {left} more");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_solver::{Cause, FileChange, How, NearestRecord};

    use super::*;

    fn step(number: usize, name: &str, outcome: StepOutcome) -> StepRecord {
        StepRecord { number: Some(number), name: name.into(), outcome, elapsed_ms: 1500, ..StepRecord::default() }
    }

    #[test]
    fn steps_are_found_by_number_and_by_text() {
        let steps = [step(2, "[1/3] RUN npm ci", StepOutcome::Ran), step(3, "[2/3] RUN npm test", StepOutcome::Ran)];
        assert_eq!(find(&steps, "#3", "").unwrap().number, Some(3));
        assert_eq!(find(&steps, "2", "").unwrap().number, Some(2));
        assert_eq!(find(&steps, "NPM CI", "").unwrap().number, Some(2));
        assert!(find(&steps, "npm", "").unwrap_err().message().contains("several steps"));
        assert!(find(&steps, "make", "").is_err() && find(&steps, "9", "").is_err());
    }

    #[test]
    fn everything_that_differs_is_told() {
        let mut ran = step(2, "COPY . .", StepOutcome::Ran);
        let change = |number: usize| FileChange { path: format!("f{number}"), how: How::Changed };
        ran.explanation = Some(Explanation {
            nearest: Some(NearestRecord {
                step: "COPY . .".into(),
                key: "0123456789abcdef".into(),
                made_unix_s: 0,
                evicted: None,
            }),
            differences: vec![
                Difference::Files { of: "the build context".into(), changes: (0..22).map(change).collect(), count: 30 },
                Difference::Step {
                    step: "RUN b".into(),
                    cause: Some(Cause { step: "RUN a".into(), difference: Box::new(Difference::CacheIgnored) }),
                },
            ],
        });
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(10);
        let text = details(&ran, false, now);
        assert!(text.starts_with(
            "#2 COPY . . ran in 1.5s\ncompared with `COPY . .`, made 10 min ago (key 0123456789ab)\n  30 files of the build context changed:\n    f0 changed\n"
        ), "{text}");
        assert!(text.contains("    f19 changed\n    and 10 more (`--all` lists them)\n"), "{text}");
        assert!(
            text.ends_with("  `RUN b` left other files\n  that began with `RUN a`: the cache was not to be used\n"),
            "{text}"
        );
        let text = details(&ran, true, now);
        assert!(text.contains("    f21 changed\n    and 8 more\n"), "{text}");
    }
}
