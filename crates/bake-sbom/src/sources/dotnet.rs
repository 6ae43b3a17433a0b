//! Packages of .NET: what a program was published with (`PROGRAM.deps.json`).

use serde_json::Value;

use crate::checksum;
use crate::files::shown;
use crate::inventory::{Ecosystem, Package};
use crate::purl::purl;
use crate::scan::{Problem, Scan};
use crate::sources::{Source, json};

/// The list that the host of .NET loads libraries by.
pub(crate) const DEPENDENCIES: Source = Source { wants: |entry| entry.name().ends_with(b".deps.json"), read };

fn read(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let list: Value = json(&scan.seen_text(path)?)?;
    for (library, entry) in list.get("libraries").and_then(Value::as_object).into_iter().flatten() {
        // A `project` is the program itself or a part of it.
        let is_package = entry.get("type").and_then(Value::as_str) == Some("package");
        let Some((name, version)) = library.split_once('/').filter(|_| is_package) else { continue };
        let mut package = Package::new(Ecosystem::Nuget, name, version, purl("nuget", "", name, version, &[]));
        package.checksums =
            entry.get("sha512").and_then(Value::as_str).map(checksum::from_integrity).unwrap_or_default();
        package.own_file = Some(shown(path));
        scan.add(path, package)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{purls, survives_damage};

    #[test]
    fn packages_are_listed() {
        let list = r#"{"libraries":{"App/1.0.0":{"type":"project"},"Newtonsoft.Json/13.0.1":{"type":"package","sha512":"sha512-x"}}}"#;
        assert_eq!(purls(&[("app/App.deps.json", list)]), ["pkg:nuget/Newtonsoft.Json@13.0.1"]);
        survives_damage("app/App.deps.json", list.as_bytes());
    }
}
