//! Numbers the steps of every stage for display: `[build 2/4] RUN make`.

use std::collections::HashMap;

use bake_graph::{BuildGraph, StepLabel, VertexId};

use crate::history::ImagePlan;

/// Gives every step of a stage its number; the order is that of the graph, which is that of the file. `name` stands before the stages.
/// Steps that another plan has numbered are that plan's.
pub(crate) fn number_steps(graph: &mut BuildGraph, images: &[ImagePlan], name: &str) {
    let targets: Vec<VertexId> = images.iter().map(|image| image.root).collect();
    let is_new = |id: &VertexId| {
        let label = &graph.vertex(*id).label;
        !label.internal && label.number.is_none()
    };
    let needed: Vec<VertexId> = graph.needed(&targets).into_iter().filter(is_new).collect();
    let mut totals: HashMap<String, u32> = HashMap::new();
    for id in &needed {
        *totals.entry(graph.vertex(*id).label.stage.clone()).or_default() += 1;
    }
    let single = totals.len() == 1;
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for id in needed {
        let label = graph.vertex(id).label.clone();
        let number = numbers.entry(label.stage.clone()).or_default();
        *number += 1;
        let total = totals.get(&label.stage).copied().unwrap_or(*number);
        let stage = match (single, name) {
            (true, name) => name.to_owned(),
            (false, "") => label.stage,
            (false, name) => format!("{name} {}", label.stage),
        };
        graph.relabel(id, StepLabel { stage, number: Some((*number, total)), text: label.text, internal: false });
    }
}
