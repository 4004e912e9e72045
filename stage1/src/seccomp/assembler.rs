//! Lays out filter instructions back to front, so that every jump's target and distance are known when it is written.
//!
//! Conditional jumps reach 255 instructions ahead and never back. Writing from the end makes a target that is out of
//! reach visible at once, and a plain jump (`JUMP`, 32-bit distance) put in front of it brings it back into reach. The
//! same instruction with the same successors is written once and shared.

use super::instruction::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, RETURN, SockFilter};
use std::collections::HashMap;

/// A written instruction, to be used as a jump target: its distance from the end of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(usize);

/// The comparisons a conditional jump can make with its constant, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// Accumulator == constant.
    Eq(u32),
    /// Accumulator > constant.
    Gt(u32),
    /// Accumulator >= constant.
    Ge(u32),
}

impl Test {
    fn encode(self) -> (u16, u32) {
        match self {
            Self::Eq(k) => (JUMP_EQ, k),
            Self::Gt(k) => (JUMP_GT, k),
            Self::Ge(k) => (JUMP_GE, k),
        }
    }
}

/// What makes two instructions the same: the operation and where it goes on, not the distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Meaning {
    Return(u32),
    Then { code: u16, k: u32, next: Label },
    Branch { test: Test, yes: Label, no: Label },
}

/// A program under construction, last instruction first.
#[derive(Debug, Default)]
pub struct Assembler {
    reversed: Vec<SockFilter>,
    written: HashMap<Meaning, Label>,
    /// The nearest plain jump to a target.
    trampolines: HashMap<Label, Label>,
}

impl Assembler {
    /// An instruction that ends the filter with `value`.
    pub fn ret(&mut self, value: u32) -> Label {
        self.share(Meaning::Return(value), |asm| asm.push(RETURN, 0, 0, value))
    }

    /// An instruction that loads the word at `offset` and goes on at `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.straight(LOAD, offset, next)
    }

    /// An instruction that masks the accumulator and goes on at `next`.
    pub fn and(&mut self, mask: u32, next: Label) -> Label {
        self.straight(AND, mask, next)
    }

    /// An instruction that goes on at `yes` when the accumulator passes the test and at `no` when not; nothing at all
    /// where both are the same.
    pub fn branch(&mut self, test: Test, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        self.share(Meaning::Branch { test, yes, no }, |asm| {
            // Two passes, because a plain jump written for `no` moves `yes` one further away.
            let yes = asm.within_reach(yes);
            let no = asm.within_reach(no);
            let (code, k) = test.encode();
            let (jt, jf) = (asm.short_distance(yes), asm.short_distance(no));
            asm.push(code, jt, jf, k)
        })
    }

    /// The finished program, which starts at `entry`.
    pub fn finish(mut self, entry: Label) -> Vec<SockFilter> {
        self.follow_with(entry);
        self.reversed.reverse();
        self.reversed
    }

    fn straight(&mut self, code: u16, k: u32, next: Label) -> Label {
        self.share(Meaning::Then { code, k, next }, |asm| {
            asm.follow_with(next);
            asm.push(code, 0, 0, k)
        })
    }

    /// Makes `next` the instruction that runs after the one written from now on.
    fn follow_with(&mut self, next: Label) {
        if self.distance(next) > 0 {
            self.jump(next);
        }
    }

    fn share(&mut self, meaning: Meaning, write: impl FnOnce(&mut Self) -> Label) -> Label {
        if let Some(&label) = self.written.get(&meaning) {
            return label;
        }
        let label = write(self);
        self.written.insert(meaning, label);
        label
    }

    /// `target`, or a plain jump to it, such that the next instruction but one can still reach it.
    fn within_reach(&mut self, target: Label) -> Label {
        let limit = usize::from(u8::MAX) - 1;
        if self.distance(target) <= limit {
            return target;
        }
        match self.trampolines.get(&target) {
            Some(&near) if self.distance(near) <= limit => near,
            _ => self.jump(target),
        }
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance = u32::try_from(self.distance(target)).expect("a program of 4 billion instructions is not built");
        let label = self.push(JUMP, 0, 0, distance);
        self.trampolines.insert(target, label);
        label
    }

    /// How many instructions the one written next would skip to get to `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    fn short_distance(&self, target: Label) -> u8 {
        u8::try_from(self.distance(target)).expect("within_reach leaves room for one trampoline")
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(SockFilter { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }
}
