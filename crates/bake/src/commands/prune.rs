//! `bake prune`.

use std::io::IsTerminal as _;
use std::time::Duration;

use bake::cli::{Comparison, PruneArguments, StoreFilter, duration};
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_store::{ItemKind, Need, PruneFilter, PruneOptions, PruneReport, Store, StoreItem};
use regex::Regex;

use super::table::{Table, shortened};
use super::transfer::say;
use crate::question::is_answered_yes;
use crate::settings;
use crate::wiring::{Host, store_failed};

/// Without `--all` the cache of builds within this time stays: the next build is likely to use it.
const RECENT: Duration = Duration::from_hours(48);
/// How much of a description fits into the table.
const DESCRIPTION_LENGTH: usize = 60;

const KINDS: [ItemKind; 7] = [
    ItemKind::Blob,
    ItemKind::Snapshot,
    ItemKind::CacheRecord,
    ItemKind::CacheMount,
    ItemKind::FileHashes,
    ItemKind::FailedStep,
    ItemKind::BuildLog,
];

/// The filters that mean something here.
const FILTERS: [&str; 10] =
    ["until", "id", "type", "description", "inuse", "shared", "private", "mutable", "immutable", "unused-for"];

pub(crate) fn run(arguments: &PruneArguments, host: &Host) -> Result<(), CommandError> {
    let passes = passes(arguments, &host.store)?;
    if !arguments.force && !arguments.dry_run && !confirmed(arguments)? {
        let unasked = !std::io::stdin().is_terminal();
        say(if unasked {
            "nothing was removed; where nobody can answer, `--force` does not ask"
        } else {
            "nothing was removed"
        });
        return Ok(());
    }
    let mut report = PruneReport::default();
    for (number, options) in passes.iter().enumerate() {
        let part = host.store.prune(options).map_err(|error| store_failed(&error))?;
        report.removed.extend(part.removed);
        if number == 0 || !options.dry_run {
            report.freed_bytes += part.freed_bytes;
        } else {
            // The passes of a dry run find the same leftovers.
            report.freed_bytes += part.freed_bytes.saturating_sub(part.leftover_bytes);
        }
        report.left_bytes = part.left_bytes;
    }
    if !report.removed.is_empty() {
        crate::print(&table(&report.removed))?;
    }
    let total = if arguments.dry_run { "Total reclaimable space" } else { "Total reclaimed space" };
    crate::print(&format!("{total}: {}\n", size(report.freed_bytes)))?;
    if passes.len() > 1 && report.removed.is_empty() && report.left_bytes > 0 {
        say("`bake prune --all` also removes the cache of recent builds");
    }
    Ok(())
}

/// What was removed. The sizes of things that share files with others are marked: they do not add up.
fn table(removed: &[StoreItem]) -> String {
    let mut table = Table::new(&["TYPE", "ID", "SIZE", "DESCRIPTION"]);
    for item in removed {
        let id = item.id.strip_prefix("sha256:").unwrap_or(&item.id);
        let id = id.chars().take(19).collect();
        let mark = if item.shared_bytes > 0 { "*" } else { "" };
        let description = shortened(&item.description, DESCRIPTION_LENGTH);
        table.row([item.kind.name().to_owned(), id, format!("{}{mark}", size(item.size_bytes)), description]);
    }
    table.render()
}

/// What is to be removed. Without a goal and without `--all`, images without a name go at once and the cache of builds when
/// it was not used for a while, so there are two passes.
fn passes(arguments: &PruneArguments, store: &Store) -> Result<Vec<PruneOptions>, CommandError> {
    let bytes = |space: Option<bake::cli::Space>| {
        space.map(|space| store.space_bytes(settings::space(space))).transpose().map_err(|error| store_failed(&error))
    };
    let mut options = PruneOptions {
        all: arguments.all,
        keep_duration: arguments.keep_duration,
        max_used_bytes: bytes(arguments.max_used_space)?,
        min_free_bytes: bytes(arguments.min_free_space)?,
        reserved_bytes: bytes(arguments.reserved_space)?,
        dry_run: arguments.dry_run,
        filters: Vec::new(),
    };
    for filter in &arguments.filter {
        apply(filter, &mut options)?;
    }
    let has_goal = options.max_used_bytes.is_some() || options.min_free_bytes.is_some();
    let says_what = !options.filters.is_empty() || options.keep_duration.is_some() || has_goal;
    if arguments.all || says_what {
        return Ok(vec![options]);
    }
    let cache: Vec<ItemKind> = KINDS.into_iter().filter(|kind| *kind != ItemKind::Blob).collect();
    Ok(vec![
        PruneOptions { filters: vec![PruneFilter::kinds(vec![ItemKind::Blob])], ..options.clone() },
        PruneOptions { filters: vec![PruneFilter::kinds(cache)], keep_duration: Some(RECENT), ..options },
    ])
}

fn apply(filter: &StoreFilter, options: &mut PruneOptions) -> Result<(), CommandError> {
    let StoreFilter { name, comparison, value } = filter;
    let refused =
        |problem: &str| CommandError::usage(format!("the filter `{name}` with `{value}` cannot be used: {problem}"));
    let truth = || match (comparison, bake_dockerfile::parse_boolean(value)) {
        (Comparison::Equal, Some(truth)) => Ok(truth),
        (Comparison::Unequal, Some(truth)) => Ok(!truth),
        _ => Err(refused("expected `true` or `false`")),
    };
    match name.as_str() {
        "until" | "unused-for" => {
            if *comparison != Comparison::Equal {
                return Err(refused("it is written with `=`"));
            }
            options.keep_duration = Some(duration(value).map_err(|problem| refused(&problem))?);
        }
        "id" => {
            let begins = |item: &StoreItem, prefix: &str| {
                item.id.starts_with(prefix)
                    || item.id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(prefix))
            };
            options.filters.push(text_filter(filter, begins, |item| item.id.clone())?);
        }
        "description" => {
            let contains = |item: &StoreItem, text: &str| item.description.contains(text);
            options.filters.push(text_filter(filter, contains, |item| item.description.clone())?);
        }
        "type" => {
            // BuildKit's name of the same thing.
            let wanted = if value == "exec.cachemount" { "cachemount" } else { value.as_str() };
            if *comparison != Comparison::Matches && !KINDS.iter().any(|kind| kind.name() == wanted) {
                let names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
                return Err(CommandError::usage(format!("there is no type `{value}`"))
                    .hint(format!("the types are {}", names.join(", "))));
            }
            let is = |item: &StoreItem, name: &str| item.kind.name() == name;
            let filter = StoreFilter { value: wanted.to_owned(), ..filter.clone() };
            options.filters.push(text_filter(&filter, is, |item| item.kind.name().to_owned())?);
        }
        "inuse" => options.filters.push(truth_filter(truth()?, |item| item.need >= Need::Image)),
        "shared" => options.filters.push(truth_filter(truth()?, |item| item.shared_bytes > 0)),
        "private" => options.filters.push(truth_filter(truth()?, |item| item.shared_bytes == 0)),
        "mutable" => options.filters.push(truth_filter(truth()?, |item| item.kind == ItemKind::CacheMount)),
        "immutable" => options.filters.push(truth_filter(truth()?, |item| item.kind != ItemKind::CacheMount)),
        "parents" => {
            return Err(CommandError::usage(
                "the filter `parents` has no meaning here: layers do not know what is below them",
            )
            .hint(format!("the filters are {}", FILTERS.join(", "))));
        }
        other => {
            let error = CommandError::usage(format!("there is no filter `{other}`"));
            return Err(match bake_dockerfile::suggest(other, FILTERS, true) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("the filters are {}", FILTERS.join(", "))),
            });
        }
    }
    Ok(())
}

fn text_filter(
    filter: &StoreFilter,
    equal: impl Fn(&StoreItem, &str) -> bool + Send + Sync + 'static,
    text: impl Fn(&StoreItem) -> String + Send + Sync + 'static,
) -> Result<PruneFilter, CommandError> {
    let value = filter.value.clone();
    Ok(match filter.comparison {
        Comparison::Equal => PruneFilter::new(move |item| equal(item, &value)),
        Comparison::Unequal => PruneFilter::new(move |item| !equal(item, &value)),
        Comparison::Matches => {
            let expression = Regex::new(&value).map_err(|error| {
                CommandError::usage(format!("`{value}` is no regular expression: {}", last_line(&error.to_string())))
            })?;
            PruneFilter::new(move |item| expression.is_match(&text(item)))
        }
    })
}

fn truth_filter(truth: bool, holds: impl Fn(&StoreItem) -> bool + Send + Sync + 'static) -> PruneFilter {
    PruneFilter::new(move |item| holds(item) == truth)
}

/// Syntax errors of regular expressions draw a picture first.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

fn confirmed(arguments: &PruneArguments) -> Result<bool, CommandError> {
    let mut text = "WARNING! This will remove:\n  - images without a name\n".to_owned();
    text.push_str(if arguments.all {
        "  - the whole build cache, and unpacked layers that can be unpacked again\n"
    } else {
        "  - build cache that was not used recently\n"
    });
    text.push_str("\nAre you sure you want to continue?");
    is_answered_yes(&text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn arguments(words: &[&str]) -> PruneArguments {
        let words = ["bake", "prune", "--force"].iter().chain(words);
        match bake::cli::Arguments::try_parse_from(words).unwrap().command {
            bake::cli::Command::Prune(prune) => prune,
            other => panic!("{other:?}"),
        }
    }

    /// The passes, with a store that holds a blob, a cache mount and a layer.
    fn with_store<T>(work: impl FnOnce(&Store) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        let options = bake_store::OpenOptions { ownership: bake_store::Ownership::Recorded, create: true };
        let store = Store::open(&directory.path().join("store"), options).unwrap();
        store.with_new_lease().put_bytes(b"blob").unwrap();
        store.try_cache_mount("npm", bake_store::CacheSharing::Shared, |_| Ok(())).unwrap();
        work(&store)
    }

    #[test]
    fn recent_cache_stays_unless_something_else_is_said() {
        with_store(|store| {
            let passes = |words: &[&str]| passes(&arguments(words), store).unwrap();
            let plain = passes(&[]);
            assert_eq!((plain.len(), plain[0].keep_duration, plain[1].keep_duration), (2, None, Some(RECENT)));
            let all = passes(&["--all"]);
            assert!(all.len() == 1 && all[0].all && all[0].filters.is_empty());
            let until = passes(&["--filter", "until=24h", "--filter", "type=exec.cachemount"]);
            assert_eq!((until.len(), until[0].keep_duration), (1, Some(Duration::from_hours(24))));
            let goals = passes(&["--max-used-space", "1k", "--min-free-space", "100%", "--reserved-space", "2k"]);
            assert_eq!((goals[0].max_used_bytes, goals[0].reserved_bytes), (Some(1024), Some(2048)));
            assert_eq!(goals[0].min_free_bytes, Some(store.space_bytes(bake_store::Space::Percent(100)).unwrap()));
        });
    }

    #[test]
    fn filters_select_as_they_say() {
        with_store(|store| {
            let kinds = |filters: &[&str]| {
                let mut options = PruneOptions { dry_run: true, ..PruneOptions::default() };
                for filter in arguments(&filters.iter().flat_map(|text| ["--filter", text]).collect::<Vec<_>>()).filter
                {
                    apply(&filter, &mut options).unwrap();
                }
                let removed = store.prune(&options).unwrap().removed;
                let mut kinds: Vec<_> = removed.iter().map(|item| item.kind.name()).collect();
                kinds.sort_unstable();
                kinds.join(" ")
            };
            assert_eq!(kinds(&[]), "blob cachemount");
            assert_eq!(kinds(&["type=blob"]), "blob");
            assert_eq!(kinds(&["type!=blob"]), "cachemount");
            assert_eq!(kinds(&["type~=^(blob|snapshot)$"]), "blob");
            assert_eq!(kinds(&["mutable"]), "cachemount");
            assert_eq!(kinds(&["immutable=true", "private"]), "blob");
            assert_eq!(kinds(&["mutable=false"]), "blob");
            assert_eq!(kinds(&["shared"]), "");
            assert_eq!(kinds(&["inuse"]), "");
            assert_eq!(kinds(&["description~=n.m"]), "cachemount");
            assert_eq!(kinds(&["description=pm"]), "cachemount");
            assert_eq!(kinds(&["id!=fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8"]), "cachemount");
            assert_eq!(kinds(&["until=24h"]), "");
        });
    }

    #[test]
    fn unknown_filters_are_refused() {
        for filter in ["label=a", "until=soon", "until~=1h", "type=oven", "parents=a", "inuse=maybe", "id~=("] {
            let parsed = arguments(&["--filter", filter]).filter.remove(0);
            assert!(apply(&parsed, &mut PruneOptions::default()).is_err(), "{filter}");
        }
        let parsed = arguments(&["--filter", "desciption=a"]).filter.remove(0);
        let error = apply(&parsed, &mut PruneOptions::default()).unwrap_err();
        assert!(error.render(bake::ui::colour::Colour::Plain).contains("did you mean `description`?"));
    }
}
