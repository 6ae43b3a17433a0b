//! Dockerfiles and the trees they become: each folder of `tests/cases` has a `Dockerfile` and its `tree.txt`.
//!
//! With `BAKE_BLESS=1` in the environment the trees are written instead of compared.

use std::fs;
use std::path::Path;

use bake_dockerfile::{SourceText, parse};

#[test]
fn trees() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<_> =
        fs::read_dir(&cases).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    let mut different = Vec::new();
    for folder in folders {
        let text = fs::read_to_string(folder.join("Dockerfile")).expect("a Dockerfile");
        let dockerfile = parse(SourceText::new("Dockerfile", text.as_str()));
        assert_eq!(dockerfile.print(), text, "{}", folder.display());
        let tree = dockerfile.dump();
        let path = folder.join("tree.txt");
        if std::env::var_os("BAKE_BLESS").is_some() {
            fs::write(&path, &tree).expect("the tree is written");
        } else if fs::read_to_string(&path).unwrap_or_default() != tree {
            different.push(format!("{} should be:\n{tree}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
