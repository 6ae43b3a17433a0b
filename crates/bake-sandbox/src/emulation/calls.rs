//! Which calls are emulated, in each ABI, and what each asks for.

use bake_sys::seccomp::{ARCHITECTURE_AARCH64, ARCHITECTURE_I386, ARCHITECTURE_X86_64};
use bake_sys::seccomp::{Action, Check, Condition, Verdict};

use crate::syscall_table::{Call, call};

/// How wide the IDs of a call are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// 32 bits.
    Full,
    /// 16 bits: the oldest calls of 32-bit x86.
    Short,
}

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    User,
    Group,
}

/// Calls about the identity of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityCall {
    Set(Of),
    SetRealEffective(Of),
    SetAll(Of),
    SetFileSystem(Of),
    SetGroups,
    Real(Of),
    Effective(Of),
    All(Of),
    Groups,
}

/// How a call names its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `call(path, ...)`, links are followed.
    Path,
    /// `call(path, ...)`, a link itself is meant.
    Link,
    /// `call(descriptor, ...)`.
    Descriptor,
    /// `call(directory, path, ...)` with flags in the argument of this number.
    At(usize),
}

/// Calls have six arguments: this one is always 0.
const NO_FLAGS: usize = 6;

/// Where the results of a `stat` go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `struct stat` of 64-bit machines, or `struct stat64` of 32-bit x86.
    Stat,
    /// `struct statx`, the same everywhere.
    Statx,
}

/// What a call that sets times has them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// Two of seconds and nanoseconds.
    Nanoseconds,
    /// Two of seconds and microseconds.
    Microseconds,
    /// Two of seconds.
    Seconds,
}

/// Where a call that may create a file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The path is this argument, relative to the working directory.
    Path(usize),
    /// The path is the argument after the directory's descriptor, which is this one.
    At(usize),
    /// As `Path(0)`, with open flags in argument 1.
    Open,
    /// As `At(0)`, with open flags in argument 2.
    OpenAt,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Identity(IdentityCall, Width),
    ChangeOwner(Form, Width),
    Status((Form, Layout)),
    Create(Creation),
    /// What was created by the same process before must be settled under its old name.
    Rename,
    /// Of 64-bit programs only: a 32-bit one that sets the times of a link takes its owner away.
    SetTimes(Form, Times),
    ChangeRoot,
}

use Creation::{At as CreateAt, Open, OpenAt, Path as CreatePath};
use IdentityCall as Id;
use Of::{Group, User};
use Operation::{ChangeOwner, ChangeRoot, Create, Identity, Rename, SetTimes, Status};
use Width::{Full, Short};

/// Every emulated call.
pub(crate) const EMULATED: &[(Call, Operation)] = &[
    (call("setuid", Some(105), None, Some(146)), Identity(Id::Set(User), Full)),
    (call("setuid", None, Some(23), None), Identity(Id::Set(User), Short)),
    (call("setuid32", None, Some(213), None), Identity(Id::Set(User), Full)),
    (call("setgid", Some(106), None, Some(144)), Identity(Id::Set(Group), Full)),
    (call("setgid", None, Some(46), None), Identity(Id::Set(Group), Short)),
    (call("setgid32", None, Some(214), None), Identity(Id::Set(Group), Full)),
    (call("setreuid", Some(113), None, Some(145)), Identity(Id::SetRealEffective(User), Full)),
    (call("setreuid", None, Some(70), None), Identity(Id::SetRealEffective(User), Short)),
    (call("setreuid32", None, Some(203), None), Identity(Id::SetRealEffective(User), Full)),
    (call("setregid", Some(114), None, Some(143)), Identity(Id::SetRealEffective(Group), Full)),
    (call("setregid", None, Some(71), None), Identity(Id::SetRealEffective(Group), Short)),
    (call("setregid32", None, Some(204), None), Identity(Id::SetRealEffective(Group), Full)),
    (call("setresuid", Some(117), None, Some(147)), Identity(Id::SetAll(User), Full)),
    (call("setresuid", None, Some(164), None), Identity(Id::SetAll(User), Short)),
    (call("setresuid32", None, Some(208), None), Identity(Id::SetAll(User), Full)),
    (call("setresgid", Some(119), None, Some(149)), Identity(Id::SetAll(Group), Full)),
    (call("setresgid", None, Some(170), None), Identity(Id::SetAll(Group), Short)),
    (call("setresgid32", None, Some(210), None), Identity(Id::SetAll(Group), Full)),
    (call("setfsuid", Some(122), None, Some(151)), Identity(Id::SetFileSystem(User), Full)),
    (call("setfsuid", None, Some(138), None), Identity(Id::SetFileSystem(User), Short)),
    (call("setfsuid32", None, Some(215), None), Identity(Id::SetFileSystem(User), Full)),
    (call("setfsgid", Some(123), None, Some(152)), Identity(Id::SetFileSystem(Group), Full)),
    (call("setfsgid", None, Some(139), None), Identity(Id::SetFileSystem(Group), Short)),
    (call("setfsgid32", None, Some(216), None), Identity(Id::SetFileSystem(Group), Full)),
    (call("setgroups", Some(116), None, Some(159)), Identity(Id::SetGroups, Full)),
    (call("setgroups", None, Some(81), None), Identity(Id::SetGroups, Short)),
    (call("setgroups32", None, Some(206), None), Identity(Id::SetGroups, Full)),
    (call("getuid", Some(102), None, Some(174)), Identity(Id::Real(User), Full)),
    (call("getuid", None, Some(24), None), Identity(Id::Real(User), Short)),
    (call("getuid32", None, Some(199), None), Identity(Id::Real(User), Full)),
    (call("geteuid", Some(107), None, Some(175)), Identity(Id::Effective(User), Full)),
    (call("geteuid", None, Some(49), None), Identity(Id::Effective(User), Short)),
    (call("geteuid32", None, Some(201), None), Identity(Id::Effective(User), Full)),
    (call("getgid", Some(104), None, Some(176)), Identity(Id::Real(Group), Full)),
    (call("getgid", None, Some(47), None), Identity(Id::Real(Group), Short)),
    (call("getgid32", None, Some(200), None), Identity(Id::Real(Group), Full)),
    (call("getegid", Some(108), None, Some(177)), Identity(Id::Effective(Group), Full)),
    (call("getegid", None, Some(50), None), Identity(Id::Effective(Group), Short)),
    (call("getegid32", None, Some(202), None), Identity(Id::Effective(Group), Full)),
    (call("getresuid", Some(118), None, Some(148)), Identity(Id::All(User), Full)),
    (call("getresuid", None, Some(165), None), Identity(Id::All(User), Short)),
    (call("getresuid32", None, Some(209), None), Identity(Id::All(User), Full)),
    (call("getresgid", Some(120), None, Some(150)), Identity(Id::All(Group), Full)),
    (call("getresgid", None, Some(171), None), Identity(Id::All(Group), Short)),
    (call("getresgid32", None, Some(211), None), Identity(Id::All(Group), Full)),
    (call("getgroups", Some(115), None, Some(158)), Identity(Id::Groups, Full)),
    (call("getgroups", None, Some(80), None), Identity(Id::Groups, Short)),
    (call("getgroups32", None, Some(205), None), Identity(Id::Groups, Full)),
    (call("chown", Some(92), None, None), ChangeOwner(Form::Path, Full)),
    (call("chown", None, Some(182), None), ChangeOwner(Form::Path, Short)),
    (call("chown32", None, Some(212), None), ChangeOwner(Form::Path, Full)),
    (call("lchown", Some(94), None, None), ChangeOwner(Form::Link, Full)),
    (call("lchown", None, Some(16), None), ChangeOwner(Form::Link, Short)),
    (call("lchown32", None, Some(198), None), ChangeOwner(Form::Link, Full)),
    (call("fchown", Some(93), None, Some(55)), ChangeOwner(Form::Descriptor, Full)),
    (call("fchown", None, Some(95), None), ChangeOwner(Form::Descriptor, Short)),
    (call("fchown32", None, Some(207), None), ChangeOwner(Form::Descriptor, Full)),
    (call("fchownat", Some(260), Some(298), Some(54)), ChangeOwner(Form::At(4), Full)),
    (call("stat", Some(4), None, None), Status((Form::Path, Layout::Stat))),
    (call("stat64", None, Some(195), None), Status((Form::Path, Layout::Stat))),
    (call("lstat", Some(6), None, None), Status((Form::Link, Layout::Stat))),
    (call("lstat64", None, Some(196), None), Status((Form::Link, Layout::Stat))),
    (call("fstat", Some(5), None, Some(80)), Status((Form::Descriptor, Layout::Stat))),
    (call("fstat64", None, Some(197), None), Status((Form::Descriptor, Layout::Stat))),
    (call("newfstatat", Some(262), Some(300), Some(79)), Status((Form::At(3), Layout::Stat))),
    (call("statx", Some(332), Some(383), Some(291)), Status((Form::At(2), Layout::Statx))),
    (call("open", Some(2), Some(5), None), Create(Open)),
    (call("openat", Some(257), Some(295), Some(56)), Create(OpenAt)),
    // Its flags are in memory; few programs use it.
    (call("openat2", Some(437), Some(437), Some(437)), Create(CreateAt(0))),
    (call("creat", Some(85), Some(8), None), Create(CreatePath(0))),
    (call("mkdir", Some(83), Some(39), None), Create(CreatePath(0))),
    (call("mkdirat", Some(258), Some(296), Some(34)), Create(CreateAt(0))),
    (call("mknod", Some(133), Some(14), None), Create(CreatePath(0))),
    (call("mknodat", Some(259), Some(297), Some(33)), Create(CreateAt(0))),
    (call("symlink", Some(88), Some(83), None), Create(CreatePath(1))),
    (call("symlinkat", Some(266), Some(304), Some(36)), Create(CreateAt(1))),
    (call("rename", Some(82), Some(38), None), Rename),
    (call("renameat", Some(264), Some(302), Some(38)), Rename),
    (call("renameat2", Some(316), Some(353), Some(276)), Rename),
    (call("utimensat", Some(280), None, Some(88)), SetTimes(Form::At(3), Times::Nanoseconds)),
    (call("futimesat", Some(261), None, None), SetTimes(Form::At(NO_FLAGS), Times::Microseconds)),
    (call("utimes", Some(235), None, None), SetTimes(Form::Path, Times::Microseconds)),
    (call("utime", Some(132), None, None), SetTimes(Form::Path, Times::Seconds)),
    (call("chroot", Some(161), Some(61), Some(51)), ChangeRoot),
];

const O_CREAT: u32 = 0o100;

/// What the filter does with an emulated call: it looks at flags already, which saves most of the questions.
pub(crate) fn verdict(operation: Operation) -> Verdict {
    let only_with = |argument: u8, bit: u32| Verdict {
        checks: vec![Check {
            conditions: vec![Condition { argument, mask: bit, value: bit, equal: true }],
            action: Action::Notify,
        }],
        otherwise: Action::Allow,
    };
    match operation {
        Create(Open) => only_with(1, O_CREAT),
        Create(OpenAt) => only_with(2, O_CREAT),
        _ => Verdict::always(Action::Notify),
    }
}

/// What the call of this number asks for.
pub(super) fn operation(architecture: u32, number: u32) -> Option<Operation> {
    let wanted = Some(number);
    EMULATED
        .iter()
        .find(|(call, _)| match architecture {
            ARCHITECTURE_X86_64 => call.x86_64 == wanted,
            ARCHITECTURE_I386 => call.i386 == wanted,
            ARCHITECTURE_AARCH64 => call.aarch64 == wanted,
            _ => false,
        })
        .map(|(_, operation)| *operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_means_two_things() {
        for numbers in [
            EMULATED.iter().filter_map(|(call, _)| call.x86_64).collect::<Vec<_>>(),
            EMULATED.iter().filter_map(|(call, _)| call.i386).collect(),
            EMULATED.iter().filter_map(|(call, _)| call.aarch64).collect(),
        ] {
            let distinct: std::collections::BTreeSet<_> = numbers.iter().collect();
            assert_eq!(distinct.len(), numbers.len());
        }
    }

    #[test]
    fn numbers_are_those_of_this_machine() {
        let here: &[(&str, i64)] = &[
            ("setresuid", libc::SYS_setresuid),
            ("getresgid", libc::SYS_getresgid),
            ("setgroups", libc::SYS_setgroups),
            ("fchownat", libc::SYS_fchownat),
            ("newfstatat", libc::SYS_newfstatat),
            ("statx", libc::SYS_statx),
            ("openat", libc::SYS_openat),
            ("mkdirat", libc::SYS_mkdirat),
            ("symlinkat", libc::SYS_symlinkat),
            ("renameat2", libc::SYS_renameat2),
            ("utimensat", libc::SYS_utimensat),
            ("chroot", libc::SYS_chroot),
        ];
        for (name, number) in here {
            let numbers = |call: &Call| if cfg!(target_arch = "aarch64") { call.aarch64 } else { call.x86_64 };
            assert!(
                EMULATED.iter().any(|(call, _)| call.name == *name && numbers(call).map(i64::from) == Some(*number)),
                "{name}"
            );
        }
    }
}
