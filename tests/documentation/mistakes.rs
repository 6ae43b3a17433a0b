//! That a page with a mistake fails: pages that nobody could get wrong would prove nothing.

use super::ground::{Base, Ground};
use super::support::{Environment, Outcome, check};
use super::{run, typed};

/// Pages that are wrong, and what has to be said of them.
const TYPED: [(&str, &str); 10] = [
    ("```dockerfile\nRUN a\nFRM b\n```\n", "FRM"),
    ("```yaml\na: [\n```\n", "page.md:1"),
    ("```sh\nbake build --tga x .\n```\n", "--tga"),
    ("```console\n$ A=1 bake bulid . | cat\n```\n", "bulid"),
    ("```sh\ncargo xtask nothing\n```\n", "nothing"),
    ("```toml\na = \n```\n", "page.md:1"),
    ("text\n\nabout `bake prune --everything`\n", "page.md:3"),
    ("about `bake prone`\n", "no such command"),
    ("```sh\nbake images\n", "without end"),
    ("<!-- not run: why -->\n# Title\n", "no block"),
];
/// The same for pages whose commands can be typed.
const RUN: [(&str, &str); 8] = [
    ("```sh\nbake images\nbake inspect nothing\n```\n", "`bake inspect nothing` ended with Some(2)"),
    ("```sh\nfalse\nbake images\n```\n", "`false` ended"),
    ("<!-- fails -->\n```sh\nbake images\n```\n", "nothing fails"),
    ("<!-- fails -->\n```sh\nbake inspect nothing\nbake images\n```\n", "another command than the last one"),
    ("<!-- output -->\n```console\n$ echo one two\none three\n```\n", "`one three`"),
    ("```sh\nseq 3\n```\n<!-- output -->\n```text\nno\n```\n", "`no`"),
    ("<!-- before: bake inspect nothing -->\n```sh\nbake images\n```\n", "before the block"),
    ("`x/Dockerfile`:\n\n```text\nFRM a\n```\n```sh\nbake lint x\n```\n", "FRM"),
];
/// What is right, so that the ones above are wrong because of their mistake.
const RIGHT: &str = "`note.txt`:\n```text\nwritten\n```\n```sh\nmkdir sub; mv note.txt sub; cd sub\nexport WORD=kept\n```\n\
    <!-- output -->\n```console\n$ cat note.txt # a comment\nwritten\n$ echo \"$WORD 12.5kB sha256:abc and more\"\n\
    kept 9kB sha256:def ... more\n```\n<!-- fails -->\n```sh\nbake images\nbake inspect nothing\n```\n\
    <!-- not run: why -->\n```sh\nfalse\n```\n";

/// Tries all of them.
pub(crate) fn are_noticed(environment: &Environment, base: &Result<Base, String>) -> Outcome {
    let base = base.as_ref().map_err(Clone::clone)?;
    let noticed = |result: Outcome, page: &str, word: &str| match result {
        Ok(()) => Err(format!("nothing is wrong with {page}")),
        Err(problem) => {
            check(problem.contains(word), || format!("`{word}` is not in what is said of {page}: {problem}"))
        }
    };
    for (page, word) in TYPED {
        noticed(typed("page.md", page), page, word)?;
    }
    for (page, word) in RUN {
        noticed(run("page.md", page, &Ground::new(environment, base)?), page, word)?;
    }
    typed("page.md", RIGHT)?;
    run("page.md", RIGHT, &Ground::new(environment, base)?)
}
