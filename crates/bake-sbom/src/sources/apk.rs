//! apk's database, `lib/apk/db/installed`: a paragraph for each package, a letter for each field (apk-v2(5)).

use crate::files::Entry;
use crate::inventory::{Ecosystem, Package, Relations, SourcePackage};
use crate::purl::purl;
use crate::scan::{Problem, RELATIONS_MAX, Scan};
use crate::sources::Source;

/// The database of a distribution. It is below `usr` where that is merged.
pub(crate) const INSTALLED: Source = Source { wants, read };

fn wants(entry: &Entry<'_>) -> bool {
    matches!(entry.path, b"lib/apk/db/installed" | b"usr/lib/apk/db/installed")
}

fn read(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let text = scan.seen_text(path)?;
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let package =
            package(scan, paragraph).ok_or_else(|| Problem::damaged("a package in it has no name or version"));
        let added = package.and_then(|package| scan.add(path, package));
        scan.tolerate(path, added)?;
    }
    Ok(())
}

fn package(scan: &Scan<'_>, paragraph: &str) -> Option<Package> {
    // `F:` begins a directory, and `R:` is a file in it: no field of the package.
    let fields = || paragraph.lines().filter_map(|line| line.split_once(':'));
    let field =
        |letter: &str| fields().find(|(key, value)| *key == letter && !value.is_empty()).map(|(_, value)| value.trim());
    let (name, version) = (field("P")?, field("V")?);
    let architecture = field("A");
    let origin = field("o");
    let distribution = scan.distribution();
    let namespace = distribution.map_or("alpine", |distribution| distribution.id.as_str());
    let distro = distribution.map(crate::inventory::Distribution::qualifier);
    let upstream = origin.filter(|origin| *origin != name);
    let qualifiers = [("arch", architecture), ("distro", distro.as_deref()), ("upstream", upstream)];
    let mut package =
        Package::new(Ecosystem::Apk, name, version, purl("apk", namespace, &name.to_lowercase(), version, &qualifiers));
    package.architecture = architecture.map(str::to_owned);
    package.licences = field("L").map(str::to_owned).into_iter().collect();
    package.supplier = field("m").map(str::to_owned);
    package.homepage = field("U").map(str::to_owned);
    package.summary = field("T").map(str::to_owned);
    package.source = origin.map(|origin| SourcePackage { name: origin.to_owned(), version: version.to_owned() });
    // `so:libc.musl-x86_64.so.1`, `busybox>=1.36`, `!other` for what it does not go with.
    let name = |entry: &str| entry.split(['<', '>', '=', '~']).next().unwrap_or(entry).to_owned();
    let names = |letter| field(letter).unwrap_or_default().split_whitespace().filter(|entry| !entry.starts_with('!'));
    package.relations = Relations {
        needs: names("D").map(|entry| vec![name(entry)]).take(RELATIONS_MAX).collect(),
        provides: names("p").map(name).take(RELATIONS_MAX).collect(),
    };
    let mut directory = "";
    package.own_file = fields().find_map(|(key, value)| match key {
        "F" => {
            directory = value;
            None
        }
        "R" if directory.is_empty() => Some(value.to_owned()),
        "R" => Some(format!("{directory}/{value}")),
        _ => None,
    });
    Some(package)
}

#[cfg(test)]
mod tests {
    use crate::testing::{inventory, packages, survives_damage};

    const INSTALLED: &str = "C:Q1pXbTMCm5w1rQyfzOXYcYbRBBVqg=\nP:alpine-baselayout-data\nV:3.4.3-r1\nA:x86_64\nS:11664\nI:77824\n\
        T:Alpine base dir structure and init scripts\nU:https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout\n\
        L:GPL-2.0-only\no:alpine-baselayout\nm:Natanael Copa <ncopa@alpinelinux.org>\nt:1683642107\n\
        c:65502ca9379dd29d1ac4b0bf0dcf03a3dd1b324a\nD:so:libc.musl-x86_64.so.1 !baselayout missing>=1\nr:alpine-baselayout\nF:etc\nR:fstab\nZ:Q11Q7hNe8QpDS531guqCdrXBzoA/o=\n\
        R:group\nZ:x\n\nP:musl\nV:1.2.4-r0\nA:x86_64\nL:MIT\no:musl\n\
        p:so:libc.musl-x86_64.so.1=1\n";

    #[test]
    fn installed_packages_are_listed() {
        let found =
            packages(&[("etc/os-release", "ID=alpine\nVERSION_ID=3.18.4\n"), ("lib/apk/db/installed", INSTALLED)]);
        let purls: Vec<&str> = found.iter().map(|package| package.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:apk/alpine/alpine-baselayout-data@3.4.3-r1?arch=x86_64&distro=alpine-3.18.4&upstream=alpine-baselayout",
                "pkg:apk/alpine/musl@1.2.4-r0?arch=x86_64&distro=alpine-3.18.4",
            ]
        );
        assert_eq!(found[0].own_file.as_deref(), Some("etc/fstab"));
        assert_eq!(found[0].licences, ["GPL-2.0-only"]);
        assert_eq!(found[0].supplier.as_deref(), Some("Natanael Copa <ncopa@alpinelinux.org>"));
        assert_eq!(found[1].own_file, None);
        assert!(found[0].needs.iter().eq([&found[1].purl]), "{:?}", found[0].needs);
    }

    #[test]
    fn a_damaged_database_is_told_of() {
        assert_eq!(inventory(&[("lib/apk/db/installed", b"P:x\n\nP:y\nV:1\n")]).warnings.len(), 1);
        survives_damage("lib/apk/db/installed", INSTALLED.as_bytes());
    }
}
