//! Holds the filter program against the table, with an interpreter of the kernel's filter machine
//! and with another filter compiler as the oracle.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::table::{IOCTLS_REFUSED, NAMESPACE_FLAGS, PERSONALITIES};
use super::*;

/// What the filter machine is given for one call.
#[derive(Debug, Clone, Copy)]
struct Data {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

impl Data {
    fn call(number: u32, arguments: [u64; 6]) -> Self {
        Self { number, architecture: ARCHITECTURE, arguments }
    }

    fn word(&self, at: u32) -> u32 {
        match at {
            0 => self.number,
            4 => self.architecture,
            8 | 12 => 0,
            at => {
                let value = self.arguments[(at as usize - 16) / 8];
                u32::try_from(if at.is_multiple_of(8) { value & 0xFFFF_FFFF } else { value >> 32 })
                    .unwrap()
            }
        }
    }
}

fn run(program: &[(u16, u8, u8, u32)], data: &Data) -> u32 {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let (code, jt, jf, k) = program[at];
        at += 1;
        let mut jump = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => accumulator = data.word(k),
            0x54 => accumulator &= k,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x05 => at += k as usize,
            0x06 => return k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn ours(data: &Data) -> u32 {
    let program: Vec<_> = Filter::sandbox()
        .program()
        .iter()
        .map(|step| (step.code, step.jt, step.jf, step.k))
        .collect();
    run(&program, data)
}

/// The meaning of the table, written without the program.
fn expected(data: &Data) -> u32 {
    let low = |index: usize| u32::try_from(data.arguments[index] & 0xFFFF_FFFF).unwrap();
    let eperm = errno(libc::EPERM);
    let family = errno(libc::EAFNOSUPPORT);
    let when = |allowed: bool, otherwise: u32| if allowed { ALLOW } else { otherwise };
    if data.architecture != ARCHITECTURE {
        return KILL;
    }
    match verdict(data.number) {
        Verdict::Allow => ALLOW,
        Verdict::Refuse => eperm,
        Verdict::Unknown => errno(libc::ENOSYS),
        Verdict::CloneWithoutNamespaces => when(low(0) & NAMESPACE_FLAGS == 0, eperm),
        Verdict::PlainPersonality => when(PERSONALITIES.contains(&low(0)), eperm),
        Verdict::SafeIoctl => when(!IOCTLS_REFUSED.contains(&low(1)), eperm),
        Verdict::SocketPair => when(low(0) == 1, family),
        Verdict::Socket => {
            when([1, 2, 10].contains(&low(0)) || (low(0) == 16 && low(2) == 0), family)
        }
    }
}

/// Values at which some rule changes its mind, and their neighbours.
fn samples() -> Vec<u64> {
    let mut samples: Vec<u64> = (0..=20).collect();
    samples.extend((0..64).map(|bit| 1_u64 << bit));
    let known = PERSONALITIES.iter().chain(&IOCTLS_REFUSED).copied().map(u64::from);
    samples.extend(known.flat_map(|value| [value.wrapping_sub(1), value, value + 1]));
    samples.extend([u64::MAX, u64::from(NAMESPACE_FLAGS), 0x1_0000_0001, 0x10_0000_0010]);
    samples
}

#[test]
fn every_number_means_what_the_table_says_for_every_sampled_argument() {
    for number in (0..NUMBERS_END + 8).chain([X32_FIRST, X32_FIRST + 1, X32_FIRST + 59, u32::MAX]) {
        for value in samples() {
            for arguments in [[value; 6], [value, 0, 0, 0, 0, 0], [0, value, 0, 0, 0, 0]] {
                let data = Data::call(number, arguments);
                assert_eq!(ours(&data), expected(&data), "{data:?}");
            }
        }
    }
}

#[test]
fn another_architecture_ends_the_process() {
    let i386 = Data { architecture: 0x4000_0003, ..Data::call(4, [0; 6]) };
    assert_eq!(ours(&i386), KILL);
}

#[test]
fn no_x32_number_reaches_the_kernel() {
    for number in 0..NUMBERS_END {
        let data = Data::call(X32_FIRST + number, [0; 6]);
        assert_eq!(ours(&data), errno(libc::ENOSYS));
    }
}

#[test]
fn the_plain_allow_list_equals_another_compilers_program() {
    let allowed: BTreeMap<i64, _> = (0..NUMBERS_END)
        .filter(|number| verdict(*number) == Verdict::Allow)
        .map(|number| (i64::from(number), vec![]))
        .collect();
    let allow = SeccompAction::Allow;
    let filter = SeccompFilter::new(allowed, SeccompAction::Trap, allow, TargetArch::x86_64);
    let oracle: BpfProgram = filter.unwrap().try_into().unwrap();
    let oracle: Vec<_> = oracle.iter().map(|step| (step.code, step.jt, step.jf, step.k)).collect();
    for number in 0..NUMBERS_END {
        let data = Data::call(number, [0; 6]);
        if !matches!(verdict(number), Verdict::Allow | Verdict::Refuse | Verdict::Unknown) {
            continue;
        }
        assert_eq!(ours(&data) == ALLOW, run(&oracle, &data) == ALLOW, "call {number}");
    }
}

#[test]
fn the_search_stays_short() {
    assert!(Filter::sandbox().program().len() < 512, "{:?}", Filter::sandbox());
}

proptest! {
    #[test]
    fn any_call_means_what_the_table_says(
        number: u32,
        near in 0..NUMBERS_END,
        arguments: [u64; 6],
    ) {
        for number in [number, near] {
            let data = Data::call(number, arguments);
            prop_assert_eq!(ours(&data), expected(&data));
        }
    }
}
