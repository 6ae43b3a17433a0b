//! `apt-lists-left`

use super::prelude::*;
use crate::packages::removes;

pub(super) const RULE: Rule = Rule {
    id: "apt-lists-left",
    aliases: &["DL3009", "DKL-DI-0005"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "The package lists of `apt-get update` stay in a layer of the image.",
    why: "They are tens of megabytes that no running container needs. Stages that are only copied from do not count, nor do lists on a \
          cache mount.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends make\n",
    good: "FROM debian:12-slim\n\
           RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    check,
};

/// Where the lists are.
const LISTS: &str = "/var/lib/apt/lists";

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for (position, run) in context.runs.iter().enumerate() {
        let in_image = run.onbuild || run.stage.is_some_and(|stage| context.stages[stage].in_result);
        if !in_image || run.is_mounted(LISTS) {
            continue;
        }
        let commands = package_commands(&run.script);
        let apt = || commands.iter().filter(|command| command.manager.is_apt());
        let Some(update) = apt().find(|command| command.action == Action::Update) else { continue };
        // An update alone is another rule's business.
        let Some(last) = apt().rfind(|c| matches!(c.action, Action::Install | Action::Upgrade)) else { continue };
        let distclean = apt().any(|c| c.index > update.index && c.verb.text.replace('-', "") == "distclean");
        let last_update = apt().rfind(|c| c.action == Action::Update).map_or(0, |c| c.index);
        if distclean || run.script.commands.iter().skip(last_update + 1).any(|command| removes(command, LISTS)) {
            continue;
        }
        let finding = report
            .report(last.command.span, "Package lists stay in the layer")
            .help(format!("end this RUN with `&& rm -rf {LISTS}/*`, or give it `--mount=type=cache,target={LISTS}`"));
        // A RUN below that removes them wants to be joined, which cures both.
        let removed_below = context.runs.get(position + 1).is_some_and(|next| {
            context.are_adjacent(run, next) && next.script.commands.iter().any(|command| removes(command, LISTS))
        });
        if !removed_below && let Some(edit) = context.append_command(run, &format!("rm -rf {LISTS}/*")) {
            finding.safe_fix("Remove the lists in the same layer", vec![edit]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn only_layers_of_the_image_count() {
        let text = "FROM debian:12 AS build\nRUN apt-get update && apt-get install -y x\nFROM debian:12 AS base\n\
                    RUN apt-get update && apt-get install -y x\nFROM base\n\
                    RUN --mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y x\n\
                    RUN rm -rf /var/lib/apt/lists/* && apt-get update && apt-get install -y x\n\
                    RUN apt-get update && apt-get install -y x && rm -rf /var/lib/{apt,dpkg}/ \n";
        assert_eq!(lines("apt-lists-left", text), [4, 7]);
    }

    #[test]
    fn the_removal_is_appended() {
        let text = "FROM debian:12\nRUN apt-get update && apt-get install -y x\n";
        let expected =
            "FROM debian:12\nRUN apt-get update && apt-get install -y x \\\n && rm -rf /var/lib/apt/lists/*\n";
        assert_eq!(fixed("apt-lists-left", text), expected);
    }
}
