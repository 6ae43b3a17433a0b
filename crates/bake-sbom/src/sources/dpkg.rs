//! dpkg's database: `var/lib/dpkg/status` with a paragraph for each package, or `var/lib/dpkg/status.d` with a file for each
//! (distroless images). The syntax is that of deb822(5).

use crate::files::Entry;
use crate::inventory::{Ecosystem, Package, Relations, SourcePackage};
use crate::purl::purl;
use crate::scan::{Problem, RELATIONS_MAX, Scan};
use crate::sources::{Source, copyright};

/// How many names of a choice are looked at.
const CHOICES_MAX: usize = 100;

/// The database of a whole distribution.
pub(crate) const STATUS: Source = Source { wants: |entry| entry.path == b"var/lib/dpkg/status", read: read_status };

/// One of the files that stand for it in distroless images.
pub(crate) const STATUS_DIRECTORY: Source = Source { wants: in_status_directory, read: read_single };

fn in_status_directory(entry: &Entry<'_>) -> bool {
    let name = entry.path.strip_prefix(b"var/lib/dpkg/status.d/");
    name.is_some_and(|name| !name.contains(&b'/') && !name.ends_with(b".md5sums"))
}

fn read_status(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let text = scan.seen_text(path)?;
    for paragraph in paragraphs(&text) {
        // "want flag state"; what was removed leaves its configuration, and is not there any more.
        let state = paragraph.get("Status").and_then(|status| status.split_whitespace().nth(2));
        if state.is_some_and(|state| !matches!(state, "not-installed" | "config-files" | "half-installed")) {
            let own_file = |name: &str, architecture: &str| list_file(scan, name, architecture);
            let own_file =
                paragraph.name_and_architecture().and_then(|(name, architecture)| own_file(name, architecture));
            let added = add(scan, path, &paragraph, own_file);
            scan.tolerate(path, added)?;
        }
    }
    Ok(())
}

fn read_single(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let text = scan.seen_text(path)?;
    for paragraph in paragraphs(&text) {
        let added = add(scan, path, &paragraph, None);
        scan.tolerate(path, added)?;
    }
    Ok(())
}

/// The list of a package's files, which is written when it is installed. Packages for several architectures at once have the
/// architecture in its name.
fn list_file(scan: &Scan<'_>, name: &str, architecture: &str) -> Option<String> {
    let places = [format!("var/lib/dpkg/info/{name}.list"), format!("var/lib/dpkg/info/{name}:{architecture}.list")];
    places.into_iter().find(|place| matches!(scan.files.open(place.as_bytes()), Ok(Some(_))))
}

fn add(scan: &mut Scan<'_>, path: &[u8], paragraph: &Paragraph<'_>, own_file: Option<String>) -> Result<(), Problem> {
    let (Some((name, architecture)), Some(version)) = (paragraph.name_and_architecture(), paragraph.get("Version"))
    else {
        return Err(Problem::damaged("a package in it has no name, version or architecture"));
    };
    let source = paragraph.get("Source").map(|source| match source.split_once(" (") {
        Some((name, version)) => {
            SourcePackage { name: name.to_owned(), version: version.trim_end_matches(')').to_owned() }
        }
        None => SourcePackage { name: source.to_owned(), version: version.to_owned() },
    });
    // As scanners look vulnerabilities up: by the source package, and its version where that is another one.
    let upstream = source.as_ref().map(|source| {
        if source.version == version { source.name.clone() } else { format!("{}@{}", source.name, source.version) }
    });
    let distribution = scan.distribution();
    let namespace = distribution.map_or("debian", |distribution| distribution.id.as_str()).to_owned();
    let distro = distribution.map(crate::inventory::Distribution::qualifier);
    let qualifiers = [("arch", Some(architecture)), ("distro", distro.as_deref()), ("upstream", upstream.as_deref())];
    let purl = purl("deb", &namespace, name, version, &qualifiers);
    let mut package = Package::new(Ecosystem::Deb, name, version, purl);
    package.architecture = Some(architecture.to_owned());
    package.supplier = paragraph.get("Maintainer").map(str::to_owned);
    package.homepage = paragraph.get("Homepage").map(str::to_owned);
    package.summary = paragraph.get("Description").map(str::to_owned);
    package.source = source;
    package.own_file = own_file;
    package.relations = Relations {
        needs: ["Pre-Depends", "Depends"].iter().filter_map(|field| paragraph.get(field)).flat_map(choices).collect(),
        provides: paragraph.get("Provides").map(choices).into_iter().flatten().flatten().collect(),
    };
    if is_plain(name) {
        let place = format!("usr/share/doc/{name}/copyright");
        let text = scan.text(place.as_bytes());
        let read = text.map(|text| package.licences = text.map(|text| copyright::licences(&text)).unwrap_or_default());
        scan.tolerate(place.as_bytes(), read)?;
    }
    scan.add(path, package)
}

/// The entries of a field such as `libc6 (>= 2.34), awk | mawk, python3:any` (Debian policy, section 7.1), without versions.
fn choices(field: &str) -> impl Iterator<Item = Vec<String>> {
    let name = |text: &str| text.split([' ', '(', ':']).find(|part| !part.is_empty()).map(str::to_owned);
    field.split(',').take(RELATIONS_MAX).map(move |entry| entry.split('|').take(CHOICES_MAX).filter_map(name).collect())
}

/// Whether a package name is one by Debian's policy, and so names a directory and no path.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) && !name.starts_with('.')
}

/// A paragraph of fields. Of a field with several lines, the first.
pub(crate) struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Paragraph<'a> {
    /// The value of a field; names of fields have no case.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value).filter(|value| !value.is_empty())
    }

    /// Whether there is a field, if only with values on later lines.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn name_and_architecture(&self) -> Option<(&'a str, &'a str)> {
        Some((self.get("Package")?, self.get("Architecture")?))
    }
}

/// The paragraphs of a deb822 text: lines `Name: value`, continued by lines that begin with white space, divided by empty lines.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut fields = Vec::new();
        loop {
            match lines.next() {
                None if fields.is_empty() => return None,
                None => break,
                Some(line) if line.trim().is_empty() && fields.is_empty() => {}
                Some(line) if line.trim().is_empty() => break,
                Some(line) if line.starts_with([' ', '\t', '#']) => {}
                Some(line) => fields.extend(line.split_once(':').map(|(name, value)| (name.trim(), value.trim()))),
            }
        }
        Some(Paragraph { fields })
    })
}

#[cfg(test)]
mod tests {
    use crate::inventory::{SourcePackage, Standing};
    use crate::testing::{inventory, packages, purls, survives_damage};

    const OS_RELEASE: (&str, &str) = ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian\"\n");
    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nSource: glibc (2.36-9)\nArchitecture: amd64\n\
        Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>\nVersion: 2.36-9+deb12u9\nDescription: GNU C Library\n \
        long\n .\n text: x\nHomepage: https://www.gnu.org/software/libc/libc.html\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
        Package: held\nStatus: hold ok installed\nArchitecture: all\nVersion: 1:2~3\nSource: holder\n";

    #[test]
    fn installed_packages_are_listed() {
        let found = packages(&[
            OS_RELEASE,
            ("var/lib/dpkg/status", STATUS),
            ("var/lib/dpkg/info/libc6:amd64.list", "/.\n"),
            (
                "usr/share/doc/libc6/copyright",
                "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n",
            ),
        ]);
        let purls: Vec<&str> = found.iter().map(|package| package.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:deb/debian/held@1:2~3?arch=all&distro=debian-12&upstream=holder",
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12&upstream=glibc%402.36-9",
            ]
        );
        let libc = &found[1];
        assert_eq!(libc.summary.as_deref(), Some("GNU C Library"));
        assert_eq!(libc.homepage.as_deref(), Some("https://www.gnu.org/software/libc/libc.html"));
        assert_eq!(libc.source, Some(SourcePackage { name: "glibc".to_owned(), version: "2.36-9".to_owned() }));
        assert_eq!(libc.own_file.as_deref(), Some("var/lib/dpkg/info/libc6:amd64.list"));
        assert_eq!(libc.licences, ["LGPL-2.1+"]);
        assert_eq!(libc.standing, Standing::Installed);
        assert!(libc.found_in.contains("var/lib/dpkg/status"));
    }

    #[test]
    fn packages_need_each_other() {
        let package = |name: &str, fields: &str| {
            format!("Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n{fields}\n")
        };
        let status = [
            package("app", "Pre-Depends: init\nDepends: libc6 (>= 2.34), missing | awk, python3:any, app, nothing\n"),
            package("libc6", ""),
            package("mawk", "Provides: awk, other (= 1)\n"),
            package("python3", ""),
        ];
        let found = packages(&[("var/lib/dpkg/status", &status.concat())]);
        let needs: Vec<&str> = found[0].needs.iter().map(String::as_str).collect();
        assert_eq!(
            needs,
            ["pkg:deb/debian/libc6@1?arch=all", "pkg:deb/debian/mawk@1?arch=all", "pkg:deb/debian/python3@1?arch=all"]
        );
        assert!(found[1..].iter().all(|package| package.needs.is_empty()));
    }

    #[test]
    fn distroless_images_have_a_file_for_each() {
        let single = "Package: base-files\nVersion: 12\nArchitecture: arm64\n";
        assert_eq!(
            purls(&[
                ("var/lib/dpkg/status.d/base-files", single),
                ("var/lib/dpkg/status.d/base-files.md5sums", "0 x\n"),
                ("srv/chroot/var/lib/dpkg/status", "Package: other\nVersion: 1\nArchitecture: all\n"),
            ]),
            ["pkg:deb/debian/base-files@12?arch=arm64"]
        );
    }

    #[test]
    fn a_damaged_database_is_told_of() {
        let found = inventory(&[(
            "var/lib/dpkg/status",
            b"Package: x\nStatus: install ok installed\n\n\
            Package: y\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n",
        )]);
        assert_eq!((found.warnings.len(), found.packages().len()), (1, 1));
        assert_eq!(found.warnings[0].path, "var/lib/dpkg/status");
        survives_damage("var/lib/dpkg/status", STATUS.as_bytes());
    }

    #[test]
    fn names_that_are_paths_lead_nowhere() {
        let status = "Package: ../../../etc\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n";
        let copyright = "Format: copyright-format/1.0\n\nFiles: *\nLicense: MIT\n";
        let found = packages(&[("var/lib/dpkg/status", status), ("usr/share/doc/../../../etc/copyright", copyright)]);
        assert_eq!((found.len(), found[0].licences.len()), (1, 0));
    }
}
