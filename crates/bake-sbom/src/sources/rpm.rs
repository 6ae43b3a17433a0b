//! rpm's database, in each of the three forms it has had: `SQLite` (Fedora 33, RHEL 9 and later), ndb (SUSE), Berkeley DB (before).

mod berkeley;
mod header;
mod ndb;
mod sqlite;

use self::header::Header;
use crate::files::Entry;
use crate::inventory::{Distribution, Ecosystem, Package, Relations, SourcePackage};
use crate::purl::purl;
use crate::scan::{Problem, RELATIONS_MAX, Scan};
use crate::sources::{Source, beside};

/// The longest header of a package: it has the name of each of its files, some 100 bytes for each.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// The database as `SQLite`.
pub(crate) const SQLITE: Source = Source { wants: |entry| is_database(entry, b"rpmdb.sqlite"), read: read_sqlite };
/// The database as ndb.
pub(crate) const NDB: Source = Source { wants: |entry| is_database(entry, b"Packages.db"), read: read_ndb };
/// The database as a hash of Berkeley DB.
pub(crate) const BERKELEY: Source = Source { wants: |entry| is_database(entry, b"Packages"), read: read_berkeley };

/// Where a database is depends on the distribution: `var/lib/rpm`, `usr/lib/sysimage/rpm`, `usr/share/rpm`.
fn is_database(entry: &Entry<'_>, name: &[u8]) -> bool {
    let places: [&[u8]; 3] = [b"var/lib/rpm/", b"usr/lib/sysimage/rpm/", b"usr/share/rpm/"];
    places.iter().any(|place| entry.path.strip_prefix(*place) == Some(name))
}

fn read_sqlite(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let input = scan.seen(path)?;
    let log = scan.open(&beside(path, "rpmdb.sqlite-wal"))?;
    let database = sqlite::Database::open(&input, log.as_ref())?;
    database.rows("Packages", &mut |columns| {
        let blob =
            columns.into_iter().nth(1).ok_or_else(|| Problem::damaged("a row of it has no header of a package"))?;
        tolerated(scan, path, &blob)
    })
}

fn read_ndb(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let input = scan.seen(path)?;
    ndb::blobs(&input, &mut |blob| tolerated(scan, path, &blob))
}

fn read_berkeley(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let input = scan.seen(path)?;
    berkeley::values(&input, &mut |value| tolerated(scan, path, &value))
}

/// Adds the package of a header. One damaged header must not hide the others.
fn tolerated(scan: &mut Scan<'_>, path: &[u8], blob: &[u8]) -> Result<(), Problem> {
    let added = add(scan, path, blob);
    scan.tolerate(path, added)
}

fn add(scan: &mut Scan<'_>, path: &[u8], blob: &[u8]) -> Result<(), Problem> {
    let header = Header::parse(blob)?;
    let name = header.text(header::NAME);
    // Keys that packages are checked with are kept like packages.
    if name.as_deref() == Some("gpg-pubkey") {
        return Ok(());
    }
    let (Some(name), Some(version), Some(release)) = (name, header.text(header::VERSION), header.text(header::RELEASE))
    else {
        return Err(Problem::damaged("a package in it has no name, version or release"));
    };
    let epoch = header.number(header::EPOCH).filter(|epoch| *epoch != 0).map(|epoch| epoch.to_string());
    let architecture = header.text(header::ARCHITECTURE);
    let source = header.text(header::SOURCE_PACKAGE).filter(|source| source != "(none)");
    let distribution = scan.distribution();
    let distro = distribution.map(Distribution::qualifier);
    let qualifiers = [
        ("arch", architecture.as_deref()),
        ("distro", distro.as_deref()),
        ("epoch", epoch.as_deref()),
        ("upstream", source.as_deref()),
    ];
    let upstream_version = format!("{version}-{release}");
    let purl = purl("rpm", namespace(distribution), &name, &upstream_version, &qualifiers);
    let full = epoch.as_ref().map_or_else(|| upstream_version.clone(), |epoch| format!("{epoch}:{upstream_version}"));
    let mut package = Package::new(Ecosystem::Rpm, &name, &full, purl);
    package.architecture = architecture;
    package.licences = header.text(header::LICENCE).into_iter().collect();
    package.supplier = header.text(header::VENDOR).filter(|vendor| vendor != "(none)");
    package.homepage = header.text(header::ADDRESS);
    package.summary = header.text(header::SUMMARY);
    package.source = source.as_deref().and_then(source_package);
    package.own_file = header.first_file();
    package.relations = Relations {
        needs: header.texts(header::NEEDED_NAMES).map(|name| vec![name]).take(RELATIONS_MAX).collect(),
        provides: header.texts(header::PROVIDED_NAMES).take(RELATIONS_MAX).collect(),
    };
    scan.add(path, package)
}

/// Who the packages are of, as the vendors' own package URLs have it.
fn namespace(distribution: Option<&Distribution>) -> &str {
    match distribution.map(|distribution| distribution.id.as_str()) {
        Some("rhel") => "redhat",
        Some("sles" | "sle_hpc" | "sled") => "suse",
        Some(id) if id.starts_with("opensuse") => "opensuse",
        Some(id) => id,
        None => "",
    }
}

/// `bash-5.2.15-3.fc38.src.rpm` as a package.
fn source_package(file: &str) -> Option<SourcePackage> {
    let name = file.strip_suffix(".rpm")?.rsplit_once('.')?.0;
    let (rest, release) = name.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some(SourcePackage { name: name.to_owned(), version: format!("{version}-{release}") })
}

#[cfg(test)]
mod tests {
    use super::header::tests::sample;
    use super::*;
    use crate::testing::inventory;

    #[test]
    fn packages_of_a_header_are_listed() {
        let header = sample(&[
            (header::NAME, "bash"),
            (header::VERSION, "5.2.15"),
            (header::RELEASE, "3.fc38"),
            (header::ARCHITECTURE, "x86_64"),
            (header::LICENCE, "GPLv3+"),
            (header::SOURCE_PACKAGE, "bash-5.2.15-3.fc38.src.rpm"),
            (header::VENDOR, "Fedora Project"),
        ]);
        let key = sample(&[(header::NAME, "gpg-pubkey"), (header::VERSION, "1"), (header::RELEASE, "2")]);
        let damaged = sample(&[(header::NAME, "nothing")]);
        let database = ndb::tests::database(&[damaged, key, header]);
        let os_release = b"ID=fedora\nVERSION_ID=38\n";
        let found = inventory(&[("etc/os-release", os_release), ("usr/lib/sysimage/rpm/Packages.db", &database)]);
        assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
        let packages: Vec<&Package> = found.packages().collect();
        let [bash] = packages.as_slice() else { panic!("{packages:?}") };
        assert_eq!(
            bash.purl,
            "pkg:rpm/fedora/bash@5.2.15-3.fc38?arch=x86_64&distro=fedora-38&epoch=1&upstream=bash-5.2.15-3.fc38.src.rpm"
        );
        assert_eq!(bash.version, "1:5.2.15-3.fc38");
        let source = SourcePackage { name: "bash".to_owned(), version: "5.2.15-3.fc38".to_owned() };
        assert_eq!((bash.source.as_ref(), bash.own_file.as_deref()), (Some(&source), Some("usr/bin/bash")));
        assert_eq!(bash.licences, ["GPLv3+"]);
    }
}
