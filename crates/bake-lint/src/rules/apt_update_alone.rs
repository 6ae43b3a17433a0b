//! `apt-update-alone`

use super::prelude::*;
use crate::packages::runs_unknown_script;

pub(super) const RULE: Rule = Rule {
    id: "apt-update-alone",
    aliases: &["DS-0017", "AVD-DS-0017", "CKV_DOCKER_5", "CIS-DI-0007"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A `RUN` fetches package lists (`apt-get update` and its like) and installs nothing.",
    why: "The layer with the lists is cached. When the later install changes, it meets lists from weeks ago and asks the mirror for \
          versions that are gone, or installs old ones.",
    bad: "FROM debian:12-slim\nRUN apt-get update\n\
          RUN apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:12-slim\n\
           RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for (position, run) in context.runs.iter().enumerate() {
        let commands = package_commands(&run.script);
        let installs = commands.iter().any(|c| {
            matches!(c.action, Action::Install | Action::Upgrade)
                || (c.manager.is_apt() && ["source", "download", "satisfy"].contains(&c.verb.text.as_str()))
        });
        if installs || run.script.commands.iter().any(runs_unknown_script) {
            continue;
        }
        for update in commands.iter().filter(|command| command.action == Action::Update) {
            let path = if update.manager.is_apt() { "/var/lib/apt/lists" } else { "/var/cache" };
            if run.is_mounted(path) {
                // The lists are not in the layer, so nothing stale is cached.
                continue;
            }
            let name = update.manager.name();
            let finding = report
                .report(update.command.span, format!("`{name} {}` in a layer of its own", update.verb.text))
                .help("put the update and the install into one RUN, joined by `&&`");
            if let Some(next) = next_run(context, position)
                && let Some(edits) = context.join_runs(run, next)
            {
                finding.safe_fix("Join with the RUN that follows", edits);
            }
        }
    }
}

/// The `RUN` right after `position`, when nothing stands between the two and it installs.
fn next_run<'c, 'a>(context: &'c LintContext<'a>, position: usize) -> Option<&'c RunFacts<'a>> {
    let (run, next) = (&context.runs[position], context.runs.get(position + 1)?);
    let installs = package_commands(&next.script).first().is_some_and(|c| c.action == Action::Install);
    (installs && context.are_adjacent(run, next)).then_some(next)
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn updates_with_an_install_in_their_layer_are_fine() {
        let text = "FROM debian:12-slim\nRUN apt-get update && apt-get upgrade -y\nRUN apt-get -y update; \\\n    apt-get install -y x\n\
                    RUN apt-get update && ./install.sh\nRUN <<EOF\napt-get update\nEOF\nRUN bash -c 'apt update'\n\
                    RUN printf '%s' 'apt-get update' > /x\nONBUILD RUN apk update\n";
        assert_eq!(lines("apt-update-alone", text), [7, 9, 11]);
    }

    #[test]
    fn adjacent_runs_are_joined() {
        let text = "FROM debian:12-slim\nRUN apt-get update\nRUN apt-get install -y make\n";
        let expected = "FROM debian:12-slim\nRUN apt-get update \\\n && apt-get install -y make\n";
        assert_eq!(fixed("apt-update-alone", text), expected);
    }
}
