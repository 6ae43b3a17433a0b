//! Slots as people know them: what made them, where the step sees them, and why there are none.

use std::fmt;

use bake_graph::{BuildGraph, ExecOp, MountKind, Op, SecurityMode, Vertex, VertexId};
use serde::{Deserialize, Serialize};

use crate::output::Output;
use crate::trace::{Scope, Slot};

/// A slot, and where the step sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlotNote {
    /// The step that made the layer, or what the mount is.
    pub text: String,
    /// Where it is mounted; `None` for a layer of the root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The path in it that is mounted there, without a slash at its beginning; empty for all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl SlotNote {
    /// A path of the slot as the step sees it: absolute, or relative to the working directory `cwd` where it is below that.
    pub fn shown(&self, path: &[u8], cwd: &str) -> String {
        let path = String::from_utf8_lossy(path).replace(char::is_control, "\u{fffd}");
        let absolute = match &self.target {
            Some(target) => self.mounted(target, &path),
            None => format!("/{path}"),
        };
        let below = absolute.strip_prefix(cwd.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        match below {
            Some("") => ".".to_owned(),
            Some(rest) => rest.to_owned(),
            None if absolute == cwd => ".".to_owned(),
            None => absolute,
        }
    }

    fn mounted(&self, target: &str, path: &str) -> String {
        let below = match path.strip_prefix(&self.source) {
            Some(rest) if self.source.is_empty() => rest,
            Some("") => "",
            Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
            _ if path.is_empty() => "",
            // On the way to what is mounted.
            _ if self.source.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) => return format!("/{path}"),
            _ => path,
        };
        if below.is_empty() { target.to_owned() } else { format!("{}/{below}", target.trim_end_matches('/')) }
    }
}

/// The slots of a step over `inputs`.
pub(crate) fn slot_notes(graph: &BuildGraph, vertex: &Vertex, inputs: &[&Output], scope: &Scope) -> Vec<SlotNote> {
    let Op::Exec(exec) = &vertex.op else { return Vec::new() };
    let layers = inputs.first().map_or(0, |root| root.layers().len());
    let mut makers = Vec::new();
    if let Some(root) = vertex.inputs.first() {
        collect_makers(graph, *root, &mut makers);
    }
    let note = |slot: &Slot| match slot {
        Slot::Layer(number) => {
            let from_top = layers.checked_sub(number + 1);
            let maker = from_top.and_then(|from_top| makers.get(from_top));
            let text = maker.map_or_else(|| format!("layer {number}"), |id| graph.vertex(*id).label.to_string());
            SlotNote { text, ..SlotNote::default() }
        }
        Slot::Mount(number) => exec.mounts.get(*number).map(|mount| mounted(mount, inputs)).unwrap_or_default(),
    };
    scope.slots.iter().map(note).collect()
}

fn mounted(mount: &bake_graph::ExecMount, inputs: &[&Output]) -> SlotNote {
    let source = match &mount.kind {
        MountKind::Bind { source, input, .. } => match (source.trim_matches('/'), inputs.get(*input)) {
            ("", _) => "",
            // Of the context it is a copy: a directory is the root of that, a file is called so in it.
            (_, Some(Output::Directory { .. })) => "file",
            (source, _) => source,
        },
        _ => "",
    };
    SlotNote {
        text: format!("bind mount of `{}`", mount.target),
        target: Some(mount.target.clone()),
        source: source.to_owned(),
    }
}

/// The steps that made the layers of a root file system, the topmost first, down to what is not made by steps.
///
/// Answers whether that is all of them.
fn collect_makers(graph: &BuildGraph, top: VertexId, makers: &mut Vec<VertexId>) -> bool {
    let mut id = top;
    loop {
        let vertex = graph.vertex(id);
        match (&vertex.op, vertex.inputs.first()) {
            (Op::Exec(_) | Op::File(_), below) => {
                makers.push(id);
                match below {
                    Some(below) => id = *below,
                    None => return true,
                }
            }
            (Op::Merge, _) => return vertex.inputs.iter().rev().all(|input| collect_makers(graph, *input, makers)),
            (Op::Source(bake_graph::SourceOp::Scratch), _) => return true,
            (Op::Source(_) | Op::Diff, _) => return false,
        }
    }
}

/// Why it is not known what a step asked of the files that were copied for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untraced {
    /// Nothing was to be recorded in the whole build.
    Off,
    /// A comment above the instruction says so.
    Forbidden,
    /// The build went on from a failure.
    Continued,
    /// It has a cache mount that it may write to.
    CacheMount,
    /// It has a secret.
    Secret,
    /// It has an SSH agent.
    Ssh,
    /// It runs without its sandbox.
    Insecure,
    /// No files were copied for it.
    NothingCopied,
    /// It asks for so much that recording it gains nothing.
    Heavy,
    /// It could not be recorded here.
    Unavailable,
}

impl fmt::Display for Untraced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "recording was switched off (`--trace-run=off`)",
            Self::Forbidden => "a comment above it says `# bake: trace=off`",
            Self::Continued => "the build went on from a failure",
            Self::CacheMount => "it has a cache mount that it may write to",
            Self::Secret => "it has a secret",
            Self::Ssh => "it has an SSH agent",
            Self::Insecure => "it runs with `--security=insecure`",
            Self::NothingCopied => "no files were copied or mounted for it",
            Self::Heavy => "it reads so much that recording it gains nothing",
            Self::Unavailable => "it could not be recorded; the usual cause is that `/dev/fuse` cannot be opened",
        })
    }
}

/// What keeps a step from being found by what it asked, wherever it runs: not everything that it can see, and that can differ
/// between builds, would be in its key or could be asked for.
pub(crate) fn obstacle(vertex: &Vertex, exec: &ExecOp) -> Option<Untraced> {
    let hides = |kind: &MountKind| match kind {
        // A tool with a filled cache may be content with a look at a file that it would read otherwise.
        MountKind::Cache(cache) => (!cache.read_only).then_some(Untraced::CacheMount),
        MountKind::Secret { .. } => Some(Untraced::Secret),
        MountKind::Ssh { .. } => Some(Untraced::Ssh),
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } | MountKind::File { .. } => None,
    };
    if vertex.untraced {
        Some(Untraced::Forbidden)
    } else if exec.security != SecurityMode::Sandbox {
        Some(Untraced::Insecure)
    } else if !exec.secret_env.is_empty() {
        Some(Untraced::Secret)
    } else {
        exec.mounts.iter().find_map(|mount| hides(&mount.kind))
    }
}

#[cfg(test)]
mod tests {
    use bake_graph::{LocalSource, SourceOp, StepLabel};

    use super::*;

    #[test]
    fn paths_are_those_that_the_step_sees() {
        let note = |target: Option<&str>, source: &str| SlotNote {
            target: target.map(str::to_owned),
            source: source.to_owned(),
            ..SlotNote::default()
        };
        for (slot, path, shown) in [
            (note(None, ""), "app/package.json", "package.json"),
            (note(None, ""), "app", "."),
            (note(None, ""), "application", "/application"),
            (note(None, ""), "", "/"),
            (note(None, ""), "etc/a\nb", "/etc/a\u{fffd}b"),
            (note(Some("/app"), ""), "package.json", "package.json"),
            (note(Some("/mnt"), ""), "", "/mnt"),
            (note(Some("/mnt"), ""), "a/b", "/mnt/a/b"),
            // A file of the context.
            (note(Some("/app/package.json"), "file"), "file", "package.json"),
            // A directory of the context that is not all of it.
            (note(Some("/mnt"), "file"), "files/a", "/mnt/files/a"),
            // A directory of a stage, and the way to it.
            (note(Some("/mnt"), "usr/lib"), "usr/lib/x", "/mnt/x"),
            (note(Some("/mnt"), "usr/lib"), "usr/lib", "/mnt"),
            (note(Some("/mnt"), "usr/lib"), "usr", "/usr"),
        ] {
            assert_eq!(slot.shown(path.as_bytes(), "/app"), shown, "{slot:?} {path}");
        }
        assert_eq!(note(None, "").shown(b"etc/passwd", "/"), "etc/passwd");
    }

    #[test]
    fn makers_are_counted_from_the_top() {
        let mut graph = BuildGraph::default();
        let mut add = |op: Op, inputs: Vec<VertexId>, text: &str| {
            let label = StepLabel { text: text.to_owned(), ..StepLabel::default() };
            graph.add(op, inputs, label, None, false)
        };
        let file = || Op::File(bake_graph::FileOp { actions: Vec::new(), owner_input: 0, epoch: None });
        let scratch = add(Op::Source(SourceOp::Scratch), vec![], "scratch");
        let context = add(Op::Source(SourceOp::Local(LocalSource { name: "context".into() })), vec![], "context");
        let first = add(file(), vec![scratch, context], "COPY a");
        let linked = add(file(), vec![scratch], "COPY --link b");
        let merged = add(Op::Merge, vec![first, linked], "merge");
        let last = add(file(), vec![merged], "COPY c");
        let mut makers = Vec::new();
        assert!(collect_makers(&graph, last, &mut makers));
        assert_eq!(makers, [last, linked, first]);
    }
}
