//! `docker-socket`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "docker-socket",
    aliases: &["dockerd-socket-mount"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`VOLUME` names the socket of a container engine.",
    why: "Who can write to the socket is root on the host. As a volume it is an empty directory, and an invitation to mount the real one.",
    bad: "FROM debian:12-slim\nVOLUME /var/run/docker.sock\nUSER 10001\n",
    good: "FROM debian:12-slim\nVOLUME /var/lib/app\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Volume(words) = &located.instruction.kind else { continue };
        for word in words {
            let path = word.value.trim_matches(['"', '\'']).trim_end_matches('/');
            if ["docker.sock", "containerd.sock", "podman.sock", "crio.sock"]
                .iter()
                .any(|socket| path.rsplit('/').next() == Some(socket))
            {
                report
                    .report(word.span, format!("`{path}` gives the container the rights of root on the host"))
                    .help("remove it");
            }
        }
    }
}
