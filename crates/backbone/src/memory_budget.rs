//! Memory that threads share: what takes a part of it waits until enough is free.

use std::sync::{Condvar, Mutex};

/// A number of bytes, shared by threads.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    free: Mutex<u64>,
    returned: Condvar,
    total: u64,
}

impl MemoryBudget {
    /// So many bytes.
    pub fn new(total: u64) -> Self {
        Self { free: Mutex::new(total), returned: Condvar::new(), total }
    }

    /// Runs `work`, which takes `bytes`, when so many are free; what takes more than all waits for all.
    pub fn run<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> T {
        let bytes = bytes.min(self.total);
        let free = self.free.lock().expect(NO_PANIC);
        *self.returned.wait_while(free, |free| *free < bytes).expect(NO_PANIC) -= bytes;
        // Returned even if `work` panics.
        let _taken = Taken { budget: self, bytes };
        work()
    }
}

const NO_PANIC: &str = "nothing panics while it holds the lock";

/// Bytes that are in use.
struct Taken<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().expect(NO_PANIC) += self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_is_in_use_than_there_is() {
        let budget = MemoryBudget::new(10);
        let in_use = AtomicU64::new(0);
        thread::scope(|scope| {
            for bytes in [3, 4, 5, 6, 7, 8, 9, 10, 11] {
                let (budget, in_use) = (&budget, &in_use);
                scope.spawn(move || {
                    for _ in 0..100 {
                        budget.run(bytes, || {
                            assert!(in_use.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10) <= 10);
                            thread::yield_now();
                            in_use.fetch_sub(bytes.min(10), Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(catch_unwind(AssertUnwindSafe(|| budget.run(10, || panic!("a bug")))).is_err());
        assert_eq!(budget.run(10, || 1), 1);
    }
}
