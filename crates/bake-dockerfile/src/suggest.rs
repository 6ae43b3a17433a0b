//! "Did you mean": the nearest of the known words.

/// Distances below this count as a typo; at three, unrelated short words begin to match.
const DISTANCE_LIMIT: usize = 3;

/// Longest word that is compared; the distance takes time proportional to the product of the lengths.
const WORD_CHARACTERS_MAX: usize = 128;

/// The option nearest to `word`, when fewer than three slips apart: a character too many, too few or wrong, or two swapped.
///
/// An exact match means that the word is not the mistake: `None`. Among equals the first option wins.
/// With `case_sensitive` false the comparison ignores case; the option is returned as given.
pub fn suggest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>, case_sensitive: bool) -> Option<&'a str> {
    let fold = |text: &str| if case_sensitive { text.to_owned() } else { text.to_lowercase() };
    let word: Vec<char> = fold(word).chars().collect();
    if word.len() > WORD_CHARACTERS_MAX {
        return None;
    }
    let mut best = None;
    let mut best_distance = DISTANCE_LIMIT;
    for option in options {
        let folded: Vec<char> = fold(option).chars().collect();
        if folded == word {
            return None;
        }
        if folded.len().abs_diff(word.len()) >= best_distance {
            continue;
        }
        let distance = edit_distance(&word, &folded);
        if distance < best_distance {
            best_distance = distance;
            best = Some(option);
        }
    }
    best
}

/// ` (did you mean X?)` for the end of a message, or nothing.
pub fn did_you_mean<'a>(word: &str, options: impl IntoIterator<Item = &'a str>, case_sensitive: bool) -> String {
    suggest(word, options, case_sensitive).map(|option| format!(" (did you mean {option}?)")).unwrap_or_default()
}

/// The number of characters to insert, delete, replace, or swap with their neighbour: swapping is the commonest slip of the hand, and
/// counts once (the optimal string alignment distance).
fn edit_distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = Vec::with_capacity(right.len() + 1);
        row.push(i + 1);
        for (j, b) in right.iter().enumerate() {
            let mut distance = (last[j] + usize::from(a != b)).min(row[j] + 1).min(last[j + 1] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                distance = distance.min(before_last[j - 1] + 1);
            }
            row.push(distance);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let options = ["COPY", "ENV", "RUN", "FROM"];
        for (word, expected) in [
            ("COPPY", Some("COPY")),
            ("FORM", Some("FROM")),
            ("RNU", Some("RUN")),
            ("runn", Some("RUN")),
            ("RUN", None),
            ("run", None),
            ("WORKDIRECTORY", None),
        ] {
            assert_eq!(suggest(word, options, false), expected, "{word}");
        }
        assert_eq!(suggest("Copy", options, true), None, "three letters differ in case");
        assert_eq!(suggest("tragt", ["type", "target"], true), Some("target"));
        assert_eq!(suggest("", ["ab"], true), Some("ab"));
    }

    #[test]
    fn distance_is_symmetric() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 1), ("abc", "cab", 2), ("ca", "abc", 3)]
        {
            assert_eq!(edit_distance(&chars(a), &chars(b)), expected);
            assert_eq!(edit_distance(&chars(b), &chars(a)), expected);
        }
    }

    #[test]
    fn very_long_words_are_not_compared() {
        assert_eq!(suggest(&"x".repeat(10_000), ["x"], true), None);
    }
}
