//! Git references in ADD, build contexts and `FROM` overrides: `URL[#REF[:SUBDIRECTORY]]` or `URL?ref=...&subdir=...`.

use bake_graph::GitSource;

/// Why a git reference is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitReferenceError {
    /// Something in it would be taken for an option of git, or leaves the repository.
    #[error("git reference `{text}` is refused: {reason}")]
    Refused {
        /// The reference, without credentials.
        text: String,
        /// Why.
        reason: &'static str,
    },
}

/// A parsed git reference: what is needed to fetch it.
pub type GitReference = GitSource;

/// Whether `text` is a git reference: a known scheme, or a path that ends in `.git` (before `#` or `?`).
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the end of a URL, compared with case as in BuildKit, is no file extension"
)]
pub fn is_git_url(text: &str) -> bool {
    let location = text.split(['#', '?']).next().unwrap_or_default();
    if location.starts_with("git://") || location.starts_with("ssh://") || location.starts_with("git@") {
        return true;
    }
    (location.starts_with("http://") || location.starts_with("https://")) && location.ends_with(".git")
}

/// Parses a git reference.
pub fn parse_git_url(text: &str) -> Result<GitReference, GitReferenceError> {
    let refuse = |reason| GitReferenceError::Refused { text: redacted(text), reason };
    let (before_fragment, fragment) = match text.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (text, None),
    };
    let (url, query) = match before_fragment.split_once('?') {
        Some((url, query)) => (url, Some(query)),
        None => (before_fragment, None),
    };
    let mut source = GitSource {
        url: url.to_owned(),
        reference: None,
        subdirectory: None,
        checksum: None,
        keep_git_directory: false,
        submodules: true,
    };
    if let Some(fragment) = fragment {
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        source.reference = Some(reference.to_owned()).filter(|r| !r.is_empty());
        source.subdirectory = Some(subdirectory.to_owned()).filter(|s| !s.is_empty());
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "ref" => source.reference = Some(value.to_owned()),
            "tag" => source.reference = Some(format!("refs/tags/{value}")),
            "branch" => source.reference = Some(format!("refs/heads/{value}")),
            "subdir" => source.subdirectory = Some(value.to_owned()),
            "checksum" | "commit" => source.checksum = Some(value.to_owned()),
            "keep-git-dir" => source.keep_git_directory = value.is_empty() || value == "1" || value == "true",
            "submodules" => source.submodules = value.is_empty() || value == "1" || value == "true",
            _ => return Err(refuse("it has an unknown query key")),
        }
    }
    if url.starts_with('-') || source.reference.as_deref().is_some_and(|r| r.starts_with('-')) {
        return Err(refuse("it begins with `-`"));
    }
    if source.subdirectory.as_deref().is_some_and(|s| s.split('/').any(|part| part == "..")) {
        return Err(refuse("its subdirectory leaves the repository"));
    }
    if source.checksum.as_deref().is_some_and(|c| c.len() < 7 || !c.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(refuse("its checksum is not a commit"));
    }
    Ok(source)
}

/// The reference without user name and password.
fn redacted(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_parse() -> Result<(), GitReferenceError> {
        assert!(
            is_git_url("https://host/x.git#main:sub") && is_git_url("git@host:x") && !is_git_url("https://host/x.tar")
        );
        let fragment = parse_git_url("https://host/x.git#main:sub")?;
        assert_eq!((fragment.reference.as_deref(), fragment.subdirectory.as_deref()), (Some("main"), Some("sub")));
        let query = parse_git_url("https://host/x.git?tag=v1&subdir=a/b&submodules=false")?;
        assert_eq!((query.reference.as_deref(), query.subdirectory.as_deref()), (Some("refs/tags/v1"), Some("a/b")));
        assert!(!query.submodules);
        Ok(())
    }

    #[test]
    fn options_and_escapes_are_refused() {
        for bad in [
            "https://h/x.git#--upload-pack=x",
            "https://h/x.git#main:../..",
            "https://h/x.git?checksum=zz",
            "https://h/x.git?x=1",
        ] {
            assert!(parse_git_url(bad).is_err(), "{bad}");
        }
        let text = parse_git_url("https://user:secret@h/x.git?x=1").map_err(|e| e.to_string());
        assert!(text.err().is_some_and(|e| !e.contains("secret")));
    }
}
