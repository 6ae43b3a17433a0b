//! What targets want beyond their own directory: things that a user who runs a stranger's file should know of and allow.

use std::collections::BTreeSet;

use crate::config::Selection;

/// What a selection of targets wants. Paths are as the files give them, relative ones to the working directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Steps in the machine's network (`network.host`).
    pub network_host: bool,
    /// Steps without a sandbox (`security.insecure`).
    pub insecure: bool,
    /// The user's SSH agent (`ssh`).
    pub ssh_agent: bool,
    /// Files and directories that are read (`fs.read`).
    pub read: BTreeSet<String>,
    /// Files and directories that are written (`fs.write`).
    pub write: BTreeSet<String>,
}

/// What the targets of `selection` want.
pub fn privileges(selection: &Selection) -> Privileges {
    let mut wanted = Privileges::default();
    for target in selection.targets.values() {
        for entitlement in target.entitlements.iter().flatten() {
            match entitlement.as_str() {
                "network.host" => wanted.network_host = true,
                "security.insecure" => wanted.insecure = true,
                _ => {}
            }
        }
        let context = target.context.as_deref().unwrap_or(".");
        wanted.read.extend(local_path(context));
        for context in target.contexts.values() {
            wanted.read.extend(local_path(context));
        }
        if target.dockerfile_inline.is_none()
            && let (Some(context), Some(dockerfile)) = (local_path(context), &target.dockerfile)
        {
            let is_rooted = dockerfile.starts_with('/');
            wanted.read.insert(match dockerfile.strip_prefix("cwd://") {
                Some(dockerfile) => dockerfile.to_owned(),
                None if is_rooted => dockerfile.clone(),
                None => format!("{}/{dockerfile}", context.trim_end_matches('/')),
            });
        }
        for secret in target.secrets.iter().flatten() {
            wanted.read.extend(secret.source.clone());
        }
        for agent in target.ssh.iter().flatten() {
            wanted.ssh_agent |= agent.paths.is_empty();
            wanted.read.extend(agent.paths.iter().cloned());
        }
        for cache in target.cache_from.iter().flatten().filter(|cache| cache.kind == "local") {
            wanted.read.extend(cache.attributes.get("src").cloned());
        }
        for cache in target.cache_to.iter().flatten().filter(|cache| cache.kind == "local") {
            wanted.write.extend(cache.attributes.get("dest").cloned());
        }
        for output in target.outputs.iter().flatten() {
            wanted.write.extend(output.destination.clone().filter(|destination| destination != "-"));
        }
    }
    wanted
}

/// The path that a context is, unless it is something else: another target, an image, a URL.
pub(crate) fn local_path(context: &str) -> Option<String> {
    if let Some(path) = context.strip_prefix("cwd://") {
        return Some(path.to_owned());
    }
    let elsewhere =
        ["target:", "docker-image:", "oci-layout:", "http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    (!elsewhere.iter().any(|prefix| context.starts_with(prefix))).then(|| context.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::{BakeFile, Config, Inputs, Overrides};

    #[test]
    fn what_lies_outside_is_listed() {
        let text = "target \"a\" {\n  context = \"app\"\n  contexts = { x = \"../up\", y = \"target:b\", z = \"docker-image://alpine\" }\n  \
                    secret = [\"id=k,src=/etc/key\"]\n  ssh = [\"default\"]\n  output = [\"type=local,dest=out\", \"-\"]\n  network = \"host\"\n}\n\
                    target \"b\" {\n  dockerfile-inline = \"FROM scratch\"\n  context = \"https://example.com/x.git\"\n}\n";
        let file = BakeFile { name: "docker-bake.hcl".to_owned(), text: text.to_owned() };
        let config = Config::read(vec![file], Inputs::default()).unwrap();
        let wanted = privileges(&config.select(&["a".to_owned()], &Overrides::default()).unwrap());
        assert!(wanted.network_host && wanted.ssh_agent && !wanted.insecure);
        assert_eq!(wanted.read.into_iter().collect::<Vec<_>>(), ["../up", "/etc/key", "app", "app/Dockerfile"]);
        assert_eq!(wanted.write.into_iter().collect::<Vec<_>>(), ["out"]);
    }
}
