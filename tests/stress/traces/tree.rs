//! The files that the steps read, and the ways in which they are changed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ground::remove;
use crate::random::Random;
use crate::support::{Outcome, succeed};

/// The copied directories: what is in the second hides what is in the first, where both are copied.
pub(super) const TREES: [&str; 2] = ["tree", "over"];

/// Files, with their modes.
const FILES: [(&str, u32, &str); 36] = [
    ("tree/src/a.txt", 0o644, "alpha\nbeta\ngamma\n"),
    ("tree/src/b.txt", 0o644, "alpha\nbeta\ndelta\n"),
    ("tree/src/.hidden", 0o644, "hidden\n"),
    ("tree/src/data/one.txt", 0o644, "one\n"),
    ("tree/src/data/two.txt", 0o644, "two beta\n"),
    ("tree/src/data/three.txt", 0o600, "three\n"),
    ("tree/src/data/empty.txt", 0o644, ""),
    ("tree/src/data/.quiet", 0o644, "quiet\n"),
    ("tree/src/data/deep/x/y/z.txt", 0o644, "z alpha\n"),
    ("tree/src/data/deep/x/w.txt", 0o640, "w\n"),
    ("tree/src/first/other.inc", 0o644, "OTHER=first\n"),
    ("tree/src/second/value.inc", 0o644, "VALUE=second\n"),
    ("tree/src/second/other.inc", 0o644, "OTHER=second\n"),
    ("tree/src/run.sh", 0o755, "#!/bin/sh\n. ./lib.sh\nhello \"$1\"\n"),
    ("tree/src/lib.sh", 0o644, "hello() { echo \"hello $1\"; cat data/two.txt; }\n"),
    ("tree/src/settings.env", 0o644, "A=1\nB=\"two words\"\n"),
    ("tree/src/list.txt", 0o644, "a.txt\ndata/one.txt\nmissing.txt\ndata/deep/x/w.txt\n"),
    ("tree/src/change.sed", 0o644, "s/1/one/\n/9$/d\n"),
    ("tree/src/sum.awk", 0o644, "{ sum += $2 } END { print NR, sum }\n"),
    ("tree/src/gone/x/y/file", 0o644, "gone\n"),
    ("tree/src/gone/link-me", 0o755, "link me\n"),
    ("tree/src/closed/secret.txt", 0o600, "secret\n"),
    ("tree/src/hollow/in/.keep", 0o644, ""),
    ("tree/src/main.c", 0o644, "#include <stdio.h>\n#include \"one.h\"\nint main(void) { return ONE; }\n"),
    ("tree/src/inc2/one.h", 0o644, "#include \"two.h\"\n#define ONE TWO\n"),
    ("tree/src/inc2/two.h", 0o644, "#define TWO 0\n"),
    ("tree/src/inc1/three.h", 0o644, "#define THREE 3\n"),
    ("tree/src/pack/__init__.py", 0o644, "from . import part\n"),
    ("tree/src/pack/part.py", 0o644, "VALUE = 1\n"),
    ("tree/usr/local/bin/greet", 0o755, "#!/bin/sh\n. /usr/local/lib/greeting\necho \"$GREETING\"\n"),
    ("tree/usr/local/bin/plain", 0o644, "not a program\n"),
    ("tree/usr/local/lib/greeting", 0o644, "GREETING=hello\n"),
    ("over/src/b.txt", 0o600, "from above\n"),
    ("over/src/data/four.txt", 0o644, "four\n"),
    ("over/src/data/deep/x/w.txt", 0o644, "w from above\n"),
    ("over/usr/local/lib/greeting", 0o644, "GREETING=welcome\n"),
];

/// Symbolic links.
const LINKS: [(&str, &str); 7] = [
    ("tree/src/link", "data/one.txt"),
    ("tree/src/directory-link", "data"),
    ("tree/src/up", "../src/a.txt"),
    ("tree/src/dangling", "data/missing.txt"),
    ("tree/src/loop", "loop"),
    ("tree/src/absolute", "/usr/local/lib"),
    ("tree/src/box", "/bin/busybox"),
];

/// What a new file may hide: programs of the base image, its users, files that are looked for before others, files that steps
/// find missing.
const SHADOWS: [(&str, u32, &str); 18] = [
    ("usr/local/bin/cat", 0o755, "#!/bin/sh\necho shadow of cat\n"),
    ("usr/local/bin/ls", 0o755, "#!/bin/sh\necho shadow of ls\n"),
    ("usr/local/bin/grep", 0o644, "no program\n"),
    ("usr/local/sbin/find", 0o755, "#!/bin/sh\necho shadow of find\n"),
    ("usr/local/sbin/greet", 0o755, "#!/bin/sh\necho another greeting\n"),
    ("usr/local/bin/absent", 0o755, "#!/bin/sh\necho it is there\n"),
    ("bin/absent", 0o755, "#!/bin/sh\necho it is there\n"),
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:another:/home/other:/bin/sh\n"),
    ("etc/group", 0o644, "root:x:0:\napp:x:1000:\nnew:x:2000:app\n"),
    ("src/first/value.inc", 0o644, "VALUE=first\n"),
    ("src/first/one.h", 0o644, "#define ONE 7\n"),
    ("src/inc1/two.h", 0o644, "#define TWO 2\n"),
    ("src/inc1/one.h", 0o644, "#define ONE 1\n"),
    ("src/missing.txt", 0o644, "not missing\n"),
    ("src/data/missing.txt", 0o644, "not missing\n"),
    ("src/stdio.h", 0o644, "#error shadowed\n"),
    ("src/part.py", 0o644, "VALUE = 3\n"),
    ("usr/share/doc/unrelated", 0o644, "nobody reads this\n"),
];

/// A way to change a tree.
type Change = fn(&Tree<'_>, &mut Random) -> Result<Option<String>, String>;

/// All ways, by name.
const CHANGES: [(&str, Change); 21] = [
    ("edit of the same size", |tree, random| tree.rewrite(random, |bytes| bytes.iter_mut().for_each(other_letter))),
    ("growth", |tree, random| tree.rewrite(random, |bytes| bytes.extend_from_slice(b"one more beta\n"))),
    ("shortening", |tree, random| tree.rewrite(random, |bytes| bytes.truncate(bytes.len() / 2))),
    ("emptying", |tree, random| tree.rewrite(random, Vec::clear)),
    ("new file", |tree, random| tree.new_file(random)),
    ("new directory", |tree, random| tree.new_directory(random)),
    ("new deep file", |tree, random| tree.new_deep_file(random)),
    ("removed file", |tree, random| tree.remove_file(random)),
    ("removed directory", |tree, random| tree.remove_directory(random)),
    ("mode of a file", |tree, random| tree.change_mode(random, Kind::File)),
    ("mode of a directory", |tree, random| tree.change_mode(random, Kind::Directory)),
    ("file to directory", |tree, random| tree.file_to_directory(random)),
    ("directory to link", |tree, random| tree.directory_to_link(random)),
    ("file to link", |tree, random| tree.file_to_link(random)),
    ("other target of a link", |tree, random| tree.retarget(random)),
    ("new link", |tree, random| tree.new_link(random)),
    ("new hard link", |tree, random| tree.hard_link(random)),
    ("renaming", |tree, random| tree.rename(random)),
    ("other pairs of hard links", |tree, random| tree.other_pairs(random)),
    ("exchange of two files", |tree, random| tree.exchange(random)),
    ("shadow", |tree, random| tree.shadow(random)),
];

/// Kinds of files that a change is looked for among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
}

/// The copied directories, below one.
pub(super) struct Tree<'a> {
    context: &'a Path,
}

impl<'a> Tree<'a> {
    /// Those below `context`.
    pub(super) fn new(context: &'a Path) -> Self {
        Self { context }
    }

    /// Makes them as they are at first.
    pub(super) fn reset(&self) -> Outcome {
        for tree in TREES {
            remove(&self.context.join(tree))?;
        }
        for (path, mode, content) in FILES {
            self.write(path, mode, content.as_bytes())?;
        }
        for number in 0..6_usize {
            // Some pages, so that a step can read one of them only; few files have the same.
            let letters: Vec<u8> = (0..40_000).map(|at| b"abcdefgh"[(at / 7 + at / 4096 + number) % 8]).collect();
            self.write(&format!("tree/src/large/{number}.bin"), 0o644, &letters)?;
        }
        let lines: Vec<String> = (0..200).map(|number| format!("word{} {number}\n", number % 17)).collect();
        self.write("tree/src/words.txt", 0o644, lines.concat().as_bytes())?;
        for (path, target) in LINKS {
            let path = self.context.join(path);
            symlink(target, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.write("tree/src/data/twin.txt", 0o644, b"")?;
        self.link("tree/src/data/one.txt", "tree/src/data/twin.txt")?;
        self.pair_up(["a", "b", "c", "d"])?;
        self.permit("tree/src/closed", 0o700)
    }

    /// Changes something in one of the ways that `only` names, or in any if it names none, and says what. Three of ten times it
    /// is two things.
    pub(super) fn change(&self, random: &mut Random, only: &[&str]) -> Result<Vec<String>, String> {
        let wanted = if random.below(10) < 3 { 2 } else { 1 };
        let ways: Vec<_> = CHANGES.iter().filter(|(name, _)| only.is_empty() || only.contains(name)).collect();
        let mut done = Vec::new();
        while done.len() < wanted {
            let Some((name, change)) = random.choose(&ways) else { break };
            if let Some(what) = change(self, random)? {
                done.push(format!("{name}: {what}"));
            }
        }
        Ok(done)
    }

    /// Gives everything another time and changes nothing else.
    pub(super) fn touch(&self) -> Outcome {
        let time = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
        for kind in [Kind::File, Kind::Directory] {
            for path in self.all(kind)? {
                let path = self.context.join(path);
                let file = fs::File::open(&path).map_err(failed(&path))?;
                file.set_times(time).map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    /// Packs the first of the directories beside it, where steps find it as `tree.tar`.
    pub(super) fn pack(&self) -> Outcome {
        let archive = self.context.join("tree.tar");
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(self.context.join(TREES[0]));
        succeed(tar.arg(".")).map(drop)
    }

    fn write(&self, path: &str, mode: u32, content: &[u8]) -> Outcome {
        let target = self.context.join(path);
        let parent = target.parent().ok_or("a file is in a directory")?;
        fs::create_dir_all(parent).map_err(failed(parent))?;
        let mut file = fs::File::create(&target).map_err(failed(&target))?;
        file.write_all(content).map_err(failed(&target))?;
        self.permit(path, mode)
    }

    fn permit(&self, path: &str, mode: u32) -> Outcome {
        let target = self.context.join(path);
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(failed(&target))
    }

    /// All files of a kind, by their paths from the context, in a fixed order.
    fn all(&self, kind: Kind) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let mut directories: Vec<PathBuf> = TREES.iter().map(|tree| self.context.join(tree)).collect();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
                let entry = entry.map_err(failed(&directory))?;
                let of = entry.file_type().map_err(failed(&directory))?;
                let of = match of {
                    of if of.is_dir() => Kind::Directory,
                    of if of.is_symlink() => Kind::Link,
                    _ => Kind::File,
                };
                if of == Kind::Directory {
                    directories.push(entry.path());
                }
                if of == kind {
                    let path = entry.path();
                    let path = path.strip_prefix(self.context).map_err(|error| error.to_string())?;
                    found.push(path.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn any(&self, random: &mut Random, kind: Kind) -> Result<Option<String>, String> {
        Ok(random.choose(&self.all(kind)?).cloned())
    }

    /// A directory that a step could look into: the top ones among them.
    fn any_place(&self, random: &mut Random) -> Result<String, String> {
        let mut places = self.all(Kind::Directory)?;
        places.extend(TREES.map(str::to_owned));
        random.choose(&places).cloned().ok_or_else(|| "there is no directory".to_owned())
    }

    fn rewrite(&self, random: &mut Random, edit: impl FnOnce(&mut Vec<u8>)) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, Kind::File)? else { return Ok(None) };
        let target = self.context.join(&path);
        let before = fs::read(&target).map_err(failed(&target))?;
        let mut bytes = before.clone();
        edit(&mut bytes);
        if bytes == before {
            return Ok(None);
        }
        fs::write(&target, bytes).map_err(failed(&target))?;
        Ok(Some(path))
    }

    fn new_file(&self, random: &mut Random) -> Result<Option<String>, String> {
        let name = *random.choose(&["new.txt", "zero.txt", ".new", "fresh.sh"]).unwrap_or(&"new.txt");
        let path = format!("{}/{name}", self.any_place(random)?);
        self.is_new(&path, || self.write(&path, 0o644, b"fresh alpha\n"))
    }

    fn new_directory(&self, random: &mut Random) -> Result<Option<String>, String> {
        let path = format!("{}/fresh", self.any_place(random)?);
        let target = self.context.join(&path);
        self.is_new(&path, || fs::create_dir(&target).map_err(failed(&target)))
    }

    fn new_deep_file(&self, random: &mut Random) -> Result<Option<String>, String> {
        let path = format!("{}/down/and/down/deep.txt", self.any_place(random)?);
        self.is_new(&path, || self.write(&path, 0o755, b"deep alpha\n"))
    }

    fn remove_file(&self, random: &mut Random) -> Result<Option<String>, String> {
        let kind = if random.one_in(4) { Kind::Link } else { Kind::File };
        let Some(path) = self.any(random, kind)? else { return Ok(None) };
        let target = self.context.join(&path);
        fs::remove_file(&target).map_err(failed(&target))?;
        Ok(Some(path))
    }

    fn remove_directory(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, Kind::Directory)?.filter(|path| is_deep(path)) else { return Ok(None) };
        remove(&self.context.join(&path))?;
        Ok(Some(path))
    }

    fn change_mode(&self, random: &mut Random, kind: Kind) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, kind)? else { return Ok(None) };
        let modes: &[u32] =
            if kind == Kind::File { &[0o600, 0o640, 0o711, 0o755, 0o4755] } else { &[0o700, 0o750, 0o1777] };
        let mode = *random.choose(modes).unwrap_or(&0o700);
        let target = self.context.join(&path);
        let before = fs::metadata(&target).map_err(failed(&target))?.permissions().mode() & 0o7777;
        if before == mode {
            return Ok(None);
        }
        self.permit(&path, mode)?;
        Ok(Some(format!("{path} {mode:o}")))
    }

    fn file_to_directory(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, Kind::File)? else { return Ok(None) };
        let target = self.context.join(&path);
        fs::remove_file(&target).map_err(failed(&target))?;
        self.write(&format!("{path}/inside"), 0o644, b"inside alpha\n")?;
        Ok(Some(path))
    }

    fn directory_to_link(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, Kind::Directory)?.filter(|path| is_deep(path)) else { return Ok(None) };
        let target = self.context.join(&path);
        remove(&target)?;
        symlink("/src/data", &target).map_err(failed(&target))?;
        Ok(Some(path))
    }

    fn file_to_link(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, Kind::File)? else { return Ok(None) };
        let target = self.context.join(&path);
        fs::remove_file(&target).map_err(failed(&target))?;
        symlink("/src/b.txt", &target).map_err(failed(&target))?;
        Ok(Some(path))
    }

    fn retarget(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some(path) = self.any(random, Kind::Link)? else { return Ok(None) };
        let to = *random.choose(&["a.txt", "data", "data/two.txt", "/src/data/deep", "nowhere"]).unwrap_or(&"a.txt");
        let target = self.context.join(&path);
        if fs::read_link(&target).is_ok_and(|before| before == Path::new(to)) {
            return Ok(None);
        }
        fs::remove_file(&target).map_err(failed(&target))?;
        symlink(to, &target).map_err(failed(&target))?;
        Ok(Some(format!("{path} -> {to}")))
    }

    fn new_link(&self, random: &mut Random) -> Result<Option<String>, String> {
        let path = format!("{}/new-link", self.any_place(random)?);
        let target = self.context.join(&path);
        self.is_new(&path, || symlink("/src/data/one.txt", &target).map_err(failed(&target)))
    }

    fn hard_link(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some(from) = self.any(random, Kind::File)? else { return Ok(None) };
        // Within one of the copied directories: a copy makes what is linked in it.
        let tree = from.split('/').next().unwrap_or_default();
        let path = format!("{}/hard.txt", self.any_place(random)?);
        if path.split('/').next() != Some(tree) {
            return Ok(None);
        }
        let target = self.context.join(&path);
        let linked = || fs::hard_link(self.context.join(&from), &target).map_err(failed(&target));
        Ok(self.is_new(&path, linked)?.map(|path| format!("{path} = {from}")))
    }

    /// Four names of the same content, which are two files: the first two names, and the other two.
    fn pair_up(&self, names: [&str; 4]) -> Outcome {
        let [first, its_pair, second, other_pair] = names.map(|name| format!("tree/src/data/pair-{name}"));
        for path in [&first, &its_pair, &second, &other_pair] {
            self.write(path, 0o644, b"one of a pair\n")?;
        }
        self.link(&first, &its_pair)?;
        self.link(&second, &other_pair)
    }

    /// Makes an existing file another name of one.
    fn link(&self, from: &str, to: &str) -> Outcome {
        let target = self.context.join(to);
        fs::remove_file(&target).map_err(failed(&target))?;
        fs::hard_link(self.context.join(from), &target).map_err(failed(&target))
    }

    /// Pairs the four names in another way, where they are as they were at first.
    fn other_pairs(&self, random: &mut Random) -> Result<Option<String>, String> {
        let names = ["a", "b", "c", "d"].map(|name| self.context.join(format!("tree/src/data/pair-{name}")));
        if !names.iter().all(|path| path.symlink_metadata().is_ok_and(|node| node.is_file())) {
            return Ok(None);
        }
        self.pair_up(if random.one_in(2) { ["a", "c", "b", "d"] } else { ["a", "d", "b", "c"] })?;
        Ok(Some("data/pair-*".to_owned()))
    }

    fn rename(&self, random: &mut Random) -> Result<Option<String>, String> {
        let kind = *random.choose(&[Kind::File, Kind::Directory, Kind::Link]).unwrap_or(&Kind::File);
        let Some(from) = self.any(random, kind)?.filter(|path| is_deep(path)) else { return Ok(None) };
        let to = format!("{}/renamed", self.any_place(random)?);
        if to.starts_with(&format!("{from}/")) {
            return Ok(None);
        }
        let target = self.context.join(&to);
        let moved = || fs::rename(self.context.join(&from), &target).map_err(failed(&target));
        Ok(self.is_new(&to, moved)?.map(|to| format!("{from} to {to}")))
    }

    fn exchange(&self, random: &mut Random) -> Result<Option<String>, String> {
        let (Some(one), Some(other)) = (self.any(random, Kind::File)?, self.any(random, Kind::File)?) else {
            return Ok(None);
        };
        if one == other {
            return Ok(None);
        }
        let [first, second, between] = [&one, &other, &"between".to_owned()].map(|path| self.context.join(path));
        for (from, to) in [(&first, &between), (&second, &first), (&between, &second)] {
            fs::rename(from, to).map_err(failed(from))?;
        }
        Ok(Some(format!("{one} and {other}")))
    }

    fn shadow(&self, random: &mut Random) -> Result<Option<String>, String> {
        let Some((path, mode, content)) = random.choose(&SHADOWS) else { return Ok(None) };
        let tree = random.choose(&TREES).unwrap_or(&"tree");
        let path = format!("{tree}/{path}");
        self.is_new(&path, || self.write(&path, *mode, content.as_bytes()))
    }

    /// Makes something where nothing is, and nothing on the way to it is in the way.
    fn is_new(&self, path: &str, make: impl FnOnce() -> Outcome) -> Result<Option<String>, String> {
        let target = self.context.join(path);
        let mut above = target.ancestors().skip(1);
        let in_the_way = above
            .any(|place| place.starts_with(self.context) && place.symlink_metadata().is_ok_and(|node| !node.is_dir()));
        if in_the_way || target.symlink_metadata().is_ok() {
            return Ok(None);
        }
        make()?;
        Ok(Some(path.to_owned()))
    }
}

/// Whether a path is no directory that the Dockerfile names.
fn is_deep(path: &str) -> bool {
    !TREES.contains(&path) && !matches!(path.split_once('/'), Some((_, "src" | "usr")))
}

/// Another letter, so that a file keeps its size and its lines.
fn other_letter(byte: &mut u8) {
    if byte.is_ascii_lowercase() {
        *byte = b'a' + (*byte - b'a' + 1) % 26;
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}
