//! Which crate may depend on which: the invariants of the crates rest on these lists.

use super::Problem;
use crate::workspace::Crate;

/// The crates of the workspace and the workspace crates that each may depend on. Changing a line changes the design.
const INTERNAL: &[(&str, &[&str])] = &[
    (
        "bake",
        &[
            "bake-analyze",
            "bake-attest",
            "bake-cache",
            "bake-dockerfile",
            "bake-exporter",
            "bake-format",
            "bake-frontend",
            "bake-graph",
            "bake-lint",
            "bake-lsp",
            "bake-oci",
            "bake-registry",
            "bake-report",
            "bake-sandbox",
            "bake-sbom",
            "bake-snapshot",
            "bake-solver",
            "bake-store",
            "bake-sys",
            "bake-targets",
            "bake-worker",
        ],
    ),
    ("bake-analyze", &["bake-oci"]),
    ("bake-attest", &["bake-dockerfile", "bake-graph", "bake-oci"]),
    (
        "bake-cache",
        &[
            "bake-dockerfile",
            "bake-exporter",
            "bake-graph",
            "bake-oci",
            "bake-registry",
            "bake-solver",
            "bake-store",
            "bake-worker",
        ],
    ),
    ("bake-checks", &["bake-dockerfile", "bake-oci"]),
    ("bake-dockerfile", &[]),
    ("bake-exporter", &["bake-attest", "bake-oci", "bake-registry", "bake-snapshot", "bake-store"]),
    ("bake-format", &["bake-dockerfile"]),
    ("bake-frontend", &["bake-checks", "bake-dockerfile", "bake-graph", "bake-oci"]),
    ("bake-graph", &["bake-oci"]),
    ("bake-lint", &["bake-analyze", "bake-checks", "bake-dockerfile"]),
    ("bake-lsp", &["bake-dockerfile", "bake-format", "bake-lint"]),
    ("bake-oci", &[]),
    ("bake-registry", &["bake-oci"]),
    ("bake-report", &["bake-analyze", "bake-graph", "bake-oci", "bake-solver"]),
    ("bake-sandbox", &["bake-sys"]),
    ("bake-sbom", &["bake-oci", "bake-sys"]),
    ("bake-snapshot", &["bake-oci", "bake-sys"]),
    ("bake-solver", &["bake-graph", "bake-oci"]),
    ("bake-store", &["bake-oci"]),
    ("bake-sys", &[]),
    ("bake-targets", &["bake-dockerfile", "bake-oci"]),
    (
        "bake-testkit",
        &[
            "bake-dockerfile",
            "bake-exporter",
            "bake-frontend",
            "bake-graph",
            "bake-lint",
            "bake-oci",
            "bake-registry",
            "bake-sandbox",
            "bake-snapshot",
            "bake-solver",
            "bake-store",
            "bake-sys",
            "bake-worker",
        ],
    ),
    ("bake-trace", &["bake-oci", "bake-snapshot", "bake-sys"]),
    (
        "bake-worker",
        &[
            "bake-dockerfile",
            "bake-graph",
            "bake-oci",
            "bake-registry",
            "bake-sandbox",
            "bake-snapshot",
            "bake-solver",
            "bake-store",
            "bake-sys",
            "bake-trace",
        ],
    ),
    ("xtask", &["bake-lint", "bake-oci", "bake-sys"]),
];

/// Crates from outside that any crate may use: they neither act on the world nor shape an interface.
const ANYWHERE: [&str; 5] = ["blake3", "serde", "serde_json", "thiserror", "tracing"];

/// Crates from outside, each with the only crates that may use it (tests aside).
const EXTERNAL: &[(&str, &[&str])] = &[
    ("annotate-snippets", &["bake"]),
    (
        "base64",
        &[
            "bake",
            "bake-attest",
            "bake-cache",
            "bake-oci",
            "bake-registry",
            "bake-report",
            "bake-targets",
            "bake-testkit",
            "bake-worker",
        ],
    ),
    ("bzip2", &["bake-worker"]),
    ("clap", &["bake", "xtask"]),
    ("clap_complete", &["bake"]),
    ("clap_mangen", &["bake"]),
    ("flate2", &["bake-oci", "bake-sbom", "bake-worker", "xtask"]),
    ("globset", &["bake"]),
    ("hcl-edit", &["bake-targets"]),
    ("http-body-util", &["bake-testkit"]),
    ("hyper", &["bake-registry", "bake-testkit"]),
    ("hyper-util", &["bake-testkit"]),
    ("ignore", &["bake"]),
    ("libc", &["bake-sandbox", "bake-sys"]),
    ("liblzma", &["bake-worker"]),
    ("md-5", &["bake-targets"]),
    ("mimalloc", &["bake"]),
    ("oci-spec", &["bake-oci", "bake-sandbox", "bake-worker"]),
    ("petgraph", &["bake-graph"]),
    ("poly1305", &["bake-attest"]),
    ("regex", &["bake", "bake-attest", "bake-targets", "bake-testkit"]),
    ("reqwest", &["bake-cache", "bake-registry", "bake-worker"]),
    ("ring", &["bake-attest", "bake-cache", "bake-oci", "bake-registry", "bake-targets"]),
    ("rusqlite", &["bake-store"]),
    (
        "rustix",
        &[
            "bake",
            "bake-exporter",
            "bake-registry",
            "bake-sandbox",
            "bake-sbom",
            "bake-snapshot",
            "bake-store",
            "bake-sys",
            "bake-testkit",
            "bake-trace",
            "bake-worker",
        ],
    ),
    ("rustls", &["bake-registry"]),
    ("salsa20", &["bake-attest"]),
    ("scrypt", &["bake-attest"]),
    ("serde-saphyr", &["bake", "bake-targets"]),
    ("sha2", &["bake-oci"]),
    ("spdx", &["bake-lint", "bake-sbom"]),
    ("tar", &["bake-exporter", "bake-oci", "bake-testkit"]),
    ("tokio", &["bake", "bake-cache", "bake-exporter", "bake-registry", "bake-testkit", "bake-worker"]),
    ("tracing-subscriber", &["bake"]),
    ("unicode-width", &["bake"]),
    ("zstd", &["bake-oci", "bake-report", "bake-worker"]),
];

/// Crates from outside for developer tools only.
const TOOLS: &[(&str, &[&str])] = &[
    ("tempfile", &["bake-testkit"]),
    ("toml", &["bake", "bake-attest", "bake-sbom", "bake-testkit", "xtask"]),
    ("libtest-mimic", &["bake-testkit"]),
];

/// Checks all manifests; `documented` is the text of `docs/dependencies.md`.
pub(super) fn check(crates: &[Crate], documented: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in crates {
        let place = format!("crates/{}/Cargo.toml", package.name);
        let mut report = |message: String, cure| problems.push(Problem { place: place.clone(), message, cure });
        let Some((_, allowed)) = INTERNAL.iter().find(|(name, _)| *name == package.name) else {
            report(
                format!("`{}` is not in the table of crates", package.name),
                "enter it in tidy/dependencies.rs with what it may use",
            );
            continue;
        };
        let inherits = package.manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            report("the lints of the workspace are not inherited".to_owned(), "add `[lints]` with `workspace = true`");
        }
        for dependency in package.dependencies("dependencies").iter().chain(&package.dependencies("build-dependencies"))
        {
            if dependency == "bake-testkit" {
                report("`bake-testkit` is a normal dependency".to_owned(), "move it to [dev-dependencies]");
            } else if INTERNAL.iter().any(|(name, _)| name == dependency) {
                if !allowed.contains(&dependency.as_str()) {
                    let message = format!("`{}` must not depend on `{dependency}`", package.name);
                    report(message, "move the code to where its dependency belongs, or pass a value or trait in");
                }
            } else if !ANYWHERE.contains(&dependency.as_str()) {
                match EXTERNAL.iter().chain(TOOLS).find(|(name, _)| name == dependency) {
                    Some((_, users)) if users.contains(&package.name.as_str()) => {}
                    Some((_, users)) => report(
                        format!("`{dependency}` is only for {}", users.join(", ")),
                        "use the crate that wraps it, or argue for a wider list in docs/dependencies.md",
                    ),
                    None => report(
                        format!("`{dependency}` is not in the table of external crates"),
                        "say in docs/dependencies.md why it is needed, then enter it in tidy/dependencies.rs",
                    ),
                }
            }
        }
        let tables = ["dependencies", "build-dependencies", "dev-dependencies"];
        for dependency in tables.iter().flat_map(|table| package.dependencies(table)) {
            let internal = INTERNAL.iter().any(|(name, _)| *name == dependency);
            if !internal && !documented.contains(&format!("`{dependency}`")) {
                report(
                    format!("`{dependency}` is missing in docs/dependencies.md"),
                    "add a line that says why it is used",
                );
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::check;
    use crate::workspace::Crate;

    fn problems(name: &str, manifest: &str) -> Vec<String> {
        let manifest = format!("[lints]\nworkspace = true\n{manifest}").parse().unwrap();
        let package = Crate { name: name.to_owned(), directory: name.into(), manifest };
        check(&[package], "`serde` `reqwest` `rusqlite` `tempfile`")
            .into_iter()
            .map(|problem| problem.message)
            .collect()
    }

    #[test]
    fn layers_are_kept() {
        assert_eq!(
            problems("bake-lint", "[dependencies]\nbake-dockerfile.workspace = true\nserde.workspace = true"),
            [""; 0]
        );
        assert_eq!(problems("bake-lint", "[dependencies]\nbake-solver.workspace = true").len(), 1);
        assert_eq!(problems("bake-lint", "[dependencies]\nreqwest.workspace = true").len(), 1);
        assert_eq!(problems("bake-lint", "[target.'cfg(unix)'.dependencies]\nrusqlite.workspace = true").len(), 1);
        assert_eq!(problems("bake-oci", "[dependencies]\nbake-testkit.workspace = true").len(), 1);
        assert_eq!(
            problems("bake-oci", "[dev-dependencies]\nbake-testkit.workspace = true\ntempfile.workspace = true"),
            [""; 0]
        );
        assert_eq!(problems("bake-oci", "[dev-dependencies]\nunheard-of = \"1\"").len(), 1);
        assert_eq!(problems("bake-new", "").len(), 1);
    }
}
