//! `bake prune`.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use bake::cli::{Assignment, PruneArguments, duration};
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_store::{ItemKind, PruneFilter, PruneOptions, PruneReport};

use super::table::{Table, shortened};
use super::transfer::say;
use crate::wiring::{Host, store_failed};

/// Without `--all` the cache of builds within this time stays: the next build is likely to use it.
const RECENT: Duration = Duration::from_hours(48);
/// How much of a description fits into the table.
const DESCRIPTION_LENGTH: usize = 60;

pub(crate) fn run(arguments: &PruneArguments, host: &Host) -> Result<(), CommandError> {
    let passes = passes(arguments)?;
    if !arguments.force && !confirmed(arguments)? {
        say("nothing was removed");
        return Ok(());
    }
    let mut report = PruneReport::default();
    for options in &passes {
        let part = host.store.prune(options).map_err(|error| store_failed(&error))?;
        report.removed.extend(part.removed);
        report.freed_bytes += part.freed_bytes;
        report.left_bytes = part.left_bytes;
    }
    if !report.removed.is_empty() {
        let mut table = Table::new(&["TYPE", "ID", "SIZE", "DESCRIPTION"]);
        for item in &report.removed {
            let id = item.id.strip_prefix("sha256:").unwrap_or(&item.id);
            let id = id.chars().take(19).collect();
            let description = shortened(&item.description, DESCRIPTION_LENGTH);
            table.row([item.kind.name().to_owned(), id, size(item.size_bytes), description]);
        }
        crate::print(&table.render())?;
    }
    crate::print(&format!("Total reclaimed space: {}\n", size(report.freed_bytes)))?;
    if passes.len() > 1 && report.removed.is_empty() && report.left_bytes > 0 {
        say("`bake prune --all` also removes the cache of recent builds");
    }
    Ok(())
}

/// What is to be removed. Without a goal and without `--all`, images without a name go at once and the cache of builds when
/// it was not used for a while, so there are two passes.
fn passes(arguments: &PruneArguments) -> Result<Vec<PruneOptions>, CommandError> {
    let mut options = PruneOptions {
        all: arguments.all,
        keep_duration: arguments.keep_duration,
        max_used_bytes: arguments.max_used_space,
        ..PruneOptions::default()
    };
    for filter in &arguments.filter {
        apply(filter, &mut options)?;
    }
    let says_what = !options.filters.is_empty() || options.keep_duration.is_some() || options.max_used_bytes.is_some();
    if arguments.all || says_what {
        return Ok(vec![options]);
    }
    let of_kinds = |kinds: &[ItemKind]| PruneFilter::Kind(kinds.to_vec());
    let cache = [ItemKind::Snapshot, ItemKind::CacheRecord, ItemKind::CacheMount, ItemKind::FileHashes];
    Ok(vec![
        PruneOptions { filters: vec![of_kinds(&[ItemKind::Blob])], ..options.clone() },
        PruneOptions { filters: vec![of_kinds(&cache)], keep_duration: Some(RECENT), ..options },
    ])
}

fn apply(filter: &Assignment, options: &mut PruneOptions) -> Result<(), CommandError> {
    let value = filter.value.as_deref().unwrap_or_default();
    match filter.name.as_str() {
        "until" | "unused-for" => {
            let time = duration(value).map_err(|problem| {
                CommandError::usage(format!("the filter `{}={value}` cannot be used: {problem}", filter.name))
            })?;
            options.keep_duration = Some(time);
        }
        "id" => options.filters.push(PruneFilter::Id(value.to_owned())),
        "description" => options.filters.push(PruneFilter::Description(value.to_owned())),
        "type" => {
            let kinds =
                [ItemKind::Blob, ItemKind::Snapshot, ItemKind::CacheRecord, ItemKind::CacheMount, ItemKind::FileHashes];
            let name = if value == "exec.cachemount" { "cachemount" } else { value };
            let kind = kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                CommandError::usage(format!("there is no type `{value}`"))
                    .hint(format!("the types are {}", names.join(", ")))
            })?;
            options.filters.push(PruneFilter::Kind(vec![kind]));
        }
        other => {
            return Err(CommandError::usage(format!("there is no filter `{other}`"))
                .hint("the filters are until, id, type and description"));
        }
    }
    Ok(())
}

fn confirmed(arguments: &PruneArguments) -> Result<bool, CommandError> {
    let mut text = "WARNING! This will remove:\n  - images without a name\n".to_owned();
    text.push_str(if arguments.all {
        "  - the whole build cache, and unpacked layers that can be unpacked again\n"
    } else {
        "  - build cache that was not used recently\n"
    });
    text.push_str("\nAre you sure you want to continue? [y/N] ");
    let _ = std::io::stderr().write_all(text.as_bytes());
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| CommandError::input(format!("cannot read the answer from standard input: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn arguments(all: bool, filters: &[(&str, &str)]) -> PruneArguments {
        let assignment =
            |(name, value): &(&str, &str)| Assignment { name: (*name).to_owned(), value: Some((*value).to_owned()) };
        PruneArguments {
            all,
            force: true,
            filter: filters.iter().map(assignment).collect(),
            max_used_space: None,
            keep_duration: None,
        }
    }

    #[test]
    fn recent_cache_stays_unless_something_else_is_said() {
        let plain = passes(&arguments(false, &[])).unwrap();
        assert_eq!((plain.len(), plain[0].keep_duration, plain[1].keep_duration), (2, None, Some(RECENT)));
        let all = passes(&arguments(true, &[])).unwrap();
        assert_eq!(all, [PruneOptions { all: true, ..PruneOptions::default() }]);
        let until = passes(&arguments(false, &[("until", "24h"), ("type", "exec.cachemount")])).unwrap();
        assert_eq!(until.len(), 1);
        assert_eq!(until[0].keep_duration, Some(Duration::from_hours(24)));
        assert_eq!(until[0].filters, [PruneFilter::Kind(vec![ItemKind::CacheMount])]);
    }

    #[test]
    fn unknown_filters_are_refused() {
        for filter in [("label", "a"), ("until", "soon"), ("type", "oven")] {
            assert!(passes(&arguments(false, &[filter])).is_err(), "{filter:?}");
        }
    }
}
