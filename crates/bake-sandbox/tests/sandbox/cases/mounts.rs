//! Mount targets in a rootfs that may be hostile, and what is left of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bake_sandbox::{MountAccess, MountSource, SandboxError, SetIdFiles, Step, StepMount};

use crate::rootfs::{Rootfs, memory_file, run, run_as, tree};

/// The error of a step that must not start.
fn refused(step: Step) -> SandboxError {
    match run(step) {
        Err(error) => error,
        Ok(outcome) => panic!("the step ran: {}", outcome.stdout),
    }
}

fn with_file(rootfs: &Rootfs, script: &str, target: &str, content: &[u8]) -> Step {
    let mut step = rootfs.step(script);
    step.mounts.push(StepMount::read_only(target, memory_file(content)));
    step
}

pub(crate) fn memory_file_leaves_no_stub() {
    let rootfs = Rootfs::new();
    let mut step = with_file(
        &rootfs,
        "cat /etc/resolv.conf /run/secrets/one; stat -c '%a %u' /run/secrets/one; echo x > /etc/resolv.conf",
        "/etc/resolv.conf",
        b"nameserver 1.2.3.4\n",
    );
    let secret = MountSource::File { content: b"secret\n".to_vec(), mode: 0o400, uid: 1000, gid: 99_999 };
    step.mounts.push(StepMount::read_only(*b"/run/secrets/one", secret));
    run_as(&mut step, 1000, 1000, &[]);
    let outcome = run(step).unwrap();
    assert_eq!(outcome.stdout, "nameserver 1.2.3.4\nsecret\n400 1000\n");
    assert_ne!(outcome.code(), 0, "the file is read-only");
    assert!(!rootfs.path("etc/resolv.conf").exists());
    assert!(!rootfs.path("run").exists());
    // Where the file exists it is covered and stays.
    fs::write(rootfs.path("etc/resolv.conf"), "of the image").unwrap();
    let outcome = run(with_file(&rootfs, "cat /etc/resolv.conf", "/etc/resolv.conf", b"covered")).unwrap();
    assert_eq!(outcome.text(), "covered");
    assert_eq!(fs::read_to_string(rootfs.path("etc/resolv.conf")).unwrap(), "of the image");
}

pub(crate) fn stub_times_are_restored() {
    let rootfs = Rootfs::new();
    let past = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for name in ["etc", "work", ""] {
        fs::File::open(rootfs.path(name)).unwrap().set_times(fs::FileTimes::new().set_modified(past)).unwrap();
    }
    let modified = |name: &str| fs::metadata(rootfs.path(name)).unwrap().modified().unwrap();
    let mut step = with_file(&rootfs, "sleep 0.05; touch /work/new", "/etc/hosts", b"");
    step.mounts.push(StepMount::read_only(*b"/etc/resolv.conf", memory_file(b"")));
    step.mounts.push(StepMount::read_only(*b"/work/stub", memory_file(b"")));
    step.mounts.push(StepMount::read_only(*b"/new/deep/file", memory_file(b"")));
    assert_eq!(run(step).unwrap().code(), 0);
    assert_eq!(modified("etc"), past);
    assert_eq!(modified(""), past);
    // What the step changed keeps the step's time.
    assert!(modified("work") > past);
    assert!(!rootfs.path("new").exists() && !rootfs.path("work/stub").exists());
}

pub(crate) fn stubs_with_content_stay() {
    let rootfs = Rootfs::new();
    let step = with_file(&rootfs, "echo kept > /data/inner/kept", "/data/inner/stub", b"");
    assert_eq!(run(step).unwrap().code(), 0);
    assert_eq!(fs::read_to_string(rootfs.path("data/inner/kept")).unwrap(), "kept\n");
    assert!(!rootfs.path("data/inner/stub").exists());
}

pub(crate) fn dangling_links_are_followed_inside() {
    let rootfs = Rootfs::new();
    symlink("../run/resolve/stub.conf", rootfs.path("etc/resolv.conf")).unwrap();
    let outcome =
        run(with_file(&rootfs, "cat /etc/resolv.conf /run/resolve/stub.conf", "/etc/resolv.conf", b"x\n")).unwrap();
    assert_eq!(outcome.text(), "x\nx");
    assert!(!rootfs.path("run").exists());
    assert!(rootfs.path("etc/resolv.conf").is_symlink());
    // A circle ends.
    symlink("loop", rootfs.path("etc/loop")).unwrap();
    let error = refused(with_file(&rootfs, "true", "/etc/loop", b""));
    assert!(error.to_string().contains("/etc/loop"), "{error}");
}

pub(crate) fn links_do_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("canary"), "untouched").unwrap();
    let outside_path = outside.path().to_str().unwrap().to_owned();
    let rootfs = Rootfs::new();
    symlink(&outside_path, rootfs.path("absolute")).unwrap();
    symlink(format!("../../../../../../../..{outside_path}"), rootfs.path("relative")).unwrap();
    for link in ["absolute", "relative"] {
        let step = with_file(&rootfs, &format!("cat /{link}/canary"), &format!("/{link}/canary"), b"mounted");
        // The path of the host is made inside the rootfs, and taken away again.
        assert_eq!(run(step).unwrap().text(), "mounted");
        assert_eq!(fs::read_to_string(outside.path().join("canary")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
    let inside = rootfs.path(outside_path.trim_start_matches('/'));
    assert!(!inside.exists());
}

pub(crate) fn kernel_directories_must_be_real() {
    for name in ["proc", "sys", "dev"] {
        let rootfs = Rootfs::new();
        symlink("/work", rootfs.path(name)).unwrap();
        let error = refused(rootfs.step("true"));
        assert!(error.to_string().contains(&format!("/{name}")), "{error}");
        assert!(error.hint().unwrap().contains("symbolic link"), "{error:?}");
        assert_eq!(fs::read_dir(rootfs.path("work")).unwrap().count(), 0);
        let rootfs = Rootfs::new();
        fs::write(rootfs.path(name), "").unwrap();
        refused(rootfs.step("true"));
        // With content is as good as empty.
        let rootfs = Rootfs::new();
        fs::create_dir(rootfs.path(name)).unwrap();
        fs::write(rootfs.path(name).join("file"), "").unwrap();
        assert_eq!(rootfs.run("ls /proc/self/status").text(), "/proc/self/status");
        assert!(rootfs.path(name).join("file").exists());
    }
}

pub(crate) fn bad_targets_are_refused() {
    let rootfs = Rootfs::new();
    symlink("/", rootfs.path("work/root")).unwrap();
    symlink("/proc/self/fd", rootfs.path("work/magic")).unwrap();
    for target in [
        "/",
        "/..",
        "",
        "/work/root",
        "/proc",
        "/proc/self/status",
        "/proc/new",
        "/sys",
        "/sys/kernel",
        "/proc/self/fd/0",
        "/work/magic/1",
    ] {
        let error = refused(with_file(&rootfs, "true", target, b""));
        assert!(matches!(error, SandboxError::Setup { .. }), "{target}: {error}");
    }
    let mut step = rootfs.step("true");
    step.mounts.push(StepMount::read_only(*b"/work", memory_file(b"")));
    assert!(refused(step).hint().is_some());
    fs::write(rootfs.path("etc/file"), "").unwrap();
    let mut step = rootfs.step("true");
    step.mounts.push(StepMount::read_only(*b"/etc/file", MountSource::Tmpfs { size_bytes: None, mode: 0o755 }));
    assert!(refused(step).hint().is_some());
    // Nothing was left behind.
    for name in ["proc", "sys", "dev"] {
        assert!(!rootfs.path(name).exists(), "{name}");
    }
}

pub(crate) fn access_and_kinds() {
    let rootfs = Rootfs::new();
    let cache = tempfile::tempdir().unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut step = rootfs.step(
        "echo x > /cache/new && (echo x > /read-only/new) 2>/dev/null || echo refused; \
         stat -c %a /memory; df --output=size -k /memory | tail -1; echo x > /memory/file; \
         grep -E ' /(cache|read-only|memory) ' /proc/self/mounts | cut -d' ' -f2,4 | cut -d, -f1-3",
    );
    let mount = || MountSource::Tree(tree(cache.path(), Some(&rootfs.id_map)));
    step.mounts.push(StepMount::read_write(*b"/cache", mount()));
    step.mounts.push(StepMount::read_only(*b"/read-only", mount()));
    step.mounts.push(StepMount {
        target: b"/memory".to_vec(),
        source: MountSource::Tmpfs { size_bytes: Some(1024 * 1024), mode: 0o1770 },
        access: MountAccess::ReadWrite,
        set_id: SetIdFiles::Effective,
    });
    let outcome = run(step).unwrap();
    let lines: Vec<&str> = outcome.text().lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "refused",
            "1770",
            "1024",
            "/cache rw,nosuid,nodev",
            "/read-only ro,nosuid,nodev",
            "/memory rw,nodev,relatime"
        ]
    );
    assert_eq!(fs::metadata(cache.path().join("new")).unwrap().uid(), 0);
}

pub(crate) fn replaced_parents_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("stub"), "").unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let rootfs = Rootfs::new();
    // The step moves the directory of its stub away and puts a link to the host in its place.
    let script = format!("mv /work /moved; ln -s {} /work; ls -l /", outside.path().display());
    let outcome = run(with_file(&rootfs, &script, "/work/stub", b"")).unwrap();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(outside.path().join("stub").exists());
    assert!(!rootfs.path("moved/stub").exists());
}

pub(crate) fn overlay_takes_the_changes() {
    let rootfs = Rootfs::new();
    let changes = tempfile::tempdir().unwrap();
    fs::write(rootfs.path("etc/old"), "old").unwrap();
    let mut step = with_file(
        &rootfs,
        "rm /etc/old && echo x > /work/new && chown 33:44 /work/new && chmod 4755 /work/new && mkdir -p /a/b && id -u",
        "/etc/resolv.conf",
        b"",
    );
    step.rootfs = rootfs.overlay(changes.path());
    assert_eq!(run(step).unwrap().text(), "0");
    let upper = changes.path().join("upper");
    let new = fs::metadata(upper.join("work/new")).unwrap();
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o7777), (33, 44, 0o4755));
    assert_eq!(fs::metadata(upper.join("a/b")).unwrap().uid(), 0);
    assert_eq!(fs::symlink_metadata(upper.join("etc/old")).unwrap().rdev(), 0);
    let mut names: Vec<_> =
        fs::read_dir(&upper).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    // No trace of what was mounted, and no whiteouts for it.
    assert_eq!(names, ["a", "etc", "work"]);
    assert!(!upper.join("etc/resolv.conf").exists());
    assert_eq!(fs::read_to_string(rootfs.path("etc/old")).unwrap(), "old");
}
