//! Keeps the threads of the rayon pool awake while a head trains.
//!
//! The parallel parts of a training step take some 10 µs each. A thread that finds no task for a few microseconds falls
//! asleep, and waking it takes longer than such a part.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use rayon::Yield;

/// A thread falls asleep when it has found no task for this long. While a task waits in `join`, its thread may begin the
/// loop on top of it, and the task goes on only when the loop has ended. Without a limit, two such threads could wait for
/// each other for ever.
const MAX_IDLE: Duration = Duration::from_millis(1);
/// The most threads that are kept awake; few steps are large enough for more.
const MAX_AWAKE: usize = 8;

thread_local! {
    /// Whether this thread looks for tasks already.
    static IS_AWAKE: Cell<bool> = const { Cell::new(false) };
}

/// Makes the other threads of the pool look for tasks without falling asleep, as long as they find some. To be called
/// again after longer work on one thread.
pub fn keep_threads_awake() {
    let caller = rayon::current_thread_index();
    rayon::spawn_broadcast(move |context| {
        if Some(context.index()) == caller || context.index() >= MAX_AWAKE {
            return;
        }
        // A loop that is running also runs this task: the thread must not begin another loop inside it.
        if IS_AWAKE.replace(true) {
            return;
        }
        let mut last_task = Instant::now();
        while last_task.elapsed() < MAX_IDLE {
            match rayon::yield_now() {
                Some(Yield::Executed) => last_task = Instant::now(),
                // Other processes may run meanwhile.
                _ => thread::yield_now(),
            }
        }
        IS_AWAKE.set(false);
    });
}

#[cfg(test)]
mod tests {
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
    fn work_of_several_callers_ends_on_any_number_of_threads() {
        let numbers: Vec<u64> = (0..1000).collect();
        for threads in [1, 2, 3, MAX_AWAKE + 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        pool.install(|| {
                            for _ in 0..20 {
                                keep_threads_awake();
                                assert_eq!(sum(&numbers), 499_500);
                            }
                        });
                    });
                }
            });
        }
    }

    /// Each call finds the threads in the loop of the call before.
    #[test]
    fn calls_do_not_pile_up_on_the_stack() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).stack_size(1 << 16).build().unwrap();
        pool.install(|| {
            for _ in 0..20_000 {
                keep_threads_awake();
                rayon::join(|| (), || ());
            }
        });
    }
}
