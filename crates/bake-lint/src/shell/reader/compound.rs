//! Compound commands: `if`, loops, `case`, groups, functions, arithmetic.

use super::super::Dialect;
use super::super::Loop;
use super::super::invocation::is_name;
use super::{Connector, Left, List, Opener, RawWord, Reader, Section, Until};

/// Words with a meaning of their own at the place of a command.
const RESERVED_WORDS: [&str; 19] = [
    "if", "then", "elif", "else", "fi", "for", "select", "while", "until", "do", "done", "case", "esac", "function",
    "{", "}", "!", "time", "coproc",
];

impl Reader<'_> {
    /// Consumes a reserved word at the place of a command.
    pub(super) fn reserved_word(&mut self) -> Option<&'static str> {
        let first = self.peek(0)?;
        if !matches!(first, 'i' | 't' | 'e' | 'f' | 's' | 'w' | 'u' | 'd' | 'c' | '{' | '}' | '!') {
            return None;
        }
        let found = RESERVED_WORDS.into_iter().find(|word| {
            self.starts_with(word)
                && self
                    .peek(word.len())
                    .is_none_or(|c| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '<' | '>'))
        })?;
        if matches!(found, "time" | "coproc") && !self.wraps_compound(found) {
            return None;
        }
        self.position += found.len();
        Some(found)
    }

    /// Whether `time` or `coproc` at the present place stands before a compound command; elsewhere `time` may be the program.
    fn wraps_compound(&mut self, word: &str) -> bool {
        if word == "coproc" {
            return self.dialect() == Dialect::Bash;
        }
        let before = self.position;
        self.position += word.len();
        self.skip_blanks();
        let compound = ["(", "{ ", "-p ", "! ", "if ", "for ", "while ", "until ", "case ", "[[ "];
        let wraps = compound.iter().any(|begin| self.starts_with(begin));
        self.position = before;
        wraps
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.script.sessions.get(self.session).map_or(Dialect::Posix, |session| session.dialect)
    }

    /// What a reserved word at the place of a command begins, continues or ends.
    pub(super) fn compound_word(&mut self, word: &'static str, start: usize, list: &mut List) {
        match word {
            "if" | "while" | "until" | "{" | "for" | "select" => {
                self.begin_command(list, start);
                let section = if word == "{" { Section::Body } else { Section::Condition };
                list.openers.push(Opener { word, start, section });
                list.begin_section();
                match word {
                    "for" | "select" => {
                        if word == "select" {
                            self.bashism(start, "`select`");
                        }
                        self.loop_head(start);
                        list.left = Left::LoopHead;
                        list.filled = true;
                    }
                    "{" => {}
                    _ => self.conditions += 1,
                }
            }
            "case" => {
                self.begin_command(list, start);
                self.case(start, list.depth() + 1);
                self.end_compound(list);
            }
            "function" => {
                self.begin_command(list, start);
                self.bashism(start, "`function`");
                self.skip_blanks();
                let _name = self.word();
                self.skip_blanks();
                if self.starts_with("()") {
                    self.position += 2;
                }
                self.skip_lines();
                list.connector = Connector::Then;
            }
            "time" => {
                self.skip_blanks();
                if self.starts_with("-p ") {
                    self.position += 2;
                }
            }
            "coproc" => {
                self.skip_blanks();
                let before = self.position;
                let is_named = self.word().is_some_and(|word| is_name(&word.text())) && {
                    self.skip_blanks();
                    matches!(self.peek(0), Some('{' | '('))
                };
                if !is_named {
                    self.position = before;
                }
            }
            "!" => list.negated = !list.negated,
            "esac" => self.error(start, "`esac` without `case`"),
            _ => self.section_word(word, start, list),
        }
    }

    /// `then`, `elif`, `else`, `fi`, `do`, `done`, `}`.
    fn section_word(&mut self, word: &'static str, start: usize, list: &mut List) {
        self.check_operator(list);
        list.operator = None;
        let of_if = matches!(word, "then" | "elif" | "else" | "fi");
        let belongs = |opener: &Opener| match opener.word {
            "if" => of_if,
            "{" => word == "}",
            _ => matches!(word, "do" | "done"),
        };
        let Some(index) = list.openers.iter().rposition(belongs) else {
            self.error(start, format!("`{word}` belongs to nothing that is open"));
            list.begin_section();
            return;
        };
        for opener in list.openers.drain(index + 1..) {
            let span = bake_dockerfile::Span::new(opener.start, opener.start + opener.word.len());
            let message = format!("`{}` is not closed before `{word}`", opener.word);
            self.script.errors.push(super::ShellError { span, message });
        }
        let opener = &mut list.openers[index];
        let in_order = match word {
            "then" | "do" => opener.section == Section::Condition,
            "elif" | "else" | "done" => opener.section == Section::Body,
            "fi" => opener.section != Section::Condition,
            _ => true,
        };
        let opened_by = opener.word;
        let was_condition = opener.section == Section::Condition && matches!(opened_by, "if" | "while" | "until");
        opener.section = match word {
            "elif" => Section::Condition,
            "else" => Section::Else,
            _ => Section::Body,
        };
        if !in_order {
            self.error(start, format!("`{word}` is out of place in this `{opened_by}`"));
        } else if !list.filled {
            self.error(start, format!("nothing stands before `{word}`"));
        }
        if was_condition {
            self.conditions = self.conditions.saturating_sub(1);
        }
        match word {
            "fi" | "done" | "}" => {
                list.openers.pop();
                self.end_compound(list);
            }
            _ => {
                self.conditions += usize::from(word == "elif");
                list.begin_section();
            }
        }
    }

    /// `( ... )` or, where it is one, `(( ... ))`, from its first character.
    pub(super) fn parenthesis(&mut self, depth: usize) {
        let start = self.offset();
        self.position += 1;
        if self.peek(0) == Some('(') && self.is_arithmetic() {
            self.skip_arithmetic();
            self.bashism(start, "`((`");
            return;
        }
        let filled = self.nested(|reader| reader.list(Until::Parenthesis, depth + 1));
        if filled == Some(false) && self.script.errors.is_empty() {
            self.error(start, "nothing stands between `(` and `)`");
        }
    }

    /// Whether the parenthesis at the present place (the second of `((`) is closed by `))`; `((a); b)` is two subshells.
    pub(super) fn is_arithmetic(&self) -> bool {
        let mut open = 1_usize;
        let mut last_close = None;
        for (index, character) in self.input.iter().enumerate().skip(self.position) {
            match character.value {
                '(' => open += 1,
                ')' => {
                    open -= 1;
                    if open == 0 {
                        return last_close == Some(index - 1);
                    }
                    last_close = Some(index).filter(|_| open == 1);
                }
                _ => {}
            }
        }
        // Not closed at all: read as arithmetic, which takes all the rest at once.
        true
    }

    /// From the second `(` of `((` to `))`.
    pub(super) fn skip_arithmetic(&mut self) {
        let start = self.offset();
        let mut open = 1_usize;
        let mut ignored = RawWord::default();
        while let Some(next) = self.peek(0) {
            match next {
                '$' | '`' => {
                    self.expansion(&mut ignored);
                    continue;
                }
                _ if next == '_' || next.is_ascii_alphabetic() => {
                    self.arithmetic_name();
                    continue;
                }
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            self.position += 1;
            if open == 0 {
                return;
            }
        }
        self.error(start, "`((` is not closed");
    }

    /// A variable in arithmetic, where names need no `$`.
    fn arithmetic_name(&mut self) {
        let (from, start) = (self.position, self.offset());
        while self.peek(0).is_some_and(|c| c == '_' || c.is_ascii_alphanumeric()) {
            self.position += 1;
        }
        // `0x1f` and `16#ff` hold letters that are no names.
        let in_number = from
            .checked_sub(1)
            .and_then(|index| self.input.get(index))
            .is_some_and(|character| character.value.is_ascii_digit() || character.value == '#');
        if in_number {
            return;
        }
        let name: String = self.input.get(from..self.position).unwrap_or_default().iter().map(|c| c.value).collect();
        self.skip_blanks();
        let assigned = self.peek(0) == Some('=') && self.peek(1) != Some('=');
        self.parameter_use(name, assigned.then_some('='), start);
    }

    /// The part of `for name in words` before the `;` or line end.
    fn loop_head(&mut self, start: usize) {
        self.skip_blanks();
        if self.starts_with("((") {
            self.position += 1;
            self.skip_arithmetic();
            if self.peek(0) == Some(')') {
                self.position += 1;
            }
            self.bashism(start, "`for ((`");
            return;
        }
        let variable = self.word().map(|word| word.text()).unwrap_or_default();
        if !is_name(&variable) {
            self.error(start, "the name of a variable has to follow `for`");
        }
        self.skip_lines();
        let mut words = Vec::new();
        if self.starts_with("in") && self.peek(2).is_none_or(|c| c.is_whitespace() || c == ';') {
            self.position += 2;
            self.skip_blanks();
            while self.peek(0).is_some_and(|c| !matches!(c, '\n' | ';' | '&' | '|' | '(' | ')')) {
                match self.word() {
                    Some(mut word) => words.push(word.finish()),
                    None => self.position += 1,
                }
                self.skip_blanks();
            }
        }
        self.script.loops.push(Loop { variable, words, session: self.session });
    }

    fn case(&mut self, start: usize, depth: usize) {
        self.skip_blanks();
        let _subject = self.word();
        self.skip_lines();
        if self.starts_with("in") {
            self.position += 2;
        } else {
            self.error(start, "`case` without `in`");
        }
        loop {
            self.skip_lines();
            if self.peek(0).is_none() {
                self.error(start, "`case` is not closed");
                return;
            }
            if self.reserved_word() == Some("esac") {
                return;
            }
            self.case_pattern();
            if self.nested(|reader| reader.list(Until::CaseItem, depth)).is_none() {
                return;
            }
        }
    }

    /// The patterns of an item, with the `)` after them.
    fn case_pattern(&mut self) {
        while self.peek(0).is_some_and(|c| c != ')') {
            let before = self.position;
            if matches!(self.peek(0), Some('(' | '|' | ' ' | '\t' | '\n' | ';' | '&' | '<' | '>'))
                || self.word().is_none()
            {
                self.position = before + 1;
            }
        }
        if self.peek(0).is_some() {
            self.position += 1;
        }
    }
}
