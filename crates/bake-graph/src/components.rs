//! What a key of an op is made of, part by part, so that a miss can be explained.

use serde::{Deserialize, Serialize};

use crate::op::{ExecMount, ExecOp, FileAction, FileOp, MountKind, Op, Owner, SourceOp};

/// One named part of an op's key.
///
/// Changing the name or value that any op yields changes every key: old cache records are then never found again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Component {
    /// What it is, for example `env PATH` or `mount /src`.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

impl Component {
    /// A part called `name`.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    /// The same without what may be confidential, for those who see the cache but not the build: the value of a variable,
    /// which a build argument may have given, is replaced by its digest.
    #[must_use]
    pub fn masked(&self) -> Self {
        if !self.name.starts_with("env ") || self.value.starts_with(MASK) {
            return self.clone();
        }
        let digest = blake3::hash(self.value.as_bytes()).to_hex();
        Self { name: self.name.clone(), value: format!("{MASK}{digest}") }
    }

    /// Whether both say the same, even if one of them is masked.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self == other || self.masked() == other.masked()
    }
}

/// Whether the value of a part is a digest that [`Component::masked`] put there.
pub fn is_masked(value: &str) -> bool {
    value.starts_with(MASK)
}

/// What the value of a masked part begins with.
const MASK: &str = "blake3:";

/// What an op can see of one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputView {
    /// All of it: the key holds the identity of the whole root file system.
    Whole,
    /// Only the paths that the op names: the key holds a digest of those.
    Selected,
    /// Nothing that counts: it fills a cache mount when that is new.
    Unseen,
}

impl Op {
    /// The parts of the op's own definition that count for its key, in a fixed order.
    ///
    /// Left out on purpose: proxy settings, values of secrets, the identity and content of cache mounts, addresses of
    /// extra hosts.
    pub fn components(&self) -> Vec<Component> {
        match self {
            Self::Source(source) => source_components(source),
            Self::Exec(exec) => exec_components(exec),
            Self::File(file) => file_components(file),
            Self::Merge => vec![Component::new("op", "merge")],
            Self::Diff => vec![Component::new("op", "diff")],
        }
    }

    /// What the op can see of input number `input`.
    pub fn input_view(&self, input: usize) -> InputView {
        match self {
            Self::Source(_) | Self::Merge | Self::Diff => InputView::Whole,
            Self::Exec(exec) => {
                if input == 0 {
                    return InputView::Whole;
                }
                let bound =
                    exec.mounts.iter().any(|m| matches!(m.kind, MountKind::Bind { input: i, .. } if i == input));
                if bound { InputView::Selected } else { InputView::Unseen }
            }
            Self::File(file) => {
                let copied = file.actions.iter().any(|a| matches!(a, FileAction::Copy(c) if c.from == input));
                if input == 0 || (input == file.owner_input && !copied) {
                    InputView::Whole
                } else {
                    InputView::Selected
                }
            }
        }
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the op types hold only strings, numbers and lists")
}

/// The words of a `command` component.
pub fn command_words(value: &str) -> Option<Vec<String>> {
    serde_json::from_str(value).ok()
}

fn source_components(source: &SourceOp) -> Vec<Component> {
    match source {
        SourceOp::Scratch => vec![Component::new("source", "scratch")],
        SourceOp::Image(image) => vec![Component::new("image", image.manifest.to_string())],
        SourceOp::Local(local) => vec![Component::new("context", local.name.clone())],
        SourceOp::Http(http) => vec![
            Component::new("url", http.url.clone()),
            Component::new("checksum", http.checksum.as_ref().map(ToString::to_string).unwrap_or_default()),
        ],
        SourceOp::Git(git) => vec![Component::new("git", json(git))],
    }
}

fn exec_components(exec: &ExecOp) -> Vec<Component> {
    let mut parts = vec![
        Component::new("command", json(&exec.args)),
        Component::new("working directory", exec.cwd.clone()),
        Component::new("user", exec.user.clone()),
        Component::new("network", json(&exec.network)),
        Component::new("security", json(&exec.security)),
        Component::new("platform", exec.platform.clone()),
    ];
    parts.extend(exec.env.iter().map(|(name, value)| Component::new(format!("env {name}"), value.clone())));
    parts.extend(exec.mounts.iter().map(mount_component));
    parts.extend(exec.secret_env.iter().map(|s| Component::new(format!("secret variable {}", s.name), s.id.clone())));
    if !exec.extra_hosts.is_empty() {
        let names: Vec<_> = exec.extra_hosts.iter().map(|(name, _)| name).collect();
        parts.push(Component::new("extra hosts", json(&names)));
    }
    if let Some(hostname) = &exec.hostname {
        parts.push(Component::new("host name", hostname.clone()));
    }
    parts
}

fn mount_component(mount: &ExecMount) -> Component {
    let value = match &mount.kind {
        MountKind::Bind { source, read_only, .. } => format!("bind {} {source}", access(*read_only)),
        MountKind::Cache(cache) => format!("cache {}", access(cache.read_only)),
        MountKind::Tmpfs { size_bytes } => format!("tmpfs {size_bytes:?}"),
        MountKind::Secret { id, uid, gid, mode, .. } => format!("secret {id} {uid}:{gid} {mode:o}"),
        MountKind::Ssh { id, uid, gid, mode, .. } => format!("ssh {id} {uid}:{gid} {mode:o}"),
        MountKind::File { content, mode } => format!("file {mode:o} {content}"),
    };
    Component::new(format!("mount {}", mount.target), value)
}

fn access(read_only: bool) -> &'static str {
    if read_only { "read-only" } else { "read-write" }
}

fn file_components(file: &FileOp) -> Vec<Component> {
    let mut parts: Vec<Component> = file.actions.iter().flat_map(action_components).collect();
    // Times are in no key, as a layer that differs in them alone is as good as another. Only for WORKDIR, which costs
    // nothing to do again, it is as with BuildKit: the directory has the time that was asked for, whatever the cache has.
    let makes_directory = matches!(file.actions.as_slice(), [FileAction::Mkdir { .. }]);
    parts.extend(file.epoch.filter(|_| makes_directory).map(|epoch| Component::new("time", epoch.to_string())));
    parts
}

fn action_components(action: &FileAction) -> Vec<Component> {
    match action {
        FileAction::Copy(copy) => {
            let mut parts = vec![
                Component::new("copy", copy.source.clone()),
                Component::new("destination", copy.destination.clone()),
                Component::new(
                    "options",
                    json(&(copy.wildcard, copy.unpack, copy.parents, copy.root_owned, &copy.file_name)),
                ),
            ];
            if !copy.excludes.is_empty() {
                parts.push(Component::new("exclude", json(&copy.excludes)));
            }
            if let Some(mode) = &copy.mode {
                parts.push(Component::new("chmod", json(mode)));
            }
            parts.extend(copy.owner.as_ref().map(owner_component));
            parts
        }
        FileAction::Mkfile { path, name, content, mode, owner } => {
            let mut parts = vec![
                Component::new("write", json(&(path, name))),
                Component::new("content", content.clone()),
                Component::new("chmod", json(mode)),
            ];
            parts.extend(owner.as_ref().map(owner_component));
            parts
        }
        FileAction::Mkdir { path, mode, owner } => {
            let mut parts = vec![Component::new("make directory", format!("{path} {mode:o}"))];
            parts.extend(owner.as_ref().map(owner_component));
            parts
        }
        FileAction::Rm { path, allow_missing } => vec![Component::new("remove", json(&(path, allow_missing)))],
        FileAction::Symlink { path, target } => vec![Component::new("link", json(&(path, target)))],
    }
}

fn owner_component(owner: &Owner) -> Component {
    Component::new("chown", json(owner))
}

#[cfg(test)]
mod tests {
    use super::Component;

    #[test]
    fn values_of_variables_are_masked_and_can_still_be_compared() {
        let variable = |value: &str| Component::new("env TOKEN", value);
        let masked = variable("secret").masked();
        assert!(!masked.value.contains("secret"), "{masked:?}");
        assert_eq!(masked.masked(), masked);
        assert!(masked.says_the_same(&variable("secret")) && variable("secret").says_the_same(&masked));
        assert!(!masked.says_the_same(&variable("other")));
        let command = Component::new("command", "make");
        assert_eq!(command.masked(), command);
    }
}
