//! Quick fixes: what the linter proposes, all of it at once, or a comment that hides a finding.

use bake_dockerfile::{ItemKind, Span};
use bake_lint::{Finding, Fix, LintOptions, apply_fixes, lint};
use serde_json::{Value, json};

use crate::diagnostics;
use crate::document::{Document, uri_of};
use crate::protocol::Client;
use crate::workspace::Workspace;

/// The kind of the action that applies every safe fix.
pub(crate) const FIX_ALL: &str = "source.fixAll.bake";

/// The kind of the actions for single findings.
const QUICK_FIX: &str = "quickfix";

/// Fixes that touch the same place wait for another round; no file needs more than a few.
const ROUNDS_MAX: usize = 10;

/// The actions for a range. `only` are the kinds that are wanted, any if there are none.
pub(crate) fn actions(
    document: &Document,
    workspace: &dyn Workspace,
    options: &LintOptions,
    client: Client,
    range: Span,
    only: Option<&[String]>,
) -> Vec<Value> {
    // A kind stands for all that continue it: `source` for `source.fixAll.bake`.
    let wants = |kind: &str| {
        only.is_none_or(|only| {
            only.iter().any(|wanted| {
                kind.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        })
    };
    let mut actions = Vec::new();
    if wants(QUICK_FIX) {
        let touches = |finding: &&Finding| finding.span.start <= range.end && range.start <= finding.span.end;
        let findings: Vec<&Finding> = document.findings.iter().filter(touches).collect();
        for finding in &findings {
            actions.extend(finding.fix.as_ref().and_then(|fix| quick_fix(document, workspace, client, finding, fix)));
        }
        let mut hidden: Vec<(&str, Option<usize>)> = Vec::new();
        for finding in findings {
            let place = document.instruction_at(finding.span.start).map(|(index, _)| index);
            if !hidden.contains(&(finding.rule.id, place)) {
                hidden.push((finding.rule.id, place));
                actions.push(hide(document, finding));
            }
        }
    }
    if wants(FIX_ALL) {
        actions.extend(fix_all(document, options));
    }
    actions
}

fn quick_fix(
    document: &Document,
    workspace: &dyn Workspace,
    client: Client,
    finding: &Finding,
    fix: &Fix,
) -> Option<Value> {
    let edits: Vec<Value> = fix.edits.iter().map(|edit| text_edit(document, edit.span, &edit.replacement)).collect();
    let edit = match &fix.new_file {
        None if edits.is_empty() => return None,
        None => changes(document, edits),
        Some(file) => {
            if !client.new_files {
                return None;
            }
            let uri = uri_of(&workspace.context_directory(document.path.as_deref()?)?.join(&file.name));
            let start = json!({ "line": 0, "character": 0 });
            let content = json!({ "range": { "start": start, "end": start }, "newText": file.text });
            let mut all = vec![
                json!({ "kind": "create", "uri": uri, "options": { "ignoreIfExists": false } }),
                json!({ "textDocument": { "uri": uri, "version": null }, "edits": [content] }),
            ];
            if !edits.is_empty() {
                let name = json!({ "uri": document.uri, "version": document.version });
                all.push(json!({ "textDocument": name, "edits": edits }));
            }
            json!({ "documentChanges": all })
        }
    };
    let title = if fix.safe { fix.title.clone() } else { format!("{} (may change the image)", fix.title) };
    Some(json!({
        "title": title,
        "kind": QUICK_FIX,
        "diagnostics": [diagnostics::diagnostic(document, finding)],
        "isPreferred": fix.safe,
        "edit": edit,
    }))
}

/// Adds a comment that hides the finding, or its rule to the comment that is there.
fn hide(document: &Document, finding: &Finding) -> Value {
    let rule = finding.rule.id;
    let ending = document.line_ending();
    let (title, place, text) = if let Some((_, instruction)) = document.instruction_at(finding.span.start) {
        let present = instruction.comments.last().and_then(|comment| list_end(document, *comment));
        let above = document.line_start(instruction.span.start);
        let line = format!("# bake: ignore={rule}{ending}");
        let (place, text) = present.map_or((above, line), |end| (end, format!(",{rule}")));
        (format!("Ignore `{rule}` here"), place, text)
    } else {
        // Directives must stay first.
        let is_first = |kind: ItemKind| matches!(kind, ItemKind::Directive | ItemKind::ByteOrderMark);
        let first = document.tree.items.iter().take_while(|item| is_first(item.kind)).last();
        let place = first.map_or(0, |item| item.span.end);
        (format!("Ignore `{rule}` in this file"), place, format!("# bake: global ignore={rule}{ending}"))
    };
    json!({
        "title": title,
        "kind": QUICK_FIX,
        "diagnostics": [diagnostics::diagnostic(document, finding)],
        "edit": changes(document, vec![text_edit(document, Span::new(place, place), &text)]),
    })
}

/// Where the list of rules of a comment `# bake: ignore=RULES` ends.
fn list_end(document: &Document, comment: Span) -> Option<usize> {
    let text = document.tree.source.slice(comment);
    let rest = text.trim_start().strip_prefix('#')?.trim_start().strip_prefix("bake:")?.trim_start();
    let list = rest.strip_prefix("ignore=")?;
    let start = comment.start + (text.len() - list.len());
    let length = list.find(|c: char| c.is_whitespace() || c == ';' || c == '#').unwrap_or(list.len());
    Some(start + length)
}

/// Every fix that keeps the image's meaning, until none is left.
fn fix_all(document: &Document, options: &LintOptions) -> Option<Value> {
    let mut current = document.text().to_owned();
    let mut findings = document.findings.clone();
    for _ in 0..ROUNDS_MAX {
        let fixed = apply_fixes(&current, &findings, false);
        if fixed.applied == 0 || fixed.text == current {
            break;
        }
        let source = bake_dockerfile::SourceText::new(document.tree.source.name(), fixed.text.as_str());
        findings = lint(&bake_dockerfile::parse(source), options);
        current = fixed.text;
    }
    let (span, text) = difference(document.text(), &current)?;
    Some(json!({
        "title": "Apply all safe fixes",
        "kind": FIX_ALL,
        "edit": changes(document, vec![text_edit(document, span, text)]),
    }))
}

/// The one replacement that makes `after` of `before`; `None` where they are the same.
fn difference<'a>(before: &str, after: &'a str) -> Option<(Span, &'a str)> {
    if before == after {
        return None;
    }
    let start = before.char_indices().zip(after.chars()).find(|((_, a), b)| a != b);
    let start = start.map_or(before.len().min(after.len()), |((at, _), _)| at);
    let (mut old, mut new) = (before.get(start..)?.chars().rev(), after.get(start..)?.chars().rev());
    let mut common = 0;
    while let (Some(a), Some(b)) = (old.next(), new.next()) {
        if a != b {
            break;
        }
        common += a.len_utf8();
    }
    Some((Span::new(start, before.len() - common), after.get(start..after.len() - common)?))
}

/// An edit of the document.
pub(crate) fn text_edit(document: &Document, span: Span, text: &str) -> Value {
    json!({ "range": document.range(span), "newText": text })
}

/// The edit of a workspace that changes one document.
#[expect(clippy::needless_pass_by_value, reason = "they go into the message")]
pub(crate) fn changes(document: &Document, edits: Vec<Value>) -> Value {
    json!({ "changes": { (document.uri.as_str()): edits } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_small() {
        for (before, after, expected) in [
            ("abc", "abc", None),
            ("abc", "axc", Some((1, 2, "x"))),
            ("aa", "aaa", Some((2, 2, "a"))),
            ("aaa", "aa", Some((2, 3, ""))),
            ("aöb", "aäb", Some((1, 3, "ä"))),
            ("", "x", Some((0, 0, "x"))),
        ] {
            let found = difference(before, after).map(|(span, text)| (span.start, span.end, text));
            assert_eq!(found, expected, "{before} {after}");
        }
    }
}
