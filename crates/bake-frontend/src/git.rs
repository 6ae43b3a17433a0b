//! Git references in ADD, build contexts and `FROM` overrides: `URL[#REF[:SUBDIRECTORY]]` or `URL?ref=...&subdir=...`.
//!
//! The forms are those of BuildKit: schemes `git`, `ssh`, and `http` and `https` when the path ends in `.git`; `user@host:path`; and for
//! build contexts also `github.com/owner/repository`.

use bake_dockerfile::parse_boolean;
use bake_graph::{GitSource, GitTimes, without_credentials};

/// Why a git reference is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("git reference `{text}` is refused: {reason}")]
pub struct GitReferenceError {
    /// The reference, without credentials.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// Whether `text` is a git reference: a known scheme, or an HTTP address whose path ends in `.git` (before `#` or `?`).
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the end of a URL, compared with case as in BuildKit, is no file extension"
)]
pub fn is_git_url(text: &str) -> bool {
    let location = text.split(['#', '?']).next().unwrap_or_default();
    match location.split_once("://") {
        Some(("git" | "ssh", _)) => true,
        Some(("http" | "https", rest)) => rest.contains('/') && rest.ends_with(".git"),
        Some(_) => false,
        None => is_scp_form(location),
    }
}

/// Whether `location` is `user@host:path`, the form in which people write SSH addresses.
fn is_scp_form(location: &str) -> bool {
    let Some((user, rest)) = location.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let name = |text: &str, extra: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    name(user, b"-_") && name(host, b"-.")
}

/// Whether `text` is the address of something on an HTTP server.
pub fn is_http_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Whether `text` is a git reference where a build context is expected. There, and only there, `github.com/owner/repository` is one:
/// elsewhere it could be a path.
pub fn is_git_context(text: &str) -> bool {
    text.starts_with("github.com/") || is_git_url(text)
}

/// Parses a git reference.
pub fn parse_git_url(text: &str) -> Result<GitSource, GitReferenceError> {
    let refuse = |reason: String| GitReferenceError { text: without_credentials(text), reason };
    let (before_fragment, fragment) = match text.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (text, None),
    };
    let (url, query) = match before_fragment.split_once('?') {
        Some((url, query)) => (url, Some(query)),
        None => (before_fragment, None),
    };
    let url = if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
    let mut source = GitSource {
        url,
        reference: None,
        subdirectory: None,
        checksum: None,
        keep_git_directory: false,
        submodules: true,
        times: GitTimes::Checkout,
        fetch_by_commit: false,
    };
    if let Some(fragment) = fragment {
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        source.reference = Some(reference.to_owned()).filter(|r| !r.is_empty());
        source.subdirectory = Some(subdirectory.to_owned()).filter(|s| !s.is_empty());
    }
    apply_query(&mut source, query.unwrap_or_default()).map_err(refuse)?;
    check(&source).map_err(refuse)?;
    Ok(source)
}

/// Applies the pairs of a query.
fn apply_query(source: &mut GitSource, query: &str) -> Result<(), String> {
    let mut seen: Vec<String> = Vec::new();
    let mut branch = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value));
        if seen.contains(&key) {
            return Err(format!("query {key:?} has multiple values"));
        }
        let switch = matches!(key.as_str(), "keep-git-dir" | "submodules" | "fetch-by-commit");
        if value.is_empty() && !switch {
            return Err(format!("query {key:?} has no value"));
        }
        match key.as_str() {
            "ref" => set(&mut source.reference, value, "ref")?,
            "tag" if branch => return Err("branch conflicts with tag".to_owned()),
            "branch" if seen.iter().any(|key| key == "tag") => return Err("branch conflicts with tag".to_owned()),
            "tag" => set(&mut source.reference, prefixed("refs/tags/", value), "ref")?,
            "branch" => {
                branch = true;
                set(&mut source.reference, prefixed("refs/heads/", value), "ref")?;
            }
            "subdir" => set(&mut source.subdirectory, value, "subdir")?,
            "checksum" | "commit" => set(&mut source.checksum, value, "checksum")?,
            "keep-git-dir" => source.keep_git_directory = truth(&key, &value)?,
            "submodules" => source.submodules = truth(&key, &value)?,
            "fetch-by-commit" => source.fetch_by_commit = truth(&key, &value)?,
            "mtime" => {
                source.times = match value.as_str() {
                    "checkout" => GitTimes::Checkout,
                    "commit" => GitTimes::Commit,
                    _ => return Err(format!("invalid mtime value: {value:?}, it must be checkout or commit")),
                }
            }
            _ => return Err(format!("unexpected query {key:?}")),
        }
        seen.push(key);
    }
    Ok(())
}

/// Refuses what git could take for an option, what leaves the repository, and what cannot be meant.
fn check(source: &GitSource) -> Result<(), String> {
    if source.url.starts_with('-') || source.reference.as_deref().is_some_and(|r| r.starts_with('-')) {
        return Err("it begins with `-`".to_owned());
    }
    // `ssh://-oProxyCommand=...` would reach ssh as an option.
    let host = source.url.split_once("://").map_or(source.url.as_str(), |(_, rest)| rest);
    if host.starts_with('-') || host.split_once('@').is_some_and(|(_, host)| host.starts_with('-')) {
        return Err("its host begins with `-`".to_owned());
    }
    if source.subdirectory.as_deref().is_some_and(|s| s.split('/').any(|part| part == "..")) {
        return Err("its subdirectory leaves the repository".to_owned());
    }
    if source.checksum.as_deref().is_some_and(|c| !is_commit_prefix(c)) {
        return Err("its checksum is not a commit: at least 7 hexadecimal digits".to_owned());
    }
    if source.fetch_by_commit && !source.checksum.as_deref().is_some_and(|c| matches!(c.len(), 40 | 64)) {
        return Err("`fetch-by-commit` needs a full commit in `checksum`".to_owned());
    }
    Ok(())
}

/// Whether `text` can be (the beginning of) the name of a commit.
pub(crate) fn is_commit_prefix(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Sets what may be said twice, but only in the same way.
fn set(place: &mut Option<String>, value: String, name: &str) -> Result<(), String> {
    match place {
        Some(before) if *before != value => Err(format!("{name} conflicts: {before:?} vs {value:?}")),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn prefixed(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// A truth value of a query, as Go reads them; a key alone means yes.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    if value.is_empty() {
        return Ok(true);
    }
    parse_boolean(value).ok_or_else(|| format!("invalid {key} value: {value:?}"))
}

/// A part of a query without its escapes.
fn decoded(text: &str) -> String {
    crate::percent::decoded(&text.replace('+', " "), b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_git_reference() {
        for text in [
            "https://host/x.git",
            "https://host/x.git#main:sub",
            "http://host/x.git?ref=a",
            "git://host/x",
            "ssh://git@host/x",
            "git@host:x",
            "me@host.example:x/y.git#v1",
        ] {
            assert!(is_git_url(text), "{text}");
        }
        for text in [
            "https://host/x.tar",
            "https://host/x.git/",
            "https://host/x.git:#b",
            "https://x.git",
            "github.com/a/b",
            "./a@b:c",
            "a.git",
            "ftp://h/x.git",
            "a/b@c",
        ] {
            assert!(!is_git_url(text), "{text}");
        }
        assert!(is_git_context("github.com/a/b") && !is_git_context("./github.com/a/b"));
    }

    #[test]
    fn both_forms_parse() -> Result<(), GitReferenceError> {
        let fragment = parse_git_url("https://host/x.git#main:sub")?;
        assert_eq!((fragment.reference.as_deref(), fragment.subdirectory.as_deref()), (Some("main"), Some("sub")));
        let query = parse_git_url("https://host/x.git?tag=v1&subdir=a/b&submodules=false&mtime=commit")?;
        assert_eq!((query.reference.as_deref(), query.subdirectory.as_deref()), (Some("refs/tags/v1"), Some("a/b")));
        assert_eq!((query.submodules, query.times), (false, GitTimes::Commit));
        let same = parse_git_url("https://host/x.git?branch=refs/heads/a%2fb&keep-git-dir#refs/heads/a/b")?;
        assert_eq!((same.reference.as_deref(), same.keep_git_directory), (Some("refs/heads/a/b"), true));
        assert_eq!(parse_git_url("github.com/a/b#:c")?.url, "https://github.com/a/b");
        Ok(())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (bad, reason) in [
            ("https://h/x.git#--upload-pack=x", "begins with `-`"),
            ("ssh://-oProxyCommand=x/y", "host begins with `-`"),
            ("https://h/x.git#main:../..", "leaves the repository"),
            ("https://h/x.git?checksum=zz", "not a commit"),
            ("https://h/x.git?x=1", "unexpected query \"x\""),
            ("https://h/x.git?ref", "query \"ref\" has no value"),
            ("https://h/x.git?ref=a&ref=a", "multiple values"),
            ("https://h/x.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            ("https://h/x.git?subdir=a#b:c", "subdir conflicts"),
            ("https://h/x.git?tag=a&branch=b", "branch conflicts with tag"),
            ("https://h/x.git?submodules=maybe", "invalid submodules value"),
            ("https://h/x.git?mtime=now", "invalid mtime value"),
            ("https://h/x.git?fetch-by-commit", "needs a full commit"),
        ] {
            let refused = parse_git_url(bad).map_err(|error| error.to_string());
            assert!(refused.as_ref().is_err_and(|text| text.contains(reason)), "{bad}: {refused:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = parse_git_url("https://user:secret@h/x.git?x=1").map_err(|e| e.to_string());
        assert!(text.err().is_some_and(|e| !e.contains("secret") && e.contains("https://h/x.git")));
    }
}
