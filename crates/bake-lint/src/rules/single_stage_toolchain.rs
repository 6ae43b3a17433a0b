//! `single-stage-toolchain`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "single-stage-toolchain",
    aliases: &["prefer-multi-stage-build", "require-stages"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "The image that is shipped is the one that was built in, compiler and sources included.",
    why: "A program that was compiled needs its compiler no more, which is hundreds of megabytes and plenty of holes. Build in one stage, \
          and copy the result into a second one that begins from a small image.",
    bad: "FROM golang:1.24\nWORKDIR /src\nCOPY . .\nRUN go build -o /app .\nUSER 10001\nCMD [\"/app\"]\n",
    good: "FROM golang:1.24 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app .\n\
           FROM gcr.io/distroless/static-debian12:nonroot\nCOPY --from=build /app /app\nCMD [\"/app\"]\n",
    check,
};

/// Images that are toolchains: what they build runs without them.
const TOOLCHAINS: [&str; 9] = [
    "golang",
    "rust",
    "gcc",
    "maven",
    "gradle",
    "haskell",
    "swift",
    "mcr.microsoft.com/dotnet/sdk",
    "hseeberger/scala-sbt",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let [stage] = context.stages.as_slice() else { return };
    let Base::Image(image) = &stage.base else { return };
    let name = image.familiar();
    // Node is needed to run what is built, but not when all that is built is a bundle for browsers.
    if !TOOLCHAINS.contains(&name) {
        return;
    }
    let commands = context.runs.iter().filter(|run| !run.onbuild).flat_map(|run| &run.script.commands);
    if let Some(command) = commands.into_iter().find(|command| builds(command)) {
        let what = command.words.get(command.program_index..).unwrap_or_default();
        let what = what.iter().take(2).map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        report
            .report(stage.from.image.span, format!("The image ships the toolchain of `{name}`"))
            .label(command.span, format!("`{what}` needs it, what it makes does not"))
            .help("copy what is built into a second stage: `FROM small-image`, `COPY --from=build ...`");
    }
}

/// Whether a command compiles a program.
fn builds(command: &SimpleCommand) -> bool {
    let first = command.operands().next().map_or("", |word| word.text.as_str());
    match command.program() {
        "go" => matches!(first, "build" | "install"),
        "cargo" => matches!(first, "build" | "install"),
        "mvn" | "mvnw" => {
            command.operands().any(|word| matches!(word.text.as_str(), "package" | "install" | "verify" | "compile"))
        }
        "gradle" | "gradlew" => command.operands().any(|word| {
            let task = word.text.rsplit(':').next().unwrap_or_default();
            task == "build" || task == "assemble" || task.to_ascii_lowercase().ends_with("jar")
        }),
        "dotnet" => matches!(first, "publish" | "build"),
        "swift" | "stack" | "cabal" | "sbt" | "gcc" | "g++" | "cc" | "make" | "cmake" | "ghc" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn only_a_lone_stage_that_builds_counts() {
        for (text, expected) in [
            ("FROM rust:1\nRUN cargo build --release\n", vec![1]),
            ("FROM rust:1\nRUN cargo test\n", vec![]),
            ("FROM golang:1 AS b\nRUN go build\nFROM scratch\n", vec![]),
            ("FROM maven:3\nRUN mvn -q clean package -DskipTests\n", vec![1]),
            ("FROM gradle:8\nRUN ./gradlew :app:bootJar\n", vec![1]),
            ("FROM debian:12\nRUN make\n", vec![]),
            ("FROM mcr.microsoft.com/dotnet/sdk:9.0\nRUN dotnet publish -o /x\n", vec![1]),
        ] {
            assert_eq!(lines("single-stage-toolchain", text), expected, "{text}");
        }
    }
}
