//! Packages of PHP: what Composer installed, and what its lock file asks for.

use serde_json::Value;

use crate::files::shown;
use crate::inventory::{Checksum, ChecksumAlgorithm, Ecosystem, Package, Standing};
use crate::purl::purl;
use crate::scan::{Problem, Scan};
use crate::sources::{Source, is_own, json};

/// The list of what is installed.
pub(crate) const INSTALLED: Source =
    Source { wants: |entry| entry.path.ends_with(b"vendor/composer/installed.json"), read: read_installed };
/// The lock file.
pub(crate) const LOCK: Source =
    Source { wants: |entry| entry.name() == b"composer.lock" && is_own(entry), read: read_lock };

fn read_installed(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let list: Value = json(&scan.seen_text(path)?)?;
    // Before Composer 2 the list was all there was.
    for entry in list.get("packages").unwrap_or(&list).as_array().into_iter().flatten() {
        let Some(mut package) = package(entry) else { continue };
        package.own_file = Some(shown(path));
        scan.add(path, package)?;
    }
    Ok(())
}

fn read_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock: Value = json(&scan.seen_text(path)?)?;
    for (key, standing) in [("packages", Standing::Locked), ("packages-dev", Standing::Development)] {
        for entry in lock.get(key).and_then(Value::as_array).into_iter().flatten() {
            if let Some(package) = package(entry) {
                scan.add(path, Package { standing, ..package })?;
            }
        }
    }
    Ok(())
}

fn package(entry: &Value) -> Option<Package> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let (name, version) = (text("name")?, text("version")?);
    let lower = name.to_lowercase();
    let (vendor, last) = lower.split_once('/').unwrap_or(("", &lower));
    let mut package = Package::new(Ecosystem::Composer, name, version, purl("composer", vendor, last, version, &[]));
    // One may choose among several.
    let licences: Vec<&str> =
        entry.get("license").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    package.licences = if licences.is_empty() { Vec::new() } else { vec![licences.join(" OR ")] };
    package.summary = text("description").map(str::to_owned);
    package.homepage = text("homepage").map(str::to_owned);
    let archive = entry.get("dist");
    let of_archive = |key: &str| archive.and_then(|archive| archive.get(key)).and_then(Value::as_str);
    package.download = of_archive("url").map(str::to_owned);
    package.checksums.extend(of_archive("shasum").and_then(|hex| Checksum::from_hex(ChecksumAlgorithm::Sha1, hex)));
    Some(package)
}

#[cfg(test)]
mod tests {
    use crate::inventory::Standing;
    use crate::testing::{packages, survives_damage};

    const ENTRY: &str = r#"{"name":"Monolog/monolog","version":"2.9.1","license":["MIT"],"dist":{"url":"https://api.github.com/x",
        "shasum":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}"#;

    #[test]
    fn packages_are_listed() {
        let lock = format!(
            r#"{{"packages":[{ENTRY}],"packages-dev":[{{"name":"phpunit/phpunit","version":"9.6.0","license":["BSD-3-Clause","MIT"]}},{{}}]}}"#
        );
        let found = packages(&[("app/composer.lock", lock.as_str()), ("app/vendor/x/y/composer.lock", "not read")]);
        let rows: Vec<(&str, Standing)> =
            found.iter().map(|package| (package.purl.as_str(), package.standing)).collect();
        assert_eq!(
            rows,
            [
                ("pkg:composer/monolog/monolog@2.9.1", Standing::Locked),
                ("pkg:composer/phpunit/phpunit@9.6.0", Standing::Development),
            ]
        );
        assert_eq!((found[0].checksums.len(), found[1].licences[0].as_str()), (1, "BSD-3-Clause OR MIT"));
        survives_damage("composer.lock", lock.as_bytes());
        for list in [format!("[{ENTRY}]"), format!(r#"{{"packages":[{ENTRY}]}}"#)] {
            let found = packages(&[("app/vendor/composer/installed.json", list.as_str())]);
            assert_eq!((found.len(), found[0].standing), (1, Standing::Installed));
        }
    }
}
