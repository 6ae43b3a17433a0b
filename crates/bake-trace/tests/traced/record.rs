//! What is recorded of what steps do, and that they see the same as without tracing.

use std::os::fd::AsFd;

use crate::support::{Tree, can_trace, paths, run_in, shown};

const TREE: &str = "mkdir -p a d/sub e; echo one >a/x; echo two >a/y; echo three >d/1; echo four >d/2; ln -s a/x link";

#[test]
fn hits_misses_and_listings() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new(TREE);
    for (script, nodes, names) in [
        ("true", "", ""),
        ("cat a/x", " a a/x", ""),
        ("cat a/x; cat a/x; [ -e a/none ]; [ -e a/none ]; [ -e none/x ]", " a a/none a/x none", ""),
        ("ls d", " d", "d"),
        ("ls d; cat d/1", " d d/1", "d"),
        ("ls", "", ""),
        ("cat link", " a a/x link", ""),
        ("readlink link", " link", ""),
        ("stat -c '%a %u %g %s %F %Y' a/x link", " a a/x link", ""),
        (": >a/x; cat a/x", " a a/x", ""),
        ("echo more >>a/x; cat a/x; mv a/y a/z; ls a", " a a/x a/y a/z", "a"),
        ("rm -r d; mkdir d; ls d", " d d/1 d/2 d/sub", "d d/sub"),
        ("cd d && ls ../e && cat ../a/y", " a a/y d e", "e"),
    ] {
        let recorded = tree.asked(script);
        let root = if names.is_empty() && script != "ls" { "" } else { names };
        // The root is listed by `ls` alone; its name is the empty path, which joins to nothing.
        assert_eq!(paths(&recorded), (nodes.to_owned(), root.to_owned()), "{script}");
        assert_eq!(recorded.names.contains(&b""[..]), script == "ls", "{script}");
        assert!(recorded.nodes.contains(&b""[..]), "{script}");
    }
}

#[test]
fn a_storm_gets_attributes_with_names() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new(
        "mkdir before after; touch before/1 before/2 before/3 after/1 after/2
        for n in $(seq -w 40); do mkdir -p s/$n; for f in 1 2 3 4 5; do echo $f >s/$n/$f; done; done",
    );
    // Listing alone, and looking at a few, stays precise.
    let recorded = tree.asked("ls s/* >/dev/null; for n in $(seq -w 40); do cat s/$n/2; done");
    assert_eq!(recorded.nodes.len(), 1 + 1 + 40 + 40);
    assert_eq!(recorded.names.len(), 41);
    let storm = "ls before; cat before/2; find s -size +100; ls after s/40";
    let recorded = tree.asked(storm);
    for path in ["before/2", "s/07/5", "s/39/3", "s/40/5", "after"] {
        assert!(recorded.nodes.contains(path.as_bytes()), "{path}");
    }
    for path in ["before/1", "after/1"] {
        assert!(!recorded.nodes.contains(path.as_bytes()), "{path}");
    }
    // Two requests for each directory, and one for each file of the first ones: without a storm 340.
    assert!(recorded.requests < 200, "{}", recorded.requests);
    // The record is that of single questions, whichever way the answers came.
    let single = tree.asked("ls before; cat before/2; ls after; stat -c %n s s/* s/*/*; ls s s/* >/dev/null");
    assert_eq!(recorded.nodes, single.nodes);
    assert_eq!(recorded.names, single.names);
}

#[test]
fn every_name_of_a_file_counts_by_itself() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("echo x >one; ln one two; mkdir d; ln one d/three; echo y >other");
    let recorded = tree.asked("cat one; stat -c %h one other");
    assert_eq!(paths(&recorded).0, " one other");
    let recorded = tree.asked("cat one; cat two; stat -c %h two d/three; tar cf - one two d | tar tvf - | wc -l");
    assert_eq!(paths(&recorded).0, " d d/three one two");
    let recorded =
        tree.asked("[ $(stat -c %i one) = $(stat -c %i two) ] && [ $(stat -c %i one) != $(stat -c %i other) ]");
    assert_eq!(paths(&recorded).0, " one other two");
    // Names outside the tree do not count.
    std::fs::hard_link(tree.layer().join("one"), tree.layer().with_file_name("outside")).unwrap();
    let script = "[ one -ef two ] && echo same; stat -c '%h %i' one two d/three | uniq | wc -l; stat -c %h one";
    assert_eq!(shown(&run_in(tree.serve().mount(), script)), "same\n1\n3\nSome(0)");
}

#[test]
fn deletions_hide_what_is_below() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("mkdir d; mknod gone c 0 0; mknod d/gone c 0 0; echo new >d/new");
    std::fs::write(tree.base().join("gone"), "").unwrap();
    std::fs::write(tree.base().join("stays"), "").unwrap();
    std::fs::create_dir(tree.base().join("d")).unwrap();
    std::fs::write(tree.base().join("d/gone"), "").unwrap();
    std::fs::write(tree.base().join("d/old"), "").unwrap();
    let recorded = tree.asked("ls . d; cat gone d/gone; cat d/old; echo again >gone; cat gone");
    assert_eq!(paths(&recorded).0, " d d/gone d/old gone");
}

#[test]
fn programs_run_and_files_map() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new(
        "mkdir bin; cp /bin/true bin/true; cp /bin/cat bin/cat; printf '#!/bin/sh\\necho script\\n' >bin/script
        chmod 755 bin/*; echo text >bin/data; dd if=/dev/urandom of=large bs=1M count=40 status=none
        mkfifo pipe; chmod 4711 bin/true; chown 12:34 bin/data; touch -d @1234567890.5 bin/data",
    );
    let recorded = tree.asked(
        "bin/true && bin/cat bin/data; bin/script; bin/data; md5sum large; dd if=large bs=64k iflag=direct status=none | md5sum
        dd if=large bs=1 skip=41943039 count=5 status=none | od -c; stat -c '%a %u %g %y' bin/data bin/true; ls -l pipe
        [ ! -x /usr/bin/python3 ] || /usr/bin/python3 -Ic 'import mmap; f = open(\"large\", \"rb\"); m = mmap.mmap(f.fileno(), 0, prot=1); print(hash(m[-9:]) != 0, len(m))'
        for n in 1 2 3 4 5 6 7 8; do md5sum large & done; wait; cp --sparse=always large copy; cmp large copy; wc -c <copy",
    );
    assert_eq!(paths(&recorded).0, " bin bin/cat bin/data bin/script bin/true copy large pipe");
}

#[test]
fn names_and_paths_at_their_limits() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new(
        "name=$(printf 'n%.0s' $(seq 200)); i=0; while [ $i -lt 25 ]; do mkdir $name; cd -P $name; i=$((i+1)); done; echo deep >f",
    );
    let recorded = tree.asked("find -name f -execdir cat {} + -execdir ls -a {} none \\;");
    assert!(recorded.nodes.iter().any(|path| path.len() == 25 * 201 + 1));
    let recorded = tree.asked("cat $(printf 'x%.0s' $(seq 255)); cat $(printf 'x%.0s' $(seq 256))");
    assert_eq!(recorded.nodes.len(), 2);
}

#[test]
fn many_names_in_one_directory() {
    if !can_trace() {
        return;
    }
    let tree =
        Tree::new("mkdir d; cd d; seq -f 'a rather long name for a file, number %g' 5000 | xargs -d '\\n' touch");
    let recorded = tree.asked("ls d | md5sum; ls d | wc -l; ls -U d | sort | md5sum");
    assert_eq!((recorded.nodes.len(), recorded.names.len()), (2, 1));
    let traced = tree.serve();
    let output = run_in(traced.mount().as_fd(), "ls -a d | wc -l; find d | wc -l; find d -type f | wc -l");
    assert_eq!(shown(&output), "5002\n5001\n5000\nSome(0)");
}
