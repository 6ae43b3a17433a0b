//! `useradd-no-log-init`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "useradd-no-log-init",
    aliases: &["DL3046"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`useradd` with a large number and without `-l`.",
    why: "`/var/log/lastlog` and `faillog` are indexed by the number: they become sparse files of many gigabytes, which a layer stores \
          in full.",
    bad: "FROM debian:12-slim\nRUN useradd -u 1000000 app\nUSER app\n",
    good: "FROM debian:12-slim\nRUN useradd -l -u 1000000 app\nRUN useradd -u 1000 other\nUSER app\n",
    check,
};

/// Numbers up to this make files of at most 30 MB.
const HARMLESS_NUMBER_MAX: u64 = 99_999;

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "useradd") {
            let arguments = command.arguments();
            let mut numbers = arguments.windows(2).filter(|pair| {
                let option = pair[0].text.as_str();
                option == "--uid" || (option.starts_with('-') && !option.starts_with("--") && option.ends_with('u'))
            });
            let large =
                numbers.any(|pair| pair[1].text.parse::<u64>().is_ok_and(|number| number > HARMLESS_NUMBER_MAX));
            let short = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.contains('l');
            let quiet = arguments.iter().any(|word| word.text == "--no-log-init" || short(&word.text));
            if large && !quiet {
                let program = &command.words[command.program_index];
                let finding =
                    report.report(command.span, "`useradd` with a large number and without `-l` makes huge files");
                if program.span != run.instruction.span {
                    finding.safe_fix("Add `-l`", vec![TextEdit::insert(program.span.end, " -l")]);
                }
            }
        }
    }
}
