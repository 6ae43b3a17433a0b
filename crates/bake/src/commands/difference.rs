//! The difference of two texts in the unified format of `diff -u`.

use std::fmt::Write as _;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// The most cells of the table of common lines; larger changes are shown as one replacement.
const CELLS_MAX: usize = 4 << 20;

/// A line and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Kept(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

/// The unified difference; empty where the texts are equal.
pub(super) fn unified(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let name = bake::ui::sanitize::sanitize_line(name);
    let lines =
        compare(&before.split_inclusive('\n').collect::<Vec<_>>(), &after.split_inclusive('\n').collect::<Vec<_>>());
    let mut text = format!("--- a/{name}\n+++ b/{name}\n");
    let is_change = |line: &Line<'_>| !matches!(line, Line::Kept(_));
    let mut index = 0;
    while let Some(offset) = lines[index..].iter().position(is_change) {
        let first = index + offset;
        let start = first.saturating_sub(CONTEXT).max(index);
        // The hunk goes on while the next change is near enough for the contexts to touch.
        let mut last = first;
        while let Some(next) = lines[last + 1..].iter().take(2 * CONTEXT + 1).position(is_change) {
            last += next + 1;
        }
        let end = (last + 1 + CONTEXT).min(lines.len());
        hunk(&mut text, &lines, start, end);
        index = end;
    }
    text
}

fn hunk(text: &mut String, lines: &[Line<'_>], start: usize, end: usize) {
    let count = |lines: &[Line<'_>]| {
        let old = lines.iter().filter(|line| !matches!(line, Line::Added(_))).count();
        let new = lines.iter().filter(|line| !matches!(line, Line::Removed(_))).count();
        (old, new)
    };
    let ((old_before, new_before), (old, new)) = (count(&lines[..start]), count(&lines[start..end]));
    // An empty side is numbered by the line before it.
    let number = |before: usize, count: usize| before + usize::from(count > 0);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "@@ -{},{old} +{},{new} @@", number(old_before, old), number(new_before, new));
    for line in &lines[start..end] {
        let (sign, line) = match line {
            Line::Kept(line) => (' ', line),
            Line::Removed(line) => ('-', line),
            Line::Added(line) => ('+', line),
        };
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// The lines of both texts, in order, by the longest common subsequence of what differs.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
    let suffix = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - suffix], &new_rest[..new_rest.len() - suffix]);
    let mut lines: Vec<Line<'a>> = old[..prefix].iter().map(|line| Line::Kept(line)).collect();
    middle(old_middle, new_middle, &mut lines);
    lines.extend(old_rest[old_rest.len() - suffix..].iter().map(|line| Line::Kept(line)));
    lines
}

fn middle<'a>(old: &[&'a str], new: &[&'a str], lines: &mut Vec<Line<'a>>) {
    let width = new.len() + 1;
    if old.len().saturating_add(1).saturating_mul(width) > CELLS_MAX {
        lines.extend(old.iter().map(|line| Line::Removed(line)));
        lines.extend(new.iter().map(|line| Line::Added(line)));
        return;
    }
    // `common[i * width + j]`: how many lines `old[i..]` and `new[j..]` have in common.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Kept(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            lines.push(Line::Removed(old[i]));
            i += 1;
        } else {
            lines.push(Line::Added(new[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_have_context_and_numbers() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
        let after = "1\n2\nthree\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13";
        assert_eq!(
            unified("Dockerfile", before, after),
            "--- a/Dockerfile\n+++ b/Dockerfile\n@@ -1,6 +1,6 @@\n 1\n 2\n-3\n+three\n 4\n 5\n 6\n\
             @@ -10,3 +10,4 @@\n 10\n 11\n 12\n+13\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("x", before, before), "");
        assert_eq!(unified("x", "", "a\n"), "--- a/x\n+++ b/x\n@@ -0,0 +1,1 @@\n+a\n");
    }

    #[test]
    fn near_changes_share_a_hunk() {
        let before = "a\nb\nc\nd\ne\n";
        let text = unified("x", before, "A\nb\nc\nd\nE\n");
        assert_eq!(text.matches("@@ -").count(), 1, "{text}");
        assert!(text.contains("-a\n+A\n b\n c\n d\n-e\n+E\n"), "{text}");
    }

    #[test]
    fn large_changes_are_replacements() {
        let (old, new) = ("old\n".repeat(3000), "new\n".repeat(3000));
        assert_eq!(unified("x", &old, &new).lines().count(), 6003);
    }
}
