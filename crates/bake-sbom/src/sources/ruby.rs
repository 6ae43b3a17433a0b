//! Gems of Ruby: installed ones, and those of Bundler's lock file.

use crate::files::{Entry, shown};
use crate::inventory::{Ecosystem, Package, Standing};
use crate::purl::purl;
use crate::scan::{Problem, Scan};
use crate::sources::{Source, in_directory, is_own};

/// What an installed gem says of itself, written by `gem` in always the same form.
pub(crate) const SPECIFICATION: Source = Source { wants: is_specification, read: read_specification };
/// Bundler's lock file.
pub(crate) const GEMFILE_LOCK: Source = Source { wants: is_lock, read: read_lock };

fn is_specification(entry: &Entry<'_>) -> bool {
    // Those inside of a gem are its source.
    entry.name().ends_with(b".gemspec") && in_directory(entry.path, b"specifications")
}

fn is_lock(entry: &Entry<'_>) -> bool {
    matches!(entry.name(), b"Gemfile.lock" | b"gems.locked") && is_own(entry)
}

fn read_specification(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let text = scan.seen_text(path)?;
    let (Some(name), Some(version)) = (assigned(&text, "name").next(), assigned(&text, "version").next()) else {
        return Err(Problem::damaged("it has no name or version"));
    };
    // The specification says `Gem::Platform::RUBY` or nothing where any platform will do.
    let platform = assigned(&text, "platform").next();
    let mut package = gem(name, version, platform);
    package.licences = assigned(&text, "licenses").map(str::to_owned).collect();
    package.homepage = assigned(&text, "homepage").next().map(str::to_owned);
    package.summary = assigned(&text, "summary").next().map(str::to_owned);
    package.supplier = assigned(&text, "authors").next().map(str::to_owned);
    package.own_file = Some(shown(path));
    scan.add(path, package)
}

/// The texts in the line `s.NAME = ...`, which is one text or a list of them.
fn assigned<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let value = text.lines().find_map(|line| {
        let (left, value) = line.split_once('=')?;
        let attribute = left.trim().rsplit_once('.')?.1;
        (attribute == name && line.starts_with("  ")).then_some(value)
    });
    // Between quotes there is text, and between texts there is something else.
    value.unwrap_or_default().split('"').skip(1).step_by(2).filter(|text| !text.is_empty())
}

/// Sections with a list under `specs:`, a line of four blanks for each gem; deeper lines are what it needs.
fn read_lock(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock = scan.seen_text(path)?;
    let mut from_registry = false;
    let mut in_list = false;
    for line in lock.lines() {
        let content = line.trim_start();
        match line.len() - content.len() {
            0 => {
                // A gem of a directory (`PATH`) is part of the program.
                from_registry = matches!(content.trim_end(), "GEM" | "GIT");
                in_list = false;
            }
            2 => in_list = from_registry && content.trim_end() == "specs:",
            4 if in_list => {
                let Some((name, version)) =
                    content.trim_end().strip_suffix(')').and_then(|entry| entry.split_once(" ("))
                else {
                    continue;
                };
                let (version, platform) =
                    version.split_once('-').map_or((version, None), |(version, platform)| (version, Some(platform)));
                scan.add(path, Package { standing: Standing::Locked, ..gem(name, version, platform) })?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn gem(name: &str, version: &str, platform: Option<&str>) -> Package {
    let platform = platform.filter(|platform| *platform != "ruby");
    Package::new(Ecosystem::Gem, name, version, purl("gem", "", name, version, &[("platform", platform)]))
}

#[cfg(test)]
mod tests {
    use crate::testing::{inventory, packages, purls, survives_damage};

    const SPECIFICATION: &str = "# -*- encoding: utf-8 -*-\n# stub: rake 13.0.6 ruby lib\n\nGem::Specification.new do |s|\n  \
        s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n\n  s.required_rubygems_version = Gem::Requirement.new(\">= 1.3.2\".freeze)\n  \
        s.metadata = { \"source_code_uri\" => \"https://x\" }\n  s.authors = [\"Hiroshi SHIBATA\".freeze, \"Eric Hodel\".freeze]\n  \
        s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\n  s.homepage = \"https://github.com/ruby/rake\".freeze\nend\n";
    const LOCK: &str = "PATH\n  remote: .\n  specs:\n    own (0.1.0)\n\nGEM\n  remote: https://rubygems.org/\n  specs:\n    \
        nokogiri (1.15.4-x86_64-linux)\n      racc (~> 1.4)\n    racc (1.7.1)\n\nPLATFORMS\n  x86_64-linux\n\nDEPENDENCIES\n  \
        nokogiri\n\nCHECKSUMS\n  racc (1.7.1) sha256=x\n\nBUNDLED WITH\n   2.4.10\n";

    #[test]
    fn installed_gems_are_listed() {
        let found = packages(&[
            ("usr/lib/ruby/gems/3.1.0/specifications/default/rake-13.0.6.gemspec", SPECIFICATION),
            ("usr/lib/ruby/gems/3.1.0/gems/rake-13.0.6/rake.gemspec", "s.name = \"source\""),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].purl, "pkg:gem/rake@13.0.6");
        assert_eq!(found[0].licences, ["MIT", "Ruby"]);
        assert_eq!(found[0].supplier.as_deref(), Some("Hiroshi SHIBATA"));
        let path = "usr/share/rubygems/specifications/x.gemspec";
        assert_eq!(inventory(&[(path, b"x")]).warnings.len(), 1);
        survives_damage(path, SPECIFICATION.as_bytes());
    }

    #[test]
    fn lock_files_tell_what_is_needed() {
        let expected = ["pkg:gem/nokogiri@1.15.4?platform=x86_64-linux", "pkg:gem/racc@1.7.1"];
        assert_eq!(purls(&[("app/Gemfile.lock", LOCK)]), expected);
        survives_damage("Gemfile.lock", LOCK.as_bytes());
    }
}
