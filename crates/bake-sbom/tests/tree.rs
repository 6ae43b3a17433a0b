//! A tree on disk with packages of many kinds, and with links and files that lead elsewhere.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bake_oci::Timestamp;
use bake_sbom::{DirectoryFiles, Inventory, Limits, Subject, scan};

const FILES: &[(&str, &str)] = &[
    ("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
    ("var/lib/dpkg/status", "Package: base\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"),
    ("usr/share/doc/base-common/copyright", "Format: copyright-format/1.0\n\nFiles: *\nLicense: Expat\n"),
    ("app/node_modules/a/package.json", r#"{"name":"a","version":"1.0.0","license":"MIT"}"#),
    (
        "app/package-lock.json",
        r#"{"packages":{"node_modules/a":{"version":"1.0.0"},"node_modules/b":{"version":"1.0.0"}}}"#,
    ),
    ("opt/venv/lib/python3/site-packages/c-1.dist-info/METADATA", "Name: C\nVersion: 1\n"),
    ("src/Cargo.lock", "[[package]]\nname = \"d\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n"),
    ("damaged/composer.lock", "{"),
];

fn write(root: &Path) {
    for (name, content) in FILES {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn inventory(root: &Path) -> Inventory {
    let directory = fs::File::open(root).unwrap();
    scan(&DirectoryFiles::new(directory.into()), &Limits::default()).unwrap()
}

fn purls(inventory: &Inventory) -> Vec<&str> {
    inventory.packages().map(|package| package.purl.as_str()).collect()
}

const EXPECTED: [&str; 4] =
    ["pkg:cargo/d@1.0.0", "pkg:deb/debian/base@1?arch=all&distro=debian-12", "pkg:npm/a@1.0.0", "pkg:pypi/c@1"];

#[test]
fn packages_of_all_kinds_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    write(&root);
    fs::create_dir(root.join("etc")).unwrap();
    symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    symlink("base-common", root.join("usr/share/doc/base")).unwrap();
    let found = inventory(&root);
    assert_eq!(purls(&found), EXPECTED);
    assert_eq!(found.packages().nth(1).unwrap().licences, ["Expat"]);
    let warned: Vec<&str> = found.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warned, ["damaged/composer.lock"]);
}

#[test]
fn nothing_outside_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    write(&root);
    // What lies outside would be found, were any of these followed out of the tree.
    write(&directory.path().join("outside"));
    let outside = directory.path().join("outside");
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../../outside", root.join("relative")).unwrap();
    symlink("..", root.join("app/parent")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    symlink("../../outside/usr/lib/os-release", root.join("etc/os-release")).unwrap();
    symlink("../../../../../outside/usr/share/doc/base-common", root.join("usr/share/doc/base")).unwrap();
    let found = inventory(&root);
    assert_eq!(purls(&found), EXPECTED);
    assert_eq!(found.packages().nth(1).unwrap().licences, [""; 0], "the licence is outside");
    assert!(found.packages().flat_map(|package| &package.found_in).all(|path| !path.contains("outside")));
}

#[test]
fn equal_trees_have_equal_documents() {
    let document = |names: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in names {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let subject = Subject::files("tree", Timestamp::EPOCH, "0.1.0");
        let found = inventory(directory.path());
        (found.to_spdx(&subject), found.to_cyclonedx(&subject))
    };
    let reversed: Vec<(&str, &str)> = FILES.iter().rev().copied().collect();
    assert_eq!(document(FILES), document(&reversed), "the order in which files were made does not count");
    assert_ne!(document(FILES), document(&FILES[1..]));
}
