//! What a served tree is as a mount: its ends, its owners, its failures.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Tree, can_trace, paths, run_in, shell_in, shown};
use bake_snapshot::{LayerFormat, LayerTree, Ownership, SERVED_DIRECTORY_TIME};
use bake_sys::xattr;
use bake_trace::{Attributes, IdRange, OwnerShift, ServeOptions, TraceError, TracedTree};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

#[test]
fn what_is_not_recorded_is_constant() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("mkdir -p d/e; touch d/1 d/2; chmod 751 d; chown 5:6 d; dd if=/dev/zero of=f bs=1000 count=2");
    let traced = tree.serve();
    let directory = reach(traced.mount(), "d").metadata().unwrap();
    assert_eq!((directory.mtime(), directory.mtime_nsec()), (SERVED_DIRECTORY_TIME.seconds, 424_242));
    assert_eq!((directory.size(), directory.nlink(), directory.blocks()), (4096, 1, 8));
    assert_eq!((directory.mode() & 0o7777, directory.uid(), directory.gid()), (0o751, 5, 6));
    let file = reach(traced.mount(), "f").metadata().unwrap();
    let real = tree.layer().join("f").metadata().unwrap();
    assert_eq!((file.size(), file.blocks(), file.nlink()), (2000, 8, 1));
    assert_eq!((file.mtime(), file.mtime_nsec()), (real.mtime(), real.mtime_nsec()));
    assert_eq!((file.ctime(), file.atime()), (real.mtime(), real.mtime()));
    let space = rustix::fs::fstatvfs(traced.mount()).unwrap();
    assert_eq!((space.f_blocks, space.f_files, space.f_namemax), (0, 0, 255));
    let error = File::create(reach(traced.mount(), "new")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
}

#[test]
fn owners_are_shifted_and_modes_are_kept_to() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new(
        "echo mine >mine; chmod 600 mine; chown 1000:1001 mine; echo all >all; echo other >other; chown 7 other",
    );
    let range = |tree, shown| vec![IdRange { tree, shown, count: 1 }, IdRange { tree: 0, shown: 100_000, count: 1 }];
    let owners = OwnerShift::Ranges { users: range(1000, 65_533), groups: range(1001, 3) };
    let serve =
        |attributes| TracedTree::serve(tree.open(), ServeOptions { owners: owners.clone(), attributes }).unwrap();
    for traced in [serve(Attributes::Raw), serve(Attributes::Hidden)] {
        let owner = |name: &str| reach(traced.mount(), name).metadata().map(|file| (file.uid(), file.gid())).unwrap();
        assert_eq!((owner("mine"), owner("all")), ((65_533, 3), (100_000, 100_000)));
        // Shown as the overflow ID, since no ID stands for it.
        assert_eq!(owner("other"), (65_534, 100_000));
    }
    let traced = serve(Attributes::Hidden);
    for (uid, readable) in [(65_533, true), (65_532, false)] {
        let output = shell_in(traced.mount(), "cat all mine").uid(uid).gid(65_532).output().unwrap();
        assert_eq!(output.status.success(), readable, "{}", shown(&output));
        assert!(shown(&output).starts_with("all\n"));
    }
}

#[test]
fn a_directory_that_is_no_layer() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("chmod 711 .; chown 3:4 .; mkdir d; echo x >d/f; ln d/f d/g");
    let root = File::open(tree.layer()).unwrap();
    let served = LayerTree::of_directory(root.into(), Ownership::Native);
    let options = ServeOptions { owners: OwnerShift::Identity, attributes: Attributes::Hidden };
    let traced = TracedTree::serve(served.into(), options).unwrap();
    let output = run_in(traced.mount(), "stat -c '%a %u %g' .; cat d/f; stat -c %h d/g");
    assert_eq!(shown(&output), "711 3 4\nx\n2\nSome(0)");
    assert_eq!(paths(&traced.finish().unwrap()).0, " d d/f d/g");
}

type Change = fn(&Path);

#[test]
fn a_tree_that_changes_voids_the_record() {
    if !can_trace() {
        return;
    }
    let changes: [(&str, Change); 4] = [
        ("cat f", |layer| std::fs::remove_file(layer.join("f")).unwrap()),
        ("cat f", |layer| File::options().write(true).open(layer.join("f")).unwrap().set_len(5).unwrap()),
        ("ls d", |layer| std::fs::remove_dir(layer.join("d")).unwrap()),
        ("readlink -v l", |layer| std::fs::remove_file(layer.join("l")).unwrap()),
    ];
    for (script, change) in changes {
        let tree = Tree::new("seq 100000 >f; mkdir d; ln -s t l");
        let traced = tree.serve();
        let mount = tree.mount(Some(&traced));
        assert!(run_in(mount.as_fd(), "stat -c %s f d l").status.success());
        change(&tree.layer());
        let output = run_in(mount.as_fd(), script);
        assert!(!output.status.success() && shown(&output).contains("Input/output error"), "{}", shown(&output));
        // Later questions are answered, but the record is void.
        assert!(run_in(mount.as_fd(), "[ ! -e none ] && ls").status.success());
        drop(mount);
        let error = traced.finish().unwrap_err();
        assert!(matches!(error, TraceError::Tree { .. } | TraceError::Changed { .. }), "{error:?}");
    }
}

#[test]
fn who_is_killed_while_asking_does_no_harm() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("for n in $(seq 60); do mkdir d$n; for f in $(seq 20); do echo $f >d$n/$f; done; done");
    let traced = tree.serve();
    let mount = tree.mount(Some(&traced));
    for millisecond in 0..20 {
        let mut reader = shell_in(mount.as_fd(), "exec grep -r nothing .").stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millisecond));
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    let output = run_in(mount.as_fd(), "cat d*/* | wc -l");
    assert_eq!(shown(&output), "1200\nSome(0)");
    drop(mount);
    assert_eq!(traced.finish().unwrap().nodes.len(), 1 + 60 + 60 * 20);
}

#[test]
fn content_is_given_before_it_is_asked_for() {
    if !can_trace() {
        return;
    }
    let tree =
        Tree::new("for n in $(seq 80); do mkdir d$n; for f in $(seq 30); do seq $n $((n * f)) >d$n/f$f; done; done");
    let plain = shown(&run_in(tree.mount(None).as_fd(), "grep -r 7 . | sort | md5sum"));
    // Alone; with others who read what is given at that moment.
    for script in [
        "grep -r 7 . | sort | md5sum",
        "for n in 1 2 3; do grep -r 7 . >/dev/null & done; grep -r 7 . | sort | md5sum; wait",
    ] {
        let traced = tree.serve();
        let mount = tree.mount(Some(&traced));
        let output = run_in(mount.as_fd(), script);
        drop(mount);
        let recorded = traced.finish().unwrap();
        assert_eq!(shown(&output), plain);
        assert_eq!(recorded.nodes.len(), 1 + 80 + 80 * 30);
        // Without it, 2,400 files and 80 directories are asked for.
        assert!(recorded.requests < 2000, "{}", recorded.requests);
    }
    // The server ends while content is still being given, and somebody reads.
    for millisecond in 0..20 {
        let traced = tree.serve();
        let mount = tree.mount(Some(&traced));
        let mut reader = shell_in(mount.as_fd(), "grep -r nothing . || true").stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 * millisecond));
        drop(traced.finish());
        reader.wait().unwrap();
    }
}

#[test]
fn finishing_does_not_wait_for_who_still_reads() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("seq 100000 >f; echo x >g");
    let traced = tree.serve();
    let mount = tree.mount(Some(&traced));
    let file = File::open(reach(mount.as_fd(), "f")).unwrap();
    file.read_exact_at(&mut [0; 10], 0).unwrap();
    let recorded = traced.finish().unwrap();
    assert_eq!(paths(&recorded).0, " f");
    let error = File::open(reach(mount.as_fd(), "g")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    // What the kernel has, it has.
    file.read_exact_at(&mut [0; 10], 0).unwrap();
    assert!(file.read_exact_at(&mut [0; 10], 580_000).is_err());
}

#[test]
fn a_dropped_tree_is_gone() {
    if !can_trace() {
        return;
    }
    let tree = Tree::new("echo x >f");
    let traced = tree.serve();
    let mount = tree.mount(Some(&traced));
    drop(traced);
    assert!(File::open(reach(mount.as_fd(), "f")).is_err());
}

#[test]
fn eight_trees_at_once() {
    if !can_trace() {
        return;
    }
    let script = "for n in $(seq 50); do mkdir d$n; seq 1000 >d$n/f; done";
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let tree = Tree::new(script);
                    tree.asked("cat d*/f | md5sum; ls d1 none; find . | sort | md5sum")
                })
            })
            .collect();
        let records: Vec<_> = running.into_iter().map(|running| running.join().unwrap()).collect();
        assert!(records.windows(2).all(|pair| pair[0].nodes == pair[1].nodes && pair[0].names == pair[1].names));
        assert_eq!(records[0].nodes.len(), 1 + 50 * 2 + 1);
    });
}

#[test]
fn a_user_namespace_needs_no_privilege() {
    if !can_trace() {
        return;
    }
    let output = inner("serve::inside_a_user_namespace", Some(&["unshare", "-Urm"])).output().unwrap();
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        println!("skipped: user namespaces are not available");
        return;
    }
    assert!(output.status.success() && shown(&output).contains("1 passed"), "{}", shown(&output));
}

#[test]
#[ignore = "runs inside the namespace that a_user_namespace_needs_no_privilege makes"]
fn inside_a_user_namespace() {
    if let Err(error) = bake_trace::available() {
        println!("skipped: {error}");
        return;
    }
    // An owner that is only recorded, a deletion without a device, and a directory that hides the one below.
    let script = "mkdir d o x; echo x >d/f; ln -s f d/l; echo new >o/new; : >x/gone; mkfifo d/p";
    let tree = Tree::with_format(script, LayerFormat::USER_NAMESPACE);
    for (path, name, value) in [
        ("d/f", "user.note", "text"),
        ("o", "user.overlay.opaque", "y"),
        ("x/gone", "user.overlay.whiteout", "y"),
        ("x", "user.overlay.opaque", "x"),
    ] {
        xattr::set(&tree.layer().join(path), name.as_bytes(), value.as_bytes()).unwrap();
    }
    for directory in ["o", "x"] {
        std::fs::create_dir(tree.base().join(directory)).unwrap();
        std::fs::write(tree.base().join(directory).join("old"), "").unwrap();
    }
    std::fs::write(tree.base().join("x/gone"), "").unwrap();
    let recorded =
        tree.asked("ls -l d; ls o x; cat o/old x/gone; cat d/f; echo more >>d/f; cat d/l; echo y >x/gone; ls x");
    assert_eq!(paths(&recorded).0, " d d/f d/l d/p o o/old x x/gone");
    assert_eq!(paths(&recorded).1, "d o x");
    let traced = tree.serve();
    let mount = tree.mount(Some(&traced));
    let file = reach(mount.as_fd(), "d/f");
    assert_eq!(xattr::list(&file).unwrap(), [b"user.note"]);
    assert_eq!(xattr::get(&file, b"user.note").unwrap().unwrap(), b"text");
    assert_eq!(xattr::get(&file, b"user.none").unwrap(), None);
    drop(mount);
    assert_eq!(paths(&traced.finish().unwrap()).0, " d d/f");
}

#[test]
fn killing_the_server_frees_its_readers() {
    if !can_trace() {
        return;
    }
    let mut command = inner("serve::served_until_killed", None);
    let mut server = KilledAtLast(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut output = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("reader ") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0);
    }
    let reader: i32 = line.trim().strip_prefix("reader ").unwrap().parse().unwrap();
    let server_id = Pid::from_child(&server.0);
    kill_process(server_id, Signal::STOP).unwrap();
    // Reported when the last of its threads stands still.
    waitpid(Some(server_id), WaitOptions::UNTRACED).unwrap();
    // The reader goes on, and waits for a server that does not answer.
    server.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    wait_until(|| {
        let children = read(format!("/proc/{reader}/task/{reader}/children"));
        read(format!("/proc/{}/wchan", children.trim())).contains("request_wait_answer")
    });
    kill_process(server_id, Signal::KILL).unwrap();
    server.0.wait().unwrap();
    // The pipe ends when the last process that writes to it is gone.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("onnect") && rest.contains("reader ended"), "{rest}");
}

#[test]
#[ignore = "a part of killing_the_server_frees_its_readers"]
fn served_until_killed() {
    let tree = Tree::new("echo x >f");
    let traced = tree.serve();
    let mount = tree.mount(Some(&traced));
    // The directory is removed while the tree is still mounted: only its descriptors are needed from now on.
    let script = "echo \"reader $$\"; read go; cat f 2>&1; echo reader ended";
    let mut reader = shell_in(mount.as_fd(), script).spawn().unwrap();
    reader.wait().unwrap();
}

/// A process that does not stay when the test fails.
struct KilledAtLast(Child);

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
    }
}

/// The ignored test `name` of this program, alone, behind a command of another.
fn inner(name: &str, behind: Option<&[&str]>) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match behind {
        Some([first, rest @ ..]) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        _ => Command::new(program),
    };
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// Where `path` of a mount that is not attached anywhere can be reached from this process.
fn reach(directory: BorrowedFd<'_>, path: impl AsRef<Path>) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(path)
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
