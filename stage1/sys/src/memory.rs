//! Memory that a process which waits for long does not need.

use crate::fork::single_threaded;

/// How much of the stack below the caller stays: the frame of the call that gives the rest back.
const MARGIN: usize = 1 << 10;

/// How far below the stack can have been used. Nothing else is mapped so near to it: the kernel keeps a gap of at least
/// 128 MiB below a process's first stack (`mmap_base`).
const REACH: usize = 1 << 20;

/// No architecture has larger pages, and every one's divide it: madvise(2) wants whole ones.
const LARGEST_PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// Gives unused pages of heap and stack back to the kernel, and the program's own, which are read from its file.
///
/// Costs some ten microseconds, and a page fault for each page that is used again: for processes that are about to wait,
/// after work that needed more than what comes. A supervisor's launch is such work.
#[inline(never)]
pub fn release() {
    // SAFETY: it has no precondition, and touches free memory of the allocator only (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
    release_program();
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
    // from here; no signal has a handler that could run there. Where the lower part
    // is not mapped the call says so after the fact (ENOMEM), and nothing follows from that.
    unsafe { libc::madvise(start, REACH, libc::MADV_DONTNEED) };
}

/// Gives the pages of code and constants back: they stay in the page cache for whoever runs next, and are mapped again,
/// sixteen at a time, where this process goes on.
fn release_program() {
    let first = entry(libc::AT_PHDR) as *const libc::Elf64_Phdr;
    let count = usize::try_from(entry(libc::AT_PHNUM)).unwrap_or(0);
    if first.is_null() || entry(libc::AT_PHENT) != size_of::<libc::Elf64_Phdr>() as u64 {
        return;
    }
    // SAFETY: the kernel has put the table there for the process to read (getauxval(3)), as many entries of that size; it
    // is part of the program, which is never unmapped or changed.
    let headers = unsafe { std::slice::from_raw_parts(first, count) };
    // A program that may lie anywhere says where its table should be, which tells how far it was moved.
    let table = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    let moved = table.map_or(0, |table| (first as u64).wrapping_sub(table.p_vaddr));
    let page = LARGEST_PAGE as u64;
    for header in headers.iter().filter(|it| it.p_type == libc::PT_LOAD && it.p_flags & libc::PF_W == 0) {
        // Inwards: what shares a page with something else stays.
        let start = header.p_vaddr.wrapping_add(moved).next_multiple_of(page);
        let end = header.p_vaddr.wrapping_add(moved).wrapping_add(header.p_filesz) / page * page;
        if let (Ok(length), Ok(start)) = (usize::try_from(end.saturating_sub(start)), usize::try_from(start)) {
            let start = std::ptr::without_provenance_mut(start);
            // SAFETY: nobody can have written to these pages, so all of them are the file's, and the file's again when they
            // are next looked at, by whatever thread. The kernel itself drops such pages when memory is short.
            unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        }
    }
}

/// An entry of what the kernel tells a program at its start; 0 where it does not.
fn entry(kind: u64) -> u64 {
    // SAFETY: it has no precondition (getauxval(3)).
    unsafe { libc::getauxval(kind) }
}

#[cfg(test)]
mod tests {
    /// Kilobytes of the program's file that are counted as this process's.
    fn of_file() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        static CONSTANTS: [u64; 64 << 10] = [7; 64 << 10];
        let sum = || std::hint::black_box(&CONSTANTS).iter().sum::<u64>();
        assert_eq!(sum(), 7 * (64 << 10));
        let before = of_file();
        super::release_program();
        let after = of_file();
        // The constants alone are 512 kB.
        assert!(after + 400 < before, "{before} kB, then {after} kB");
        assert_eq!(sum(), 7 * (64 << 10));
    }

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
