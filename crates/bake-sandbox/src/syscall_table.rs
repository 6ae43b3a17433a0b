//! Numbers of the system calls the filter has an opinion about, for each ABI it knows.
//!
//! Every call that is not named here and is older than [`KNOWN_END`] is allowed; newer ones are answered with
//! `ENOSYS`, so that C libraries fall back to what they used before.

use bake_sys::seccomp::{ARCHITECTURE_I386, ARCHITECTURE_X86_64};

/// The first number the tables know nothing about. From 424 on, all ABIs number their calls alike.
///
/// 467 (`open_tree_attr`) and later can mount or change inode flags, and nothing needs them yet.
pub(crate) const KNOWN_END: u32 = 467;

/// One call with its numbers; `None` where an ABI does not have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// As in the manual; what a reader and the tests know it by.
    pub(crate) name: &'static str,
    /// On 64-bit x86.
    pub(crate) x86_64: Option<u32>,
    /// On 32-bit x86.
    pub(crate) i386: Option<u32>,
    /// On 64-bit ARM (the generic table).
    pub(crate) aarch64: Option<u32>,
}

pub(crate) const fn call(name: &'static str, x86_64: Option<u32>, i386: Option<u32>, aarch64: Option<u32>) -> Call {
    Call { name, x86_64, i386, aarch64 }
}

/// Calls a step may not make: they reach the host (modules, time, swap, keys, tracing of others), make namespaces or
/// mounts, have had the worst kernel bugs (`io_uring`, `bpf`, `userfaultfd`), no longer exist, or were replaced before 2000.
pub(crate) const BLOCKED: &[Call] = &[
    call("_sysctl", Some(156), Some(149), None),
    call("acct", Some(163), Some(51), Some(89)),
    call("add_key", Some(248), Some(286), Some(217)),
    call("afs_syscall", Some(183), Some(137), None),
    call("bdflush", None, Some(134), None),
    call("bpf", Some(321), Some(357), Some(280)),
    call("break", None, Some(17), None),
    call("clock_settime", Some(227), Some(264), Some(112)),
    call("clock_settime64", None, Some(404), None),
    call("create_module", Some(174), Some(127), None),
    call("delete_module", Some(176), Some(129), Some(106)),
    call("fanotify_init", Some(300), Some(338), Some(262)),
    call("finit_module", Some(313), Some(350), Some(273)),
    call("fsconfig", Some(431), Some(431), Some(431)),
    call("fsmount", Some(432), Some(432), Some(432)),
    call("fsopen", Some(430), Some(430), Some(430)),
    call("fspick", Some(433), Some(433), Some(433)),
    call("ftime", None, Some(35), None),
    call("get_kernel_syms", Some(177), Some(130), None),
    call("get_mempolicy", Some(239), Some(275), Some(236)),
    call("getpmsg", Some(181), Some(188), None),
    call("gtty", None, Some(32), None),
    call("idle", None, Some(112), None),
    call("init_module", Some(175), Some(128), Some(105)),
    call("io_uring_enter", Some(426), Some(426), Some(426)),
    call("io_uring_register", Some(427), Some(427), Some(427)),
    call("io_uring_setup", Some(425), Some(425), Some(425)),
    call("ioperm", Some(173), Some(101), None),
    call("iopl", Some(172), Some(110), None),
    call("kcmp", Some(312), Some(349), Some(272)),
    call("kexec_file_load", Some(320), None, Some(294)),
    call("kexec_load", Some(246), Some(283), Some(104)),
    call("keyctl", Some(250), Some(288), Some(219)),
    call("lock", None, Some(53), None),
    call("lookup_dcookie", Some(212), Some(253), Some(18)),
    call("lsm_get_self_attr", Some(459), Some(459), Some(459)),
    call("lsm_list_modules", Some(461), Some(461), Some(461)),
    call("lsm_set_self_attr", Some(460), Some(460), Some(460)),
    call("mbind", Some(237), Some(274), Some(235)),
    call("migrate_pages", Some(256), Some(294), Some(238)),
    call("mount", Some(165), Some(21), Some(40)),
    call("mount_setattr", Some(442), Some(442), Some(442)),
    call("move_mount", Some(429), Some(429), Some(429)),
    call("move_pages", Some(279), Some(317), Some(239)),
    call("mpx", None, Some(56), None),
    call("nfsservctl", Some(180), Some(169), Some(42)),
    call("nice", None, Some(34), None),
    call("oldfstat", None, Some(28), None),
    call("oldlstat", None, Some(84), None),
    call("oldolduname", None, Some(59), None),
    call("oldstat", None, Some(18), None),
    call("olduname", None, Some(109), None),
    call("open_by_handle_at", Some(304), Some(342), Some(265)),
    call("open_tree", Some(428), Some(428), Some(428)),
    call("perf_event_open", Some(298), Some(336), Some(241)),
    call("pidfd_getfd", Some(438), Some(438), Some(438)),
    call("pivot_root", Some(155), Some(217), Some(41)),
    call("process_madvise", Some(440), Some(440), Some(440)),
    call("prof", None, Some(44), None),
    call("profil", None, Some(98), None),
    call("putpmsg", Some(182), Some(189), None),
    call("query_module", Some(178), Some(167), None),
    call("quotactl", Some(179), Some(131), Some(60)),
    call("quotactl_fd", Some(443), Some(443), Some(443)),
    call("readdir", None, Some(89), None),
    call("reboot", Some(169), Some(88), Some(142)),
    call("request_key", Some(249), Some(287), Some(218)),
    call("security", Some(185), None, None),
    call("set_mempolicy", Some(238), Some(276), Some(237)),
    call("set_mempolicy_home_node", Some(450), Some(450), Some(450)),
    call("setdomainname", Some(171), Some(121), Some(162)),
    call("sethostname", Some(170), Some(74), Some(161)),
    call("setns", Some(308), Some(346), Some(268)),
    call("settimeofday", Some(164), Some(79), Some(170)),
    call("sgetmask", None, Some(68), None),
    call("sigaction", None, Some(67), None),
    call("signal", None, Some(48), None),
    call("sigpending", None, Some(73), None),
    call("sigsuspend", None, Some(72), None),
    call("ssetmask", None, Some(69), None),
    call("stime", None, Some(25), None),
    call("stty", None, Some(31), None),
    call("swapoff", Some(168), Some(115), Some(225)),
    call("swapon", Some(167), Some(87), Some(224)),
    call("sysfs", Some(139), Some(135), None),
    call("syslog", Some(103), Some(103), Some(116)),
    call("tuxcall", Some(184), None, None),
    call("ulimit", None, Some(58), None),
    call("umount", None, Some(22), None),
    call("umount2", Some(166), Some(52), Some(39)),
    call("unshare", Some(272), Some(310), Some(97)),
    call("uprobe", Some(336), None, None),
    call("uselib", Some(134), Some(86), None),
    call("userfaultfd", Some(323), Some(374), Some(282)),
    call("ustat", Some(136), Some(62), None),
    call("vhangup", Some(153), Some(111), Some(58)),
    call("vm86", None, Some(166), None),
    call("vm86old", None, Some(113), None),
    call("vserver", Some(236), Some(273), None),
];

/// The numbers below [`KNOWN_END`] that no call of an ABI has. They are answered as calls of the future are.
pub(crate) fn unassigned(architecture: u32) -> impl Iterator<Item = u32> {
    let ranges: &[(u32, u32)] = match architecture {
        ARCHITECTURE_X86_64 => &[(337, 423)],
        ARCHITECTURE_I386 => &[(222, 223), (251, 251), (285, 285), (387, 392), (415, 415)],
        // 244 to 259 belong to other machines with this table, 403 to 423 to 32-bit ones.
        _ => &[(244, 259), (295, 423)],
    };
    ranges.iter().flat_map(|(first, last)| *first..=*last)
}

/// `clone`: allowed without new namespaces.
pub(crate) const CLONE: Call = call("clone", Some(56), Some(120), Some(220));
/// `clone3`: its flags are in memory, where a filter cannot look, so it does not exist for a step.
pub(crate) const CLONE3: Call = call("clone3", Some(435), Some(435), Some(435));
/// `socket`: allowed for harmless families.
pub(crate) const SOCKET: Call = call("socket", Some(41), Some(359), Some(198));
/// `socketcall`: hides the family from the filter.
pub(crate) const SOCKETCALL: Call = call("socketcall", None, Some(102), None);
/// `personality`: allowed for harmless values.
pub(crate) const PERSONALITY: Call = call("personality", Some(135), Some(136), Some(92));
