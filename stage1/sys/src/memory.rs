//! Memory that a process which waits for long does not need.

use crate::fork::single_threaded;

/// How much of the stack below the caller stays: the frames of the calls that are made here.
const MARGIN: usize = 8 << 10;

/// How far below the stack can have been used. Nothing else is mapped so near to it: the kernel keeps a gap of at least
/// 128 MiB below a process's first stack (`mmap_base`).
const REACH: usize = 1 << 20;

/// No architecture has larger pages, and every one's divide it: madvise(2) wants whole ones.
const LARGEST_PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// Gives unused pages of heap and stack back to the kernel.
///
/// Costs some ten microseconds, and a page fault for each page that is used again: for processes that are about to wait,
/// after work that needed more than what comes. A supervisor's launch is such work.
#[inline(never)]
pub fn release() {
    // SAFETY: it has no precondition, and touches free memory of the allocator only (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
    // Other threads' stacks lie anywhere.
    if !single_threaded() {
        return;
    }
    let here = 0_u8;
    let end = ((&raw const here) as usize).saturating_sub(MARGIN) & !(LARGEST_PAGE - 1);
    let Some(start) = end.checked_sub(REACH) else { return };
    let start = std::ptr::without_provenance_mut(start);
    // SAFETY: the process's only thread runs this on the stack that the kernel gave it, which grows downwards. What lies
    // more than the margin below `here` belongs to no frame: neither to a caller's nor to those of the calls that are made
    // from here; no signal has a handler that could run there. That the lower part is not mapped is an error after the
    // fact (ENOMEM), which is of no interest.
    unsafe { libc::madvise(start, REACH, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    /// Uses much of the stack, and says something that depends on it.
    #[inline(never)]
    fn deep(seed: u8) -> usize {
        let used = std::hint::black_box([seed; 256 << 10]);
        used.iter().map(|byte| usize::from(*byte)).sum()
    }

    /// In a process with threads the heap alone: the stack's part is seen in what supervisors use (bench/pods).
    #[test]
    fn what_is_in_use_stays() {
        let kept: Vec<String> = (0..1000).map(|number| format!("number {number}")).collect();
        let on_stack = std::hint::black_box([7_u8; 4096]);
        assert_eq!(deep(1), 256 << 10);
        drop((0..1000).map(|size| vec![1_u8; size]).collect::<Vec<_>>());
        super::release();
        assert!(on_stack.iter().all(|byte| *byte == 7));
        assert!(kept.iter().enumerate().all(|(number, text)| *text == format!("number {number}")));
        assert_eq!(deep(2), 512 << 10);
    }
}
