//! `copy-all-then-install`

use super::prelude::*;
use crate::change::line_start;
use bake_dockerfile::instruction::{CopyInstruction, CopySource};

pub(super) const RULE: Rule = Rule {
    id: "copy-all-then-install",
    aliases: &[],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "The whole context is copied before dependencies are installed.",
    why: "Any change of any file then repeats the installation. Copying just the files that name the dependencies first lets the \
          installation come from the cache.",
    bad: "FROM node:22-slim\nWORKDIR /app\nCOPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci\nUSER node\n",
    good: "FROM node:22-slim\nWORKDIR /app\nCOPY package.json package-lock.json ./\n\
           RUN --mount=type=cache,target=/root/.npm npm ci\nCOPY . .\nUSER node\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in 0..context.stages.len() {
        let mut copied_all = None;
        let mut installed: Vec<&str> = Vec::new();
        for located in context.stage_instructions(stage).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Copy(copy) | InstructionKind::Add(copy) if copies_everything(copy) => {
                    copied_all.get_or_insert((located, copy));
                }
                InstructionKind::Run(_) => {
                    let Ok(position) = context.runs.binary_search_by_key(&located.index, |run| run.index) else {
                        continue;
                    };
                    for command in &context.runs[position].script.commands {
                        // With a cache mount a build tool finds its downloads again.
                        let mounted = context.runs[position].has_mount_named("");
                        let found =
                            installs(command).or_else(|| if mounted { None } else { downloads_and_builds(command) });
                        let Some((tool, files)) = found else { continue };
                        let Some(copied) = copied_all.filter(|_| !installed.contains(&tool)) else {
                            installed.push(tool);
                            continue;
                        };
                        installed.push(tool);
                        let (copy_located, copy) = copied;
                        let finding =
                            report.report(command.span, format!("`{tool}` runs again after every change of any file"));
                        finding
                            .label(copy_located.instruction.span, "everything is copied here")
                            .help(format!("copy {files} and install before copying the rest"));
                        if copy_located.index + 1 == located.index
                            && let Some(edits) =
                                moved_up(context, copy_located.instruction, copy, &context.runs[position])
                        {
                            finding.unsafe_fix(format!("Copy {files} and install first"), edits);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// The edits that put the files which name the dependencies, and the `RUN` that does nothing but install them, above the `COPY`.
fn moved_up(
    context: &LintContext<'_>,
    copied: &Instruction,
    copy: &CopyInstruction,
    run: &RunFacts<'_>,
) -> Option<Vec<TextEdit>> {
    let [command] = run.script.commands.as_slice() else { return None };
    let files = declaring_files(command)?;
    let destination = copy.destination.value.trim_end_matches('/');
    let first_line = format!("COPY {files} {destination}/");
    let removal = context.delete_instruction(run.instruction)?;
    // Comments above the RUN move with it.
    let start = run.instruction.comments.first().map_or(run.instruction.span.start, |comment| comment.start);
    let start = line_start(context.dockerfile.source.text(), start);
    let moved = context.source(Span::new(start, run.instruction.span.end));
    let insertion = context.insert_above(copied, &format!("{first_line}{}{moved}", context.newline()));
    Some(vec![insertion, TextEdit::delete(Span::new(start, removal.span.end))])
}

/// The files that name the dependencies, as sources of `COPY`; optional ones as patterns, so that the `COPY` does not fail.
fn declaring_files(command: &SimpleCommand) -> Option<String> {
    let (tool, _) = installs(command)?;
    let fixed = match tool {
        "npm ci" | "npm install" => "package*.json",
        "yarn install" => "package.json yarn.lock*",
        "pnpm install" => "package.json pnpm-lock.yaml*",
        "bun install" => "package.json bun.lock*",
        "go mod download" => "go.mod go.sum*",
        "bundle install" => "Gemfile Gemfile.lock*",
        "composer install" => "composer.json composer.lock*",
        "poetry install" => "pyproject.toml poetry.lock*",
        "uv sync" => "pyproject.toml uv.lock*",
        "pip install -r" => {
            let mut words =
                command.arguments().windows(2).filter(|pair| matches!(pair[0].text.as_str(), "-r" | "--requirement"));
            let (Some(pair), None) = (words.next(), words.next()) else { return None };
            let file = &pair[1].text;
            let relative = file.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            return (relative && !pair[1].expands).then(|| file.clone());
        }
        _ => return None,
    };
    Some(fixed.to_owned())
}

pub(super) fn copies_everything(copy: &CopyInstruction) -> bool {
    copy.from.is_none()
        && copy.sources.iter().any(|source| matches!(source, CopySource::Path(word) if matches!(word.value.as_str(), "." | "./" | "/" | "*" | "./*")))
}

/// The tool that a command installs declared dependencies with, and the files that declare them.
fn installs(command: &SimpleCommand) -> Option<(&'static str, &'static str)> {
    let words: Vec<&str> = command.arguments().iter().map(|word| word.text.as_str()).collect();
    let first = words.iter().find(|word| !word.starts_with('-')).copied();
    let names_nothing = command.operands().count() <= 1;
    let program = command.program();
    Some(match (program, first) {
        ("npm", Some("ci" | "clean-install")) => ("npm ci", "`package.json` and `package-lock.json`"),
        ("npm", Some("install" | "i")) if names_nothing => ("npm install", "`package.json` and `package-lock.json`"),
        ("yarn", None | Some("install")) => ("yarn install", "`package.json` and `yarn.lock`"),
        ("pnpm", Some("install" | "i")) if names_nothing => ("pnpm install", "`package.json` and `pnpm-lock.yaml`"),
        ("bun", Some("install" | "i")) if names_nothing => ("bun install", "`package.json` and the lock file"),
        ("go", Some("mod")) if words.contains(&"download") => ("go mod download", "`go.mod` and `go.sum`"),
        ("bundle", None | Some("install")) => ("bundle install", "`Gemfile` and `Gemfile.lock`"),
        ("composer", Some("install")) => ("composer install", "`composer.json` and `composer.lock`"),
        ("poetry", Some("install")) => ("poetry install", "`pyproject.toml` and `poetry.lock`"),
        ("uv", Some("sync")) => ("uv sync", "`pyproject.toml` and `uv.lock`"),
        ("mvn" | "mvnw", _) if words.iter().any(|word| word.contains("dependency:")) => ("mvn dependency", "`pom.xml`"),
        ("cargo", Some("chef")) if words.contains(&"cook") => ("cargo build", "`recipe.json`"),
        ("cargo", Some("fetch")) => ("cargo fetch", "`Cargo.toml` and `Cargo.lock`"),
        _ if words.windows(2).any(|pair| matches!(pair[0], "-r" | "--requirement"))
            && words.contains(&"install")
            && (program.starts_with("pip") || program.starts_with("python") || program == "uv") =>
        {
            ("pip install -r", "the requirements file")
        }
        _ => return None,
    })
}

/// The tools that download what is declared and build in one go.
fn downloads_and_builds(command: &SimpleCommand) -> Option<(&'static str, &'static str)> {
    let first = command.operands().next().map(|word| word.text.as_str());
    match (command.program(), first) {
        ("cargo", Some("build" | "install")) => Some(("cargo build", "`Cargo.toml` and `Cargo.lock`")),
        ("mvn" | "mvnw", Some("package" | "install" | "verify" | "compile" | "clean")) => Some(("mvn", "`pom.xml`")),
        ("gradle" | "gradlew", Some(_)) => Some(("gradle", "the `*.gradle*` files")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn tools_are_told() {
        let text = "FROM a:1\nCOPY . /x\nRUN pip install -r requirements.txt\nRUN npm install left-pad\nRUN cd /x && go mod download\n\
                    FROM a:1\nCOPY . .\nRUN --mount=type=cache,target=/usr/local/cargo/registry cargo build\nRUN ./mvnw package\n\
                    FROM a:1\nCOPY a.txt .\nRUN npm ci\nCOPY . .\nRUN npm ci\n\
                    FROM a:1\nCOPY recipe.json .\nRUN cargo chef cook --release\nCOPY . .\nRUN cargo build --release\n";
        assert_eq!(lines("copy-all-then-install", text), [3, 5, 9]);
    }

    #[test]
    fn the_installation_moves_above_the_copy() {
        let text = "FROM node:22\nWORKDIR /x\n# all\nCOPY . .\n# install\nRUN --mount=type=cache,target=/y \\\n  npm ci\nRUN make\n";
        let expected = "FROM node:22\nWORKDIR /x\nCOPY package*.json ./\n# install\nRUN --mount=type=cache,target=/y \\\n  npm ci\n# all\nCOPY . .\nRUN make\n";
        assert_eq!(fixed("copy-all-then-install", text), expected);
        let text = "FROM python:3\r\nCOPY . /app/\r\nRUN pip install -r requirements.txt\r\n";
        let expected =
            "FROM python:3\r\nCOPY requirements.txt /app/\r\nRUN pip install -r requirements.txt\r\nCOPY . /app/\r\n";
        assert_eq!(fixed("copy-all-then-install", text), expected);
        for text in
            ["RUN npm ci && npm test\n", "RUN pip install -r $F\n", "RUN cargo fetch\n", "RUN true\nRUN npm ci\n"]
        {
            let text = format!("FROM a:1\nCOPY . .\n{text}");
            assert_eq!(fixed("copy-all-then-install", &text), text);
        }
    }
}
