//! The system call filter of a step: at least as strict as Docker's default profile.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bake_sys::seccomp::{ARCHITECTURE_AARCH64, ARCHITECTURE_I386, ARCHITECTURE_X86_64};
use bake_sys::seccomp::{AbiTable, Action, Check, Condition, Program, ProgramError, Verdict};

use crate::emulation::{EMULATED, verdict};
use crate::step::{FakeIds, SecurityMode, ThirtyTwoBit};
use crate::syscall_table::{BLOCKED, CLONE, CLONE3, Call, KNOWN_END, PERSONALITY, SOCKET, SOCKETCALL};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EPROTONOSUPPORT: u16 = 93;
const EAFNOSUPPORT: u16 = 97;

/// Every `CLONE_NEW*` bit that `clone` takes.
const CLONE_NEW_NAMESPACES: u32 = 0x7e02_0000;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const NETLINK_AUDIT: u32 = 9;
/// Linux, 32-bit Linux, both with the uname of 2.6, and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];
/// Which filter a step gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterChoice {
    pub(crate) security: SecurityMode,
    pub(crate) fake_ids: FakeIds,
    pub(crate) thirty_two_bit: ThirtyTwoBit,
}

/// The bytes of the chosen filter, compiled once per process; `None` when nothing is filtered.
pub(crate) fn program(choice: FilterChoice) -> Result<Option<&'static [u8]>, ProgramError> {
    // One slot for each combination: the filters depend on nothing else, so this caches constants.
    static COMPILED: [OnceLock<Vec<u8>>; 8] = [const { OnceLock::new() }; 8];
    let sandboxed = choice.security == SecurityMode::Sandbox;
    let faked = choice.fake_ids == FakeIds::On;
    if !sandboxed && !faked {
        return Ok(None);
    }
    let full_32 = choice.thirty_two_bit == ThirtyTwoBit::Full;
    let slot = usize::from(sandboxed) | usize::from(faked) << 1 | usize::from(full_32) << 2;
    let Some(cell) = COMPILED.get(slot) else { return Ok(None) };
    if let Some(bytes) = cell.get() {
        return Ok(Some(bytes));
    }
    let bytes = Program::compile(&tables(choice))?.to_bytes();
    Ok(Some(cell.get_or_init(|| bytes)))
}

/// Picks a call's number in one ABI.
type NumberOf = fn(&Call) -> Option<u32>;

fn tables(choice: FilterChoice) -> Vec<AbiTable> {
    if cfg!(target_arch = "aarch64") {
        vec![table(ARCHITECTURE_AARCH64, |call| call.aarch64, choice)]
    } else {
        vec![table(ARCHITECTURE_X86_64, |call| call.x86_64, choice), table(ARCHITECTURE_I386, |call| call.i386, choice)]
    }
}

fn table(architecture: u32, number_of: NumberOf, choice: FilterChoice) -> AbiTable {
    let mut verdicts = BTreeMap::new();
    let mut add = |call: &Call, verdict: Verdict| {
        if let Some(number) = number_of(call) {
            verdicts.insert(number, verdict);
        }
    };
    if choice.fake_ids == FakeIds::On {
        for (call, operation) in EMULATED {
            add(call, verdict(*operation));
        }
    }
    if choice.security == SecurityMode::Insecure {
        return AbiTable {
            architecture,
            verdicts,
            otherwise: Action::Allow,
            known_end: u32::MAX,
            unknown: Action::Allow,
        };
    }
    for call in BLOCKED {
        add(call, Verdict::always(Action::Errno(EPERM)));
    }
    add(&CLONE3, Verdict::always(Action::Errno(ENOSYS)));
    add(&CLONE, allow_when(&[Condition::none_of_bits(0, CLONE_NEW_NAMESPACES)]));
    add(&SOCKET, socket());
    if choice.thirty_two_bit == ThirtyTwoBit::Restricted {
        // C libraries then use the separate calls, which the filter can look into.
        add(&SOCKETCALL, Verdict::always(Action::Errno(ENOSYS)));
    }
    add(&PERSONALITY, allow_when(&PERSONALITIES.map(|value| Condition::equal(0, value))));
    AbiTable { architecture, verdicts, otherwise: Action::Allow, known_end: KNOWN_END, unknown: Action::Errno(ENOSYS) }
}

/// Allowed when any one of the conditions holds.
fn allow_when(conditions: &[Condition]) -> Verdict {
    let checks =
        conditions.iter().map(|condition| Check { conditions: vec![*condition], action: Action::Allow }).collect();
    Verdict { checks, otherwise: Action::Errno(EPERM) }
}

fn socket() -> Verdict {
    let deny =
        |conditions: &[Condition], errno| Check { conditions: conditions.to_vec(), action: Action::Errno(errno) };
    Verdict {
        checks: vec![
            // The errors say "this kernel has no such thing", after which programs do without.
            deny(&[Condition::equal(0, AF_ALG)], EAFNOSUPPORT),
            deny(&[Condition::equal(0, AF_VSOCK)], EAFNOSUPPORT),
            deny(&[Condition::equal(0, AF_PACKET)], EPERM),
            deny(&[Condition::equal(0, AF_NETLINK), Condition::equal(2, NETLINK_AUDIT)], EPROTONOSUPPORT),
        ],
        otherwise: Action::Allow,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    const DEFAULT: FilterChoice = FilterChoice {
        security: SecurityMode::Sandbox,
        fake_ids: FakeIds::Off,
        thirty_two_bit: ThirtyTwoBit::Restricted,
    };

    #[test]
    fn every_choice_compiles_to_a_short_program() {
        for security in [SecurityMode::Sandbox, SecurityMode::Insecure] {
            for fake_ids in [FakeIds::Off, FakeIds::On] {
                for thirty_two_bit in [ThirtyTwoBit::Restricted, ThirtyTwoBit::Full] {
                    let choice = FilterChoice { security, fake_ids, thirty_two_bit };
                    let bytes = program(choice).unwrap();
                    let none = security == SecurityMode::Insecure && fake_ids == FakeIds::Off;
                    assert_eq!(bytes.is_none(), none);
                    assert!(bytes.is_none_or(|bytes| Program::from_bytes(bytes).unwrap().len() < 1000));
                }
            }
        }
    }

    #[test]
    fn tables_agree_with_this_machines_numbers() {
        let numbers: &[(&str, i64)] = &[
            ("mount", libc::SYS_mount),
            ("bpf", libc::SYS_bpf),
            ("keyctl", libc::SYS_keyctl),
            ("unshare", libc::SYS_unshare),
            ("setns", libc::SYS_setns),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("init_module", libc::SYS_init_module),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("kexec_load", libc::SYS_kexec_load),
            ("pivot_root", libc::SYS_pivot_root),
            ("syslog", libc::SYS_syslog),
        ];
        for (name, number) in numbers {
            let call = BLOCKED.iter().find(|call| call.name == *name).unwrap();
            let here = if cfg!(target_arch = "aarch64") { call.aarch64 } else { call.x86_64 };
            assert_eq!(i64::from(here.unwrap()), *number, "{name}");
        }
    }

    #[test]
    fn aarch64_has_the_same_denials() {
        let table = table(ARCHITECTURE_AARCH64, |call| call.aarch64, DEFAULT);
        assert_eq!(table.verdicts.get(&40), Some(&Verdict::always(Action::Errno(EPERM))), "mount");
        assert_eq!(table.verdicts.get(&435), Some(&Verdict::always(Action::Errno(ENOSYS))), "clone3");
        assert!(table.verdicts.contains_key(&198), "socket");
    }
}
