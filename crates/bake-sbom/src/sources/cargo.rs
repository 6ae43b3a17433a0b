//! Crates of Rust: those that programs built by `cargo auditable` tell of, and those of `Cargo.lock`.

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use crate::elf::Elf;
use crate::files::shown;
use crate::inventory::{Checksum, ChecksumAlgorithm, Ecosystem, Package, Standing};
use crate::purl::purl;
use crate::scan::{Input, Problem, Scan};
use crate::sources::{Source, is_own, json, toml};

/// The longest packed list in a program. One of 447 crates takes 9,600 bytes.
const LIST_BYTES_MAX: u64 = 8 << 20;

/// cargo's lock file.
pub(crate) const CARGO_LOCK: Source = Source { wants: |entry| entry.name() == b"Cargo.lock" && is_own(entry), read };

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<LockedCrate>,
}

#[derive(Deserialize)]
struct LockedCrate {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn read(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let lock: Lock = toml(&scan.seen_text(path)?)?;
    for entry in lock.package {
        // What has no source is the program itself.
        let Some(source) = entry.source else { continue };
        let mut package = package(&entry.name, &entry.version);
        package.standing = Standing::Locked;
        package.checksums.extend(entry.checksum.and_then(|hex| Checksum::from_hex(ChecksumAlgorithm::Sha256, &hex)));
        package.download = source.strip_prefix("git+").map(str::to_owned);
        scan.add(path, package)?;
    }
    Ok(())
}

/// What is in the section `.dep-v0` (<https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md>).
#[derive(Deserialize)]
struct Audited {
    packages: Vec<AuditedCrate>,
}

#[derive(Deserialize)]
struct AuditedCrate {
    name: String,
    version: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    root: bool,
}

/// What a crate was needed for.
#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// To build the program: it is not in it.
    Build,
    #[default]
    #[serde(other)]
    Runtime,
}

/// Adds the crates that a program was built from. One that does not tell says nothing.
pub(super) fn read_program(scan: &mut Scan<'_>, path: &[u8], input: &Input, elf: &Elf<'_>) -> Result<(), Problem> {
    let Some((offset, size)) = elf.section(b".dep-v0") else { return Ok(()) };
    if size > LIST_BYTES_MAX {
        return Err(Problem::damaged("its list of crates is too long"));
    }
    let packed = input.read(offset, size)?;
    let list = scan.unpacked(input, ZlibDecoder::new(packed.as_slice()))?;
    let audited: Audited = json(&String::from_utf8_lossy(&list))?;
    let linked = audited.packages.into_iter().filter(|entry| entry.kind == Kind::Runtime);
    for entry in linked.filter(|entry| entry.root || entry.source != "local") {
        let mut package = package(&entry.name, &entry.version);
        package.own_file = Some(shown(path));
        scan.add(path, package)?;
    }
    Ok(())
}

fn package(name: &str, version: &str) -> Package {
    Package::new(Ecosystem::Cargo, name, version, purl("cargo", "", name, version, &[]))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::io::Write as _;

    use crate::elf::tests::program;
    use crate::inventory::Standing;
    use crate::testing::{inventory, packages, purls, survives_damage, try_inventory};
    use crate::{Limits, SbomError};

    fn packed(list: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(list).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn audited_programs_tell_their_crates() {
        let list = br#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1]},
            {"name":"serde","version":"1.0.1","source":"crates.io"},{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"},
            {"name":"part","version":"0.1.0","source":"local"},{"name":"forked","version":"2.0.0","source":"git"}]}"#;
        let program = program(".dep-v0", &packed(list));
        let found = inventory(&[("usr/bin/app", &program)]);
        assert_eq!(found.warnings, []);
        let purls: Vec<&str> = found.packages().map(|package| package.purl.as_str()).collect();
        assert_eq!(purls, ["pkg:cargo/app@0.1.0", "pkg:cargo/forked@2.0.0", "pkg:cargo/serde@1.0.1"]);
        assert!(found.packages().all(|package| package.own_file.as_deref() == Some("usr/bin/app")));
        survives_damage("usr/bin/app", &program);
    }

    #[test]
    fn a_list_that_unpacks_to_far_too_much_is_refused() {
        let program = program(".dep-v0", &packed(&vec![b' '; 5 << 20]));
        let limits = Limits { text_bytes_max: 1 << 20, ..Limits::default() };
        let found = try_inventory(&[("usr/bin/app", &program)], &limits).unwrap();
        assert!(found.warnings[0].message.contains("come out of it"), "{:?}", found.warnings);
        let limits = Limits { bytes_max: 1 << 20, ..Limits::default() };
        let refused = try_inventory(&[("usr/bin/app", &program)], &limits).unwrap_err();
        assert!(matches!(refused, SbomError::TooMuch { .. }), "{refused}");
    }

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"serde\"]\n\n[[package]]\n\
        name = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
        checksum = \"1111111111111111111111111111111111111111111111111111111111111111\"\n\n[[package]]\nname = \"forked\"\n\
        version = \"2.0.0\"\nsource = \"git+https://github.com/x/forked?rev=1#2\"\n";

    #[test]
    fn lock_files_tell_what_is_needed() {
        let found = packages(&[("src/Cargo.lock", LOCK)]);
        let rows: Vec<(&str, usize)> =
            found.iter().map(|package| (package.purl.as_str(), package.checksums.len())).collect();
        assert_eq!(rows, [("pkg:cargo/forked@2.0.0", 0), ("pkg:cargo/serde@1.0.1", 1)]);
        assert_eq!(found[0].standing, Standing::Locked);
        assert_eq!(found[0].download.as_deref(), Some("https://github.com/x/forked?rev=1#2"));
        assert_eq!(
            purls(&[("root/.cargo/registry/src/x/y-1/Cargo.lock", LOCK), ("src/vendor/y/Cargo.lock", LOCK)]),
            [""; 0]
        );
        survives_damage("Cargo.lock", LOCK.as_bytes());
        let deep = format!("x = {}", "[".repeat(100_000));
        assert_eq!(inventory(&[("Cargo.lock", deep.as_bytes())]).warnings.len(), 1);
    }
}
