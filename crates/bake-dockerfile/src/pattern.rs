//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`: `*`, `?` and escapes, no brackets.

use crate::limits::{EXPANSION_BYTES_MAX, PATTERN_STEPS_MAX};

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShellPattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`: any character but a newline.
    Any,
    /// `*`: any run of characters without a newline.
    Star,
}

/// Whether a `*` takes as little or as much as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greed {
    Shortest,
    Longest,
}

/// Why matching was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// More than [`PATTERN_STEPS_MAX`] steps.
    Steps,
    /// A result of more than [`EXPANSION_BYTES_MAX`] bytes.
    Bytes,
}

impl ShellPattern {
    /// Reads a pattern. The error is the reason, for `invalid pattern (...) in substitution: REASON`.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match characters.next() {
                    // `}` and `/` are escaped only to keep them from ending the substitution.
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Character(escaped),
                    Some(other) => return Err(format!("invalid escape '\\{other}'")),
                    None => return Err("the escape at its end escapes nothing".to_owned()),
                },
                other => Token::Character(other),
            });
        }
        Ok(Self { tokens })
    }

    /// `value` without the prefix that matches. `steps` counts what all patterns of a word took.
    pub(crate) fn trim_prefix(&self, value: &str, greed: Greed, steps: &mut usize) -> Result<String, LimitReached> {
        let characters: Vec<char> = value.chars().collect();
        let length = Matching::new(&self.tokens).length(&characters, greed, steps)?;
        Ok(characters[length.unwrap_or(0)..].iter().collect())
    }

    /// `value` without the suffix that matches.
    pub(crate) fn trim_suffix(&self, value: &str, greed: Greed, steps: &mut usize) -> Result<String, LimitReached> {
        let characters: Vec<char> = value.chars().rev().collect();
        let tokens: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let length = Matching::new(&tokens).length(&characters, greed, steps)?;
        Ok(characters[length.unwrap_or(0)..].iter().rev().collect())
    }

    /// `value` with the first match, or all of them, replaced. Matches are as long as possible.
    pub(crate) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        steps: &mut usize,
    ) -> Result<String, LimitReached> {
        let characters: Vec<char> = value.chars().collect();
        let mut matching = Matching::new(&self.tokens);
        let mut result = String::with_capacity(value.len());
        let mut position = 0;
        let mut after_match = false;
        while position <= characters.len() {
            let found = matching.length(&characters[position..], Greed::Longest, steps)?;
            // An empty match directly after another match would replace the same place twice.
            let found = found.filter(|length| *length > 0 || !after_match);
            if let Some(length) = found {
                // Every place may get the whole replacement: only the product of the two lengths bounds the result.
                if result.len() + replacement.len() > EXPANSION_BYTES_MAX {
                    return Err(LimitReached::Bytes);
                }
                result.push_str(replacement);
                position += length;
                if !all {
                    result.extend(&characters[position..]);
                    return Ok(result);
                }
                after_match = length > 0;
                if length > 0 {
                    continue;
                }
            } else {
                after_match = false;
            }
            result.extend(characters.get(position));
            position += 1;
        }
        Ok(result)
    }
}

/// The matching of a pattern. All alternatives are followed at once, so the time is the product of the lengths, never exponential.
struct Matching<'a> {
    tokens: &'a [Token],
    /// Which tokens may come next, and one more place for the end of the pattern.
    current: Vec<bool>,
    next: Vec<bool>,
}

impl<'a> Matching<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        let places = vec![false; tokens.len() + 1];
        Self { tokens, current: places.clone(), next: places }
    }

    /// The length of the shortest or longest match at the beginning of `characters`.
    fn length(&mut self, characters: &[char], greed: Greed, steps: &mut usize) -> Result<Option<usize>, LimitReached> {
        let Self { tokens, current, next } = self;
        current.fill(false);
        current[0] = true;
        let mut best = None;
        for position in 0..=characters.len() {
            *steps += tokens.len() + 1;
            if *steps > PATTERN_STEPS_MAX {
                return Err(LimitReached::Steps);
            }
            for index in 0..tokens.len() {
                if current[index] && tokens[index] == Token::Star {
                    current[index + 1] = true;
                }
            }
            if current[tokens.len()] {
                best = Some(position);
                if greed == Greed::Shortest {
                    break;
                }
            }
            let Some(character) = characters.get(position) else { break };
            next.fill(false);
            let mut alive = false;
            for (index, token) in tokens.iter().enumerate().filter(|(index, _)| current[*index]) {
                let target = match token {
                    Token::Character(expected) if expected == character => index + 1,
                    Token::Any if *character != '\n' => index + 1,
                    Token::Star if *character != '\n' => index,
                    _ => continue,
                };
                next[target] = true;
                alive = true;
            }
            if !alive {
                break;
            }
            std::mem::swap(current, next);
        }
        Ok(best)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ShellPattern {
        ShellPattern::parse(text).unwrap()
    }

    #[test]
    fn prefixes_and_suffixes() {
        for (text, value, shortest, longest) in [
            ("*/", "a/b/c", "b/c", "c"),
            ("a?b", "a/b/c", "/c", "/c"),
            ("z", "abc", "abc", "abc"),
            ("*", "abc", "abc", ""),
            ("", "abc", "abc", "abc"),
            ("\\*", "*a", "a", "a"),
            ("*x*y", "xxyy", "y", ""),
            ("*", "a\nb", "a\nb", "\nb"),
        ] {
            assert_eq!(pattern(text).trim_prefix(value, Greed::Shortest, &mut 0).unwrap(), shortest, "{text} {value}");
            assert_eq!(pattern(text).trim_prefix(value, Greed::Longest, &mut 0).unwrap(), longest, "{text} {value}");
        }
        for (text, value, shortest, longest) in [
            (".*", "a.tar.gz", "a.tar", "a"),
            ("\\**", "xx**", "xx*", "xx"),
            ("é", "caфé", "caф", "caф"),
            ("\\**\\*", "a***yy*", "a**", "a"),
        ] {
            assert_eq!(pattern(text).trim_suffix(value, Greed::Shortest, &mut 0).unwrap(), shortest, "{text} {value}");
            assert_eq!(pattern(text).trim_suffix(value, Greed::Longest, &mut 0).unwrap(), longest, "{text} {value}");
        }
    }

    #[test]
    fn replacement() {
        for (text, value, replacement, first, all) in [
            ("\\*/", "/foo*/*/*.txt", ".", "/foo.*/*.txt", "/foo..*.txt"),
            ("/?/", "/a/foo/b/c.txt", "/", "/foo/b/c.txt", "/foo/c.txt"),
            ("", "ab", "-", "-ab", "-a-b-"),
            ("b*", "abcb", "X", "aX", "aX"),
            ("*", "ab", "X", "X", "X"),
            ("x", "ab", "X", "ab", "ab"),
            ("\\/", "/a/b", "\\/", "\\/a/b", "\\/a\\/b"),
        ] {
            assert_eq!(pattern(text).replace(value, replacement, false, &mut 0).unwrap(), first, "{text} {value}");
            assert_eq!(pattern(text).replace(value, replacement, true, &mut 0).unwrap(), all, "{text} {value}");
        }
    }

    #[test]
    fn bad_escapes() {
        for text in ["\\", "\\x", "a\\\\\\"] {
            assert!(ShellPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn costly_matching_ends() {
        let value = "a".repeat(200_000);
        assert_eq!(pattern("*a*b").replace(&value, "", true, &mut 0), Err(LimitReached::Steps));
        let mut steps = PATTERN_STEPS_MAX - 10;
        assert_eq!(pattern("*").trim_prefix("ab", Greed::Longest, &mut steps), Ok(String::new()));
        assert_eq!(pattern("*").trim_suffix("ab", Greed::Longest, &mut steps), Err(LimitReached::Steps));
    }

    #[test]
    fn results_stay_small() {
        let long = "a".repeat(100_000);
        assert_eq!(pattern("?").replace(&long, &long, true, &mut 0), Err(LimitReached::Bytes));
        assert_eq!(pattern("").replace(&long, &long, true, &mut 0), Err(LimitReached::Bytes));
    }
}
