//! A thousand damaged archives: where this reader accepts one, GNU tar and Python's `tarfile` see the same entries in it.
//! Differences may only be where it refuses. The damage is made from a fixed seed, so a failure can be looked at again.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use bake_oci::layer::entry::clean_name;
use bake_oci::{EntryKind, LayerReader, ReadLimits};
use bake_testkit::archive_bytes::{file, link, long, sparse, with_mode};

use super::support::{GNU, archive, header, menagerie, padded, pax, seal, ustar, write};

/// How many archives are made.
const ARCHIVES: u32 = 1200;

/// A small generator (xorshift): the same archives on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Archives of every format, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    let inner = file("smuggled", b"evil");
    let size = inner.len().to_string();
    let name = "n".repeat(150);
    vec![
        write(&menagerie()),
        archive(&[file("a", b"one"), ustar("d/", b'5', 0), file("d/b", &[7; 700]), link("d/l", b'2', "../a")]),
        archive(&[pax(b'x', &[("size", &size)]), ustar("outer", b'0', 0), inner.clone(), file("after", b"x")]),
        archive(&[pax(b'x', &[("path", "renamed"), ("mtime", "1.5")]), file("short", b"data"), file("z", b"")]),
        archive(&[long(b'L', format!("{name}\0").as_bytes()), file("short", b"data"), file("after", b"x")]),
        archive(&[long(b'K', format!("{name}\0").as_bytes()), link("l", b'2', "short"), link("h", b'1', "l")]),
        archive(&[sparse("s", "20", "2\n3\n4\n10\n2\n", b"abcdef"), file("after", b"x")]),
        archive(&[
            pax(b'g', &[("uid", "7")]),
            with_mode(file("a", b"x"), 0o4755),
            header("v7/", b'\0', b"0\0", [0; 8]),
        ]),
        archive(&[header("g", b'0', b"00000000004\0", GNU), padded(b"data"), file("after", b"x")]),
        archive(&[header("b", b'0', b"\x80\0\0\0\0\0\0\0\0\0\x02\0", GNU), vec![3; 512], inner]),
    ]
}

/// Changes one thing; often so that the checksum is right again.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let blocks = bytes.len() / 512;
    let block = random.below(blocks);
    let at = block * 512;
    match random.below(8) {
        0 => {
            let place = random.below(bytes.len());
            bytes[place] ^= 1 << random.below(8);
        }
        // A field of a header: name, mode, owner, size, time, type, link target, magic, prefix.
        1..=3 => {
            let (offset, length) = random.one_of(&[
                (0, 100),
                (100, 8),
                (108, 8),
                (124, 12),
                (124, 12),
                (136, 12),
                (156, 1),
                (157, 100),
                (257, 8),
                (345, 155),
            ]);
            let values: [&[u8]; 14] = [
                b"",
                b"/",
                b"./",
                b"../x",
                b"a/",
                b"0",
                b"00000001000\0",
                b"77777777777\0",
                b"        ",
                b"1",
                b"5",
                b"x",
                b"\x80\0\0\0\0\0\0\0\0\0\x02\0",
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0",
            ];
            let value = random.one_of(&values);
            let count = value.len().min(length);
            bytes[at + offset..at + offset + count].copy_from_slice(&value[..count]);
            if count < length {
                bytes[at + offset + count] = 0;
            }
            if random.below(4) > 0 {
                seal(&mut bytes[at..at + 512]);
            }
        }
        4 => {
            let copy = bytes[at..at + 512].to_vec();
            let to = random.below(blocks + 1) * 512;
            bytes.splice(to..to, copy);
        }
        5 => drop(bytes.drain(at..at + 512)),
        6 => bytes.truncate(random.below(bytes.len())),
        // A digit somewhere: lengths of records and numbers of maps.
        _ => {
            let digits: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place].is_ascii_digit()).collect();
            let place = digits[random.below(digits.len())];
            bytes[place] = b'0' + u8::try_from(random.below(10)).unwrap();
            if random.below(2) > 0 {
                let at = place / 512 * 512;
                let end = (at + 512).min(bytes.len());
                if end - at == 512 {
                    seal(&mut bytes[at..end]);
                }
            }
        }
    }
}

/// An entry as programs tell it: its clean name, `f` for a file, `d`, `l`, `h` and so on, and its size.
type Seen = (String, char, u64);

/// What this reader makes of an archive; `None` when it refuses it.
fn ours(bytes: &[u8]) -> Option<Vec<Seen>> {
    let limits = ReadLimits { content_bytes: 1 << 30, ..ReadLimits::default() };
    let mut reader = LayerReader::with_limits(bytes, limits);
    let mut seen = Vec::new();
    while let Some(mut read) = reader.next_entry().ok()? {
        io::copy(&mut read, &mut io::sink()).ok()?;
        let kind = match read.entry.kind {
            EntryKind::File { .. } => 'f',
            EntryKind::HardLink { .. } => 'h',
            EntryKind::Symlink { .. } => 'l',
            EntryKind::Directory => 'd',
            EntryKind::CharacterDevice { .. } => 'c',
            EntryKind::BlockDevice { .. } => 'b',
            EntryKind::Fifo => 'p',
        };
        seen.push((shown(&read.entry.path), kind, read.entry.size()));
    }
    reader.finish().ok()?;
    Some(seen)
}

/// A name without what is not ASCII, which the programs write in ways of their own.
fn shown(name: &[u8]) -> String {
    let clean = clean_name(name).unwrap_or_else(|_| name.to_vec());
    clean.iter().map(|byte| if byte.is_ascii_graphic() && *byte != b'\\' { char::from(*byte) } else { '?' }).collect()
}

/// The names in GNU tar's list, and whether it has nothing to object to; `None` when it is not installed.
fn gnu_tar(path: &Path) -> Option<(Vec<String>, bool)> {
    let mut command = Command::new("tar");
    command.args(["--absolute-names", "--quoting-style=escape", "-tf"]).arg(path).env("LC_ALL", "C");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("tar: {error}"),
    };
    let mut names = Vec::new();
    let lines = output.stdout.strip_suffix(b"\n").map(|lines| lines.split(|byte| *byte == b'\n'));
    for line in lines.into_iter().flatten() {
        let mut name = Vec::new();
        let mut rest = line.iter().copied();
        while let Some(byte) = rest.next() {
            if byte == b'\\' {
                // Each escape stands for one byte that is not shown.
                if rest.next().is_some_and(|letter| letter.is_ascii_digit()) {
                    rest.by_ref().take(2).for_each(drop);
                }
                name.push(b'?');
            } else {
                name.push(byte);
            }
        }
        names.push(shown(&name));
    }
    Some((names, output.status.success()))
}

const PYTHON: &str = r"
import sys, tarfile
kinds = {tarfile.REGTYPE: 'f', tarfile.AREGTYPE: 'f', tarfile.CONTTYPE: 'f', tarfile.GNUTYPE_SPARSE: 'f', tarfile.LNKTYPE: 'h',
         tarfile.SYMTYPE: 'l', tarfile.CHRTYPE: 'c', tarfile.BLKTYPE: 'b', tarfile.DIRTYPE: 'd', tarfile.FIFOTYPE: 'p'}
for path in sys.argv[1:]:
    print('archive', path)
    try:
        for m in tarfile.open(path, 'r:'):
            name = m.name.encode('utf-8', 'surrogateescape').hex() or '-'
            print('entry', kinds.get(m.type, '?'), m.size if kinds.get(m.type) == 'f' else 0, name)
    except Exception as error:
        print('error', repr(error).replace('\n', ' '))
";

#[test]
fn what_is_accepted_is_what_other_readers_see() {
    let directory = tempfile::tempdir().unwrap();
    let seeds = seeds();
    let mut random = Random(0x5eed_ba4e_0dd5_1de5);
    let mut accepted = Vec::new();
    for number in 0..ARCHIVES {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(2) {
            if bytes.len() >= 512 {
                damage(&mut bytes, &mut random);
            }
        }
        if let Some(seen) = ours(&bytes) {
            let path = directory.path().join(number.to_string());
            fs::write(&path, &bytes).unwrap();
            accepted.push((number, path, seen));
        }
    }
    // Otherwise there is nothing to compare.
    assert!(accepted.len() > ARCHIVES as usize / 8, "only {} accepted", accepted.len());
    let mut differences = Vec::new();
    for (number, path, seen) in &accepted {
        let Some((listed, is_content)) = gnu_tar(path) else { break };
        let names: Vec<String> = seen.iter().map(|(name, ..)| name.clone()).collect();
        // It may refuse more, but must not see other entries.
        let is_same = if is_content { listed == names } else { names.starts_with(&listed) };
        if !is_same {
            let first = listed.iter().zip(&names).position(|(theirs, ours)| theirs != ours);
            let first = first.unwrap_or(listed.len().min(names.len()));
            let (theirs, ours) = (listed.get(first), names.get(first));
            differences.push(format!("{number}: GNU tar has {theirs:?} instead of {ours:?}"));
        }
    }
    let output = Command::new("python3").arg("-c").arg(PYTHON).args(accepted.iter().map(|(_, path, _)| path)).output();
    if let Ok(output) = output {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for (told, (number, _, seen)) in text.split("archive ").skip(1).zip(&accepted) {
            let entries: Vec<Seen> = told.lines().filter_map(python_entry).collect();
            // It may refuse more, and then ends without a word; and it takes the times in old GNU headers for the start of
            // a name.
            let is_same = |(told, own): (&Seen, &Seen)| {
                // A file whose name ends with a slash is a directory to all others.
                let kinds = told.1 == own.1 || (told.1, own.1, told.2) == ('f', 'd', 0);
                kinds && told.2 == own.2 && (told.0 == own.0 || told.0.ends_with(&format!("/{}", own.0)))
            };
            let first = entries.iter().zip(seen).position(|pair| !is_same(pair));
            if let Some(first) = first.or((entries.len() > seen.len()).then_some(seen.len())) {
                differences.push(format!("{number}: Python has {:?} instead of {:?}", entries[first], seen.get(first)));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn python_entry(line: &str) -> Option<Seen> {
    let mut words = line.strip_prefix("entry ")?.split(' ');
    let (kind, size, name) = (words.next()?, words.next()?, words.next()?);
    let name = bake_oci::digest::from_hex(name).unwrap_or_default();
    Some((shown(&name), kind.chars().next()?, size.parse().ok()?))
}
