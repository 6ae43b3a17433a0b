//! Modules of Go: those that programs were built from, and those that `go.mod` and `go.sum` ask for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::elf::Elf;
use crate::files::shown;
use crate::inventory::{Ecosystem, Package, Standing};
use crate::purl::purl;
use crate::scan::{Input, Problem, Scan};
use crate::sources::{Source, beside, is_own};

/// How the block begins that Go's linker leaves (`debug/buildinfo`).
const BUILD_INFORMATION_MAGIC: &[u8] = b"\xff Go buildinf:";
/// It stands at a multiple of this.
const BUILD_INFORMATION_ALIGN: usize = 16;
/// Its fixed part.
const HEADER_BYTES: u64 = 32;
/// How far into the first writable segment it is looked for, as Go does where there are no sections.
const SEARCHED_BYTES: u64 = 64 << 10;
/// The longest text in it: a line for each module, of which this is enough for some ten thousand.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// What stands before and after the list of modules, so that it can be found in memory.
const SENTINEL_BYTES: usize = 16;
/// The Go version from which on `go.mod` lists every module that is needed.
const COMPLETE_SINCE: (u32, u32) = (1, 17);

/// The file that says what a module needs.
pub(crate) const GO_MOD: Source =
    Source { wants: |entry| entry.name() == b"go.mod" && is_own(entry), read: read_go_mod };
/// The checksums of everything that was ever needed. It says more than is true, and is of use where `go.mod` says less.
pub(crate) const GO_SUM: Source =
    Source { wants: |entry| entry.name() == b"go.sum" && is_own(entry), read: read_go_sum };

/// Adds the modules that a program was built from. One that is not Go's says nothing.
pub(super) fn read_program(scan: &mut Scan<'_>, path: &[u8], input: &Input, elf: &Elf<'_>) -> Result<(), Problem> {
    let Some(offset) = find(input, elf)? else { return Ok(()) };
    let header = input.read(offset, HEADER_BYTES)?;
    let (version, modules) = if header[15] & 2 != 0 { inline(input, offset)? } else { by_address(elf, &header)? };
    let version = version.strip_prefix("go").unwrap_or(&version).split(' ').next().unwrap_or_default().to_owned();
    if version.starts_with(|first: char| first.is_ascii_digit()) {
        add(scan, path, "stdlib", &version, Standing::Installed)?;
    }
    let Some(modules) = modules.get(SENTINEL_BYTES..modules.len().saturating_sub(SENTINEL_BYTES)) else {
        return Ok(());
    };
    let mut lines =
        String::from_utf8_lossy(modules).lines().map(str::to_owned).collect::<Vec<_>>().into_iter().peekable();
    while let Some(line) = lines.next() {
        let fields: Vec<&str> = line.split('\t').collect();
        let ["mod" | "dep", name, version, ..] = fields.as_slice() else { continue };
        // A module that was replaced is another one.
        let replacement = lines.next_if(|next| next.starts_with("=>\t"));
        let replaced: Option<Vec<&str>> = replacement.as_deref().map(|line| line.split('\t').collect());
        let (name, version) = match replaced.as_deref() {
            Some(["=>", name, version, ..]) if !is_local(name) => (*name, *version),
            _ => (*name, *version),
        };
        let version = if version == "(devel)" { "" } else { version };
        add(scan, path, name, version, Standing::Installed)?;
    }
    Ok(())
}

/// Where the block is.
fn find(input: &Input, elf: &Elf<'_>) -> Result<Option<u64>, Problem> {
    let Some((offset, size)) = elf.section(b".go.buildinfo").or_else(|| elf.writable_segment()) else {
        return Ok(None);
    };
    let rest = input.size_bytes().saturating_sub(offset);
    let bytes = input.read(offset, size.min(SEARCHED_BYTES).min(rest))?;
    let starts = |chunk: &[u8]| chunk.starts_with(BUILD_INFORMATION_MAGIC);
    Ok(bytes
        .chunks(BUILD_INFORMATION_ALIGN)
        .position(starts)
        .map(|index| offset + (index * BUILD_INFORMATION_ALIGN) as u64))
}

/// Since Go 1.18: both texts follow the header, each after its length.
fn inline(input: &Input, offset: u64) -> Result<(String, Vec<u8>), Problem> {
    let version_at = offset + HEADER_BYTES;
    let (version, next) = counted(input, version_at)?;
    let (modules, _) = counted(input, next)?;
    Ok((String::from_utf8_lossy(&version).into_owned(), modules))
}

/// Bytes after their length (unsigned LEB128), and where they end.
fn counted(input: &Input, offset: u64) -> Result<(Vec<u8>, u64), Problem> {
    let available = input.size_bytes().saturating_sub(offset).min(10);
    let prefix = input.read(offset, available)?;
    let mut length = 0_u64;
    for (index, byte) in prefix.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = offset + index as u64 + 1;
            return Ok((input.read(start, bounded(length)?)?, start + length));
        }
    }
    Err(Problem::damaged("a length in what it was built from is none"))
}

/// Before Go 1.18: the addresses of two texts follow, each of which is an address and a length.
fn by_address(elf: &Elf<'_>, header: &[u8]) -> Result<(String, Vec<u8>), Problem> {
    let order = elf.order();
    let text = |at: usize| -> Result<Vec<u8>, Problem> {
        let word = |bytes: &[u8], at| order.word(bytes, at).ok_or_else(|| Problem::damaged("it ends too early"));
        let place = word(header, at)?;
        if place == 0 {
            return Ok(Vec::new());
        }
        let text = elf.read_at_address(place, order.word_bytes as u64 * 2)?;
        let length = bounded(word(&text, order.word_bytes)?)?;
        elf.read_at_address(word(&text, 0)?, length)
    };
    Ok((String::from_utf8_lossy(&text(16)?).into_owned(), text(16 + order.word_bytes)?))
}

fn bounded(length: u64) -> Result<u64, Problem> {
    if length <= TEXT_BYTES_MAX { Ok(length) } else { Err(Problem::damaged("a text in it is too long")) }
}

fn read_go_mod(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let manifest = GoMod::parse(&scan.seen_text(path)?);
    for (name, version) in manifest.needed() {
        add(scan, path, name, version, Standing::Locked)?;
    }
    Ok(())
}

fn read_go_sum(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let manifest = scan.text(&beside(path, "go.mod"))?.map(|text| GoMod::parse(&text)).unwrap_or_default();
    if manifest.go >= COMPLETE_SINCE {
        return Ok(());
    }
    let known: BTreeSet<&str> = manifest.required.keys().map(String::as_str).collect();
    for line in scan.seen_text(path)?.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Of `version/go.mod` only the requirements were read.
        if let [name, version, _] = fields.as_slice()
            && !version.ends_with("/go.mod")
            && !known.contains(name)
        {
            add(scan, path, name, version, Standing::Locked)?;
        }
    }
    Ok(())
}

/// What matters here of a `go.mod` (<https://go.dev/ref/mod#go-mod-file>).
#[derive(Debug, Default)]
struct GoMod {
    /// The Go version that it is written for.
    go: (u32, u32),
    required: BTreeMap<String, String>,
    /// By name, and by name and version; what is replaced by a directory has no name.
    replaced: BTreeMap<(String, Option<String>), Replacement>,
}

/// What stands in for a module: a name and a version, or a directory.
type Replacement = Option<(String, String)>;

impl GoMod {
    fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut block = None;
        for line in text.lines() {
            let line = line.split("//").next().unwrap_or_default();
            let mut words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('"')).collect();
            match (block, words.as_slice()) {
                (_, []) => {}
                (Some(_), [")"]) => block = None,
                (None, [verb, "("]) => block = Some(Verb::of(verb)),
                (Some(verb), _) => manifest.take(verb, &words),
                (None, [_, ..]) => {
                    let verb = Verb::of(words.remove(0));
                    manifest.take(verb, &words);
                }
            }
        }
        manifest
    }

    fn take(&mut self, verb: Verb, words: &[&str]) {
        match (verb, words) {
            (Verb::Go, [version, ..]) => {
                let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
                self.go = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            }
            (Verb::Require, [name, version]) => drop(self.required.insert((*name).to_owned(), (*version).to_owned())),
            (Verb::Replace, _) => {
                let Some(arrow) = words.iter().position(|word| *word == "=>") else { return };
                let (from, to) = (&words[..arrow], &words[arrow + 1..]);
                let Some(name) = from.first() else { return };
                let to = match to {
                    [name, version] => Some(((*name).to_owned(), (*version).to_owned())),
                    _ => None,
                };
                self.replaced.insert(((*name).to_owned(), from.get(1).map(|version| (*version).to_owned())), to);
            }
            _ => {}
        }
    }

    /// What is needed, replacements done. A directory that stands in for a module is part of the program.
    fn needed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.required.iter().filter_map(|(name, version)| {
            let exact = self.replaced.get(&(name.clone(), Some(version.clone())));
            match exact.or_else(|| self.replaced.get(&(name.clone(), None))) {
                Some(Some((name, version))) => Some((name.as_str(), version.as_str())),
                Some(None) => None,
                None => Some((name.as_str(), version.as_str())),
            }
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Go,
    Require,
    Replace,
    Other,
}

impl Verb {
    fn of(word: &str) -> Self {
        match word {
            "go" => Self::Go,
            "require" => Self::Require,
            "replace" => Self::Replace,
            _ => Self::Other,
        }
    }
}

fn is_local(name: &str) -> bool {
    name.starts_with("./") || name.starts_with("../") || name.starts_with('/')
}

fn add(scan: &mut Scan<'_>, path: &[u8], name: &str, version: &str, standing: Standing) -> Result<(), Problem> {
    // The purl specification has names of Go in lower case.
    let lower = name.to_lowercase();
    let (namespace, last) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let mut package = Package::new(Ecosystem::Golang, name, version, purl("golang", namespace, last, version, &[]));
    package.standing = standing;
    if standing == Standing::Installed {
        package.own_file = Some(shown(path));
    }
    scan.add(path, package)
}

#[cfg(test)]
mod tests {
    use crate::elf::tests::{ADDRESS, program, program_of};
    use crate::testing::{inventory, purls, survives_damage};

    const MODULES: &str = "path\texample.com/app\nmod\texample.com/App\t(devel)\t\ndep\tgithub.com/BurntSushi/toml\tv1.3.2\th1:x=\n\
        dep\tgolang.org/x/net\tv0.1.0\n=>\tgolang.org/x/net\tv0.17.0\th1:y=\ndep\texample.com/local\tv1.0.0\n=>\t./local\t(devel)\t\n\
        build\t-compiler=gc\n";
    const EXPECTED: [&str; 5] = [
        "pkg:golang/example.com/app",
        "pkg:golang/example.com/local@v1.0.0",
        "pkg:golang/github.com/burntsushi/toml@v1.3.2",
        "pkg:golang/golang.org/x/net@v0.17.0",
        "pkg:golang/stdlib@1.21.3",
    ];

    fn framed() -> Vec<u8> {
        [&[1; 16][..], MODULES.as_bytes(), &[2; 16]].concat()
    }

    fn inline() -> Vec<u8> {
        let mut block = b"\xff Go buildinf:\x08\x02".to_vec();
        block.resize(32, 0);
        block.push(8);
        block.extend_from_slice(b"go1.21.3");
        let modules = framed();
        block.extend_from_slice(&[
            u8::try_from(modules.len() & 0x7f | 0x80).unwrap_or(0),
            u8::try_from(modules.len() >> 7).unwrap_or(0),
        ]);
        block.extend_from_slice(&modules);
        block.resize(block.len() + 300, 0);
        block
    }

    fn listed(program: &[u8]) -> Vec<String> {
        let found = inventory(&[("usr/bin/app", program)]);
        assert_eq!(found.warnings, []);
        found.packages().map(|package| package.purl.clone()).collect()
    }

    #[test]
    fn programs_tell_their_modules() {
        assert_eq!(listed(&program(".go.buildinfo", &inline())), EXPECTED);
        assert_eq!(listed(&program_of(".go.buildinfo", &inline(), false)), EXPECTED, "sections can be stripped");
        assert_eq!(listed(&program(".data", &[0; 400])), [""; 0]);
        assert_eq!(listed(&[b'#'; 400]), [""; 0]);
        survives_damage("usr/bin/app", &program(".go.buildinfo", &inline()));
    }

    #[test]
    fn programs_before_go_1_18_have_addresses() {
        // Behind the header: two texts of address and length, then their bytes.
        let modules = framed();
        let mut block = b"\xff Go buildinf:\x08\x00".to_vec();
        let words = [ADDRESS + 32, ADDRESS + 48, ADDRESS + 64, 8, ADDRESS + 72, modules.len() as u64];
        block.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        block.extend_from_slice(b"go1.21.3");
        block.extend_from_slice(&modules);
        assert_eq!(listed(&program(".go.buildinfo", &block)), EXPECTED);
        survives_damage("usr/bin/app", &program(".go.buildinfo", &block));
    }

    #[test]
    fn manifests_tell_what_is_needed() {
        let manifest = "module example.com/app // x\n\ngo 1.21\n\nrequire (\n\tgithub.com/a/B v1.0.0\n\tgolang.org/x/net v0.1.0 // indirect\n\
            \texample.com/local v1.0.0\n)\nrequire gopkg.in/yaml.v3 v3.0.1\nreplace golang.org/x/net => golang.org/x/net v0.17.0\n\
            replace example.com/local v1.0.0 => ../local\nexclude (\n\texample.com/old v1.0.0\n)\n";
        let sum = "github.com/a/B v1.0.0 h1:x=\ngithub.com/old/c v0.9.0 h1:y=\ngithub.com/d/e v1.0.0/go.mod h1:z=\n";
        let complete = [
            "pkg:golang/github.com/a/b@v1.0.0",
            "pkg:golang/golang.org/x/net@v0.17.0",
            "pkg:golang/gopkg.in/yaml.v3@v3.0.1",
        ];
        assert_eq!(purls(&[("src/go.mod", manifest), ("src/go.sum", sum)]), complete);
        // Before 1.17 the requirements of requirements are in `go.sum` only.
        let old = manifest.replace("go 1.21", "go 1.16");
        let found = purls(&[("src/go.mod", old.as_str()), ("src/go.sum", sum)]);
        assert_eq!(found.len(), 4);
        assert!(found.contains(&"pkg:golang/github.com/old/c@v0.9.0".to_owned()));
        assert_eq!(
            purls(&[("root/go/pkg/mod/github.com/x/y@v1/go.mod", manifest), ("src/vendor/x/go.mod", manifest)]),
            [""; 0]
        );
        survives_damage("go.mod", manifest.as_bytes());
        survives_damage("go.sum", sum.as_bytes());
    }
}
