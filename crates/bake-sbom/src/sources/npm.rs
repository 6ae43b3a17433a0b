//! Packages of npm: installed ones, and those that lock files of npm, yarn and pnpm ask for.

mod lock_files;

pub(crate) use lock_files::{PACKAGE_LOCK, PNPM_LOCK, YARN_LOCK};

use serde_json::Value;

use crate::files::Entry;
use crate::inventory::{Ecosystem, Package};
use crate::purl::purl;
use crate::scan::{Problem, Scan};
use crate::sources::{Source, json};

/// The manifest of a package that is installed.
pub(crate) const MANIFEST: Source = Source { wants: is_manifest, read: read_manifest };

/// A `package.json` that is that of a package itself: `node_modules/NAME/` or `node_modules/@SCOPE/NAME/`. Packages have others
/// inside, for their parts and tests.
fn is_manifest(entry: &Entry<'_>) -> bool {
    if entry.name() != b"package.json" {
        return false;
    }
    let directories: Vec<&[u8]> = entry.path.rsplit(|byte| *byte == b'/').skip(1).take(3).collect();
    match directories.as_slice() {
        [name, b"node_modules", ..] => !name.starts_with(b"@") && !name.starts_with(b"."),
        [_, scope, b"node_modules"] => scope.starts_with(b"@"),
        _ => false,
    }
}

fn read_manifest(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let manifest: Value = json(&scan.seen_text(path)?)?;
    // Manifests without a name or version are not of a package that could have been published.
    let (Some(name), Some(version)) = (text(&manifest, "name"), text(&manifest, "version")) else { return Ok(()) };
    let mut package = package(name, version);
    package.licences = licences(&manifest);
    package.summary = text(&manifest, "description").map(str::to_owned);
    package.homepage = text(&manifest, "homepage").map(str::to_owned);
    package.supplier = match manifest.get("author") {
        Some(Value::String(author)) => Some(author.clone()),
        Some(author) => text(author, "name").map(|name| match text(author, "email") {
            Some(email) => format!("{name} <{email}>"),
            None => name.to_owned(),
        }),
        None => None,
    };
    package.own_file = Some(crate::files::shown(path));
    scan.add(path, package)
}

/// `license`, or what it was before: an object, or a list of them under `licenses`.
fn licences(manifest: &Value) -> Vec<String> {
    let one = |licence: &Value| licence.as_str().or_else(|| text(licence, "type")).map(str::to_owned);
    match (manifest.get("license"), manifest.get("licenses")) {
        (Some(licence), _) => one(licence).into_iter().collect(),
        (None, Some(Value::Array(licences))) => {
            // One may choose among them.
            let all: Vec<String> = licences.iter().filter_map(one).collect();
            if all.is_empty() { Vec::new() } else { vec![all.join(" OR ")] }
        }
        _ => Vec::new(),
    }
}

/// A package of the registry. Its scope is what stands before the slash.
fn package(name: &str, version: &str) -> Package {
    let (scope, bare) = name.split_once('/').unwrap_or(("", name));
    Package::new(Ecosystem::Npm, name, version, purl("npm", scope, bare, version, &[]))
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::testing::{inventory, packages, purls, survives_damage};

    #[test]
    fn installed_packages_are_listed() {
        let manifest = r#"{"name":"@babel/core","version":"7.0.0","license":"MIT","author":{"name":"A","email":"a@x"},"homepage":"https://x"}"#;
        let found = packages(&[
            ("app/node_modules/@babel/core/package.json", manifest),
            (
                "app/node_modules/left-pad/package.json",
                r#"{"name":"left-pad","version":"1.3.0","licenses":[{"type":"MIT"},{"type":"Apache2"}]}"#,
            ),
            ("app/node_modules/left-pad/test/package.json", r#"{"name":"fixture","version":"1.0.0"}"#),
            (
                "app/node_modules/a/node_modules/b/package.json",
                r#"{"name":"b","version":"2.0.0","license":{"type":"ISC"}}"#,
            ),
            ("app/node_modules/unnamed/package.json", "{}"),
            ("app/package.json", r#"{"name":"app","version":"1.0.0"}"#),
        ]);
        let listed: Vec<(&str, &[String])> =
            found.iter().map(|package| (package.purl.as_str(), package.licences.as_slice())).collect();
        assert_eq!(
            listed,
            [
                ("pkg:npm/%40babel/core@7.0.0", &["MIT".to_owned()][..]),
                ("pkg:npm/b@2.0.0", &["ISC".to_owned()]),
                ("pkg:npm/left-pad@1.3.0", &["MIT OR Apache2".to_owned()]),
            ]
        );
        assert_eq!(found[0].supplier.as_deref(), Some("A <a@x>"));
    }

    #[test]
    fn damaged_manifests_are_told_of() {
        let path = "node_modules/x/package.json";
        assert_eq!(inventory(&[(path, b"{")]).warnings.len(), 1);
        let deep = "[".repeat(100_000);
        assert_eq!(inventory(&[(path, deep.as_bytes())]).warnings.len(), 1);
        assert_eq!(purls(&[(path, "\u{feff}{\"name\":\"x\",\"version\":\"1\"}")]), ["pkg:npm/x@1"]);
        survives_damage(path, br#"{"name":"b","version":"2.0.0","license":{"type":"ISC"},"author":{"name":"x"}}"#);
    }
}
