//! The numbers of steps: in the order in which work on them began, so that `#7` means the same in every display and in
//! `bake why`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bake_graph::VertexId;
use bake_solver::BuildEvent;

/// Gives numbers to steps. Clones give the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    given: Arc<Mutex<Given>>,
}

#[derive(Debug, Default)]
struct Given {
    numbers: HashMap<VertexId, usize>,
    /// Steps that have no number unless they are shown after all.
    internal: HashSet<VertexId>,
}

impl Numbers {
    /// Takes note of an event.
    pub(super) fn note(&self, event: &BuildEvent) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            BuildEvent::Planned { steps } => {
                given.internal.extend(steps.iter().filter(|step| step.label.internal).map(|step| step.id));
            }
            BuildEvent::Started { step } if !given.internal.contains(step) => given.of(*step),
            _ => {}
        }
    }

    /// The number of a step, which has one from now on.
    pub(super) fn of(&self, step: VertexId) -> usize {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.of(step);
        given.numbers.get(&step).copied().unwrap_or(0)
    }

    /// The number of a step, if it has one.
    pub(super) fn known(&self, step: VertexId) -> Option<usize> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).numbers.get(&step).copied()
    }
}

impl Given {
    fn of(&mut self, step: VertexId) {
        let next = self.numbers.len() + 1;
        self.numbers.entry(step).or_insert(next);
    }
}
