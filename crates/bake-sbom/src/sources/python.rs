//! Packages of Python: installed ones, and those that requirements and lock files ask for.

mod lock_files;

pub(crate) use lock_files::{PIPFILE_LOCK, REQUIREMENTS, TOML_LOCK};

use crate::files::{Entry, shown};
use crate::inventory::{Ecosystem, Package};
use crate::purl::purl;
use crate::scan::{Problem, Scan};
use crate::sources::Source;

/// What an installed package says of itself: `NAME.dist-info/METADATA` (PEP 376, 621), before that `NAME.egg-info/PKG-INFO`, or
/// `NAME.egg-info` itself.
pub(crate) const METADATA: Source = Source { wants, read };

fn wants(entry: &Entry<'_>) -> bool {
    let directory = entry.path.rsplit(|byte| *byte == b'/').nth(1).unwrap_or_default();
    match entry.name() {
        b"METADATA" => directory.ends_with(b".dist-info"),
        b"PKG-INFO" => directory.ends_with(b".egg-info") || directory == b"EGG-INFO",
        name => name.ends_with(b".egg-info"),
    }
}

fn read(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let text = scan.seen_text(path)?;
    let (Some(name), Some(version)) = (header(&text, "Name"), header(&text, "Version")) else {
        return Err(Problem::damaged("it has no name or version"));
    };
    let mut package = package(name, version);
    package.licences = licences(&text);
    package.summary = header(&text, "Summary").map(str::to_owned);
    package.homepage = header(&text, "Home-page").or_else(|| project_address(&text)).map(str::to_owned);
    package.supplier = header(&text, "Author-email")
        .filter(|address| address.contains('<'))
        .or_else(|| header(&text, "Author"))
        .or_else(|| header(&text, "Maintainer"))
        .map(str::to_owned);
    package.own_file = Some(shown(path));
    scan.add(path, package)
}

/// `License-Expression` (PEP 639) where there is one, else what classifiers say, else the short text of `License`, which some fill
/// with the licence itself.
fn licences(text: &str) -> Vec<String> {
    if let Some(expression) = header(text, "License-Expression") {
        return vec![expression.to_owned()];
    }
    let classified = headers(text, "Classifier").filter_map(|classifier| {
        let name = classifier.strip_prefix("License :: ")?;
        let name = name.strip_prefix("OSI Approved :: ").unwrap_or(name).rsplit(" :: ").next()?;
        (name != "OSI Approved").then(|| classified_licence(name).to_owned())
    });
    let classified: Vec<String> = classified.collect();
    let short = |licence: &&str| licence.len() <= 64;
    match header(text, "License").filter(short) {
        Some(licence) if classified.len() != 1 => vec![licence.to_owned()],
        _ => classified,
    }
}

/// The SPDX identifier of a classifier that has one and only one.
fn classified_licence(name: &str) -> &str {
    match name {
        "Apache Software License" => "Apache-2.0",
        "MIT License" => "MIT",
        "MIT No Attribution License (MIT-0)" => "MIT-0",
        "ISC License (ISCL)" => "ISC",
        "Mozilla Public License 2.0 (MPL 2.0)" => "MPL-2.0",
        "Python Software Foundation License" => "PSF-2.0",
        "The Unlicense (Unlicense)" => "Unlicense",
        "zlib/libpng License" => "Zlib",
        "Boost Software License 1.0 (BSL-1.0)" => "BSL-1.0",
        "GNU General Public License v2 (GPLv2)" => "GPL-2.0-only",
        "GNU General Public License v2 or later (GPLv2+)" => "GPL-2.0-or-later",
        "GNU General Public License v3 (GPLv3)" => "GPL-3.0-only",
        "GNU General Public License v3 or later (GPLv3+)" => "GPL-3.0-or-later",
        "GNU Lesser General Public License v2 or later (LGPLv2+)" => "LGPL-2.0-or-later",
        "GNU Lesser General Public License v3 (LGPLv3)" => "LGPL-3.0-only",
        "GNU Lesser General Public License v3 or later (LGPLv3+)" => "LGPL-3.0-or-later",
        "GNU Affero General Public License v3" => "AGPL-3.0-only",
        "GNU Affero General Public License v3 or later (AGPLv3+)" => "AGPL-3.0-or-later",
        other => other,
    }
}

fn project_address(text: &str) -> Option<&str> {
    headers(text, "Project-URL").find_map(|entry| {
        let (label, address) = entry.split_once(',')?;
        matches!(label.trim().to_ascii_lowercase().as_str(), "homepage" | "home" | "repository" | "source")
            .then(|| address.trim())
    })
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    headers(text, name).next().filter(|value| !value.is_empty() && *value != "UNKNOWN")
}

/// The values of a header; the description begins after an empty line.
fn headers<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    lines.filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A package of the index. Its name has no case, and dashes are underscores.
fn package(name: &str, version: &str) -> Package {
    let normalised = name.to_lowercase().replace('_', "-");
    Package::new(Ecosystem::Pypi, name, version, purl("pypi", "", &normalised, version, &[]))
}

#[cfg(test)]
mod tests {
    use crate::testing::{inventory, packages, survives_damage};

    const METADATA: &str = "Metadata-Version: 2.1\nName: Typing_Extensions\nVersion: 4.8.0\nSummary: Backported\n\
        Author-email: \"Guido\" <levkivskyi@gmail.com>\nClassifier: Development Status :: 5\n\
        Classifier: License :: OSI Approved :: Python Software Foundation License\nProject-URL: Home, https://github.com/python\n\n\
        # Typing\nLicense: not this\n";

    #[test]
    fn installed_packages_are_listed() {
        let found = packages(&[
            ("usr/lib/python3/dist-packages/typing_extensions-4.8.0.dist-info/METADATA", METADATA),
            (
                "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO",
                "Name: six\nVersion: 1.16.0\nLicense: MIT\n",
            ),
            ("usr/lib/python3/dist-packages/old-1.egg-info", "Name: old\nVersion: 1\nLicense: UNKNOWN\n"),
            (
                "venv/lib/new-1.dist-info/METADATA",
                "Name: new\nVersion: 1\nLicense: ignored\nLicense-Expression: MIT OR Apache-2.0\n",
            ),
            ("srv/METADATA", "no package"),
        ]);
        let rows: Vec<(&str, String)> =
            found.iter().map(|package| (package.purl.as_str(), package.licences.join("+"))).collect();
        let row = |purl, licence: &str| (purl, licence.to_owned());
        assert_eq!(
            rows,
            [
                row("pkg:pypi/new@1", "MIT OR Apache-2.0"),
                row("pkg:pypi/old@1", ""),
                row("pkg:pypi/six@1.16.0", "MIT"),
                row("pkg:pypi/typing-extensions@4.8.0", "PSF-2.0"),
            ]
        );
        assert_eq!(found[3].homepage.as_deref(), Some("https://github.com/python"));
        assert_eq!(found[3].supplier.as_deref(), Some("\"Guido\" <levkivskyi@gmail.com>"));
    }

    #[test]
    fn damaged_packages_are_told_of() {
        assert_eq!(inventory(&[("x.dist-info/METADATA", b"Name: x\n\nVersion: 1\n")]).warnings.len(), 1);
        survives_damage("x.dist-info/METADATA", METADATA.as_bytes());
    }
}
