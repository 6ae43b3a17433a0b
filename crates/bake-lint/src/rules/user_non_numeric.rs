//! `user-non-numeric`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "user-non-numeric",
    aliases: &["DL3066", "named-identity-in-passwdless-stage"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "The image's user is given by name.",
    why: "Kubernetes cannot tell from a name that it is not root: with `runAsNonRoot` such a container does not start. Off by \
          default: elsewhere a name is as good as a number.",
    bad: "FROM debian:12-slim\nRUN useradd app\nUSER app\n",
    good: "FROM debian:12-slim\nRUN useradd --uid 10001 app\nUSER 10001:10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(target) = context.stages.iter().position(|stage| stage.is_target) else { return };
    let last = context.history(target, usize::MAX).rev().find_map(|located| match &located.instruction.kind {
        InstructionKind::User(word) => Some((located, word)),
        _ => None,
    });
    let Some((located, word)) = last else { return };
    let stage = located.stage.unwrap_or(target);
    let lookup = |name: &str| context.environment_value(stage, located.index, name);
    let Ok(expansion) = context.expander().expand(&word.value, &lookup) else { return };
    let user = expansion.text.split(':').next().unwrap_or_default();
    let is_number = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
    // Root has a rule of its own; a value that is not known may be a number.
    if expansion.undefined.is_empty() && !user.contains('$') && !is_number && user != "root" {
        report.report(word.span, format!("The user `{user}` is given by name")).help("give its number");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn arguments_are_resolved() {
        let text = "FROM a:1\nARG U=10001\nUSER app\nUSER ${U}\n";
        assert_eq!(lines("user-non-numeric", text), [0; 0]);
        assert_eq!(lines("user-non-numeric", "FROM a:1\nARG U=app\nUSER ${U}:1\n"), [3]);
        assert_eq!(lines("user-non-numeric", "FROM a:1\nARG U\nUSER ${U}\n"), [0; 0]);
    }
}
