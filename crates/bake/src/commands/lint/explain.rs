//! What a rule is about.

use std::fmt::Write as _;

use bake::error::CommandError;
use bake_lint::{FixSafety, NameMeaning, rule_named};

use crate::lint_settings::near_rule;

/// The documentation of a rule, as `--explain` writes it.
pub(super) fn explain(name: &str) -> Result<String, CommandError> {
    let rule = rule_named(name).ok_or_else(|| unknown_rule(name))?;
    let mut text = format!("{} ({})\n", rule.id, rule.severity);
    // Writing to a string cannot fail, here and below.
    if !rule.aliases.is_empty() {
        let _ = writeln!(text, "also known as {}", rule.aliases.join(", "));
    }
    let fix = match rule.fix {
        FixSafety::None => "there is no automatic fix",
        FixSafety::Safe => "`bake lint --fix` fixes it",
        FixSafety::Unsafe => "`bake lint --unsafe-fixes` fixes it; the image may change",
    };
    let enabled = if rule.default { "" } else { "; it runs only when it is selected" };
    let _ = write!(text, "{fix}{enabled}\n\n{}\n\n{}\n", rule.summary, rule.why);
    for (heading, example) in [("Flagged", rule.bad), ("Not flagged", rule.good)] {
        let _ = writeln!(text, "\n{heading}:\n");
        for line in example.trim_end().lines() {
            let _ = writeln!(text, "{}", format!("    {line}").trim_end());
        }
    }
    Ok(text)
}

/// An error for a name that no rule has.
fn unknown_rule(name: &str) -> CommandError {
    let error = CommandError::usage(format!("there is no rule `{name}`"));
    let hint = match bake_lint::meaning(name) {
        NameMeaning::Foreign(reason) => Some(reason.to_owned()),
        _ => near_rule(name),
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_lint::RULES;

    use super::*;

    #[test]
    fn every_rule_can_be_explained_by_each_of_its_names() {
        for rule in RULES {
            for name in std::iter::once(&rule.id).chain(rule.aliases) {
                assert!(explain(name).unwrap().contains("Not flagged:"), "{name}");
            }
        }
        assert!(unknown_rule("sudoo").render(bake::ui::colour::Colour::Plain).contains("did you mean `sudo`?"));
    }
}
