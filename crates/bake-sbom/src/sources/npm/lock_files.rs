//! Lock files of npm (versions 1 to 3), yarn (classic, and from version 2 on) and pnpm (versions 5 to 9).

use serde_json::{Map, Value};

use super::{package, text};
use crate::checksum;
use crate::files::Entry;
use crate::inventory::{Package, Standing};
use crate::scan::{Problem, Scan};
use crate::sources::{Source, beside, is_own, json};

/// How deeply version 1 of npm's lock file may nest packages; `serde_json` stops at 128 levels of its own.
const NESTING_MAX: usize = 64;

/// npm's: `package-lock.json`, or `npm-shrinkwrap.json` where it is published.
pub(crate) const PACKAGE_LOCK: Source = Source { wants: is_package_lock, read: read_package_lock };
/// yarn's.
pub(crate) const YARN_LOCK: Source = Source { wants: |entry| is_own_lock(entry, b"yarn.lock"), read: read_yarn_lock };
/// pnpm's.
pub(crate) const PNPM_LOCK: Source =
    Source { wants: |entry| is_own_lock(entry, b"pnpm-lock.yaml"), read: read_pnpm_lock };

/// Packages of a lock file. Where packages are installed beside it, those are all there is: lock files also name what is for other
/// machines, or was left out on purpose.
struct Locked<'a> {
    path: &'a [u8],
    are_installed: bool,
}

impl<'a> Locked<'a> {
    fn new(scan: &Scan<'_>, path: &'a [u8]) -> Self {
        Self { path, are_installed: scan.has_installed_below(&beside(path, "node_modules/")) }
    }

    fn add(&self, scan: &mut Scan<'_>, package: Package) -> Result<(), Problem> {
        if self.are_installed && !scan.knows(&package) { Ok(()) } else { scan.add(self.path, package) }
    }
}

fn is_own_lock(entry: &Entry<'_>, name: &[u8]) -> bool {
    entry.name() == name && is_own(entry)
}

fn is_package_lock(entry: &Entry<'_>) -> bool {
    is_own_lock(entry, b"package-lock.json") || is_own_lock(entry, b"npm-shrinkwrap.json")
}

fn read_package_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock: Value = json(&scan.seen_text(path)?)?;
    let locked = Locked::new(scan, path);
    if let Some(Value::Object(packages)) = lock.get("packages") {
        // Versions 2 and 3: by the directory that each is installed in. Those outside of `node_modules` are the program's own.
        for (directory, entry) in packages {
            let Some((_, name)) = directory.rsplit_once("node_modules/") else { continue };
            let is_link = entry.get("link").and_then(Value::as_bool) == Some(true);
            if !is_link {
                locked.add(scan, npm_package(text(entry, "name").unwrap_or(name), entry))?;
            }
        }
    } else if let Some(Value::Object(dependencies)) = lock.get("dependencies") {
        read_nested(scan, &locked, dependencies, 0)?;
    }
    Ok(())
}

/// Version 1: a package has those that only it uses inside.
fn read_nested(
    scan: &mut Scan<'_>,
    locked: &Locked<'_>,
    dependencies: &Map<String, Value>,
    depth: usize,
) -> Result<(), Problem> {
    if depth > NESTING_MAX {
        return Err(Problem::damaged("packages in it are nested too deeply"));
    }
    for (name, entry) in dependencies {
        if !text(entry, "version").is_some_and(|version| version.starts_with("file:")) {
            locked.add(scan, npm_package(name, entry))?;
        }
        if let Some(Value::Object(inner)) = entry.get("dependencies") {
            read_nested(scan, locked, inner, depth + 1)?;
        }
    }
    Ok(())
}

fn npm_package(name: &str, entry: &Value) -> Package {
    let mut package = wanted(name, text(entry, "version").unwrap_or_default());
    let is_development =
        ["dev", "devOptional"].iter().any(|key| entry.get(*key).and_then(Value::as_bool) == Some(true));
    if is_development {
        package.standing = Standing::Development;
    }
    package.licences = text(entry, "license").map(str::to_owned).into_iter().collect();
    package.checksums = text(entry, "integrity").map(checksum::from_integrity).unwrap_or_default();
    package.download = text(entry, "resolved").filter(|address| address.starts_with("http")).map(str::to_owned);
    package
}

/// A package of a lock file. Aliases (`npm:OTHER@1.0.0` as a version) are what they stand for.
fn wanted(name: &str, version: &str) -> Package {
    let real = version.strip_prefix("npm:").and_then(|alias| alias.rsplit_once('@'));
    let (name, version) = real.unwrap_or((name, version));
    Package { standing: Standing::Locked, ..package(name, version) }
}

/// Blocks that begin with what was asked for, with indented lines below: `version "1.0.0"` in classic files, `version: 1.0.0`
/// since.
fn read_yarn_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock = scan.seen_text(path)?;
    let locked = Locked::new(scan, path);
    let mut current: Option<Package> = None;
    for line in lock.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') {
            if let Some(package) = current.take().filter(|package| !package.version.is_empty()) {
                locked.add(scan, package)?;
            }
            current = asked_name(line).map(|name| wanted(name, ""));
            continue;
        }
        let Some(package) = &mut current else { continue };
        // Deeper lines are dependencies.
        let Some(field) = line.strip_prefix("  ").filter(|field| !field.starts_with(' ')) else { continue };
        let Some((key, value)) = field.split_once(' ') else { continue };
        let value = value.trim().trim_matches('"');
        match key.trim_end_matches(':') {
            "version" => {
                // The program's own parts.
                if value == "0.0.0-use.local" {
                    current = None;
                } else {
                    *package =
                        Package { checksums: std::mem::take(&mut package.checksums), ..wanted(&package.name, value) };
                }
            }
            "resolved" => package.download = value.split('#').next().map(str::to_owned),
            // An alias is only told by what it was resolved to: `"strip@npm:strip-ansi@6.0.1"`.
            "resolution" => {
                if let Some((name, version)) = value.split_once("@npm:")
                    && !name.is_empty()
                {
                    let version = version.split("::").next().unwrap_or(version);
                    let (name, version) =
                        version.rsplit_once('@').filter(|(name, _)| !name.is_empty()).unwrap_or((name, version));
                    *package = wanted(name, version);
                }
            }
            "integrity" => package.checksums = checksum::from_integrity(value),
            _ => {}
        }
    }
    match current.filter(|package| !package.version.is_empty()) {
        Some(package) => locked.add(scan, package),
        None => Ok(()),
    }
}

/// The name in the first line of a block: `"@babel/core@^7.0.0", "@babel/core@^7.1.0":`, `left-pad@npm:^1.0.0:`. `None` for what
/// is no package of the registry.
fn asked_name(line: &str) -> Option<&str> {
    let first = line.trim_end().trim_end_matches(':').split(", ").next()?.trim_matches('"');
    // A scope begins with the sign that ends the name.
    let at = first.char_indices().skip(1).find(|(_, character)| *character == '@')?.0;
    let (name, asked) = (&first[..at], &first[at + 1..]);
    if ["workspace:", "link:", "file:", "portal:"].iter().any(|kind| asked.starts_with(kind)) {
        return None;
    }
    // What an alias stands for.
    let alias = asked.strip_prefix("npm:").and_then(|asked| {
        let at = asked.char_indices().skip(1).find(|(_, character)| *character == '@')?.0;
        asked.get(..at)
    });
    Some(alias.unwrap_or(name))
}

/// The keys of `packages:`, each two blanks deep: `/left-pad@1.3.0:`, `/left-pad/1.3.0:` before version 6, `left-pad@1.3.0:` since 9.
/// The file is written by one program in one form, so that its lines can be read without all of YAML.
fn read_pnpm_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock = scan.seen_text(path)?;
    let locked = Locked::new(scan, path);
    let mut in_packages = false;
    let mut current: Option<Package> = None;
    for line in lock.lines().chain(["end:"]) {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let depth = line.len() - content.len();
        if depth <= 2
            && let Some(package) = current.take()
        {
            locked.add(scan, package)?;
        }
        match depth {
            0 => in_packages = content.trim_end() == "packages:",
            2 if in_packages => current = pnpm_key(content).map(|(name, version)| wanted(name, version)),
            4 => {
                let Some(package) = &mut current else { continue };
                if content.trim_end() == "dev: true" {
                    package.standing = Standing::Development;
                }
                if let Some((_, rest)) = content.split_once("integrity: ") {
                    let integrity = rest.split([',', '}']).next().unwrap_or(rest);
                    package.checksums = checksum::from_integrity(integrity);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Name and version of a key; `None` for what is no package of the registry (`file:`, addresses).
fn pnpm_key(line: &str) -> Option<(&str, &str)> {
    let key = line.trim_end().strip_suffix(": {}").or_else(|| line.trim_end().strip_suffix(':'))?;
    let key = key.trim_matches(['\'', '"']);
    let key = key.strip_prefix('/').unwrap_or(key);
    // What other packages it was installed with: `(react@18.0.0)`, `_react@18.0.0`.
    let key = key.split('(').next()?;
    let is_digit = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let at = key.char_indices().skip(1).find(|(index, sign)| *sign == '@' && is_digit(&key[index + 1..]));
    let slash = key.char_indices().rev().find(|(index, sign)| *sign == '/' && is_digit(&key[index + 1..]));
    // Before version 6 a slash stands between them, and `@` may come after the version, in what it was installed with.
    let (index, _) = match (at, slash) {
        (Some(at), Some(slash)) => {
            if slash.0 < at.0 {
                slash
            } else {
                at
            }
        }
        (at, slash) => at.or(slash)?,
    };
    let version = key[index + 1..].split('_').next()?;
    let name = &key[..index];
    let is_name = !name.contains(':') && name.matches('/').count() <= usize::from(name.starts_with('@'));
    is_name.then_some((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{packages, survives_damage};

    fn listed(path: &str, lock: &str) -> Vec<(String, Standing, usize)> {
        let found = packages(&[(path, lock)]);
        found.into_iter().map(|package| (package.purl, package.standing, package.checksums.len())).collect()
    }

    fn row(purl: &str, standing: Standing, checksums: usize) -> (String, Standing, usize) {
        (purl.to_owned(), standing, checksums)
    }

    const SHA1: &str = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=";

    #[test]
    fn npm_by_directory() {
        let lock = format!(
            r#"{{"name":"app","lockfileVersion":3,"packages":{{"":{{"name":"app","version":"1.0.0"}},
            "node_modules/@a/b":{{"version":"1.0.0","resolved":"https://registry.npmjs.org/@a/b/-/b-1.0.0.tgz","integrity":"{SHA1}","license":"MIT"}},
            "node_modules/x/node_modules/y":{{"version":"2.0.0","dev":true}},
            "node_modules/alias":{{"name":"real","version":"3.0.0"}},
            "node_modules/part":{{"resolved":"parts/part","link":true}},"parts/part":{{"version":"0.1.0"}}}}}}"#
        );
        assert_eq!(
            listed("app/package-lock.json", &lock),
            [
                row("pkg:npm/%40a/b@1.0.0", Standing::Locked, 1),
                row("pkg:npm/real@3.0.0", Standing::Locked, 0),
                row("pkg:npm/y@2.0.0", Standing::Development, 0),
            ]
        );
        let found = packages(&[("package-lock.json", lock.as_str())]);
        assert_eq!(found[0].download.as_deref(), Some("https://registry.npmjs.org/@a/b/-/b-1.0.0.tgz"));
        assert_eq!(listed("app/node_modules/x/package-lock.json", &lock), []);
        survives_damage("package-lock.json", lock.as_bytes());
    }

    #[test]
    fn npm_nested() {
        let lock = r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","dependencies":{"b":{"version":"2.0.0","dev":true}}},
            "own":{"version":"file:own"},"alias":{"version":"npm:@s/real@4.0.0"}}}"#;
        assert_eq!(
            listed("npm-shrinkwrap.json", lock),
            [
                row("pkg:npm/%40s/real@4.0.0", Standing::Locked, 0),
                row("pkg:npm/a@1.0.0", Standing::Locked, 0),
                row("pkg:npm/b@2.0.0", Standing::Development, 0),
            ]
        );
    }

    #[test]
    fn an_installed_package_is_not_just_locked() {
        let lock = r#"{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1.0.0","dev":true}}}"#;
        let manifest = r#"{"name":"a","version":"1.0.0","license":"MIT"}"#;
        let lock = lock.replace("}}", "},\"node_modules/for-windows\":{\"version\":\"1.0.0\",\"optional\":true}}");
        let found = packages(&[("package-lock.json", lock.as_str()), ("node_modules/a/package.json", manifest)]);
        assert_eq!((found.len(), found[0].standing, found[0].found_in.len()), (1, Standing::Installed, 2));
        assert_eq!(found[0].licences, ["MIT"]);
    }

    #[test]
    fn yarn_classic() {
        let lock = format!(
            "# yarn lockfile v1\n\n\n\"@babel/core@^7.0.0\", \"@babel/core@^7.1.0\":\n  version \"7.1.0\"\n  \
            resolved \"https://registry.yarnpkg.com/@babel/core/-/core-7.1.0.tgz#abc\"\n  integrity {SHA1}\n  dependencies:\n    \
            version \"^9.0.0\"\n\nleft-pad@^1.0.0:\n  version \"1.3.0\"\n\n\"alias@npm:real@^2.0.0\":\n  version \"2.1.0\"\n\nown@file:own:\n  version \"1.0.0\"\n"
        );
        assert_eq!(
            listed("yarn.lock", &lock),
            [
                row("pkg:npm/%40babel/core@7.1.0", Standing::Locked, 1),
                row("pkg:npm/left-pad@1.3.0", Standing::Locked, 0),
                row("pkg:npm/real@2.1.0", Standing::Locked, 0),
            ]
        );
        assert_eq!(
            packages(&[("yarn.lock", lock.as_str())])[0].download.as_deref(),
            Some("https://registry.yarnpkg.com/@babel/core/-/core-7.1.0.tgz")
        );
        survives_damage("yarn.lock", lock.as_bytes());
    }

    #[test]
    fn yarn_since_version_2() {
        let lock = "__metadata:\n  version: 8\n\n\"left-pad@npm:^1.0.0, left-pad@npm:^1.1.0\":\n  version: 1.3.0\n  \
            resolution: \"left-pad@npm:1.3.0\"\n  checksum: 10c0/abc\n  languageName: node\n  linkType: hard\n\n\
            \"app@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"app@workspace:.\"\n\n\
            \"strip@npm:strip-ansi@^6.0.1\":\n  version: 6.0.1\n  resolution: \"strip-ansi@npm:6.0.1\"\n";
        assert_eq!(
            listed("yarn.lock", lock),
            [row("pkg:npm/left-pad@1.3.0", Standing::Locked, 0), row("pkg:npm/strip-ansi@6.0.1", Standing::Locked, 0),]
        );
    }

    #[test]
    fn pnpm() {
        let lock = format!(
            "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      a:\n        specifier: ^1.0.0\n\npackages:\n\n  \
            '@a/b@1.0.0':\n    resolution: {{integrity: {SHA1}}}\n    engines: {{node: '>=4'}}\n\n  left-pad@1.3.0(x@2.0.0):\n    dev: true\n\n  \
            /@c/d/1.0.0:\n    resolution: {{}}\n\n  /e/1.0.0_react@18.0.0:\n    dev: false\n\n  /f@1.0.0: {{}}\n\n  file:own:\n    x: y\n\n  \
            github.com/x/y/0123: {{}}\n\nsnapshots:\n\n  '@a/b@9.0.0': {{}}\n"
        );
        assert_eq!(
            listed("pnpm-lock.yaml", &lock),
            [
                row("pkg:npm/%40a/b@1.0.0", Standing::Locked, 1),
                row("pkg:npm/%40c/d@1.0.0", Standing::Locked, 0),
                row("pkg:npm/e@1.0.0", Standing::Locked, 0),
                row("pkg:npm/f@1.0.0", Standing::Locked, 0),
                row("pkg:npm/left-pad@1.3.0", Standing::Development, 0),
            ]
        );
        survives_damage("pnpm-lock.yaml", lock.as_bytes());
    }
}
