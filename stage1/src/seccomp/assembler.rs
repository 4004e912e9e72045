//! Lays out filter instructions back to front, so that every jump's target and distance are known when it is written.
//!
//! Conditional jumps reach 255 instructions ahead and never back. Writing from the end makes a target that is out of
//! reach visible at once, and a plain jump (`JUMP`, 32-bit distance) put in front of it brings it back into reach. The
//! same instruction with the same successors is written once and shared; one that nothing leads to is not written.

use super::instruction::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, RETURN, SockFilter};
use std::collections::HashMap;

/// An instruction to go on at. Instructions are described before those that lead to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// An instruction by what it does and where it goes on, without distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Return(u32),
    Then { code: u16, k: u32, next: Label },
    Branch { test: Test, yes: Label, no: Label },
}

/// A program under construction.
#[derive(Debug, Default)]
pub struct Assembler {
    steps: Vec<Step>,
    labels: HashMap<Step, Label>,
}

impl Assembler {
    /// An instruction that ends the filter with `value`.
    pub fn ret(&mut self, value: u32) -> Label {
        self.share(Step::Return(value))
    }

    /// An instruction that loads the word at `offset` and goes on at `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.share(Step::Then { code: LOAD, k: offset, next })
    }

    /// An instruction that masks the accumulator and goes on at `next`.
    pub fn and(&mut self, mask: u32, next: Label) -> Label {
        self.share(Step::Then { code: AND, k: mask, next })
    }

    /// An instruction that goes on at `yes` when the accumulator passes the test and at `no` when not; nothing at all
    /// where both are the same.
    pub fn branch(&mut self, test: Test, yes: Label, no: Label) -> Label {
        if yes == no { yes } else { self.share(Step::Branch { test, yes, no }) }
    }

    /// Where to go on instead of at `label` if the word at `offset` is in the accumulator already.
    pub fn after_load(&self, offset: u32, label: Label) -> Label {
        match self.steps[label.0] {
            Step::Then { code: LOAD, k, next } if k == offset => next,
            _ => label,
        }
    }

    /// The finished program, which starts at `entry`.
    pub fn finish(self, entry: Label) -> Vec<SockFilter> {
        let reached = self.reached_from(entry);
        let mut layout = Layout::new(self.steps.len());
        for (index, step) in self.steps.into_iter().enumerate().filter(|(index, _)| reached[*index]) {
            layout.write(Label(index), step);
        }
        layout.end(entry)
    }

    fn share(&mut self, step: Step) -> Label {
        *self.labels.entry(step).or_insert_with(|| {
            self.steps.push(step);
            Label(self.steps.len() - 1)
        })
    }

    fn reached_from(&self, entry: Label) -> Vec<bool> {
        let mut reached = vec![false; self.steps.len()];
        let mut waiting = vec![entry];
        while let Some(label) = waiting.pop() {
            if std::mem::replace(&mut reached[label.0], true) {
                continue;
            }
            match self.steps[label.0] {
                Step::Return(_) => {}
                Step::Then { next, .. } => waiting.push(next),
                Step::Branch { yes, no, .. } => waiting.extend([yes, no]),
            }
        }
        reached
    }
}

/// The instructions written so far, last one first. A place is an index into them.
struct Layout {
    reversed: Vec<SockFilter>,
    /// Where each step was written.
    places: Vec<Option<usize>>,
    /// The plain jump to a place that was written last.
    trampolines: HashMap<usize, usize>,
}

impl Layout {
    fn new(steps: usize) -> Self {
        Self { reversed: Vec::new(), places: vec![None; steps], trampolines: HashMap::new() }
    }

    fn write(&mut self, label: Label, step: Step) {
        let place = match step {
            Step::Return(value) => self.push(RETURN, 0, 0, value),
            Step::Then { code, k, next } => {
                self.fall_into(next);
                self.push(code, 0, 0, k)
            }
            Step::Branch { test, yes, no } => {
                let yes = self.within_reach(yes);
                let no = self.within_reach(no);
                let (code, k) = test.encode();
                let (jt, jf) = (self.short_distance(yes), self.short_distance(no));
                self.push(code, jt, jf, k)
            }
        };
        self.places[label.0] = Some(place);
    }

    fn end(mut self, entry: Label) -> Vec<SockFilter> {
        self.fall_into(entry);
        self.reversed.reverse();
        self.reversed
    }

    /// Makes `label` what runs after the instruction written next.
    fn fall_into(&mut self, label: Label) {
        let place = self.place(label);
        if self.distance(place) > 0 {
            self.jump(place);
        }
    }

    /// The place of `label`, or of a plain jump to it, that a conditional jump can reach from the instruction written
    /// next or, as its other target may need a plain jump too, from the one after.
    fn within_reach(&mut self, label: Label) -> usize {
        let limit = usize::from(u8::MAX) - 1;
        let place = self.place(label);
        if self.distance(place) <= limit {
            return place;
        }
        match self.trampolines.get(&place) {
            Some(&near) if self.distance(near) <= limit => near,
            _ => self.jump(place),
        }
    }

    fn jump(&mut self, place: usize) -> usize {
        let distance = u32::try_from(self.distance(place)).expect("no program has 4 billion instructions");
        let jump = self.push(JUMP, 0, 0, distance);
        self.trampolines.insert(place, jump);
        jump
    }

    fn place(&self, label: Label) -> usize {
        self.places[label.0].expect("a step is described, and so written, before those that lead to it")
    }

    /// How many instructions the one written next would skip to get to `place`.
    fn distance(&self, place: usize) -> usize {
        self.reversed.len() - 1 - place
    }

    fn short_distance(&self, place: usize) -> u8 {
        u8::try_from(self.distance(place)).expect("within_reach leaves room for one more plain jump")
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(SockFilter { code, jt, jf, k });
        self.reversed.len() - 1
    }
}
