//! Several plans in one graph.

use bake_dockerfile::{SourceText, parse};
use bake_frontend::{NamedContext, Plan, PlanIdentity, PlanOptions, plan};
use bake_graph::{BuildGraph, Op};
use bake_oci::Platform;
use bake_testkit::fake_resolver::FakeResolver;

/// Plans a text into `graph` as the plan number `source`.
fn add(
    graph: &mut BuildGraph,
    (source, name): (u32, &str),
    context: &str,
    text: &str,
    resolver: &FakeResolver,
) -> Plan {
    let identity = PlanIdentity { source, name: name.to_owned(), context: context.to_owned() };
    let options = PlanOptions { identity, ..PlanOptions::for_platform(Platform::new("linux", "amd64", None)) };
    plan(graph, &parse(SourceText::new("Dockerfile", text)), &options, resolver).unwrap()
}

fn labels(graph: &BuildGraph, plans: &[&Plan]) -> Vec<String> {
    let roots: Vec<_> = plans.iter().map(|plan| plan.images[0].root).collect();
    let steps = graph.needed(&roots).into_iter().map(|id| &graph.vertex(id).label);
    steps.filter(|label| !label.internal).map(ToString::to_string).collect()
}

#[test]
fn what_plans_have_in_common_is_there_once() {
    let (mut graph, resolver) = (BuildGraph::new(), FakeResolver::new());
    let one = add(&mut graph, (0, "one"), "context", "FROM busybox\nRUN shared\nRUN own 1\n", &resolver);
    let two = add(&mut graph, (1, "two"), "context", "FROM busybox\nRUN shared\nRUN own 2\n", &resolver);
    assert_eq!(
        labels(&graph, &[&one, &two]),
        ["[one 1/3] FROM busybox", "[one 2/3] RUN shared", "[one 3/3] RUN own 1", "[two 3/3] RUN own 2"]
    );
    let sources: Vec<_> = [&one, &two].map(|plan| graph.vertex(plan.images[0].root).origin.unwrap().source).into();
    assert_eq!(sources, [0, 1]);
}

#[test]
fn files_of_different_contexts_are_different_files() {
    let (mut graph, resolver) = (BuildGraph::new(), FakeResolver::new());
    let text = "FROM scratch\nCOPY a /\n";
    let one = add(&mut graph, (0, "one"), "context", text, &resolver);
    let two = add(&mut graph, (1, "two"), "two/context", text, &resolver);
    let same = add(&mut graph, (2, "same"), "context", text, &resolver);
    assert_ne!(one.images[0].root, two.images[0].root);
    assert_eq!(one.images[0].root, same.images[0].root);
}

#[test]
fn a_plan_goes_on_where_another_ends() {
    let (mut graph, mut resolver) = (BuildGraph::new(), FakeResolver::new());
    let base = add(&mut graph, (0, "base"), "context", "FROM busybox AS x\nENV A=1\nRUN base\n", &resolver);
    resolver.add_context("base", NamedContext::Planned(Box::new(base.images[0].clone())));
    let text = "FROM base\nRUN app\nCOPY --from=base /a /b\nRUN --mount=from=base,target=/base ls\n";
    let app = add(&mut graph, (1, "app"), "context", text, &resolver);
    let image = &app.images[0];
    assert!(image.config.config.env.contains(&"A=1".to_owned()));
    let made_by: Vec<&str> = image.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(made_by.len(), 5, "{made_by:?}");
    assert!(made_by[1].contains("RUN") && made_by[1].contains("base"), "{made_by:?}");
    let steps = labels(&graph, &[&app]);
    assert_eq!(steps[..3], ["[base 1/2] FROM busybox", "[base 2/2] RUN base", "[app 1/3] RUN app"], "{steps:?}");
    let copied =
        graph.needed(&[image.root]).into_iter().find(|id| matches!(graph.vertex(*id).op, Op::File(_))).unwrap();
    assert!(
        graph.vertex(copied).inputs.contains(&base.images[0].root),
        "COPY takes the files from the other plan's stage"
    );
    assert_eq!(image.config.rootfs.diff_ids, base.images[0].config.rootfs.diff_ids, "layers of the base's base only");
}

#[test]
fn a_stage_is_replaced_by_another_plan() {
    let (mut graph, mut resolver) = (BuildGraph::new(), FakeResolver::new());
    let other = add(&mut graph, (0, "other"), "context", "FROM scratch\nCOPY a /\nONBUILD RUN trigger\n", &resolver);
    resolver.add_context("build", NamedContext::Planned(Box::new(other.images[0].clone())));
    let text = "FROM busybox AS build\nRUN never\nFROM build\nUSER me\n";
    let app = add(&mut graph, (1, "app"), "context", text, &resolver);
    assert_eq!(app.images[0].root, other.images[0].root);
    assert_eq!(labels(&graph, &[&app]), ["[other 1/1] COPY a /"]);
}
