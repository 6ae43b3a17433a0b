//! `invalid-json-form`

use super::parse_error::report_code;
use super::prelude::*;
use bake_dockerfile::diagnostic::code;
use bake_dockerfile::instruction::{Healthcheck, Word};

pub(super) const RULE: Rule = Rule {
    id: "invalid-json-form",
    aliases: &["DL3025"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "Something that looks like the JSON form is not JSON.",
    why: "Text that is no valid JSON list of strings is taken as shell form, brackets and quotes included. JSON knows double quotes only \
          and no comma at the end.",
    bad: "FROM debian:12-slim\nENTRYPOINT ['/app', '--flag']\nUSER 10001\n",
    good: "FROM debian:12-slim\nENTRYPOINT [\"/app\", \"--flag\"]\nRUN [ -f /x ] || exit 1\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_code(context, code::JSON, report);
    for located in &context.instructions {
        let word = match &located.instruction.kind {
            InstructionKind::Run(run) => shell_word(&run.command),
            InstructionKind::Cmd(command)
            | InstructionKind::Entrypoint(command)
            | InstructionKind::Healthcheck(Healthcheck::Command { command, .. }) => shell_word(command),
            InstructionKind::Volume(words) => words.first(),
            _ => None,
        };
        let Some(word) = word else { continue };
        let volume = matches!(located.instruction.kind, InstructionKind::Volume(_));
        let is_entry = matches!(located.instruction.kind, InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_));
        if let Some(elements) = broken_list(&word.value, is_entry)
            .or_else(|| volume.then_some(None).filter(|_| word.value.starts_with("['")))
        {
            let finding = report.report(word.span, "This is not valid JSON, so it is taken as shell form");
            finding.help("use double quotes, and no comma at the end");
            if let Some(elements) = elements
                && context.source(word.span) == word.value
            {
                let list = elements.iter().map(|element| format!("\"{element}\"")).collect::<Vec<_>>().join(", ");
                finding.safe_fix("Write it as JSON", vec![TextEdit::replace(word.span, format!("[{list}]"))]);
            }
        }
    }
}

fn shell_word(command: &Command) -> Option<&Word> {
    match command {
        Command::Shell(word) => Some(word),
        Command::Exec(_) => None,
    }
}

/// Whether `text` is meant as a JSON list; the elements where they can be told. `bare` accepts unquoted elements: where no test
/// command (`[ -f x ]`) is to be expected.
#[expect(clippy::option_option, reason = "whether it is one, and whether its elements are plain, are two questions")]
fn broken_list(text: &str, bare: bool) -> Option<Option<Vec<String>>> {
    let text = text.trim();
    let inside = text.strip_prefix('[')?;
    let (inside, closed) = match inside.strip_suffix(']') {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let mut parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    if parts.last().is_some_and(|last| last.is_empty()) && parts.len() > 1 {
        parts.pop();
    }
    let mut elements = Vec::with_capacity(parts.len());
    let mut plain = true;
    for part in parts {
        let quoted =
            ["\"\"", "''", "\u{201c}\u{201d}", "\u{2018}\u{2019}", "\u{201d}\u{201d}"].iter().find_map(|quotes| {
                let mut quotes = quotes.chars();
                let element = part.strip_prefix(quotes.next()?)?.strip_suffix(quotes.next()?)?;
                (!element.contains(['"', '\''])).then_some(element)
            });
        match quoted {
            Some(element) => {
                plain &= !element.contains('\\');
                elements.push(element.to_owned());
            }
            None if bare
                && closed
                && !part.is_empty()
                && !inside.starts_with([' ', '['])
                && !part.contains(['"', '\'', ' ']) =>
            {
                elements.push(part.to_owned());
            }
            None => return None,
        }
    }
    (!elements.is_empty()).then_some(plain.then_some(elements))
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn tests_of_the_shell_are_not_lists() {
        let text = "FROM a:1\nRUN [ \"$A\" = \"b\" ]\nRUN ['a', 'b']\nCMD [\"a\",]\nCMD [a, b]\nRUN [ -f x ]\nCMD [\u{201c}a\u{201d}]\n\
                    RUN [[ a = b ]]\nCMD [\"a\", \"b\"\nENTRYPOINT [\"a\"]\n";
        assert_eq!(lines("invalid-json-form", text), [3, 4, 5, 7, 9]);
    }

    #[test]
    fn quotes_are_set_right() {
        assert_eq!(fixed("invalid-json-form", "FROM a:1\nCMD ['a', \"b\",]\n"), "FROM a:1\nCMD [\"a\", \"b\"]\n");
    }
}
