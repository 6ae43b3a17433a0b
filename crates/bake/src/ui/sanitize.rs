//! Keeping text from outside from controlling the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes everything visible that a terminal would act on: control characters other than newline and tab become `\x1b`
/// and the like, characters that change the direction of writing `\u{202e}`.
///
/// For messages, names and labels. The output of steps goes through [`strip_escapes`], which keeps it readable.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_dangerous(character) {
            // Writing to a string cannot fail.
            let _ = match u32::from(character) {
                code @ 0..=0xff => write!(visible, "\\x{code:02x}"),
                code => write!(visible, "\\u{{{code:x}}}"),
            };
        } else {
            visible.push(character);
        }
    }
    Cow::Owned(visible)
}

/// As [`sanitize`], on one line: runs of white space become one space.
pub fn sanitize_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&sanitize(word));
    }
    line
}

fn is_dangerous(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t') || is_direction(character)
}

/// Characters that change the direction of writing, so that a line reads differently from what it holds.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Removes escape sequences (ECMA-48: CSI, OSC and other strings, two-character ones) and control characters other than
/// tab, so that coloured output of a step is still readable without its colours.
pub fn strip_escapes(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| character.is_control() && character != '\t') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let introducer = match character {
            '\u{1b}' => match characters.next() {
                Some(next) => next,
                None => break,
            },
            '\u{9b}' => '[',
            '\u{9d}' => ']',
            '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => 'P',
            '\t' => {
                plain.push('\t');
                continue;
            }
            other => {
                if !other.is_control() {
                    plain.push(other);
                }
                continue;
            }
        };
        match introducer {
            // Parameters and intermediates up to a final character; anything else ends a broken sequence.
            '[' => {
                while let Some(next) = characters.peek().copied() {
                    match next {
                        '\u{20}'..='\u{3f}' => {
                            characters.next();
                        }
                        '\u{40}'..='\u{7e}' => {
                            characters.next();
                            break;
                        }
                        _ => break,
                    }
                }
            }
            // A string up to its terminator: BEL, ST, or the end of the line.
            ']' | 'P' | 'X' | '^' | '_' => {
                while let Some(next) = characters.next() {
                    match next {
                        '\u{7}' | '\u{9c}' => break,
                        '\u{1b}' => {
                            characters.next_if_eq(&'\\');
                            break;
                        }
                        _ => {}
                    }
                }
            }
            // Intermediates and one final character, such as `ESC ( B`.
            '\u{20}'..='\u{2f}' => {
                while characters.next_if(|next| ('\u{20}'..='\u{2f}').contains(next)).is_some() {}
                characters.next();
            }
            // The two-character sequences are complete.
            _ => {}
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_what_they_hold() {
        assert_eq!(sanitize("plain `text`\n\tline"), "plain `text`\n\tline");
        assert_eq!(sanitize("a\u{1b}[2Jb\u{7f}\u{202e}"), "a\\x1b[2Jb\\x7f\\u{202e}");
        assert_eq!(sanitize_line("RUN a \\\n   b\u{7}"), "RUN a \\ b\\x07");
    }

    #[test]
    fn output_loses_its_escapes_only() {
        assert_eq!(strip_escapes("a\tb ü"), "a\tb ü");
        assert_eq!(strip_escapes("\u{1b}[1;32mok\u{1b}[0m done"), "ok done");
        assert_eq!(strip_escapes("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}!"), "link!");
        assert_eq!(strip_escapes("\u{1b}(Bx\u{1b}=y\u{9b}Kz\u{8}\u{0}"), "xyz");
        assert_eq!(strip_escapes("broken \u{1b}["), "broken ");
        assert_eq!(strip_escapes("end \u{1b}"), "end ");
    }
}
