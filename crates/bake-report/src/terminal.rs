//! The output of a step as a terminal would show it: colours, and lines that were written over.

/// A piece of text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The colour of the text, if it has one: 0 to 7 as terminals count them, 8 to 15 for the bright ones.
    pub colour: Option<u8>,
    /// Whether it is bold.
    pub bold: bool,
    /// The text; newlines end lines.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Style {
    colour: Option<u8>,
    bold: bool,
}

/// Pieces of one style each. Of a line that was written over (`\r`), what was written last is kept; of escape sequences
/// (ECMA-48) those that set colours and boldness are obeyed and all others left out, as are other control characters.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut reader = Reader::default();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => reader.end_line(),
            '\r' => reader.overwrite = true,
            '\t' => reader.push('\t'),
            '\u{1b}' => match characters.next() {
                Some('[') => reader.sequence(&mut characters),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut characters),
                _ => {}
            },
            '\u{9b}' => reader.sequence(&mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut characters),
            '\u{8}' => {
                reader.backspace();
            }
            other if other.is_control() => {}
            other => reader.push(other),
        }
    }
    reader.done.append(&mut reader.line);
    reader.done
}

/// Text without styles, as [`pieces`] reads it.
pub fn plain(text: &str) -> String {
    pieces(text).into_iter().map(|piece| piece.text).collect()
}

#[derive(Debug, Default)]
struct Reader {
    style: Style,
    done: Vec<Piece>,
    /// The pieces of the line that is not ended yet.
    line: Vec<Piece>,
    /// Whether the next character begins the line anew.
    overwrite: bool,
}

impl Reader {
    fn push(&mut self, character: char) {
        if std::mem::take(&mut self.overwrite) {
            self.line.clear();
        }
        let Style { colour, bold } = self.style;
        match self.line.last_mut().filter(|piece| (piece.colour, piece.bold) == (colour, bold)) {
            Some(piece) => piece.text.push(character),
            None => self.line.push(Piece { colour, bold, text: character.to_string() }),
        }
    }

    fn backspace(&mut self) {
        if let Some(piece) = self.line.last_mut() {
            piece.text.pop();
            if piece.text.is_empty() {
                self.line.pop();
            }
        }
    }

    fn end_line(&mut self) {
        // A carriage return before the newline writes over nothing.
        self.overwrite = false;
        self.push('\n');
        for piece in self.line.drain(..) {
            let style = (piece.colour, piece.bold);
            match self.done.last_mut().filter(|last| (last.colour, last.bold) == style) {
                Some(last) => last.text.push_str(&piece.text),
                None => self.done.push(piece),
            }
        }
    }

    /// What follows `ESC [`.
    fn sequence(&mut self, characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
        let mut parameters = String::new();
        while let Some(next) = characters.next_if(|next| matches!(next, '\u{20}'..='\u{7e}')) {
            match next {
                'm' => return self.select(&parameters),
                // What is erased up to the end of a line is mostly the rest of a longer one that was written over.
                '\u{40}'..='\u{7e}' => return,
                _ if parameters.len() < 64 => parameters.push(next),
                _ => {}
            }
        }
    }

    fn select(&mut self, parameters: &str) {
        let mut numbers = parameters.split([';', ':']).map(|number| number.parse::<u8>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                0 => self.style = Style::default(),
                1 => self.style.bold = true,
                22 => self.style.bold = false,
                30..=37 => self.style.colour = Some(number - 30),
                90..=97 => self.style.colour = Some(number - 90 + 8),
                39 => self.style.colour = None,
                38 | 48 => {
                    // `5;N` is a colour of a palette, `2;R;G;B` any colour.
                    match numbers.next() {
                        Some(5) => {
                            let colour = numbers.next().filter(|colour| *colour < 16);
                            if number == 38 {
                                self.style.colour = colour;
                            }
                        }
                        Some(2) => {
                            let _ = numbers.nth(2);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

/// Leaves out a string up to its end: BEL, `ESC \` or ST.
fn skip_string(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(character) = characters.next() {
        match character {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                characters.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_written_over_and_control_characters_go() {
        for (text, shown) in [
            ("a\r\nb\r\n", "a\nb\n"),
            ("10%\r50%\r100%\ndone", "100%\ndone"),
            ("longer\rab\x1b[K\n", "ab\n"),
            ("title \x1b]0;evil\x07end \x1bP1;2q\x1b\\x", "title end x"),
            ("\x1b[2J\x1b[1;1Hclear \x00\x7f", "clear "),
            ("abc\x08d", "abd"),
            ("unfinished \x1b[12", "unfinished "),
            ("\x1b[3\nx", "\nx"),
        ] {
            assert_eq!(plain(text), shown, "{text:?}");
        }
    }

    #[test]
    fn colours_are_kept() {
        let piece = |colour, bold, text: &str| Piece { colour, bold, text: text.to_owned() };
        assert_eq!(
            pieces("a\x1b[31mb\x1b[1mc\x1b[0md\x1b[38;5;9me\x1b[38;2;1;2;3;39mf\x1b[97;48;5;3mg"),
            [
                piece(None, false, "a"),
                piece(Some(1), false, "b"),
                piece(Some(1), true, "c"),
                piece(None, false, "d"),
                piece(Some(9), false, "e"),
                piece(None, false, "f"),
                piece(Some(15), false, "g"),
            ]
        );
    }
}
