//! An ordinary user's builder: this program again, without privileges.

use std::process::{Command, ExitCode};

use bake_sandbox::userns::{RootlessMap, enter_rootless};
use bake_sandbox::{IdMap, StepMount, spawn};

use crate::rootfs::{Rootfs, memory_file, run, run_as, with_fake_ids};

/// What [`run_as_ordinary_user`] prints at its end.
const DONE: &str = "all rootless checks passed";

/// Runs this program as user 65534, and checks what it says.
pub(crate) fn check() {
    let directory = tempfile::tempdir().unwrap();
    let permissions: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), permissions.clone()).unwrap();
    // Where it is now the user may not be able to reach it.
    let program = directory.path().join("builder");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .arg(crate::ROOTLESS_ARGUMENT)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(DONE), "{text}");
}

/// As [`check`], with subordinate ids in an `/etc/subuid` that only this test sees.
pub(crate) fn check_with_ranges() {
    if !["newuidmap", "newgidmap"].iter().all(|name| std::path::Path::new("/usr/bin").join(name).exists()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let permissions: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), permissions).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), directory.path().join("builder")).unwrap();
    std::fs::write(directory.path().join("subuid"), "65534:200000:65536\n").unwrap();
    let script = format!(
        "set -e; cd {}; for f in subuid subgid; do [ -e /etc/$f ] || exit 99; mount --bind subuid /etc/$f; done; \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups -- ./builder {} ranges",
        directory.path().display(),
        crate::ROOTLESS_ARGUMENT,
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    if output.status.code() == Some(99) {
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(DONE), "{text}");
}

/// The ordinary user's side with subordinate ids.
fn run_with_ranges() -> ExitCode {
    let map = bake_sandbox::probe::subordinate_ids().unwrap();
    enter_rootless(&map).unwrap();
    let rootfs = Rootfs::with(map.step_map(), false);
    let mut step = rootfs.step("id -u; id -G; touch /tmp/file; stat -c '%u %g' /tmp/file");
    run_as(&mut step, 1000, 1001, &[1001, 7]);
    assert_eq!(run(step).unwrap().text(), "1000\n1001 7\n1000 1001");
    println!("{DONE}");
    ExitCode::SUCCESS
}

/// The ordinary user's side; with the argument `sleep FILE` it only starts a step that does not end, as root.
pub(crate) fn run_as_ordinary_user() -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let what = arguments.next();
    if what.as_deref() == Some("ranges") {
        return run_with_ranges();
    }
    if what.as_deref() == Some("sleep") {
        let rootfs = Rootfs::new();
        let running = spawn(rootfs.step("sleep 100")).unwrap();
        std::fs::write(arguments.next().unwrap(), running.pid().to_string()).unwrap();
        running.wait(&mut |_, _| {}).unwrap();
        return ExitCode::SUCCESS;
    }
    assert_eq!(rustix::process::getuid().as_raw(), 65534);
    let map = RootlessMap::Single;
    enter_rootless(&map).unwrap();
    assert!(rustix::process::getuid().is_root());
    let rootfs = Rootfs::with(map.step_map(), false);
    assert_eq!(rootfs.id_map, IdMap::identity().unwrap());

    let mut step =
        rootfs.step("id -u; echo x > /tmp/file; cat /etc/hosts; grep CapEff /proc/self/status; ls /sys | head -1");
    step.mounts.push(StepMount::read_only(*b"/etc/hosts", memory_file(b"127.0.0.1 localhost\n")));
    let outcome = run(step).unwrap();
    assert!(outcome.text().starts_with("0\n127.0.0.1 localhost\nCapEff:\t00000000800405fb\n"), "{}", outcome.stdout);
    assert!(rootfs.path("tmp/file").exists() && !rootfs.path("etc/hosts").exists());

    let mut step = rootfs.step("id -u");
    run_as(&mut step, 33, 33, &[]);
    assert!(run(step).err().unwrap().hint().unwrap().contains("newuidmap"));
    let mut step = with_fake_ids(rootfs.step("id -u; grep -c . /proc/net/dev"));
    run_as(&mut step, 33, 33, &[33]);
    assert_eq!(run(step).unwrap().text(), "33\n3");
    let changes = tempfile::tempdir().unwrap();
    let mut step = rootfs.step("rm -r /work && echo x > /etc/new && id -u");
    step.rootfs = rootfs.overlay(changes.path());
    assert_eq!(run(step).unwrap().text(), "0");
    assert!(changes.path().join("upper/etc/new").exists() && rootfs.path("work").exists());
    // Neither the program nor the host's files can be written, although they belong to the same user.
    let script =
        "(exec 3>>/proc/1/exe) 2>/dev/null && echo opened; (echo x > /proc/self/exe) 2>/dev/null && echo wrote; true";
    assert_eq!(rootfs.run(script).text(), "");
    println!("{DONE}");
    ExitCode::SUCCESS
}
