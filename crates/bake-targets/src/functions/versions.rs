//! Semantic versions.

use std::cmp::Ordering;

use super::{Arguments, Outcome};

/// A version: numbers, and what stands behind `-`.
struct Version {
    numbers: [u64; 3],
    pre_release: Option<String>,
}

impl Version {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no version such as 1.2.3");
        let bare = text.trim().trim_start_matches('v');
        let bare = bare.split_once('+').map_or(bare, |(version, _)| version);
        let (numbers, pre_release) =
            bare.split_once('-').map_or((bare, None), |(numbers, pre)| (numbers, Some(pre.to_owned())));
        let mut parsed = [0; 3];
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 {
            return Err(wrong());
        }
        for (slot, part) in parsed.iter_mut().zip(parts) {
            *slot = part.parse().map_err(|_| wrong())?;
        }
        Ok(Self { numbers: parsed, pre_release })
    }

    /// Semantic Versioning 2.0.0, section 11.
    fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.pre_release, &other.pre_release) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(own), Some(theirs)) => {
                let (mut own, mut theirs) = (own.split('.'), theirs.split('.'));
                loop {
                    let order = match (own.next(), theirs.next()) {
                        (None, None) => return Ordering::Equal,
                        (None, Some(_)) => return Ordering::Less,
                        (Some(_), None) => return Ordering::Greater,
                        (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                            (Ok(a), Ok(b)) => a.cmp(&b),
                            (Ok(_), Err(_)) => Ordering::Less,
                            (Err(_), Ok(_)) => Ordering::Greater,
                            (Err(_), Err(_)) => a.cmp(b),
                        },
                    };
                    if order != Ordering::Equal {
                        return order;
                    }
                }
            }
        })
    }
}

/// Whether a version meets a constraint: `>= 1.2, < 2 || 3.x`, `^1.2`, `~1.2.3`, `!= 1.0`.
pub(super) fn compare(arguments: &Arguments<'_>) -> Outcome {
    let (version, constraint) = (Version::parse(&arguments.text(0)?)?, arguments.text(1)?);
    for alternative in constraint.split("||") {
        let mut all = true;
        for condition in
            alternative.replace(',', " ").split_whitespace().fold(Vec::<String>::new(), |mut conditions, word| {
                // `>= 1.0` is one condition in two words.
                match conditions.last_mut() {
                    Some(last) if last.chars().all(|c| "=!<>~^".contains(c)) => last.push_str(word),
                    _ => conditions.push(word.to_owned()),
                }
                conditions
            })
        {
            all &= meets(&version, &condition)?;
        }
        if all {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn meets(version: &Version, condition: &str) -> Result<bool, String> {
    let operator = condition.len() - condition.trim_start_matches(['=', '!', '<', '>', '~', '^']).len();
    let (operator, text) = condition.split_at(operator);
    let parts: Vec<&str> =
        text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default().split('.').collect();
    let wild = |part: &&&str| matches!(**part, "x" | "X" | "*");
    let given = parts.iter().take_while(|part| !wild(part)).count();
    let bound = Version::parse(&parts[..given].join("."))
        .or_else(|error| if given == 0 { Version::parse("0") } else { Err(error) })?;
    let bound = if given == parts.len() { Version::parse(text)? } else { bound };
    let order = version.compare(&bound);
    // The first version that is no longer meant when only the first `kept` numbers are fixed.
    let below_next = |kept: usize| version.numbers[..kept] == bound.numbers[..kept];
    Ok(match operator {
        "" | "=" | "==" if given < 3 => below_next(given),
        "" | "=" | "==" => order == Ordering::Equal,
        "!=" if given < 3 => !below_next(given),
        "!=" => order != Ordering::Equal,
        ">" => order == Ordering::Greater && (given == 3 || !below_next(given)),
        ">=" | "=>" => order != Ordering::Less,
        "<" => order == Ordering::Less,
        "<=" | "=<" => order != Ordering::Greater || (given < 3 && below_next(given)),
        "~" | "~>" => order != Ordering::Less && below_next(given.min(2)),
        "^" => {
            let kept = bound.numbers[..given.max(1)]
                .iter()
                .position(|number| *number != 0)
                .map_or(given.max(1), |position| position + 1);
            order != Ordering::Less && below_next(kept.min(3))
        }
        other => return Err(format!("there is no comparison `{other}` of versions")),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::{Version, meets};

    #[test]
    fn constraints_are_met() {
        for (version, condition, expected) in [
            ("1.2.3", ">=1.0", true),
            ("1.2.3", "<1.2.3", false),
            ("1.2.3", "^1.1", true),
            ("2.0.0", "^1.1", false),
            ("0.2.5", "^0.2.3", true),
            ("0.3.0", "^0.2.3", false),
            ("1.2.9", "~1.2.3", true),
            ("1.3.0", "~1.2.3", false),
            ("1.2.3", "1.2.x", true),
            ("1.2.3", "=1.2.3", true),
            ("1.2.3-rc.1", "<1.2.3", true),
            ("v1.2.3+build", "1.2.3", true),
        ] {
            assert_eq!(meets(&Version::parse(version).unwrap(), condition), Ok(expected), "{version} {condition}");
        }
        assert!(meets(&Version::parse("1").unwrap(), "=>>1").is_err());
    }
}
