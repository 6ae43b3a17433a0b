//! What stands in a key.

use bake_graph::{Op, VertexId};
use bake_oci::{SnapshotId, TreeDigest};
use bake_solver::{ContentDigest, KeyParts, Layer, Output, PathList, step_key};

use crate::graphs::Script;

fn layers(contents: &[&str]) -> Output {
    let layer = |content: &&str| Layer {
        snapshot: SnapshotId::new(&format!("s-{content}")).unwrap(),
        tree: TreeDigest::of(content.as_bytes()),
        diff_id: None,
        tar_size_bytes: None,
        blob: None,
        created_ns: None,
        copied: None,
    };
    Output::Layers(contents.iter().map(layer).map(std::sync::Arc::new).collect())
}

fn selection(content: &str) -> ContentDigest {
    ContentDigest { digest: TreeDigest::of(content.as_bytes()), paths: PathList::default() }
}

fn copy() -> (Script, VertexId) {
    let mut script = Script::default();
    let (scratch, context) = (script.scratch(), script.context());
    let copy = script.copy(scratch, context, "COPY");
    (script, copy)
}

fn key(script: &Script, step: VertexId, inputs: &[&Output], selections: &[Option<ContentDigest>]) -> Option<KeyParts> {
    step_key(script.graph.vertex(step), inputs, selections)
}

#[test]
fn a_directory_has_no_quick_key() {
    let (script, step) = copy();
    let (base, directory) = (layers(&["base"]), Output::Directory { name: "context".into() });
    assert_eq!(key(&script, step, &[&base, &directory], &[]), None);
    assert!(key(&script, step, &[&base, &directory], &[None, Some(selection("x"))]).is_some());
    assert_eq!(key(&script, step, &[&directory, &base], &[None, Some(selection("x"))]), None);
}

#[test]
fn keys_tell_inputs_by_what_they_hold() {
    let (script, step) = copy();
    let of = |base: &[&str], content: &str| {
        let other = layers(&["whatever"]);
        key(&script, step, &[&layers(base), &other], &[None, Some(selection(content))]).unwrap().key
    };
    assert_eq!(of(&["a", "b"], "x"), of(&["a", "b"], "x"));
    for (base, content) in [(&["b", "a"][..], "x"), (&["a"], "x"), (&["ab"], "x"), (&["a", "b"], "y")] {
        assert_ne!(of(&["a", "b"], "x"), of(base, content), "{base:?} {content}");
    }
}

#[test]
fn a_state_is_never_taken_for_a_selection() {
    let (script, step) = copy();
    let (base, source) = (layers(&["base"]), layers(&["source"]));
    let quick = key(&script, step, &[&base, &source], &[]).unwrap();
    let state = source.state().unwrap().0;
    let disguised = [None, Some(ContentDigest { digest: state, paths: PathList::default() })];
    let full = key(&script, step, &[&base, &source], &disguised).unwrap();
    assert_ne!(quick.key, full.key);
}

#[test]
fn keys_come_with_their_parts() {
    let (script, step) = copy();
    let (base, source) = (layers(&["base"]), layers(&["source"]));
    let parts = key(&script, step, &[&base, &source], &[None, Some(selection("x"))]).unwrap().components;
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["copy", "destination", "options", "input 0", "input 1"]);
    assert_eq!(parts[4].value, format!("content {}", TreeDigest::of(b"x").hex()));
}

#[test]
fn what_must_not_count_does_not() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let step = script.run(scratch, "RUN");
    let plain = key(&script, step, &[&layers(&[])], &[]).unwrap().key;
    let Op::Exec(exec) = script.graph.vertex(step).op.clone() else { panic!("a RUN is an exec op") };
    let keyed = |change: &dyn Fn(&mut bake_graph::ExecOp)| {
        let mut vertex = script.graph.vertex(step).clone();
        let mut exec = exec.clone();
        change(&mut exec);
        vertex.op = Op::Exec(exec);
        step_key(&vertex, &[&layers(&[])], &[]).unwrap().key
    };
    assert_eq!(keyed(&|exec| exec.proxy_env.push(("HTTP_PROXY".into(), "http://p".into()))), plain);
    assert_ne!(keyed(&|exec| exec.env.push(("HTTP_PROXY".into(), "http://p".into()))), plain);
    assert_ne!(keyed(&|exec| exec.user = "app".into()), plain);
    let host = |address: &'static str| {
        move |exec: &mut bake_graph::ExecOp| exec.extra_hosts.push(("db".to_owned(), address.to_owned()))
    };
    assert_eq!(keyed(&host("10.0.0.1")), keyed(&host("10.0.0.2")));
    assert_ne!(keyed(&host("10.0.0.1")), plain);
}
