//! Numbers the steps of every stage for display: `[build 2/4] RUN make`.

use std::collections::HashMap;

use bake_graph::{BuildGraph, StepLabel, VertexId};

use crate::history::ImagePlan;

/// Gives every step of a stage its number; the order is that of the graph, which is that of the file. `steps` are those of this plan, with
/// their stages, and `name` stands before the stages. Steps that another plan has numbered count, and keep what they are called.
pub(crate) fn number_steps(graph: &mut BuildGraph, images: &[ImagePlan], steps: &[(VertexId, String)], name: &str) {
    let targets: Vec<VertexId> = images.iter().map(|image| image.root).collect();
    let mut own: HashMap<VertexId, &str> = HashMap::new();
    for (id, stage) in steps {
        own.entry(*id).or_insert(stage);
    }
    // What is no step of this plan is of one that it is built from.
    let needed = graph.needed(&targets).into_iter().filter_map(|id| Some((id, *own.get(&id)?)));
    let needed: Vec<(VertexId, &str)> = needed.filter(|(id, _)| !graph.vertex(*id).label.internal).collect();
    let mut totals: HashMap<&str, u32> = HashMap::new();
    for (_, stage) in &needed {
        *totals.entry(stage).or_default() += 1;
    }
    let single = totals.len() == 1;
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    for (id, stage) in needed {
        let number = numbers.entry(stage).or_default();
        *number += 1;
        let label = &graph.vertex(id).label;
        if label.number.is_some() {
            continue;
        }
        let total = totals.get(stage).copied().unwrap_or(*number);
        let stage = match (single, name) {
            (true, name) => name.to_owned(),
            (false, "") => stage.to_owned(),
            (false, name) => format!("{name} {stage}"),
        };
        let text = label.text.clone();
        graph.relabel(id, StepLabel { stage, number: Some((*number, total)), text, internal: false });
    }
}
