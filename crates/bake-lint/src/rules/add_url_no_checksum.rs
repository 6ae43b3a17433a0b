//! `add-url-no-checksum`

use super::add_instead_of_copy::is_remote;
use super::prelude::*;
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "add-url-no-checksum",
    aliases: &[],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`ADD` fetches a file without `--checksum`.",
    why: "Whoever controls the server, or the way to it, decides what goes into the image. With a checksum the build stops instead.",
    bad: "FROM debian:12-slim\nADD https://example.com/tool /usr/local/bin/tool\nUSER 10001\n",
    good: "FROM debian:12-slim\n\
           ADD --checksum=sha256:4b0a0dd4a4e5d5f1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef012 https://example.com/tool /tool\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Add(add) = &located.instruction.kind else { continue };
        let remote = add.sources.iter().find_map(|source| match source {
            CopySource::Path(word) if is_remote(&word.value) => Some(word),
            _ => None,
        });
        let Some(word) = remote.filter(|_| add.checksum.is_none()) else { continue };
        // A git reference with a full commit fixes the content by itself.
        let pinned = word
            .value
            .split(['#', '=', ':'])
            .any(|part| part.len() == 40 && part.chars().all(|c| c.is_ascii_hexdigit()));
        if !pinned {
            report.report(word.span, "A file is fetched without a checksum").help("add `--checksum=sha256:...`");
        }
    }
}
