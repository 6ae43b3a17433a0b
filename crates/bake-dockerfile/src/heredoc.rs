//! Heredocs: the `<<NAME` words of a logical line, and the bodies in the lines after it.

use std::ops::Range;

use crate::logical::line_at;

/// A `[fd]<<[-]NAME` of a logical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeredocWord {
    /// Where it stands in the logical line.
    pub(crate) range: Range<usize>,
    /// The name without quotes.
    pub(crate) name: String,
    /// Whether no part of the name was quoted.
    pub(crate) expand: bool,
    /// `<<-`
    pub(crate) chomp: bool,
    /// The number before `<<`, 0 when absent.
    pub(crate) file_descriptor: u32,
}

/// The heredoc words of a line, in order. A line whose quotes do not match has none. The escape character is `\` whatever the file
/// says, because these words are the shell's.
pub(crate) fn heredoc_words(line: &str) -> Vec<HeredocWord> {
    let mut words = Vec::new();
    for range in words_of(line).unwrap_or_default() {
        words.extend(heredoc_word(&line[range.clone()], range));
    }
    words
}

/// Words between white space that is neither quoted nor escaped; blanks after `<<` belong to the word. `None` when a quote is not
/// closed.
fn words_of(line: &str) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let mut start: Option<usize> = None;
    let mut position = 0;
    while let Some(character) = line[position..].chars().next() {
        let rest = &line[position..];
        if character.is_whitespace() {
            ranges.extend(start.take().map(|from| from..position));
            position += character.len_utf8();
            continue;
        }
        start.get_or_insert(position);
        position += match character {
            '\'' => rest[1..].find('\'')? + 2,
            '"' => double_quoted_length(rest)?,
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '<' if rest.starts_with("<<") => {
                let after = rest[2..].strip_prefix('-').unwrap_or(&rest[2..]);
                rest.len() - after.trim_start_matches([' ', '\t', '\r']).len()
            }
            other => other.len_utf8(),
        };
    }
    ranges.extend(start.map(|from| from..line.len()));
    Some(ranges)
}

/// The length of a double-quoted text with its quotes.
fn double_quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (offset, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(offset + 1),
            _ => {}
        }
    }
    None
}

/// Reads one word as a heredoc.
fn heredoc_word(word: &str, range: Range<usize>) -> Option<HeredocWord> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let written = rest.trim_start();
    if written.is_empty() || written.contains('<') {
        return None;
    }
    let (name, quoted) = unquote_name(written);
    if name.is_empty() {
        return None;
    }
    let range = range.start..range.start + word.trim_end().len();
    let file_descriptor = word[..digits].parse().unwrap_or(0);
    Some(HeredocWord { range, name, expand: !quoted, chomp, file_descriptor })
}

/// The name without quotes and escapes, and whether any part of it was quoted.
fn unquote_name(written: &str) -> (String, bool) {
    let mut name = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut characters = written.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                quoted = true;
            }
            (None, '\\') => name.extend(characters.next()),
            (Some('"'), '\\') => match characters.peek() {
                Some('"' | '$' | '\\') => name.extend(characters.next()),
                _ => name.push(character),
            },
            _ => name.push(character),
        }
    }
    (name, quoted)
}

/// A body found in the source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HeredocBody {
    /// The lines without the closing one, as written but for carriage returns.
    pub(crate) text: String,
    /// Where the next line begins.
    pub(crate) next: usize,
    /// The end of the closing line without its line end.
    pub(crate) end: usize,
    /// Whether the closing line was found.
    pub(crate) closed: bool,
}

/// Reads the body that begins at `start`. In a file with carriage returns at its line ends (`drop_carriage_returns`) they are no part
/// of the body; elsewhere a carriage return is content.
pub(crate) fn read_body(text: &str, start: usize, word: &HeredocWord, drop_carriage_returns: bool) -> HeredocBody {
    let mut body = String::new();
    let mut position = start;
    let mut end = start;
    while let Some(line) = line_at(text, position) {
        let content = &text[line.start..line.end];
        position = line.next;
        end = line.end;
        let closing = if word.chomp { content.trim_start_matches('\t') } else { content };
        if closing == word.name {
            return HeredocBody { text: body, next: position, end, closed: true };
        }
        if drop_carriage_returns {
            body.push_str(content);
            body.push('\n');
        } else {
            body.push_str(text[line.start..line.next].trim_end_matches('\n'));
            body.push('\n');
        }
    }
    HeredocBody { text: body, next: position, end, closed: false }
}

/// The body without the tabs at the beginning of its lines.
pub(crate) fn without_leading_tabs(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        for (line, expected) in [
            ("RUN <<EOF", vec![("EOF", true, false, 0)]),
            ("RUN <<-EOF", vec![("EOF", true, true, 0)]),
            ("RUN 3<<EOF", vec![("EOF", true, false, 3)]),
            ("RUN <<'EOF' <<\"B\"", vec![("EOF", false, false, 0), ("B", false, false, 0)]),
            ("RUN <<eo'f'", vec![("eof", false, false, 0)]),
            (r"RUN <<eo\'f", vec![("eo'f", true, false, 0)]),
            (r"RUN <<'e'o\'f", vec![("eo'f", false, false, 0)]),
            ("RUN <<'one two' x", vec![("one two", false, false, 0)]),
            ("RUN <<  EOF  > foo", vec![("EOF", true, false, 0)]),
            ("RUN <<- EOF", vec![("EOF", true, true, 0)]),
            ("RUN << -EOF", vec![("-EOF", true, false, 0)]),
            ("RUN <<$EOF", vec![("$EOF", true, false, 0)]),
            ("COPY <<a.txt <<-b.txt /d/", vec![("a.txt", true, false, 0), ("b.txt", true, true, 0)]),
            ("RUN x=$(cat <<EOF)", vec![("EOF)", true, false, 0)]),
            ("RUN '<<EOF'", vec![]),
            ("RUN \"<<EOF\"", vec![]),
            (r"RUN \<<EOF", vec![]),
            ("RUN a<<EOF", vec![]),
            ("RUN <<<EOF", vec![]),
            ("RUN <<", vec![]),
            ("RUN <<-", vec![]),
            ("RUN <<''", vec![]),
            ("RUN it's <<EOF", vec![]),
            ("RUN echo $((1<<2))", vec![]),
        ] {
            let found = heredoc_words(line);
            let found: Vec<_> = found.iter().map(|w| (w.name.as_str(), w.expand, w.chomp, w.file_descriptor)).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn words_know_their_places() {
        let line = "COPY <<  'a b'  x";
        assert_eq!(heredoc_words(line).first().map(|word| &line[word.range.clone()]), Some("<<  'a b'"));
    }

    #[test]
    fn bodies_end_at_their_name() {
        let word = |text: &str| heredoc_words(text).remove(0);
        let body = read_body("a\r\n EOF\nEOF\r\nrest", 0, &word("<<EOF"), true);
        assert_eq!((body.text.as_str(), body.next, body.end, body.closed), ("a\n EOF\n", 13, 11, true));
        let body = read_body("a\r\n\n", 0, &word("<<EOF"), false);
        assert_eq!((body.text.as_str(), body.closed), ("a\r\n\n", false));
        let body = read_body("\ta\n\t\tEOF\n", 0, &word("<<-EOF"), false);
        assert_eq!((body.text.as_str(), body.closed), ("\ta\n", true));
        let body = read_body("\tEOF\n", 0, &word("<<EOF"), false);
        assert!(!body.closed);
        assert_eq!(without_leading_tabs("\ta\n\t\t b\nc\n\td"), "a\n b\nc\nd");
    }
}
