//! `apt-install-without-update`

use super::prelude::*;
use crate::packages::runs_unknown_script;

pub(super) const RULE: Rule = Rule {
    id: "apt-install-without-update",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`apt-get install` in a stage that never fetched package lists, nor a stage it is built from.",
    why: "Base images come without lists, so the install finds no package; when it does find one, the base image carries lists that \
          are as old as itself.",
    bad: "FROM debian:12-slim\nRUN apt-get install -y --no-install-recommends make\n",
    good: "FROM debian:12-slim\n\
           RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut updated = vec![false; context.stages.len()];
    let mut started = vec![false; context.stages.len()];
    for run in &context.runs {
        let Some(stage) = run.stage.filter(|_| !run.onbuild) else { continue };
        if !std::mem::replace(&mut started[stage], true) {
            updated[stage] |= context.chain(stage).iter().any(|base| updated[*base]);
        }
        let packages = package_commands(&run.script);
        for (index, command) in run.script.commands.iter().enumerate() {
            if runs_unknown_script(command) || run.is_mounted("/var/lib/apt/lists") {
                updated[stage] = true;
            }
            let Some(package) = packages.iter().find(|package| package.index == index && package.manager.is_apt())
            else {
                continue;
            };
            updated[stage] |= package.action == Action::Update;
            // A file given by its path needs no list; what a variable holds cannot be told.
            let from_lists = |text: &str| !text.contains(".deb") && !text.contains(['/', '$']);
            if package.action == Action::Install
                && !updated[stage]
                && !package.has_option(&["--help", "--no-download"])
                && package.operands.iter().any(|operand| from_lists(&operand.text))
            {
                let finding = report
                    .report(command.span, format!("`{} install` without package lists", package.manager.name()))
                    .help(format!("begin with `{} update &&`", package.manager.name()));
                let depth_of_list = crate::change::is_of_main_list(command)
                    && command.piped_from.is_none()
                    && command.connector != crate::shell::Connector::Or
                    && command.span != run.instruction.span;
                if depth_of_list {
                    let edit = TextEdit::insert(command.span.start, format!("{} update && ", package.manager.name()));
                    finding.safe_fix("Fetch the lists first", vec![edit]);
                }
                // One finding per chain is enough: the cure of the first cures the rest.
                updated[stage] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn the_whole_chain_counts() {
        let text = "FROM debian:12 AS base\nRUN apt-get update\nFROM base\nRUN apt-get install -y x\nFROM debian:12\n\
                    RUN apt-get install -y ./x.deb\nRUN apt-get install -y x\nFROM debian:12\nRUN /setup.sh && apt-get install x\n\
                    FROM debian:12\nRUN curl x | bash - && apt-get install x\n";
        assert_eq!(lines("apt-install-without-update", text), [7]);
    }

    #[test]
    fn the_update_is_put_before_the_command() {
        let text = "FROM debian:12\nRUN A=1 apt-get install -y x\n";
        let expected = "FROM debian:12\nRUN apt-get update && A=1 apt-get install -y x\n";
        assert_eq!(fixed("apt-install-without-update", text), expected);
    }
}
