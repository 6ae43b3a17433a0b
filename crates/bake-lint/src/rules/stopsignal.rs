//! `stopsignal`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "stopsignal",
    aliases: &["no-ungraceful-stopsignal"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`STOPSIGNAL` is no signal, one that no program can handle, or one written in an unusual way.",
    why: "On `SIGKILL` and `SIGSTOP` a program cannot finish what it is doing. A name that is no signal stops the build.",
    bad: "FROM debian:12-slim\nSTOPSIGNAL term\nUSER 10001\n",
    good: "FROM debian:12-slim\nSTOPSIGNAL SIGQUIT\nUSER 10001\n",
    check,
};

/// The signals of Linux by their numbers from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Other names of the same signals.
const SYNONYMS: [&str; 3] = ["IOT", "CLD", "POLL"];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::StopSignal(word) = &located.instruction.kind else { continue };
        let text = word.value.trim_matches(['"', '\'']);
        if text.contains('$') {
            continue;
        }
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = text.parse::<usize>().ok();
        let name =
            number.map_or(Some(short), |number| number.checked_sub(1).and_then(|index| SIGNALS.get(index)).copied());
        if let Some(name @ ("KILL" | "STOP")) = name {
            report
                .report(word.span, format!("A program cannot handle SIG{name}, so it is never stopped in order"))
                .help("use SIGTERM, SIGINT or SIGQUIT, whichever the program understands");
        } else if number.is_some_and(|number| (1..=64).contains(&number)) || is_real_time(short) {
        } else if number.is_none() && (SIGNALS.contains(&short) || SYNONYMS.contains(&short)) {
            let right = format!("SIG{short}");
            if text != right {
                let finding = report.report(word.span, format!("`{text}` is written `{right}`"));
                finding.severity(Severity::Style);
                if context.source(word.span) == text {
                    finding.safe_fix(format!("Use `{right}`"), vec![TextEdit::replace(word.span, right)]);
                }
            }
        } else {
            let near = bake_dockerfile::suggest::did_you_mean(short, SIGNALS, false);
            report.report(word.span, format!("There is no signal `{text}`{near}")).severity(Severity::Error);
        }
    }
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`.
fn is_real_time(name: &str) -> bool {
    let offset =
        |rest: &str, sign: char| rest.is_empty() || rest.strip_prefix(sign).is_some_and(|n| n.parse::<u8>().is_ok());
    name.strip_prefix("RTMIN").is_some_and(|rest| offset(rest, '+'))
        || name.strip_prefix("RTMAX").is_some_and(|rest| offset(rest, '-'))
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn names_and_numbers_are_known() {
        let text = "FROM a:1\nSTOPSIGNAL SIGTERM\nSTOPSIGNAL 15\nSTOPSIGNAL 9\nSTOPSIGNAL SIGKILL\nSTOPSIGNAL SIGFOO\nSTOPSIGNAL $S\n\
                    STOPSIGNAL SIGRTMIN+3\nSTOPSIGNAL 0\nSTOPSIGNAL quit\nONBUILD STOPSIGNAL stop\n";
        assert_eq!(lines("stopsignal", text), [4, 5, 6, 9, 10, 11]);
        assert_eq!(fixed("stopsignal", "FROM a:1\nSTOPSIGNAL int\n"), "FROM a:1\nSTOPSIGNAL SIGINT\n");
    }
}
