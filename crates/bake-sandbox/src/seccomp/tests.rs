//! The filter, run call by call as the kernel runs it, beside what Docker's default profile does.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use super::*;

const DEFAULT: FilterChoice =
    FilterChoice { security: SecurityMode::Sandbox, fake_ids: FakeIds::Off, thirty_two_bit: ThirtyTwoBit::Restricted };

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

/// What Docker's default profile does with a call.
const DOCKERS: &str = include_str!("../../testdata/docker-default.txt");

/// The largest number that is tried: far more than any ABI has.
const NUMBERS_END: u32 = 1024;

/// The bit that marks calls of the x32 ABI.
const X32: u32 = 0x4000_0000;

/// Runs a filter's bytes on one call, as the kernel does; the answer is `SECCOMP_RET_*` with its data.
fn decide(bytes: &[u8], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let (mut counter, mut accumulator) = (0_usize, 0_u32);
    loop {
        let [code_low, code_high, when_true, when_false, operand @ ..] = bytes.as_chunks::<8>().0[counter];
        let operand = u32::from_le_bytes(operand);
        counter += 1;
        let mut jump = |holds: bool| counter += usize::from(if holds { when_true } else { when_false });
        match u16::from_le_bytes([code_low, code_high]) {
            0x20 => accumulator = u32::from_le_bytes(*data[operand as usize..].first_chunk().unwrap()),
            0x54 => accumulator &= operand,
            0x05 => counter += operand as usize,
            0x15 => jump(accumulator == operand),
            0x35 => jump(accumulator >= operand),
            0x06 => return operand,
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// The filter for one ABI alone, whatever machine the test runs on.
fn filter_of(architecture: u32, thirty_two_bit: ThirtyTwoBit) -> Vec<u8> {
    let number_of: NumberOf = match architecture {
        ARCHITECTURE_X86_64 => |call| call.x86_64,
        ARCHITECTURE_I386 => |call| call.i386,
        _ => |call| call.aarch64,
    };
    let choice = FilterChoice { thirty_two_bit, ..DEFAULT };
    Program::compile(&[table(architecture, number_of, choice)]).unwrap().to_bytes()
}

/// Docker's verdicts for one ABI, by number: the name of the call, and what is said of it.
fn dockers(architecture: u32) -> BTreeMap<u32, (&'static str, &'static str)> {
    let column = match architecture {
        ARCHITECTURE_X86_64 => 1,
        ARCHITECTURE_I386 => 2,
        _ => 3,
    };
    let rows = DOCKERS.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        Some((fields[column].parse().ok()?, (fields[0], fields[4])))
    })
    .collect()
}

fn allows(bytes: &[u8], architecture: u32, number: u32, arguments: &[u64]) -> bool {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    decide(bytes, architecture, number, all) == libc::SECCOMP_RET_ALLOW
}

/// Whether Docker's profile allows a call that it looks into. libseccomp compares all 64 bits of an argument.
fn docker_allows(name: &str, first: u64) -> bool {
    match name {
        "socket" => first < 46 && ![12, 19, 20, 23, 25, 34, 37, 38, 40].contains(&first),
        "personality" => [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].contains(&first),
        "clone" => first & 0x7e02_0000 == 0,
        _ => panic!("{name} is not known to be decided by its arguments"),
    }
}

/// What is tried as the first argument of calls that are decided by it.
fn first_arguments() -> Vec<u64> {
    let bits = (0..64).map(|bit| 1_u64 << bit);
    let more = [0x2_0008, 0xffff_ffff, 0xffff_ffff_ffff_ffff, 0x1_0000_0002, 0x1_0000_0026, 0x003d_0f00, 0x7e02_0000];
    (0..300).chain(bits).chain(more).collect()
}

#[test]
fn nothing_is_allowed_that_docker_denies_and_the_difference_is_known() {
    // What is denied here and allowed by Docker, by ABI; docs/security.md lists it.
    let stricter: [(u32, &[&str]); 3] =
        [(ARCHITECTURE_X86_64, &[]), (ARCHITECTURE_I386, &["socketcall"]), (ARCHITECTURE_AARCH64, &[])];
    for (architecture, expected) in stricter {
        let filter = filter_of(architecture, ThirtyTwoBit::Restricted);
        let dockers = dockers(architecture);
        assert!(dockers.len() > 300, "{architecture:#x}: {}", dockers.len());
        let mut found = Vec::new();
        for number in 0..NUMBERS_END {
            let ours = allows(&filter, architecture, number, &[]);
            match dockers.get(&number) {
                Some((name, "arguments")) => {
                    for first in first_arguments() {
                        // The kernel looks at the lower half only, so that is what a caller gets.
                        let theirs = docker_allows(name, first & 0xffff_ffff);
                        let ours = allows(&filter, architecture, number, &[first]);
                        assert!(theirs || !ours, "{architecture:#x}: {name}({first:#x}) is allowed");
                        // Packet sockets need a capability that steps do not have.
                        let known = *name == "socket" && first & 0xffff_ffff == u64::from(AF_PACKET);
                        assert!(ours == theirs || known, "{architecture:#x}: {name}({first:#x}) is denied");
                    }
                }
                Some((name, "allow")) if !ours => found.push(*name),
                Some((_, "allow")) => {}
                Some((name, verdict)) => {
                    assert!(!ours, "{architecture:#x}: {name} is allowed");
                    let errno = libc::SECCOMP_RET_ERRNO | u32::from(ENOSYS);
                    let absent = decide(&filter, architecture, number, [0; 6]) == errno;
                    assert!(*verdict != "absent" || absent, "{architecture:#x}: {name} is not absent");
                }
                None => assert!(!ours, "{architecture:#x}: {number}, which is no call, is allowed"),
            }
        }
        assert_eq!(found, expected, "{architecture:#x}");
    }
}

#[test]
fn other_abis_are_not_a_way_around() {
    let filter = program(DEFAULT).unwrap().unwrap();
    for number in 0..NUMBERS_END {
        if cfg!(target_arch = "x86_64") {
            let answer = decide(filter, ARCHITECTURE_X86_64, number | X32, [0; 6]);
            assert_eq!(answer, libc::SECCOMP_RET_ERRNO | u32::from(ENOSYS), "x32 call {number}");
        }
        // MIPS: an ABI of no machine this runs on.
        assert_eq!(decide(filter, 0x8, number, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
    let full = filter_of(ARCHITECTURE_I386, ThirtyTwoBit::Full);
    assert!(allows(&full, ARCHITECTURE_I386, 102, &[]), "socketcall");
}

#[test]
fn audit_messages_are_denied() {
    let filter = filter_of(ARCHITECTURE_X86_64, ThirtyTwoBit::Restricted);
    assert!(allows(&filter, ARCHITECTURE_X86_64, 41, &[u64::from(AF_NETLINK), 3, 0]));
    assert!(!allows(&filter, ARCHITECTURE_X86_64, 41, &[u64::from(AF_NETLINK), 3, u64::from(NETLINK_AUDIT)]));
}

#[test]
fn emulated_ids_open_no_other_calls() {
    for (architecture, column) in [
        (ARCHITECTURE_X86_64, (|call| call.x86_64) as NumberOf),
        (ARCHITECTURE_I386, |call| call.i386),
        (ARCHITECTURE_AARCH64, |call| call.aarch64),
    ] {
        let choice = FilterChoice { fake_ids: FakeIds::On, ..DEFAULT };
        let emulating = Program::compile(&[table(architecture, column, choice)]).unwrap().to_bytes();
        let plain = filter_of(architecture, ThirtyTwoBit::Restricted);
        for number in 0..NUMBERS_END {
            let answer = decide(&emulating, architecture, number, [0; 6]);
            let same = answer == decide(&plain, architecture, number, [0; 6]);
            assert!(same || answer == libc::SECCOMP_RET_USER_NOTIF, "{architecture:#x}: {number} is {answer:#x}");
            // The supervisor is asked only for calls that Docker allows.
            let known = dockers(architecture);
            let allowed = known.get(&number).is_some_and(|(_, verdict)| *verdict == "allow");
            assert!(same || allowed, "{architecture:#x}: {number} is emulated");
        }
    }
}
