//! Steps that were cached, on as few lines as say which.

use super::colour::Colour;
use super::rows::STATUS_COLUMNS;
use super::width::fit_middle;

/// Up to this many are named each on its line; more are counted.
const NAMED_MAX: usize = 3;

const WORD: &str = "CACHED";

/// A step whose result was known.
#[derive(Debug, Clone)]
pub(super) struct CachedStep {
    pub(super) stage: String,
    /// Its number within the stage, and how many that has.
    pub(super) number: Option<(u32, u32)>,
    /// Its whole name.
    pub(super) label: String,
}

/// The lines for steps that were cached one after the other: `CACHED [build 1/4] FROM alpine` for each, or
/// `CACHED 9 steps: [build 1-6/7] [web 1-3/5]`.
pub(super) fn cached_lines(steps: &[CachedStep], columns: usize, colour: Colour) -> Vec<String> {
    let room = columns.saturating_sub(STATUS_COLUMNS + 2).max(20);
    let padding = " ".repeat(STATUS_COLUMNS - WORD.len());
    let line = |text: &str| format!("{padding}{} {}", colour.cached(WORD), colour.dim(&fit_middle(text, room)));
    if steps.len() <= NAMED_MAX {
        return steps.iter().map(|step| line(&step.label)).collect();
    }
    let mut stages: Vec<(&str, u32, Vec<u32>)> = Vec::new();
    let mut others = 0;
    for step in steps {
        let Some((number, total)) = step.number else {
            others += 1;
            continue;
        };
        match stages.iter_mut().find(|(stage, of, _)| *stage == step.stage && *of == total) {
            Some((_, _, numbers)) => numbers.push(number),
            None => stages.push((&step.stage, total, vec![number])),
        }
    }
    let mut parts: Vec<String> =
        stages.into_iter().map(|(stage, total, numbers)| part(stage, total, numbers)).collect();
    if others > 0 {
        parts.push(format!("{others} without a number"));
    }
    vec![line(&format!("{} steps: {}", steps.len(), parts.join(" ")))]
}

fn part(stage: &str, total: u32, mut numbers: Vec<u32>) -> String {
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 >= number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.into_iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        },
    );
    let shown = shown.collect::<Vec<_>>().join(",");
    if stage.is_empty() { format!("[{shown}/{total}]") } else { format!("[{stage} {shown}/{total}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(stage: &str, number: Option<(u32, u32)>) -> CachedStep {
        CachedStep { stage: stage.to_owned(), number, label: format!("[{stage}] RUN something") }
    }

    #[test]
    fn a_few_are_named_and_many_counted() {
        let few = vec![step("a", Some((1, 3))); NAMED_MAX];
        assert_eq!(cached_lines(&few, 80, Colour::Plain), ["  CACHED [a] RUN something"; NAMED_MAX]);
        let mut many: Vec<CachedStep> = [1, 2, 3, 5].into_iter().map(|number| step("a", Some((number, 7)))).collect();
        many.push(step("b", Some((2, 2))));
        many.push(step("", None));
        assert_eq!(
            cached_lines(&many, 80, Colour::Plain),
            ["  CACHED 6 steps: [a 1-3,5/7] [b 2/2] 1 without a number"]
        );
        let single: Vec<CachedStep> = (1..=9).rev().map(|number| step("", Some((number, 9)))).collect();
        assert_eq!(cached_lines(&single, 80, Colour::Plain), ["  CACHED 9 steps: [1-9/9]"]);
        assert!(cached_lines(&[], 80, Colour::Plain).is_empty());
    }
}
