#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
use super::*;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/root",
        "SHELL" => "bash",
        "WORD" => "слово",
        "EMPTY" => "",
        "TWO" => "a b",
        "QUOTED" => "\"q\"",
        "ARCHIVE" => "a/b/c.tar.gz",
        "STARS" => "()[]{}^$.*?|\\x",
        "NEEDLE" => "/tmp",
        "PATHS" => "/tmp/tmp/bar.txt",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expand(word: &str) -> Result<String, String> {
    Expander::default().expand(word, &variables).map(|expansion| expansion.text).map_err(|error| error.to_string())
}

#[test]
fn plain_words_quotes_and_escapes() {
    for (word, expected) in [
        ("", ""),
        ("hello", "hello"),
        ("he'll'o", "hello"),
        (r"he\'llo", "he'llo"),
        (r"he\\llo", r"he\llo"),
        ("\"a 'b' c\"", "a 'b' c"),
        (r#""a\"b""#, "a\"b"),
        (r#""a\'b""#, r"a\'b"),
        (r#""a\\b""#, r"a\b"),
        (r"'a\b'", r"a\b"),
        (r"abc\", "abc"),
        (r"\abc", "abc"),
        ("a  b", "a  b"),
        (r#"a"b c"'d e'f"#, "ab cd ef"),
        (r#""x""y""#, "xy"),
        ("''", ""),
    ] {
        assert_eq!(expand(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn variables_are_replaced() {
    for (word, expected) in [
        ("$HOME", "/root"),
        ("$HOME.", "/root."),
        ("$HOME-x", "/root-x"),
        ("${HOME}y", "/rooty"),
        ("$UNSET", ""),
        ("a$UNSET.b", "a.b"),
        ("$HOMEx", ""),
        ("\"$HOME\"", "/root"),
        ("'$HOME'", "$HOME"),
        (r"\$HOME", "$HOME"),
        (r"\\$HOME", r"\/root"),
        (r#""\$HOME""#, "$HOME"),
        (r"\${HOME}", "${HOME}"),
        ("he$WORD", "heслово"),
        ("$QUOTED", "\"q\""),
        ("a$", "a$"),
        ("$ a", "$ a"),
        ("$1x", "x"),
        ("$12x", "x"),
        ("$$HOME", "HOME"),
        ("$-a$@$*$#$?$!", "a"),
        ("${-}${12}", ""),
        ("$'a'", "$a"),
    ] {
        assert_eq!(expand(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn conditional_modifiers() {
    for (word, expected) in [
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${SHELL:-d}", "bash"),
        ("${UNSET-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET:+a}", ""),
        ("${EMPTY:+a}", ""),
        ("${SHELL:+a}", "a"),
        ("${EMPTY+a}", "a"),
        ("${UNSET+a}", ""),
        ("${UNSET:-}", ""),
        ("${SHELL:?no}", "bash"),
        ("${EMPTY?no}", ""),
        ("${UNSET:-${SHELL}}", "bash"),
        ("${UNSET:-$HOME/x}", "/root/x"),
        ("${UNSET:-a b}", "a b"),
        ("${UNSET:-'a}b'}", "a}b"),
        ("${UNSET:-\"${HOME}\"}", "/root"),
        (r"${UNSET:-\}}", "}"),
        ("${SHELL:+-${SHELL}}.gz", "-bash.gz"),
        ("http://${UNSET:-h}:80/$UNSET/x", "http://h:80//x"),
    ] {
        assert_eq!(expand(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn pattern_modifiers() {
    for (word, expected) in [
        ("${ARCHIVE#*/}", "b/c.tar.gz"),
        ("${ARCHIVE##*/}", "c.tar.gz"),
        ("${ARCHIVE#z}", "a/b/c.tar.gz"),
        ("${ARCHIVE#a?b}", "/c.tar.gz"),
        ("${ARCHIVE%.*}", "a/b/c.tar"),
        ("${ARCHIVE%%.*}", "a/b/c"),
        ("${ARCHIVE%}", "a/b/c.tar.gz"),
        ("${ARCHIVE#}", "a/b/c.tar.gz"),
        ("${ARCHIVE##}", "a/b/c.tar.gz"),
        ("${SHELL#$UNSET}", "bash"),
        ("${SHELL#${UNSET:-b}}", "ash"),
        (r"${STARS#()[]{\}^$.\*\?|\\}", "x"),
        ("${ARCHIVE/b/X}", "a/X/c.tar.gz"),
        ("${ARCHIVE/?\\//X/}", "X/b/c.tar.gz"),
        ("${ARCHIVE//[/x}", "a/b/c.tar.gz"),
        (r"${PATHS//\//:}", ":tmp:tmp:bar.txt"),
        (r"${PATHS//\//\/}", r"\/tmp\/tmp\/bar.txt"),
        ("${PATHS/$NEEDLE/}", "/tmp/bar.txt"),
        ("${PATHS//$NEEDLE/}", "/bar.txt"),
        ("${SHELL/$EMPTY/x}", "xbash"),
        ("${SHELL///}", "bash"),
        ("${UNSET///}", ""),
        ("${UNSET#x}", ""),
    ] {
        assert_eq!(expand(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    for (word, expected) in [
        ("${UNSET:?please pass it}", "UNSET: please pass it"),
        ("\"${UNSET:?please pass $SHELL}\"", "UNSET: please pass bash"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${UNSET?}", "UNSET: is not allowed to be unset"),
        ("${UNSET:?}", "UNSET: is not allowed to be unset"),
        ("${X^^}", "unsupported modifier (^) in substitution"),
        ("${X:^}", "unsupported modifier (:^) in substitution"),
        ("${X:#a}", "unsupported modifier (:#) in substitution"),
        ("${X=a}", "unsupported modifier (=) in substitution"),
        ("${X.y}", "unsupported modifier (.) in substitution"),
        ("${X", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${X:", "syntax error: missing '}'"),
        ("${X:-a", "syntax error: missing '}'"),
        ("${X:-\"a", "syntax error: missing '}'"),
        ("${X/a", "syntax error: missing '/' in ${}"),
        ("${X//a}", "syntax error: missing '/' in ${}"),
        ("${X//}", "syntax error: missing '/' in ${}"),
        ("${X/a/b", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${{X}", "syntax error: bad substitution"),
        ("${:-a}", "syntax error: bad substitution"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("\"abc${SHELL}", "unexpected end of statement while looking for matching double-quote"),
        (r"${SHELL#\a}", r"invalid pattern (\a) in substitution: invalid escape '\a'"),
    ] {
        assert_eq!(expand(word), Err(expected.to_owned()), "{word}");
    }
    let error = Expander::default().expand("ab ${X^}", &variables).unwrap_err();
    assert_eq!(error.offset(), 3);
    assert!(Expander::default().check("${A:?x} ${B#*} '$'").is_ok());
    assert!(Expander::default().check("${A").is_err());
}

#[test]
fn undefined_names_have_no_default() {
    for (word, expected) in [
        ("$A ${B} $A", vec!["A", "B"]),
        ("${A:-x}${B-x}${C:+x}${D+x}", vec![]),
        ("${A:-$B}", vec!["B"]),
        ("${SHELL:-$B}", vec![]),
        ("${SHELL:+$B}", vec!["B"]),
        ("${A+$B}", vec![]),
        ("${A#$B}", vec!["B", "A"]),
        ("'$A'\\$B", vec![]),
    ] {
        assert_eq!(Expander::default().expand(word, &variables).unwrap().undefined, expected, "{word}");
    }
}

#[test]
fn words_split_after_expansion() {
    for (word, expected) in [
        ("a b", vec!["a", "b"]),
        (" a  b ", vec!["a", "b"]),
        ("$TWO", vec!["a", "b"]),
        ("x$TWO.y", vec!["xa", "b.y"]),
        ("\"$TWO\"", vec!["a b"]),
        ("'a b' c", vec!["a b", "c"]),
        (r"a\ b", vec!["a b"]),
        ("\"\"", vec![]),
        ("$UNSET", vec![]),
        ("a\"\" b", vec!["a", "b"]),
        ("$EMPTY/udp", vec!["/udp"]),
    ] {
        assert_eq!(Expander::default().expand_to_words(word, &variables).unwrap().words, expected, "{word}");
    }
}

#[test]
fn other_escape_characters() {
    let expander = Expander::new('`');
    assert_eq!(expander.expand(r"C:\dir", &variables).unwrap().text, r"C:\dir");
    assert_eq!(expander.expand("a` b`$HOME`", &variables).unwrap().text, "a b$HOME");
    assert_eq!(expander.expand("\"`\"`a\"", &variables).unwrap().text, "\"`a");
}

#[test]
fn heredoc_bodies_keep_quotes() {
    let body = "\"$SHELL\" '$SHELL' \\\\ \\t \\$HOME \"a'b\"\n${UNSET:-d}\n";
    let expected = "\"bash\" 'bash' \\ t $HOME \"a'b\"\nd\n";
    for escape in ['\\', '`'] {
        assert_eq!(Expander::new(escape).expand_heredoc(body, &variables).unwrap().text, expected);
    }
}

#[test]
fn unquoting_leaves_variables() {
    for (word, expected) in [
        ("a'b c'd", "ab cd"),
        ("\"$X\"", "$X"),
        (r#""a\"b\c""#, "a\"b\\c"),
        (r"a\ b\", "a b"),
        ("'a", "a"),
        ("'a\"b'", "a\"b"),
    ] {
        assert_eq!(Expander::default().unquote(word), expected, "{word}");
    }
}

#[test]
fn limits_end_hostile_words() {
    let deep = "${A:-".repeat(100_000);
    assert!(matches!(Expander::default().expand(&deep, &variables), Err(ExpandError::TooDeep { .. })));
    let value = "x".repeat(1024 * 1024);
    let wide = "$A".repeat(40);
    let result = Expander::default().expand(&wide, &|_| Some(value.clone()));
    assert!(matches!(result, Err(ExpandError::TooLarge { .. })));
}

#[test]
fn results_of_replacements_are_limited() {
    let value = "a".repeat(50_000);
    let expanded = Expander::default().expand("x${A//?/$A}", &|_| Some(value.clone()));
    assert_eq!(expanded, Err(ExpandError::TooLarge { offset: 1 }));
}

#[test]
fn the_work_of_all_patterns_of_a_word_is_limited() {
    let value = "a".repeat(3_000);
    let expand = |word: &str| Expander::default().expand(word, &|_| Some(value.clone()));
    assert!(expand("${A//*b/}").is_ok());
    assert!(matches!(expand(&"${A//*b/}".repeat(20)), Err(ExpandError::CostlyPattern { .. })));
}

#[test]
fn any_number_of_missing_names_is_reported() {
    let names: Vec<_> = (0..100_000).map(|number| format!("$a{number} $a7")).collect();
    let expansion = Expander::default().expand(&names.join(" "), &|_| None).unwrap();
    assert_eq!(expansion.undefined.len(), 100_000);
}
