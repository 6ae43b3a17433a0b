//! `secret-file-copied`

use super::prelude::*;
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "secret-file-copied",
    aliases: &["DS-0031", "AVD-DS-0031", "CIS-DI-0010"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A file that holds secrets is copied from the build context.",
    why: "It stays in its layer even when a later step removes it, and everyone who can pull the image can read it.",
    bad: "FROM debian:12-slim\nCOPY id_rsa /root/.ssh/id_rsa\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN --mount=type=secret,id=key,target=/root/.ssh/id_rsa git fetch\nUSER 10001\n",
    check,
};

/// Names of files that hold secrets.
const NAMES: [&str; 17] = [
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".env",
    ".npmrc",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    ".htpasswd",
    ".dockercfg",
    ".aws",
    ".ssh",
    ".kube",
    "kubeconfig",
    "credentials.json",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let (InstructionKind::Copy(copy) | InstructionKind::Add(copy)) = &located.instruction.kind else { continue };
        if copy.from.is_some() {
            continue;
        }
        for source in &copy.sources {
            let CopySource::Path(word) = source else { continue };
            let path = word.value.trim_matches(['"', '\'']).trim_end_matches('/');
            let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            let extension = name.rsplit_once('.').map(|(_, extension)| extension);
            let keystore = matches!(extension, Some("p12" | "pfx" | "key" | "ppk"));
            let private_pem = extension == Some("pem") && (name.contains("key") || name.contains("priv"));
            let inside = path.ends_with(".aws/credentials") || path.ends_with(".docker/config.json");
            let public = name.contains("public") || name.contains(".pub");
            if (NAMES.contains(&name.as_str()) || keystore || private_pem || inside) && !public {
                report.report(word.span, format!("`{path}` holds secrets, and stays in the image")).help(
                    "use `RUN --mount=type=secret,id=...` where it is needed, and keep it out by `.dockerignore`",
                );
            }
        }
    }
}
