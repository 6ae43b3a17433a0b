//! `eol-base-image`

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
          later. Judged from a table that comes with the program, so that the answer is the same everywhere.",
    bad: "FROM ubuntu:18.04\nUSER 10001\n",
    good: "FROM ubuntu:24.04\nUSER 10001\n",
    check,
};

const fn day(year: u16, month: u8, day: u8) -> Date {
    Date { year, month, day }
}

/// Image, release as its tag begins, end of its free support, what to use now. From the projects' published schedules. Go supports a
/// release for about a year only, so those are listed once they have been out of support for two: what is compiled, not the
/// toolchain, goes into images.
#[rustfmt::skip]
const RELEASES: &[(&[&str], &[&str], Date, &str)] = &[
    (&["ubuntu"], &["12.04", "precise"], day(2017, 4, 28), "24.04"),
    (&["ubuntu"], &["14.04", "trusty"], day(2019, 4, 25), "24.04"),
    (&["ubuntu"], &["16.04", "xenial"], day(2021, 4, 30), "24.04"),
    (&["ubuntu"], &["18.04", "bionic"], day(2023, 5, 31), "24.04"),
    (&["ubuntu"], &["20.04", "focal"], day(2025, 5, 31), "24.04"),
    (&["ubuntu"], &["22.04", "jammy"], day(2027, 4, 1), "24.04"),
    (&["ubuntu"], &["19.04", "disco", "19.10", "eoan", "20.10", "groovy", "21.04", "hirsute", "21.10", "impish"], day(2022, 7, 14), "24.04"),
    (&["ubuntu"], &["22.10", "kinetic", "23.04", "lunar", "23.10", "mantic"], day(2024, 7, 11), "24.04"),
    (&["ubuntu"], &["24.10", "oracular"], day(2025, 7, 10), "24.04"),
    (&["ubuntu"], &["25.04", "plucky"], day(2026, 1, 15), "24.04"),
    (&["debian"], &["6", "squeeze", "7", "wheezy"], day(2018, 5, 31), "12"),
    (&["debian"], &["8", "jessie"], day(2020, 6, 30), "12"),
    (&["debian"], &["9", "stretch"], day(2022, 6, 30), "12"),
    (&["debian"], &["10", "buster"], day(2024, 6, 30), "12"),
    (&["debian"], &["11", "bullseye"], day(2026, 8, 31), "12"),
    (&["centos"], &["5", "6"], day(2020, 11, 30), "`rockylinux:9` or `almalinux:9`"),
    (&["centos"], &["7"], day(2024, 6, 30), "`rockylinux:9` or `almalinux:9`"),
    (&["centos"], &["8"], day(2021, 12, 31), "`rockylinux:9` or `almalinux:9`"),
    (&["alpine"], &["2", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"], day(2023, 5, 1), "3.22"),
    (&["alpine"], &["3.15"], day(2023, 11, 1), "3.22"),
    (&["alpine"], &["3.16"], day(2024, 5, 23), "3.22"),
    (&["alpine"], &["3.17"], day(2024, 11, 22), "3.22"),
    (&["alpine"], &["3.18"], day(2025, 5, 9), "3.22"),
    (&["alpine"], &["3.19"], day(2025, 11, 1), "3.22"),
    (&["python"], &["2", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6"], day(2021, 12, 23), "3.13"),
    (&["python"], &["3.7"], day(2023, 6, 27), "3.13"),
    (&["python"], &["3.8"], day(2024, 10, 7), "3.13"),
    (&["python"], &["3.9"], day(2025, 10, 31), "3.13"),
    (&["node"], &["0", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "argon", "boron", "carbon", "dubnium", "erbium"], day(2022, 4, 30), "22"),
    (&["node"], &["14", "15", "fermium"], day(2023, 4, 30), "22"),
    (&["node"], &["16", "17", "gallium"], day(2023, 9, 11), "22"),
    (&["node"], &["18", "19", "hydrogen"], day(2025, 4, 30), "22"),
    (&["node"], &["20", "21", "iron"], day(2026, 4, 30), "22"),
    (&["node"], &["23"], day(2025, 6, 1), "22"),
    (&["php"], &["5", "7.0", "7.1", "7.2", "7.3", "7.4"], day(2022, 11, 28), "8.4"),
    (&["php"], &["8.0"], day(2023, 11, 26), "8.4"),
    (&["php"], &["8.1"], day(2025, 12, 31), "8.4"),
    (&["ruby"], &["1", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7"], day(2023, 3, 31), "3.4"),
    (&["ruby"], &["3.0"], day(2024, 4, 23), "3.4"),
    (&["ruby"], &["3.1"], day(2025, 3, 26), "3.4"),
    (&["ruby"], &["3.2"], day(2026, 3, 31), "3.4"),
    (&["golang"], &["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.11", "1.12", "1.13", "1.14", "1.15",
        "1.16", "1.17", "1.18", "1.19", "1.20"], day(2024, 2, 6), "the current release"),
    (&["openjdk"], &["7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18"], day(2022, 7, 1), "`eclipse-temurin:21`"),
    (&["fedora"], &["36", "37", "38", "39"], day(2024, 11, 26), "the current release"),
    (&["fedora"], &["40"], day(2025, 5, 13), "the current release"),
];

/// Code names of Debian and Ubuntu that end a tag of another image (`python:3.12-buster`).
const DISTRIBUTION_SUFFIXES: [(&str, &str); 5] =
    [("jessie", "debian"), ("stretch", "debian"), ("buster", "debian"), ("bullseye", "debian"), ("bionic", "ubuntu")];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let today = context.options.today;
    for image in &context.images {
        let Some(tag) = image.name.tag.as_deref() else { continue };
        let name = image.name.familiar();
        let suffix = DISTRIBUTION_SUFFIXES
            .iter()
            .find(|(code_name, distribution)| *distribution != name && tag.split('-').skip(1).any(|part| part == *code_name));
        let own = find(name, tag).filter(|(end, _)| *end <= today).map(|found| (format!("{name}:{tag}"), found));
        // The distribution below counts only for official images, which have no slash in their names.
        let below = suffix.filter(|_| !name.contains('/')).and_then(|(code_name, distribution)| {
            let found = find(distribution, code_name).filter(|(end, _)| *end <= today)?;
            Some((format!("{distribution} {code_name}, the distribution in {name}:{tag},"), found))
        });
        if let Some((what, (end, instead))) = own.or(below) {
            let message = format!("{what} reached its end of life on {}-{:02}-{:02}", end.year, end.month, end.day);
            report.report(image.span, message).help(format!("use {instead}"));
        }
    }
}

/// The end of life of a release, and what to use instead.
fn find(name: &str, tag: &str) -> Option<(Date, &'static str)> {
    let release = tag.split('-').next().unwrap_or_default();
    RELEASES
        .iter()
        .find(|(names, releases, _, _)| {
            names.contains(&name) && releases.iter().any(|r| release.strip_prefix(r).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        })
        .map(|(_, _, end, instead)| (*end, *instead))
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn releases_are_told_by_number_and_code_name() {
        let text = "FROM debian:buster-slim\nFROM debian:10.13\nFROM debian:12\nFROM alpine:3.1\nFROM alpine:3.21\nFROM node:14-alpine\n\
                    FROM python:3.13-buster\nFROM python:3.1\nFROM python:3.13\nFROM acme/ubuntu:18.04\nFROM library/centos:7\n";
        assert_eq!(lines("eol-base-image", text), [1, 2, 4, 6, 7, 8, 11]);
    }
}
