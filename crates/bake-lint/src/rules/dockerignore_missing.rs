//! `dockerignore-missing`

use super::copy_all_then_install::copies_everything;
use super::prelude::*;
use crate::finding::{Fix, NewFile};
use crate::surroundings::UnwantedPath;
use bake_dockerfile::IgnoreFile;
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "dockerignore-missing",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "The whole build context is copied, and no ignore file keeps out what does not belong into an image.",
    why: "Version control, dependencies, local settings and keys go into a layer, where everyone who has the image can read them; and \
          each commit changes what is copied, so the steps after it run again. Needs to know the build context: it is looked at when the \
          file is called `Dockerfile` or `Containerfile`, or with `bake lint --context DIR`.",
    bad: "FROM debian:12-slim\nWORKDIR /app\nCOPY . .\nUSER 10001\n",
    good: "FROM debian:12-slim\nWORKDIR /app\nCOPY src src/\nUSER 10001\n",
    check,
};

/// What a fix writes. The same file is at the top of the repository for people to copy.
const TEMPLATE: &str = include_str!("../../../../.dockerignore.example");

/// Patterns of the template for what some programs do need, or what some builds take from outside: written as comments.
const MAY_BE_NEEDED: [&str; 8] =
    ["**/node_modules", "**/target", "**/dist", "**/build", "**/vendor/bundle", "README*", "CHANGELOG*", "docs"];

/// How many of the paths that are let through are named.
const SHOWN_MAX: usize = 4;

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let everything = context.instructions.iter().find_map(|located| match &located.instruction.kind {
        InstructionKind::Copy(copy) | InstructionKind::Add(copy)
            if copies_everything(copy) && copy.excludes.is_empty() && !located.onbuild =>
        {
            copy.sources.iter().find_map(|source| match source {
                CopySource::Path(word) => Some(word.span),
                CopySource::Heredoc(_) => None,
            })
        }
        _ => None,
    });
    let (Some(build_context), Some(span)) = (&context.options.context, everything) else { return };
    match build_context.ignore_file() {
        None => {
            let finding = report.report(span, "The whole build context is copied, and there is no `.dockerignore`");
            finding.help("list in `.dockerignore` what does not belong into the image").fix = Some(Fix {
                title: "Write a `.dockerignore`".to_owned(),
                safe: true,
                edits: Vec::new(),
                new_file: Some(NewFile { name: ".dockerignore".to_owned(), text: ignore_file(context) }),
            });
        }
        Some(file) => {
            let unwanted = build_context.unwanted();
            if unwanted.is_empty() {
                return;
            }
            let named: Vec<String> = unwanted.iter().take(SHOWN_MAX).map(described).collect();
            let more = match unwanted.len().saturating_sub(SHOWN_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            report
                .report(
                    span,
                    format!(
                        "The whole build context is copied, and `{}` lets {}{more} through",
                        file.name,
                        named.join(", ")
                    ),
                )
                .help(format!("add them to `{}`", file.name));
        }
    }
}

fn described(unwanted: &UnwantedPath) -> String {
    if unwanted.secret {
        format!("`{}` (may be secret)", unwanted.path)
    } else {
        format!("`{}` ({})", unwanted.path, size(unwanted.bytes))
    }
}

/// A size for people, in the units that `df` uses.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

/// The template for this file: what it copies by name, and what its programs may need, is not excluded.
fn ignore_file(context: &LintContext<'_>) -> String {
    let copied: Vec<&str> = context
        .instructions
        .iter()
        .filter_map(|located| match &located.instruction.kind {
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) if copy.from.is_none() => Some(&copy.sources),
            _ => None,
        })
        .flatten()
        .filter_map(|source| match source {
            CopySource::Path(word) => {
                Some(word.value.trim_matches(['"', '\'']).trim_start_matches("./").trim_matches('/'))
            }
            CopySource::Heredoc(_) => None,
        })
        .collect();
    let runs = |programs: &[&str]| {
        context.runs.iter().any(|run| run.script.commands.iter().any(|command| programs.contains(&command.program())))
    };
    // Where the build makes them itself, those of outside are in the way.
    let made_here = |pattern: &str| match pattern {
        "**/node_modules" => runs(&["npm", "yarn", "pnpm", "bun"]),
        "**/target" => runs(&["cargo", "mvn", "mvnw"]),
        _ => false,
    };
    let mut text = String::with_capacity(TEMPLATE.len());
    // The first paragraph says to copy the file, which this is.
    for line in TEMPLATE.lines().skip_while(|line| !line.is_empty()).skip(1) {
        let is_pattern = !line.is_empty() && !line.starts_with(['#', '!']);
        let names_copied = || {
            IgnoreFile::parse(line.as_bytes())
                .is_ok_and(|patterns| copied.iter().any(|source| patterns.matches(source)))
        };
        let may_be_needed = MAY_BE_NEEDED.contains(&line) && !made_here(line);
        if is_pattern && (may_be_needed || names_copied()) {
            text.push_str("# ");
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::testing::{ListedContext, findings_with};

    #[test]
    fn the_written_file_keeps_what_is_copied() {
        let mut context = ListedContext::new(&["a"], &[]);
        context.ignore_file = None;
        let text = "FROM a:1\nCOPY .env.example .npmrc ./\nCOPY . .\nRUN npm ci\n";
        let found = findings_with(text, &context.options());
        let finding = found.iter().find(|f| f.rule.id == "dockerignore-missing");
        let file = finding.and_then(|f| f.fix.as_ref()).filter(|fix| fix.safe).and_then(|fix| fix.new_file.as_ref());
        let written = file.map(|file| (file.name.as_str(), file.text.as_str())).unwrap_or_default();
        assert_eq!(written.0, ".dockerignore");
        for line in [".git", "**/node_modules", "# **/.npmrc", "# **/dist", "# docs", "**/*.pem", "!.env.example"] {
            assert!(written.1.lines().any(|written| written == line), "{line} in\n{}", written.1);
        }
        let patterns = bake_dockerfile::IgnoreFile::parse(written.1.as_bytes());
        assert!(patterns.is_ok_and(|patterns| patterns.matches(".git/config")
            && !patterns.matches("src/a.c")
            && !patterns.matches(".env.example")));
    }

    #[test]
    fn what_an_ignore_file_lets_through_is_named() {
        let mut context = ListedContext::new(&["a"], &["*.log"]);
        context.unwanted = vec![(".git", 42_000_000, false), (".env", 10, true)];
        let found = findings_with("FROM a:1\nCOPY . .\n", &context.options());
        let message = found.iter().find(|f| f.rule.id == "dockerignore-missing").map(|f| f.message.as_str());
        let expected = "The whole build context is copied, and `.dockerignore` lets `.git` (42 MB), `.env` (may be secret) through";
        assert_eq!(message, Some(expected));
        context.unwanted.clear();
        assert!(
            findings_with("FROM a:1\nCOPY . .\n", &context.options())
                .iter()
                .all(|f| f.rule.id != "dockerignore-missing")
        );
        context.ignore_file = None;
        assert!(
            findings_with("FROM a:1\nCOPY src .\n", &context.options())
                .iter()
                .all(|f| f.rule.id != "dockerignore-missing")
        );
    }
}
