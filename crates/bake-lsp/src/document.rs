//! An open document: its text as the editor has it, and what is known of that text.

use std::path::PathBuf;

use bake_dockerfile::{Dockerfile, Instruction, ItemKind, SourceText, Span, parse};
use bake_lint::Finding;

use crate::position::{Encoding, LineIndex, Position, Range};

/// A document and its tree, which are always of the same text.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) uri: String,
    /// Where it is on disk, if it is a file.
    pub(crate) path: Option<PathBuf>,
    /// The version that the editor gave the text.
    pub(crate) version: Option<i64>,
    pub(crate) encoding: Encoding,
    pub(crate) tree: Dockerfile,
    /// What the linter found in this text, once it has been asked.
    pub(crate) findings: Vec<Finding>,
    index: LineIndex,
}

impl Document {
    pub(crate) fn new(uri: String, version: Option<i64>, text: &str, encoding: Encoding) -> Self {
        let path = path_of(&uri);
        let name = path.as_ref().map_or_else(|| uri.clone(), |path| path.display().to_string());
        let tree = parse(SourceText::new(name, text));
        Self { path, version, encoding, tree, findings: Vec::new(), index: LineIndex::new(text), uri }
    }

    pub(crate) fn text(&self) -> &str {
        self.tree.source.text()
    }

    /// The same document with another text.
    pub(crate) fn with_text(self, version: Option<i64>, text: &str) -> Self {
        Self::new(self.uri, version, text, self.encoding)
    }

    /// The byte at a place of the editor.
    pub(crate) fn offset(&self, position: Position) -> usize {
        self.index.offset(self.text(), position, self.encoding)
    }

    /// The bytes of a range of the editor; an end before the start is taken for the start.
    pub(crate) fn span(&self, range: Range) -> Span {
        let start = self.offset(range.start);
        Span::new(start, self.offset(range.end).max(start))
    }

    /// The editor's range of some bytes.
    pub(crate) fn range(&self, span: Span) -> Range {
        self.index.range(self.text(), span, self.encoding)
    }

    /// The line of a byte, from 0.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.index.line(offset)
    }

    /// The instruction that holds a byte, comments and blank lines inside it included.
    pub(crate) fn instruction_at(&self, offset: usize) -> Option<(usize, &Instruction)> {
        let item = self.tree.items.iter().rev().find(|item| item.span.start <= offset)?;
        match item.kind {
            ItemKind::Instruction(index) if offset <= item.span.end => {
                Some((index, self.tree.instructions.get(index)?))
            }
            _ => None,
        }
    }

    /// Where the line begins on which an instruction begins.
    pub(crate) fn line_start(&self, offset: usize) -> usize {
        self.text().get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
    }

    /// What ends the lines of the text.
    pub(crate) fn line_ending(&self) -> &'static str {
        let first = self.text().find('\n').and_then(|newline| newline.checked_sub(1));
        if first.is_some_and(|before| self.text().as_bytes().get(before) == Some(&b'\r')) { "\r\n" } else { "\n" }
    }
}

/// The path of a `file:` address of this machine.
pub(crate) fn path_of(uri: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let rest = uri.strip_prefix("file://")?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return None;
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// The `file:` address of a path.
pub(crate) fn uri_of(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push('%');
            for digit in [byte >> 4, byte & 15] {
                uri.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    uri
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths() {
        for (uri, path) in [
            ("file:///a/b%20c/D%C3%B6", Some("/a/b c/Dö")),
            ("file://localhost/a", Some("/a")),
            ("file://elsewhere/a", None),
            ("untitled:Untitled-1", None),
            ("file:///a%", None),
            ("file:///a%zz", None),
        ] {
            assert_eq!(path_of(uri), path.map(PathBuf::from), "{uri}");
        }
        let path = PathBuf::from("/a b/ö#");
        assert_eq!(path_of(&uri_of(&path)).unwrap(), path);
    }

    #[test]
    fn instructions_are_found_by_place() {
        let text = "FROM a\n# x\nRUN a \\\n  # y\n  b\n\nCMD c";
        let document = Document::new("x:".into(), None, text, Encoding::Utf8);
        let at = |what: &str| document.instruction_at(text.find(what).unwrap()).map(|(index, _)| index);
        assert_eq!(
            [at("a\n"), at("# x"), at("# y"), at("\n\nCMD"), at("c")],
            [Some(0), None, Some(1), Some(1), Some(2)]
        );
        assert_eq!(document.instruction_at(text.len()).map(|(index, _)| index), Some(2));
    }
}
