//! What one instruction of a filter looks like to the kernel, with the few opcodes a seccomp filter needs.
//!
//! The kernel works out at load time which system call numbers a filter always allows and answers those from a
//! bitmap later (`seccomp_is_const_allow` in kernel/seccomp.c). It follows only the opcodes listed here, so a filter
//! built from others would be slower for every call.

/// One classic BPF instruction in the kernel's layout (`struct sock_filter`, linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SockFilter {
    /// The operation, one of the opcodes of this module.
    pub code: u16,
    /// How many instructions a conditional jump skips when its comparison holds.
    pub jt: u8,
    /// How many instructions a conditional jump skips when its comparison does not hold.
    pub jf: u8,
    /// The operand: a constant, an offset into `struct seccomp_data`, a jump distance or a return value.
    pub k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`: the accumulator becomes the 32-bit word at offset `k` of `struct seccomp_data`.
pub const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`: the accumulator keeps only the bits of `k`.
pub const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`: skips `k` instructions.
pub const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`: compares the accumulator with `k`, `==`.
pub const JUMP_EQ: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`: compares the accumulator with `k`, `>`, unsigned.
pub const JUMP_GT: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`: compares the accumulator with `k`, `>=`, unsigned.
pub const JUMP_GE: u16 = 0x35;
/// `BPF_RET | BPF_K`: the filter answers `k`.
pub const RETURN: u16 = 0x06;

/// The most instructions the kernel takes in one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Offset of the system call number in `struct seccomp_data`.
pub const NUMBER_OFFSET: u32 = 0;
/// Offset of the `AUDIT_ARCH_*` value in `struct seccomp_data`.
pub const ARCH_OFFSET: u32 = 4;

/// How many arguments `struct seccomp_data` carries.
pub const ARGUMENTS: u8 = 6;

/// Offset of the low 32 bits of argument `arg` in `struct seccomp_data`; all architectures with a profile are
/// little-endian.
pub const fn low_offset(arg: u8) -> u32 {
    16 + 8 * arg as u32
}

/// Offset of the high 32 bits of argument `arg`.
pub const fn high_offset(arg: u8) -> u32 {
    low_offset(arg) + 4
}
