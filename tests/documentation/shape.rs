//! Whether output has the shape that a page shows: the same words, whatever digests, sizes and times there are.

use super::support::{Outcome, check};

/// That the lines of `expected` come in `actual`, in their order. `...` stands for anything, also for whole lines.
pub(crate) fn compare(expected: &str, actual: &str) -> Outcome {
    let actual_lines: Vec<String> = actual.lines().map(shape).collect();
    let mut from = 0;
    for line in expected.lines().filter(|line| !line.trim().is_empty() && line.trim() != "...") {
        let wanted = shape(line);
        let pieces: Vec<&str> = wanted.split("...").map(str::trim).collect();
        let place = actual_lines.iter().skip(from).position(|line| holds(line, &pieces));
        check(place.is_some(), || format!("the page shows `{line}`, which does not come{}:\n{actual}", after(from)))?;
        from += place.map_or(0, |place| place + 1);
    }
    Ok(())
}

fn after(from: usize) -> String {
    if from == 0 { String::new() } else { format!(" after line {from} of this") }
}

/// Whether `line` is these pieces with anything between them.
fn holds(line: &str, pieces: &[&str]) -> bool {
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return false };
    if pieces.len() == 1 {
        return line == *first;
    }
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for piece in &pieces[1..pieces.len() - 1] {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A line without what differs from run to run: numbers, digests, times, how wide columns are.
fn shape(line: &str) -> String {
    let mut words = Vec::new();
    // Three full stops stand for anything; those of numbers do not count.
    let line = line.replace("...", "\u{1}");
    for word in line.split_whitespace() {
        let mut out = String::new();
        for character in word.chars() {
            match character {
                // 1.5s and 12s have the same shape.
                '0'..='9' | '.' if out.ends_with('N') => {}
                '0'..='9' => out.push('N'),
                _ => out.push(character),
            }
        }
        words.push(digest_shape(word).unwrap_or(out));
    }
    // How long ago something was depends on how busy the machine is.
    words.join(" ").replace('\u{1}', "...").replace("just now", "N s ago").replace("N min ago", "N s ago")
}

/// The shape of a digest, or of the first part of one.
fn digest_shape(word: &str) -> Option<String> {
    let (before, after) = word.split_once("sha256:")?;
    let end = after.find(|character: char| !character.is_ascii_hexdigit() && character != '.').unwrap_or(after.len());
    Some(format!("{before}DIGEST{}", &after[end..]))
}
