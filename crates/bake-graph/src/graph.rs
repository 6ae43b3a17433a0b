//! Vertices, their inputs, and the graph they form.

use std::collections::HashMap;
use std::fmt;

use bake_oci::DefinitionDigest;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, EdgeRef, Reversed};
use serde::{Deserialize, Serialize};

use crate::op::{FileOp, Op};

/// The identity of a vertex within one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VertexId(pub u32);

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0 + 1)
    }
}

/// A step of the build: an op and where it came from.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// What it works on, in the order that the op numbers them.
    pub inputs: Vec<VertexId>,
    /// The identity of what is asked: the op and the definitions of the inputs.
    pub definition: DefinitionDigest,
    /// How the step is shown.
    pub label: StepLabel,
    /// Where it stands in the source.
    pub origin: Option<Origin>,
    /// Whether cached results are not to be used.
    pub ignore_cache: bool,
    /// Whether it is not to be found by what it asked of the files that were copied for it. Never part of a key.
    pub untraced: bool,
}

/// How a step is shown: `[stage 2/7] RUN make`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepLabel {
    /// The stage's name; empty where there is only one stage.
    pub stage: String,
    /// The step's number within the stage, from 1, and the number of steps of the stage.
    pub number: Option<(u32, u32)>,
    /// The instruction as the user knows it.
    pub text: String,
    /// Whether it is of no interest unless something goes wrong (sources that only name what later steps use).
    pub internal: bool,
}

impl fmt::Display for StepLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.stage, self.number) {
            ("", None) if self.internal => write!(f, "[internal] {}", self.text),
            ("", None) => f.write_str(&self.text),
            ("", Some((number, total))) => write!(f, "[{number}/{total}] {}", self.text),
            (stage, None) => write!(f, "[{stage}] {}", self.text),
            (stage, Some((number, total))) => write!(f, "[{stage} {number}/{total}] {}", self.text),
        }
    }
}

/// Where a vertex stands in the source: a byte range, without meaning to this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which source file, where there are several.
    pub source: u32,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A build definition.
#[derive(Debug, Default)]
pub struct BuildGraph {
    /// Edges go from an input to the vertex that uses it; the weight is the input's number.
    graph: DiGraph<Vertex, usize, u32>,
    by_definition: HashMap<(DefinitionDigest, bool), VertexId>,
}

impl BuildGraph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or returns the one that has the same definition already.
    ///
    /// # Panics
    /// If an input is not in this graph: that is a mistake of the frontend.
    pub fn add(
        &mut self,
        op: Op,
        inputs: Vec<VertexId>,
        label: StepLabel,
        origin: Option<Origin>,
        ignore_cache: bool,
    ) -> VertexId {
        let definition = self.define(&op, &inputs);
        if let Some(existing) = self.by_definition.get(&(definition, ignore_cache)) {
            return *existing;
        }
        let edges = inputs.clone();
        let node = self.graph.add_node(Vertex { op, inputs, definition, label, origin, ignore_cache, untraced: false });
        for (number, input) in edges.into_iter().enumerate() {
            self.graph.add_edge(NodeIndex::new(input.0 as usize), node, number);
        }
        let id = VertexId(u32::try_from(node.index()).expect("a graph index is 32 bits wide"));
        self.by_definition.insert((definition, ignore_cache), id);
        id
    }

    fn define(&self, op: &Op, inputs: &[VertexId]) -> DefinitionDigest {
        let mut hasher = blake3::Hasher::new();
        // A step is the same one at whatever time, so that it finds what it did before.
        let timeless = match op {
            Op::File(file) if file.epoch.is_some() => &Op::File(FileOp { epoch: None, ..file.clone() }),
            other => other,
        };
        hasher.update(&serde_json::to_vec(timeless).expect("the op types hold only strings, numbers and lists"));
        for input in inputs {
            let vertex = self.vertex(*input);
            hasher.update(&[0, u8::from(vertex.ignore_cache)]);
            hasher.update(&vertex.definition.0);
        }
        DefinitionDigest(*hasher.finalize().as_bytes())
    }

    /// A step is not to be found by what it asked of the files that were copied for it.
    ///
    /// # Panics
    /// If `id` belongs to another graph.
    pub fn forbid_trace(&mut self, id: VertexId) {
        self.graph[NodeIndex::new(id.0 as usize)].untraced = true;
    }

    /// The vertex called `id`.
    ///
    /// # Panics
    /// If `id` belongs to another graph.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.graph[NodeIndex::new(id.0 as usize)]
    }

    /// Changes how a vertex is shown.
    pub fn relabel(&mut self, id: VertexId, label: StepLabel) {
        if let Some(vertex) = self.graph.node_weight_mut(NodeIndex::new(id.0 as usize)) {
            vertex.label = label;
        }
    }

    /// The vertices that use the result of `id`, each once.
    pub fn users(&self, id: VertexId) -> Vec<VertexId> {
        let mut users: Vec<_> = self
            .graph
            .edges_directed(NodeIndex::new(id.0 as usize), Direction::Outgoing)
            .filter_map(|edge| u32::try_from(edge.target().index()).ok().map(VertexId))
            .collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Everything that must be done for `targets`, inputs before users.
    pub fn needed(&self, targets: &[VertexId]) -> Vec<VertexId> {
        let mut seen = vec![false; self.graph.node_count()];
        for target in targets {
            let reversed = Reversed(&self.graph);
            let mut walk = Dfs::new(reversed, NodeIndex::new(target.0 as usize));
            while let Some(node) = walk.next(reversed) {
                seen[node.index()] = true;
            }
        }
        // Inputs exist before their users, so the order of insertion is a topological order.
        (0u32..).zip(seen).filter(|(_, needed)| *needed).map(|(index, _)| VertexId(index)).collect()
    }

    /// The number of vertices.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A stable text form, for tests and for `bake build --call=plan`-like displays.
    pub fn dump(&self, targets: &[VertexId]) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for id in self.needed(targets) {
            let vertex = self.vertex(id);
            let inputs: Vec<_> = vertex.inputs.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "{id} {} <- [{}]", vertex.label, inputs.join(" "));
            for component in vertex.op.components() {
                let _ = writeln!(text, "    {}: {}", component.name, component.value);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{LocalSource, SourceOp};

    fn local(name: &str) -> Op {
        Op::Source(SourceOp::Local(LocalSource { name: name.into() }))
    }

    #[test]
    fn equal_definitions_are_one_vertex() {
        let mut graph = BuildGraph::new();
        let a = graph.add(local("a"), vec![], StepLabel::default(), None, false);
        let again = graph.add(local("a"), vec![], StepLabel::default(), None, false);
        let b = graph.add(local("b"), vec![], StepLabel::default(), None, false);
        let uncached = graph.add(local("a"), vec![], StepLabel::default(), None, true);
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert_ne!(a, uncached);
        let merged = graph.add(Op::Merge, vec![a, b], StepLabel::default(), None, false);
        let swapped = graph.add(Op::Merge, vec![b, a], StepLabel::default(), None, false);
        assert_ne!(merged, swapped);
        assert_eq!(graph.needed(&[merged]), vec![a, b, merged]);
        assert_eq!(graph.users(a), vec![merged, swapped]);
    }

    #[test]
    fn labels_read_like_the_instruction() {
        let label = StepLabel { stage: "build".into(), number: Some((2, 4)), text: "RUN make".into(), internal: false };
        assert_eq!(label.to_string(), "[build 2/4] RUN make");
    }
}
