//! `requirements.txt`, `poetry.lock`, `uv.lock`, `pdm.lock`, `pylock.toml` and `Pipfile.lock`.

use serde::Deserialize;
use serde_json::Value;

use super::package;
use crate::checksum;
use crate::files::Entry;
use crate::inventory::Standing;
use crate::scan::{Problem, Scan};
use crate::sources::{Source, is_own, json, toml};

/// Requirements of pip (<https://pip.pypa.io/en/stable/reference/requirements-file-format/>).
pub(crate) const REQUIREMENTS: Source = Source { wants: is_requirements, read: read_requirements };
/// Lock files in TOML, which differ in little that matters here.
pub(crate) const TOML_LOCK: Source = Source { wants: is_toml_lock, read: read_toml_lock };
/// pipenv's.
pub(crate) const PIPFILE_LOCK: Source =
    Source { wants: |entry| is_own(entry) && entry.name() == b"Pipfile.lock", read: read_pipfile_lock };

fn is_requirements(entry: &Entry<'_>) -> bool {
    let name = entry.name();
    let is_named = name.starts_with(b"requirements") || name.ends_with(b"requirements.txt");
    is_named && name.ends_with(b".txt") && is_own(entry)
}

fn is_toml_lock(entry: &Entry<'_>) -> bool {
    let name = entry.name();
    let is_shared = name.starts_with(b"pylock.") && name.ends_with(b".toml");
    (matches!(name, b"poetry.lock" | b"uv.lock" | b"pdm.lock") || is_shared) && is_own(entry)
}

/// Only exact versions tell what is there: `name[extra]==1.0 ; marker --hash=sha256:...`.
fn read_requirements(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let text = scan.seen_text(path)?.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in text.lines() {
        let requirement = line.split([';', '#']).next().unwrap_or_default();
        let mut words = requirement.split(" --").next().unwrap_or_default().splitn(2, "==");
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        let name = name.split('[').next().unwrap_or_default().trim();
        let version = version.trim_start_matches('=').trim();
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_version = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+!".contains(&byte));
        if name.is_empty() || version.is_empty() || !is_name(name) || !is_version(version) {
            continue;
        }
        let mut package = package(name, version);
        package.standing = Standing::Locked;
        // One hash for each file that may be installed: which of them it was is not known, unless there is only one.
        let hashes: Vec<&str> =
            line.split("--hash=").skip(1).filter_map(|hash| hash.split_whitespace().next()).collect();
        if let [only] = hashes.as_slice() {
            package.checksums.extend(checksum::from_prefixed(only));
        }
        scan.add(path, package)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default, alias = "packages")]
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: Option<String>,
    /// poetry before 1.5: `dev` for development.
    category: Option<String>,
    /// poetry since 2.0, pdm.
    #[serde(default)]
    groups: Vec<String>,
    source: Option<::toml::Value>,
}

fn read_toml_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock: Lock = toml(&scan.seen_text(path)?)?;
    for entry in lock.package {
        // What is made from a directory is the program itself or a part of it.
        let is_part = |source: &::toml::Value| {
            let named = ["virtual", "editable", "directory"].iter().any(|kind| source.get(kind).is_some());
            named || source.get("type").and_then(::toml::Value::as_str) == Some("directory")
        };
        let Some(version) = entry.version.filter(|_| !entry.source.as_ref().is_some_and(is_part)) else { continue };
        let mut package = package(&entry.name, &version);
        let for_runtime =
            entry.groups.is_empty() || entry.groups.iter().any(|group| matches!(group.as_str(), "main" | "default"));
        let is_development = entry.category.as_deref() == Some("dev") || !for_runtime;
        package.standing = if is_development { Standing::Development } else { Standing::Locked };
        scan.add(path, package)?;
    }
    Ok(())
}

fn read_pipfile_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock: Value = json(&scan.seen_text(path)?)?;
    for (section, standing) in [("default", Standing::Locked), ("develop", Standing::Development)] {
        let Some(Value::Object(entries)) = lock.get(section) else { continue };
        for (name, entry) in entries {
            let version = entry.get("version").and_then(Value::as_str).and_then(|version| version.strip_prefix("=="));
            if let Some(version) = version {
                let mut package = package(name, version);
                package.standing = standing;
                scan.add(path, package)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::inventory::Standing;
    use crate::testing::{packages, survives_damage};

    fn listed(path: &str, text: &str) -> Vec<(String, Standing, usize)> {
        let found = packages(&[(path, text)]);
        survives_damage(path, text.as_bytes());
        found.into_iter().map(|package| (package.purl, package.standing, package.checksums.len())).collect()
    }

    fn row(purl: &str, standing: Standing, checksums: usize) -> (String, Standing, usize) {
        (purl.to_owned(), standing, checksums)
    }

    #[test]
    fn requirements() {
        let hash = "1".repeat(64);
        let text = format!(
            "# all\nrequests[socks]==2.31.0 ; python_version > '3' # why\nflask>=2\n-r other.txt\n--index-url https://x/?a==b\n\
            one===1.0 \\\n    --hash=sha256:{hash}\ntwo==2.0 --hash=sha256:{hash} --hash=sha256:{hash}\nany==1.*\nurl @ https://x/y==1\n"
        );
        let expected = [
            row("pkg:pypi/one@1.0", Standing::Locked, 1),
            row("pkg:pypi/requests@2.31.0", Standing::Locked, 0),
            row("pkg:pypi/two@2.0", Standing::Locked, 0),
        ];
        assert_eq!(listed("app/requirements-prod.txt", &text), expected);
        assert_eq!(listed("venv/lib/python3/site-packages/x/requirements.txt", &text), []);
    }

    #[test]
    fn lock_files_in_toml() {
        let poetry = "[[package]]\nname = \"Flask_X\"\nversion = \"2.0\"\ncategory = \"main\"\n\n[[package]]\nname = \"pytest\"\n\
            version = \"7.0\"\ncategory = \"dev\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1\"\n\n[package.source]\n\
            type = \"directory\"\nurl = \"own\"\n\n[metadata]\nlock-version = \"2.0\"\n";
        let expected =
            [row("pkg:pypi/flask-x@2.0", Standing::Locked, 0), row("pkg:pypi/pytest@7.0", Standing::Development, 0)];
        assert_eq!(listed("poetry.lock", poetry), expected);
        let uv = "version = 1\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\nsource = { virtual = \".\" }\n\n[[package]]\n\
            name = \"idna\"\nversion = \"3.4\"\nsource = { registry = \"https://pypi.org/simple\" }\n";
        assert_eq!(listed("srv/uv.lock", uv), [row("pkg:pypi/idna@3.4", Standing::Locked, 0)]);
        let pylock = "lock-version = \"1.0\"\n[[packages]]\nname = \"attrs\"\nversion = \"25.1.0\"\n";
        assert_eq!(listed("pylock.dev.toml", pylock), [row("pkg:pypi/attrs@25.1.0", Standing::Locked, 0)]);
        let pdm = "[[package]]\nname = \"a\"\nversion = \"1\"\ngroups = [\"test\"]\n";
        assert_eq!(listed("pdm.lock", pdm), [row("pkg:pypi/a@1", Standing::Development, 0)]);
    }

    #[test]
    fn pipfile_lock() {
        let lock = r#"{"default":{"requests":{"version":"==2.31.0"},"git":{"git":"https://x"}},"develop":{"pytest":{"version":"==7.0"}}}"#;
        let expected = [
            row("pkg:pypi/pytest@7.0", Standing::Development, 0),
            row("pkg:pypi/requests@2.31.0", Standing::Locked, 0),
        ];
        assert_eq!(listed("Pipfile.lock", lock), expected);
    }
}
