//! Packages of Java: archives (jar, war, ear) by what Maven and Gradle leave in them, with the archives inside.

use crate::files::{Entry, shown};
use crate::inventory::{Ecosystem, Package};
use crate::purl::purl;
use crate::scan::{Input, Problem, Scan};
use crate::sources::Source;
use crate::zip::{self, ZipEntry};

/// How deeply archives may stand in each other: a jar in a war in an ear, and one more.
const DEPTH_MAX: usize = 4;
/// How many archives may stand in another one.
const INNER_MAX: usize = 5_000;

/// An archive.
pub(crate) const ARCHIVE: Source = Source { wants: |entry: &Entry<'_>| is_archive(entry.name()), read };

fn is_archive(name: &[u8]) -> bool {
    [&b".jar"[..], b".war", b".ear", b".hpi", b".jpi"].iter().any(|ending| name.ends_with(ending))
}

fn read(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let input = scan.seen(path)?;
    read_archive(scan, path, path, &input, 0)
}

/// Adds what an archive says of itself, and what the archives in it say. `name` is that of the archive, `path` that of the file.
fn read_archive(scan: &mut Scan<'_>, path: &[u8], name: &[u8], input: &Input, depth: usize) -> Result<(), Problem> {
    let entries =
        zip::entries(input, |name| is_properties(name) || name == b"META-INF/MANIFEST.MF" || is_archive(name))?;
    let mut is_known = false;
    // More than one where others were merged into it.
    for entry in entries.iter().filter(|entry| is_properties(&entry.name)) {
        let properties = text(scan, input, entry)?;
        let value = |key: &str| field(&properties, '=', key);
        if let (Some(group), Some(artifact), Some(version)) = (value("groupId"), value("artifactId"), value("version"))
        {
            add(scan, path, group, artifact, version, None)?;
            is_known = true;
        }
    }
    if !is_known && let Some(entry) = entries.iter().find(|entry| entry.name == b"META-INF/MANIFEST.MF") {
        let manifest = text(scan, input, entry)?.replace("\r\n ", "").replace("\n ", "");
        if let Some((group, artifact, version)) = described(&manifest, name) {
            let licence = field(&manifest, ':', "Bundle-License").filter(|licence| !licence.contains("://"));
            add(scan, path, &group, &artifact, &version, licence)?;
        }
    }
    let inner: Vec<&ZipEntry> = entries.iter().filter(|entry| is_archive(&entry.name)).collect();
    if inner.is_empty() {
        return Ok(());
    }
    if depth + 1 >= DEPTH_MAX || inner.len() > INNER_MAX {
        return Err(Problem::damaged("there are too many archives in it, or they are nested too deeply"));
    }
    for entry in inner {
        let read = zip::read(scan, input, entry).and_then(|bytes| {
            let input = scan.input(Box::new(bytes));
            read_archive(scan, path, &entry.name, &input, depth + 1)
        });
        scan.tolerate(path, read)?;
    }
    Ok(())
}

fn is_properties(name: &[u8]) -> bool {
    name.starts_with(b"META-INF/maven/") && name.ends_with(b"/pom.properties")
}

fn text(scan: &Scan<'_>, input: &Input, entry: &ZipEntry) -> Result<String, Problem> {
    Ok(String::from_utf8_lossy(&zip::read(scan, input, entry)?).into_owned())
}

/// Group, artifact and version by a manifest, which was not made for it: by what `OSGi` bundles say, else by the name of the file.
/// `None` when there is no version.
fn described(manifest: &str, name: &[u8]) -> Option<(String, String, String)> {
    let value = |key: &str| field(manifest, ':', key);
    let file = shown(name.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    let stem = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
    // The version begins at the first digit behind a dash.
    let split = stem
        .char_indices()
        .find(|(index, sign)| *sign == '-' && stem[index + 1..].starts_with(|next: char| next.is_ascii_digit()));
    let (artifact, named_version) = split.map_or((stem, None), |(index, _)| (&stem[..index], Some(&stem[index + 1..])));
    let version = named_version.or_else(|| value("Implementation-Version")).or_else(|| value("Bundle-Version"))?;
    let bundle = value("Bundle-SymbolicName").map(|bundle| bundle.split(';').next().unwrap_or(bundle).trim());
    let group = value("Implementation-Vendor-Id").or_else(|| {
        // `org.slf4j.api` of `slf4j-api` is of the group `org.slf4j`, by convention.
        let (group, _) = bundle?.rsplit_once('.')?;
        group.contains('.').then_some(group)
    });
    Some((group.unwrap_or_default().to_owned(), artifact.to_owned(), version.to_owned()))
}

/// The value of a line `key=value` or `key: value`.
fn field<'a>(text: &'a str, between: char, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(between));
    lines.find(|(known, _)| known.trim() == key).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

fn add(
    scan: &mut Scan<'_>,
    path: &[u8],
    group: &str,
    artifact: &str,
    version: &str,
    licence: Option<&str>,
) -> Result<(), Problem> {
    let name = if group.is_empty() { artifact.to_owned() } else { format!("{group}:{artifact}") };
    let mut package = Package::new(Ecosystem::Maven, &name, version, purl("maven", group, artifact, version, &[]));
    package.licences = licence.map(str::to_owned).into_iter().collect();
    package.own_file = Some(shown(path));
    scan.add(path, package)
}

#[cfg(test)]
mod tests {
    use crate::testing::{inventory, survives_damage};
    use crate::zip::tests::archive;

    const MANIFEST: &str = "Manifest-Version: 1.0\r\nBundle-SymbolicName: org.example.lib;singleton:=true\r\nBundle-Version: 9\r\n\
        Bundle-License: Apa\r\n che-2.0\r\n";

    fn listed(path: &str, archive: &[u8]) -> Vec<String> {
        let found = inventory(&[(path, archive)]);
        assert_eq!(found.warnings, []);
        found.packages().map(|package| package.purl.clone()).collect()
    }

    fn properties(artifact: &str) -> String {
        format!("#Created\ngroupId=org.example\nartifactId={artifact}\nversion=1.2\n")
    }

    #[test]
    fn archives_tell_what_they_are() {
        let plain = archive(&[
            ("META-INF/MANIFEST.MF", MANIFEST.as_bytes()),
            ("META-INF/maven/org.example/app/pom.properties", properties("app").as_bytes()),
            ("META-INF/maven/org.example/shaded/pom.properties", properties("shaded").as_bytes()),
            ("x.class", b""),
        ]);
        let expected = ["pkg:maven/org.example/app@1.2", "pkg:maven/org.example/shaded@1.2"];
        assert_eq!(listed("srv/app.jar", &plain), expected);
        let behind_program = [b"#!/bin/sh\nexec java -jar $0\n".as_slice(), &plain].concat();
        assert_eq!(listed("srv/app.jar", &behind_program), expected);
        survives_damage("srv/app.jar", &plain);
    }

    #[test]
    fn manifests_tell_where_nothing_else_does() {
        let bundle = archive(&[("META-INF/MANIFEST.MF", MANIFEST.as_bytes())]);
        assert_eq!(listed("lib/my-lib-1.0.jar", &bundle), ["pkg:maven/org.example/my-lib@1.0"]);
        assert_eq!(listed("lib/lib.jar", &bundle), ["pkg:maven/org.example/lib@9"]);
        let found = inventory(&[("lib/lib.jar", &bundle)]);
        assert!(found.packages().all(|package| package.licences == ["Apache-2.0"]));
        let bare = archive(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")]);
        assert_eq!(listed("lib/tool-2.0-jre.jar", &bare), ["pkg:maven/tool@2.0-jre"]);
        assert_eq!(listed("lib/tool.jar", &bare), [""; 0]);
    }

    #[test]
    fn archives_in_archives_are_read() {
        let inner = archive(&[("META-INF/maven/org.example/inner/pom.properties", properties("inner").as_bytes())]);
        let library = archive(&[("META-INF/MANIFEST.MF", b"")]);
        let outer = archive(&[("WEB-INF/lib/inner.jar", &inner), ("WEB-INF/lib/plain-3.jar", &library)]);
        assert_eq!(listed("srv/app.war", &outer), ["pkg:maven/org.example/inner@1.2", "pkg:maven/plain@3"]);
        let mut nested = inner;
        for _ in 0..6 {
            nested = archive(&[("x.jar", &nested)]);
        }
        let found = inventory(&[("srv/app.jar", &nested)]);
        assert!(found.warnings[0].message.contains("nested too deeply"), "{:?}", found.warnings);
        assert_eq!(inventory(&[("srv/app.jar", b"no archive")]).warnings.len(), 1);
    }
}
