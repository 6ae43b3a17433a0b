#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
use proptest::prelude::*;

use super::*;

fn list(patterns: &[&str]) -> IgnorePatterns {
    IgnorePatterns::new(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()).unwrap()
}

#[test]
fn single_patterns() {
    // The last column says whether the path is excluded, by itself or by a parent.
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "dir/file/", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/a/b", true),
        ("dir/**", "dir", false),
        ("dir/**", "directory/a", false),
        ("**/dir", "dir", true),
        ("**/dir", "a/b/dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir", "adir", false),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**/dir2/**", "dir/dir2", false),
        ("**file", "dir/myfile", true),
        ("**/file*.txt", "dir/dir/file1.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("**/**/*.txt2", "file.txt", false),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a**/*.txt", "ab/file.txt", true),
        ("a**/*.txt", "b/file.txt", false),
        ("a**/*.txt", "afile.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        ("[!k]*.log", "keep.log", true),
        ("[!k]*.log", "1.log", false),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abc/def", false),
        ("**/.foo", "bar.foo", false),
        ("a(b)c+{d}|$", "a(b)c+{d}|$", true),
        ("*.log", "dir/a.log", false),
        ("dir", "dir/a/b", true),
        ("dir/", "dir/a", true),
        ("./a/../b", "b", true),
        ("x/../../b", "b", false),
        (r"a\*b", "a*b", true),
        (r"a\*b", "axb", false),
        (r"\!a", "!a", true),
        ("A", "a", false),
        ("*", ".", false),
        ("a", "", false),
        ("a", "./a", true),
        ("a?b", "aäb", true),
    ] {
        assert_eq!(list(&[pattern]).matches(path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_match_that_changes_something_wins() {
    for (patterns, path, expected) in [
        (&["!a", "*"][..], "a", true),
        (&["*", "!a"], "a", false),
        (&["docs", "!docs/README.md"], "docs/README.md", false),
        (&["docs", "!docs/README.md"], "docs/other", true),
        (&["docs/*", "!docs/README.md"], "docs/README.md", false),
        (&["**", "!util/web"], "util/web/foo", false),
        (&["**", "!util/web", "util/web/foo"], "util/web/foo", true),
        (&["**", "!dist/*.whl"], "dist/a+b.whl", false),
        (&["a", "!a/b", "a"], "a/b/c", false),
        (&["*", "!**/*.rs", "target"], "target/x.rs", false),
        (&["*", "!**/*.rs", "target/**"], "target/x.rs", true),
        (&["a/b", "!a"], "a/b", true),
        (&["a/b", "!a"], "a/c", false),
        (&["a/b", "!a/*"], "a/b", false),
    ] {
        assert_eq!(list(patterns).matches(path), expected, "{patterns:?} {path}");
    }
}

#[test]
fn files_are_read_line_by_line() {
    let text =
        b"\xef\xbb\xbf# comment\r\n a.txt \r\n\t\r\n #no-comment\n/abs/path\n! /inverted/\n!\\!x\n./y//z/\n\xff*";
    let patterns = IgnoreFile::parse(text).unwrap();
    let found: Vec<_> = patterns.patterns().iter().map(|p| (p.text(), p.is_negated(), p.line())).collect();
    assert_eq!(
        found,
        [
            (&b"a.txt"[..], false, Some(2)),
            (b"#no-comment", false, Some(4)),
            (b"abs/path", false, Some(5)),
            (b"inverted", true, Some(6)),
            (b"\\!x", true, Some(7)),
            (b"y/z", false, Some(8)),
            (b"\xff*", false, Some(9)),
        ]
    );
    assert!(patterns.matches(b"\xff\xfe"));
    assert!(patterns.has_exceptions() && !patterns.is_empty());
    assert!(IgnoreFile::parse(b"").unwrap().is_empty());
    assert!(!IgnoreFile::parse(b"/\n.").unwrap().matches("a"));
}

#[test]
fn bad_files_are_refused() {
    for (text, expected) in [
        (&b"a\n!\n"[..], "illegal exclusion pattern: \"!\" (line 2)"),
        (b"!  ", "illegal exclusion pattern: \"!\" (line 1)"),
        (b"a[\n", "syntax error in pattern \"a[\" (line 1)"),
        (b"[z-a]", "syntax error in pattern \"[z-a]\" (line 1)"),
        (b"x\\", "syntax error in pattern \"x\\\\\" (line 1)"),
    ] {
        assert_eq!(IgnoreFile::parse(text).unwrap_err().to_string(), expected);
    }
    assert_eq!(IgnorePatterns::new(vec!["!".into()]).unwrap_err().to_string(), "illegal exclusion pattern: \"!\"");
    assert_eq!(IgnoreFile::parse(&vec![b'a'; LINE_BYTES_MAX + 1]), Err(IgnoreError::LineTooLong { line: 1 }));
    assert_eq!(IgnoreFile::parse("a\n".repeat(IGNORE_PATTERNS_MAX + 1).as_bytes()), Err(IgnoreError::TooManyPatterns));
}

#[test]
fn excluded_directories_are_entered_only_for_exceptions() {
    for (patterns, directory, expected) in [
        (&["*"][..], "a", false),
        (&["*", "!a/b"], "a", true),
        (&["*", "!a/b"], "b", false),
        (&["*", "!a"], "a", false),
        (&["*", "!a/*.txt"], "a", true),
        (&["*", "!a/*.txt"], "a/b", false),
        (&["*", "!**/x"], "a/b", true),
        (&["*", "!a/**"], "a/b", true),
        (&["*", "!a/**"], "b", false),
        (&["*", "!a*/b?/c"], "ax/by", true),
        (&["*", "!a*/b?/c"], "ax/byz", false),
        (&["*", "!a*/b?/c"], "ax/by/c", false),
        (&["*", "!a"], "", true),
    ] {
        assert_eq!(list(patterns).may_match_below(directory), expected, "{patterns:?} {directory}");
    }
}

#[test]
fn the_deciding_pattern_is_known() {
    let patterns = IgnoreFile::parse(b"*.md\n!a.md\ndocs\n").unwrap();
    assert_eq!(patterns.deciding_pattern("docs/x").unwrap().to_string(), "docs");
    assert_eq!(patterns.deciding_pattern("a.md").unwrap().to_string(), "!a.md");
    assert_eq!(patterns.deciding_pattern("b.md").unwrap().line(), Some(1));
    assert!(patterns.deciding_pattern("src").is_none());
}

#[test]
fn paths_are_cleaned_as_in_go() {
    for (path, expected) in [
        ("", "."),
        ("a/", "a"),
        ("a//b", "a/b"),
        ("a/./b", "a/b"),
        ("a/../b", "b"),
        ("../a", "../a"),
        ("../../a", "../../a"),
        ("a/../../b", "../b"),
        ("/..", "/"),
        ("/a/../..", "/"),
        ("/", "/"),
        ("./", "."),
    ] {
        assert_eq!(clean_path(path.as_bytes()), expected.as_bytes(), "{path}");
    }
}

fn pattern_text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("!?(\\*\\*/|[ab*?/]|\\[ab\\]|\\*\\*){1,6}").unwrap()
}

proptest! {
    #[test]
    fn reading_never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = IgnoreFile::parse(&text);
    }

    #[test]
    fn what_can_be_taken_back_is_entered(patterns in proptest::collection::vec(pattern_text(), 1..4), path in "[ab](/[ab]{1,2}){1,4}") {
        let Ok(patterns) = IgnorePatterns::new(patterns) else { return Ok(()) };
        if patterns.matches(&path) {
            return Ok(());
        }
        // The path is kept: every excluded directory above it must be entered, so that the walk reaches it.
        for (index, _) in path.match_indices('/') {
            let parent = &path[..index];
            prop_assert!(!patterns.matches(parent) || patterns.may_match_below(parent), "{parent}");
        }
    }
}
