//! Bake files and what becomes of them. Each folder of `tests/cases` holds files, the request in `arguments` (one per line, as
//! `docker buildx bake --print` takes them), variables in `environment` and `dotenv`, and what comes out in `expected.json` or, for
//! what cannot be, in `error`. The JSON was written by buildx 0.29. `BAKE_BLESS=1` writes anew.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bake_targets::{BakeFile, Config, DEFAULT_FILES, Inputs, Overrides, print};

struct Case {
    files: Vec<String>,
    targets: Vec<String>,
    overrides: Vec<String>,
}

impl Case {
    /// The flags that change targets; those of other commands are not needed here.
    fn read(lines: &str) -> Self {
        let mut case = Self { files: Vec::new(), targets: Vec::new(), overrides: Vec::new() };
        let mut lines = lines.lines();
        while let Some(argument) = lines.next() {
            match argument {
                "-f" => case.files.push(lines.next().unwrap().to_owned()),
                "--set" => case.overrides.push(lines.next().unwrap().to_owned()),
                "--push" => case.overrides.push("*.push=true".to_owned()),
                "--load" => case.overrides.push("*.load=true".to_owned()),
                "--no-cache" => case.overrides.push("*.no-cache=true".to_owned()),
                "--pull" => case.overrides.push("*.pull=true".to_owned()),
                other => match other.split_once('=') {
                    Some(("--sbom", value)) => {
                        case.overrides.insert(0, format!("*.attest=type=sbom,disabled={}", value != "true"));
                    }
                    Some(("--provenance", value)) => case.overrides.push(format!("*.attest=type=provenance,{value}")),
                    _ => case.targets.push(other.to_owned()),
                },
            }
        }
        case
    }
}

fn run(directory: &Path) -> Result<String, String> {
    let lines = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let pairs = |text: &str| -> BTreeMap<String, String> {
        text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let case = Case::read(&lines("arguments"));
    let environment = pairs(&lines("environment"));
    let dotenv = pairs(&lines("dotenv"));
    let built_in = BTreeMap::from([("BAKE_CMD_CONTEXT".to_owned(), ".".to_owned())]);
    let names: Vec<String> = if case.files.is_empty() {
        DEFAULT_FILES.iter().filter(|name| directory.join(name).exists()).map(|name| (*name).to_owned()).collect()
    } else {
        case.files
    };
    let file = |name: String| BakeFile { text: fs::read_to_string(directory.join(&name)).unwrap(), name };
    let files = names.into_iter().map(file).collect();
    let inputs = Inputs { environment: environment.clone(), dotenv, built_in, ..Inputs::default() };
    let config = Config::read(files, inputs).map_err(|error| error.to_string())?;
    let mut overrides = Overrides::default();
    for text in case.overrides {
        overrides.add(&text, &environment).map_err(|error| error.to_string())?;
    }
    let selection = config.select(&case.targets, &overrides).map_err(|error| error.to_string())?;
    let mut text = print(&selection.groups, &selection.targets);
    text.push('\n');
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    Ok(text)
}

#[test]
fn files_become_targets() {
    let bless = std::env::var_os("BAKE_BLESS").is_some();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut wrong = String::new();
    let mut count = 0;
    for entry in fs::read_dir(cases).unwrap() {
        let directory = entry.unwrap().path();
        count += 1;
        let result = run(&directory);
        let (name, text) = match &result {
            Ok(text) => ("expected.json", text.clone()),
            Err(error) => ("error", format!("{error}\n")),
        };
        let expected = fs::read_to_string(directory.join(name)).unwrap_or_default();
        if expected != text {
            let _ = writeln!(wrong, "=== {}: expected {name}:\n{expected}--- got:\n{text}", directory.display());
            if bless {
                fs::write(directory.join(name), text).unwrap();
            }
        }
    }
    assert!(count > 80, "only {count} cases");
    assert!(wrong.is_empty(), "{wrong}");
}

/// Numbers that look random, and are the same ones every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (limit.max(1) as u64)).unwrap()
    }
}

/// Files of the cases with pieces taken out, doubled or put elsewhere: whatever comes of them, it is an answer, and a text that is printed
/// can be read again.
#[test]
fn broken_files_are_answered() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<BakeFile> = Vec::new();
    for entry in fs::read_dir(cases).unwrap() {
        for file in fs::read_dir(entry.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if matches!(&*extension, "hcl" | "yaml" | "json") && name != "expected.json" {
                files.push(BakeFile { name, text: fs::read_to_string(path).unwrap() });
            }
        }
    }
    assert!(files.len() > 80, "only {} files", files.len());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut selected) = (0, 0);
    for round in 0..10_000 {
        let BakeFile { name, text } = files[round % files.len()].clone();
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=numbers.below(3) {
            let start = numbers.below(characters.len());
            let end = (start + numbers.below(20)).min(characters.len());
            let piece: Vec<char> = characters[start..end].to_vec();
            if numbers.below(2) == 0 {
                characters.drain(start..end);
            }
            let place = numbers.below(characters.len() + 1);
            characters.splice(place..place, piece);
        }
        let file = BakeFile { name, text: characters.into_iter().collect() };
        let text = file.text.clone();
        let Ok(config) = Config::read(vec![file], Inputs::default()) else { continue };
        read += 1;
        // What is asked for is printed as the group `default`, which would stand before a target of that name.
        let targets = config.targets.iter().filter(|target| target.name != "default");
        let names: Vec<String> = targets.map(|target| target.name.clone()).collect();
        if names.is_empty() {
            continue;
        }
        let Ok(selection) = config.select(&names, &Overrides::default()) else { continue };
        selected += 1;
        // Like buildx, `--print` escapes only some of the attributes.
        if text.contains("$$") || text.contains("%%") {
            continue;
        }
        let printed = print(&selection.groups, &selection.targets);
        let again = BakeFile { name: "printed.json".to_owned(), text: printed.clone() };
        let config = Config::read(vec![again], Inputs::default())
            .unwrap_or_else(|error| panic!("{error}\n{printed}\nof\n{text}"));
        let selection = config
            .select(&names, &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}\n{printed}\nof\n{text}"));
        assert_eq!(print(&selection.groups, &selection.targets), printed, "of\n{text}");
    }
    assert!(read > 400 && selected > 200, "{read} were read, {selected} selected");
}

/// `tests/functions.txt`: an expression, a tab, and its value as JSON, or `error`. The values are buildx's where it knows the function.
#[test]
fn functions_give_what_they_should() {
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions.txt")).unwrap();
    let mut wrong = String::new();
    for line in table.lines() {
        let (expression, expected) = line.split_once('\t').unwrap();
        let text = format!("target \"default\" {{\n  args = {{\n    r = {expression}\n  }}\n}}\n");
        let file = BakeFile { name: "docker-bake.hcl".to_owned(), text };
        let inputs = Inputs { home: Some("/root".to_owned()), ..Inputs::default() };
        let result = Config::read(vec![file], inputs).map(|config| config.targets[0].args.get("r").cloned());
        let got = match result {
            Ok(value) => serde_json::to_string(&value).unwrap(),
            Err(error) => format!("error {}", error.message),
        };
        let fits = if expected == "error" { got.starts_with("error") } else { got == expected };
        if !fits {
            let _ = writeln!(wrong, "{expression}\n  expected {expected}\n  got      {got}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
