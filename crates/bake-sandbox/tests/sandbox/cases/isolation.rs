//! What a step must not see or do.

use std::os::unix::fs::MetadataExt;

use bake_sandbox::probe::Cgroups;
use bake_sandbox::{CgroupDirectory, FakeIds, Network, ThirtyTwoBit};

use crate::rootfs::{Rootfs, insecure, run, run_as, with_fake_ids, with_network};

pub(crate) fn namespaces_are_new() {
    let rootfs = Rootfs::new();
    let names = ["user", "mnt", "pid", "ipc", "uts", "cgroup", "net"];
    let script = format!("cd /proc/self/ns; for n in {}; do readlink $n; done", names.join(" "));
    let outcome = rootfs.run(&script);
    for (name, inside) in names.iter().zip(outcome.text().lines()) {
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(inside, outside.to_str().unwrap(), "{name}");
    }
    assert_eq!(rootfs.run("cat /proc/sys/kernel/hostname").text(), "bake");
    assert_eq!(
        rootfs.run("cat /proc/self/uid_map").text().split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536"]
    );
    // The first process and the shell; nobody else's.
    assert_eq!(
        rootfs
            .run("set -- /proc/[0-9]*; echo $#; cat /proc/1/comm; ls -l /proc/1/fd 2>&1 | grep -c denied")
            .text()
            .lines()
            .next(),
        Some("2")
    );
}

pub(crate) fn status_shows_the_profile() {
    let rootfs = Rootfs::new();
    let status = rootfs.run("cat /proc/self/status").stdout;
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000800405fb",
        "CapEff:\t00000000800405fb",
        "CapBnd:\t00000000800405fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "Seccomp_filters:\t1",
    ] {
        assert!(status.contains(line), "{line} is missing in\n{status}");
    }
}

/// Makes system calls by number with perl, and returns the error numbers.
fn error_numbers(rootfs: &Rootfs, calls: &[(i64, &str)]) -> Option<Vec<i32>> {
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return None;
    }
    let call = |(number, arguments): &(i64, &str)| {
        format!("$! = 0; $r = syscall({number},{arguments}); print(($r == -1 ? $!+0 : 0), \"\\n\");")
    };
    let script = calls.iter().map(call).collect::<Vec<String>>().join("\n");
    let mut step = rootfs.step("");
    step.spec = crate::rootfs::spec(&["/usr/bin/perl", "-e", &script]);
    Some(run(step).unwrap().text().lines().map(|line| line.parse().unwrap()).collect())
}

pub(crate) fn system_calls_are_denied() {
    const EPERM: i32 = 1;
    const ENOSYS: i32 = 38;
    const EPROTONOSUPPORT: i32 = 93;
    const EAFNOSUPPORT: i32 = 97;
    let rootfs = Rootfs::new();
    let zeros = "0,0,0,0,0";
    let mut calls: Vec<(i64, &str)> = [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
        libc::SYS_pivot_root,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_sethostname,
        libc::SYS_syslog,
        libc::SYS_open_by_handle_at,
        libc::SYS_quotactl,
        libc::SYS_acct,
        libc::SYS_settimeofday,
    ]
    .into_iter()
    .map(|number| (number, zeros))
    .collect();
    let denied = calls.len();
    calls.extend([
        (libc::SYS_clone3, zeros),
        (467, zeros),
        (600, zeros),
        // x32: the same numbers with bit 30.
        (0x4000_0000 + 39, zeros),
        (libc::SYS_clone, "0x10000000,0,0,0,0"),
        (libc::SYS_clone, "0x20000,0,0,0,0"),
        (libc::SYS_socket, "38,5,0"),
        (libc::SYS_socket, "40,1,0"),
        (libc::SYS_socket, "0x100000026,5,0"),
        (libc::SYS_socket, "17,3,0"),
        (libc::SYS_socket, "16,3,9"),
        (libc::SYS_personality, "0x0040000"),
    ]);
    let Some(errors) = error_numbers(&rootfs, &calls) else { return };
    assert!(errors[..denied].iter().all(|errno| *errno == EPERM), "{errors:?}");
    let expected = [
        ENOSYS,
        ENOSYS,
        ENOSYS,
        ENOSYS,
        EPERM,
        EPERM,
        EAFNOSUPPORT,
        EAFNOSUPPORT,
        EAFNOSUPPORT,
        EPERM,
        EPROTONOSUPPORT,
        EPERM,
    ];
    assert_eq!(errors[denied..], expected);
}

pub(crate) fn system_calls_are_allowed() {
    let rootfs = Rootfs::new();
    let calls = [
        (libc::SYS_getpid, "0"),
        (libc::SYS_socket, "2,1,0"),
        (libc::SYS_socket, "1,1,0"),
        (libc::SYS_socket, "16,3,0"),
        (libc::SYS_personality, "0xffffffff"),
        (libc::SYS_personality, "0x20000"),
        (libc::SYS_setgroups, "0,0"),
        (libc::SYS_setresuid, "1000,1000,1000"),
    ];
    let Some(errors) = error_numbers(&rootfs, &calls) else { return };
    assert_eq!(errors, [0; 8]);
    // The other table is there too.
    let mut step = rootfs.step("true");
    step.thirty_two_bit = ThirtyTwoBit::Full;
    assert_eq!(run(step).unwrap().code(), 0);
}

/// A 32-bit x86 program that makes one system call and exits with its error number.
#[cfg(target_arch = "x86_64")]
fn program_for_i386(number: u32, first: u32, second: u32) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.push(0xbb);
    code.extend(first.to_le_bytes());
    code.push(0xb9);
    code.extend(second.to_le_bytes());
    // xor edx, edx; int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80
    code.extend([0x31, 0xd2, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
    let size = HEADERS + u32::try_from(code.len()).unwrap();
    let mut program = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0];
    for word in [1, BASE + HEADERS, 52, 0, 0] {
        program.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(code);
    program
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn programs_of_32_bit_are_filtered() {}

#[cfg(target_arch = "x86_64")]
pub(crate) fn programs_of_32_bit_are_filtered() {
    let rootfs = Rootfs::new();
    let result = |number, first, second, thirty_two_bit| {
        std::fs::write(rootfs.path("work/program"), program_for_i386(number, first, second)).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(rootfs.path("work/program"), permissions).unwrap();
        let mut step = rootfs.step("");
        step.spec = crate::rootfs::spec(&["/work/program"]);
        step.thirty_two_bit = thirty_two_bit;
        run(step).map(|outcome| outcome.code())
    };
    // getpid is process 2. A kernel without 32-bit programs says so at once.
    match result(20, 0, 0, ThirtyTwoBit::Restricted) {
        Ok(code) => assert_eq!(code, 256 - 2),
        Err(_) => return,
    }
    for thirty_two_bit in [ThirtyTwoBit::Restricted, ThirtyTwoBit::Full] {
        let denied = |number, first| result(number, first, 5, thirty_two_bit).unwrap();
        assert_eq!(denied(21, 0), 1, "mount");
        assert_eq!(denied(310, 0), 1, "unshare");
        assert_eq!(denied(120, 0x1000_0000), 1, "clone");
        assert_eq!(denied(435, 0), 38, "clone3");
        assert_eq!(denied(359, 38), 97, "socket");
    }
    assert_eq!(result(102, 1, 0, ThirtyTwoBit::Restricted).unwrap(), 38, "socketcall");
    assert_eq!(result(102, 1, 0, ThirtyTwoBit::Full).unwrap(), 14, "socketcall");
}

pub(crate) fn cgroups_are_joined() {
    let rootfs = Rootfs::new();
    let (path, make): (_, fn(std::os::fd::OwnedFd) -> CgroupDirectory) = match bake_sandbox::probe::cgroups() {
        Cgroups::Unified => ("/sys/fs/cgroup", CgroupDirectory::Unified),
        Cgroups::Hybrid => ("/sys/fs/cgroup/unified", CgroupDirectory::Unified),
        Cgroups::Legacy => ("/sys/fs/cgroup/pids", CgroupDirectory::Legacy),
        Cgroups::None => return,
    };
    let mut directories = vec![(path, make)];
    if std::path::Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists() {
        directories.push(("/sys/fs/cgroup/pids", CgroupDirectory::Legacy));
    }
    let name = format!("bake-test-{}", std::process::id());
    let paths: Vec<_> = directories.iter().map(|(path, _)| std::path::Path::new(path).join(&name)).collect();
    if paths.iter().any(|path| std::fs::create_dir(path).is_err()) {
        // No cgroups are delegated to this test.
        return;
    }
    let mut step = rootfs.step("sleep 100");
    for ((_, make), path) in directories.iter().zip(&paths) {
        step.cgroups.push(make(std::fs::File::open(path).unwrap().into()));
    }
    let running = bake_sandbox::spawn(step).unwrap();
    for path in &paths {
        let members = std::fs::read_to_string(path.join("cgroup.procs")).unwrap();
        assert!(members.lines().any(|line| line == running.pid().to_string()), "{}", path.display());
    }
    drop(running);
    for path in &paths {
        std::fs::remove_dir(path).unwrap();
    }
}

pub(crate) fn descriptors_are_closed() {
    // One that is not close-on-exec must not get in either.
    let leak = std::fs::File::open("/etc").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let rootfs = Rootfs::new();
    let text = rootfs.run("for f in /proc/self/fd/*; do readlink $f; done; ls -1 /proc/$$/fd").stdout;
    drop(leak);
    assert!(text.ends_with("0\n1\n2\n"), "{text}");
    assert!(!text.contains("/etc"), "{text}");
}

pub(crate) fn paths_are_masked_and_read_only() {
    let rootfs = Rootfs::new();
    let masked = "for f in /proc/keys /proc/kcore /proc/timer_list /proc/interrupts /proc/latency_stats; do \
                  [ -e $f ] && cat $f; done; \
                  for d in /proc/acpi /proc/scsi /sys/firmware /sys/dev/block; do [ -d $d ] && ls -A $d; done; true";
    assert_eq!(rootfs.run(masked).text(), "");
    let writes = "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger \
                  /proc/sys/vm/drop_caches /sys/kernel/mm/transparent_hugepage/enabled; do \
                  [ -e $f ] && (echo x > $f) 2>/dev/null && echo written $f; done; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; \
                  mknod /tmp/node c 1 3 2>/dev/null && echo node; chroot / true || echo no chroot";
    assert_eq!(rootfs.run(writes).text(), "");
    // Inside, the first process cannot be looked into.
    assert_ne!(rootfs.run("ls -l /proc/1/exe").code(), 0);
    assert_ne!(rootfs.run("ls /proc/1/root/").code(), 0);
    assert_ne!(rootfs.run("cat /proc/1/environ").code(), 0);
}

pub(crate) fn devices_are_the_right_ones() {
    let rootfs = Rootfs::new();
    let text =
        rootfs.run("cd /dev; stat -c '%n %F %t:%T %a' null zero full random urandom tty; stat -c '%a %F' . shm").stdout;
    let expected = "null character special file 1:3 666\nzero character special file 1:5 666\n\
                    full character special file 1:7 666\nrandom character special file 1:8 666\n\
                    urandom character special file 1:9 666\ntty character special file 5:0 666\n755 directory\n1777 directory\n";
    assert_eq!(text, expected);
    let listing = rootfs.run("ls /dev; ls /dev/pts; readlink /dev/ptmx /dev/fd").stdout;
    assert_eq!(
        listing.split_whitespace().collect::<Vec<_>>().join(" "),
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ptmx pts/ptmx /proc/self/fd"
    );
    // There is no terminal, whatever this test was started from.
    assert_ne!(rootfs.run("true < /dev/tty").code(), 0);
    let written = rootfs
        .run("echo x > /dev/null && head -c 3 /dev/urandom | wc -c && echo x > /dev/shm/file && rm /dev/shm/file");
    assert_eq!(written.text(), "3");
}

pub(crate) fn network_none_has_loopback() {
    let rootfs = Rootfs::new();
    assert_eq!(rootfs.run("tail -n +3 /proc/net/dev | wc -l").text(), "1");
    assert_eq!(rootfs.run("cat /sys/class/net/lo/flags").text(), "0x9");
    assert_eq!(rootfs.run("tail -n +2 /proc/net/unix | wc -l").text(), "0");
}

pub(crate) fn network_host_is_the_hosts() {
    let rootfs = Rootfs::new();
    let outcome = run(with_network(
        rootfs.step("readlink /proc/self/ns/net; ls /sys; mkdir /sys/fs/cgroup/x || true"),
        Network::Host,
    ))
    .unwrap();
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(outcome.text().starts_with(host.to_str().unwrap()), "{}", outcome.stdout);
}

pub(crate) fn network_namespace_is_the_given_one() {
    let rootfs = Rootfs::new();
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    // A thread makes a namespace and ends; the descriptor keeps the namespace.
    let namespace = std::thread::spawn(|| {
        let status = std::process::Command::new("unshare").args(["--net", "sleep", "100"]).spawn();
        let mut holder = status.unwrap();
        let path = format!("/proc/{}/ns/net", holder.id());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        while std::fs::read_link(&path).is_ok_and(|link| link == own) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let opened = std::fs::File::open(&path).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        opened
    })
    .join()
    .unwrap();
    let expected = format!("net:[{}]", namespace.metadata().unwrap().ino());
    let step = with_network(rootfs.step("readlink /proc/self/ns/net"), Network::Namespace(namespace.into()));
    assert_eq!(run(step).unwrap().text(), expected);
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), own);
}

pub(crate) fn own_program_cannot_be_reached() {
    let rootfs = Rootfs::new();
    let own = std::env::current_exe().unwrap();
    let before = std::fs::metadata(&own).unwrap();
    let script = "for p in /proc/[0-9]*; do (echo x > $p/exe) 2>/dev/null && echo wrote $p; \
                  (exec 3>>$p/exe) 2>/dev/null && echo opened $p; done; true";
    let text = rootfs.run(script).stdout;
    assert_eq!(text, "");
    let after = std::fs::metadata(&own).unwrap();
    assert_eq!((before.len(), before.mtime()), (after.len(), after.mtime()));
}

pub(crate) fn limits_are_set() {
    let rootfs = Rootfs::new();
    let text = rootfs.run("ulimit -Sn; ulimit -Sc; ulimit -Hc").stdout;
    assert_eq!(text, "1024\n0\n0\n");
    let hard: u64 = rootfs.run("ulimit -Hn").text().parse().unwrap();
    assert!(hard <= 524_288);
}

pub(crate) fn insecure_has_all_capabilities() {
    let rootfs = Rootfs::new();
    let step = insecure(
        rootfs.step("mount -t tmpfs tmpfs /work && echo mounted; grep -E '^(Seccomp|CapEff):' /proc/self/status"),
    );
    let text = run(step).unwrap().stdout;
    assert!(text.contains("mounted\n") && text.contains("Seccomp:\t0"), "{text}");
    assert!(text.contains("CapEff:\t000001ffffffffff") || text.contains("CapEff:\t000000ffffffffff"), "{text}");
}

pub(crate) fn ids_are_emulated() {
    let mut rootfs = Rootfs::new();
    rootfs.id_map = bake_sandbox::IdMap::single(crate::rootfs::OUTSIDE, crate::rootfs::OUTSIDE);
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return;
    }
    let script = "use POSIX; my @r = (syscall(%d, 42, 42, 42), syscall(%d, 0, 0), syscall(%d, 7)); \
                  push @r, syscall(%d, 0), syscall(%d, 1, 0); print \"@r $< $>\";"
        .replacen("%d", &libc::SYS_setresgid.to_string(), 1)
        .replacen("%d", &libc::SYS_setgroups.to_string(), 1)
        .replacen("%d", &libc::SYS_setuid.to_string(), 1)
        .replacen("%d", &libc::SYS_setuid.to_string(), 1)
        .replacen("%d", &libc::SYS_setgroups.to_string(), 1);
    let step = |fake: FakeIds| {
        let mut step = rootfs.step("");
        step.spec = crate::rootfs::spec(&["/usr/bin/perl", "-e", &script]);
        step.fake_ids = fake;
        step
    };
    // Privileges that were given up do not come back.
    assert_eq!(run(step(FakeIds::On)).unwrap().text(), "0 0 0 -1 -1 7 7");
    assert!(run(step(FakeIds::Off)).unwrap().text().starts_with("-1 0 -1"));
    // A process that was started as another user believes so, and so do its children and what it leaves behind.
    let mut faked = with_fake_ids(
        rootfs.step("id -u; id -G; (sleep 0.1; id -g >/tmp/later) & sh -c 'id -un 2>&1'; wait; cat /tmp/later"),
    );
    run_as(&mut faked, 1000, 1001, &[1001, 7]);
    let text = run(faked).unwrap().stdout;
    assert!(text.starts_with("1000\n1001 7\n") && text.ends_with("1001\n"), "{text}");
    // Thousands of changes, each seen by the child that is made after it.
    let script = "use POSIX; my $bad = 0; for my $i (1 .. 2000) { my $p = fork; if (!$p) { setuid($i); \
                  POSIX::_exit(getuid() == $i ? 0 : 1) } waitpid($p, 0); $bad++ if $? } print \"$bad $<\";";
    let mut many = rootfs.step("");
    many.spec = crate::rootfs::spec(&["/usr/bin/perl", "-e", script]);
    assert_eq!(run(with_fake_ids(many)).unwrap().text(), "0 0");
}
