//! Heredocs: the text after the line that asks for it.

use super::super::{Origin, Session};
use super::{Character, RawWord, Reader};

impl Reader<'_> {
    /// After a line end: the bodies of the heredocs that began on the line.
    pub(super) fn heredoc_bodies(&mut self) {
        for heredoc in std::mem::take(&mut self.pending) {
            let body_start = self.position;
            let mut body_end = self.input.len();
            while self.position < self.input.len() {
                let line_start = self.position;
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.position += 1;
                }
                let line: String = self.input[line_start..self.position].iter().map(|c| c.value).collect();
                self.position = (self.position + 1).min(self.input.len());
                let line = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line.as_str() };
                if line == heredoc.delimiter {
                    body_end = line_start;
                    break;
                }
            }
            let input = self.input;
            self.heredoc_for_command(heredoc.command, heredoc.quoted, &input[body_start.min(body_end)..body_end]);
        }
    }

    /// Reads a heredoc's body as commands when what gets it is a shell, and otherwise the expansions in it.
    fn heredoc_for_command(&mut self, command: Option<usize>, quoted: bool, body: &[Character]) {
        let command = command.and_then(|index| self.script.commands.get(index));
        if let Some(session) = command.and_then(Session::reading_standard_input) {
            self.read_nested(Session { origin: Origin::of_heredoc(!quoted && holds_expansion(body)), ..session }, body);
        } else if !quoted && self.nesting < super::NESTING_MAX {
            let mut inner = Reader::new(self.script, body, self.session);
            inner.nesting = self.nesting + 1;
            inner.expansions_of_text();
        }
    }

    /// Reads text in which `$x` and `$(...)` are expanded and nothing else means anything.
    pub(super) fn expansions_of_text(&mut self) {
        let mut ignored = RawWord::default();
        while let Some(next) = self.peek(0) {
            match next {
                '\\' => self.position += 2,
                '$' | '`' => {
                    let before = self.position;
                    self.expansion(&mut ignored);
                    ignored.characters.clear();
                    ignored.parts.clear();
                    self.position = self.position.max(before + 1);
                }
                _ => self.position += 1,
            }
        }
    }
}

/// Whether a shell would expand something in `body`.
pub(crate) fn holds_expansion(body: &[Character]) -> bool {
    body.iter().any(|character| matches!(character.value, '$' | '`'))
}
