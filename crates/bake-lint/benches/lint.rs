//! What linting costs: Dockerfiles of 10 to 50,000 lines, and many files. Prints the CPU time of one run, the median of several, and how
//! many findings came out: a linter that gives up is fast.
//!
//! `cargo bench -p bake-lint`. `cargo bench -p bake-lint -- DIRECTORY` writes the Dockerfiles there instead, for measuring whole programs.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::unwrap_used, reason = "the inputs are made here")]

#[path = "../../../benches/common/cpu_time.rs"]
mod cpu_time;

use std::fmt::Write as _;
use std::time::Duration;

use bake_dockerfile::{SourceText, parse};
use bake_lint::report::{FileFindings, json};
use bake_lint::{LintOptions, RULES, apply_fixes, lint};

/// Thirteen kinds of instructions in rotation with three more `RUN`, so that a quarter of the lines are `RUN`.
const ROTATION: [&str; 16] = [
    "ARG VERSION_NUMBER=1.2.NUMBER",
    "ENV HOME_NUMBER=/opt/appNUMBER NAME=app",
    "RUN apt-get update && apt-get install -y --no-install-recommends pkgNUMBER curl && rm -rf /var/lib/apt/lists/*",
    "LABEL org.example.partNUMBER=\"part NUMBER\"",
    "COPY srcNUMBER/ /opt/appNUMBER/",
    "WORKDIR /opt/appNUMBER",
    "RUN set -eux; for f in a b c; do echo \"$f NUMBER\" >> /etc/listNUMBER; done; curl -fsSL https://example.com/NUMBER.tar.gz | tar xz -C /opt",
    "ADD https://example.com/fileNUMBER.tar.gz /tmp/fileNUMBER.tar.gz",
    "EXPOSE 80",
    "RUN sudo chmod 777 /opt/appNUMBER && pip install flask==2.NUMBER",
    "VOLUME /data/NUMBER",
    "USER appNUMBER",
    "STOPSIGNAL SIGTERM",
    "RUN if [ -f /etc/listNUMBER ]; then cat /etc/listN | grep -v $NAME > /tmp/outN; fi",
    "SHELL [\"/bin/bash\", \"-c\"]",
    "HEALTHCHECK CMD curl -f http://localhost:80/N || exit 1",
];

/// Lines of the files, and how often each is measured.
const SIZES: [(usize, usize); 5] = [(10, 31), (100, 31), (1_000, 15), (5_000, 7), (49_000, 3)];

fn main() {
    // Cargo passes `--bench` itself.
    if let Some(directory) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) {
        for (lines, _) in SIZES {
            std::fs::write(format!("{directory}/{lines}.Dockerfile"), dockerfile(lines)).unwrap();
        }
        std::fs::create_dir_all(format!("{directory}/many")).unwrap();
        for file in 0..200 {
            std::fs::write(format!("{directory}/many/{file:03}.Dockerfile"), dockerfile(35)).unwrap();
        }
        return;
    }
    let options = LintOptions::default();
    for (lines, iterations) in SIZES {
        let text = dockerfile(lines);
        let source = SourceText::new("Dockerfile", text.as_str());
        let parsed = parse(source.clone());
        let findings = lint(&parsed, &options);
        println!("{lines} lines, {} findings", findings.len());
        measure("  parse", iterations, || parse(source.clone()));
        measure("  lint", iterations, || lint(&parsed, &options));
        measure("  json", iterations, || json(&[FileFindings { source: &source, findings: &findings }]));
        measure("  fix", iterations, || apply_fixes(&text, &findings, true));
    }
    slowest_rules();
}

/// Which rules take longest in the largest file, beside what all share.
fn slowest_rules() {
    let parsed = parse(SourceText::new("Dockerfile", dockerfile(SIZES[SIZES.len() - 1].0)));
    let time = |id: &str| {
        let options = LintOptions { select: vec![id.to_owned()], ..LintOptions::default() };
        cpu_time::once(|| lint(&parsed, &options))
    };
    let mut times: Vec<(Duration, &str)> = RULES.iter().map(|rule| (time(rule.id), rule.id)).collect();
    times.sort_unstable();
    println!("the slowest rules in the largest file, {:.2} ms of each shared", times[0].0.as_secs_f64() * 1000.0);
    for (time, id) in times.iter().rev().take(8) {
        println!("  {id}: {:.2} ms", time.as_secs_f64() * 1000.0);
    }
}

/// A Dockerfile of so many lines.
fn dockerfile(lines: usize) -> String {
    let mut text = String::from("FROM debian:12-slim\n");
    for line in 1..lines {
        let instruction = ROTATION[(line - 1) % ROTATION.len()];
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", instruction.replace("NUMBER", &line.to_string()));
    }
    text
}

/// Prints the CPU time of `work`, the median.
fn measure<T>(name: &str, iterations: usize, work: impl Fn() -> T) {
    println!("{name}: {:.2} ms", cpu_time::median(iterations, work).as_secs_f64() * 1000.0);
}
