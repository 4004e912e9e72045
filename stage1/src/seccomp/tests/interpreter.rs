//! Runs filter programs as the kernel would, and refuses what the kernel would refuse.

use crate::seccomp::instruction::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, RETURN, SockFilter, low_offset};

/// `BPF_JMP | BPF_JSET | BPF_K`, which libseccomp may write and our compiler does not.
const JUMP_SET: u16 = 0x45;

/// What a filter sees of a system call (`struct seccomp_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The filter's return value.
    pub(super) value: u32,
    /// How many instructions ran.
    pub(super) executed: usize,
    /// How many of them ran before the first look at an argument; all, if there was none.
    pub(super) before_arguments: usize,
}

/// Runs a program over one call.
///
/// # Panics
/// If the program does what the kernel's verifier refuses: an unknown instruction, a load that is not of a whole word
/// of `struct seccomp_data`, or a way past the end.
pub(super) fn run(program: &[SockFilter], call: &Call) -> Outcome {
    let mut accumulator = 0u32;
    let mut at = 0usize;
    let mut executed = 0;
    let mut before_arguments = None;
    loop {
        let SockFilter { code, jt, jf, k } = *program.get(at).unwrap_or_else(|| panic!("ran past the end, to {at}"));
        if code == LOAD && k >= low_offset(0) {
            before_arguments.get_or_insert(executed);
        }
        executed += 1;
        at += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            LOAD => accumulator = word(call, k),
            AND => accumulator &= k,
            JUMP => at += k as usize,
            JUMP_EQ => at += branch(accumulator == k),
            JUMP_GT => at += branch(accumulator > k),
            JUMP_GE => at += branch(accumulator >= k),
            JUMP_SET => at += branch(accumulator & k != 0),
            RETURN => {
                return Outcome { value: k, executed, before_arguments: before_arguments.unwrap_or(executed) };
            }
            other => panic!("instruction {} has the unknown code {other:#x}", at - 1),
        }
    }
}

fn word(call: &Call, offset: u32) -> u32 {
    let mut bytes = [0u8; 64];
    bytes[0..4].copy_from_slice(&call.number.to_le_bytes());
    bytes[4..8].copy_from_slice(&call.arch.to_le_bytes());
    // Bytes 8 to 15 are the instruction pointer, which no filter here may depend on: any value will do.
    bytes[8..16].copy_from_slice(&0x5555_aaaa_5555_aaaa_u64.to_le_bytes());
    for (slot, arg) in bytes[16..].chunks_exact_mut(8).zip(call.args) {
        slot.copy_from_slice(&arg.to_le_bytes());
    }
    assert!(offset.is_multiple_of(4) && offset < 64, "load at offset {offset}");
    let at = offset as usize;
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[test]
fn loads_find_the_fields_where_the_kernel_puts_them() {
    let call = Call { number: 1, arch: 2, args: [0x4_0000_0003, 0, 0, 0, 0, 0x6_0000_0005] };
    for (offset, wanted) in [(0, 1), (4, 2), (16, 3), (20, 4), (24, 0), (56, 5), (60, 6)] {
        let program = [
            SockFilter { code: LOAD, jt: 0, jf: 0, k: offset },
            SockFilter { code: JUMP_EQ, jt: 1, jf: 0, k: wanted },
            SockFilter { code: RETURN, jt: 0, jf: 0, k: 0 },
            SockFilter { code: RETURN, jt: 0, jf: 0, k: 1 },
        ];
        assert_eq!(run(&program, &call).value, 1, "offset {offset}");
    }
}
