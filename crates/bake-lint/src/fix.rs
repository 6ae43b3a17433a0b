//! Applying fixes to the text.

use std::collections::BTreeMap;

use crate::finding::{Finding, Fix, NewFile};

/// A text after fixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The new text.
    pub text: String,
    /// How many fixes changed the text.
    pub applied: usize,
    /// How many fixes had to wait because they touch what another one changed: lint the new text again to apply them.
    pub conflicts: usize,
    /// How many fixes were left out because they may change the image.
    pub withheld: usize,
    /// The files to write at the root of the build context where there is none of that name, in order of their names.
    pub new_files: Vec<NewFile>,
}

/// Applies the fixes of `findings` to `source`: all safe ones, and with `include_unsafe` those that may change the image. Fixes are
/// taken in source order; one that overlaps an earlier one is left for another round, so the text stays what each fix meant.
pub fn apply_fixes(source: &str, findings: &[Finding], include_unsafe: bool) -> Fixed {
    let mut fixes: Vec<&Fix> = findings.iter().filter_map(|finding| finding.fix.as_ref()).collect();
    let offered = fixes.len();
    fixes.retain(|fix| (fix.safe || include_unsafe) && is_applicable(source, fix));
    let withheld = offered - fixes.len();
    fixes.sort_by_key(|fix| fix.edits.iter().map(|edit| edit.span.start).min());
    let mut edits: Vec<(usize, usize, &str)> = Vec::new();
    let mut new_files = BTreeMap::new();
    let (mut applied, mut conflicts) = (0, 0);
    for fix in fixes {
        let new: Vec<_> = fix.edits.iter().map(|e| (e.span.start, e.span.end, e.replacement.as_str())).collect();
        if new.is_empty() {
            // It is all about another file.
        } else if new.iter().all(|edit| edits.contains(edit)) {
            // Another finding asked for the very same change.
            applied += 1;
        } else if new.iter().any(|edit| edits.iter().any(|other| overlaps(*edit, *other))) {
            conflicts += 1;
            continue;
        } else {
            edits.extend(new);
            applied += 1;
        }
        if let Some(file) = &fix.new_file {
            new_files.entry(file.name.as_str()).or_insert(file);
        }
    }
    edits.sort_by_key(|edit| (edit.0, edit.1));
    let mut text = String::with_capacity(source.len());
    let mut position = 0;
    for (start, end, replacement) in edits {
        text.push_str(&source[position..start]);
        text.push_str(replacement);
        position = end;
    }
    text.push_str(&source[position..]);
    Fixed { text, applied, conflicts, withheld, new_files: new_files.into_values().cloned().collect() }
}

/// `source` after `edits`, which must not overlap.
#[cfg(test)]
pub(crate) fn replaced(source: &str, edits: &[crate::finding::TextEdit]) -> String {
    let mut edits: Vec<_> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.span.start);
    let mut text = source.to_owned();
    for edit in edits.iter().rev() {
        text.replace_range(edit.span.start..edit.span.end, &edit.replacement);
    }
    text
}

/// Whether all edits lie inside the text, on character boundaries, and apart from each other.
fn is_applicable(source: &str, fix: &Fix) -> bool {
    let apart = |index: usize| {
        fix.edits[..index].iter().all(|other| {
            let edit = &fix.edits[index];
            !overlaps((edit.span.start, edit.span.end, ""), (other.span.start, other.span.end, ""))
        })
    };
    (!fix.edits.is_empty() || fix.new_file.is_some())
        && fix.edits.iter().all(|edit| source.get(edit.span.start..edit.span.end).is_some())
        && (0..fix.edits.len()).all(apart)
}

/// Whether two edits touch the same bytes, or insert at the same place.
fn overlaps(a: (usize, usize, &str), b: (usize, usize, &str)) -> bool {
    if a.0 == a.1 || b.0 == b.1 { a.0 <= b.1 && b.0 <= a.1 } else { a.0 < b.1 && b.0 < a.1 }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_dockerfile::Span;

    use super::apply_fixes;
    use crate::finding::{Finding, Fix, NewFile, TextEdit};

    fn finding(safe: bool, edits: &[(usize, usize, &str)]) -> Finding {
        let edits = edits.iter().map(|(start, end, text)| TextEdit::replace(Span::new(*start, *end), *text)).collect();
        let mut findings = Vec::new();
        let rule = crate::RULES[0];
        crate::finding::Reporter::new(rule, &mut findings).report(Span::new(0, 1), "x").fix =
            Some(Fix { title: "x".to_owned(), safe, edits, new_file: None });
        findings.remove(0)
    }

    #[test]
    fn edits_are_applied_in_order() {
        let fixed =
            apply_fixes("abcdef", &[finding(true, &[(4, 5, "X")]), finding(true, &[(0, 1, ""), (2, 2, "Y")])], false);
        assert_eq!((fixed.text.as_str(), fixed.applied), ("bYcdXf", 2));
    }

    #[test]
    fn overlaps_wait_and_unsafe_ones_are_withheld() {
        let fixed = apply_fixes("abc", &[finding(true, &[(0, 2, "X")]), finding(true, &[(1, 3, "Y")])], false);
        assert_eq!((fixed.text.as_str(), fixed.conflicts), ("Xc", 1));
        let fixed = apply_fixes("abc", &[finding(false, &[(0, 2, "X")])], false);
        assert_eq!((fixed.text.as_str(), fixed.withheld), ("abc", 1));
        assert_eq!(apply_fixes("abc", &[finding(false, &[(0, 2, "X")])], true).text, "Xc");
    }

    #[test]
    fn edits_outside_the_text_are_not_applied() {
        assert_eq!(apply_fixes("ä", &[finding(true, &[(1, 2, "X")])], true).text, "ä");
        assert_eq!(apply_fixes("a", &[finding(true, &[(1, 9, "X")])], true).text, "a");
    }

    #[test]
    fn files_to_write_are_collected() {
        let mut wanted = finding(true, &[]);
        let new_file = Some(NewFile { name: ".dockerignore".to_owned(), text: ".git\n".to_owned() });
        wanted.fix.as_mut().unwrap().new_file = new_file.clone();
        let fixed = apply_fixes("abc", &[wanted.clone(), wanted], false);
        assert_eq!((fixed.text.as_str(), fixed.applied, fixed.new_files), ("abc", 0, new_file.into_iter().collect()));
    }
}
