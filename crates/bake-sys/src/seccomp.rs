//! System call filters (`seccomp(2)`): from per-ABI verdicts to a classic BPF program, and installing it.
//!
//! A program first finds the table of the calling ABI, then searches the call's number by bisection, so a call costs
//! about eight comparisons whatever the size of the table. Calls of an ABI without a table kill the process. Arguments
//! are compared in their lower 32 bits, which are all the kernel looks at for the calls worth checking (`int` and
//! flag arguments); comparing all 64 would let a caller hide a forbidden value behind high bits that the kernel drops.

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::{Result, check};

/// The ABI of 64-bit x86, including x32 (which differs in bit 30 of the call number).
pub const ARCHITECTURE_X86_64: u32 = 0xc000_003e;
/// The ABI of 32-bit x86.
pub const ARCHITECTURE_I386: u32 = 0x4000_0003;
/// The ABI of 64-bit ARM.
pub const ARCHITECTURE_AARCH64: u32 = 0xc000_00b7;

/// The kernel's limit on the length of one program (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It runs.
    Allow,
    /// It does not run and returns this error; 0 pretends success.
    Errno(u16),
    /// It is handed to the reader of the filter's notification descriptor ([`install_with_listener`]).
    Notify,
    /// The process is killed.
    KillProcess,
}

impl Action {
    fn encode(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Self::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// A test of one argument's lower 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument: 0 to 5.
    pub argument: u8,
    /// Bits of the argument that count; the others are taken as 0.
    pub mask: u32,
    /// What the masked argument is compared with.
    pub value: u32,
    /// Whether it has to be equal.
    pub equal: bool,
}

impl Condition {
    /// The argument's lower 32 bits are `value`.
    pub const fn equal(argument: u8, value: u32) -> Self {
        Self { argument, mask: u32::MAX, value, equal: true }
    }

    /// The argument's lower 32 bits are not `value`.
    pub const fn not_equal(argument: u8, value: u32) -> Self {
        Self { argument, mask: u32::MAX, value, equal: false }
    }

    /// None of the bits of `mask` is set in the argument.
    pub const fn none_of_bits(argument: u8, mask: u32) -> Self {
        Self { argument, mask, value: 0, equal: true }
    }
}

/// An action taken when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The conditions; with none the check always holds.
    pub conditions: Vec<Condition>,
    /// What then happens.
    pub action: Action,
}

/// What happens to one system call: the first check that holds decides, otherwise `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In order.
    pub checks: Vec<Check>,
    /// When no check holds.
    pub otherwise: Action,
}

impl Verdict {
    /// The same action whatever the arguments.
    pub const fn always(action: Action) -> Self {
        Self { checks: Vec::new(), otherwise: action }
    }
}

/// The table of one ABI.
#[derive(Debug, Clone)]
pub struct AbiTable {
    /// Which ABI (`AUDIT_ARCH_*`).
    pub architecture: u32,
    /// Verdicts by call number.
    pub verdicts: BTreeMap<u32, Verdict>,
    /// For the numbers below `known_end` without a verdict.
    pub otherwise: Action,
    /// The first number that this table knows nothing about.
    pub known_end: u32,
    /// For `known_end` and all numbers above it.
    pub unknown: Action,
}

/// A filter ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

/// Why verdicts cannot be made into a program, or bytes not be read as one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProgramError {
    /// More instructions than the kernel takes.
    #[error("the system call filter has {instructions} instructions, the kernel takes {INSTRUCTIONS_MAX}")]
    TooLong {
        /// How many there would be.
        instructions: usize,
    },
    /// An argument number above 5.
    #[error("system calls have no argument number {argument}")]
    NoSuchArgument {
        /// The number.
        argument: u8,
    },
    /// One call has so many checks that a jump over them does not fit.
    #[error("too many conditions in one check of a system call filter")]
    TooManyConditions,
    /// The bytes are not a whole number of instructions, or too many.
    #[error("{bytes} bytes are not a system call filter")]
    NotAProgram {
        /// How many bytes there were.
        bytes: usize,
    },
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;
/// The size of an encoded instruction, in bytes.
const INSTRUCTION_BYTES: usize = 8;

impl Program {
    /// Compiles tables of different ABIs.
    ///
    /// # Errors
    /// [`ProgramError::TooLong`], [`ProgramError::NoSuchArgument`], [`ProgramError::TooManyConditions`].
    pub fn compile(tables: &[AbiTable]) -> std::result::Result<Self, ProgramError> {
        let mut instructions = vec![statement(LOAD, OFFSET_ARCHITECTURE)];
        for table in tables {
            let mut block = vec![statement(LOAD, OFFSET_NUMBER)];
            block.extend(bisect(&segments(table))?);
            // A long jump over the block, because a conditional jump reaches 255 instructions only.
            instructions.push(conditional(JUMP_EQUAL, table.architecture, 1, 0));
            instructions.push(statement(JUMP, length(&block)?));
            instructions.extend(block);
        }
        instructions.push(statement(RETURN, Action::KillProcess.encode()));
        if instructions.len() > INSTRUCTIONS_MAX {
            return Err(ProgramError::TooLong { instructions: instructions.len() });
        }
        Ok(Self { instructions })
    }

    /// The number of instructions.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether there are none; a compiled program always has some.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// The program as bytes, to hand it to another process of the same machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * INSTRUCTION_BYTES);
        for instruction in &self.instructions {
            bytes.extend_from_slice(&instruction.code.to_le_bytes());
            bytes.extend_from_slice(&[instruction.jump_true, instruction.jump_false]);
            bytes.extend_from_slice(&instruction.operand.to_le_bytes());
        }
        bytes
    }

    /// The opposite of [`Self::to_bytes`]. Whether the program makes sense is checked by the kernel.
    ///
    /// # Errors
    /// [`ProgramError::NotAProgram`].
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, ProgramError> {
        let (chunks, rest) = bytes.as_chunks::<INSTRUCTION_BYTES>();
        if !rest.is_empty() || chunks.is_empty() || chunks.len() > INSTRUCTIONS_MAX {
            return Err(ProgramError::NotAProgram { bytes: bytes.len() });
        }
        let instructions = chunks
            .iter()
            .map(|[code_low, code_high, jump_true, jump_false, operand @ ..]| Instruction {
                code: u16::from_le_bytes([*code_low, *code_high]),
                jump_true: *jump_true,
                jump_false: *jump_false,
                operand: u32::from_le_bytes(*operand),
            })
            .collect();
        Ok(Self { instructions })
    }
}

/// Installs a filter for the calling thread and all it starts from now on (`SECCOMP_SET_MODE_FILTER`).
///
/// # Errors
/// `EACCES`: neither `CAP_SYS_ADMIN` in the user namespace nor `no_new_privs`; `EINVAL`: not a valid program or no
/// filters in this kernel; `ENOMEM`: too many filters in all.
pub fn install(program: &Program) -> Result<()> {
    set_filter(program, 0).map(drop)
}

/// As [`install`]; calls with [`Action::Notify`] wait for the reader of the returned descriptor
/// (`SECCOMP_FILTER_FLAG_NEW_LISTENER`, `seccomp_unotify(2)`).
///
/// # Errors
/// As [`install`]; `EBUSY`: the thread has a filter with a listener already.
pub fn install_with_listener(program: &Program) -> Result<OwnedFd> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // A call that is being answered is then interrupted by deadly signals only, so none is carried out twice.
    let number = match set_filter(program, listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        // Before Linux 5.19.
        Err(Errno::INVAL) => set_filter(program, listener)?,
        other => other?,
    };
    let number = libc::c_int::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns; it is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn set_filter(program: &Program, flags: libc::c_ulong) -> Result<libc::c_long> {
    let mut filters: Vec<libc::sock_filter> = program
        .instructions
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.operand,
        })
        .collect();
    let description = libc::sock_fprog {
        len: libc::c_ushort::try_from(filters.len()).map_err(|_| Errno::INVAL)?,
        filter: filters.as_mut_ptr(),
    };
    // SAFETY: the description points to as many instructions as it says; the kernel copies and verifies them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const description) })
}

/// The table as neighbouring ranges: each begins at its number and ends where the next begins.
fn segments(table: &AbiTable) -> Vec<(u32, Verdict)> {
    let mut segments: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |start: u32, verdict: Verdict| match segments.last() {
        Some((_, last)) if *last == verdict => {}
        _ => segments.push((start, verdict)),
    };
    let mut next = 0;
    for (number, verdict) in table.verdicts.range(..table.known_end) {
        if *number > next {
            push(next, Verdict::always(table.otherwise));
        }
        push(*number, verdict.clone());
        next = *number + 1;
    }
    if next < table.known_end {
        push(next, Verdict::always(table.otherwise));
    }
    push(table.known_end, Verdict::always(table.unknown));
    segments
}

/// The code that decides on the loaded call number.
fn bisect(segments: &[(u32, Verdict)]) -> std::result::Result<Vec<Instruction>, ProgramError> {
    let (low, high) = segments.split_at(segments.len() / 2);
    let Some((middle, _)) = high.first() else { return Ok(Vec::new()) };
    if low.is_empty() {
        let [(_, verdict)] = high else { return bisect(high) };
        return leaf(verdict);
    }
    let below = bisect(low)?;
    let above = bisect(high)?;
    let mut code = Vec::with_capacity(below.len() + above.len() + 2);
    if let Ok(distance) = u8::try_from(below.len()) {
        code.push(conditional(JUMP_AT_LEAST, *middle, distance, 0));
    } else {
        code.push(conditional(JUMP_AT_LEAST, *middle, 0, 1));
        code.push(statement(JUMP, length(&below)?));
    }
    code.extend(below);
    code.extend(above);
    Ok(code)
}

/// The code of one verdict.
fn leaf(verdict: &Verdict) -> std::result::Result<Vec<Instruction>, ProgramError> {
    let mut code = Vec::new();
    for check in &verdict.checks {
        let mut tests = Vec::new();
        // From the last condition to the first, so that the distance to the end of the check is known.
        for condition in check.conditions.iter().rev() {
            if condition.argument > 5 {
                return Err(ProgramError::NoSuchArgument { argument: condition.argument });
            }
            // Over the tests that follow and the return.
            let distance = u8::try_from(tests.len() + 1).map_err(|_| ProgramError::TooManyConditions)?;
            let (jump_true, jump_false) = if condition.equal { (0, distance) } else { (distance, 0) };
            // The lower half comes first on the little-endian machines this runs on.
            let mut test = vec![statement(LOAD, OFFSET_ARGUMENTS + 8 * u32::from(condition.argument))];
            if condition.mask != u32::MAX {
                test.push(statement(AND, condition.mask));
            }
            test.push(conditional(JUMP_EQUAL, condition.value, jump_true, jump_false));
            test.extend(tests);
            tests = test;
        }
        code.extend(tests);
        code.push(statement(RETURN, check.action.encode()));
    }
    code.push(statement(RETURN, verdict.otherwise.encode()));
    Ok(code)
}

fn length(code: &[Instruction]) -> std::result::Result<u32, ProgramError> {
    u32::try_from(code.len()).map_err(|_| ProgramError::TooLong { instructions: code.len() })
}

fn statement(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

fn conditional(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

#[cfg(target_endian = "big")]
compile_error!("the argument offsets of the filter are those of little-endian machines");

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    /// Runs a program on one call, as the kernel does.
    fn run(program: &Program, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let load = |offset: u32| match offset {
            OFFSET_NUMBER => number,
            OFFSET_ARCHITECTURE => architecture,
            _ => u32::try_from(arguments[(offset as usize - 16) / 8] & 0xffff_ffff).unwrap(),
        };
        let (mut counter, mut accumulator) = (0, 0);
        loop {
            let instruction = program.instructions[counter];
            counter += 1;
            let mut jump = |holds: bool| {
                counter += usize::from(if holds { instruction.jump_true } else { instruction.jump_false });
            };
            match instruction.code {
                LOAD => accumulator = load(instruction.operand),
                AND => accumulator &= instruction.operand,
                JUMP => counter += instruction.operand as usize,
                JUMP_EQUAL => jump(accumulator == instruction.operand),
                JUMP_AT_LEAST => jump(accumulator >= instruction.operand),
                RETURN => return instruction.operand,
                code => panic!("unexpected instruction {code:#x}"),
            }
        }
    }

    fn table(architecture: u32, verdicts: BTreeMap<u32, Verdict>) -> AbiTable {
        AbiTable { architecture, verdicts, otherwise: Action::Allow, known_end: 2000, unknown: Action::Errno(38) }
    }

    #[test]
    fn every_number_gets_its_verdict_also_over_long_jumps() {
        // Alternating verdicts make the largest possible tree, longer than short jumps reach.
        let verdicts: BTreeMap<u32, Verdict> = (0..1000)
            .map(|number| (number * 2, Verdict::always(Action::Errno(u16::try_from(number + 1).unwrap()))))
            .collect();
        let small = BTreeMap::from([(5, Verdict::always(Action::Notify))]);
        let program =
            Program::compile(&[table(ARCHITECTURE_X86_64, verdicts), table(ARCHITECTURE_I386, small)]).unwrap();
        for number in 0..2000 {
            let expected =
                if number % 2 == 0 { Action::Errno(u16::try_from(number / 2 + 1).unwrap()) } else { Action::Allow };
            assert_eq!(run(&program, ARCHITECTURE_X86_64, number, [0; 6]), expected.encode(), "{number}");
        }
        for number in [2000, 2001, 0x4000_0000, u32::MAX] {
            assert_eq!(run(&program, ARCHITECTURE_X86_64, number, [0; 6]), Action::Errno(38).encode());
        }
        assert_eq!(run(&program, ARCHITECTURE_I386, 5, [0; 6]), Action::Notify.encode());
        assert_eq!(run(&program, ARCHITECTURE_I386, 4, [0; 6]), Action::Allow.encode());
        assert_eq!(run(&program, ARCHITECTURE_AARCH64, 5, [0; 6]), Action::KillProcess.encode());
        assert_eq!(Program::from_bytes(&program.to_bytes()).unwrap(), program);
    }

    #[test]
    fn checks_hold_when_all_their_conditions_do() {
        let verdict = Verdict {
            checks: vec![
                Check {
                    conditions: vec![Condition::equal(0, 16), Condition::not_equal(2, 9)],
                    action: Action::Errno(1),
                },
                Check { conditions: vec![Condition::none_of_bits(1, 0xf0)], action: Action::Errno(2) },
            ],
            otherwise: Action::Allow,
        };
        let program = Program::compile(&[table(ARCHITECTURE_X86_64, BTreeMap::from([(7, verdict)]))]).unwrap();
        let verdict_of = |arguments| run(&program, ARCHITECTURE_X86_64, 7, arguments);
        assert_eq!(verdict_of([16, 0xff, 8, 0, 0, 0]), Action::Errno(1).encode());
        assert_eq!(verdict_of([16, 0xff, 9, 0, 0, 0]), Action::Allow.encode());
        assert_eq!(verdict_of([16, 0x0f, 9, 0, 0, 0]), Action::Errno(2).encode());
        // High bits that the kernel drops hide nothing.
        assert_eq!(verdict_of([0x1_0000_0010, 0xff, 8, 0, 0, 0]), Action::Errno(1).encode());
    }

    #[test]
    fn impossible_programs_are_errors() {
        let bad = Verdict {
            checks: vec![Check { conditions: vec![Condition::equal(6, 0)], action: Action::Allow }],
            otherwise: Action::Allow,
        };
        let error = Program::compile(&[table(ARCHITECTURE_X86_64, BTreeMap::from([(1, bad)]))]).unwrap_err();
        assert_eq!(error, ProgramError::NoSuchArgument { argument: 6 });
        assert!(Program::from_bytes(&[0; 9]).is_err());
        assert!(Program::from_bytes(&[]).is_err());
    }
}
