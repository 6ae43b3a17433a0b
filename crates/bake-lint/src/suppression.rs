//! Comments that hide findings, in the spellings of several linters.
//!
//! | comment | hides |
//! |---|---|
//! | `# bake: ignore=RULE,RULE reason="..."` | in the instruction below |
//! | `# bake: global ignore=RULE` | in the whole file |
//! | `# hadolint ignore=DL3007`, `# hadolint global ignore=DL3007` | the same |
//! | `# check=skip=RuleName` | directive at the top: the whole file; elsewhere: the instruction below |
//! | `# tally ignore=RULE`, `# trivy:ignore:AVD-DS-0002`, `# checkov:skip=CKV_DOCKER_3:reason` | in the instruction below, for checkov and trivy in the whole file |

use bake_dockerfile::{Dockerfile, Span};

use crate::context::LintContext;
use crate::finding::{Finding, Reporter};
use crate::rule::Rule;

/// One comment that hides findings.
#[derive(Debug)]
struct Suppression {
    /// Rule ids, aliases, or `all`.
    rules: Vec<String>,
    /// Where it holds; `None` for the whole file.
    scope: Option<Span>,
    comment: Span,
    /// Whether it is in our own spelling, which is checked for being needed.
    own: bool,
}

/// Removes the findings that comments hide. With `report_unused`, adds a finding for each own comment that hid nothing.
pub(crate) fn apply(
    context: &LintContext<'_>,
    findings: Vec<Finding>,
    report_unused: Option<&'static Rule>,
    has_run: impl Fn(&Rule) -> bool,
) -> Vec<Finding> {
    let suppressions = collect(context.dockerfile);
    let mut used = vec![Vec::new(); suppressions.len()];
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let mut hidden = false;
        for (suppression, used) in suppressions.iter().zip(&mut used) {
            let in_scope =
                suppression.scope.is_none_or(|s| s.start <= finding.span.start && finding.span.start <= s.end);
            if !in_scope {
                continue;
            }
            let names = suppression.rules.iter().filter(|name| *name == "all" || finding.rule.is_named(name));
            for name in names {
                hidden = true;
                used.push(name.clone());
            }
        }
        if !hidden {
            kept.push(finding);
        }
    }
    if let Some(rule) = report_unused {
        let mut reporter = Reporter::new(rule, &mut kept);
        for (suppression, used) in suppressions.iter().zip(&used).filter(|(suppression, _)| suppression.own) {
            for name in suppression.rules.iter().filter(|name| !used.contains(name)) {
                match crate::rule_named(name) {
                    Some(named) if !has_run(named) => {}
                    Some(_) => {
                        reporter
                            .report(suppression.comment, format!("Nothing to ignore for `{name}`"))
                            .help("remove it");
                    }
                    None if name == "all" => {}
                    None => {
                        let rules = crate::RULES.iter().map(|rule| rule.id);
                        let near = bake_dockerfile::suggest::did_you_mean(name, rules, false);
                        reporter.report(suppression.comment, format!("There is no rule `{name}`{near}"));
                    }
                }
            }
        }
    }
    kept
}

fn collect(dockerfile: &Dockerfile) -> Vec<Suppression> {
    let mut suppressions = Vec::new();
    if let Some(check) = &dockerfile.directives.check {
        let mut rules = check.value.skip.clone();
        rules.extend(check.value.skip_all.then(|| "all".to_owned()));
        suppressions.push(Suppression { rules, scope: None, comment: check.span, own: false });
    }
    let mut attached = std::collections::BTreeSet::new();
    for instruction in &dockerfile.instructions {
        for comment in &instruction.comments {
            attached.insert(comment.start);
            suppressions.extend(read(dockerfile.source.slice(*comment), *comment, Some(instruction.span)));
        }
    }
    // Comments elsewhere can still hold for the whole file.
    let others = dockerfile.items.iter().filter(|item| !attached.contains(&item.span.start));
    for item in others {
        if let Some(comment) = comment_lines(dockerfile, item.span)
            && !attached.contains(&comment.start)
        {
            suppressions.extend(read(dockerfile.source.slice(comment), comment, None).filter(|s| s.scope.is_none()));
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

/// Reads one comment. `below` is the instruction it stands above; without one, what would hold for it holds for nothing.
fn read(comment: &str, span: Span, below: Option<Span>) -> Option<Suppression> {
    let text = comment.trim().trim_start_matches('#').trim();
    let (own, global, list) = if let Some(rest) = strip_tool(text, "bake:").or_else(|| strip_tool(text, "bake ")) {
        let (global, list) = ignore_list(rest)?;
        (true, global, list)
    } else if let Some(rest) = strip_tool(text, "hadolint").or_else(|| strip_tool(text, "tally")) {
        let (global, list) = ignore_list(rest)?;
        (false, global, list)
    } else if let Some(rest) = text.strip_prefix("trivy:ignore:") {
        (false, true, rest)
    } else if let Some(rest) = text.strip_prefix("checkov:skip=") {
        (false, true, rest.split(':').next().unwrap_or_default())
    } else {
        let rest = text.strip_prefix("check")?.trim_start().strip_prefix('=')?;
        let skip = rest.split(';').find_map(|part| part.trim().strip_prefix("skip")?.trim_start().strip_prefix('='))?;
        (false, false, skip)
    };
    let rules: Vec<String> =
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if !global && below.is_none() {
        return None;
    }
    Some(Suppression { rules, scope: below.filter(|_| !global), comment: span, own })
}

fn strip_tool<'t>(text: &'t str, tool: &str) -> Option<&'t str> {
    text.get(..tool.len()).filter(|start| start.eq_ignore_ascii_case(tool)).map(|_| text[tool.len()..].trim_start())
}

/// `[global] ignore=A,B` with whatever follows a blank or semicolon left out.
fn ignore_list(text: &str) -> Option<(bool, &str)> {
    let (global, text) = match text.strip_prefix("global") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let list = text.strip_prefix("ignore")?.trim_start().strip_prefix('=')?.trim_start();
    // Blanks may follow the commas of the list.
    let mut end = 0;
    let mut after_comma = true;
    for (index, c) in list.char_indices() {
        match c {
            ',' => after_comma = true,
            ' ' | '\t' if after_comma => {}
            ' ' | '\t' if list[index..].trim_start().starts_with(',') => {}
            ' ' | '\t' | ';' | '#' => break,
            _ => after_comma = false,
        }
        end = index + c.len_utf8();
    }
    Some((global, &list[..end]))
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn every_spelling_hides_the_instruction_below() {
        for comment in [
            "# bake: ignore=sudo",
            "# bake: ignore=pipefail-missing, sudo reason=\"x\"",
            "#hadolint ignore=DL3004 # why",
            "# hadolint ignore=DL3006,DL3004",
            "# check=skip=all",
            "# tally ignore=sudo;reason=x",
            "# check=skip=DL3004;error=true",
        ] {
            let text = format!("FROM debian:12\nRUN sudo a\n{comment}\nRUN sudo a\nRUN sudo a\n");
            assert_eq!(lines("sudo", &text), [2, 5], "{comment}");
        }
    }

    #[test]
    fn global_ones_hide_everywhere() {
        for comment in [
            "# check=skip=DL3004",
            "# hadolint global ignore=DL3004",
            "# bake: global ignore=sudo",
            "# checkov:skip=CKV2_DOCKER_1:why",
        ] {
            let text = format!("{comment}\n\nFROM debian:12\nRUN sudo a\nRUN sudo a\n");
            assert_eq!(lines("sudo", &text), [0; 0], "{comment}");
        }
    }

    #[test]
    fn unneeded_ones_are_reported() {
        let text = "FROM debian:12\n# bake: ignore=sudo,nonsense\nRUN a\n# hadolint ignore=DL3004\nRUN a\n";
        let findings = crate::testing::findings(text);
        let messages: Vec<&str> =
            findings.iter().filter(|f| f.rule.id == "unused-suppression").map(|f| f.message.as_str()).collect();
        assert_eq!(messages, ["Nothing to ignore for `sudo`", "There is no rule `nonsense`"]);
    }
}
