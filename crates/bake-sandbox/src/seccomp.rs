//! The system call filter of a step: at least as strict as Docker's default profile.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bake_sys::seccomp::{ARCHITECTURE_AARCH64, ARCHITECTURE_I386, ARCHITECTURE_X86_64};
use bake_sys::seccomp::{AbiTable, Action, Check, Condition, Program, ProgramError, Verdict};

use crate::emulation::{EMULATED, verdict};
use crate::step::{FakeIds, SecurityMode, ThirtyTwoBit};
use crate::syscall_table::{BLOCKED, CLONE, CLONE3, Call, KNOWN_END, PERSONALITY, SOCKET, SOCKETCALL, unassigned};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EPROTONOSUPPORT: u16 = 93;
const EAFNOSUPPORT: u16 = 97;

/// Every `CLONE_NEW*` bit that `clone` takes.
const CLONE_NEW_NAMESPACES: u32 = 0x7e02_0000;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;
/// Socket families that have had kernel bugs and that nothing in a step needs, or that no longer exist: `AF_DECnet`,
/// `AF_ECONET`, `AF_ATMSVC`, `AF_IRDA`, `AF_WANPIPE`, `AF_IUCV`, `AF_CAIF`, `AF_ALG` (the kernel's ciphers), `AF_VSOCK`.
const FAMILIES_ABSENT: [u32; 9] = [12, 19, 20, 23, 25, 34, 37, 38, 40];
/// The families from 46 on, which the kernels this was written for do not have: 46 and 47, 48 to 63, all others.
const FAMILIES_UNKNOWN: [Condition; 3] = [
    Condition { argument: 0, mask: !1, value: 46, equal: true },
    Condition { argument: 0, mask: !15, value: 48, equal: true },
    Condition { argument: 0, mask: !63, value: 0, equal: false },
];
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
    for number in unassigned(architecture) {
        verdicts.insert(number, Verdict::always(Action::Errno(ENOSYS)));
    }
    let mut add = |call: &Call, verdict: Verdict| {
        if let Some(number) = number_of(call) {
            verdicts.insert(number, verdict);
        }
    };
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
    // The errors say "this kernel has no such thing", after which programs do without.
    let absent = FAMILIES_ABSENT.iter().map(|family| Condition::equal(0, *family)).chain(FAMILIES_UNKNOWN);
    let mut checks: Vec<Check> = absent.map(|condition| deny(&[condition], EAFNOSUPPORT)).collect();
    checks.push(deny(&[Condition::equal(0, AF_PACKET)], EPERM));
    checks.push(deny(&[Condition::equal(0, AF_NETLINK), Condition::equal(2, NETLINK_AUDIT)], EPROTONOSUPPORT));
    Verdict { checks, otherwise: Action::Allow }
}

#[cfg(test)]
mod tests;
