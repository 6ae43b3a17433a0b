//! Trees made by scripts, served, and looked at by commands through overlay.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use bake_snapshot::{Active, LayerFormat, LayerTraits, LayerTree, Lower, OverlaySnapshotter, Ownership, Snapshotter};
use bake_trace::{Attributes, OwnerShift, Recorded, ServeOptions, TracedTree};

/// A layer made by a shell script, and what its steps need.
pub(crate) struct Tree {
    directory: tempfile::TempDir,
    format: LayerFormat,
}

impl Tree {
    pub(crate) fn new(script: &str) -> Self {
        Self::with_format(script, LayerFormat::ROOT)
    }

    pub(crate) fn with_format(script: &str, format: LayerFormat) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["layer", "base", "upper", "work"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let tree = Self { directory, format };
        let output = Command::new("sh").args(["-ec", script]).current_dir(tree.layer()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        tree
    }

    /// The served directory.
    pub(crate) fn layer(&self) -> PathBuf {
        self.directory.path().join("layer")
    }

    /// A directory below it in the stack, empty at first.
    pub(crate) fn base(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    pub(crate) fn open(&self) -> Arc<LayerTree> {
        let traits = LayerTraits { attributes: self.format.ownership == Ownership::Recorded, links: true };
        Arc::new(LayerTree::of_layer(&self.layer(), self.format, traits).unwrap())
    }

    fn options(&self) -> ServeOptions {
        let attributes = match self.format.ownership {
            Ownership::Native => Attributes::Hidden,
            Ownership::Recorded => Attributes::Raw,
        };
        ServeOptions { owners: OwnerShift::Identity, attributes }
    }

    pub(crate) fn serve(&self) -> TracedTree {
        TracedTree::serve(self.open(), self.options()).unwrap()
    }

    /// The layer over the base, with a fresh upper directory: served, or without `traced` as it is.
    pub(crate) fn mount(&self, traced: Option<&TracedTree>) -> OwnedFd {
        let (upper, work) = (self.directory.path().join("upper"), self.directory.path().join("work"));
        for directory in [&upper, &work] {
            std::fs::remove_dir_all(directory).unwrap();
            std::fs::create_dir(directory).unwrap();
        }
        let (layer, base, tree) = (self.layer(), self.base(), self.open());
        let top = match traced {
            Some(traced) => Lower::Served { tree: &tree, mount: traced.mount() },
            None => Lower::Layer(&layer),
        };
        let active = Active { upper: &upper, work: &work };
        OverlaySnapshotter::new(self.format).mount_over(&[Lower::Layer(&base), top], Some(active)).unwrap()
    }

    /// Runs a script on the served tree and on the plain one, which must look the same to it, and returns what it asked.
    pub(crate) fn asked(&self, script: &str) -> Recorded {
        let traced = self.serve();
        let mount = self.mount(Some(&traced));
        let with_tracing = run_in(mount.as_fd(), script);
        drop(mount);
        let recorded = traced.finish().unwrap();
        let without = run_in(self.mount(None).as_fd(), script);
        assert_eq!(shown(&with_tracing), shown(&without), "{script}");
        recorded
    }
}

/// Runs a shell script whose working directory is `directory`.
pub(crate) fn run_in(directory: BorrowedFd<'_>, script: &str) -> Output {
    shell_in(directory, script).output().unwrap()
}

pub(crate) fn shell_in(directory: BorrowedFd<'_>, script: &str) -> Command {
    // No path leads to the mount but this one. A shell that believes it need not search the tree for its own name.
    let number = directory.as_raw_fd();
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .current_dir(format!("/proc/self/fd/{number}"))
        .env("PWD", format!("/proc/{}/fd/{number}", std::process::id()));
    command
}

/// Output and end of a command.
pub(crate) fn shown(output: &Output) -> String {
    format!(
        "{}{}{:?}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code()
    )
}

/// The recorded paths, separated by spaces: nodes, and names.
pub(crate) fn paths(recorded: &Recorded) -> (String, String) {
    let joined = |paths: &std::collections::BTreeSet<Vec<u8>>| {
        let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        paths.join(" ")
    };
    (joined(&recorded.nodes), joined(&recorded.names))
}

/// Whether the caller is real root with a FUSE device, which these tests need; says so when it is not.
pub(crate) fn can_trace() -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    bake_trace::available().inspect_err(|error| println!("skipped: {error}")).is_ok()
}
