//! `eol-base-image`

mod releases;

use self::releases::{RELEASES, Release};
use super::prelude::*;
use crate::options::Date;

pub(super) const RULE: Rule = Rule {
    id: "eol-base-image",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "An official image is a release that no longer gets security updates.",
    why: "Holes found after the end of life stay open in every image built on it, and its package mirrors are moved away sooner or \
          later. Judged from a table that comes with the program, for the day of its release or the one that `SOURCE_DATE_EPOCH` gives, so that \
          the answer is the same everywhere.",
    bad: "FROM ubuntu:18.04\nUSER 10001\n",
    good: "FROM ubuntu:24.04\nUSER 10001\n",
    check,
};

/// Code names of Debian and Ubuntu that end a tag of another image (`python:3.12-buster`).
const DISTRIBUTION_SUFFIXES: [(&str, &str); 7] = [
    ("jessie", "debian"),
    ("stretch", "debian"),
    ("buster", "debian"),
    ("bullseye", "debian"),
    ("xenial", "ubuntu"),
    ("bionic", "ubuntu"),
    ("focal", "ubuntu"),
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let today = context.options.today;
    for image in &context.images {
        let Some(tag) = image.name.tag.as_deref() else { continue };
        let name = image.name.familiar();
        let own =
            find(name, tag).filter(|release| release.end < today).map(|release| (format!("{name}:{tag}"), release));
        let Some((what, release)) = own.or_else(|| below(name, tag, today)) else { continue };
        let Date { year, month, day } = release.end;
        let message = format!("{what} reached its end of life on {year}-{month:02}-{day:02}");
        report.report(image.span, message).help(format!("use {}", release.instead));
    }
}

/// The distribution that an official image says in its tag to be built on, when that is at its end.
fn below(name: &str, tag: &str, today: Date) -> Option<(String, &'static Release)> {
    // Official images have no slash in their names.
    if name.contains('/') {
        return None;
    }
    tag.split('-').skip(1).find_map(|part| {
        let (distribution, release) = match part.strip_prefix("alpine") {
            Some(release) => ("alpine", release),
            None => {
                DISTRIBUTION_SUFFIXES.iter().find(|(code_name, _)| *code_name == part).map(|(name, of)| (*of, *name))?
            }
        };
        let found = find(distribution, release).filter(|found| found.end < today && distribution != name)?;
        Some((format!("{distribution} {release}, the distribution in {name}:{tag},"), found))
    })
}

/// What the table says of an image.
fn find(name: &str, tag: &str) -> Option<&'static Release> {
    let release = tag.split('-').next().unwrap_or_default();
    let begins = |with: &&str| release.strip_prefix(*with).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    RELEASES.iter().find(|entry| entry.images.contains(&name) && entry.releases.iter().any(begins))
}

#[cfg(test)]
mod tests {
    use super::releases::RELEASES;
    use crate::testing::{findings_with, lines};
    use crate::{Date, LintOptions};

    #[test]
    fn releases_are_told_by_number_and_code_name() {
        let text = "FROM debian:buster-slim\nFROM debian:10.13\nFROM debian:12\nFROM alpine:3.1\nFROM alpine:3.21\nFROM node:14-alpine\n\
                    FROM python:3.13-buster\nFROM python:3.1\nFROM python:3.13\nFROM acme/ubuntu:18.04\nFROM library/centos:7\n";
        assert_eq!(lines("eol-base-image", text), [1, 2, 4, 6, 7, 8, 11]);
    }

    #[test]
    fn distributions_below_count() {
        let text = "FROM python:3.13-alpine3.16\nFROM python:3.13-alpine3.22\nFROM python:3.13-alpine\nFROM node:24-bookworm\nFROM ruby:3.4-slim-bullseye\n";
        assert_eq!(lines("eol-base-image", text), [1, 5]);
    }

    #[test]
    fn the_day_decides() {
        let on = |year, month, day| {
            let options = LintOptions { today: Date { year, month, day }, ..LintOptions::default() };
            findings_with("FROM debian:12\nUSER 1\n", &options)
                .iter()
                .any(|finding| finding.rule.id == "eol-base-image")
        };
        assert!(!on(2028, 6, 30) && on(2028, 7, 1), "the last day is one of support");
    }

    #[test]
    fn no_release_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in RELEASES {
            assert!(entry.end.year >= 2017 && (1..=12).contains(&entry.end.month) && (1..=31).contains(&entry.end.day));
            for image in entry.images {
                for release in entry.releases {
                    assert!(seen.insert((image, release)), "{image}:{release}");
                }
            }
        }
    }
}
