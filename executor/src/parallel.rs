//! The same work on many things, on all processors.

use std::thread::{self, ScopedJoinHandle, available_parallelism};

/// So many things are worth another thread: it takes as long to begin as reading a pod or two.
const WORTH_A_THREAD: usize = 32;

/// More processors than this wait for each other in the kernel, for the directories that all of them read.
const MOST_THREADS: usize = 8;

/// Applies `work` to every item and gives the results in the order of the items. Few items are worked on here, many on as
/// many processors as there are; what cannot have a thread, because the user may have no more, is worked on here too.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let wanted = (items.len() / WORTH_A_THREAD).min(MOST_THREADS);
    let threads = if wanted > 1 { available_parallelism().map_or(1, usize::from).min(wanted) } else { 1 };
    map_on(threads, items, work)
}

fn map_on<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    enum Part<'scope, 'items, T, R> {
        There(ScopedJoinHandle<'scope, Vec<R>>),
        Here(&'items [T]),
    }
    let all = |part: &[T]| -> Vec<R> { part.iter().map(&work).collect() };
    let (mine, others) = items.split_at(items.len().div_ceil(threads));
    thread::scope(|scope| {
        let begin = |part| match thread::Builder::new().spawn_scoped(scope, move || all(part)) {
            Ok(thread) => Part::There(thread),
            Err(_) => Part::Here(part),
        };
        let begun: Vec<_> = others.chunks(mine.len().max(1)).map(begin).collect();
        let mut results = all(mine);
        for part in begun {
            results.extend(match part {
                Part::There(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Part::Here(part) => all(part),
            });
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::{map, map_on};

    #[test]
    fn results_stand_in_the_order_of_the_items_however_many_threads_there_are() {
        for count in [0_u32, 1, 2, 7, 1000] {
            let items: Vec<u32> = (0..count).collect();
            let expected: Vec<u32> = items.iter().map(|item| item * 3).collect();
            for threads in [1, 2, 3, 8] {
                assert_eq!(map_on(threads, &items, |item| item * 3), expected, "{count} items on {threads} threads");
            }
            assert_eq!(map(&items, |item| item * 3), expected);
        }
    }

    #[test]
    fn many_items_are_worked_on_beside_each_other() {
        // Each of the two waits for the other.
        let barrier = std::sync::Barrier::new(2);
        map_on(2, &[(), ()], |()| barrier.wait());
    }
}
