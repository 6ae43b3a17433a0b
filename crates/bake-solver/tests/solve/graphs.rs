//! Small graphs, and one way to carry them out.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use bake_graph::{
    BuildGraph, CopyAction, ExecMount, ExecOp, FileAction, FileOp, HttpSource, ImageOrigin, ImageSource, LocalSource,
    MountKind, NetworkMode, Op, SecurityMode, SourceOp, StepLabel, Unpack, VertexId,
};
use bake_oci::Digest;
use bake_solver::{Parallelism, SolveError, SolveOptions, Solved, TraceRun, VerifyShare, solve};
use bake_testkit::fake_worker::{FakeCache, FakeWorker, RecordingSink};

/// A graph that is written down step by step.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) graph: BuildGraph,
    /// Whether steps that are added ignore the cache.
    pub(crate) ignore_cache: bool,
}

impl Script {
    fn add(&mut self, op: Op, inputs: Vec<VertexId>, text: &str) -> VertexId {
        let label = StepLabel { text: text.to_owned(), ..StepLabel::default() };
        let ignore_cache = self.ignore_cache && matches!(op, Op::Exec(_) | Op::File(_));
        self.graph.add(op, inputs, label, None, ignore_cache)
    }

    pub(crate) fn scratch(&mut self) -> VertexId {
        self.add(Op::Source(SourceOp::Scratch), vec![], "scratch")
    }

    pub(crate) fn image(&mut self, reference: &str, content: &str) -> VertexId {
        let manifest = Digest::of(content.as_bytes());
        let image =
            ImageSource { reference: format!("{reference}@{manifest}"), manifest, origin: ImageOrigin::Registry };
        self.add(Op::Source(SourceOp::Image(image)), vec![], &format!("FROM {reference}"))
    }

    pub(crate) fn http(&mut self, url: &str) -> VertexId {
        let source = HttpSource { url: url.into(), checksum: None };
        self.add(Op::Source(SourceOp::Http(source)), vec![], url)
    }

    pub(crate) fn context(&mut self) -> VertexId {
        self.add(Op::Source(SourceOp::Local(LocalSource { name: "context".into() })), vec![], "context")
    }

    /// `RUN text` over `base`, with the files of `bound` mounted.
    pub(crate) fn run_with(&mut self, base: VertexId, text: &str, bound: &[VertexId]) -> VertexId {
        self.run_in(base, text, bound, &[], &[])
    }

    /// A step with variables, of which `args` are build arguments.
    pub(crate) fn run_in(
        &mut self,
        base: VertexId,
        text: &str,
        bound: &[VertexId],
        env: &[(&str, &str)],
        args: &[&str],
    ) -> VertexId {
        let mounts = (1..=bound.len())
            .map(|input| ExecMount {
                target: format!("/mnt/{input}"),
                kind: MountKind::Bind { input, source: "/".into(), read_only: true },
            })
            .collect();
        let op = ExecOp {
            args: vec!["/bin/sh".into(), "-c".into(), text.strip_prefix("RUN ").unwrap_or(text).to_owned()],
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            build_args: args.iter().map(|name| (*name).to_owned()).collect(),
            proxy_env: Vec::new(),
            cwd: "/".into(),
            user: String::new(),
            mounts,
            secret_env: Vec::new(),
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            extra_hosts: Vec::new(),
            hostname: None,
            platform: "linux/amd64".into(),
            limits: None,
        };
        let inputs = std::iter::once(base).chain(bound.iter().copied()).collect();
        self.add(Op::Exec(op), inputs, text)
    }

    pub(crate) fn run(&mut self, base: VertexId, text: &str) -> VertexId {
        self.run_with(base, text, &[])
    }

    /// A copy of `/file` of `source` to `base`.
    pub(crate) fn copy(&mut self, base: VertexId, source: VertexId, text: &str) -> VertexId {
        let copy = CopyAction {
            from: 1,
            source: "/file".into(),
            destination: "/".into(),
            wildcard: true,
            unpack: Unpack::Never,
            parents: false,
            excludes: Vec::new(),
            mode: None,
            owner: None,
            file_name: None,
            root_owned: true,
        };
        let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy)], owner_input: 0, epoch: None });
        self.add(op, vec![base, source], text)
    }

    pub(crate) fn merge(&mut self, inputs: Vec<VertexId>) -> VertexId {
        self.add(Op::Merge, inputs, "merge")
    }

    pub(crate) fn diff(&mut self, lower: VertexId, upper: VertexId) -> VertexId {
        self.add(Op::Diff, vec![lower, upper], "diff")
    }
}

/// What a graph is carried out with.
#[derive(Debug, Default)]
pub(crate) struct Workshop {
    pub(crate) worker: FakeWorker,
    pub(crate) cache: FakeCache,
    pub(crate) sink: RecordingSink,
    pub(crate) cancelled: AtomicBool,
    pub(crate) require_cached: bool,
    pub(crate) trace_run: TraceRun,
    pub(crate) verify_percent: u8,
}

impl Workshop {
    /// Another build over the same cache.
    pub(crate) fn next(&self) -> Self {
        Self { cache: self.cache.clone(), ..Self::default() }
    }

    /// Carries a graph out with at most `most` steps at the same time.
    pub(crate) fn solve(&self, graph: &BuildGraph, target: VertexId, most: usize) -> Result<Solved, SolveError> {
        self.solve_with(graph, target, Parallelism::Fixed(NonZeroUsize::new(most).unwrap()))
    }

    pub(crate) fn solve_with(
        &self,
        graph: &BuildGraph,
        target: VertexId,
        parallelism: Parallelism,
    ) -> Result<Solved, SolveError> {
        let options = SolveOptions {
            parallelism,
            require_cached: self.require_cached,
            continued: None,
            trace_run: self.trace_run,
            verify: VerifyShare { percent: self.verify_percent, seed: 1 },
            cancelled: &self.cancelled,
        };
        solve(graph, &[target], &self.worker, &self.cache, &self.sink, &options)
    }

    /// How many steps ran and how many were cached.
    pub(crate) fn counts(&self, graph: &BuildGraph, target: VertexId) -> (usize, usize) {
        let solved = self.solve(graph, target, 2).unwrap();
        (solved.ran, solved.cached)
    }
}
