//! How many columns of a terminal text takes, and cutting it to those there are.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::sanitize::strip_escapes;

/// What stands for text that was cut out. Three ASCII characters, since not every terminal has the single one.
const CUT: &str = "...";

/// The columns that text takes; escape sequences take none. Where terminals disagree (emoji made of several characters), the
/// larger number.
pub(super) fn columns(text: &str) -> usize {
    let text = strip_escapes(text);
    text.width().max(text.chars().map(character_columns).sum())
}

/// As much of the beginning of `text` as fits into `columns`, with `...` where something is missing.
pub(super) fn fit(text: &str, columns: usize) -> String {
    cut(text, columns, 0)
}

/// As much of `text` as fits into `columns`, with `...` in place of what is left out of its second half: the end of a
/// command often says more than what stands before it (`COPY --from=build /out/app /app`).
pub(super) fn fit_middle(text: &str, columns: usize) -> String {
    // Two short ends say less than one beginning.
    if columns < 30 { fit(text, columns) } else { cut(text, columns, columns / 3) }
}

fn cut(text: &str, columns: usize, end_columns: usize) -> String {
    if text.chars().map(character_columns).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let marker = if columns < 2 * CUT.len() { "" } else { CUT };
    let start = take_columns(text.chars(), columns - end_columns - marker.len().min(columns - end_columns));
    let end: Vec<char> = take_columns(text.chars().rev(), end_columns).chars().rev().collect();
    start + marker + &end.into_iter().collect::<String>()
}

fn take_columns(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut width = 0;
    characters
        .take_while(|character| {
            width += character_columns(*character);
            width <= columns
        })
        .collect()
}

fn character_columns(character: char) -> usize {
    match character {
        // It may make the character before it a wide picture.
        '\u{fe0f}' => 1,
        other => other.width().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_the_columns_there_are() {
        assert_eq!(fit("short", 10), "short");
        assert_eq!(fit("exactly10!", 10), "exactly10!");
        assert_eq!(fit("longer than ten", 10), "longer ...");
        assert_eq!(fit("漢字漢字漢字", 8), "漢字...");
        assert_eq!(fit("abc", 1), "a");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn the_end_of_long_text_is_kept() {
        let text = "[build 3/4] COPY --from=compile /a/very/long/path/to/what/was/made /usr/bin/app";
        assert_eq!(fit_middle(text, 50), "[build 3/4] COPY --from=compile...ade /usr/bin/app");
        assert_eq!(fit_middle(text, 20), "[build 3/4] COPY ...");
        assert_eq!(fit_middle("short", 50), "short");
    }

    #[test]
    fn nothing_gets_wider_than_asked_for() {
        for text in
            ["plain text that is rather long for this", "漢字漢字漢字漢字漢字漢字漢字漢字漢字", "👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦❤️❤️❤️❤️❤️"]
        {
            for limit in 0..60 {
                assert!(columns(&fit(text, limit)) <= limit, "{text} in {limit}");
                assert!(columns(&fit_middle(text, limit)) <= limit, "{text} in {limit}");
            }
        }
    }

    #[test]
    fn colours_take_no_columns() {
        assert_eq!(columns("\u{1b}[1;31merror\u{1b}[0m: ü"), 8);
    }
}
