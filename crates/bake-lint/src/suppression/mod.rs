//! Comments that hide findings, in the spellings of several linters.
//!
//! | comment | hides |
//! |---|---|
//! | `# bake: ignore=RULE,RULE reason="..."` | in the instruction below |
//! | `# bake: global ignore=RULE` | in the whole file |
//! | `# hadolint ignore=DL3007`, `# hadolint global ignore=DL3007` | the same |
//! | `# tally ignore=RULE;reason=...`, `# tally global ignore=RULE` | the same |
//! | `# check=skip=RuleName` | directive at the top: the whole file; elsewhere: the instruction below |
//! | `# trivy:ignore:AVD-DS-0002`, `# trivy:ignore:AVD-DS-0002:exp:2027-01-31` | in the whole file, until the day given |
//! | `# checkov:skip=CKV_DOCKER_3:reason` | in the whole file |
//! | `# nosemgrep: RULE` | in the instruction below |
//!
//! Names are those of rules in every spelling: ids, ids of other linters, patterns, `all`.

mod read;

use std::collections::HashSet;

use bake_dockerfile::{Dockerfile, Span};

use crate::context::LintContext;
use crate::finding::{Finding, Reporter, TextEdit};
use crate::names::{NameMeaning, meaning};
use crate::rule::Rule;
use read::{Name, Spelling, Suppression};

pub(crate) use read::shell_hint;

/// The rules about suppressions themselves. No comment hides what they find.
const UNUSED: &str = "unused-suppression";
const UNUSED_FOREIGN: &str = "unused-foreign-suppression";
const NO_REASON: &str = "suppression-without-reason";
const FORBIDDEN: &str = "suppression-forbidden";

/// Removes the findings that comments hide, and adds what the rules about these comments find.
pub(crate) fn apply(context: &LintContext<'_>, findings: Vec<Finding>) -> Vec<Finding> {
    let suppressions = collect(context);
    let mut used: HashSet<(usize, usize)> = HashSet::new();
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let mut hidden = false;
        for (index, suppression) in suppressions.iter().enumerate() {
            let covers = |scope: Span| scope.start <= finding.span.start && finding.span.start <= scope.end;
            if !suppression.scope.is_none_or(covers) {
                continue;
            }
            for (place, name) in suppression.names.iter().enumerate() {
                if finding.is_meant_by(&name.text) {
                    hidden = true;
                    used.insert((index, place));
                }
            }
        }
        if !hidden {
            kept.push(finding);
        }
    }
    let rule = |id: &str| crate::rule_named(id).filter(|rule| context.options.is_enabled(rule));
    for (id, wants) in [(UNUSED, true), (UNUSED_FOREIGN, false)] {
        let Some(rule) = rule(id) else { continue };
        let mut reporter = Reporter::new(rule, &mut kept);
        for (index, suppression) in suppressions.iter().enumerate() {
            if (suppression.spelling == Spelling::Own) == wants {
                report_unused(context, suppression, |place| used.contains(&(index, place)), &mut reporter);
            }
        }
    }
    if let Some(rule) = rule(NO_REASON) {
        let mut reporter = Reporter::new(rule, &mut kept);
        for suppression in suppressions.iter().filter(|suppression| !suppression.has_reason) {
            let finding = reporter.report(suppression.comment, "This comment hides findings and does not say why");
            finding.help(suppression.spelling.reason_advice());
        }
    }
    if let Some(rule) = rule(FORBIDDEN) {
        let mut reporter = Reporter::new(rule, &mut kept);
        for suppression in &suppressions {
            reporter.report(suppression.comment, "Comments that hide findings are not allowed");
        }
    }
    kept
}

/// Reports the names of `suppression` that hid nothing although their rules have run, and those of no rule.
fn report_unused(
    context: &LintContext<'_>,
    suppression: &Suppression,
    is_used: impl Fn(usize) -> bool,
    reporter: &mut Reporter<'_>,
) {
    let problem = |place: usize, name: &Name| match meaning(&name.text) {
        _ if is_used(place) => None,
        NameMeaning::Rules if name.text == "all" => Some("Nothing to ignore".to_owned()),
        NameMeaning::Rules => {
            let has_run = |rule: &&&Rule| rule.is_meant_by(&name.text) && context.options.is_enabled(rule);
            crate::RULES.iter().find(has_run).map(|_| format!("Nothing to ignore for `{}`", name.text))
        }
        NameMeaning::Unknown if suppression.spelling == Spelling::Own => {
            let rules = crate::RULES.iter().map(|rule| rule.id);
            let near = bake_dockerfile::suggest::did_you_mean(&name.text, rules, false);
            Some(format!("There is no rule `{}`{near}", name.text))
        }
        // What did not run, now or ever, might have been hidden.
        NameMeaning::Foreign(_) | NameMeaning::Unknown => None,
    };
    let problems: Vec<Option<String>> =
        suppression.names.iter().enumerate().map(|(place, name)| problem(place, name)).collect();
    let all_unused = problems.iter().all(Option::is_some);
    for (place, message) in problems.into_iter().enumerate() {
        let Some(message) = message else { continue };
        let finding = reporter.report(suppression.names[place].span, message);
        let edit = if all_unused {
            comment_deletion(context.dockerfile, suppression)
        } else {
            name_deletion(suppression, place)
        };
        match edit {
            Some(edit) => {
                let title = if all_unused { "Delete the comment" } else { "Delete the name" };
                finding.safe_fix(title, vec![edit]);
            }
            None => {
                finding.help("remove it");
            }
        }
    }
}

/// Deletes the line of the comment. `None` where that would change what another line means: a comment after the parser directives
/// ends them, and without it the next one could become one.
fn comment_deletion(dockerfile: &Dockerfile, suppression: &Suppression) -> Option<TextEdit> {
    if suppression.spelling == Spelling::Directive {
        return None;
    }
    let text = dockerfile.source.text();
    let start = text[..suppression.comment.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[suppression.comment.end..].find('\n').map_or(text.len(), |end| suppression.comment.end + end + 1);
    let before_instructions = dockerfile.instructions.first().is_none_or(|first| start < first.span.start);
    let next = text[end..].lines().next().unwrap_or_default().trim();
    if before_instructions && next.starts_with(['#', '/', '{']) {
        return None;
    }
    Some(TextEdit::delete(Span::new(start, end)))
}

/// Deletes one name with a comma.
fn name_deletion(suppression: &Suppression, place: usize) -> Option<TextEdit> {
    if suppression.spelling == Spelling::Directive {
        return None;
    }
    let span = suppression.names[place].span;
    let span = match (suppression.names.get(place + 1), place.checked_sub(1)) {
        (Some(next), _) => Span::new(span.start, next.span.start),
        (None, Some(before)) => Span::new(suppression.names[before].span.end, span.end),
        (None, None) => return None,
    };
    Some(TextEdit::delete(span))
}

/// All comments that hide findings, in source order.
fn collect(context: &LintContext<'_>) -> Vec<Suppression> {
    let dockerfile = context.dockerfile;
    let mut suppressions = Vec::new();
    if let Some(check) = &dockerfile.directives.check {
        let all = check.value.skip_all.then(|| "all".to_owned());
        let names = check.value.skip.iter().cloned().chain(all).map(|text| Name { text, span: check.span });
        let names: Vec<Name> = names.collect();
        // A directive that switches something else is none.
        if !names.is_empty() {
            suppressions.push(Suppression {
                names,
                scope: None,
                comment: check.span,
                spelling: Spelling::Directive,
                has_reason: true,
            });
        }
    }
    let today = context.options.today;
    let mut attached = HashSet::new();
    for instruction in &dockerfile.instructions {
        for comment in &instruction.comments {
            attached.insert(comment.start);
            let text = dockerfile.source.slice(*comment);
            suppressions.extend(read::read(text, *comment, Some(instruction.span), today));
        }
    }
    // Comments elsewhere can still hold for the whole file.
    let directive = dockerfile.directives.check.as_ref().map(|check| check.span.start);
    for item in &dockerfile.items {
        if let Some(comment) = comment_lines(dockerfile, item.span)
            && !attached.contains(&comment.start)
            && !attached.contains(&item.span.start)
            && directive.is_none_or(|directive| !(item.span.start..=item.span.end).contains(&directive))
        {
            suppressions.extend(read::read(dockerfile.source.slice(comment), comment, None, today));
        }
    }
    suppressions
}

/// The lines of an item, when it is a comment.
fn comment_lines(dockerfile: &Dockerfile, span: Span) -> Option<Span> {
    let text = dockerfile.source.slice(span);
    let start = span.start + (text.len() - text.trim_start().len());
    let trimmed = text.trim();
    trimmed.starts_with('#').then(|| Span::new(start, start + trimmed.len()))
}

#[cfg(test)]
mod tests;
