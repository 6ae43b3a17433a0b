//! `add-instead-of-copy`

use super::prelude::*;
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "add-instead-of-copy",
    aliases: &["DL3020", "DS-0005", "AVD-DS-0005", "CKV_DOCKER_4", "CIS-DI-0009"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`ADD` of local files that are no archives.",
    why: "`ADD` unpacks what it takes for an archive and fetches what looks like an address. `COPY` does what it says.",
    bad: "FROM debian:12-slim\nADD app /app\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY app /app\nADD rootfs.tar.gz /\nADD https://example.com/x /x\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Add(add) = &located.instruction.kind else { continue };
        let needs_add = add.unpack.is_some()
            || add.keep_git_dir.is_some()
            || add.checksum.is_some()
            || add.sources.iter().any(|source| match source {
                CopySource::Path(word) => is_remote(&word.value) || is_archive(&word.value) || word.value.contains('$'),
                CopySource::Heredoc(_) => false,
            });
        if !needs_add {
            let keyword = &located.instruction.keyword;
            let copy = if keyword.value == "add" { "copy" } else { "COPY" };
            let edits = vec![TextEdit::replace(keyword.span, copy)];
            let finding = report.report(keyword.span, "ADD of local files");
            if add.sources.iter().any(may_hide_archive) {
                finding.unsafe_fix("Use COPY", edits);
            } else {
                finding.safe_fix("Use COPY", edits);
            }
        }
    }
}

/// Whether the name leaves open what the file is: `ADD` looks into files, and unpacks an archive of any name.
fn may_hide_archive(source: &CopySource) -> bool {
    let CopySource::Path(word) = source else { return false };
    let name = word.value.trim_matches(['"', '\'']).to_ascii_lowercase();
    let hidden =
        [".bin", ".img", ".image", ".dat", ".data", ".pkg", ".bundle", ".layer", ".rootfs", ".backup", ".bak", ".dump"];
    hidden.iter().any(|extension| name.ends_with(extension))
        || name.rsplit('/').next().is_some_and(|name| name.contains("rootfs"))
}

/// Whether a source is fetched: an address or a git reference.
pub(super) fn is_remote(source: &str) -> bool {
    let source = source.trim_matches(['"', '\'']);
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}

/// Whether the name is that of an archive that `ADD` unpacks, or may match one.
fn is_archive(source: &str) -> bool {
    let name = source.trim_matches(['"', '\'']).to_ascii_lowercase();
    [
        ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.z",
        ".gz", ".bz2", ".xz",
    ]
    .iter()
    .any(|extension| name.ends_with(extension) || name.ends_with(&format!("{extension}*")))
        || name.contains(".tar.")
}

#[cfg(test)]
mod tests {
    use crate::testing::{findings, fixed, lines};

    #[test]
    fn what_only_add_can_do_is_left() {
        let text = "FROM a:1\nADD a b /x/\nADD git@github.com:a/b.git /x\nADD x.tar.xz /\nADD --unpack=true x /\nADD $X /\nADD <<E /x\ny\nE\n\
                    ADD https://a/b#c /x\nONBUILD ADD a /b\nADD --checksum=sha256:aa https://a/b /x\n";
        assert_eq!(lines("add-instead-of-copy", text), [2, 7, 11]);
        let safe = |source: &str| {
            let found = findings(&format!("FROM a:1\nADD {source} /\n"));
            let fix = found.iter().find(|f| f.rule.id == "add-instead-of-copy").and_then(|f| f.fix.clone());
            fix.is_some_and(|fix| fix.safe)
        };
        assert!(safe("app") && safe("a.txt b/") && !safe("data.bin") && !safe("rootfs"));
        assert_eq!(fixed("add-instead-of-copy", "FROM a:1\nADD a /b\n"), "FROM a:1\nCOPY a /b\n");
    }
}
