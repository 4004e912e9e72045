//! The stack of a process's only thread, begun anew.
//!
//! A supervisor lives for as long as its pod, and below it on its stack lie the frames of the command line that started
//! it. Nobody returns to them, and nobody can give them back: so it begins where they begin.

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::fork::{exit_now, single_threaded};

/// Where the stack can be begun anew; 0 when nobody has said so.
static BEGINNING: AtomicUsize = AtomicUsize::new(0);

/// What is called there.
static WORK: AtomicPtr<Work> = AtomicPtr::new(null_mut());

type Work = Box<dyn FnOnce() -> u8>;

/// How far below the beginning the caller's own frame must lie, for the first frame to have room: its return address and
/// what the processor's calling convention wants, some hundred bytes.
const ROOM: usize = 4 << 10;

/// How large the stack is said to be to who makes the first frame; only its upper end counts.
const SIZE: usize = 64 << 10;

/// Has the stack begin anew below the caller's frame, if it ever does. To be called by `main`, whose frame should be small.
#[inline(never)]
pub fn begin() {
    let here = 0_u8;
    BEGINNING.store((&raw const here) as usize, Ordering::Relaxed);
}

/// Runs `work` at the beginning of the stack, over the frames that are there now, and ends the process with the status that
/// it returns. In a process with threads, and where nobody has called [`begin`], on top of those frames.
pub fn afresh(work: impl FnOnce() -> u8 + 'static) -> ! {
    let here = 0_u8;
    let here = (&raw const here) as usize;
    let top = BEGINNING.load(Ordering::Relaxed);
    let below = top.checked_sub(here).is_some_and(|distance| distance >= ROOM);
    if !below || !single_threaded() {
        exit_now(work());
    }
    let work: Work = Box::new(work);
    WORK.store(Box::into_raw(Box::new(work)), Ordering::Relaxed);
    // Not on the stack, which it is about to describe.
    let context = Box::into_raw(Box::new(MaybeUninit::<libc::ucontext_t>::zeroed())).cast::<libc::ucontext_t>();
    // SAFETY: `context` is a valid place for one, and nobody else's.
    if unsafe { libc::getcontext(context) } != 0 {
        first_frame();
    }
    // SAFETY: getcontext has made it a whole one, and nobody else has it.
    let described = unsafe { &mut *context };
    described.uc_link = null_mut();
    described.uc_stack.ss_sp = std::ptr::without_provenance_mut(top.saturating_sub(SIZE));
    described.uc_stack.ss_size = SIZE;
    // SAFETY: the context is whole. It names a piece of this thread's own stack, whose upper end lies above every frame
    // from here on: those are given up. None is returned to, since neither `first_frame` nor this function returns, and
    // no unwinding leaves them either. What `work` needs it owns ('static), so it holds nothing that lies in one of
    // them; other threads, which could, there are none.
    unsafe { libc::makecontext(context, first_frame, 0) };
    // SAFETY: as above; makecontext has made it one to go to.
    unsafe { libc::setcontext(context) };
    // It does not return, unless it refuses what getcontext made.
    std::process::abort()
}

/// What stands at the beginning of the stack.
extern "C" fn first_frame() {
    let work = WORK.swap(null_mut(), Ordering::Relaxed);
    if work.is_null() {
        std::process::abort();
    }
    // SAFETY: `afresh` has made it of a box, and the swap above gives it to one caller alone.
    let work = unsafe { Box::from_raw(work) };
    exit_now(work())
}
