//! The command: how it is started, what it gets, how it ends.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use bake_sandbox::{ExecuteFailureKind, Exit, SandboxError, spawn};

use crate::rootfs::{Rootfs, change, run, run_as, spec, with_stdin};

pub(crate) fn exit_codes_and_output() {
    let rootfs = Rootfs::new();
    let outcome = rootfs.run("echo out; echo err >&2; exit 7");
    assert_eq!((outcome.code(), outcome.stdout.as_str(), outcome.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(rootfs.run("exit 255").code(), 255);
    assert_eq!(rootfs.run("true").code(), 0);
}

pub(crate) fn signals_are_reported() {
    let rootfs = Rootfs::new();
    assert_eq!(rootfs.run("kill -TERM $$").report.exit, Exit::Signal(15));
    assert_eq!(rootfs.run("kill -KILL $$").report.exit, Exit::Signal(9));
    // Nothing is ignored or blocked at the start.
    let text = rootfs.run("grep -E '^Sig(Blk|Ign)' /proc/self/status").stdout;
    assert!(text.lines().all(|line| line.ends_with("\t0000000000000000")), "{text}");
}

pub(crate) fn missing_programs_are_typed() {
    let rootfs = Rootfs::new();
    std::fs::write(rootfs.path("work/no-interpreter"), "#!/no/such/interpreter\n").unwrap();
    std::fs::write(rootfs.path("work/no-format"), "hello").unwrap();
    std::fs::write(rootfs.path("work/not-executable"), "#!/bin/sh\n").unwrap();
    for name in ["no-interpreter", "no-format"] {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(rootfs.path("work").join(name), permissions).unwrap();
    }
    for (program, kind, code) in [
        ("no-such-program", ExecuteFailureKind::NotInPath, 127),
        ("/no/such/program", ExecuteFailureKind::NotFound, 127),
        ("/work/no-interpreter", ExecuteFailureKind::InterpreterNotFound, 126),
        ("/work/no-format", ExecuteFailureKind::FormatUnknown, 126),
        ("/work/not-executable", ExecuteFailureKind::PermissionDenied, 126),
        ("/work", ExecuteFailureKind::PermissionDenied, 126),
        ("/proc/self/exe", ExecuteFailureKind::PermissionDenied, 126),
    ] {
        let mut step = rootfs.step("");
        step.spec = spec(&[program]);
        match run(step) {
            Err(SandboxError::Execute(failure)) => {
                assert_eq!((failure.kind, failure.exit_code()), (kind, code), "{program}");
            }
            Err(error) => panic!("{program}: {error}"),
            Ok(_) => panic!("{program} was executed"),
        }
    }
    let mut step = rootfs.step("");
    step.spec = spec(&["foo"]);
    assert_eq!(run(step).err().unwrap().to_string(), "exec: \"foo\": executable file not found in $PATH");
}

pub(crate) fn path_is_searched() {
    let rootfs = Rootfs::new();
    let mut step = rootfs.step("");
    step.spec = spec(&["sh", "-c", "echo found"]);
    assert_eq!(run(step).unwrap().text(), "found");
    // A name that cannot be executed in one directory is looked for in the next.
    std::fs::write(rootfs.path("work/sh"), "").unwrap();
    let mut step = rootfs.step("");
    step.spec = spec(&["sh", "-c", "echo found"]);
    change(&mut step, |process| {
        process.set_env(Some(vec!["PATH=/none:/work:/bin".to_owned()]));
    });
    assert_eq!(run(step).unwrap().text(), "found");
}

pub(crate) fn users_and_groups() {
    let rootfs = Rootfs::new();
    assert_eq!(rootfs.run("echo $(id -u) $(id -g) $(id -G)").text(), "0 0 0");
    let mut step =
        rootfs.step("echo $(id -u) $(id -g) $(id -G); touch /tmp/mine; umask; grep CapEff /proc/self/status");
    run_as(&mut step, 1000, 1001, &[1001, 50]);
    let outcome = run(step).unwrap();
    assert_eq!(outcome.text(), "1000 1001 1001 50\n0022\nCapEff:\t0000000000000000");
    let status = std::fs::metadata(rootfs.path("tmp/mine")).unwrap();
    assert_eq!((status.uid(), status.gid()), (1000, 1001));
}

pub(crate) fn unmapped_users_are_errors() {
    let rootfs = Rootfs::new();
    let mut step = rootfs.step("true");
    run_as(&mut step, 70_000, 0, &[]);
    match run(step) {
        Err(error @ SandboxError::Setup { .. }) => {
            assert!(error.to_string().contains("switching to user 70000"), "{error}");
            assert!(error.hint().unwrap().contains("not mapped"));
        }
        _ => panic!("an unmapped user must be an error"),
    }
}

pub(crate) fn working_directory() {
    let rootfs = Rootfs::new();
    std::os::unix::fs::symlink("/work", rootfs.path("var/link")).unwrap();
    let in_directory = |directory: &str| {
        let mut step = rootfs.step("pwd -P");
        change(&mut step, |process| {
            process.set_cwd(directory.into());
        });
        run(step)
    };
    assert_eq!(in_directory("/work").unwrap().text(), "/work");
    assert_eq!(in_directory("/var/link").unwrap().text(), "/work");
    assert_eq!(in_directory("/../../..").unwrap().text(), "/");
    for bad in ["/missing", "/proc/self/fd/3", "/proc/self/fd/7", "/proc/1/cwd"] {
        let error = in_directory(bad).err().unwrap();
        assert!(error.to_string().contains(bad), "{error}");
    }
    // Only the user itself may enter it.
    std::fs::create_dir(rootfs.path("home")).unwrap();
    std::os::unix::fs::chown(rootfs.path("home"), Some(1000), Some(1000)).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(rootfs.path("home"), permissions).unwrap();
    let mut step = rootfs.step("pwd");
    run_as(&mut step, 1000, 1000, &[]);
    change(&mut step, |process| {
        process.set_cwd("/home".into());
    });
    assert_eq!(run(step).unwrap().text(), "/home");
}

pub(crate) fn standard_input() {
    let rootfs = Rootfs::new();
    assert_eq!(rootfs.run("cat; readlink /proc/self/fd/0").text(), "/dev/null");
    let long = vec![b'x'; 300_000];
    assert_eq!(run(with_stdin(rootfs.step("wc -c"), &long)).unwrap().text(), "300000");
}

pub(crate) fn output_can_be_reopened() {
    let rootfs = Rootfs::new();
    for user in [0, 1000] {
        let mut step = rootfs.step("echo one > /dev/stdout; echo two > /dev/stderr; echo three >> /proc/self/fd/1");
        run_as(&mut step, user, user, &[]);
        let outcome = run(step).unwrap();
        assert_eq!(outcome.text(), "one\nthree");
        assert_eq!(outcome.stderr, "two\n");
    }
}

pub(crate) fn environment_is_exact() {
    let rootfs = Rootfs::new();
    let mut step = rootfs.step("");
    step.spec = spec(&["env"]);
    change(&mut step, |process| {
        process.set_env(Some(vec!["PATH=/bin".to_owned(), "A=b c".to_owned(), "E=ö\n".to_owned()]));
    });
    assert_eq!(run(step).unwrap().stdout, "PATH=/bin\nA=b c\nE=ö\n\n");
}

pub(crate) fn left_overs_are_killed() {
    let rootfs = Rootfs::new();
    let started = Instant::now();
    // The background process keeps the output open and ignores what can be ignored.
    let outcome = rootfs.run("trap '' TERM HUP INT; (setsid sleep 100 &) ; sleep 100 & echo done");
    assert_eq!(outcome.text(), "done");
    assert!(started.elapsed() < Duration::from_secs(20));
    // Orphans are reaped while the command runs.
    let script =
        "for i in 1 2 3 4 5; do (true & ) ; done; sleep 0.3; grep -l '^State:.*zombie' /proc/[0-9]*/status; true";
    assert_eq!(rootfs.run(script).text(), "");
}

pub(crate) fn killer_and_drop() {
    let rootfs = Rootfs::new();
    let running = spawn(rootfs.step("echo started; sleep 100")).unwrap();
    let killer = running.killer();
    let started = Instant::now();
    let report = running.wait(&mut |_, _| killer.kill()).unwrap();
    assert_eq!(report.exit, Exit::Signal(9));
    killer.kill();
    let running = spawn(rootfs.step("sleep 100")).unwrap();
    let pid = running.pid();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(running);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(started.elapsed() < Duration::from_secs(20));
}

pub(crate) fn terminate_reaches_the_command() {
    let rootfs = Rootfs::new();
    let running =
        spawn(rootfs.step("trap 'echo ended; exit 3' TERM; echo started; while :; do sleep 0.05; done")).unwrap();
    let killer = running.killer();
    let mut text = Vec::new();
    let report = running
        .wait(&mut |_, bytes| {
            text.extend_from_slice(bytes);
            killer.terminate();
        })
        .unwrap();
    assert_eq!(report.exit, Exit::Code(3));
    assert!(String::from_utf8_lossy(&text).contains("ended"));
}

pub(crate) fn usage_is_reported() {
    let rootfs = Rootfs::new();
    let outcome = rootfs.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.2");
    assert_eq!(outcome.code(), 0);
    let usage = outcome.report.usage;
    assert!(usage.user_us + usage.system_us > 10_000, "{usage:?}");
    assert!(usage.max_rss_bytes > 500_000, "{usage:?}");
    assert!(usage.wall >= Duration::from_millis(200), "{usage:?}");
}

pub(crate) fn much_output() {
    let rootfs = Rootfs::new();
    let outcome = rootfs.run("head -c 5000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait");
    assert_eq!((outcome.code(), outcome.stdout.len(), outcome.stderr.len()), (0, 5_000_000, 3_000_000));
}

pub(crate) fn steps_at_the_same_time() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                // Steps that run at the same time never share a root file system.
                let rootfs = Rootfs::new();
                for round in 0..10 {
                    let outcome = rootfs.run(&format!("echo {thread} {round} > /tmp/$$; echo {thread} {round}"));
                    assert_eq!(outcome.text(), format!("{thread} {round}"));
                }
            });
        }
    });
}

pub(crate) fn dead_builder_takes_the_step_along() {
    // A builder of its own (this program, as root) starts a step and is killed.
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("pid");
    let program = std::env::current_exe().unwrap();
    let mut builder = std::process::Command::new(program)
        .args([crate::ROOTLESS_ARGUMENT, "sleep", marker.to_str().unwrap()])
        .spawn()
        .unwrap();
    let started = Instant::now();
    let pid = loop {
        if let Ok(text) = std::fs::read_to_string(&marker)
            && let Ok(pid) = text.trim().parse::<u32>()
        {
            break pid;
        }
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    builder.kill().unwrap();
    builder.wait().unwrap();
    let killed = Instant::now();
    while is_running(pid) {
        assert!(killed.elapsed() < Duration::from_secs(5), "the step outlived its builder");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn nothing_is_left_on_the_host() {
    let rootfs = Rootfs::new();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    rootfs.run("true");
    let mounts_before = mounts();
    let descriptors_before = descriptors();
    for _ in 0..20 {
        assert_eq!(rootfs.run("sleep 50 & true").code(), 0);
    }
    assert_eq!(mounts(), mounts_before);
    // Other tests run at the same time in this process; a leak of one per step would still show.
    assert!(descriptors() < descriptors_before + 20 * 10);
    let names: Vec<_> = std::fs::read_dir(rootfs.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| ["proc", "dev", "sys"].contains(&name.as_str()))
        .collect();
    assert_eq!(names, Vec::<String>::new());
}

pub(crate) fn start_is_fast() {
    let rootfs = Rootfs::new();
    // As in nearly every image; creating and removing them each time would take longer than all the rest.
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir(rootfs.path(name)).unwrap();
    }
    let mut times: Vec<Duration> = (0..30)
        .map(|_| {
            let mut step = rootfs.step("");
            step.spec = spec(&["/bin/true"]);
            let started = Instant::now();
            assert_eq!(run(step).unwrap().code(), 0);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    // Only a guard against something absurd: the machine may be busy. Run alone it is a few milliseconds.
    assert!(times[0] < Duration::from_millis(200), "{times:?}");
    if std::env::var_os("BAKE_SANDBOX_TIMES").is_some() {
        println!("fastest {:?}, median {:?}", times[0], times[times.len() / 2]);
    }
}
