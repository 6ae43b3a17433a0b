//! What reading costs: a long Dockerfile, many words, many paths. Prints the CPU time of one iteration, the median of several.
//!
//! `cargo bench -p bake-dockerfile`. Wall-clock time would measure the neighbours on the machine as well.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::unwrap_used, reason = "the inputs are made here")]

use std::hint::black_box;
use std::time::Duration;

use bake_dockerfile::{Expander, IgnoreFile, IgnorePatterns, SourceText, parse};
use dockerfile_parser::Dockerfile as OtherDockerfile;
use rustix::time::{ClockId, clock_gettime};

const LINES: usize = 5_000;
const WORDS: usize = 10_000;
const PATHS: usize = 50_000;
const PATTERNS: usize = 50;

/// How often everything is measured.
const ITERATIONS: usize = 31;

/// A stage as people write them; 33 lines.
const STAGE: &str = r#"# The packages change rarely.
FROM --platform=linux/amd64 docker.io/library/debian:12.5-slim AS stage-NUMBER
ARG VERSION=1.2.3
ARG DEBIAN_FRONTEND=noninteractive
ENV PATH="/opt/tool/bin:$PATH" LANG=C.UTF-8 \
    CACHE_DIRECTORY=/var/cache/tool
LABEL org.opencontainers.image.title="service" org.opencontainers.image.version="1.2.3"

RUN apt-get update && \
    apt-get install -y --no-install-recommends \
        build-essential \
        ca-certificates \
        curl \
        # needed by the tests
        git \
        libssl-dev=3.0.* \
        pkg-config && \
    rm -rf /var/lib/apt/lists/*

WORKDIR /src/service
COPY go.mod go.sum ./
COPY --chown=1000:1000 cmd/ internal/ /src/service/
RUN MOUNTset -eux; \
    go build -ldflags "-X main.version=${VERSION}" -o /out/service ./cmd/service; \
    test "$(/out/service --version)" = "${VERSION}"

# What is started.
USER 1000:1000
EXPOSE 8080/tcp
VOLUME /var/lib/service
HEALTHCHECK --interval=30s --timeout=3s CMD curl -f http://localhost:8080/health || exit 1
ENTRYPOINT ["/out/service", "--listen", ":8080"]
CMD ["--log-level", "info"]
"#;

/// The lines of [`STAGE`] that only this parser knows, in place of the last two.
const HEREDOC: &str = "RUN <<EOF\nset -e\necho \"$VERSION\" > /etc/version\nEOF\n";

fn main() {
    let plain = dockerfile(false);
    let full = dockerfile(true);
    let ours = measure("parse 5,000 lines", || parse(SourceText::new("Dockerfile", plain.as_str())));
    measure("parse 5,000 lines with heredocs and mounts", || parse(SourceText::new("Dockerfile", full.as_str())));
    let theirs = measure("the same 5,000 lines, dockerfile-parser", || OtherDockerfile::parse(&plain).unwrap());
    println!("dockerfile-parser takes {:.1} times as long", theirs.as_secs_f64() / ours.as_secs_f64());

    let words = words();
    let variables = |name: &str| (name != "UNSET").then(|| format!("/usr/{name}/bin.tar.gz"));
    measure("expand 10,000 words", || {
        words.iter().map(|word| Expander::default().expand(word, &variables).unwrap().text.len()).sum::<usize>()
    });
    measure("expand 10,000 words to words", || {
        words
            .iter()
            .map(|word| Expander::default().expand_to_words(word, &variables).unwrap().words.len())
            .sum::<usize>()
    });

    let patterns = IgnoreFile::parse(ignore_file().as_bytes()).unwrap();
    assert_eq!(patterns.patterns().len(), PATTERNS);
    let paths = paths();
    measure("match 50,000 paths against 50 patterns, one by one", || {
        paths.iter().filter(|path| patterns.matches(path)).count()
    });
    measure("the same in a walk", || walk(&patterns, &paths));
}

/// Runs `work` repeatedly and prints the median of what it took.
fn measure<T>(name: &str, mut work: impl FnMut() -> T) -> Duration {
    black_box(work());
    let mut times: Vec<Duration> = (0..ITERATIONS)
        .map(|_| {
            let before = cpu_time();
            black_box(work());
            cpu_time().saturating_sub(before)
        })
        .collect();
    times.sort();
    let median = times[ITERATIONS / 2];
    println!("{:>9.3} ms  {name}", median.as_secs_f64() * 1_000.0);
    median
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

fn dockerfile(full: bool) -> String {
    let mount = if full { "--mount=type=cache,target=/root/.cache,sharing=locked \\\n    " } else { "" };
    let stage = STAGE.replace("MOUNT", mount);
    let stages = (0..).map(|number| stage.replace("NUMBER", &number.to_string()) + if full { HEREDOC } else { "" });
    let mut text = String::new();
    let mut lines = 0;
    for stage in stages {
        lines += stage.lines().count();
        if lines > LINES {
            break;
        }
        text.push_str(&stage);
    }
    let missing = LINES - text.lines().count();
    text + &"RUN true\n".repeat(missing)
}

fn words() -> Vec<String> {
    let kinds = [
        "/usr/local/lib/number/NUMBER",
        "$HOME/NUMBER:${PATH}",
        "\"quoted $NAME\" 'and not $NAME' a\\ b NUMBER",
        "${UNSET:-fallback-NUMBER}/${HOME:+/set}",
        "${FILE%.tar.gz}-${FILE##*/}-${FILE//\\//_}-NUMBER",
    ];
    (0..WORDS).map(|number| kinds[number % kinds.len()].replace("NUMBER", &number.to_string())).collect()
}

fn ignore_file() -> String {
    let usual = [
        ".git",
        "**/node_modules",
        "*.md",
        "!README.md",
        "**/*.pyc",
        "dist/**",
        "**/.DS_Store",
        "target",
        "docs/*.txt",
        "**/test_*.py",
    ];
    let all = (0..PATTERNS).map(|number| match number / usual.len() {
        0 => usual[number].to_owned(),
        // The same again in a directory of its own.
        _ if usual[number % usual.len()].starts_with('!') => format!("!area{number}/README.md"),
        _ => format!("area{number}/{}", usual[number % usual.len()]),
    });
    all.collect::<Vec<_>>().join("\n")
}

fn paths() -> Vec<String> {
    let names = ["main.go", "README.md", "index.js", "test_a.py", "cache.pyc", "image.png"];
    (0..PATHS)
        .map(|number| {
            let (area, package, name) = (number / 1_000, number / 20 % 50, names[number % names.len()]);
            format!("area{area}/package{package}/source/file{number}-{name}")
        })
        .collect()
}

/// Matches the paths as a walk does: what is known of a directory is handed to what is in it.
fn walk(patterns: &IgnorePatterns, paths: &[String]) -> usize {
    let mut open: Vec<(usize, bake_dockerfile::MatchState)> = Vec::new();
    let mut previous = "";
    let mut excluded = 0;
    for path in paths {
        let shared = path.bytes().zip(previous.bytes()).take_while(|(one, other)| one == other).count();
        while open.last().is_some_and(|(end, _)| *end > shared) {
            open.pop();
        }
        let begin = open.last().map_or(0, |(end, _)| end + 1);
        let mut state = open.last().map_or_else(|| patterns.root(), |(_, state)| state.clone());
        for (slash, _) in path[begin..].match_indices('/') {
            state = patterns.step(&state, &path[..begin + slash]);
            open.push((begin + slash, state.clone()));
        }
        excluded += usize::from(patterns.step(&state, path).is_excluded());
        previous = path;
    }
    excluded
}
