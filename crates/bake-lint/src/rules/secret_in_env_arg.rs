//! `secret-in-env-arg`

use super::prelude::*;
use crate::context::Located;
use crate::secrets::{has_password, is_random, is_secret_name, token_inside};

pub(super) const RULE: Rule = Rule {
    id: "secret-in-env-arg",
    aliases: &["SecretsUsedInArgOrEnv", "DL3064", "DS-0031", "AVD-DS-0031", "CIS-DI-0010"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`ARG`, `ENV`, `LABEL` or the text of a `RUN` holds a secret, or something with the name of one.",
    why: "Everyone who can pull the image can read its environment, labels and history, build arguments included. A secret mount leaves \
          no trace.",
    bad: "FROM debian:12-slim\nENV DB_PASSWORD=hunter2\nUSER 10001\n",
    good: "FROM debian:12-slim\nENV PASSWORD_FILE=/run/secrets/password\n\
           RUN --mount=type=secret,id=npm,env=NPM_TOKEN npm ci --cache /tmp/npm\nUSER 10001\n",
    check,
};

const HELP: &str = "use `RUN --mount=type=secret,id=...` where it is needed";

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        match &located.instruction.kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    let value = declaration.default.as_ref().map(|value| value.value.as_str());
                    let Some(finding) =
                        check_pair(&declaration.name.value, value, declaration.name.span, "ARG", report)
                    else {
                        continue;
                    };
                    if let (Some(stage), [_], false) = (located.stage, declarations.as_slice(), located.onbuild)
                        && let Some(edits) = mount_edits(context, stage, *located, &declaration.name.value)
                    {
                        finding.unsafe_fix("Use a secret mount", edits);
                    }
                }
            }
            InstructionKind::Env(pairs) => {
                for (key, value) in &pairs.pairs {
                    if !value.value.trim_matches(['"', '\'']).is_empty() {
                        check_pair(&key.value, Some(&value.value), key.span, "ENV", report);
                    }
                }
            }
            InstructionKind::Label(pairs) => {
                for (key, value) in &pairs.pairs {
                    check_pair(&key.value, Some(&value.value), key.span, "LABEL", report);
                }
            }
            _ => {}
        }
    }
    for run in &context.runs {
        check_run(run, report);
    }
}

fn check_pair<'f>(
    name: &str,
    value: Option<&str>,
    span: Span,
    instruction: &str,
    report: &'f mut Reporter<'_>,
) -> Option<&'f mut crate::Finding> {
    // Fingerprints of the keys that downloads are checked with: everybody may know them.
    let is_fingerprint = |value: &str| {
        let mut words = value.split_whitespace().peekable();
        let hexadecimal =
            |word: &str| matches!(word.len(), 16 | 32 | 40 | 64) && word.chars().all(|c| c.is_ascii_hexdigit());
        words.peek().is_some() && words.all(hexadecimal)
    };
    let value = value.map(|value| value.trim_matches(['"', '\'']));
    let lower = name.to_ascii_lowercase();
    if ["gpg", "pgp", "fingerprint"].iter().any(|word| lower.contains(word)) && value.is_some_and(is_fingerprint) {
        return None;
    }
    let random = value.is_some_and(is_random) && is_secret_name(name);
    if let Some(kind) = value.and_then(token_inside).or_else(|| random.then_some("a value that looks generated")) {
        let finding = report.report(span, format!("{instruction} `{name}` holds {kind}")).severity(Severity::Error);
        return Some(finding.help(format!("{HELP}, and revoke this one: it is in every copy of the file")));
    }
    if value.is_some_and(has_password) {
        return Some(
            report.report(span, format!("{instruction} `{name}` holds an address with a password")).help(HELP),
        );
    }
    if is_secret_name(name) && (instruction != "LABEL" || is_secret_name(last_word(name))) {
        let message = format!("Do not use ARG, ENV or LABEL for secrets ({instruction} `{name}`)");
        return Some(report.report(span, message).help(HELP));
    }
    None
}

/// The last word of a name. Labels are often about a secret: `com.example.secret-rotation`.
fn last_word(name: &str) -> &str {
    name.trim_matches(['"', '\'']).rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// Secrets that a `RUN` is given as text: they are in the history of the image.
fn check_run(run: &RunFacts<'_>, report: &mut Reporter<'_>) {
    for command in &run.script.commands {
        let words = command.words.iter().chain(command.assignments.iter().map(|assignment| &assignment.word));
        for word in words {
            if let Some(kind) = token_inside(&word.text) {
                let finding =
                    report.report(word.span, format!("This holds {kind}, and stays in the history of the image"));
                finding.severity(Severity::Error).help(format!("{HELP}, and revoke this one"));
            } else if has_password(&word.text) {
                report
                    .report(word.span, "This address holds a password, which stays in the history of the image")
                    .help(HELP);
            }
        }
        let exported = command.arguments().iter().filter(|_| command.program() == "export");
        for word in exported.chain(command.assignments.iter().map(|assignment| &assignment.word)) {
            let Some((name, value)) = word.text.split_once('=') else { continue };
            // `SECRET_KEY_BASE_DUMMY=1` is a switch.
            let is_switch =
                value.len() < 4 || name.to_ascii_lowercase().contains("dummy") || matches!(value, "true" | "false");
            if is_secret_name(name)
                && !word.expands
                && !is_switch
                && !value.starts_with('/')
                && token_inside(value).is_none()
            {
                report.report(word.span, format!("The value of `{name}` stays in the history of the image")).help(HELP);
            }
        }
    }
}

/// Deletes an `ARG` and gives the value to the `RUN` that use it by secret mounts. `None` where something else uses it, or nothing does.
fn mount_edits(context: &LintContext<'_>, stage: usize, declaration: Located<'_>, name: &str) -> Option<Vec<TextEdit>> {
    let mentions = |located: &Located<'_>| {
        let text = context.source(located.instruction.span);
        text.contains(&format!("${name}")) || text.contains(&format!("${{{name}"))
    };
    let mut users = Vec::new();
    for located in
        context.stage_instructions(stage).filter(|located| located.index != declaration.index && mentions(located))
    {
        let InstructionKind::Run(run) = &located.instruction.kind else { return None };
        let is_posix = context
            .runs
            .iter()
            .any(|facts| facts.index == located.index && facts.script.parameters.iter().any(|used| used.name == name));
        if located.onbuild || !is_posix || matches!(run.command, Command::Exec(_)) {
            return None;
        }
        users.push(located);
    }
    let inherited = context.stages.iter().any(|other| other.base == Base::Stage(stage));
    if users.is_empty() || inherited {
        return None;
    }
    let mut edits = vec![context.delete_instruction(declaration.instruction)?];
    let mount = format!(" --mount=type=secret,id={},env={name}", name.to_ascii_lowercase());
    edits.extend(users.iter().map(|run| TextEdit::insert(run.instruction.keyword.span.end, mount.clone())));
    Some(edits)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed, lines};

    #[test]
    fn labels_may_speak_of_secrets() {
        let text =
            "FROM a:1\nLABEL com.example.secret-rotation=daily\nLABEL com.example.api-key=x\nLABEL \"db password\"=x\n";
        assert_eq!(lines("secret-in-env-arg", text), [3, 4]);
    }

    #[test]
    fn fingerprints_of_keys_are_public() {
        let print = "A035C8C19219BA821ECEA86B64E628F8D684696D";
        let text = format!(
            "FROM a:1\nENV GPG_KEY {print}\nENV GPG_KEYS=\"{print} {print}\"\nENV API_KEY={print}\nENV GPG_KEY=x\n"
        );
        assert_eq!(lines("secret-in-env-arg", &text), [4, 5]);
    }

    #[test]
    fn steps_with_secrets_are_told() {
        let token = format!("ghp_{}", "a1".repeat(18));
        let with_token = |text: &str| text.replace("TOKEN", &token);
        let bad = [
            with_token("export NPM_TOKEN=TOKEN"),
            with_token("git clone https://TOKEN@github.com/x/y"),
            with_token("curl -H 'Authorization: Bearer TOKEN' x"),
            with_token("echo TOKEN > /x"),
            "export DB_PASSWORD=hunter2 && a".to_owned(),
            "DB_PASSWORD=hunter2 a".to_owned(),
            "git clone https://me:hunter2@example.com/x".to_owned(),
        ];
        check_bodies(
            "secret-in-env-arg",
            &bad.each_ref().map(String::as_str),
            &[
                "export NPM_TOKEN=$(cat /run/secrets/npm)",
                "git clone https://x:$TOKEN@github.com/x/y",
                "export PASSWORD_FILE=/x",
                "a --checksum=sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "GPG_KEYS=A035C8C19219BA821ECEA86B64E628F8D684696D gpg --recv-keys x",
                "export KEY_PATH=/x",
                "SECRET_KEY_BASE_DUMMY=1 a",
            ],
        );
    }

    #[test]
    fn values_make_errors() {
        let text = "FROM a:1\nENV API_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCY1\nENV DATABASE_URL=postgres://a:b@db/x\nENV ADDRESS=https://a/b\n";
        let findings = crate::testing::findings(text);
        let found: Vec<_> = findings
            .iter()
            .filter(|finding| finding.rule.id == "secret-in-env-arg")
            .map(|finding| finding.severity)
            .collect();
        assert_eq!(found, [super::Severity::Error, super::Severity::Warning]);
    }

    #[test]
    fn arguments_become_mounts() {
        let text = "FROM a:1\nARG NPM_TOKEN\nRUN x\nRUN npm ci --token $NPM_TOKEN\n";
        assert_eq!(
            fixed("secret-in-env-arg", text),
            "FROM a:1\nRUN x\nRUN --mount=type=secret,id=npm_token,env=NPM_TOKEN npm ci --token $NPM_TOKEN\n"
        );
        let used = "FROM a:1\nARG NPM_TOKEN\nENV X=$NPM_TOKEN\nRUN a $NPM_TOKEN\n";
        assert_eq!(fixed("secret-in-env-arg", used), used);
        assert_eq!(
            lines("secret-in-env-arg", "FROM a:1\nRUN --mount=type=secret,id=x,env=NPM_TOKEN a $NPM_TOKEN\n"),
            [0_usize; 0]
        );
    }
}
