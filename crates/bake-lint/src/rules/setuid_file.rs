//! `setuid-file`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "setuid-file",
    aliases: &["CIS-DI-0008"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A program is made to run with the rights of its owner.",
    why: "A mistake in it gives everybody in the container those rights. File capabilities (`setcap`) give only what is needed.",
    bad: "FROM debian:12-slim\nRUN chmod u+s /usr/local/bin/tool\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN chmod 755 /usr/local/bin/tool && chmod u-s /bin/su && chmod g+s /srv/shared\nUSER 10001\n",
    check,
};

/// Whether a mode sets the set-user-ID bit.
fn sets_user_id(mode: &str) -> bool {
    if mode.chars().all(|c| c.is_digit(8)) {
        return mode.len() >= 4
            && mode[..mode.len() - 3].chars().next_back().is_some_and(|digit| matches!(digit, '4' | '5' | '6' | '7'));
    }
    mode.split(',').any(|change| {
        change.split_once(['+', '=']).is_some_and(|(who, rights)| {
            rights.contains('s')
                && (who.is_empty() || who.contains(['u', 'a']))
                && who.chars().all(|c| "ugoa".contains(c))
        })
    })
}

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "chmod") {
            let Some(mode) = command.arguments().iter().find(|word| !word.text.starts_with('-')) else { continue };
            if sets_user_id(&mode.text) && !command.arguments().iter().any(|word| word.text.starts_with("--reference"))
            {
                report
                    .report(mode.span, format!("Mode `{}` lets everybody run it as its owner", mode.text))
                    .help("use `setcap` for what it needs");
            }
        }
    }
    for located in &context.instructions {
        if let InstructionKind::Copy(copy) | InstructionKind::Add(copy) = &located.instruction.kind
            && let Some(mode) = copy.chmod.as_ref().filter(|mode| sets_user_id(&mode.value))
        {
            report
                .report(mode.span, format!("Mode `{}` lets everybody run it as its owner", mode.value))
                .help("use `setcap` for what it needs");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_the_bit_of_the_user_counts() {
        check_bodies(
            "setuid-file",
            &["chmod u+s /x", "chmod 4755 /x", "chmod +s /x", "chmod -R 6755 /x", "chmod u=rwxs /x"],
            &[
                "chmod 755 /x",
                "chmod 2755 /x",
                "chmod u-s /x",
                "chmod g+s /x",
                "chmod 1777 /x",
                "chmod 0755 /x",
                "chmod a+x /x",
            ],
        );
    }
}
