//! Numbers the steps of every stage for display: `[build 2/4] RUN make`.

use std::collections::HashMap;

use bake_graph::{BuildGraph, StepLabel, VertexId};

use crate::history::ImagePlan;

/// Gives every step of a stage its number; the order is that of the graph, which is that of the file.
pub(crate) fn number_steps(graph: &mut BuildGraph, images: &[ImagePlan]) {
    let targets: Vec<VertexId> = images.iter().map(|image| image.root).collect();
    let needed = graph.needed(&targets);
    let mut totals: HashMap<String, u32> = HashMap::new();
    for id in &needed {
        let label = &graph.vertex(*id).label;
        if !label.internal {
            *totals.entry(label.stage.clone()).or_default() += 1;
        }
    }
    let single = totals.len() == 1;
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for id in needed {
        let label = graph.vertex(id).label.clone();
        if label.internal {
            continue;
        }
        let number = numbers.entry(label.stage.clone()).or_default();
        *number += 1;
        let total = totals.get(&label.stage).copied().unwrap_or(*number);
        let stage = if single { String::new() } else { label.stage };
        graph.relabel(id, StepLabel { stage, number: Some((*number, total)), text: label.text, internal: false });
    }
}
