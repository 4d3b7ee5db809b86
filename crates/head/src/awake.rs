//! Keeps threads of the rayon pool awake while a head trains.
//!
//! The parallel parts of a training step take some 10 µs each. A thread that finds no work for a few microseconds falls
//! asleep, and waking it takes longer than such a part.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rayon::Yield;

/// The most threads that are kept awake; few steps are large enough for more.
const MAX_AWAKE: usize = 8;

thread_local! {
    /// Whether [`with_threads_awake`] runs its work on this thread.
    static IS_WORKING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread of the pool. Until it ends, the other threads look for tasks without falling asleep.
pub fn with_threads_awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let ended = AtomicBool::new(false);
    rayon::scope(|scope| {
        let ended = &ended;
        scope.spawn_broadcast(move |_, context| {
            // A thread that waits for a task of its own work must not wait here for the end of another's.
            if context.index() < MAX_AWAKE && !IS_WORKING.get() {
                while !ended.load(Ordering::Relaxed) {
                    // Runs a task. If there is none, lets other processes run.
                    if rayon::yield_now() == Some(Yield::Idle) {
                        thread::yield_now();
                    }
                }
            }
        });
        let _end = EndOnDrop { ended, was_working: IS_WORKING.replace(true) };
        work()
    })
}

/// Ends the wait of the other threads, also if the work panics.
struct EndOnDrop<'a> {
    ended: &'a AtomicBool,
    was_working: bool,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        IS_WORKING.set(self.was_working);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn sum(numbers: &[u64]) -> u64 {
        let (left, right) = numbers.split_at(numbers.len() / 2);
        match numbers {
            [] => 0,
            [number] => *number,
            _ => {
                let (left, right) = rayon::join(|| sum(left), || sum(right));
                left + right
            }
        }
    }

    #[test]
    fn several_at_once_end_on_any_number_of_threads() {
        let numbers: Vec<u64> = (0..1000).collect();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            assert_eq!(pool.install(|| with_threads_awake(|| sum(&numbers))), 499_500);
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_panic_does_not_leave_the_other_threads_waiting() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let run = |fails: bool| pool.install(|| with_threads_awake(|| assert!(!fails, "as asked")));
        assert!(catch_unwind(AssertUnwindSafe(|| run(true))).is_err());
        run(false);
    }
}
