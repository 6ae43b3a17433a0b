//! One way to plan a text, and to look at what came out.

use std::collections::BTreeMap;

use bake_dockerfile::{Diagnostic, SourceText, parse};
use bake_frontend::{Plan, PlanOptions, plan};
use bake_graph::{BuildGraph, ExecOp, Op};
use bake_oci::Platform;
use bake_testkit::fake_resolver::FakeResolver;

/// What is asked for besides the text.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) resolver: FakeResolver,
    pub(crate) target: Option<&'static str>,
    pub(crate) build_args: &'static [(&'static str, &'static str)],
    pub(crate) labels: &'static [(&'static str, &'static str)],
    pub(crate) platform: Option<&'static str>,
}

/// A plan with the graph it was made into.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) graph: BuildGraph,
    plan: Plan,
}

impl std::ops::Deref for Planned {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Asked {
    pub(crate) fn with_args(build_args: &'static [(&'static str, &'static str)]) -> Self {
        Self { build_args, ..Self::default() }
    }

    pub(crate) fn target(target: &'static str) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    /// Plans a text without mistakes of syntax.
    pub(crate) fn plan(&self, text: &str) -> Result<Planned, Vec<Diagnostic>> {
        let dockerfile = parse(SourceText::new("Dockerfile", text));
        assert!(!dockerfile.has_errors(), "{text}\n{:?}", dockerfile.diagnostics);
        let options = PlanOptions {
            target: self.target.map(str::to_owned),
            build_args: owned(self.build_args),
            labels: owned(self.labels),
            target_platforms: vec![Platform::parse(self.platform.unwrap_or("linux/amd64")).unwrap()],
            ..PlanOptions::for_platform(Platform::new("linux", "amd64", None))
        };
        let mut graph = BuildGraph::new();
        let plan = plan(&mut graph, &dockerfile, &options, &self.resolver)?;
        Ok(Planned { graph, plan })
    }

    /// The messages of a plan that fails.
    pub(crate) fn errors(&self, text: &str) -> Vec<String> {
        match self.plan(text) {
            Ok(_) => panic!("there is nothing wrong with\n{text}"),
            Err(diagnostics) => diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect(),
        }
    }
}

/// Plans a text that can be built.
pub(crate) fn planned(text: &str) -> Planned {
    Asked::default().plan(text).unwrap()
}

/// The history that a text adds.
pub(crate) fn history(text: &str) -> Vec<String> {
    history_of(&planned(text))
}

/// The history that a plan adds; entries without a layer are in parentheses.
pub(crate) fn history_of(plan: &Planned) -> Vec<String> {
    let show = |entry: &bake_frontend::PlannedHistory| {
        if entry.layer { entry.created_by.clone() } else { format!("({})", entry.created_by) }
    };
    plan.images[0].history.iter().map(show).collect()
}

/// The environment of the config.
pub(crate) fn env(plan: &Planned) -> &[String] {
    &plan.images[0].config.config.env
}

/// The RUN steps that are needed, in order.
pub(crate) fn runs(plan: &Planned) -> Vec<&ExecOp> {
    let needed = plan.graph.needed(&[plan.images[0].root]);
    needed
        .into_iter()
        .filter_map(|id| if let Op::Exec(exec) = &plan.graph.vertex(id).op { Some(exec) } else { None })
        .collect()
}

/// The value of a variable in the environment of the last RUN.
pub(crate) fn variable(plan: &Planned, name: &str) -> Option<String> {
    let run = runs(plan).pop().unwrap();
    run.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

/// The texts of the steps that are needed, as shown.
pub(crate) fn steps(plan: &Planned) -> Vec<String> {
    let needed = plan.graph.needed(&[plan.images[0].root]);
    needed.into_iter().map(|id| plan.graph.vertex(id).label.to_string()).collect()
}
